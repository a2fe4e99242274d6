"""Example items at two checkpoints side by side: chosen because their verdict changed, so that a change can be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pandas as pd

from ..dynamics.errors import RecordError
from .source import Source
from .text import clip

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
LONGEST_PROMPT = 4_000  # characters
# Where the reader looks first: the trained domain, its relatives, safety; general abilities fill the places left over.
GROUP_ORDER = ("id_reasoning", "ood_reasoning", "safety", "general")
RIGHT = {"harmful": ("refused", "not refused"), "safe": ("helped", "not helped")}  # what strict right and wrong are there


@dataclass(frozen=True, slots=True)
class Side:
    """A response at one checkpoint, as a page shows it."""

    step: int
    verdict: str  # right, wrong or unfinished (of harmful requests: refused, not refused)
    good: bool
    tokens: int
    think: str
    answer: str
    notes: tuple[str, ...] = ()  # what was cut


@dataclass(frozen=True, slots=True)
class Trace:
    domain: str
    group: str
    item: str
    prompt: str
    sides: tuple[Side, Side]  # base, then the later checkpoint
    changed: int  # items of this domain whose verdict changed between the two
    items: int  # items compared


def pick_traces(source: Source, count: int = 6) -> list[Trace]:
    """Up to `count` items at the base and at the domain's trough (else the last checkpoint), by turns from each group.

    Items whose strict verdict changed come first, losses and gains by turns; the choice depends on nothing but content.
    """
    queues = {group: _interleave([_of_domain(source, d) for d, g in source.groups.items() if g == group]) for group in GROUP_ORDER}
    per_group = -(-count // 3)
    chosen: list[Trace] = []
    for group in GROUP_ORDER:
        chosen += [t for t, _ in zip(queues[group], range(min(per_group, count - len(chosen))), strict=False)]
    rest = _interleave(list(queues.values()))
    chosen += [t for t, _ in zip(rest, range(count - len(chosen)), strict=False)]
    return sorted(chosen, key=lambda t: GROUP_ORDER.index(t.group))


def split_response(text: str) -> tuple[str, str]:
    """The thinking and the answer of a response; a thinking part that is never closed leaves no answer."""
    if THINK_OPEN not in text:
        return "", text.strip()
    think, closed, answer = text.split(THINK_OPEN, 1)[1].partition(THINK_CLOSE)
    return think.strip(), answer.strip() if closed else ""


def _of_domain(source: Source, domain: str) -> Iterator[Trace]:
    """Traces of one domain, the most telling first."""
    later = source.turning_step(domain)
    if later is None:
        return
    try:
        strict = source.run.items(domain, "strict")[[0, later]].dropna()
        sides = [source.run.samples(domain, step).drop_duplicates("item").set_index("item") for step in (0, later)]
    except (RecordError, KeyError):  # not measured, or its samples were not kept
        return
    both = strict.index.intersection(sides[0].index).intersection(sides[1].index).sort_values()
    before, after = (strict.loc[both, step] > 0.5 for step in (0, later))
    lost, gained, same = (list(both[m]) for m in (before & ~after, ~before & after, before == after))
    changed = int(((strict[0] > 0.5) != (strict[later] > 0.5)).sum())
    for item in [*_interleave([iter(lost), iter(gained)]), *same]:
        rows = [side.loc[item] for side in sides]
        prompt, note = clip(str(rows[0]["prompt"]), LONGEST_PROMPT)
        shown = tuple(_side(domain, s, r, bool(ok)) for s, r, ok in zip((0, later), rows, (before[item], after[item]), strict=True))
        yield Trace(
            domain=domain,
            group=source.groups[domain],
            item=str(item),
            prompt=f"{prompt} … ({note})" if note else prompt,
            sides=(shown[0], shown[1]),
            changed=changed,
            items=len(strict),
        )


def _side(domain: str, step: int, row: pd.Series, good: bool) -> Side:
    think, answer = split_response(str(row["text"]))
    think, think_note = clip(think)
    answer, answer_note = clip(answer)
    right, wrong = RIGHT.get(domain, ("right", "wrong"))
    verdict = right if good else "unfinished" if row["finish"] == "length" else wrong
    notes = [f"{part} {note}" for part, note in (("Thinking", think_note), ("Answer", answer_note)) if note]
    return Side(step, verdict, good, len(row["token_ids"]), think, answer, tuple(notes))


def _interleave(queues: list[Iterator[Any]]) -> Iterator[Any]:
    """One of each in turn, until all are empty."""
    nothing = object()
    for turn in zip_longest(*queues, fillvalue=nothing):
        yield from (entry for entry in turn if entry is not nothing)
