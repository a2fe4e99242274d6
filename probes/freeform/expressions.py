"""Arithmetic expressions: read from tokens, worth an exact rational, in a canonical form. Never `eval`, no recursion on input.

Canonical: sums flattened into signed terms and products into factors, so that `76 + 23 - 58` is `76 - 58 + 23`; no distribution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from .tokens import Token, tokenise

MAX_TOKENS = 160  # of one expression: far above what six numbers need, low enough to keep hostile text cheap
MAX_NESTING = 24
ARTICLES = frozenset({"the", "that", "this", "these", "those", "my", "our", "a", "an", "another", "both"})


@dataclass(frozen=True)
class Canon:
    """Canonical form. An atom holds `key` alone; a sum or product holds its parts as (+1 or -1, part), sorted by key."""

    kind: str  # "n", "+", "*"
    key: str
    parts: tuple[tuple[int, Canon], ...] = ()

    @cached_property
    def bag(self) -> Counter[tuple[int, str]]:
        return Counter((sign, part.key) for sign, part in self.parts)


def atom(key: object) -> Canon:
    return Canon("n", str(key))


def combine(kind: str, signed: Sequence[tuple[int, Canon]]) -> Canon:
    """A sum ("+") or product ("*") of signed parts, nested ones of the same kind flattened."""
    flat: list[tuple[int, Canon]] = []
    for sign, part in signed:
        flat += [(sign * s, p) for s, p in part.parts] if part.kind == kind else [(sign, part)]
    if len(flat) == 1 and flat[0][0] == 1:
        return flat[0][1]
    flat.sort(key=lambda sp: (-sp[0], sp[1].key))
    return Canon(kind, f"({kind} {' '.join(('' if s > 0 else '~') + p.key for s, p in flat)})", tuple(flat))


def without(whole: Canon, part: Canon, mark: Canon) -> Canon | None:
    """`whole` with `part` (as a whole side, some terms of a sum, some factors of a product) replaced by `mark`, or None."""
    if whole.key == part.key:
        return mark
    if whole.kind == part.kind and part.parts:
        for sign in (1, -1):  # 13 + 11 stands in 68 - 13 - 11 too
            wanted = Counter({(sign * s, k): n for (s, k), n in part.bag.items()})
            if wanted <= whole.bag:
                rest = []
                for s, p in whole.parts:
                    if wanted[s, p.key] > 0:
                        wanted[s, p.key] -= 1
                    else:
                        rest.append((s, p))
                return combine(whole.kind, [*rest, (sign, mark)])
    if len(part.key) >= len(whole.key):
        return None
    for i, (s, p) in enumerate(whole.parts):
        if (changed := without(p, part, mark)) is not None:
            return combine(whole.kind, [*whole.parts[:i], *whole.parts[i + 1 :], (s, changed)])
    return None


def leaves(canon: Canon) -> list[str]:
    """Keys of the atoms."""
    if not canon.parts:
        return [canon.key]
    return [key for _, part in canon.parts for key in leaves(part)]


@dataclass(frozen=True)
class Expression:
    """What was read: operands in order, exact value (None where it divides by zero), canonical form."""

    operands: tuple[Fraction, ...]
    operators: int
    value: Fraction | None
    canon: Canon
    start: int  # in the text, both ends
    end: int
    first: int = 0  # in the tokens, end excluded
    last: int = 0
    single: tuple[str, Fraction, Fraction] | None = None  # (operator, left, right) where there is just one

    @property
    def plain(self) -> bool:
        """A number, without an operation."""
        return self.operators == 0


@dataclass
class _Part:
    """A piece being built on the stack."""

    operands: tuple[Fraction, ...]
    operators: int
    value: Fraction | None
    canon: Canon
    single: tuple[str, Fraction, Fraction] | None = None


def _number(value: Fraction) -> _Part:
    return _Part((value,), 0, value, atom(value))


def _apply(op: str, a: _Part, b: _Part) -> _Part:
    if op == "from":
        op, a, b = "-", b, a
    value: Fraction | None = None
    if a.value is not None and b.value is not None:
        if op == "+":
            value = a.value + b.value
        elif op == "-":
            value = a.value - b.value
        elif op == "*":
            value = a.value * b.value
        elif b.value != 0:
            value = a.value / b.value
    kind = "+" if op in "+-" else "*"
    canon = combine(kind, [(1, a.canon), (-1 if op in "-/" else 1, b.canon)])
    operators = a.operators + b.operators + 1
    single = (op, a.operands[0], b.operands[0]) if operators == 1 else None
    return _Part(a.operands + b.operands, operators, value, canon, single)


def _negated(part: _Part, known: Collection[Fraction]) -> _Part:
    """A leading minus: part of the number where such a number is known or nothing else makes sense, else a sign."""
    value = None if part.value is None else -part.value
    if part.operators == 0 and value is not None and (value in known or part.value not in known):
        return _number(value)
    return _Part(part.operands, part.operators, value, combine("+", [(-1, part.canon)]), None)


_RANK = {"+": 1, "-": 1, "from": 1, "*": 2, "/": 2}
_NONE: frozenset[Fraction] = frozenset()


def bracketed(tokens: Sequence[Token]) -> frozenset[int]:
    """Opening brackets that are closed and nested no deeper than can be read. One pass, so that hostile text costs little."""
    heights: list[list[int]] = []  # of the brackets that are open: (token, levels inside)
    out: set[int] = set()
    for i, token in enumerate(tokens):
        if token.kind == "open":
            heights.append([i, 0])
        elif token.kind == "close" and heights:
            at, inside = heights.pop()
            if inside < MAX_NESTING:
                out.add(at)
            if heights:
                heights[-1][1] = max(heights[-1][1], inside + 1)
    return frozenset(out)


class _Reader:
    """Operator precedence with explicit stacks: the longest expression that begins at a token."""

    def __init__(
        self, tokens: Sequence[Token], known: Collection[Fraction], fractions: bool, closed: Collection[int]
    ) -> None:
        self.tokens, self.known, self.fractions, self.closed = tokens, known, fractions, closed
        self.limit = 0  # token at which the reading stops, whatever follows

    def read(self, i: int) -> tuple[_Part, int] | None:
        """(what was read, token after it), or None where no expression begins at token i."""
        self.limit = i + MAX_TOKENS
        return self._sum(i, 0)

    def _sum(self, i: int, depth: int) -> tuple[_Part, int] | None:
        """Operands and operators at one level of brackets."""
        values: list[_Part] = []
        waiting: list[str] = []

        def reduce(rank: int) -> None:
            while waiting and _RANK[waiting[-1]] >= rank:
                b, a = values.pop(), values.pop()
                values.append(_apply(waiting.pop(), a, b))

        end = i
        while i < self.limit:
            operand = self._operand(i, depth, leading=not values)
            if operand is None:
                break
            part, i = operand
            values.append(part)
            end = i
            op = self._operator(i)
            if op is None:
                break
            name, j = op
            if self._operand_begins(j):
                reduce(_RANK[name])
                waiting.append(name)
                i = j
            else:
                break
        if not values:
            return None
        if len(values) == len(waiting):  # an operator whose operand could not be read: it dangles
            waiting.pop()
        reduce(0)
        return values[0], end

    def _operator(self, i: int) -> tuple[str, int] | None:
        """The operator at token i and the token after it. Nothing between `5(` or `)(` multiplies too."""
        if i >= len(self.tokens) or i == 0:
            return None
        token, before = self.tokens[i], self.tokens[i - 1]
        if token.kind == "op" and token.text in _RANK:
            j = i + 1
            while j < len(self.tokens) and self.tokens[j].text in ARTICLES and self.tokens[j].kind == "word":
                j += 1
            return token.text, j
        if token.kind == "open" and token.start == before.end and before.kind in ("num", "close"):
            return "*", i
        return None

    def _operand_begins(self, i: int) -> bool:
        if i >= len(self.tokens):
            return False
        token = self.tokens[i]
        return token.kind in ("num", "open", "frac", "boxed") or (token.text == "-" and self._begins_after_sign(i + 1))

    def _begins_after_sign(self, i: int) -> bool:
        return i < len(self.tokens) and self.tokens[i].kind in ("num", "open", "frac")

    def _operand(self, i: int, depth: int, leading: bool) -> tuple[_Part, int] | None:
        if i >= len(self.tokens) or depth > MAX_NESTING:
            return None
        token = self.tokens[i]
        if token.kind == "op" and token.text == "-":
            # A sign is written tight against its number; a dash between clauses is not.
            if not self._begins_after_sign(i + 1) or (leading and depth == 0 and self.tokens[i + 1].start != token.end):
                return None
            inner = self._operand(i + 1, depth + 1, False)
            return inner and (_negated(inner[0], self.known), inner[1])
        if token.kind == "num":
            assert token.value is not None
            return self._fraction(i) or (_number(token.value), i + 1)
        if token.kind == "frac":
            return self._latex_fraction(i, depth)
        if token.kind == "boxed" and i + 1 < len(self.tokens) and self.tokens[i + 1].kind == "open":
            return self._bracket(i + 1, depth)
        if token.kind == "open":
            return self._bracket(i, depth)
        return None

    def _bracket(self, i: int, depth: int) -> tuple[_Part, int] | None:
        if i not in self.closed:
            return None
        inner = self._sum(i + 1, depth + 1)
        if inner is None or inner[1] >= len(self.tokens) or self.tokens[inner[1]].kind != "close":
            return None
        return inner[0], inner[1] + 1

    def _latex_fraction(self, i: int, depth: int) -> tuple[_Part, int] | None:
        above = self._bracket(i + 1, depth) if self._is_open(i + 1) else None
        below = self._bracket(above[1], depth) if above and self._is_open(above[1]) else None
        if above is None or below is None:
            return None
        both = _apply("/", above[0], below[0])
        if self.fractions and both.operators == 1 and both.value in self.known:
            return _number(both.value), below[1]  # type: ignore[arg-type]
        return both, below[1]

    def _is_open(self, i: int) -> bool:
        return i < len(self.tokens) and self.tokens[i].kind == "open"

    def _fraction(self, i: int) -> tuple[_Part, int] | None:
        """`8/3` as one number, where that fraction is at hand."""
        if not self.fractions or i + 2 >= len(self.tokens):
            return None
        a, slash, b = self.tokens[i : i + 3]
        if slash.text != "/" or b.kind != "num" or slash.start != a.end or b.start != slash.end or not b.value:
            return None
        value = a.value / b.value  # type: ignore[operator]
        return (_number(value), i + 3) if value in self.known and value.denominator != 1 else None


def read_expression(
    tokens: Sequence[Token],
    i: int,
    known: Collection[Fraction] = _NONE,
    fractions: bool = False,
    closed: Collection[int] | None = None,
) -> Expression | None:
    """The longest expression that begins at token i, or None.

    `known`: values that are at hand; with `fractions`, `8/3` is one number where it is among them. `closed`: what
    `bracketed` gives for these tokens, for callers that read many times.
    """
    found = _Reader(tokens, known, fractions, bracketed(tokens) if closed is None else closed).read(i)
    if found is None:
        return None
    part, end = found
    return Expression(
        part.operands,
        part.operators,
        part.value,
        part.canon,
        tokens[i].start,
        tokens[end - 1].end,
        i,
        end,
        part.single,
    )


def parse(text: str, known: Collection[Fraction] = _NONE) -> Expression | None:
    """The expression that fills a text, or None. `known` as above: the numbers given."""
    tokens = [t for t in tokenise(text) if t.kind != "line"]
    found = read_expression(tokens, 0, known) if tokens else None
    return found if found is not None and found.last == len(tokens) else None
