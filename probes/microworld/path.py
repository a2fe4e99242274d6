"""Path: find a way between two nodes of a small directed graph. Untrained search that rewards the same procedure.

The trace is a depth-first search over edges in the order listed: `a to b b to c no back a to d d to f yes`.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from ..domains import Item, Response
from ..mistakes import Fault
from ..search import ROOT, Move, way_back
from .common import MicroDomain, after_answer, search_level

NODES = tuple("abcdefghij")
MAX_LUCK = 0.4  # problems that a random walk solves more often ask for no search


class Path(MicroDomain):
    name = "path"
    group = "ood_reasoning"
    max_new_tokens = 160
    has_trace = True
    phrasings = (
        "way from {start} to {goal} : {edges}",
        "find a way to {goal} from {start} : {edges}",
        "with {edges} get from {start} to {goal}",
        "use {edges} to reach {goal} from {start}",
    )
    extra_words = (*NODES, "to")

    def problem(self, rng: random.Random) -> dict[str, Any]:
        while True:
            nodes = rng.sample(NODES, rng.randint(6, 9))
            edges = rng.sample([(x, y) for x in nodes for y in nodes if x != y], len(nodes) + 3)
            problem = {"start": nodes[0], "goal": nodes[1], "edges": ["".join(e) for e in edges]}
            if 0 < self._luck(problem, [nodes[0]]) <= MAX_LUCK:
                return problem

    def _luck(self, problem: dict[str, Any], way: list[str]) -> float:
        """How often a walk along edges taken at random, never to a node twice, arrives."""
        if way[-1] == problem["goal"]:
            return 1.0
        onward = [e[1] for e in problem["edges"] if e[0] == way[-1] and e[1] not in way]
        return sum(self._luck(problem, [*way, y]) for y in onward) / max(len(onward), 1)

    def content(self, problem: dict[str, Any]) -> str:
        return f"{problem['start']}{problem['goal']}|{sorted(problem['edges'])}"

    def slots(self, problem: dict[str, Any]) -> dict[str, str]:
        edges = " , ".join(f"{e[0]} {e[1]}" for e in problem["edges"])
        return {"start": problem["start"], "goal": problem["goal"], "edges": edges}

    def level(self, problem: dict[str, Any]) -> int:
        return search_level(self.trace(problem).split().count("to"))

    def guess(self, problem: dict[str, Any], rng: random.Random) -> str:
        way = [problem["start"]]
        while way[-1] != problem["goal"]:
            onward = [e[1] for e in problem["edges"] if e[0] == way[-1] and e[1] not in way]
            if not onward:
                break
            way.append(rng.choice(onward))
        return "answer " + " ".join(way)

    def direct(self, problem: dict[str, Any]) -> str:
        return "answer " + " ".join(self._search(problem)[1])

    def trace(self, problem: dict[str, Any]) -> str:
        return self._search(problem)[0]

    @staticmethod
    def _search(problem: dict[str, Any]) -> tuple[str, list[str]]:
        goal, out, seen = problem["goal"], [], {problem["start"]}

        def visit(path: list[str]) -> list[str] | None:
            moved = False
            for edge in problem["edges"]:
                x, y = edge
                if x != path[-1] or y in seen:
                    continue
                moved = True
                seen.add(y)
                out.append(f"{x} to {y}")
                if y == goal:
                    out.append("yes")
                    return [*path, y]
                if found := visit([*path, y]):
                    return found
                out.append("back")
            if not moved:
                out.append("no")
            return None

        way = visit([problem["start"]])
        assert way is not None, f"no way in {problem}"
        return " ".join(out), way

    @staticmethod
    def _shortest(
        problem: dict[str, Any], start: str | None = None, avoid: frozenset[str] = frozenset()
    ) -> list[str] | None:
        """A shortest way to the goal that avoids some nodes, or None."""
        front, seen = [[start or problem["start"]]], set(avoid)
        while front:
            path = front.pop(0)
            if path[-1] == problem["goal"]:
                return path
            for x, y in problem["edges"]:
                if x == path[-1] and y not in seen:
                    seen.add(y)
                    front.append([*path, y])
        return None

    def judge(self, reference: dict[str, Any], answer: str) -> tuple[bool, bool]:
        words = after_answer(answer)
        if not words or any(w not in NODES for w in words):
            return False, False
        edges = set(reference["edges"])
        joined = all(x + y in edges for x, y in pairwise(words))
        return True, joined and words[0] == reference["start"] and words[-1] == reference["goal"]

    def fault(self, item: Item, response: Response) -> Fault:
        """illegal: it starts where one does not stand, or goes along an edge that is not there."""
        words, edges = after_answer(response.answer) or [], set(item.reference["edges"])
        walked = words[:1] == [item.reference["start"]] and all(x + y in edges for x, y in pairwise(words))
        return "exploration" if walked else "illegal"

    def read_trace(self, reference: dict[str, Any], think: str) -> list[Move]:
        edges = set(reference["edges"])
        paths: list[tuple[str, ...]] = []
        moves: list[Move] = []
        here = ROOT
        words = think.split()

        def path_of(index: int) -> tuple[str, ...]:
            return (reference["start"],) if index == ROOT else paths[index]

        i = 0
        while i < len(words):
            if words[i] == "back" and here != ROOT:
                here = moves[here].parent
            if i + 3 > len(words) or words[i + 1] != "to" or words[i] not in NODES or words[i + 2] not in NODES:
                i += 1
                continue
            x, y = words[i], words[i + 2]
            start = next((s for s in way_back(moves, here) if path_of(s)[-1] == x), here)
            path = path_of(start)
            legal = path[-1] == x and x + y in edges and y not in path
            nxt = (*path, y)
            solved = legal and y == reference["goal"]
            onward = self._shortest(reference, y, frozenset(path)) if legal else None
            stuck = not any(e[0] == y and e[1] not in nxt for e in edges)
            moves.append(
                Move(start, (x, y), legal, solved, onward is None, stuck and not solved, i, i + 3, legal=legal)
            )
            paths.append(nxt)
            here = len(moves) - 1
            i += 3
        return moves
