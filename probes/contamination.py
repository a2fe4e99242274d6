"""Probe items among the training rows: what a model has been taught is no measure of what it learnt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .domains import Domain, Item
from .microworld.common import MicroDomain

Key = tuple[str, ...]
UNORDERED = "numbers"  # the slot whose words mean the same in any order
LONGEST_QUESTION = 200  # words; what is longer is a trace


@runtime_checkable
class Recognising(Protocol):
    """A domain without fixed phrasings, which finds its questions in any wording."""

    def same_question(self, text: str) -> set[str]:
        """Clusters of the questions that a text may ask."""
        ...


@dataclass(frozen=True)
class Hit:
    """A training row that holds a probe item, `row` being its line in the data."""

    row: int
    domain: str
    item: Item
    exact: bool  # by its prompt; otherwise the same question in other words or order


def contaminated(
    rows: Iterable[tuple[int, Sequence[str]]], items: Mapping[str, Sequence[Item]], domains: Mapping[str, Domain]
) -> Iterator[Hit]:
    """Rows (line, texts) of which a text contains the prompt of an item, or asks the same in another phrasing or order.

    Case and white space do not count. A prompt that goes on with more of what fills a question (another number, another
    operation) is another question. At most one hit a row.
    """
    worded = {name: d for name in items if isinstance(d := domains[name], MicroDomain)}
    fillers = {
        name: {w for item in items[name] for text in domain.slots(item.reference).values() for w in _words(text)}
        for name, domain in worded.items()
    }
    by_prompt = {tuple(_words(item.prompt)): (name, item) for name, found in items.items() for item in found}
    openings: dict[Key, set[int]] = {}  # the first two words of prompts -> lengths of those that begin so
    for prompt in by_prompt:
        openings.setdefault(prompt[:2], set()).add(len(prompt))
    patterns = {name: [_pattern(p) for p in domain.phrasings] for name, domain in worded.items()}
    by_content = {
        (name, _canonical(domain.slots(item.reference))): item
        for name, domain in worded.items()
        for item in items[name]
    }
    recognising = {name: d for name in items if isinstance(d := domains[name], Recognising)}
    by_cluster = {(name, item.cluster): item for name in recognising for item in items[name]}
    for row, texts in rows:
        hit = None
        for text in texts:
            words = _words(text)
            hit = (
                hit
                or _by_prompt(row, words, by_prompt, openings, fillers)
                or _by_content(row, words, patterns, by_content)
                or _by_question(row, words, text, recognising, by_cluster)
            )
        if hit is not None:
            yield hit


def _words(text: str) -> list[str]:
    return text.casefold().split()


def _by_prompt(
    row: int,
    words: list[str],
    by_prompt: Mapping[Key, tuple[str, Item]],
    openings: Mapping[Key, set[int]],
    fillers: Mapping[str, set[str]],
) -> Hit | None:
    for start in range(len(words)):
        for length in openings.get(tuple(words[start : start + 2]), ()):
            found = by_prompt.get(tuple(words[start : start + length]))
            goes_on = words[start + length : start + length + 1]
            if found is not None and not fillers.get(found[0], set()).intersection(goes_on):
                return Hit(row, *found, exact=True)
    return None


def _by_content(
    row: int,
    words: list[str],
    patterns: Mapping[str, list[re.Pattern[str]]],
    by_content: Mapping[tuple[str, frozenset[tuple[str, Key]]], Item],
) -> Hit | None:
    """The whole text as a question in any of a domain's phrasings."""
    if len(words) > LONGEST_QUESTION:
        return None
    text = " ".join(words)
    for name, ways in patterns.items():
        for way in ways:
            match = way.fullmatch(text)
            if match is not None and (item := by_content.get((name, _canonical(match.groupdict())))) is not None:
                return Hit(row, name, item, exact=False)
    return None


def _by_question(
    row: int,
    words: list[str],
    text: str,
    domains: Mapping[str, Recognising],
    by_cluster: Mapping[tuple[str, str], Item],
) -> Hit | None:
    """The question of a domain without phrasings, in any wording."""
    if len(words) > LONGEST_QUESTION:
        return None
    for name, domain in domains.items():
        for cluster in domain.same_question(text):
            if (item := by_cluster.get((name, cluster))) is not None:
                return Hit(row, name, item, exact=False)
    return None


def _pattern(phrasing: str) -> re.Pattern[str]:
    """A phrasing with its slots as groups."""
    parts = re.split(r"\{(\w+)\}", phrasing.casefold())
    return re.compile("".join(f"(?P<{p}>.+?)" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


def _canonical(slots: Mapping[str, str]) -> frozenset[tuple[str, Key]]:
    """Slots in a form that is equal for the same question: lists (between commas, or of numbers) in sorted order."""
    found = []
    for name, text in slots.items():
        parts = text.casefold().split() if name == UNORDERED else re.split(r"\s+,\s+", " ".join(_words(text)))
        found.append((name, tuple(sorted(parts))))
    return frozenset(found)
