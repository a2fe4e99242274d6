"""The trace browser's data: any item at any two checkpoints. As many as a page can carry, those whose verdict changed first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import pandas as pd

from ..dynamics.model_text import LONGEST, clip, verdict_of, visible
from .responses import KINDS, Shown, read_spans, samples_of, show
from .source import Source, heading
from .text import embed_json
from .traces import GROUP_ORDER, LONGEST_PROMPT, interleave

PAGE_BYTES, FILE_BYTES = 6_000_000, 30_000_000  # of responses in the report, and in a file of their own beside it
PAGE_STEPS, FILE_STEPS = 24, 64  # checkpoints there
VERDICTS = ("right", "wrong", "unfinished", "unreadable", "ungraded")


@dataclass(frozen=True, slots=True)
class Responses:
    """What a page can show of a run's responses."""

    data: dict[str, Any]
    items: int  # shown
    of_items: int  # kept in the run folder
    steps: int
    of_steps: int
    unmarked: bool  # spans of some of them were never looked for

    @property
    def whole(self) -> bool:
        return (self.items, self.steps) == (self.of_items, self.of_steps)


def collect(source: Source, most_bytes: int, most_steps: int) -> Responses | None:
    """Responses of as many items as fit into so many bytes; None for a run that kept responses at fewer than two steps.

    An item comes with all the checkpoints that are taken. Items whose strict verdict changed between the base and the
    domain's trough (else its last checkpoint) come first, then those that changed at any checkpoint, domains by turns: the
    choice depends on nothing but content.
    """
    domains = [d for group in GROUP_ORDER for d, g in source.groups.items() if g == group]
    kept = {d: steps for d in domains if len(steps := _kept_steps(source, d)) > 1}
    if not kept:
        return None
    every = sorted({s for steps in kept.values() for s in steps})
    steps = _thinned(every, most_steps, [t for d in kept if (t := source.turning_step(d)) is not None])
    shelves = [_Shelf.read(source, d, [s for s in kept[d] if s in steps], most_bytes) for d in kept]
    box = _Box(steps, most_bytes)
    full: set[str] = set()
    for shelf, item in interleave([zip(repeat(s), s.order, strict=False) for s in shelves]):
        if shelf.domain not in full and not box.add(shelf, item):
            full.add(shelf.domain)
    data = {"steps": steps, "kinds": KINDS, "verdicts": VERDICTS, "texts": box.texts}
    data["domains"] = [
        {
            "name": heading(shelf.domain),
            "words": [verdict_of(shelf.domain, *how).word for how in _EVERY_VERDICT],
            "turn": steps.index(turn) if (turn := source.turning_step(shelf.domain)) in steps else len(steps) - 1,
            "items": box.items[shelf.domain],
        }
        for shelf in shelves
        if box.items.get(shelf.domain)
    ]
    if not data["domains"]:
        return None
    return Responses(
        data,
        items=sum(len(items) for items in box.items.values()),
        of_items=sum(shelf.kept for shelf in shelves),
        steps=len(steps),
        of_steps=len(every),
        unmarked=any(shelf.unmarked for shelf in shelves),
    )


_EVERY_VERDICT = (  # strict, finish, parsed
    (1.0, "stop"), (0.0, "stop"), (0.0, "length"), (0.0, "stop", 0.0), (math.nan, "stop"),
)  # fmt: skip


def _kept_steps(source: Source, domain: str) -> list[int]:
    return [s for s in source.steps if source.run.has_samples(domain, s)]


def _thinned(steps: Sequence[int], most: int, wanted: Sequence[int]) -> list[int]:
    """The first, the last, those that are wanted, and others evenly spread over the checkpoints."""
    if len(steps) <= most:
        return list(steps)
    chosen = {steps[0], steps[-1], *wanted}
    even = [steps[round(k * (len(steps) - 1) / (most - 1))] for k in range(most)]
    order = sorted(even, key=lambda s: even.index(s) % 2)  # every second of them first: what is left out is spread too
    for step in order:
        if len(chosen) < most:
            chosen.add(step)
    return sorted(chosen)


@dataclass(eq=False)
class _Shelf:
    """One domain's responses at the steps that are taken, of the items that have a chance to be shown."""

    domain: str
    graded: bool
    kept: int  # items with a response in the run folder
    order: list[str]
    prompts: dict[str, str]
    cells: dict[str, list[tuple[int, Shown, str, int]]]  # item -> (step, response, kind of verdict, tokens) …
    unmarked: bool
    _seen: dict[Any, Shown] = field(default_factory=dict)  # many responses are the same from step to step

    @classmethod
    def read(cls, source: Source, domain: str, steps: list[int], room: int) -> _Shelf:
        last = samples_of(source, domain, steps[-1])
        assert last is not None  # these are the steps that have samples
        graded = "strict" in source.run.item_metrics(domain)
        strict = source.run.items(domain, "strict") if graded else pd.DataFrame(math.nan, last.index, steps)
        parsed = source.run.items(domain, "parsed") if "parsed" in source.run.item_metrics(domain) else None
        order = [item for item in _by_change(strict, source.turning_step(domain)) if item in last.index]
        typical = last["text"].str.len().clip(upper=2 * LONGEST).mean() + 60
        candidates = order[: max(1, int(room / (typical * len(steps))))]  # the rest would not fit: it is not even read
        prompts = {i: _prompt(str(last.at[i, "prompt"])) for i in candidates}
        shelf = cls(domain, graded, len(order), candidates, prompts, {i: [] for i in candidates}, False)
        for step in steps:
            shelf._take(source, step, strict, parsed)
        return shelf

    def _take(self, source: Source, step: int, strict: pd.DataFrame, parsed: pd.DataFrame | None) -> None:
        samples, spans = samples_of(source, self.domain, step), read_spans(source, self.domain, step)
        self.unmarked |= spans is None
        if samples is None or step not in strict:
            return
        scores = strict[step].to_dict()
        reads = parsed[step].to_dict() if parsed is not None and step in parsed else {}
        wanted = samples[samples.index.isin(self.cells)]
        columns = (wanted.index, wanted["text"], wanted["finish"], wanted["token_ids"])
        for item, text, finish, ids in zip(*columns, strict=True):
            score = scores.get(item)
            if score is None or (self.graded and pd.isna(score)):
                continue
            verdict = verdict_of(self.domain, score, finish, reads.get(item, 1.0))
            what = (str(text), (spans or {}).get(item, ()))
            if what not in self._seen:
                self._seen[what] = show(*what)
            shown = self._seen[what]
            self.cells[item].append((step, shown, verdict.kind, len(ids)))


def _prompt(text: str) -> str:
    kept, note = clip(text, LONGEST_PROMPT)
    return visible(kept) + (f" … ({note})" if note else "")


def _by_change(strict: pd.DataFrame, turn: int | None) -> list[str]:
    """Items: those lost or gained (by turns) between the base and the step `turn`, those that ever changed, the others."""
    right = strict.sort_index() > 0.5
    ends = [right.columns[0], turn if turn in right.columns else right.columns[-1]]
    before, after = right[ends[0]], right[ends[1]]
    ever = right.ne(before, axis=0).any(axis=1) & (before == after)
    changed = interleave([iter(right.index[before & ~after]), iter(right.index[~before & after])])
    return [*changed, *right.index[ever], *right.index[(before == after) & ~ever]]


class _Box:
    """Items with their texts, each text once, up to a size."""

    def __init__(self, steps: Sequence[int], most_bytes: int) -> None:
        self.texts: list[Any] = []
        self.items: dict[str, list[Any]] = {}
        self._at = {step: k for k, step in enumerate(steps)}
        self._index: dict[Shown, int] = {}
        self._left = most_bytes

    def add(self, shelf: _Shelf, item: str) -> bool:
        """Take an item in; False where it does not fit."""
        cells = shelf.cells[item]
        if len(cells) < 2:
            return True
        unseen = dict.fromkeys(shown for _, shown, _, _ in cells if shown not in self._index)
        new = {shown: len(self.texts) + k for k, shown in enumerate(unseen)}
        texts = [[_written(s.think), _written(s.answer), list(s.notes), list(s.counts)] for s in new]
        at = [(self._at[step], new.get(s, self._index.get(s)), VERDICTS.index(v), n) for step, s, v, n in cells]
        row = [item, shelf.prompts[item], at]
        size = len(embed_json([row, *texts]))
        if size > self._left:
            return False
        self._left -= size
        self._index |= new
        self.texts += texts
        self.items.setdefault(shelf.domain, []).append(row)
        return True


def _written(pieces: Sequence[tuple[str, int]]) -> list[Any]:
    """Pieces as JSON: text that is not marked stands alone."""
    return [[text, bits] if bits else text for text, bits in pieces]


def notes(responses: Responses, elsewhere: str) -> Iterator[str]:
    """What these responses are and what is left out; `elsewhere` says where the rest is."""
    r = responses
    if r.whole:
        yield f"All {r.items:,} items whose responses were kept, at all {r.steps} checkpoints."
    else:
        yield (
            f"{r.items:,} of {r.of_items:,} items whose responses were kept, at {r.steps} of {r.of_steps} checkpoints: "
            f"items whose verdict changed come first. {elsewhere}"
        )
    if r.unmarked:
        yield (
            "Backtracks, loops and cue words are not marked in all of them: the probe `spans` had not run at every "
            "checkpoint, and `sftscope probe` on the run folder adds it."
        )
