"""Dead ends in worked search traces, each with a move that is none: alike in domain, in depth and in place in the trace.

A dead end is a state from which no move is possible and the target not reached; its counterpart is a move after which the
target can still be reached (or is). Places are found in the structure, never by the words that announce it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from .domains import THINK_OPEN, Domain, Item, Response
from .search import Move, depths


@runtime_checkable
class Worked(Protocol):
    """A search domain that shows how its questions are worked out, and reads such traces."""

    def worked(self, problem: dict[str, Any]) -> str: ...

    def read_trace(self, reference: dict[str, Any], think: str) -> list[Move]: ...


@dataclass(frozen=True)
class Place:
    """One move of a worked response."""

    item: Item
    text: str  # the whole response
    move_end: int  # the character before which the move's last word ends
    after: int  # the same for the word that follows it: the one that says how the search stands
    dead_end: bool
    solved: bool
    depth: int
    number: int  # moves before it in the trace


def worked_domains(domains: Iterable[Domain]) -> list[Domain]:
    return [d for d in domains if isinstance(d, Worked) and getattr(d, "has_trace", True)]


def places(domain: Domain, item: Item) -> Iterator[Place]:
    """Dead ends, and moves that leave the target in reach, in the worked response to one question."""
    assert isinstance(domain, Worked)
    text = domain.worked(item.reference)
    moves = domain.read_trace(item.reference, Response(text, True, 0).think)
    # `Move.end` counts words of the thinking part, which follows the tag
    ends = [w.end() for w in re.finditer(r"\S+", text.partition(THINK_OPEN)[2])]
    before = text.index(THINK_OPEN) + len(THINK_OPEN)
    for number, (move, depth) in enumerate(zip(moves, depths(moves), strict=True)):
        dead_end = bool(move.terminal and move.hopeless and not move.solved)
        if dead_end or move.hopeless is False:
            last, after = (before + ends[k] for k in (move.end - 1, move.end))
            yield Place(item, text, last, after, dead_end, move.solved, depth, number)


def matched(found: Iterable[Place], pairs: int) -> list[Place]:
    """Up to so many dead ends, each followed by a counterpart at the same depth with as many moves before it.

    Counterparts after which the search goes on come first, solutions only where there are too few (in Countdown all moves of
    a dead end's depth end the search). Places that come early are paired early, so that few traces serve for many.
    """
    pool = list(found)
    out = _pairs([p for p in pool if not p.solved], pairs)
    return out + _pairs([p for p in pool if p not in out], pairs - len(out) // 2)


def _pairs(found: Iterable[Place], pairs: int) -> list[Place]:
    waiting: dict[tuple[int, int, bool], list[Place]] = defaultdict(list)
    out: list[Place] = []
    for place in found:
        if len(out) >= 2 * pairs:
            break
        opposite = waiting[place.depth, place.number, not place.dead_end]
        if opposite:
            other = opposite.pop(0)
            out += [place, other] if place.dead_end else [other, place]
        else:
            waiting[place.depth, place.number, place.dead_end].append(place)
    return out
