"""Subset sum: pick some of four or five numbers so that they sum to a target. Untrained search that rewards the same procedure.

The trace takes numbers in ascending order and goes back at the first partial sum above the target:
`take 3 3 + 9 = 12 12 + 14 = 26 no back 3 + 14 = 17 yes`.
"""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

from ..domains import Item, Response
from ..mistakes import Fault, first_fault
from ..search import ROOT, Move, way_back
from .common import MicroDomain, after_answer, as_int, search_level


class SubsetSum(MicroDomain):
    name = "subset_sum"
    group = "ood_reasoning"
    max_new_tokens = 192
    has_trace = True
    phrasings = (
        "pick from {numbers} to sum {target}",
        "use some of {numbers} to get {target}",
        "with some of {numbers} reach {target}",
        "find some of {numbers} : sum {target}",
    )
    extra_words = ("take",)

    def problem(self, rng: random.Random) -> dict[str, Any]:
        while True:
            numbers = sorted(rng.sample(range(1, 31), rng.choice((4, 5))))
            target = sum(rng.sample(numbers, rng.choice((2, 3))))
            if target <= 69:  # so that every partial sum stays a number of this world (below 100)
                rng.shuffle(numbers)
                return {"numbers": numbers, "target": target}

    def content(self, problem: dict[str, Any]) -> str:
        return f"{sorted(problem['numbers'])}->{problem['target']}"

    def slots(self, problem: dict[str, Any]) -> dict[str, str]:
        return {"numbers": " ".join(map(str, problem["numbers"])), "target": str(problem["target"])}

    def level(self, problem: dict[str, Any]) -> int:
        words = self.trace(problem).split()
        return search_level(words.count("take") + words.count("+"))

    def guess(self, problem: dict[str, Any], rng: random.Random) -> str:
        return "answer " + " ".join(map(str, sorted(rng.sample(problem["numbers"], rng.choice((2, 3))))))

    def direct(self, problem: dict[str, Any]) -> str:
        return "answer " + " ".join(map(str, self._search(problem)[1]))

    def trace(self, problem: dict[str, Any]) -> str:
        return self._search(problem)[0]

    @staticmethod
    def _search(problem: dict[str, Any]) -> tuple[str, list[int]]:
        numbers, target, out = sorted(problem["numbers"]), problem["target"], []

        def visit(taken: list[int], first: int) -> list[int] | None:
            for k in range(first, len(numbers)):
                x, total = numbers[k], sum(taken)
                out.append(f"take {x}" if not taken else f"{total} + {x} = {total + x}")
                if total + x == target:
                    out.append("yes")
                    return [*taken, x]
                if total + x > target:  # ascending: what follows is larger still
                    out.append("no")
                    return None
                if found := visit([*taken, x], k + 1):
                    return found
                out.append("back")
            return None

        picked = visit([], 0)
        assert picked is not None, f"no subset in {problem}"
        return " ".join(out), picked

    def judge(self, reference: dict[str, Any], answer: str) -> tuple[bool, bool]:
        words = after_answer(answer)
        picked = [as_int(w) for w in words or []]
        if not picked or None in picked:
            return False, False
        values = [p for p in picked if p is not None]
        allowed = len(set(values)) == len(values) and set(values) <= set(reference["numbers"])
        return True, allowed and sum(values) == reference["target"]

    def fault(self, item: Item, response: Response) -> Fault:
        """The answer states no sum: what is wrong with it stands in the trace, on the way to the numbers that it picks."""
        picked = [as_int(w) for w in after_answer(response.answer) or []]
        if len(set(picked)) < len(picked) or not set(picked) <= set(item.reference["numbers"]):
            return "illegal"
        moves = self.read_trace(item.reference, response.think)
        for end in reversed(range(len(moves))):
            if {moves[s].action for s in way_back(moves, end) if s != ROOT} == set(picked):
                return first_fault(moves, end) or "exploration"
        return "exploration"

    def read_trace(self, reference: dict[str, Any], think: str) -> list[Move]:
        numbers, target = set(reference["numbers"]), reference["target"]
        taken: list[frozenset[int]] = []
        moves: list[Move] = []
        here = ROOT
        words = think.split()

        def set_of(index: int) -> frozenset[int]:
            return frozenset() if index == ROOT else taken[index]

        def add(start: int, x: int, from_sum: bool, right: bool, at: int, end: int) -> None:
            before = set_of(start)
            after = before | {x}
            total, rest = sum(after), sorted(numbers - after)
            legal = x in numbers and x not in before and from_sum
            hope = any(total + sum(c) == target for r in range(len(rest) + 1) for c in combinations(rest, r))
            stuck = total >= target or not rest
            solved = legal and total == target
            dead_end = stuck and total != target
            moves.append(Move(start, x, legal and right, solved, not hope, dead_end, at, end, legal=legal))
            taken.append(after)

        i = 0
        while i < len(words):
            word = words[i]
            x = as_int(words[i + 1]) if word == "take" and i + 1 < len(words) else None
            if word in ("no", "back") and here != ROOT and (word == "back" or sum(set_of(here)) > target):
                here = moves[here].parent
            if x is not None:
                add(ROOT, x, True, True, i, i + 2)
                here = len(moves) - 1
                i += 2
            elif i + 5 <= len(words) and words[i + 1] == "+" and words[i + 3] == "=":
                s, x, c = as_int(word), as_int(words[i + 2]), as_int(words[i + 4])
                if s is None or x is None or c is None:
                    i += 1
                    continue
                start = next((k for k in way_back(moves, here) if sum(set_of(k)) == s and x not in set_of(k)), here)
                add(start, x, sum(set_of(start)) == s, s + x == c, i, i + 5)
                here = len(moves) - 1
                i += 5
            else:
                i += 1
        return moves
