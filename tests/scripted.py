"""Models of which every word is known, since they answer by rule: handles for probes that ask again.

They stand in for a checkpoint behind `protocol.Handle` where a test needs a truth that training would only come near to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sftscope.probes.domains import Item, Response
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.protocol import Answered

COUNTDOWN = DOMAINS["countdown"]
CAP = 400


class Scripted:
    """Says what `think` says of an item and some banned words, then what `answer` makes of that thinking."""

    def __init__(
        self, think: Callable[[Item, set[str]], list[str]], answer: Callable[[Item, list[str], set[str]], str]
    ) -> None:
        self.think, self.answer = think, answer
        self.numbers: dict[str, int] = {}
        self.calls: list[tuple[str, ...]] = []  # what was banned, call by call

    def tokens(self, text: str) -> list[tuple[int, str]]:
        return [(self.numbers.setdefault(w, len(self.numbers)), w) for w in text.split()]

    def ask(self, domain: str, items: Sequence[Item], *, begins=(), banned=(), max_new_tokens=None) -> list[Response]:
        assert domain == "countdown"
        word = {number: w for w, number in self.numbers.items()}
        barred = {word[b] if isinstance(b, int) else b for b in banned}
        self.calls.append(tuple(sorted(barred)))
        out = []
        for k, item in enumerate(items):
            forced = " ".join(begins[k].split()) if begins else ""
            thinking = forced.split()[1:-1] if forced else self.think(item, barred)
            said = [w for w in self.answer(item, thinking, barred).split() if w not in barred]
            if forced:
                out.append(Response(" ".join([forced, *said]), True, len(said), forced=forced))
            else:
                out.append(
                    Response(" ".join(["<think>", *thinking, "</think>", *said]), True, len(thinking) + len(said))
                )
        assert max_new_tokens is None or all(r.n_tokens <= max_new_tokens for r in out)
        return out

    def answered(self, n: int = 64, levels: Sequence[int] = ()) -> Answered:
        items = COUNTDOWN.items("probe", n, levels=levels)
        return Answered(COUNTDOWN, items, self.ask("countdown", items))


def searcher() -> Scripted:
    """Searches as it was taught. With the words for a failed try banned it calls the try a success and stops; without a word
    that all traces are made of it breaks off; another banned number becomes a slip that the search gets over."""

    def think(item: Item, barred: set[str]) -> list[str]:
        out = []
        for word in COUNTDOWN.trace(item.reference).split():
            if word not in barred:
                out.append(word)
            elif word in ("no", "back"):
                return [*out, "yes"]
            elif word.isdigit():
                out.append(str(next(n for n in range(int(word) + 1, 300) if str(n) not in barred)))
            else:
                return out
        return out

    def answer(item: Item, thinking: list[str], barred: set[str]) -> str:
        found = len(thinking) == len(COUNTDOWN.trace(item.reference).split()) and thinking[-1] == "yes"
        return COUNTDOWN.direct(item.reference) if found else "answer 1 + 1 = 2"

    return Scripted(think, answer)


def filler(brittle: bool = False) -> Scripted:
    """Says the question over and over with "wait" between, then answers, rightly every other time whatever it said before.

    A brittle one is put out of its stride, and answers wrongly, where many of its words are banned, whichever they are.
    """

    def full(item: Item) -> list[str]:
        """As long as the search would be: hard questions are thought about for longer."""
        n = len(COUNTDOWN.trace(item.reference).split())
        once = [*item.prompt.split(), "wait"]
        return (once * math.ceil(max(n, 20) / len(once)))[: max(n, 20)]

    def think(item: Item, barred: set[str]) -> list[str]:
        return [w for w in full(item) if w not in barred]

    def answer(item: Item, thinking: list[str], barred: set[str]) -> str:
        able = int(item.id[-1], 16) % 2 == 0
        lost = brittle and sum(w in barred for w in full(item)) >= 2
        return COUNTDOWN.direct(item.reference) if able and not lost else "answer 1 + 1 = 2"

    return Scripted(think, answer)
