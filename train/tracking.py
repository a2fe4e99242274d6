"""Mirroring a run to a tracker, through Accelerate. The run folder is the truth; this can be lost without harm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..dynamics.errors import ConfigError
from ..dynamics.mirror.artifacts import checkpoint_artifact
from ..dynamics.mirror.opening import (
    FOLDER,
    PROJECT,
    chosen_mode,
    folders_of,
    how_to_sync,
    init_arguments,
    set_axis,
    staged,
    training_id,
)
from ..dynamics.mirror.rows import BY_DOMAIN, STEP, TAKEN, as_table, measured_rows, step_row, training_rows
from ..dynamics.mirror.tables import LAYERS, SAMPLES, SampleTables, layer_rows
from ..dynamics.record import Run, step_name
from ..dynamics.storage import remove_folder
from ..dynamics.types import Measurement
from ..dynamics.watching import past_alerts

if TYPE_CHECKING:
    import wandb
    from accelerate import Accelerator

    from ..dynamics.alerts import Alert

# Accelerate's names, which are those of the packages.
Kind = Literal["wandb", "tensorboard", "none", "aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "trackio"]


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics are mirrored to. Nothing leaves the machine unless `mode` is `online`."""

    to: Kind = "wandb"
    project: str = PROJECT
    group: str | None = None  # W&B group, such as the study's name
    mode: Literal["offline", "online", "disabled"] = "offline"  # W&B; the variable WANDB_MODE overrides it
    metrics: tuple[str, ...] = ()  # other metrics than the usual ones to mirror: names, or patterns such as "cue_*"
    peak_tflops: float | None = None  # of one device, what `mfu` is a share of; null: known GPUs by name, dense bf16

    def __post_init__(self) -> None:
        if self.peak_tflops is not None and not self.peak_tflops > 0:
            raise ConfigError(f"`tracking.peak_tflops` is {self.peak_tflops}: give a number above 0, or leave it out")
        for name in self.metrics:
            if name in BY_DOMAIN or name in TAKEN:
                meant = f" for `{BY_DOMAIN[name]}`, which is mirrored anyway" if name in BY_DOMAIN else ""
                raise ConfigError(
                    f"`tracking.metrics` names {name!r}, a name that the tracker has{meant}: leave it out"
                )


def check_tracker(config: TrackingConfig) -> None:
    """ConfigError when the tracker's package is missing: before the run starts, not at its first row."""
    from importlib.util import find_spec

    if config.to != "none" and find_spec(config.to) is None:
        raise ConfigError(
            f"`tracking.to` is {config.to!r}, which is not installed: `pip install {config.to}`, or set `tracking.to: none` "
            "(`sftscope push` mirrors the run to W&B whenever you like)"
        )


class Tracker:
    """Sends a training's rows to the tracker of an accelerator made with `log_with`; `on` is False for `to: none`.

    `note` is what to tell the user once.
    """

    def __init__(
        self, accelerator: Accelerator, config: TrackingConfig, run: Path, *, on: bool, note: str = ""
    ) -> None:
        self.accelerator, self.config, self.run, self.on, self.note = accelerator, config, run, on, note
        self._declared: set[int] = set()  # checkpoints that W&B knows of
        self._wandb: wandb.Run | None = None  # on the first process
        if on and config.to == "wandb" and accelerator.is_main_process:
            self._wandb = accelerator.get_tracker("wandb", unwrap=True)

    def step(self, row: dict[str, Any]) -> None:
        """Send a row of steps.jsonl."""
        self._log(int(row["step"]), step_row(row))

    def measured(self, step: int, measured: Sequence[Measurement]) -> None:
        """Send what was measured at a checkpoint: numbers with their bounds; to W&B also layer curves and samples."""
        if not self.on:
            return
        table = as_table(measured)
        self._log(step, measured_rows(table, self.config.metrics).get(step, {}))
        self._tables(step, layer_rows(table))

    def checkpoints(self) -> None:
        """Declare to W&B, by reference, the checkpoints that have come since the last call."""
        if self._wandb is None:
            return
        record = Run(self.run)
        for step, folder in record.checkpoints().items():
            if step not in self._declared:
                self._declared.add(step)
                with staged(self.run, training_id(record)):
                    self._wandb.log_artifact(checkpoint_artifact(record, step, folder), aliases=[step_name(step)])

    def alert(self, alert: Alert) -> None:
        """Pass an alert on to W&B, which tells those who watch the project."""
        if self._wandb is not None:
            self._wandb.alert(**alert.for_wandb())

    def finish(self, *, failed: bool = False) -> None:
        if self.on:
            self.checkpoints()
            if self._wandb is not None:
                self._wandb.finish(exit_code=int(failed))
            self.accelerator.end_training()

    def again(self, upto: int) -> None:
        """Send what the record holds up to a step: the rows and alerts of a run that is resumed."""
        record = Run(self.run)
        layers = layer_rows(record.measurements())
        inline = {int(step) for step in record.measured_steps()}
        for step, row in training_rows(record, upto=upto, also=self.config.metrics):
            self._log(step, row)
            if step in inline:
                self._tables(step, [curve for curve in layers if curve[0] == step])
        for alert in past_alerts(record, upto=upto):
            self.alert(alert)

    def _log(self, step: int, values: dict[str, Any]) -> None:
        if not self.on:
            return
        if self.config.to == "wandb":
            self.accelerator.log({**values, STEP: step}, step=step)
            return
        numbers = {k: v for k, v in values.items() if k != STEP and (isinstance(v, int) or math.isfinite(v))}
        if numbers:
            self.accelerator.log(numbers, step=step)

    def _tables(self, step: int, layers: list[list[Any]]) -> None:
        if self._wandb is None:
            return
        import wandb

        tables: dict[str, Any] = {}
        record = Run(self.run)
        with staged(self.run, training_id(record)):
            if layers:
                tables["layers"] = wandb.Table(columns=list(LAYERS), data=layers)
            if (self.run / "samples" / step_name(step)).is_dir() and (texts := SampleTables(record).rows(step)):
                tables["samples"] = wandb.Table(columns=list(SAMPLES), data=texts)
            if tables:
                self._wandb.log(tables, step=step)


def open_tracker(
    accelerator: Accelerator, config: TrackingConfig, run: Path, info: dict[str, Any], *, done: int = 0
) -> Tracker:
    """Start the tracker with its files in the run folder; with `done` steps behind it, its rows go on from there.

    Resumed, no row is doubled or lost: offline, W&B cannot go on with its earlier files, so new ones begin with the rows of
    the record and take their place; online, it ignores rows up to the last step that it has; TensorBoard drops the events
    after `done`.
    """
    if config.to == "none":
        return Tracker(accelerator, config, run, on=False)
    if config.to == "wandb":
        return _open_wandb(accelerator, config, run, info, done)
    if config.to == "tensorboard":
        after = {"purge_step": done + 1} if done else {}
        accelerator.init_trackers("tensorboard", config=_flat(info), init_kwargs={"tensorboard": after})
        where = run / "tensorboard"
        return Tracker(accelerator, config, run, on=True, note=f"TensorBoard: `tensorboard --logdir {where}`")
    accelerator.init_trackers(config.project, config=_flat(info))
    return Tracker(accelerator, config, run, on=True)


def _open_wandb(
    accelerator: Accelerator, config: TrackingConfig, run: Path, info: dict[str, Any], done: int
) -> Tracker:
    # One process sends: it alone may be asked for an account.
    mode, note = chosen_mode(config.mode) if accelerator.is_main_process else ("offline", "")
    if mode == "disabled":
        return Tracker(accelerator, config, run, on=False)
    record = Run(run)
    key = training_id(record)
    earlier = folders_of(run, key) if mode == "offline" else []
    arguments = init_arguments(record, name=run.name, key=key, mode=mode, folder=run, job="training")
    arguments["group"] = config.group or run.name  # a resumed run's settings may be other than those on record
    accelerator.init_trackers(config.project, config=_flat(info), init_kwargs={"wandb": arguments})
    if mode == "offline":
        note = "; ".join(filter(None, [note, how_to_sync(run / FOLDER / "offline-run-*")]))
    tracker = Tracker(accelerator, config, run, on=True, note=note)
    if accelerator.is_main_process:
        set_axis(accelerator.get_tracker("wandb", unwrap=True))
        if mode == "offline":
            tracker.again(done)
            for folder in earlier:
                remove_folder(folder)
    return tracker


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `a/b: scalar`: the one form that every tracker takes."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}/")
        else:
            flat[prefix + key] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat
