"""The training step in a name: of a checkpoint's folder, a revision, a model path."""

from __future__ import annotations

import re

# `step-10`, `checkpoint-10`, `global_step_10`, `step640` (the study's repositories), `merged_step640` (its merge script),
# `iter_0000010`, `checkpoint-250step`, `10`
_STEP = re.compile(
    r"(?:(?:global|merged|hf|model)[-_]?)*(?:steps?|checkpoint|ckpt|iter(?:ation)?)[-_]?(\d+)(?:[-_]?steps?)?|(\d+)",
    re.I,
)
_STEP_IN_A_REVISION = re.compile(r"(?:^|[-_./])(?:steps?|checkpoint|ckpt|iter(?:ation)?)[-_]?(\d+)", re.I)


def step_of(name: str) -> int | None:
    """The step that a checkpoint's folder is named after; None where its name is no step's."""
    match = _STEP.fullmatch(name)
    return int(match[1] or match[2]) if match else None


def step_of_revision(name: str) -> int | None:
    """The step in a branch's or tag's name, which may say more: `step1000-tokens4B`, `stage1/step-500`."""
    match = _STEP_IN_A_REVISION.search(name)
    return step_of(name) if match is None else int(match[1])
