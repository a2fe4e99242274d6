"""A run in, findings out. Works on numbers from anywhere and never imports torch."""

from .analyze import analyze
from .association import associate, association_table
from .bands import Band, simultaneous_band
from .errors import CheckpointError, ConfigError, DataError, RecordError, SftscopeError
from .phases import Phase, judge
from .record import Run
from .trajectories import Trajectory
from .types import Estimate, Finding, Measurement

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
