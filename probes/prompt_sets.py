"""Prompt sets that directions are fitted to and reported on: labelled, split, halved, all by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .dead_ends import Place, matched, places, worked_domains
from .domains import Domain, Item, Split
from .protocol import AFTER_MOVE, INSTRUCTION_END, LAST_PROMPT, MOVE_END, TEMPLATE, PromptSet
from .rendering import Renderer

Whose = tuple[int, str]  # row of the set, position
FIT_PER_CLASS, EVAL_PER_CLASS = 128, 100  # with 99 harmless prompts or more one false positive is at most 1 %
PARTS: tuple[tuple[str, Split, int], ...] = (("fit", "train", FIT_PER_CLASS), ("eval", "test", EVAL_PER_CLASS))
QUESTIONS = 100  # of each domain, whose lengths are read from the prompt's end
POOL = 2  # questions drawn for each pair of places that a search domain is to give


def halves(group: Sequence[str]) -> np.ndarray:
    """Half A or B for every row: whole groups, as many in either. Rows of a group share what the halves must not."""
    names = sorted(set(group))
    of = {name: "AB"[k % 2] for k, name in enumerate(names)}
    return np.array([of[g] for g in group])


def refusal_prompts(domains: Mapping[str, Domain], _items: Mapping[str, list[Item]]) -> PromptSet:
    """Harmful requests (positive) and their safe look-alikes: fitted on the `train` split, reported on the `test` split.

    The behaviour is measured on the `probe` split, so that internal and behavioural metrics share no prompt.
    """
    items: list[Item] = []
    label, part = [], []
    for name, split, n in PARTS:
        for domain, positive in (("harmful", True), ("safe", False)):
            items += domains[domain].items(split, n, seed=1)
            label += [positive] * n
            part += [name] * n
    group = [i.cluster for i in items]
    return PromptSet(
        "refusal",
        tuple(items),
        np.array(label),
        np.array(part),
        halves(group),
        np.array(group),
        positions=(LAST_PROMPT, TEMPLATE, INSTRUCTION_END),
    )


def backtracking_prompts(domains: Mapping[str, Domain], _items: Mapping[str, list[Item]]) -> PromptSet:
    """Dead ends in worked traces (positive) and matched moves that are none, equally many from every search domain present.

    Read at the move's last token, where a dead end can be known, and at the word after it, which says so and where going
    back is decided. A trace is one group. Fitted on the `train` split, reported on the `test` split.
    """
    rows: list[Place] = []
    part: list[str] = []
    searches = worked_domains(domains.values())
    for name, split, n in PARTS:
        pairs = -(-n // len(searches))
        for domain in searches:
            drawn = domain.items(split, POOL * pairs, seed=1)
            rows += matched((place for item in drawn for place in places(domain, item)), pairs)
            part += [name] * (len(rows) - len(part))
    group = [r.item.id for r in rows]
    return PromptSet(
        "backtracking",
        tuple(r.item for r in rows),
        np.array([r.dead_end for r in rows]),
        np.array(part),
        halves(group),
        np.array(group),
        positions=(MOVE_END, AFTER_MOVE),
        texts=tuple(r.text for r in rows),
        ends={MOVE_END: tuple(r.move_end for r in rows), AFTER_MOVE: tuple(r.after for r in rows)},
    )


def questions(_domains: Mapping[str, Domain], items: Mapping[str, list[Item]]) -> PromptSet:
    """The questions that every domain is probed with, at the end of the prompt: what lengths are read from. Labelled by level."""
    asked = [(name, i) for name, of_domain in items.items() for i in of_domain[:QUESTIONS]]
    group = [f"{name} {i.cluster}" for name, i in asked]
    return PromptSet(
        "questions",
        tuple(i for _, i in asked),
        np.array([float(i.level) for _, i in asked]),
        np.array(["eval"] * len(asked)),
        halves(group),
        np.array(group),
    )


PROMPT_SETS: dict[str, Callable[[Mapping[str, Domain], Mapping[str, list[Item]]], PromptSet]] = {
    "refusal": refusal_prompts,
    "backtracking": backtracking_prompts,
    "questions": questions,
}


def sequences_of(prompts: PromptSet, renderer: Renderer) -> tuple[list[list[int]], list[list[int]], list[list[Whose]]]:
    """The token sequences of a prompt set, each once; the places to read in each; and whose they are: (row, position)."""
    ids = renderer.prompts([i.prompt for i in prompts.items])
    texts = prompts.texts or ("",) * len(ids)
    offsets = renderer.offsets([p for p in prompts.positions if p not in prompts.ends])
    rows_of: dict[tuple[str, str], list[int]] = {}
    for row, (item, text) in enumerate(zip(prompts.items, texts, strict=True)):
        rows_of.setdefault((item.prompt, text), []).append(row)
    sequences, places, names = [], [], []
    for (_, text), rows in rows_of.items():
        prompt = ids[rows[0]]
        at = [(len(prompt) + offset, (row, name)) for row in rows for name, offset in offsets.items()]
        words: list[int] = []
        for name, ends in prompts.ends.items():
            words, inside = renderer.in_text(text, [ends[r] for r in rows])
            at += [(len(prompt) + k, (row, name)) for row, k in zip(rows, inside, strict=True)]
        places.append([place for place, _ in at])
        sequences.append([*prompt, *words][: max(places[-1]) + 1])  # what comes after the last place is not read
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
