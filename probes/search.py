"""Search traces as moves between states, and the structural count of backtracking (docs/metrics.md).

A domain reads its traces into `Move`s; this file, which knows no domain, counts what happened. A true backtrack comes after
a state that is no solution and opens a *new* branch from a strictly earlier state; opening a tried branch again is looping.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .domains import Response

ROOT = -1


@dataclass(frozen=True)
class Move:
    """One move of a trace: from the state that move `parent` reached (ROOT: the start) to a new one."""

    parent: int
    action: Hashable  # what was done, in canonical form: the same action from the same state is the same branch
    valid: bool  # arithmetic (or edge) right and operands at hand
    solved: bool
    hopeless: bool | None  # from the state reached, a solver cannot get to the target; None: beyond the solver's bounds
    terminal: bool  # no move is possible from the state reached
    at: int = 0  # index of the word of the thinking part at which it begins
    end: int = 0  # index of the word after its last
    again: bool = False  # repeats a tried move on the way to something else: neither a loop nor a branch of its own
    unfinished: bool = False  # begun and left without a result: reaches no state, the next move starts from `parent`
    legal: bool = (
        True  # operands at hand (or the edge, the color there is): what is legal and not valid is wrong arithmetic
    )


@runtime_checkable
class SearchDomain(Protocol):
    """A domain whose traces can be read as moves between states."""

    def read_trace(self, reference: dict[str, Any], think: str) -> list[Move]: ...


@runtime_checkable
class FreeText(Protocol):
    """A search domain in free text: it says where the search stands."""

    def thinking(self, response: Response) -> str: ...


@dataclass(frozen=True)
class SearchSummary:
    """Counts over one trace. `opportunities` are visited states without hope; `left` are those it went back from."""

    moves: int
    valid: int
    backtracks: int
    loops: int  # tried branches opened again
    depth_returned: int  # summed over backtracks: levels between the state left and the state gone back to
    opportunities: float  # these four are NaN where the solver's bounds were met
    left: float
    terminal_opportunities: float
    terminal_left: float
    solved: bool  # some move reached the target, every move on the way to it valid
    solved_after_backtrack: bool  # the last solution reached lies behind a backtrack

    @property
    def gave_up(self) -> bool:
        """Reached a dead end and ended without a solution."""
        return self.opportunities > 0 and not self.solved


def way_back(moves: Sequence[Move], here: int) -> Iterator[int]:
    """The state at hand and all those on the way to it, the start last.

    A step starts from the first of them that it fits. One that fits none is an invalid step where the trace stands
    (`here`), not a going back.
    """
    while here != ROOT:
        yield here
        here = moves[here].parent
    yield ROOT


def is_sound(moves: Sequence[Move], index: int) -> bool:
    """Whether the state that move `index` reached was come to by valid moves alone."""
    return all(s == ROOT or moves[s].valid for s in way_back(moves, index))


def depths(moves: Sequence[Move]) -> list[int]:
    out: list[int] = []
    for move in moves:
        out.append(1 if move.parent == ROOT else out[move.parent] + 1)
    return out


def _ancestors(moves: Sequence[Move], index: int) -> set[int]:
    """Strictly earlier states on the way to the state that move `index` reached, the start included."""
    return set(way_back(moves, index)) - {index}


Kind = Literal["forward", "backtrack", "loop", "again"]
Return = tuple[int, int]  # the state that was left, the state gone back to


def classify(moves: Sequence[Move]) -> list[Kind]:
    """What each move does: goes on, goes back to a new branch, opens a branch that was tried already, or only repeats.

    Where tried moves are repeated (`again`) after a return, the backtrack is the first new move below them.
    """
    return [kind for kind, _ in _classified(moves)]


def _classified(moves: Sequence[Move]) -> list[tuple[Kind, Return | None]]:
    """The kind of each move, and for a backtrack the return that it completes."""
    tried: set[Hashable] = set()
    branches: list[Hashable] = []  # a branch is known by the whole way to it
    out: list[tuple[Kind, Return | None]] = []
    walked: Return | None = None  # a return after which only tried moves were repeated so far
    here = ROOT
    for i, move in enumerate(moves):
        branches.append((None if move.parent == ROOT else branches[move.parent], move.action))
        back: Return | None = None
        if here != ROOT and not moves[here].solved and move.parent in _ancestors(moves, here):
            back = (here, move.parent)
        if move.again:
            out.append(("again", None))
            if back is not None and branches[i] in tried:
                walked = walked or back
        elif branches[i] in tried:
            out.append(("loop", None))
            walked = None
        elif back is not None or walked is not None:
            out.append(("backtrack", walked or back))
            walked = None
        else:
            out.append(("forward", None))
        tried.add(branches[i])
        here = move.parent if move.unfinished else i
    return out


def summarise(moves: Sequence[Move]) -> SearchSummary:
    """Count backtracks, loops and opportunities of one trace."""
    classified, depth = _classified(moves), depths(moves)
    kinds = [kind for kind, _ in classified]
    left: set[int] = set()
    returned = 0
    for _, back in classified:
        if back is not None:
            state, to = back
            returned += depth[state] - (0 if to == ROOT else depth[to])
            while state != to:  # every state in between is left for good
                left.add(state)
                state = moves[state].parent
    finished = [i for i, m in enumerate(moves) if not m.unfinished]
    unknown = any(moves[i].hopeless is None for i in finished)
    solutions = [i for i, m in enumerate(moves) if m.solved and is_sound(moves, i)]
    dead = [i for i in finished if moves[i].hopeless]
    dead_ends = [i for i in dead if moves[i].terminal]
    return SearchSummary(
        moves=len(finished),
        valid=sum(moves[i].valid for i in finished),
        backtracks=kinds.count("backtrack"),
        loops=kinds.count("loop"),
        depth_returned=returned,
        opportunities=math.nan if unknown else len(dead),
        left=math.nan if unknown else sum(i in left for i in dead),
        terminal_opportunities=math.nan if unknown else len(dead_ends),
        terminal_left=math.nan if unknown else sum(i in left for i in dead_ends),
        solved=bool(solutions),
        solved_after_backtrack=bool(solutions) and "backtrack" in kinds[: solutions[-1] + 1],
    )
