"""Sequential calculation: three operations from left to right. Steps help, but nothing is searched and nothing goes back."""

from __future__ import annotations

import random
from typing import Any

from .common import MicroDomain, after_answer, as_int


class Calculation(MicroDomain):
    name = "calculation"
    group = "ood_reasoning"
    max_new_tokens = 64
    has_trace = True
    words = ("compute", "then")

    def problem(self, rng: random.Random) -> dict[str, Any]:
        while True:
            start = value = rng.randint(1, 30)
            steps = []
            for _ in range(3):
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

    def prompt(self, problem: dict[str, Any]) -> str:
        return f"compute {problem['start']} " + " then ".join(f"{op} {x}" for op, x in problem["steps"])

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
