"""Data arms: the same Countdown prompts answered in ways that differ in one thing each, to learn which thing matters.

`worked` is the verified systematic search. The arms that imitate its look (`shuffled`, `random_tries`, `filler`) keep its length
word for word, so that what differs between two models is not how much they read.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ...dynamics.errors import ConfigError, nearest
from ..search import ROOT
from . import DOMAINS
from .common import MicroDomain
from .corpus import Record
from .countdown import Countdown, successors

Rendering = Literal["worked", "direct", "straight", "shuffled", "random_tries", "filler"]
REPLAYED = ("harmful", "safe", "facts", "instructions", "objects")


@dataclass(frozen=True)
class FineTuningArm:
    """`rows` distinct training items of one domain, of some levels and phrasings or of all, answered in one of the renderings.

    worked: a verified systematic search, then the answer. direct: the answer alone, unexplained; `wrong_share` of these claim the
    target and do not add up. straight: the way to the solution without any try that fails. shuffled: the worked steps in random
    order. random_tries: tries drawn at random, to the search's length, then the solution. filler: the solution stretched to the
    search's length by restatements and "wait". The last four exist for Countdown.
    """

    rows: int
    domain: str = "countdown"
    rendering: Rendering = "worked"
    wrong_share: float = 0.0  # of direct rows: the low-quality arm
    replay_share: float = (
        0.0  # of all rows: refusals, help and general records as in pretraining, instead of the domain's
    )
    levels: tuple[int, ...] = ()  # difficulties trained on; empty: all
    phrasings: tuple[int, ...] = ()  # ways to ask, by number; empty: all
    seed: int = 0

    def __post_init__(self) -> None:
        if self.domain not in DOMAINS:
            raise ConfigError(f"unknown domain {self.domain!r} in `arm.domain`: {nearest(self.domain, DOMAINS)}")
        if self.rendering != "direct" and not DOMAINS[self.domain].has_trace:
            raise ConfigError(f"`arm.rendering` is {self.rendering!r} and {self.domain} has no traces: give `direct`")
        if self.rendering not in ("worked", "direct") and self.domain != "countdown":
            raise ConfigError(
                f"`arm.rendering` is {self.rendering!r}, which exists for countdown and not for {self.domain}"
            )
        for name in ("wrong_share", "replay_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"`arm.{name}` is {getattr(self, name)}: give a share between 0 and 1")
        known = range(len(DOMAINS[self.domain].phrasings))
        if set(self.phrasings) - set(known):
            raise ConfigError(
                f"`arm.phrasings` is {list(self.phrasings)}: {self.domain} has {len(known)}, numbered from 0"
            )
        if self.wrong_share and (self.rendering, self.domain) != ("direct", "countdown"):
            raise ConfigError(f"`arm.wrong_share` is {self.wrong_share}: it is for direct answers to countdown")

    def records(self) -> Iterator[Record]:
        """The rows, in random order; the same prompts for every rendering."""
        domain = DOMAINS[self.domain]
        replayed = round(self.rows * self.replay_share)
        items = domain.items("train", self.rows, self.seed, self.levels, self.phrasings)[: self.rows - replayed]
        rng = random.Random(f"arm|{self.seed}|{self.rendering}")
        wrong = set(rng.sample(range(len(items)), round(self.wrong_share * len(items))))
        rows = []
        for i, item in enumerate(items):
            render = _wrong if i in wrong else _RENDER[self.rendering]
            response = render(domain, item.reference, rng)
            rows.append({"domain": domain.name, "prompt": item.prompt, "response": response})
        for i in range(replayed):
            other = DOMAINS[REPLAYED[i % len(REPLAYED)]]
            (item,) = other.items("train", 1, seed=self.seed + 1 + i)
            rows.append({"domain": other.name, "prompt": item.prompt, "response": other.direct(item.reference)})
        random.Random(f"arm order|{self.seed}").shuffle(rows)
        yield from rows

    def heldout_records(self, domain: str, n: int) -> Iterator[Record]:
        """`n` rows of a domain that are in no arm and no probe (the `test` split): the arm's own domain in its rendering,
        others answered directly, as the base does."""
        rng = random.Random(f"held out|{self.seed}|{domain}")
        render = _RENDER[self.rendering] if domain == self.domain else _direct
        for item in DOMAINS[domain].items("test", n, self.seed):
            response = render(DOMAINS[domain], item.reference, rng)
            yield {"domain": domain, "prompt": item.prompt, "response": response}


# ---------------------------------------------------------------- renderings

Render = Callable[[MicroDomain, dict[str, Any], random.Random], str]


def _thinking(words: list[str], answer: str) -> str:
    return f"<think> {' '.join(words)} </think> {answer}"


def _worked(domain: MicroDomain, problem: dict[str, Any], _rng: random.Random) -> str:
    return domain.worked(problem)


def _direct(domain: MicroDomain, problem: dict[str, Any], _rng: random.Random) -> str:
    return domain.direct(problem)


def _solution(problem: dict[str, Any]) -> list[str]:
    """The steps of the search that lead to the target, each `a op b = c`."""
    return Countdown().direct(problem).removeprefix("answer ").split(" , ")


def _straight(domain: MicroDomain, problem: dict[str, Any], _rng: random.Random) -> str:
    first, last = _solution(problem)
    left = _state_after(problem["numbers"], first)
    return _thinking([first, "left", *map(str, left), ":", last, "yes"], domain.direct(problem))


def _state_after(numbers: list[int], step: str) -> list[int]:
    a, _, b, _, c = step.split()
    rest = list(numbers)
    rest.remove(int(a))
    rest.remove(int(b))
    return [*rest, int(c)]


def _wrong(_domain: MicroDomain, problem: dict[str, Any], rng: random.Random) -> str:
    """Two steps with the numbers at hand, the last of which claims the target and does not make it."""
    numbers, target = tuple(problem["numbers"]), problem["target"]
    a, op, b, c, state = rng.choice(
        [s for s in successors(numbers) if any(z != target for *_, z, _ in successors(s[4]))]
    )
    x, o, y, _, _ = rng.choice([s for s in successors(state) if s[3] != target])
    return f"answer {a} {op} {b} = {c} , {x} {o} {y} = {target}"


def _shuffled(domain: MicroDomain, problem: dict[str, Any], rng: random.Random) -> str:
    """The same words as the search, its steps (with what follows each) in random order."""
    pieces = re.findall(r"\d+ [-+*] \d+ = \d+(?:(?! \d+ [-+*] \d+ =) \S+)*", domain.trace(problem))
    rng.shuffle(pieces)
    return _thinking(pieces, domain.direct(problem))


def _random_tries(domain: MicroDomain, problem: dict[str, Any], rng: random.Random) -> str:
    """The shape of the search, its tries drawn at random (and so again and again), up to the same solution."""
    moves = Countdown().read_trace(problem, domain.trace(problem))
    subtrees = [i for i, m in enumerate(moves) if m.parent == ROOT]
    leaves = [sum(m.parent == i for m in moves) for i in subtrees]
    openings = [s for s in successors(tuple(problem["numbers"])) if _misses(s, problem)]
    words: list[str] = []
    for n in leaves[:-1]:
        opening = rng.choice(openings)
        words += [*_opened(opening), *_tries(rng.choices(_misses(opening, problem), k=n)), "back"]
    first, last = _solution(problem)
    a, op, b, _, c = first.split()
    state = _state_after(problem["numbers"], first)
    solving = (int(a), op, int(b), int(c), tuple(state))
    words += [
        *_opened(solving),
        *_tries(rng.choices(_misses(solving, problem) or [solving], k=leaves[-1] - 1)),
        last,
        "yes",
    ]
    return _thinking(words, domain.direct(problem))


Move = tuple[int, str, int, int, tuple[int, ...]]  # a op b = c, and the numbers then left


def _misses(opening: Move, problem: dict[str, Any]) -> list[Move]:
    """The last moves after an opening that do not make the target."""
    return [s for s in successors(opening[4]) if s[3] != problem["target"]]


def _opened(move: Move) -> list[str]:
    a, op, b, c, state = move
    return [str(a), op, str(b), "=", str(c), "left", *map(str, state), ":"]


def _tries(moves: list[Move]) -> list[str]:
    return [word for a, op, b, c, _ in moves for word in (str(a), op, str(b), "=", str(c), "no")]


def _filler(domain: MicroDomain, problem: dict[str, Any], _rng: random.Random) -> str:
    """The solution's own steps, said over and over with "wait" between, to the length of the search. No branch is ever left."""
    budget = len(domain.trace(problem).split())
    ending = _straight(domain, problem, _rng).removeprefix("<think> ").partition(" </think>")[0].split()
    said = [*domain.prompt(problem).split(), "wait"]
    words = (said * (budget // len(said) + 1))[: max(budget - len(ending), 0)]
    return _thinking([*words, *ending], domain.direct(problem))


_RENDER: dict[str, Render] = {
    "worked": _worked,
    "direct": _direct,
    "straight": _straight,
    "shuffled": _shuffled,
    "random_tries": _random_tries,
    "filler": _filler,
}
