"""What a run will write to the disk, reckoned before its first step."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..dynamics.errors import ConfigError
from ..dynamics.record import step_name
from .lora import saved_state
from .plan import Plan
from .resume import resume_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_BYTES = 100  # a token of the vocabulary, in the tokenizer's files (Qwen3: 75)
MOMENTS = 2  # AdamW's, in the dtype of the weights


@dataclass(frozen=True)
class DiskBudget:
    """What is still to be written, and the room there is."""

    checkpoints: int
    checkpoint_bytes: int  # of each
    states: int  # for resuming: the new one is complete before the old one goes
    state_bytes: int
    free_bytes: int

    @property
    def needed_bytes(self) -> int:
        return self.checkpoints * self.checkpoint_bytes + self.states * self.state_bytes

    def explain(self) -> str:
        """The line for the log of the plan."""
        states = f" + {self.states} x {size(self.state_bytes)} of state" if self.states else ""
        return (
            f"disk         {self.checkpoints} checkpoints x {size(self.checkpoint_bytes)}{states} "
            f"= {size(self.needed_bytes)} to write; {size(self.free_bytes)} free"
        )


def disk_budget(
    run: Path, plan: Plan, resume_every: int | None, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> DiskBudget:
    """Bytes of the checkpoints that `run` lacks and of its full states, from the sizes of what is saved of the model."""
    tensors = {tensor.data_ptr(): tensor.nbytes for tensor in saved_state(model).values()}  # tied weights once
    weights = sum(tensors.values())
    moments = MOMENTS * sum(p.nbytes for p in model.parameters() if p.requires_grad)
    kept = resume_every is not None and resume_every <= plan.total_steps
    return disk_budget_of(run, plan.checkpoints, kept, weights=weights, moments=moments, vocabulary=len(tokenizer))


def disk_budget_of(
    run: Path, checkpoints: Sequence[int], kept: bool, *, weights: int, moments: int, vocabulary: int
) -> DiskBudget:
    """The same from sizes in bytes: `checkpoints` are the steps saved, `kept` says whether full states are."""
    there = Path(run) / "checkpoints"
    return DiskBudget(
        checkpoints=sum(not (there / step_name(step)).exists() for step in checkpoints),
        checkpoint_bytes=weights + TOKENIZER_BYTES * vocabulary,
        states=(1 if resume_folder(run) else 2) if kept else 0,
        state_bytes=weights + moments,
        free_bytes=_free_bytes(Path(run)),
    )


def check_disk(run: Path, budget: DiskBudget) -> None:
    """Raise ConfigError where the run would fill the disk, with the numbers and the ways out."""
    if budget.needed_bytes <= budget.free_bytes:
        return
    states = f" and {budget.states} states to resume from of {size(budget.state_bytes)}" if budget.states else ""
    raise ConfigError(
        f"{budget.checkpoints} checkpoints of {size(budget.checkpoint_bytes)}{states} need {size(budget.needed_bytes)}, "
        f"and {size(budget.free_bytes)} is free at {run}: raise `checkpoints.every`, drop steps from `checkpoints.at`, "
        "leave out `checkpoints.resume_every`, or give a folder on a larger disk"
    )


def size(n: int) -> str:
    """Bytes in the largest binary unit that leaves a number above 1."""
    value = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _free_bytes(run: Path) -> int:
    """Of the disk that `run` will lie on: its nearest parent that exists."""
    there = next(folder for folder in (run.absolute(), *run.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free
