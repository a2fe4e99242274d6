"""Probe items among the training rows: what a model has been taught is no measure of what it learnt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .domains import Item
from .microworld.common import MicroDomain

Key = tuple[str, ...]
UNORDERED = "numbers"  # the slot whose words mean the same in any order


@dataclass(frozen=True)
class Hit:
    """A training row that holds a probe item, `row` being its line in the data."""

    row: int
    domain: str
    item: Item
    exact: bool  # by its prompt; otherwise the same question in other words or order


def contaminated(
    rows: Iterable[tuple[int, Sequence[str]]], items: Mapping[str, Sequence[Item]], domains: Mapping[str, MicroDomain]
) -> Iterator[Hit]:
    """Rows (line, texts) of which a text contains the prompt of an item, or asks the same in another phrasing or order.

    Case and white space do not count. A prompt that goes on with more of what fills a question (another number, another
    operation) is another question. At most one hit a row.
    """
    fillers = {
        name: {w for item in found for text in domains[name].slots(item.reference).values() for w in _words(text)}
        for name, found in items.items()
    }
    by_prompt = {tuple(_words(item.prompt)): (name, item) for name, found in items.items() for item in found}
    openings: dict[Key, set[int]] = {}  # the first two words of prompts -> lengths of those that begin so
    for prompt in by_prompt:
        openings.setdefault(prompt[:2], set()).add(len(prompt))
    patterns = {name: [_pattern(p) for p in domains[name].phrasings] for name in items}
    by_content = {
        (name, _canonical(domains[name].slots(item.reference))): item for name, found in items.items() for item in found
    }
    for row, texts in rows:
        hit = None
        for text in texts:
            words = _words(text)
            hit = (
                hit
                or _by_prompt(row, words, by_prompt, openings, fillers)
                or _by_content(row, words, patterns, by_content)
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
            if found is not None and not fillers[found[0]].intersection(goes_on):
                return Hit(row, *found, exact=True)
    return None


def _by_content(
    row: int,
    words: list[str],
    patterns: Mapping[str, list[re.Pattern[str]]],
    by_content: Mapping[tuple[str, frozenset[tuple[str, Key]]], Item],
) -> Hit | None:
    """The whole text as a question in any of a domain's phrasings."""
    if len(words) > 200:  # longer than any question of the micro-world: a trace
        return None
    text = " ".join(words)
    for name, ways in patterns.items():
        for way in ways:
            match = way.fullmatch(text)
            if match is not None and (item := by_content.get((name, _canonical(match.groupdict())))) is not None:
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
