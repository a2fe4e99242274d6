"""Why a response is wrong: exactly one class for each, so that the classes and the strict score sum to 1 (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args, runtime_checkable

from .domains import Domain, Item, Response
from .search import ROOT, Move, way_back

Fault = Literal["arithmetic", "illegal", "exploration"]
Mistake = Literal["unfinished", "format", "arithmetic", "illegal", "exploration"]
MISTAKES: tuple[Mistake, ...] = get_args(Mistake)


@runtime_checkable
class Diagnosing(Protocol):
    """A domain whose wrong answers have a reason that their text shows."""

    def fault(self, item: Item, response: Response) -> Fault:
        """The first thing wrong in the derivation of an answer that is finished, in form and wrong.

        arithmetic: a step claims a result that it does not have. illegal: numbers, nodes or colors that are not at hand,
        or are no more. exploration: every step stands, and the end is not what was asked for.
        """
        ...


def mistake(domain: Domain, item: Item, response: Response) -> Mistake | None:
    """The one class of a wrong response, None for a right one. Raises TypeError for a domain that does not diagnose."""
    if not isinstance(domain, Diagnosing):
        raise TypeError(f"{domain.name} does not say what is wrong with an answer")
    grade = domain.grade(item, response)
    if grade.strict:
        return None
    if not grade.finished:
        return "unfinished"
    return domain.fault(item, response) if grade.parsed else "format"


def first_fault(moves: Sequence[Move], end: int) -> Fault | None:
    """What is wrong with the earliest invalid move on the way to the state that move `end` reached; None where all stand."""
    way = [moves[s] for s in way_back(moves, end) if s != ROOT]
    wrong = next((move for move in reversed(way) if not move.valid), None)
    if wrong is None:
        return None
    return "arithmetic" if wrong.legal else "illegal"
