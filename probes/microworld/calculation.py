"""Sequential calculation: one to four operations, left to right. Steps help; nothing is searched and nothing goes back."""

from __future__ import annotations

import random
from typing import Any

from ..domains import Item, Response
from ..mistakes import Fault
from .common import MicroDomain, after_answer, as_int
from .countdown import OPERATIONS, action, compute


class Calculation(MicroDomain):
    name = "calculation"
    group = "ood_reasoning"
    max_new_tokens = 64
    has_trace = True
    phrasings = (
        "compute {start} {steps}",
        "use {start} {steps}",
        "with {start} get {steps}",
        "find {start} {steps}",
    )
    extra_words = ("then",)

    def problem(self, rng: random.Random) -> dict[str, Any]:
        while True:
            start = value = rng.randint(1, 30)
            steps = []
            for _ in range(rng.randint(1, 4)):
                op = rng.choice("+-*")
                operand = rng.randint(2, 5) if op == "*" else rng.randint(1, 30)
                value = value + operand if op == "+" else value - operand if op == "-" else value * operand
                steps.append([op, operand])
                if not 0 <= value <= 99:
                    break
            else:
                return {"start": start, "steps": steps}

    def content(self, problem: dict[str, Any]) -> str:
        return str(problem["start"]) + "".join(f"{op}{x}" for op, x in problem["steps"])

    def slots(self, problem: dict[str, Any]) -> dict[str, str]:
        return {"start": str(problem["start"]), "steps": " then ".join(f"{op} {x}" for op, x in problem["steps"])}

    def level(self, problem: dict[str, Any]) -> int:
        """The number of operations."""
        return len(problem["steps"])

    def guess(self, problem: dict[str, Any], rng: random.Random) -> str:
        return f"answer {rng.randint(0, 99)}"

    @staticmethod
    def _values(problem: dict[str, Any]) -> list[int]:
        values = [problem["start"]]
        for op, x in problem["steps"]:
            values.append(values[-1] + x if op == "+" else values[-1] - x if op == "-" else values[-1] * x)
        return values

    def direct(self, problem: dict[str, Any]) -> str:
        return f"answer {self._values(problem)[-1]}"

    def trace(self, problem: dict[str, Any]) -> str:
        values = self._values(problem)
        return " ".join(
            f"{v} {op} {x} = {w}" for v, (op, x), w in zip(values, problem["steps"], values[1:], strict=False)
        )

    def judge(self, reference: dict[str, Any], answer: str) -> tuple[bool, bool]:
        words = after_answer(answer)
        value = as_int(words[0]) if words and len(words) == 1 else None
        return value is not None, value == self._values(reference)[-1]

    def fault(self, item: Item, response: Response) -> Fault:
        """illegal: a step that was not asked for, or starts from another number than the one at hand. A bare answer is one claim
        of the whole, and so arithmetic; exploration: steps were left out, or the answer is not what they came to."""
        value, steps = item.reference["start"], item.reference["steps"]
        said = self._claims(response.think)
        for k, (a, op, b, c) in enumerate(said):
            if k >= len(steps) or action(a, op, b) != action(value, *steps[k]):
                return "illegal"
            if compute(a, op, b) != c:
                return "arithmetic"
            value = c
        return "exploration" if said else "arithmetic"

    def count_steps(self, reference: dict[str, Any], think: str) -> int:
        return len(self._claims(think))

    @staticmethod
    def _claims(think: str) -> list[tuple[int, str, int, int]]:
        """Steps (a, op, b, c) of a trace, each as often as it is not a plain repetition of the one before."""
        words, i = think.split(), 0
        found: list[tuple[int, str, int, int]] = []
        while i + 5 <= len(words):
            a, op, b, equals, c = words[i : i + 5]
            x, y, z = as_int(a), as_int(b), as_int(c)
            if x is None or y is None or z is None or op not in OPERATIONS or equals != "=":
                i += 1
                continue
            if found[-1:] != [(x, op, y, z)]:
                found.append((x, op, y, z))
            i += 5
        return found
