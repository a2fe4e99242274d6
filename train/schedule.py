"""The learning rate of every update, and the steps at which checkpoints are written: pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..dynamics.errors import ConfigError


@dataclass(frozen=True)
class ScheduleConfig:
    """How long to train, and how the learning rate moves meanwhile. Exactly one of `epochs` and `steps` is given."""

    epochs: float | None = None  # passes over the data; 0.5 is half of them
    steps: int | None = None  # optimiser steps
    kind: Literal["cosine", "constant"] = "cosine"  # after the warm-up
    warmup_steps: int | None = None  # overrides `warmup_share`
    warmup_share: float = 0.1  # of all steps, rounded up
    final_lr_share: float = 0.0  # of the peak, reached by `cosine` one step after the last update

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ConfigError(
                f"`schedule.epochs` is {self.epochs} and `schedule.steps` is {self.steps}: give exactly one of them"
            )
        length = self.epochs if self.steps is None else self.steps
        if length is None or not length > 0 or math.isinf(length):
            raise ConfigError(f"the schedule's length is {length}: give `epochs` or `steps` above 0")
        if not 0 <= self.warmup_share <= 1:
            raise ConfigError(f"`schedule.warmup_share` is {self.warmup_share}: give a share between 0 and 1")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ConfigError(f"`schedule.warmup_steps` is {self.warmup_steps}: give 0 or more")
        if self.steps is not None and self.warmup_steps is not None and self.warmup_steps > self.steps:
            raise ConfigError(
                f"`schedule.warmup_steps` is {self.warmup_steps} and there are {self.steps} steps in all: "
                "the peak would never be reached; warm up for fewer steps"
            )
        if not 0 <= self.final_lr_share <= 1:
            raise ConfigError(f"`schedule.final_lr_share` is {self.final_lr_share}: give a share of the peak, 0 to 1")


@dataclass(frozen=True)
class CheckpointsConfig:
    """When to write weights. Step k is the state after the k-th update; step 0 is the base. The choices add up."""

    first: bool = True  # step 0: what every trajectory is compared with
    last: bool = True
    at: tuple[int, ...] = ()  # explicit steps
    every: int | None = None  # steps
    log2: bool = False  # 1, 2, 4, 8 …: early training moves fastest
    resume_every: int | None = None  # steps between full states (optimiser, RNG); only the newest is kept; none if null
    async_write: bool = True  # from a copy on the CPU, while training goes on; a checkpoint with hooks is awaited
    verify: bool = False  # load each one again and compare it with its canary before it counts; training waits

    def __post_init__(self) -> None:
        for name in ("every", "resume_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`checkpoints.{name}` is {value}: give 1 or more steps, or leave it out")
        if any(step < 0 for step in self.at):
            raise ConfigError(f"`checkpoints.at` holds {min(self.at)}: steps are counted from 0, the base")


def total_steps(steps_per_epoch: int, config: ScheduleConfig) -> int:
    """Optimiser steps in all; a fraction of an epoch is rounded up to a whole step."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return max(1, math.ceil(config.epochs * steps_per_epoch - 1e-9))


def warmup_steps(total: int, config: ScheduleConfig) -> int:
    """Updates before the peak; at most all of them."""
    if config.warmup_steps is not None:
        return min(config.warmup_steps, total)
    return min(math.ceil(config.warmup_share * total - 1e-9), total)


def lr_at(step: int, total: int, config: ScheduleConfig, peak: float = 1.0) -> float:
    """Learning rate of the `step`-th update (1 … `total`); with the default `peak`, as a share of the peak.

    Linear warm-up, which reaches the peak at its last step, then constant or half a cosine (Loshchilov & Hutter 2017,
    eq. 5, one period). Unlike the common implementations, neither the first nor the last update is spent on a rate of
    zero: the warm-up starts at 1/warm-up, and the cosine would reach `final_lr_share` at step total + 1.
    """
    if not 1 <= step <= total:
        raise ValueError(f"update {step} of {total}")
    warmup = warmup_steps(total, config)
    if step <= warmup:
        return peak * step / warmup
    if config.kind == "constant":
        return peak
    progress = (step - warmup) / (total + 1 - warmup)
    return peak * (config.final_lr_share + (1 - config.final_lr_share) * 0.5 * (1 + math.cos(math.pi * progress)))


def checkpoint_steps(total: int, config: CheckpointsConfig) -> list[int]:
    """The steps whose weights are written, in order. Raises ConfigError for a step that the run does not reach."""
    beyond = [step for step in config.at if step > total]
    if beyond:
        raise ConfigError(
            f"`checkpoints.at` holds {beyond[0]} and the run has {total} steps: drop it, or train for longer"
        )
    steps = set(config.at)
    if config.first:
        steps.add(0)
    if config.last:
        steps.add(total)
    if config.every is not None:
        steps.update(range(config.every, total + 1, config.every))
    if config.log2:
        steps.update(2**i for i in range(total.bit_length()) if 2**i <= total)
    return sorted(steps)
