"""Search traces as moves between states, and the structural count of backtracking (docs/metrics.md).

A domain reads its traces into `Move`s; this file, which knows no domain, counts what happened. A true backtrack comes after
a state that is no solution and opens a *new* branch from a strictly earlier state; opening a tried branch again is looping.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

ROOT = -1


@dataclass(frozen=True)
class Move:
    """One move of a trace: from the state that move `parent` reached (ROOT: the start) to a new one."""

    parent: int
    action: Hashable  # what was done, in canonical form: the same action from the same state is the same branch
    valid: bool  # arithmetic (or edge) right and operands at hand
    solved: bool
    hopeless: bool  # from the state reached, a solver cannot get to the target
    terminal: bool  # no move is possible from the state reached
    at: int = 0  # index of the word of the thinking part at which it begins


@dataclass(frozen=True)
class SearchSummary:
    """Counts over one trace. `opportunities` are visited states without hope; `left` are those it went back from."""

    moves: int
    valid: int
    backtracks: int
    loops: int  # tried branches opened again
    depth_returned: int  # summed over backtracks: levels between the state left and the state gone back to
    opportunities: int
    left: int
    terminal_opportunities: int
    terminal_left: int
    solved: bool  # some move reached the target
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


def depths(moves: Sequence[Move]) -> list[int]:
    out: list[int] = []
    for move in moves:
        out.append(1 if move.parent == ROOT else out[move.parent] + 1)
    return out


def _ancestors(moves: Sequence[Move], index: int) -> set[int]:
    """Strictly earlier states on the way to the state that move `index` reached, the start included."""
    return set(way_back(moves, index)) - {index}


Kind = Literal["forward", "backtrack", "loop"]


def classify(moves: Sequence[Move]) -> list[Kind]:
    """What each move does: goes on, goes back to a new branch, or opens a branch that was tried already."""
    tried: set[Hashable] = set()
    branches: list[Hashable] = []  # a branch is known by the whole way to it
    kinds: list[Kind] = []
    for i, move in enumerate(moves):
        branches.append((None if move.parent == ROOT else branches[move.parent], move.action))
        if branches[i] in tried:
            kinds.append("loop")
        elif i > 0 and not moves[i - 1].solved and move.parent in _ancestors(moves, i - 1):
            kinds.append("backtrack")
        else:
            kinds.append("forward")
        tried.add(branches[i])
    return kinds


def summarise(moves: Sequence[Move]) -> SearchSummary:
    """Count backtracks, loops and opportunities of one trace."""
    kinds, depth = classify(moves), depths(moves)
    left: set[int] = set()
    returned = 0
    for i, move in enumerate(moves):
        if kinds[i] == "backtrack":
            returned += depth[i - 1] - (0 if move.parent == ROOT else depth[move.parent])
            state = i - 1
            while state != move.parent:  # every state in between is left for good
                left.add(state)
                state = moves[state].parent
    solutions = [i for i, m in enumerate(moves) if m.solved and m.valid]
    dead = [i for i, m in enumerate(moves) if m.hopeless]
    dead_ends = [i for i in dead if moves[i].terminal]
    return SearchSummary(
        moves=len(moves),
        valid=sum(m.valid for m in moves),
        backtracks=kinds.count("backtrack"),
        loops=kinds.count("loop"),
        depth_returned=returned,
        opportunities=len(dead),
        left=sum(i in left for i in dead),
        terminal_opportunities=len(dead_ends),
        terminal_left=sum(i in left for i in dead_ends),
        solved=bool(solutions),
        solved_after_backtrack=bool(solutions) and "backtrack" in kinds[: solutions[-1] + 1],
    )
