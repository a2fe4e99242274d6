"""Verification in a trace: what it says of a state that it reached, against what is true of it (docs/metrics.md).

An event is an explicit verdict on a computed state: in the micro-world the words "yes" or "no" after a move, in free text "not
62", "too high", "that's it" (freeform/verdicts.py). A word of doubt with nothing computed before it is no verification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

from .search import Move, is_sound

YES, NO = "yes", "no"


@dataclass(frozen=True)
class Comparison:
    """One verdict of a trace on a state that it reached."""

    yes: bool  # it says that the target is reached
    reached: bool  # it is: legally and with right arithmetic all the way, which a check is there to see
    terminal: bool  # nothing more can be done from there, or it is the target


@runtime_checkable
class Comparing(Protocol):
    """A search domain in free text, which finds the verdicts itself."""

    def comparisons(self, reference: dict[str, Any], think: str) -> list[Comparison]: ...


def said_of_moves(words: Sequence[str], moves: Sequence[Move]) -> list[Comparison]:
    """Verdicts of a micro-world trace: the first "yes" or "no" between a move and the next one is the verdict on its state."""
    found = []
    for i, (start, end) in enumerate(pairwise([*(m.at for m in moves), len(words)])):
        said = next((w for w in words[start:end] if w in (YES, NO)), None)
        if said is not None:
            reached = moves[i].solved and is_sound(moves, i)
            found.append(Comparison(said == YES, reached, moves[i].terminal or moves[i].solved))
    return found


def count_terminal(moves: Sequence[Move]) -> int:
    """States of a trace that call for a verdict: those from which nothing more can be done, or that are taken for the target."""
    return sum((m.terminal or m.solved) and not m.again and not m.unfinished for m in moves)
