"""Random searches written out in random styles, with what is true of them: nothing here is shared with the parser."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fractions import Fraction

UNREACHED = 99_991  # a prime that no walk of these sizes arrives at


@dataclass
class Written:
    """A text, its numbers, and the spans (start, end) of its equations, of those that go back and of those that loop."""

    numbers: list[int]
    text: str = ""
    equations: list[tuple[int, int]] = field(default_factory=list)
    backtracks: list[tuple[int, int]] = field(default_factory=list)
    loops: list[tuple[int, int]] = field(default_factory=list)

    def say(self, words: str) -> None:
        self.text += words

    def equation(self, words: str, kind: str = "") -> None:
        span = (len(self.text), len(self.text) + len(words))
        self.text += words
        self.equations.append(span)
        if kind:
            (self.backtracks if kind == "backtrack" else self.loops).append(span)


class Style:
    """One writer's habits, kept through a text."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.latex = rng.random() < 0.25
        if self.latex:
            self.signs = {"+": "+", "-": "-", "*": rng.choice([r"\times", r"\cdot"]), "/": r"\div"}
        elif rng.random() < 0.2:
            self.signs = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
        else:
            self.signs = {
                "+": "+",
                "-": rng.choice("-−–"),
                "*": rng.choice("*×·x"),
                "/": rng.choice("/÷"),
            }
        self.gap = " " if self.latex or self.signs["+"] == "plus" or rng.random() < 0.8 else ""
        self.links = rng.choice(
            [[" = "], ["="], [" = ", " is ", " gives "], [" → "], [" makes ", ", which is ", " equals "]]
        )
        if self.latex:
            self.links = [" = "]
        self.wrap = ("$", "$") if self.latex else rng.choice([("", ""), ("", ""), ("**", "**"), ("`", "`")])
        self.lists = rng.choice(["", "", "\n- ", "\n* ", "\n", "\n{n}. "])
        self.count = 0

    def operation(self, a: object, op: str, b: object) -> str:
        return f"{a}{self.gap}{self.signs[op]}{self.gap}{b}"

    def between(self, dead_end: bool) -> str:
        rng = self.rng
        self.count += 1
        neutral = ["", "", "Hmm. ", "So ", "Wait. ", "Okay, ", "And ", "Let me see. ", "Now "]
        refused = ["No. ", "Not it. ", "Too big. ", "Hmm, no. ", "Wait, no. ", "Nope. ", "That misses. ", ""]
        words = rng.choice(refused if dead_end else neutral) + (
            rng.choice(["Or ", "", "What about "]) if dead_end else ""
        )
        if self.lists and rng.random() < 0.8:
            return rng.choice(["", " ✗" if dead_end else ""]) + self.lists.format(n=self.count)
        return rng.choice([". ", "; ", ", "]) + words if not words else ". " + words


@dataclass(eq=False)
class Place:
    """A state of a walk."""

    state: tuple[int, ...]
    newest: int | None = None
    above: Place | None = None
    below: dict[tuple[int, str, int], Place] = field(default_factory=dict)

    def way(self) -> list[Place]:
        return [self, *(self.above.way() if self.above else [])]


def results(a: int, b: int) -> list[tuple[int, str, int, int]]:
    out = [(a, "+", b, a + b), (a, "*", b, a * b), (a, "-", b, a - b), (b, "-", a, b - a)]
    out += [(a, "/", b, a // b)] if b and a % b == 0 else []
    return [x for x in out if 0 < x[3] < 5000]


def moves_from(place: Place, taken: set[int]) -> list[tuple[int, str, int, int]]:
    """Operations that use the newest number (at the start, any two) and make a number that was nowhere before."""
    pairs = (
        [(place.newest, x) for x in place.state if x != place.newest]
        if place.newest is not None
        else [(a, b) for i, a in enumerate(place.state) for b in place.state[i + 1 :]]
    )
    return [m for a, b in pairs for m in results(a, b) if m[3] not in taken]


def stepwise(rng: random.Random, length: int = 14) -> Written:
    """A walk of single operations: goes on, goes back, walks old ways to something new, loops."""
    numbers = rng.sample(range(3, 90), rng.choice([3, 4, 5]))
    out, style = Written(numbers), Style(rng)
    out.say(rng.choice(["Let me try. ", "<think>\n", "We need to be clever. ", ""]))
    root = here = Place(tuple(numbers))
    taken = set(numbers)

    def write(move: tuple[int, str, int], value: int, kind: str = "") -> None:
        out.say(style.wrap[0])
        out.equation(style.operation(*move) + rng.choice(style.links) + str(value), kind)
        out.say(style.wrap[1])

    def forth(place: Place, kind: str = "") -> Place:
        a, op, b, value = rng.choice([m for m in moves_from(place, taken) if m[:3] not in place.below])
        taken.add(value)
        rest = list(place.state)
        rest.remove(a)
        rest.remove(b)
        place.below[a, op, b] = Place((*rest, value), value, place)
        write((a, op, b), value, kind)
        return place.below[a, op, b]

    def new_from(place: Place) -> bool:
        return any(m[:3] not in place.below for m in moves_from(place, taken))

    while len(out.equations) < length:
        dead = len(here.state) == 1
        if out.equations:
            out.say(style.between(dead))
        if not dead and new_from(here) and not here.below:
            here = forth(here)
            continue
        back = [p for p in here.way()[1:] if new_from(p) and p is not root]
        kind = rng.random()
        # An old first step is only known for one where no later state has its numbers too.
        later = [set(p.state) for p in here.way()[:-1]]
        old = [(m, p) for m, p in root.below.items() if not any({m[0], m[2]} <= state for state in later)]
        if dead and kind < 0.2 and old:  # the whole of an old way once more, down to where it ended
            (move, place), first = rng.choice(old), True
            while True:
                write(move, place.newest, "loop" if first else "")
                here, first = place, False
                if not place.below:
                    break
                out.say(style.between(False))
                move, place = rng.choice(list(place.below.items()))
            if len(here.state) > 1:
                break  # the walk was cut there
        elif dead and kind < 0.4 and any(new_from(p) for _, p in old):  # an old first step, then a new one below it
            move, place = rng.choice([(m, p) for m, p in old if new_from(p)])
            write(move, place.newest)
            out.say(style.between(False))
            here = forth(place, "backtrack")
        elif back and kind < 0.8:
            here = forth(rng.choice(back), "backtrack")
        elif dead and new_from(root):
            here = forth(root, "backtrack")
        else:
            break
    out.say(rng.choice([".", "\n", " no.", ""]))
    return out


def wholes(rng: random.Random, length: int = 10) -> Written:
    """Whole expressions of all numbers, some of them once more in another order."""
    numbers = rng.sample(range(3, 60), 4)
    out, style = Written(numbers), Style(rng)
    style.links = [" = "]
    style.signs = style.signs if style.signs["+"] == "+" else {"+": "+", "-": "-", "*": "*", "/": "/"}
    tried: dict[frozenset, list[tuple[str, int]]] = {}  # signed terms
    for n in range(length):
        if n:
            out.say(style.between(True))
        if tried and rng.random() < 0.3:
            terms = list(rng.choice(list(tried)))
        else:
            order = rng.sample(numbers, 4)
            terms = (
                [("+", (order[0], order[1]))]
                if rng.random() < 0.5
                else [("+", (order[0],)), ("-+"[n % 2], (order[1],))]
            )
            terms += [(rng.choice("+-"), (x,)) for x in order[2:]]
        known = frozenset((sign, frozenset(factors)) for sign, factors in terms)
        rng.shuffle(terms)
        terms.sort(key=lambda t: t[0] == "-")  # a plus comes first: no leading sign
        words, value = "", 0
        for sign, factors in terms:
            factors = list(factors)
            rng.shuffle(factors)
            product = factors[0] if len(factors) == 1 else factors[0] * factors[1]
            piece = str(factors[0]) if len(factors) == 1 else style.operation(factors[0], "*", factors[1])
            words += f" {style.signs[sign]} {piece}" if words else piece
            value += product if sign == "+" else -product
        out.say(style.wrap[0])
        out.equation(f"{words} = {value}", "loop" if known in tried else "backtrack" if n else "")
        out.say(style.wrap[1])
        tried[known] = terms
    return out


def expression(rng: random.Random, numbers: list[int]) -> tuple[str, Fraction]:
    """A random expression of all numbers with the brackets that it needs (and some that it does not), and its value."""
    if len(numbers) == 1:
        return str(numbers[0]), Fraction(numbers[0])
    cut = rng.randrange(1, len(numbers))
    (a, x), (b, y) = expression(rng, numbers[:cut]), expression(rng, numbers[cut:])
    op = rng.choice("+-*/" if y else "+-*")
    value = {"+": x + y, "-": x - y, "*": x * y}[op] if op != "/" else x / y
    if op == "/" and rng.random() < 0.4:
        return rf"\frac{{{a}}}{{{b}}}", value
    sign = rng.choice(
        {"+": ["+"], "-": ["-", "−"], "*": ["*", "×", r"\cdot ", r"\times "], "/": ["/", "÷", r"\div "]}[op]
    )
    a, b = (f"({s})" if len(n) > 1 or rng.random() < 0.1 else s for s, n in ((a, numbers[:cut]), (b, numbers[cut:])))
    return f"{a} {sign} {b}", value
