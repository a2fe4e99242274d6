"""Mirroring measurements to W&B while they are made, as a run of its own in the group of the training run."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..dynamics.alerts import Alert
from ..dynamics.mirror.opening import PROJECT, chosen_mode, folders_of, init_arguments, set_axis, staged
from ..dynamics.mirror.rows import STEP, history, tracking_of
from ..dynamics.mirror.store import read_stored
from ..dynamics.mirror.tables import SAMPLES, SampleTables
from ..dynamics.record import Run
from ..dynamics.storage import content_key, remove_folder
from ..dynamics.watching import past_alerts

if TYPE_CHECKING:
    import wandb


class LiveMirror:
    """A context that sends each checkpoint's numbers and samples, and alerts. Does nothing where the run mirrors to nothing.

    A watch that begins again sends what was measured before again, in order: offline its files take the place of the
    earlier ones, and begin with the alerts of the record; online, W&B itself ignores what it has. What comes late, after a
    later checkpoint, is sent at W&B's next step of its own: W&B ignores smaller ones. The axis is `train/step`.
    """

    def __init__(self, run: Path | str) -> None:
        self.path = Path(run)
        self.key, self.note = "", ""  # the note is what to tell the user once
        self._record: Run | None = None
        self._tracked: wandb.Run | None = None
        self._had: set[int] = set()  # checkpoints that W&B was told of online, by earlier watches

    def __enter__(self) -> LiveMirror:
        self._record = run = Run(self.path)
        tracking = tracking_of(run)
        if tracking.get("to") != "wandb":
            return self
        mode, self.note = chosen_mode(tracking.get("mode"))
        if mode != "disabled":
            import wandb

            self.key = content_key("watch", run.info.get("config_hash"), run.info.get("created"), length=16)
            earlier = folders_of(self.path, self.key)
            arguments = init_arguments(
                run, name=f"{run.name}-watch", key=self.key, mode=mode, folder=self.path, job="watch"
            )
            self._tracked = wandb.init(project=tracking.get("project") or PROJECT, **arguments)
            set_axis(self._tracked)
            if mode == "online":
                online = [folder for folder in earlier if folder.name.startswith("run-")]
                self._had = {row[STEP] for folder in online for row in _rows(folder)}
            else:
                self._replace(earlier)
        return self

    def _replace(self, earlier: list[Path]) -> None:
        """Take the place of the files of earlier watches, whose alerts are told again."""
        for alert in past_alerts(Run(self.path)) if earlier else ():
            self.alert(alert)
        for folder in earlier:
            remove_folder(folder)

    def log(self, step: int) -> None:
        """Send what is measured at a checkpoint by now."""
        if self._tracked is None or self._record is None:
            return
        import wandb

        self._record = run = self._record.again()
        (row,) = history(run, [step])
        with staged(self.path, self.key):
            if texts := SampleTables(run).rows(step):
                row["samples"] = wandb.Table(columns=list(SAMPLES), data=texts)
            late = step < self._tracked.step
            if not (late and step in self._had):
                self._tracked.log(row, step=None if late else step, commit=True)

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


def _rows(folder: Path) -> list[dict[str, Any]]:
    return read_stored(folder).rows if any(folder.glob("run-*.wandb")) else []
