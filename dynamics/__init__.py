"""A run in, findings out. Works on numbers from anywhere and never imports torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError, ConfigError, DataError, RecordError, SftscopeError
from .types import Estimate, Finding, Measurement

if TYPE_CHECKING:
    from .analysis import analyze
    from .association import associate, association_table
    from .bands import Band, simultaneous_band
    from .beyond_length import beyond_length_table, change_beyond_length
    from .payoff import matched_payoff
    from .phases import Phase, judge
    from .record import Run
    from .rescue import rescue_fraction
    from .trajectories import Trajectory
    from .transfer import transfer_matrix

# What needs pandas and scipy comes on demand: an error class, or `sftscope --help`, must not wait for them.
_ON_DEMAND = {
    "Band": "bands",
    "Phase": "phases",
    "Run": "record",
    "Trajectory": "trajectories",
    "analyze": "analysis",
    "associate": "association",
    "association_table": "association",
    "beyond_length_table": "beyond_length",
    "change_beyond_length": "beyond_length",
    "judge": "phases",
    "matched_payoff": "payoff",
    "rescue_fraction": "rescue",
    "simultaneous_band": "bands",
    "transfer_matrix": "transfer",
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
    "judge",
    "matched_payoff",
    "rescue_fraction",
    "simultaneous_band",
    "transfer_matrix",
]


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(f".{_ON_DEMAND[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
