"""The full state to go on from, `resume/step-…`: weights, optimiser, random generators and counters; the newest is kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.errors import CheckpointError, RecordError
from ..dynamics.record import step_name
from ..dynamics.storage import fsync_path, remove_folder, write_manifest
from ..dynamics.weights import check_manifest, read_manifest

if TYPE_CHECKING:
    from accelerate import Accelerator

COUNTERS = "counters.json"


def write_resume(run: Path, accelerator: Accelerator, counters: Mapping[str, float]) -> None:
    """Save model, optimiser, RNG states and `counters` under `resume/`. Every process calls it.

    The new state appears complete before the old one goes: a kill at any time leaves one that works.
    """
    root, step = Path(run) / "resume", int(counters["step"])
    target, aside = root / step_name(step), root / f".{step_name(step)}.tmp"
    if accelerator.is_main_process:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(aside))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (aside / COUNTERS).write_text(json.dumps(dict(counters)))
        write_manifest(aside, {"step": step, "processes": accelerator.num_processes})
        for file in sorted(aside.rglob("*")):
            if file.is_file():
                fsync_path(file)
        fsync_path(aside)
        remove_folder(target)
        os.rename(aside, target)
        fsync_path(root)
        for old in root.iterdir():
            if old != target:
                remove_folder(old)
    accelerator.wait_for_everyone()


def resume_folder(run: Path) -> Path | None:
    """The newest complete state under `resume/`, if there is one."""
    states = sorted((Path(run) / "resume").glob("step-*"))
    return states[-1] if states else None


def read_resume(folder: Path, accelerator: Accelerator) -> dict[str, Any]:
    """Load a state into the prepared model and optimiser; returns its counters, `step` among them.

    Raises RecordError where it is not what its manifest lists, and for another number of processes: Accelerate would go
    on without a word with generators that it could not restore.
    """
    try:
        check_manifest(folder)
        processes = read_manifest(folder).get("processes", accelerator.num_processes)
        if processes != accelerator.num_processes:
            raise RecordError(
                f"{folder} was written by {processes} processes and these are {accelerator.num_processes}: "
                f"launch {processes} to go on exactly, or start again in another folder"
            )
        # Not strict: of a peft model the weights that stay fixed are not in the state, whose manifest vouches for the rest.
        accelerator.load_state(str(folder), strict=False)
        return json.loads((folder / COUNTERS).read_text())
    except (OSError, RuntimeError, ValueError, CheckpointError) as error:
        raise RecordError(f"the state in {folder} is damaged ({error}): start again in another folder") from error


def drop_resume(run: Path) -> None:
    """Remove the state of a run that is complete, and what a removal that was cut short left of it."""
    root = Path(run) / "resume"
    for state in root.glob("step-*"):
        remove_folder(state)
    shutil.rmtree(root, ignore_errors=True)
