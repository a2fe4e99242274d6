"""Prompt sets that directions are fitted to and reported on: labelled, split, halved, all by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .domains import Domain, Item, Split
from .protocol import PromptSet

FIT_PER_CLASS, EVAL_PER_CLASS = 128, 96


def refusal_prompts(domains: Mapping[str, Domain]) -> PromptSet:
    """Harmful requests (positive) and their safe look-alikes: fitted on the `train` split, reported on the `test` split.

    The behaviour is measured on the `probe` split, so that internal and behavioural metrics share no prompt.
    """
    items: list[Item] = []
    label, part, half = [], [], []
    parts: tuple[tuple[str, Split, int], ...] = (("fit", "train", FIT_PER_CLASS), ("eval", "test", EVAL_PER_CLASS))
    for name, split, n in parts:
        for domain, positive in (("harmful", True), ("safe", False)):
            chosen = domains[domain].items(split, n, seed=1)
            items += chosen
            label += [positive] * n
            part += [name] * n
            half += ["AB"[i % 2] for i in range(n)]
    return PromptSet("refusal", tuple(items), np.array(label), np.array(part), np.array(half))


PROMPT_SETS: dict[str, Callable[[Mapping[str, Domain]], PromptSet]] = {"refusal": refusal_prompts}
