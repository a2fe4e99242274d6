"""Instructions: do a small thing to a few words. A general ability (following instructions) that one can forget."""

from __future__ import annotations

import random
from typing import Any

from .common import MicroDomain, after_answer
from .facts import ATTRIBUTES

WORDS = tuple(v for values in ATTRIBUTES.values() for v in values)
TASKS = ("repeat", "reverse", "first", "last", "count", "swap")


class Instructions(MicroDomain):
    name = "instructions"
    group = "general"
    max_new_tokens = 48
    phrasings = ("{task} {words}", "please {task} {words}", "with {words} do {task}", "{words} : {task}")
    extra_words = (*TASKS, "times")

    def problem(self, rng: random.Random) -> dict[str, Any]:
        task = rng.choice(TASKS)
        if task == "repeat":
            return {"task": task, "words": [rng.choice(WORDS)], "times": rng.randint(2, 6)}
        length = 2 if task == "swap" else rng.randint(3, 5)
        return {"task": task, "words": rng.sample(WORDS, length), "times": 0}

    def content(self, problem: dict[str, Any]) -> str:
        return f"{problem['task']}|{problem['times']}|{' '.join(problem['words'])}"

    def slots(self, problem: dict[str, Any]) -> dict[str, str]:
        words = " ".join(problem["words"])
        return {
            "task": problem["task"],
            "words": f"{words} {problem['times']} times" if problem["task"] == "repeat" else words,
        }

    def guess(self, problem: dict[str, Any], rng: random.Random) -> str:
        """Words of the question, as many as the task wants, in any order."""
        wanted = self._wanted(problem)
        if problem["task"] == "count":
            return f"answer {rng.randint(1, 6)}"
        if problem["task"] == "repeat":
            return "answer " + " ".join(problem["words"] * rng.randint(2, 6))
        return "answer " + " ".join(rng.sample(problem["words"], len(wanted)))

    @staticmethod
    def _wanted(problem: dict[str, Any]) -> list[str]:
        words = problem["words"]
        return {
            "repeat": words * problem["times"],
            "reverse": words[::-1],
            "swap": words[::-1],
            "first": words[:1],
            "last": words[-1:],
            "count": [str(len(words))],
        }[problem["task"]]

    def direct(self, problem: dict[str, Any]) -> str:
        return "answer " + " ".join(self._wanted(problem))

    def judge(self, reference: dict[str, Any], answer: str) -> tuple[bool, bool]:
        words = after_answer(answer)
        return bool(words), words == self._wanted(reference)
