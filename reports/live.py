"""Mirroring measurements to W&B while they are made, as a run of its own in the group of the training run."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

from ..dynamics.alerts import Alert
from ..dynamics.record import Run
from ..dynamics.storage import content_key
from .tracking import Mode, history, start

if TYPE_CHECKING:
    import wandb


class LiveMirror:
    """A context that sends each checkpoint's numbers, and alerts. Does nothing where the run mirrors to nothing."""

    def __init__(self, run: Path | str) -> None:
        self.path = Path(run)
        self._tracked: wandb.Run | None = None

    def __enter__(self) -> LiveMirror:
        run = Run(self.path)
        tracking = (run.info.get("config") or {}).get("tracking") or {}
        mode = cast(Mode, os.environ.get("WANDB_MODE") or tracking.get("mode") or "offline")
        if tracking.get("to") == "wandb" and mode != "disabled":
            key = content_key("watch", run.info.get("config_hash"), run.info.get("created"), length=16)
            self._tracked = start(run, "watch", key, mode)
        return self

    def log(self, step: int) -> None:
        """Send what is measured at a checkpoint by now."""
        if self._tracked is not None:
            for row in history(Run(self.path), [step]):
                self._tracked.log(row)

    def alert(self, alert: Alert) -> None:
        """Pass an alert on to W&B, which tells those who watch the project."""
        if self._tracked is not None:
            self._tracked.alert(**alert.for_wandb())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracked is not None:
            # Asked to end by the keyboard, a watch has done its work.
            self._tracked.finish(exit_code=0 if kind is None or kind is KeyboardInterrupt else 1)
