"""Weights for others to read (`checkpoints/step-…`), and the full state to go on from (`resume/step-…`)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.errors import RecordError
from ..dynamics.record import step_name
from ..dynamics.storage import MANIFEST, fsync_path, whole_folder, write_manifest
from ..dynamics.weights import weights_hash

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

COUNTERS = "counters.json"


def write_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    step: int,
    extra: Mapping[str, Any] | None = None,
    state_dict: dict[str, Any] | None = None,
) -> None:
    """Write the weights and tokenizer in Hugging Face layout with a manifest of hashes; complete or not at all.

    The manifest also holds `step`, `weights` (one hash over the safetensors files) and `extra`. `state_dict` stands in
    for the model's own where that is sharded.
    """
    with whole_folder(folder) as aside:
        model.save_pretrained(aside, state_dict=state_dict)
        tokenizer.save_pretrained(aside)
        manifest = write_manifest(aside, {"step": step, **(extra or {})})
        hashes = {name: e["sha256"] for name, e in manifest["files"].items() if name.endswith(".safetensors")}
        manifest["weights"] = weights_hash(hashes)
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


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
        for file in sorted(aside.rglob("*")):
            if file.is_file():
                fsync_path(file)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(aside, target)
        fsync_path(root)
        for old in root.iterdir():
            if old != target:
                shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def resume_folder(run: Path) -> Path | None:
    """The newest complete state under `resume/`, if there is one."""
    states = sorted((Path(run) / "resume").glob("step-*"))
    return states[-1] if states else None


def read_resume(run: Path, accelerator: Accelerator) -> dict[str, Any]:
    """Load the newest state into the prepared model and optimiser; returns its counters, `step` among them."""
    folder = resume_folder(run)
    if folder is None:
        raise RecordError(
            f"{run} holds no state to resume from: `checkpoints.resume_every` was not set, or the run ended before its "
            "first one. Delete the folder, or give another, and start again"
        )
    try:
        accelerator.load_state(str(folder))
        return json.loads((folder / COUNTERS).read_text())
    except (OSError, RuntimeError, ValueError) as error:
        raise RecordError(f"the state in {folder} is damaged ({error}): start again in another folder") from error


def drop_later(run: Path, step: int) -> None:
    """Remove checkpoints after `step`, and leavings of a kill: a resumed run trains those steps again.

    On one CPU the new ones are equal to the bit; on a GPU they may not be, and a folder never mixes two trajectories.
    """
    root = Path(run) / "checkpoints"
    for folder in sorted(root.glob("step-*")):
        if int(folder.name.removeprefix("step-")) > step:
            hidden = root / f".{folder.name}.old.tmp"
            shutil.rmtree(hidden, ignore_errors=True)
            os.rename(folder, hidden)  # gone for readers at once, also when the removal is interrupted
    for leaving in root.glob(".*.tmp"):
        shutil.rmtree(leaving, ignore_errors=True)


def drop_resume(run: Path) -> None:
    """Remove the state of a run that is complete."""
    shutil.rmtree(Path(run) / "resume", ignore_errors=True)
