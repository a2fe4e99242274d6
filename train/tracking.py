"""Mirroring a run to a tracker, through Accelerate. The run folder is the truth; this can be lost without harm."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..dynamics.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ..dynamics.alerts import Alert

STEP = "train/step"


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics are mirrored to. Nothing leaves the machine unless `mode` is `online`."""

    to: Literal["wandb", "tensorboard", "none"] = "wandb"
    project: str = "sftscope"
    group: str | None = None  # W&B group, such as the study's name
    mode: Literal["offline", "online", "disabled"] = "offline"  # W&B; the variable WANDB_MODE overrides it
    peak_tflops: float | None = None  # of one device, what `mfu` is a share of; null: known GPUs by name, dense bf16

    def __post_init__(self) -> None:
        if self.peak_tflops is not None and not self.peak_tflops > 0:
            raise ConfigError(f"`tracking.peak_tflops` is {self.peak_tflops}: give a number above 0, or leave it out")


def check_tracker(config: TrackingConfig) -> None:
    """ConfigError when the tracker's package is missing: before the run starts, not at its first row."""
    from importlib.util import find_spec

    if config.to != "none" and find_spec(config.to) is None:
        raise ConfigError(f"`tracking.to` is {config.to!r}, which is not installed: install it, or set `to: none`")


class Tracker:
    """Sends rows to the tracker of an accelerator made with `log_with`; does nothing for `to: none`."""

    def __init__(self, accelerator: Accelerator, config: TrackingConfig) -> None:
        self.accelerator, self.kind, self.on = accelerator, config.to, config.to != "none"

    def log(self, values: dict[str, Any]) -> None:
        if self.on:
            self.accelerator.log(values)

    def alert(self, alert: Alert) -> None:
        """Pass an alert on to W&B, which tells those who watch the project."""
        if self.on and self.kind == "wandb" and self.accelerator.is_main_process:
            self.accelerator.get_tracker("wandb", unwrap=True).alert(**alert.for_wandb())

    def finish(self) -> None:
        if self.on:
            self.accelerator.end_training()


def open_tracker(
    accelerator: Accelerator, config: TrackingConfig, run: Path, info: dict[str, Any], run_id: str
) -> Tracker:
    """Start the tracker with its files in `<run>/wandb`, and every metric plotted against the training step.

    `run_id` names the run for good: a resumed run's rows join those sent before.
    """
    if config.to == "none":
        return Tracker(accelerator, config)
    kwargs: dict[str, Any] = {}
    if config.to == "wandb":
        kwargs["wandb"] = _wandb_kwargs(config, run, run_id)
    accelerator.init_trackers(config.project, config=_flat(info), init_kwargs=kwargs)
    if config.to == "wandb" and accelerator.is_main_process:
        tracker = accelerator.get_tracker("wandb", unwrap=True)
        tracker.define_metric(STEP)
        tracker.define_metric("*", step_metric=STEP)
    return Tracker(accelerator, config)


def _wandb_kwargs(config: TrackingConfig, run: Path, run_id: str) -> dict[str, Any]:
    import wandb

    mode = os.environ.get("WANDB_MODE", config.mode)
    settings = wandb.Settings(
        console="off",  # the progress bar is not a log
        silent=True,  # its summary would repeat ours
        disable_git=True,
        save_code=False,
        x_disable_stats=True,
        x_disable_machine_info=True,
    )
    return {
        "dir": str(run),
        "name": run.name,
        "id": run_id,
        "group": config.group or run.name,  # what is measured later joins it there
        "mode": mode,
        "resume": "allow" if mode == "online" else None,  # offline, the rows join when they are synced
        "settings": settings,
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `a/b: scalar`: the one form that every tracker takes."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}/")
        else:
            flat[prefix + key] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat
