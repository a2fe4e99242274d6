"""Countdown: combine numbers, each once, with + - * to make a target. With three numbers, the domain of fine-tuning.

The trace is a depth-first search in a fixed order (pairs as listed, operations + - *, results kept within 1-99):
`3 + 5 = 8 left 7 8 : 7 + 8 = 15 no 8 - 7 = 1 no 7 * 8 = 56 yes`; `back` leaves a subtree whose tries all failed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ...dynamics.types import Group
from ..domains import Item, Response
from ..mistakes import Fault
from ..search import ROOT, Move, way_back
from .common import NUMBERS, Distance, MicroDomain, after_answer, as_int, search_level

OPERATIONS = ("+", "-", "*")
FILLERS = (
    "wait",
    "hmm",
    "maybe",
    "again",
    "check",
    "try",
    "but",
)  # said while thinking; no document of pretraining has them
_SAID = "= answer , left : no yes back <think> </think>"
State = tuple[int, ...]


def compute(a: int, op: str, b: int) -> int:
    """The result of one of the three operations."""
    return a + b if op == "+" else a - b if op == "-" else a * b


def apply(a: int, op: str, b: int) -> int | None:
    """The result where it is a number of this world that a search would keep (1-99)."""
    value = compute(a, op, b)
    return value if 1 <= value <= 99 else None


def successors(state: State) -> Iterator[tuple[int, str, int, int, State]]:
    """Moves from a state in the search's order: (a, op, b, result, next state), none twice."""
    seen = set()
    for i in range(len(state)):
        for j in range(i + 1, len(state)):
            rest = tuple(x for k, x in enumerate(state) if k not in (i, j))
            for op in OPERATIONS:
                a, b = state[i], state[j]
                if op == "-" and a < b:
                    a, b = b, a
                result = apply(a, op, b)
                if result is None or action(a, op, b) in seen:
                    continue
                seen.add(action(a, op, b))
                yield a, op, b, result, (*rest, result)


def action(a: int, op: str, b: int) -> tuple:
    """Canonical name of an operation: order does not matter for + and *."""
    return (op, a, b) if op == "-" else (op, *sorted((a, b)))


@lru_cache(maxsize=200_000)
def reachable(state: State) -> frozenset[int]:
    """Every number that combining all of a state can make."""
    if len(state) == 1:
        return frozenset(state)
    return frozenset().union(*(reachable(tuple(sorted(nxt))) for *_, nxt in successors(state)))


def solutions(state: State, limit: int) -> dict[int, int]:
    """Every target that the search finds among its first `limit` states: target -> states visited until then."""
    found: dict[int, int] = {}
    visited = 0

    def visit(state: State) -> None:
        nonlocal visited
        for *_, result, nxt in successors(state):
            if visited >= limit:
                return
            visited += 1
            if len(nxt) == 1:
                found.setdefault(result, visited)
            else:
                visit(nxt)

    visit(state)
    return found


class Countdown(MicroDomain):
    """Three numbers up to 30, any reachable target."""

    name = "countdown"
    group: Group = "id_reasoning"
    distance: Distance = "in"
    max_new_tokens = 288
    has_trace = True
    count, largest = 3, 30
    max_visited = 10_000  # more than the whole tree of three numbers
    phrasings = (
        "make {target} from {numbers}",
        "use {numbers} to get {target}",
        "with {numbers} reach {target}",
        "find a way to {target} : {numbers}",
    )
    extra_words = (
        *NUMBERS,
        *OPERATIONS,
        *["=", "answer", ",", "left", ":", "no", "yes", "back", "<think>", "</think>"],
        *FILLERS,
    )

    def problem(self, rng: random.Random) -> dict[str, Any]:
        while True:
            numbers = tuple(rng.randint(1, self.largest) for _ in range(self.count))
            targets = sorted(solutions(numbers, self.max_visited).keys() - set(numbers))
            if targets:
                return {"numbers": list(numbers), "target": rng.choice(targets)}

    def level(self, problem: dict[str, Any]) -> int:
        return search_level(solutions(tuple(problem["numbers"]), self.max_visited)[problem["target"]])

    def content(self, problem: dict[str, Any]) -> str:
        return f"{sorted(problem['numbers'])}->{problem['target']}"

    def slots(self, problem: dict[str, Any]) -> dict[str, str]:
        return {"target": str(problem["target"]), "numbers": " ".join(map(str, problem["numbers"]))}

    def guess(self, problem: dict[str, Any], rng: random.Random) -> str:
        state, steps = tuple(problem["numbers"]), []
        while len(state) > 1:
            moves = list(successors(state))
            if not moves:
                break
            a, op, b, c, state = rng.choice(moves)
            steps.append(f"{a} {op} {b} = {c}")
        return "answer " + " , ".join(steps)

    def direct(self, problem: dict[str, Any]) -> str:
        _, steps = self._search(problem)
        return "answer " + " , ".join(f"{a} {op} {b} = {c}" for a, op, b, c in steps)

    def trace(self, problem: dict[str, Any]) -> str:
        return self._search(problem)[0]

    def _search(self, problem: dict[str, Any]) -> tuple[str, list[tuple[int, str, int, int]]]:
        target, out = problem["target"], []

        def visit(state: State, path: list) -> list | None:
            for a, op, b, c, nxt in successors(state):
                out.append(f"{a} {op} {b} = {c}")
                here = [*path, (a, op, b, c)]
                if len(nxt) == 1:
                    out.append("yes" if c == target else "no")
                    if c == target:
                        return here
                    continue
                out.append(f"left {' '.join(map(str, nxt))} :")
                if found := visit(nxt, here):
                    return found
                out.append("back")
            return None

        steps = visit(tuple(problem["numbers"]), [])
        assert steps is not None, f"unreachable target in {problem}"
        return " ".join(out), steps

    def judge(self, reference: dict[str, Any], answer: str) -> tuple[bool, bool]:
        steps = self._steps(answer)
        return steps is not None, steps is not None and self._fault(reference, steps) is None

    def fault(self, item: Item, response: Response) -> Fault:
        return self._fault(item.reference, self._steps(response.answer) or []) or "exploration"

    @staticmethod
    def _steps(answer: str) -> list[tuple[int, str, int, int]] | None:
        """The steps (a, op, b, c) of an answer, or None where it is not made of steps alone."""
        words = after_answer(answer)
        if not words:
            return None
        steps = []
        for step in " ".join(words).split(","):
            a, op, b, equals, c = step.split() if len(step.split()) == 5 else [""] * 5
            x, y, z = as_int(a), as_int(b), as_int(c)
            if x is None or y is None or z is None or op not in OPERATIONS or equals != "=":
                return None
            steps.append((x, op, y, z))
        return steps

    @staticmethod
    def _fault(reference: dict[str, Any], steps: list[tuple[int, str, int, int]]) -> Fault | None:
        """The first thing wrong with the steps of an answer; None where they make the target of all the numbers."""
        at_hand = Counter(reference["numbers"])
        for a, op, b, c in steps:
            at_hand.subtract([a, b])
            if min(at_hand.values()) < 0:
                return "illegal"
            if compute(a, op, b) != c:
                return "arithmetic"
            at_hand[c] += 1
        return None if sorted(at_hand.elements()) == [reference["target"]] else "exploration"

    def read_trace(self, reference: dict[str, Any], think: str) -> list[Move]:
        """Moves of a trace. A move starts from the state at hand or, where its numbers are not there, the nearest earlier one."""
        target = reference["target"]
        states: list[State] = []  # reached by move i
        moves: list[Move] = []
        here = ROOT  # the state that the next move should start from

        def state_of(index: int) -> State:
            return tuple(reference["numbers"]) if index == ROOT else states[index]

        words = think.split()
        i = 0
        while i < len(words):
            if words[i] in ("no", "back") and here != ROOT and (words[i] == "back" or len(state_of(here)) == 1):
                here = moves[here].parent
            if i + 5 > len(words) or words[i + 1] not in OPERATIONS or words[i + 3] != "=":
                i += 1
                continue
            a, b, c = as_int(words[i]), as_int(words[i + 2]), as_int(words[i + 4])
            op = words[i + 1]
            if a is None or b is None or c is None:
                i += 1
                continue
            operands = Counter((a, b))
            start = next((s for s in way_back(moves, here) if operands <= Counter(state_of(s))), here)
            state = state_of(start)
            legal = operands <= Counter(state)
            # An illegal step changes nothing: states that grew with every one could not be searched any more.
            nxt = (*(Counter(state) - operands).elements(), c) if legal else state
            moves.append(
                Move(
                    parent=start,
                    action=action(a, op, b),
                    valid=legal and compute(a, op, b) == c,
                    solved=legal and len(nxt) == 1 and c == target,
                    hopeless=target not in reachable(tuple(sorted(nxt))) if max(nxt) <= 99 and min(nxt) >= 1 else True,
                    terminal=len(nxt) == 1,
                    at=i,
                    end=i + 5,
                    legal=legal,
                )
            )
            states.append(nxt)
            here = len(moves) - 1
            i += 5
        return moves


class Countdown4(Countdown):
    """Four numbers up to 60, targets that the search reaches within 40 states: the same game, larger than what is trained."""

    name = "countdown4"
    group = "ood_reasoning"
    distance = "near"
    max_new_tokens = 344
    count, largest = 4, 60
    max_visited = 40
