"""All settings of a training run. Each section lives beside the component that it configures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..dynamics.errors import ConfigError
from ..dynamics.primaries import check_primaries
from .batching import BatchConfig
from .data import DataConfig
from .lora import LoraConfig
from .model import ModelConfig
from .optim import OptimConfig
from .schedule import CheckpointsConfig, ScheduleConfig, checkpoint_steps
from .tracking import TrackingConfig


@dataclass(frozen=True)
class AnalysisConfig:
    """What the run is judged by, said before it starts and hashed into run.json: it cannot be chosen afterwards."""

    primary: tuple[
        str, ...
    ] = ()  # `domain`, `domain.metric`, or an association `metric~domain`; all others are exploratory

    def __post_init__(self) -> None:
        check_primaries(self.primary)


@dataclass(frozen=True)
class TrainConfig:
    """A training run: `from_mapping(TrainConfig, …)` reads it from YAML. The defaults suit full fine-tuning."""

    model: ModelConfig
    data: DataConfig
    schedule: ScheduleConfig
    batch: BatchConfig = field(default_factory=BatchConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    lora: LoraConfig | None = None  # train adapters in place of the weights; null: full fine-tuning
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    on_alert: Literal["warn", "save", "stop"] = "warn"  # at an alert: also a checkpoint and full state, or also an end
    seed: int = 0  # of the order of the data, dropout, and a new model's weights
    threads: int | None = None  # CPU threads of PyTorch; null: its own choice

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"`seed` is {self.seed}: give 0 or more")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"`threads` is {self.threads}: give 1 or more, or leave it out")
        if self.lora is not None and self.model.path is None:
            raise ConfigError(
                "`lora` is given with `model.init`: an adapter needs a model to go over; give `model.path`"
            )
        if self.schedule.steps is not None:  # known without the data, so told before anything is loaded
            checkpoint_steps(self.schedule.steps, self.checkpoints)
