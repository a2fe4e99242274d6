"""What the micro-world's domains share: ids and splits by content, seeded sampling, reading an answer."""

from __future__ import annotations

import hashlib
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, Literal

from ...dynamics.errors import ConfigError
from ...dynamics.types import Group
from ..domains import Grade, Item, Response, Split

# Shares of the content space. Probe items are many because every domain, the small ones too, needs hundreds of them.
SPLIT_SHARES: dict[Split, float] = {"train": 0.6, "probe": 0.3, "test": 0.1}
NUMBERS = tuple(str(n) for n in range(100))
ANSWER = "answer"
Distance = Literal["in", "near", "far"]  # of a reasoning domain from what is fine-tuned: Countdown with three numbers
EXHAUSTED = 20_000  # draws without a new item after which a domain is taken to have no more


def content_id(domain: str, content: str) -> str:
    return f"{domain}-{hashlib.sha256(f'{domain}|{content}'.encode()).hexdigest()[:12]}"


def split_of(domain: str, content: str) -> Split:
    """The split an item belongs to: decided by its content, whichever seed generated it."""
    u = int.from_bytes(hashlib.sha256(f"split|{domain}|{content}".encode()).digest()[:6]) / 2**48
    for split, share in SPLIT_SHARES.items():
        u -= share
        if u < 0:
            return split
    return "test"


class MicroDomain(ABC):
    """A procedurally generated domain: problems from a seeded generator, two renderings of the answer, an exact grader."""

    name: str
    group: Group
    max_new_tokens: int = 48
    phrasings: tuple[
        str, ...
    ] = ()  # ways to ask, over the words that `slots` gives; several domains share their openings
    extra_words: tuple[str, ...] = ()  # what answers and traces add to the vocabulary
    has_trace = False
    recalled = False  # knowledge, of which pretraining teaches all: no answer could be worked out
    distance: Distance = "far"

    # -- what a domain defines

    @abstractmethod
    def problem(self, rng: random.Random) -> dict[str, Any]:
        """A random problem: a JSON-able dict that the other methods take."""

    @abstractmethod
    def content(self, problem: dict[str, Any]) -> str:
        """Canonical form: equal for problems that are the same question, however they are worded or ordered."""

    @abstractmethod
    def slots(self, problem: dict[str, Any]) -> dict[str, str]:
        """What stands in the gaps of a phrasing."""

    @abstractmethod
    def direct(self, problem: dict[str, Any]) -> str:
        """The right response without thinking."""

    def trace(self, problem: dict[str, Any]) -> str:
        """The worked steps, without the thinking tags."""
        raise NotImplementedError(f"{self.name} has no worked traces")

    @abstractmethod
    def judge(self, reference: dict[str, Any], answer: str) -> tuple[bool, bool]:
        """(parsed, correct) of an answer part."""

    @abstractmethod
    def guess(self, problem: dict[str, Any], rng: random.Random) -> str:
        """An answer in the right form, legal moves taken at random: what answering without any search or knowledge scores."""

    def cluster(self, problem: dict[str, Any]) -> str:
        return ""

    def level(self, problem: dict[str, Any]) -> int:
        """Difficulty, from 1. Search domains: by the states that the systematic search visits."""
        return 1

    # -- what all share

    @property
    def words(self) -> tuple[str, ...]:
        """What it adds to the vocabulary."""
        said = (w for p in self.phrasings for w in re.sub(r"\{\w+\}", " ", p).split())
        return tuple(dict.fromkeys((*said, *self.extra_words)))

    def draw(self, rng: random.Random) -> dict[str, Any]:
        """A random problem in a random phrasing."""
        return {**self.problem(rng), "phrasing": rng.randrange(len(self.phrasings))}

    def prompt(self, problem: dict[str, Any]) -> str:
        return self.phrasings[problem.get("phrasing", 0)].format(**self.slots(problem))

    def worked(self, problem: dict[str, Any]) -> str:
        """The right response after a worked trace."""
        return f"<think> {self.trace(problem)} </think> {self.direct(problem)}"

    def items(
        self,
        split: Split,
        n: int,
        seed: int = 0,
        levels: Collection[int] | None = None,
        phrasings: Collection[int] | None = None,
    ) -> list[Item]:
        """`n` distinct items of a split, of some levels and phrasings or of all. Raises ConfigError where there are fewer."""
        rng = random.Random(f"{self.name}|{split}|{seed}")
        found: dict[str, Item] = {}
        in_vain = 0  # draws since the last new item
        while len(found) < n and in_vain < EXHAUSTED:
            in_vain += 1
            problem = self.draw(rng)
            content = self.content(problem)
            if split_of(self.name, content) != split:
                continue
            level, phrasing = self.level(problem), problem["phrasing"]
            if (levels and level not in levels) or (phrasings and phrasing not in phrasings):
                continue
            key = content_id(self.name, content)
            if key not in found:
                in_vain = 0
                found[key] = Item(
                    key, self.prompt(problem), problem, self.cluster(problem) or key, level=level, phrasing=phrasing
                )
        if len(found) < n:
            raise ConfigError(
                f"{self.name} has only {len(found)} distinct items in the {split!r} split"
                f"{f' at levels {sorted(levels)}' if levels else ''}, {n} were asked for: ask for fewer"
            )
        return list(found.values())

    def grade(self, item: Item, response: Response) -> Grade:
        parsed, correct = self.judge(item.reference, response.answer)
        finished = response.finished
        # Read leniently, the last answer written counts, also one inside thinking that was never closed.
        text = response.answer or response.think
        tail = text.rpartition(f"{ANSWER} ")
        lenient = correct or (not finished and bool(tail[1]) and self.judge(item.reference, ANSWER + " " + tail[2])[1])
        return Grade(finished, finished and parsed, finished and parsed and correct, lenient)


def after_answer(answer: str) -> list[str] | None:
    """The words after a leading `answer`, or None where the response does not open with it."""
    words = answer.split()
    return words[1:] if words[:1] == [ANSWER] else None


def search_level(visited: int) -> int:
    """1, 2 or 3 by the states that a systematic search visits."""
    return 1 if visited <= 5 else 2 if visited <= 12 else 3


def as_int(word: str) -> int | None:
    """A number of the micro-world (0-99), or None. Never `eval`, and no unicode digits."""
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 4 else None
