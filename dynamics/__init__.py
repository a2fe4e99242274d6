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
    from .phases import Phase, judge
    from .record import Run
    from .trajectories import Trajectory

# What needs pandas and scipy comes on demand: an error class, or `sftscope --help`, must not wait for them.
_ON_DEMAND = {
    "Band": "bands",
    "Phase": "phases",
    "Run": "record",
    "Trajectory": "trajectories",
    "analyze": "analysis",
    "associate": "association",
    "association_table": "association",
    "judge": "phases",
    "simultaneous_band": "bands",
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
    "judge",
    "simultaneous_band",
]


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(f".{_ON_DEMAND[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
