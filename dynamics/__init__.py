"""A run in, findings out. Works on numbers from anywhere and never imports torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError, ConfigError, DataError, RecordError, SftscopeError
from .types import Estimate, Finding, Measurement

if TYPE_CHECKING:
    from .analysis import analyze
    from .association.one_run import associate, association_table
    from .prediction.early_warning import early_warning
    from .procedure.beyond_length import beyond_length_table, change_beyond_length
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
    "Phase": "trajectories.phases",
    "Run": "record",
    "Trajectory": "trajectories.trajectory",
    "analyze": "analysis",
    "associate": "association.one_run",
    "association_table": "association.one_run",
    "beyond_length_table": "procedure.beyond_length",
    "change_beyond_length": "procedure.beyond_length",
    "change_point": "trajectories.change_point",
    "crossing": "trajectories.threshold",
    "early_warning": "prediction.early_warning",
    "judge": "trajectories.phases",
    "matched_payoff": "procedure.payoff",
    "rescue_fraction": "refusal.rescue",
    "simultaneous_band": "statistics.bands",
    "transfer_matrix": "transfer",
    "who_was_first": "trajectories.threshold",
}
__all__ = [
    "Band",
    "CheckpointError",
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
    "beyond_length_table",
    "change_beyond_length",
    "change_point",
    "crossing",
    "early_warning",
    "judge",
    "matched_payoff",
    "rescue_fraction",
    "simultaneous_band",
    "transfer_matrix",
    "who_was_first",
]


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(f".{_ON_DEMAND[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
