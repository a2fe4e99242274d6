"""A run in, findings out. Works on numbers from anywhere and never imports torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError, ConfigError, DataError, RecordError, SftscopeError
from .types import Estimate, Finding, Measurement

if TYPE_CHECKING:
    from .analysis import analyze
    from .association.items import item_association
    from .association.mixed import mixed_association
    from .association.one_run import associate
    from .association.seeds import trial_swap
    from .association.table import association_table, associations
    from .choice.frontier import frontier_of
    from .choice.pick import pick
    from .comparison.compare import Comparison, compare, compare_scores
    from .comparison.conditional import conditional_table
    from .comparison.repetition import repetition_table
    from .prediction.early_warning import early_warning
    from .procedure.beyond_length import beyond_length_table, change_beyond_length
    from .procedure.index import procedure_index
    from .procedure.payoff import matched_payoff
    from .record import Run
    from .refusal.rescue import rescue_fraction
    from .statistics.bands import Band, simultaneous_band
    from .trajectories.change_point import change_point
    from .trajectories.phases import Phase, judge
    from .trajectories.threshold import crossing, who_was_first
    from .trajectories.trajectory import Trajectory
    from .transfer import transfer_matrix

# What needs pandas and scipy comes on demand: an error class, or `sftscope --help`, must not wait for them.
_ON_DEMAND = {
    "Band": "statistics.bands",
    "Comparison": "comparison.compare",
    "Phase": "trajectories.phases",
    "Run": "record",
    "Trajectory": "trajectories.trajectory",
    "analyze": "analysis",
    "associate": "association.one_run",
    "association_table": "association.table",
    "associations": "association.table",
    "beyond_length_table": "procedure.beyond_length",
    "change_beyond_length": "procedure.beyond_length",
    "change_point": "trajectories.change_point",
    "compare": "comparison.compare",
    "compare_scores": "comparison.compare",
    "conditional_table": "comparison.conditional",
    "crossing": "trajectories.threshold",
    "early_warning": "prediction.early_warning",
    "frontier_of": "choice.frontier",
    "item_association": "association.items",
    "judge": "trajectories.phases",
    "matched_payoff": "procedure.payoff",
    "mixed_association": "association.mixed",
    "pick": "choice.pick",
    "procedure_index": "procedure.index",
    "repetition_table": "comparison.repetition",
    "rescue_fraction": "refusal.rescue",
    "simultaneous_band": "statistics.bands",
    "transfer_matrix": "transfer",
    "trial_swap": "association.seeds",
    "who_was_first": "trajectories.threshold",
}
__all__ = [
    "Band",
    "CheckpointError",
    "Comparison",
    "ConfigError",
    "DataError",
    "Estimate",
    "Finding",
    "Measurement",
    "Phase",
    "RecordError",
    "Run",
    "SftscopeError",
    "Trajectory",
    "analyze",
    "associate",
    "association_table",
    "associations",
    "beyond_length_table",
    "change_beyond_length",
    "change_point",
    "compare",
    "compare_scores",
    "conditional_table",
    "crossing",
    "early_warning",
    "frontier_of",
    "item_association",
    "judge",
    "matched_payoff",
    "mixed_association",
    "pick",
    "procedure_index",
    "repetition_table",
    "rescue_fraction",
    "simultaneous_band",
    "transfer_matrix",
    "trial_swap",
    "who_was_first",
]


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(f".{_ON_DEMAND[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
