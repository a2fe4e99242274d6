"""Arithmetic statements of a free text: an operation with the result that is claimed for it, or one that was begun and left.

Read from left to right in one pass. A chain of equals signs is either one expression evaluated bit by bit
(`68 - 11 - 5 = 57 - 5 = 52`) or steps run together (`19 + 36 = 55 + 7 = 62`, formally false); see `_links`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from . import phrases
from .expressions import ARTICLES, MAX_TOKENS, Expression, _apply, _Part, bracketed, read_expression, without
from .tokens import TOO_LONG, Token, tokenise

Form = Literal["result", "goal-first", "abandoned"]
MAX_STATEMENTS = 2000  # read from one text; what follows is reported as not read
MAX_SIDES = 16  # of a chain of equals signs
NEARBY = 200  # characters in which an announced expression is worked out


@dataclass(frozen=True)
class Statement:
    """One arithmetic statement. `start` and `end` are places in the text; the claim is what the writer says it makes."""

    start: int
    end: int
    left: Expression  # the side with the operation
    claim: Fraction | None  # None: abandoned
    right: bool | None  # the operation gives that exactly, or a correct rounding of it
    form: Form = "result"
    evaluates: bool = False  # a later link of a chain: the same expression, evaluated further
    reached: Fraction | None = None  # what the whole chain comes to, where it goes on evaluating
    other: Expression | None = None  # the same side read with fractions as numbers (`8 / 1/3`), where that differs

    @property
    def comes_to(self) -> Fraction | None:
        """What the writer goes on with."""
        return self.claim if self.reached is None else self.reached

    @property
    def consistent(self) -> bool:
        """Right, and so is what the chain comes to."""
        return bool(self.right) and self.reached in (None, self.claim)


@dataclass(frozen=True)
class Unread:
    """A piece of arithmetic that was not understood."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Found:
    statements: list[Statement]
    unread: list[Unread]


def find_statements(text: str, numbers: Sequence[int | Fraction]) -> Found:
    """All arithmetic statements of a text, in order, and the arithmetic that was not understood.

    `numbers`: those given in the task. Time is linear in the text.
    """
    return _Finder(text, numbers).find()


class _Finder:
    def __init__(self, text: str, numbers: Sequence[int | Fraction]) -> None:
        self.text = text
        self.tokens = tokenise(text)
        self.closed = bracketed(self.tokens)
        self.known: set[Fraction] = {Fraction(n) for n in numbers}
        self.found: list[Statement] = []
        self.begun: list[Statement] = []  # abandoned, unless worked out below
        self.read_signs: set[int] = set()  # tokens of equals signs that belong to something understood
        self.oversize: list[tuple[int, int]] = []
        self.counted = -1  # token that follows the number of an attempt and a dash

    def find(self) -> Found:
        i = 0
        while i < len(self.tokens) and len(self.found) < MAX_STATEMENTS:
            i = self._at(i)
        left_off = i
        statements = sorted(self.found + self._abandoned(), key=lambda s: (s.start, -s.end))
        return Found(statements, self._unread(left_off))

    # -- one place

    def _at(self, i: int) -> int:
        """Read what begins at token i; the token to go on from."""
        token = self.tokens[i]
        if token.kind == "word":
            return self._preposed(i) or i + 1
        if token.kind not in ("num", "open", "frac", "boxed") and not (token.text == "-" and self._is_sign(i)):
            return i + 1
        first = self._expression(i)
        if first is None:
            return i + 1
        if first.last - first.first >= MAX_TOKENS - 1:
            self.oversize.append((first.start, first.end))
            return first.last
        if self._numbered(i, first):
            self.counted = i + 2
            return i + 2
        if i != self.counted and self._hangs(i):
            return first.last
        return self._statement(first)

    def _expression(self, i: int) -> Expression | None:
        return read_expression(self.tokens, i, self.known, closed=self.closed)

    def _is_sign(self, i: int) -> bool:
        """A minus at token i is a sign: tight against its number, and not between operands."""
        after = self.tokens[i + 1] if i + 1 < len(self.tokens) else None
        before = self.tokens[i - 1] if i else None
        tight = after is not None and after.kind in ("num", "open", "frac") and after.start == self.tokens[i].end
        return tight and not (
            before is not None and before.kind in ("num", "close") and before.end == self.tokens[i].start
        )

    def _numbered(self, i: int, first: Expression) -> bool:
        """`Attempt 2 - 8 * 5 = 40`: the number counts the attempt, and the dash is none of arithmetic."""
        if i == 0 or self.tokens[i].kind != "num" or first.plain or self.tokens[i + 1].text != "-":
            return False
        return self.tokens[i - 1].text in (
            "attempt",
            "step",
            "option",
            "case",
            "candidate",
            "idea",
            "approach",
            "trial",
        )

    def _hangs(self, i: int) -> bool:
        """An operator before token i has an operand that was not read (`x + 7 - 3`, `2^3 - 1`): the rest would mislead."""
        if i == 0:
            return False
        op, token = self.tokens[i - 1], self.tokens[i]
        if op.kind == "word":
            return token.kind == "open" and op.end == token.start  # a function: sqrt(36)
        if op.kind != "op":
            return False
        before = self.tokens[i - 2] if i > 1 else None
        if before is None or before.kind in ("line", "cell"):
            return op.text not in "-*+"  # a bullet
        if op.spelt:
            return before.kind == "op" or before.text in ("x", "y", "?", "it", "that")
        if op.text == "-":  # a dash with space on both sides stands between clauses
            return not (op.start > before.end and token.start > op.end and before.kind in ("word", "mark", "close"))
        return not (op.text == "*" and token.start == op.end and op.start > before.end)  # *emphasis*

    # -- statements

    def _statement(self, first: Expression) -> int:
        sides, at = [first], first.last
        signs: list[str] = []
        while len(sides) < MAX_SIDES and (link := self._link(at, sides, signs)) is not None:
            sign, i = link
            side = self._expression(i)
            if side is None:
                break
            signs.append(sign)
            sides.append(side)
            at = side.last
            if sign in ("word", "cell", "colon") or (side.plain and sides[-2].plain):
                break
        if len(sides) == 1:
            if not first.plain:
                self._maybe_begun(first)
            return first.last
        return self._links(sides, signs) or first.last

    def _links(self, sides: list[Expression], signs: list[str]) -> int | None:
        """Statements of a chain of sides; the token to go on from, or None where there is no statement."""
        made = 0
        run_on = self._runs_on(sides)
        for k, (a, b) in enumerate(pairwise(sides)):
            lead = self.tokens[b.first].value if self.tokens[b.first].kind == "num" else None
            if a.plain:
                if k == 0 and not b.plain and signs[0] in ("=", "≈") and a.value is not None:
                    self._add(Statement(a.start, b.end, b, a.value, b.value == a.value, "goal-first"))
                    made += 1
                continue
            if run_on[k] and lead is not None:
                end, reached = self.tokens[b.first].end, None
                claim: Fraction | None = lead
            else:
                end, claim = b.end, b.value
                reached = self._comes_to(sides, run_on, k + 1)
            if claim is None:
                continue
            evaluates = k > 0 and not run_on[k - 1] and not sides[0].plain
            if k > 0 and sides[0].plain:
                evaluates = True
            if run_on[k]:
                right = a.value == claim
            else:
                right = self._is_right(a, b, claim, signs[k])
            other = self._with_fractions(a)
            if not right and other is not None and other.value == claim:
                right = True
            self._add(
                Statement(a.start, end, a, claim, right, "result", evaluates, None if run_on[k] else reached, other)
            )
            made += 1
        if not made:
            return None
        last = sides[-1]
        if run_on and run_on[-1]:  # its last side goes on as an operation without a result
            self._maybe_begun(last)
        return last.last if last.plain or signs[-1] != "word" else last.first

    def _comes_to(self, sides: list[Expression], run_on: list[bool], k: int) -> Fraction | None:
        """What the chain comes to from side k on, as far as it evaluates one expression; None where it ends there."""
        if k + 1 >= len(sides):
            return None
        while k + 1 < len(sides) and not run_on[k]:
            k += 1
        return self.tokens[sides[k + 1].first].value if k + 1 < len(sides) else sides[-1].value

    def _runs_on(self, sides: list[Expression]) -> list[bool]:
        """For every link of a chain, whether its right side only leads with the result and then goes on."""
        out: list[bool] = []
        formal: list[bool] = []
        for a, b in pairwise(sides):
            lead = self.tokens[b.first].value if self.tokens[b.first].kind == "num" else None
            same = a.value is not None and a.value == b.value
            formal.append(same and not b.plain)
            out.append(not same and not b.plain and not a.plain and lead is not None and lead == a.value)
        for k, (a, b) in enumerate(pairwise(sides)):
            if out[k] or formal[k] or b.plain or a.plain or self.tokens[b.first].kind != "num":
                continue
            # Wrong however it is read: as the rest of the chain, else by whether operations were worked off.
            out[k] = any(out) or (not any(formal) and b.operators >= a.operators)
        return out

    def _is_right(self, a: Expression, b: Expression, claim: Fraction, sign: str) -> bool:
        if a.value is None:
            return False
        if a.value == claim:
            return True
        if not b.plain:
            return False
        shown = self.text[b.start : b.end]
        digits = len(shown.partition(".")[2].rstrip(")} "))
        if not digits and sign != "≈":
            return False
        unit = Fraction(1, 10**digits)
        after = self.tokens[b.last] if b.last < len(self.tokens) else None
        cut = after is not None and after.text == "…" and after.start - b.end < 2
        return abs(a.value - claim) <= (unit if cut else unit / 2)

    def _with_fractions(self, a: Expression) -> Expression | None:
        if all(k.denominator == 1 for k in self.known):
            return None
        other = read_expression(self.tokens, a.first, self.known, True, self.closed)
        return other if other is not None and other.last == a.last and other.operands != a.operands else None

    def _add(self, statement: Statement) -> None:
        if statement.other is not None and statement.other.plain:
            return  # `8/3 = 2.67`, where 8/3 is a number at hand: nothing is worked out
        self.found.append(statement)
        for value in (statement.claim, statement.reached):
            if value is not None:
                self.known.add(value)

    # -- links

    def _link(self, i: int, sides: list[Expression], signs: list[str]) -> tuple[str, int] | None:
        """(sign, token at which the result begins) where a link to a result stands at token i."""
        tokens, last = self.tokens, sides[-1]
        while i < len(tokens) and tokens[i].kind == "line" and self._line_continues(i):
            i += 1
        if i >= len(tokens):
            return None
        j = i + 1 if tokens[i].kind == "open" and i + 1 < len(tokens) else i  # 5 * 8 (= 40)
        if tokens[j].kind == "close" and j + 1 < len(tokens) and tokens[j + 1].kind in ("eq", "arrow"):
            j += 1  # (so 5 * 8) = 40, \(5 * 8\) has no bracket left
        if tokens[j].kind == "eq":
            k = self._past_fillers(j + 1)
            if k is None or self._expression(k) is None:
                return None
            self.read_signs.add(j)
            return tokens[j].text, k
        if tokens[i].kind == "arrow" and not last.plain and "=" not in signs and i + 1 < len(tokens):
            k = self._past_fillers(i + 1)
            return ("→", k) if k is not None and self._expression(k) is not None else None
        if len(sides) > 1 or last.plain:
            return None
        return self._cell(i, last) or self._colon(i, last) or self._words(i, last)

    def _line_continues(self, i: int) -> bool:
        """The next line that is not empty begins with an equals sign."""
        j = i + 1
        while j < len(self.tokens) and self.tokens[j].kind == "line" and j - i < 3:
            j += 1
        return j < len(self.tokens) and self.tokens[j].kind == "eq"

    def _past_fillers(self, i: int) -> int | None:
        """The token after words such as "= only 40"; None where other words follow."""
        for j in range(i, min(i + 4, len(self.tokens))):
            if self.tokens[j].kind != "word" or self.tokens[j].text not in phrases.LINK_FILLERS:
                return j
        return None

    def _cell(self, i: int, last: Expression) -> tuple[str, int] | None:
        """Cells of a table: | 75 * 8 | 600 |."""
        tokens = self.tokens
        before = tokens[last.first - 1] if last.first else None
        if tokens[i].kind != "cell" or (before is not None and before.kind not in ("cell", "line")):
            return None
        side = self._expression(i + 1) if i + 1 < len(tokens) else None
        if side is None or not side.plain:
            return None
        closed = side.last >= len(tokens) or tokens[side.last].kind in ("cell", "line")
        return ("cell", i + 1) if closed else None

    def _colon(self, i: int, last: Expression) -> tuple[str, int] | None:
        if self.tokens[i].text != ":" or i + 1 >= len(self.tokens):
            return None
        side = self._expression(i + 1)
        return ("colon", i + 1) if side is not None and side.plain and side.value == last.value else None

    def _words(self, i: int, last: Expression) -> tuple[str, int] | None:
        """Words such as "gives me" or ", which is only" before a number."""
        tokens = self.tokens
        j = i
        if tokens[j].text in (",", "(", "-", "—", "–"):
            j += 1
        verb = infinitive = False
        strange = 0
        began = j
        while j < len(tokens) and j - began < 8:
            token = tokens[j]
            if token.text == "," and verb:
                j += 1
                continue
            if token.kind == "mark" and token.text in ("'", "’"):
                j += 1
                continue
            if token.kind != "word":
                break
            if token.text in phrases.LINK_VERBS:
                infinitive = infinitive or (not verb and j > began and tokens[j - 1].text == "to")
                verb = True
            elif token.text in phrases.NO_LINK:
                return None
            elif token.text not in phrases.LINK_FILLERS and not (token.text == "s" and j > began):
                strange += 1  # "finally makes", "conveniently gives": believed where the number is right
            j += 1
        if not verb or strange > 2 or j >= len(tokens):
            return None
        side = self._expression(j)
        if side is None:
            return None
        after = tokens[side.last] if side.last < len(tokens) else None
        if not side.plain:  # "24 * 3 gets me to 72 + 16": run together where the number is right, else announced
            return ("word", j) if tokens[j].value is not None and tokens[j].value == last.value else None
        if side.value == last.value:
            return "word", j
        if strange or infinitive or (after is not None and (after.text in phrases.NOT_A_RESULT or after.kind == "op")):
            return None
        if after is not None and after.text in (",", "and") and side.last + 1 < len(tokens):
            follows = self._expression(side.last + 1)
            if follows is not None and follows.plain:
                return None  # "leaves 9 and 11": what is left over, not the result
        return "word", j

    def _preposed(self, i: int) -> int | None:
        """Operations whose words come first: "Adding 14 to 66 gives 80", "the sum of 14 and 66 is 80"."""
        tokens = self.tokens
        rule = phrases.PREPOSED_FORMS.get(tokens[i].text)
        if rule is None:
            return None
        op, between = rule
        a = self._operand(i + 1)
        if a is None or a.last >= len(tokens) or tokens[a.last].text not in between:
            return None
        b = self._operand(a.last + 1)
        if b is None:
            return None
        pieces = (_Part(e.operands, e.operators, e.value, e.canon) for e in (a, b))
        part = _apply("from" if tokens[a.last].text in phrases.TURNED else op, *pieces)
        whole = Expression(
            part.operands, part.operators, part.value, part.canon, tokens[i].start, b.end, i, b.last, part.single
        )
        link = self._link(b.last, [whole], [])
        side = self._expression(link[1]) if link else None
        if link is None or side is None or not side.plain:
            return None  # no result, or the operation follows in symbols
        assert side.value is not None
        right = self._is_right(whole, side, side.value, link[0])
        self._add(Statement(whole.start, side.end, whole, side.value, right))
        return side.last

    def _operand(self, i: int) -> Expression | None:
        j = i
        while j < len(self.tokens) and j - i < 3 and self.tokens[j].kind == "word":
            if self.tokens[j].text not in ARTICLES and self.tokens[j].text not in ("of", "between", "up", "away"):
                return None
            j += 1
        return self._expression(j) if j < len(self.tokens) else None

    # -- operations begun and left

    def _maybe_begun(self, e: Expression) -> None:
        """Keep an operation without a result where the words, or a dangling operator, show that it was left."""
        tokens, after = self.tokens, self.text[e.end : e.end + 80]
        before = self.text[max(0, e.start - 80) : e.start]
        lead = before.rstrip(" $`*([{\\\n")
        concluded = any(m.end() >= len(lead) for m in phrases.CLAIMED_ANSWER.finditer(before))
        if phrases.MENTIONED.search(before) or concluded:
            return
        i = e.last
        j = i + 1 if i < len(tokens) and tokens[i].kind == "close" else i
        token = tokens[j] if j < len(tokens) else None
        dangling = False
        if token is None or not self.text[e.end :].strip(" \n$`*)]\\"):
            dangling = self._cut_off(e)
        elif token.kind == "op" and not token.spelt and token.text in "+-*/":
            nxt = tokens[j + 1] if j + 1 < len(tokens) else None
            spaced = token.text == "-" and nxt is not None and nxt.kind == "word"
            dangling = not spaced or bool(phrases.DROPPED.match(self.text[token.end : token.end + 60]))
            dangling = dangling and (nxt is None or nxt.kind not in ("num", "close"))
            dangling = dangling and not self._emphasis(token)
        elif token.kind == "eq":
            nxt = tokens[j + 1] if j + 1 < len(tokens) else None
            dangling = nxt is None or (nxt.text not in phrases.UNKNOWN_NAMES and nxt.text != TOO_LONG)
            if dangling:
                self.read_signs.add(j)
        elif token.kind == "neq":
            dangling = True
        if dangling or phrases.DROPPED.match(after) or phrases.TRAILS_OFF.match(after):
            self.begun.append(Statement(e.start, e.end, e, None, None, "abandoned"))

    def _emphasis(self, token: Token) -> bool:
        """A star tight against what stands before it, at the end of emphasised text."""
        return token.text == "*" and self.text[token.start - 1] not in " \t"

    def _cut_off(self, e: Expression) -> bool:
        """The text ends within an operation, and not with the bare expression of an answer on its line."""
        line = self.text[self.text.rfind("\n", 0, e.start) + 1 : e.start]
        return any(c.isdigit() for c in line)

    def _abandoned(self) -> list[Statement]:
        """Operations begun and left, but those announced and then worked out, or refused before."""
        out: list[Statement] = []
        at = 0
        stated: dict[str, int] = {}
        for s in self.found:
            stated.setdefault(s.left.canon.key, s.start)
        seen: set[str] = set()
        for b in self.begun:
            while at < len(self.found) and self.found[at].start < b.end:
                at += 1
            key = b.left.canon.key
            if stated.get(key, b.start) < b.start or key in seen:
                continue
            following = [s for s in self.found[at : at + 1] if s.start - b.end < NEARBY]
            if any(self._works_out(s, b) for s in following):
                continue
            seen.add(key)
            out.append(b)
        return out

    def _works_out(self, s: Statement, b: Statement) -> bool:
        return without(b.left.canon, s.left.canon, s.left.canon) is not None

    # -- what was not understood

    def _unread(self, left_off: int) -> list[Unread]:
        """Equals signs with an operation beside them, and operations this game has not, outside everything understood."""
        spans = sorted((s.start, s.end) for s in (*self.found, *self.begun))
        out: list[Unread] = [self._piece(*span) for span in self.oversize]
        k, until = 0, -1
        for i, token in enumerate(self.tokens):
            while k < len(spans) and spans[k][0] <= token.start:
                until = max(until, spans[k][1])
                k += 1
            strange = token.text == "?" and token.kind == "op"
            if token.start < until or i in self.read_signs or not (token.kind == "eq" or strange):
                continue
            left = self._side(i, -1)
            right = self._side(i, 1)
            sums = any(t.kind in ("op", "frac") for t in (*left, *right)) or strange
            if sums and any(t.kind == "num" for t in left) and any(t.kind in ("num", "word", "mark") for t in right):
                piece = self._piece(left[-1].start if left else token.start, right[-1].end if right else token.end)
                if out and piece.start < out[-1].end:
                    piece = self._piece(out.pop().start, piece.end)
                out.append(piece)
        if left_off < len(self.tokens):
            out.append(self._piece(self.tokens[left_off].start, self.tokens[-1].end))
        return out

    def _side(self, i: int, step: int) -> list[Token]:
        """Tokens of arithmetic beside token i, outward."""
        out: list[Token] = []
        j = i + step
        while 0 <= j < len(self.tokens) and len(out) < 24:
            token = self.tokens[j]
            if token.kind not in ("num", "op", "open", "close", "frac", "boxed") and not (
                (token.kind == "word" and len(token.text) == 1) or token.text == TOO_LONG
            ):
                break
            out.append(token)
            j += step
        return out

    def _piece(self, start: int, end: int) -> Unread:
        return Unread(start, end, self.text[start : min(end, start + 80)])


def with_other(statement: Statement, known: Collection[Fraction]) -> list[Statement]:
    """A statement in its possible readings, the likelier first: fractions as numbers where they are at hand."""
    if statement.other is None:
        return [statement]
    fractional = replace(statement, left=statement.other)
    return [fractional, statement] if set(statement.other.operands) <= set(known) else [statement, fractional]
