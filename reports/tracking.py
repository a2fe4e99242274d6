"""Mirroring a run to W&B from its folder, as W&B runs of their own in the group of the training run. The folder is the truth."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.claims import CLAIMS, Claims
from ..dynamics.errors import RecordError, nearest
from ..dynamics.mirror.artifacts import checkpoint_facts
from ..dynamics.mirror.opening import (
    FOLDER,
    PROJECT,
    STAGED,
    Mode,
    chosen_mode,
    folders_of,
    how_to_sync,
    init_arguments,
    set_axis,
    staged,
    training_id,
)
from ..dynamics.mirror.rows import STEP, also_mirrored, left_out, step_rows, tracking_of, training_rows
from ..dynamics.mirror.store import Stored, read_stored
from ..dynamics.record import FINDINGS_FILE, Run
from ..dynamics.storage import content_key, remove_folder, sha256_file
from . import mirrored
from .source import Source

if TYPE_CHECKING:
    import wandb

VERSION = 3  # of what is written: another one is pushed anew
JOBS = ("training", "probes", "report")
PATIENCE = 120.0  # seconds for W&B's own process to have written what it was given

Write = Callable[["wandb.Run"], int]  # gives the rows it logged


@dataclass(frozen=True)
class Job:
    """A W&B run that a push makes."""

    name: str  # one of JOBS
    content: str  # a hash of what it holds
    write: Write

    @property
    def key(self) -> str:
        """The id of its W&B run."""
        return f"{self.name}-{self.content}"


def push(run: Path | str, *, mode: Mode | None = None, say: Callable[[str], None] | None = None) -> list[Path]:
    """Write the training's rows, the measurements and the report to W&B; gives the folders of W&B's files, none if disabled.

    Offline unless `mode` or the variable WANDB_MODE (which wins) says otherwise. Three W&B runs in one group: `training`,
    unless the training process itself has sent all of it; `probes`; `report`. Each is named by its content and appears
    whole or not at all: pushing the same again adds nothing, and goes on where a push was cut off; a second push
    of a folder waits for the first. `say` is told what is pushed and what is there already. Raises RecordError without an
    analysis, and ConfigError for an unknown mode.
    """
    source = Source(run)
    say = say or _mute
    chosen, note = chosen_mode(mode)
    if chosen == "disabled":
        return []
    if note:
        say(note)
    folder, made = source.run.path / FOLDER, []
    with _alone(source.run.path, say):
        source = Source(run)  # as it is now that nobody else pushes
        _check_names(source.run, say)
        _sweep(folder)
        for job in _jobs(source, say):
            there = _pushed(source.run, job, chosen)
            made.append(there or _send(source.run, job, chosen))
            say(f"{'already there' if there else 'pushed'}: {made[-1].resolve()}")
        _drop_outdated(source.run, made)
        _sweep(folder)  # again: W&B's own process outlives for a moment the push that was killed
    if chosen == "offline":
        say(how_to_sync(folder / "offline-run-*"))
    return made


@contextmanager
def _alone(run: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only push of a run folder, on this machine and on others; waits for another to end, and says so."""
    claims, told = Claims(run / CLAIMS, "push"), False
    try:
        while not claims.take("push"):
            other = claims.holder("push")
            if other and not told:
                told = True
                where = f"process {other.pid} on {other.host.split()[0]}"
                say(f"another push of this folder is under way ({where}): waiting for its end")
            time.sleep(0.2)
        yield
    finally:
        claims.close()


def _sweep(folder: Path) -> None:
    """Remove what a push that was cut off has left."""
    for left in folder.glob(".push-*"):
        shutil.rmtree(left, ignore_errors=True)


def _drop_outdated(run: Run, made: list[Path]) -> None:
    """Remove what earlier pushes wrote offline of a run that has gone on since, unless W&B has noted that it was uploaded."""
    for job in JOBS:
        for folder in folders_of(run.path, f"{job}-*"):
            uploaded = any(folder.glob("*.synced"))
            if folder not in made and folder.name.startswith("offline-") and not uploaded:
                remove_folder(folder)
                _drop_staged(run, folder.name.split("-", 3)[3])


def _drop_staged(run: Run, key: str) -> None:
    """Remove the files of a W&B run's artifacts, unless one stands that names them."""
    if not folders_of(run.path, key):
        shutil.rmtree(run.path / FOLDER / STAGED / key, ignore_errors=True)


def _mute(line: str) -> None:
    pass


def _check_names(run: Run, say: Callable[[str], None]) -> None:
    """Say which of `tracking.metrics` were not measured, and what has no curve since its name is another's."""
    table = run.measurements()
    known = set(table["metric"]) if len(table) else set()
    for name in also_mirrored(run):
        if not any(c in name for c in "*?[") and name not in known:
            say(f"`tracking.metrics` names {name!r}, which is not measured: {nearest(name, known)}")
    for line in left_out(table, also_mirrored(run)):
        say(f"{line}; it is in the tables `measurements`")


def _jobs(source: Source, say: Callable[[str], None]) -> Iterator[Job]:
    run = source.run
    checkpoints = [checkpoint_facts(step, folder) for step, folder in run.checkpoints().items()]
    measured = [_measured(run), checkpoints]
    if step_rows(run) and not _mirrored_live(run, checkpoints):
        key = content_key("training", *_identity(run), list(training_rows(run)), checkpoints)
        yield Job("training", key, partial(mirrored.training, run))
    yield Job("probes", content_key("probes", *_identity(run), *measured), partial(mirrored.probes, source, say))
    findings = sha256_file(run.path / FINDINGS_FILE)
    yield Job("report", content_key("report", *_identity(run), *measured, findings), partial(mirrored.report, source))


def _identity(run: Run) -> list[Any]:
    return [VERSION, *(run.info.get(key) for key in ("name", "created", "config_hash")), sorted(also_mirrored(run))]


def _measured(run: Run) -> list[tuple[str, int]]:
    """The measurements' files, which are named by their content."""
    files = run.path.glob("measurements/step-*/*.parquet")
    return sorted((str(file.relative_to(run.path)), file.stat().st_size) for file in files)


def _mirrored_live(run: Run, checkpoints: list[dict[str, Any]]) -> bool:
    """Whether the training process has told W&B every number and every checkpoint as it is recorded."""
    told: dict[int, dict[str, Any]] = {}
    declared: list[dict[str, Any]] = []
    for folder in folders_of(run.path, training_id(run)):
        if any(folder.glob("run-*.wandb")):
            stored = read_stored(folder)
            for row in stored.rows:
                told.setdefault(row.get(STEP, -1), {}).update(row)
            if _has_its_files(folder, stored):
                declared += [json.loads(a.metadata) for a in stored.artifacts if a.type == "checkpoint"]
    recorded = (
        (told.get(step, {}).get(name), value) for step, row in training_rows(run) for name, value in row.items()
    )
    return all(a == b or (a != a and b != b) for a, b in recorded) and all(facts in declared for facts in checkpoints)


def _pushed(run: Run, job: Job, mode: Mode) -> Path | None:
    """The folder of an earlier push of the same content in the same mode, if it is whole."""
    prefix = "offline-run-" if mode == "offline" else "run-"
    return next((f for f in folders_of(run.path, job.key) if f.name.startswith(prefix) and _is_whole(f)), None)


def _is_whole(folder: Path) -> bool:
    try:
        stored = read_stored(folder)
    except RecordError:
        return False
    return stored.exit_code == 0 and _has_its_files(folder, stored)


def _has_its_files(folder: Path, stored: Stored) -> bool:
    """Whether W&B has the files of a W&B run's artifacts, or can be given them: a run folder that was moved names files that
    are no more."""
    sent = not folder.name.startswith("offline-") or any(folder.glob("*.synced"))
    return sent or all(file.is_file() for file in stored.local_files())


def _send(run: Run, job: Job, mode: Mode) -> Path:
    """Write one W&B run aside and move it into place when W&B has written all of it."""
    import wandb

    folder = run.path / FOLDER
    aside = folder / f".push-{job.key}-{os.getpid()}"
    aside.mkdir(parents=True)
    _drop_staged(run, job.key)  # of a push that was cut off
    arguments = init_arguments(run, name=f"{run.name}-{job.name}", key=job.key, mode=mode, folder=aside, job=job.name)
    told = {"run": run.name, "config_hash": run.info.get("config_hash"), "training_id": training_id(run)}
    project = tracking_of(run).get("project") or PROJECT
    with staged(run.path, job.key):
        tracked = wandb.init(project=project, config=told, **arguments)
        set_axis(tracked)
        files = Path(tracked.dir).parent
        try:
            rows = job.write(tracked)
        except BaseException:
            tracked.finish(exit_code=1)
            raise
        tracked.finish()
    _wait(files, rows, mode)
    there = folder / files.name
    remove_folder(there)  # one of the same second that is not whole
    os.rename(files, there)
    return there


def _wait(files: Path, rows: int, mode: Mode) -> None:
    """Return when W&B's own process has written its last record: it may still be at it when `finish` returns."""
    until = time.monotonic() + PATIENCE
    while (stored := read_stored(files)).exit_code is None or (mode == "offline" and len(stored.rows) < rows):
        if time.monotonic() > until:
            raise RecordError(
                f"W&B has written {len(stored.rows)} of {rows} rows to {files} after {PATIENCE:.0f} s and no more: is the "
                "disk full? Nothing is lost; push again"
            )
        time.sleep(0.05)
