"""Supervised fine-tuning on Accelerate: data, batches, schedule, checkpoints, resume, tracking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .batching import BatchConfig
from .config import AnalysisConfig, TrainConfig
from .data import DataConfig
from .hooks import CheckpointHook
from .lora import LoraConfig
from .model import ModelConfig
from .optim import OptimConfig
from .schedule import CheckpointsConfig, ScheduleConfig
from .tracking import TrackingConfig

if TYPE_CHECKING:
    from .callback import SftscopeCallback
    from .loop import train

__all__ = [
    "AnalysisConfig",
    "BatchConfig",
    "CheckpointHook",
    "CheckpointsConfig",
    "DataConfig",
    "LoraConfig",
    "ModelConfig",
    "OptimConfig",
    "ScheduleConfig",
    "SftscopeCallback",
    "TrackingConfig",
    "TrainConfig",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "train":  # reading a config must not wait for torch and accelerate
        from .loop import train

        return train
    if name == "SftscopeCallback":
        from .callback import SftscopeCallback

        return SftscopeCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
