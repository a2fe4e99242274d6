"""Coloring: give each node one of its colors so that joined nodes differ. Untrained search without any arithmetic.

The trace gives nodes their colors in the order listed, goes back at a conflict and where a node's colors are used up:
`a red b red no b blue c blue no c red no back a green b red c blue yes`.
"""

from __future__ import annotations

import random
from itertools import combinations, product
from math import prod
from typing import Any

from ..domains import Item, Response
from ..mistakes import Fault
from ..search import ROOT, Move, way_back
from .common import MicroDomain, after_answer, search_level
from .path import NODES

COLORS = ("red", "blue", "green", "yellow")
MAX_SHARE_RIGHT = 0.12  # of all ways to color: what guessing scores at most


class Coloring(MicroDomain):
    name = "coloring"
    group = "ood_reasoning"
    max_new_tokens = 192
    has_trace = True
    phrasings = (
        "color {lists} : {edges}",
        "pick a color for {lists} : {edges}",
        "with {edges} find a color for {lists}",
        "use {lists} to color {edges}",
    )
    extra_words = (*NODES, *COLORS, ",", ":", "-")

    def problem(self, rng: random.Random) -> dict[str, Any]:
        while True:
            nodes = rng.sample(NODES, rng.choice((3, 4)))
            lists = {n: rng.sample(COLORS, rng.choice((2, 2, 3))) for n in nodes}
            pairs = list(combinations(nodes, 2))
            edges = rng.sample(pairs, min(len(pairs), len(nodes) + rng.choice((0, 1))))
            problem = {"lists": lists, "edges": [rng.choice((x + y, y + x)) for x, y in edges]}
            right = sum(self._fits(problem, dict(zip(nodes, c, strict=True))) for c in product(*lists.values()))
            if 0 < right <= MAX_SHARE_RIGHT * prod(map(len, lists.values())):
                return problem

    @staticmethod
    def _fits(problem: dict[str, Any], colors: dict[str, str]) -> bool:
        """Whether no two joined nodes that have a color have the same."""
        return all(x not in colors or colors[x] != colors.get(y) for x, y in problem["edges"])

    def content(self, problem: dict[str, Any]) -> str:
        lists = sorted(f"{n}:{'/'.join(sorted(c))}" for n, c in problem["lists"].items())
        return f"{lists}|{sorted(''.join(sorted(e)) for e in problem['edges'])}"

    def slots(self, problem: dict[str, Any]) -> dict[str, str]:
        lists = " , ".join(f"{n} {' '.join(c)}" for n, c in problem["lists"].items())
        return {"lists": lists, "edges": " , ".join(f"{e[0]} - {e[1]}" for e in problem["edges"])}

    def level(self, problem: dict[str, Any]) -> int:
        words = self.trace(problem).split()
        return search_level(sum(w in NODES for w in words))

    def direct(self, problem: dict[str, Any]) -> str:
        return "answer " + " ".join(f"{n} {c}" for n, c in self._search(problem)[1].items())

    def trace(self, problem: dict[str, Any]) -> str:
        return self._search(problem)[0]

    def guess(self, problem: dict[str, Any], rng: random.Random) -> str:
        return "answer " + " ".join(f"{n} {rng.choice(c)}" for n, c in problem["lists"].items())

    def _search(self, problem: dict[str, Any]) -> tuple[str, dict[str, str]]:
        nodes, out = list(problem["lists"]), []

        def visit(colors: dict[str, str]) -> dict[str, str] | None:
            if len(colors) == len(nodes):
                out.append("yes")
                return colors
            node = nodes[len(colors)]
            for color in problem["lists"][node]:
                out.append(f"{node} {color}")
                if not self._fits(problem, {**colors, node: color}):
                    out.append("no")
                    continue
                if found := visit({**colors, node: color}):
                    return found
                out.append("back")
            return None

        colors = visit({})
        assert colors is not None, f"no coloring of {problem}"
        return " ".join(out), colors

    def judge(self, reference: dict[str, Any], answer: str) -> tuple[bool, bool]:
        words = after_answer(answer)
        if not words or len(words) % 2 or any(w not in NODES for w in words[::2]):
            return False, False
        colors = dict(zip(words[::2], words[1::2], strict=True))
        lists = reference["lists"]
        given = len(words) == 2 * len(lists) and colors.keys() == lists.keys()
        return True, given and all(colors[n] in lists[n] for n in lists) and self._fits(reference, colors)

    def fault(self, item: Item, response: Response) -> Fault:
        """illegal: a node that is not there or has its color already, or a color that its node does not have."""
        words, lists = after_answer(response.answer) or [], item.reference["lists"]
        nodes = words[::2]
        stands = len(set(nodes)) == len(nodes) and all(
            c in lists.get(n, ()) for n, c in zip(nodes, words[1::2], strict=True)
        )
        return "exploration" if stands else "illegal"

    def read_trace(self, reference: dict[str, Any], think: str) -> list[Move]:
        """Moves of a trace: a node's color is set from the nearest earlier state in which the node has none."""
        lists = reference["lists"]
        states: list[dict[str, str]] = []
        moves: list[Move] = []
        here = ROOT
        words = think.split()

        def state_of(index: int) -> dict[str, str]:
            return {} if index == ROOT else states[index]

        for i, word in enumerate(words):
            color = words[i + 1] if i + 1 < len(words) else ""
            conflict = not self._fits(reference, state_of(here))
            if word in ("no", "back") and here != ROOT and (word == "back" or conflict):
                here = moves[here].parent
            if word not in NODES or color not in COLORS:
                continue
            start = next(s for s in way_back(moves, here) if word not in state_of(s))
            state = {**state_of(start), word: color}
            legal = color in lists.get(word, ())
            fits = self._fits(reference, state)
            solved = legal and fits and state.keys() == lists.keys()
            hope = fits and any(
                self._fits(reference, {**dict(zip(lists, c, strict=True)), **state}) for c in product(*lists.values())
            )
            moves.append(Move(start, (word, color), legal, solved, not hope, not fits, i, i + 2, legal=legal))
            states.append(state)
            here = len(moves) - 1
        return moves
