"""What every benchmark is: a domain whose questions are published rows, read by its schema and graded by its rule."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Any

from ...dynamics.errors import ConfigError, DataError, nearest
from ...dynamics.types import Group
from ..domains import Grade, Item, Response, Split
from ..microworld.common import content_id
from .rows import Row, Source, fetch_rows, read_file

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class BenchmarkConfig:
    """One published benchmark, asked beside the other domains."""

    path: Path | None = None  # JSONL, JSON, Parquet or CSV in the benchmark's own schema; null: from the hub
    hub: str | None = None  # another copy on the hub, in the same schema
    revision: str | None = None  # a commit of it; null: the one that docs/benchmarks.md names, where it names one
    items: int | None = None  # questions; null: all (MMLU-Pro: 1,000; reasoning-gym: `probes.items`)
    max_new_tokens: int | None = None  # null: the benchmark's own
    prompt: str | None = None  # in place of the benchmark's own wording, with its {gaps}
    metric: str | None = None  # of lm_eval_<task>: "<metric>" or "<metric>,<filter>"; null: the first that is 0 or 1
    fewshot: int = 0  # of lm_eval_<task>: worked examples before the question, of those that the task writes out
    group: Group | None = None  # of lm_eval_<task>; null: ood_reasoning

    def __post_init__(self) -> None:
        if self.path is not None and (self.hub or self.revision):
            raise ConfigError(f"a benchmark is given both as the file {self.path} and on the hub: give one of the two")
        if self.items is not None and self.items < 2:
            raise ConfigError(f"`items` of a benchmark is {self.items}: give 2 or more, or null for all")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ConfigError(f"`max_new_tokens` of a benchmark is {self.max_new_tokens}: give 1 or more")
        if self.fewshot < 0:
            raise ConfigError(f"`fewshot` of a benchmark is {self.fewshot}: give 0 or more")


@dataclass(frozen=True)
class Question:
    """A row as a benchmark reads it: what fills the gaps of its prompt, and what its grader needs."""

    slots: dict[str, str]
    reference: dict[str, Any]  # what the grader needs; JSON-able
    content: tuple[Any, ...]  # what makes it this question, whatever its place in the file
    cluster: str = ""  # rows of one cluster are one unit; empty: each its own


class Benchmark(ABC):
    """A published benchmark. Its questions belong to every split: nothing of it is to be trained on."""

    name: str
    group: Group
    source: Source
    prompt: str  # with {gaps}
    grader: str  # what grades, with its version: part of every result's key, and not of the responses'
    max_new_tokens: int = 32_768  # as published (docs/benchmarks.md)
    most: int | None = None  # questions where the config says nothing; None: all
    graded: bool = True  # False: what is right is said by a model (probes.scorers), and no score is given here

    def __init__(self, config: BenchmarkConfig | None = None) -> None:
        """Raises DataError with the row that cannot be used, Unavailable where the set cannot be had, ConfigError."""
        self.config = config = config or BenchmarkConfig()
        self.max_new_tokens = config.max_new_tokens or self.max_new_tokens
        self.prompt = checked_prompt(config.prompt, self.prompt, self.name)
        self.from_hub = _configured(self.source, config)
        self._items = self._read()
        self._count = min(len(self._items), config.items or self.most or len(self._items))

    # -- what a benchmark defines

    @abstractmethod
    def question(self, row: Row) -> Question | None:
        """A row as a question, None where it is none of this benchmark's. Raises DataError that names the row."""

    @abstractmethod
    def grade(self, item: Item, response: Response) -> Grade: ...

    @property
    def chance(self) -> float:
        """The score of an answer in the right form that knows nothing; 0 where none can be guessed."""
        return 0.0

    def arranged(self, items: Sequence[Item]) -> list[Item]:
        """The order in which questions are taken: by a hash of their content, whatever the order of the file."""
        return sorted(items, key=lambda i: hash_of("order", i.id))

    # -- what all share

    def count(self, split: Split) -> int:
        return self._count

    def items(self, split: Split, n: int, seed: int = 0) -> list[Item]:
        """The first `n` questions in a fixed order: more of them hold the fewer. Raises ConfigError where there are fewer."""
        if n > len(self._items):
            raise ConfigError(f"{self.name} has only {len(self._items)} distinct questions, {n} were asked for")
        return self._items[:n]

    def _rows(self) -> Iterable[Row]:
        return read_file(self.config.path) if self.config.path else fetch_rows(self.name, self.from_hub)

    def _read(self) -> list[Item]:
        found: dict[str, Item] = {}
        asked: dict[str, tuple[str, Any]] = {}  # by prompt: where, and what is right
        contradicted: set[str] = set()
        for row in self._rows():
            question = self.question(row)
            if question is None:
                continue
            key = content_id(self.name, json.dumps(question.content, ensure_ascii=False))
            item = found.setdefault(key, self._item(key, question))
            right = [item.reference.get(k) for k in ("answer", "hallucinated")]
            earlier, before = asked.setdefault(item.prompt, (row.where, right))
            if right != before:
                self._contradicts(row.where, earlier)
                contradicted.add(item.prompt)
        found = {key: item for key, item in found.items() if item.prompt not in contradicted}
        if len(found) < 2:
            place = self.config.path or self.from_hub.address
            raise DataError(f"{place} has {len(found)} questions of {self.name}: give two or more")
        return self.arranged(list(found.values()))

    def _item(self, key: str, question: Question) -> Item:
        return Item(key, self.prompt.format(**question.slots), question.reference, question.cluster or key)

    def unusable(self, row: Row, name: str, expected: str) -> Question | None:
        """A row that asks nothing: DataError where it is in a file; left out of a set on the hub, which nobody here can mend."""
        if self.config.path is not None:
            raise row.wrong(name, expected)
        return None

    def _contradicts(self, where: str, earlier: str) -> None:
        if self.config.path is not None:
            raise DataError(f"{where} asks what {earlier} asks and gives another answer: leave one of them out")


def strict_or_late(response: Response, parsed: bool, correct: bool, late: bool, **details: float) -> Grade:
    """The grade of an answer: what was cut off is wrong, and leniently right where `late` (SCIENCE: strict and lenient)."""
    finished = response.finished
    return Grade(
        finished,
        finished and parsed,
        finished and parsed and correct,
        (parsed and correct) or (not finished and late),
        details,
    )


def so_far(response: Response) -> str:
    """What an answer may be read from leniently: the answer part or, where thinking was cut off, the thinking."""
    return response.answer or response.think


def hash_of(*parts: str) -> str:
    """A hash that is the same on every machine."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def balanced(items: Iterable[Item], category: str) -> list[Item]:
    """Items so ordered that any first n hold every category of `reference` equally often, as far as there are enough.

    Within a category and between them a hash of the content decides, never the order of the file.
    """
    by_category: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda i: hash_of("order", i.id)):
        by_category.setdefault(str(item.reference[category]), []).append(item)
    columns = [by_category[c] for c in sorted(by_category, key=lambda c: hash_of("category", c))]
    rounds = range(max(map(len, columns), default=0))
    return [column[k] for k in rounds for column in columns if k < len(column)]


def _configured(source: Source, config: BenchmarkConfig) -> Source:
    """Where it is read from: a copy elsewhere has other commits than the one that is pinned here."""
    if config.hub is not None:
        return replace(source, hub=config.hub, revision=config.revision, gated=False)
    return replace(source, revision=config.revision or source.revision)


def checked_prompt(own: str | None, published: str, name: str) -> str:
    """The user's own wording where there is one. Raises ConfigError where it has not the gaps of the published one."""
    if own is None:
        return published
    gaps, known = _gaps(own, name), _gaps(published, name)
    for gap in gaps:
        if gap not in known:
            raise ConfigError(f"`probes.benchmarks.{name}.prompt` has {{{gap}}}: {nearest(gap, known)}")
    if missing := sorted(set(known) - set(gaps)):
        raise ConfigError(f"`probes.benchmarks.{name}.prompt` has no {{{missing[0]}}}: put it where it should stand")
    return own


def same_text(a: str, b: str) -> bool:
    """Whether two texts say the same but for white space and capitals of words: "Aa" and "aa" are two genotypes."""
    return _folded(a) == _folded(b)


def _folded(text: str) -> str:
    return re.sub(r"\b[A-Z][a-z]{2,}\b", lambda m: m[0].lower(), " ".join(text.split()))


def _gaps(prompt: str, name: str) -> list[str]:
    try:
        return [gap for _, gap, _, _ in Formatter().parse(prompt) if gap is not None]
    except ValueError as error:
        raise ConfigError(
            f"`probes.benchmarks.{name}.prompt` cannot be read ({error}): write braces of the text itself twice"
        ) from error
