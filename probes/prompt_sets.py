"""Prompt sets that directions are fitted to and reported on: labelled, split, halved, all by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .domains import Domain, Item, Split
from .protocol import IN_TEXT, INSTRUCTION_END, LAST_PROMPT, TEMPLATE, PromptSet
from .rendering import Renderer

Whose = tuple[int, str]  # row of the set, position
FIT_PER_CLASS, EVAL_PER_CLASS = 128, 96


def refusal_prompts(domains: Mapping[str, Domain], _items: Mapping[str, list[Item]]) -> PromptSet:
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
    return PromptSet(
        "refusal",
        tuple(items),
        np.array(label),
        np.array(part),
        np.array(half),
        np.array([i.cluster for i in items]),
        positions=(LAST_PROMPT, TEMPLATE, INSTRUCTION_END),
    )


PROMPT_SETS: dict[str, Callable[[Mapping[str, Domain], Mapping[str, list[Item]]], PromptSet]] = {
    "refusal": refusal_prompts
}


def sequences_of(prompts: PromptSet, renderer: Renderer) -> tuple[list[list[int]], list[list[int]], list[list[Whose]]]:
    """The token sequences of a prompt set, each once; the places to read in each; and whose they are: (row, position)."""
    ids = renderer.prompts([i.prompt for i in prompts.items])
    texts = prompts.texts or ("",) * len(ids)
    offsets = renderer.offsets([p for p in prompts.positions if p != IN_TEXT])
    rows_of: dict[tuple[str, str], list[int]] = {}
    for row, (item, text) in enumerate(zip(prompts.items, texts, strict=True)):
        rows_of.setdefault((item.prompt, text), []).append(row)
    sequences, places, names = [], [], []
    for (_, text), rows in rows_of.items():
        prompt = ids[rows[0]]
        at = [(len(prompt) + offset, (row, name)) for row in rows for name, offset in offsets.items()]
        words: list[int] = []
        if prompts.ends:
            words, inside = renderer.in_text(text, [prompts.ends[r] for r in rows])
            at += [(len(prompt) + k, (row, IN_TEXT)) for row, k in zip(rows, inside, strict=True)]
        sequences.append([*prompt, *words])
        places.append([place for place, _ in at])
        names.append([whose for _, whose in at])
    return sequences, places, names


def arranged(
    prompts: PromptSet,
    names: list[list[Whose]],
    acts_PLD: np.ndarray,
    embedded_PD: np.ndarray,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What was captured, place by place, as [rows, layers, width] by position and [rows, width] at the first position."""
    whose = [w for of_sequence in names for w in of_sequence]
    by_position: dict[str, np.ndarray] = {}
    embedded_ND = np.empty((len(prompts.items), embedded_PD.shape[-1]), np.float32)
    for name in dict.fromkeys(name for _, name in whose):
        taken = [k for k, (_, n) in enumerate(whose) if n == name]
        rows = [whose[k][0] for k in taken]
        by_position[name] = np.empty((len(prompts.items), *acts_PLD.shape[1:]), np.float32)
        by_position[name][rows] = acts_PLD[taken]
        if name == prompts.positions[0]:
            embedded_ND[rows] = embedded_PD[taken]
    return by_position, embedded_ND
