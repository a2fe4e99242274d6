"""The final answer of a response: where it is found, and whether it is right.

The last closed `<answer>` counts, then the last `\\boxed{}`, then a concluding statement outside the thinking part. The
expression has to use the given numbers and no others; a reused number, a division by zero or the example of the prompt is wrong.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..domains import THINK_CLOSE, THINK_OPEN
from .expressions import Expression, bracketed, read_expression
from .phrases import CLAIMED_ANSWER, GAVE_UP
from .tokens import Token, tokenise

_TAG = re.compile(r"<answer>(.{0,2000}?)</answer>", re.DOTALL | re.IGNORECASE)
_OPEN_TAG = re.compile(r"<answer>([^<]{0,2000})$", re.IGNORECASE)
_AROUND = " \t\r\n$`*_.;:!"
_LAST_CHARACTERS = 2000  # in which a concluding statement is looked for
LEADS = frozenset({"so", "thus", "hence", "therefore", "final", "finally", "answer"})
MAX_ANSWER = 1000  # characters of an answer


@dataclass(frozen=True)
class Answer:
    """An answer as written, without tags and `= target`; `expression` is None where it is no arithmetic."""

    text: str
    expression: Expression | None


def find_answer(text: str, numbers: Sequence[int | Fraction], target: int | Fraction) -> Answer | None:
    """The final answer of a response, or None where it gives none (cut off, or given up)."""
    given = frozenset(Fraction(n) for n in numbers)
    tags = _TAG.findall(text)
    if tags:
        return _answer(tags[-1], given)
    if unclosed := _OPEN_TAG.search(text):
        return _answer(unclosed[1], given)
    thinking = THINK_OPEN in text or THINK_CLOSE in text
    if thinking and THINK_CLOSE not in text:
        return None  # still thinking
    outside = text.rpartition(THINK_CLOSE)[2]
    if boxed := _boxed(outside, given):
        return boxed
    return _concluded(outside[-_LAST_CHARACTERS:], numbers, Fraction(target))


def is_right(
    answer: Answer | None, numbers: Sequence[int | Fraction], target: int | Fraction, *, use_all: bool = True
) -> bool:
    """Whether an answer makes the target exactly, from the given numbers, each once (`use_all`) or at most once."""
    e = answer.expression if answer else None
    if e is None or e.value != target or e.plain:
        return False
    used, given = Counter(e.operands), Counter(Fraction(n) for n in numbers)
    return used == given if use_all else used <= given


def _answer(inner: str, given: frozenset[Fraction]) -> Answer | None:
    inner = inner[:MAX_ANSWER]
    tokens = [t for t in tokenise(inner) if t.kind != "line"]
    if not tokens:
        return None
    start = next((i for i, t in enumerate(tokens) if t.kind in ("num", "open", "frac", "boxed") or t.text == "-"), 0)
    found = read_expression(tokens, start, given)
    if found is not None and found.plain and _links(tokens, found.last):  # 77 = 50 + 12 * 3 - 9
        found = read_expression(tokens, found.last + 1, given) or found
    if found is None or found.plain or not (found.last >= len(tokens) or _links(tokens, found.last)):
        return Answer(inner.strip(_AROUND), None)
    return Answer(inner[found.start : found.end], found)


def _links(tokens: Sequence[Token], i: int) -> bool:
    """An equals sign at token i, or nothing but punctuation from there."""
    return i < len(tokens) and (
        tokens[i].kind in ("eq", "arrow") or all(t.kind in ("mark", "close") for t in tokens[i:])
    )


def _boxed(text: str, given: frozenset[Fraction]) -> Answer | None:
    """The last boxed expression. A box round a bare number says what was reached, not how."""
    for at in sorted((m.end() for m in re.finditer(r"\\(?:boxed|fbox)\s*\{", text)), reverse=True)[:20]:
        depth, end = 1, at
        while end < min(len(text), at + MAX_ANSWER) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if depth == 0 and (found := _answer(text[at : end - 1], given)) is not None and found.expression is not None:
            return found
    return None


def _concluded(text: str, numbers: Sequence[int | Fraction], target: Fraction) -> Answer | None:
    """ "The equation is …", or a last line that is an expression: of all numbers, or worth the target."""
    given = frozenset(Fraction(n) for n in numbers)
    named: Answer | None = None
    for m in CLAIMED_ANSWER.finditer(text):
        found = _leading(text[m.end() :], given)
        if found is not None:
            named = found
    lines = [line for line in text.splitlines() if line.strip(_AROUND)]
    last = lines[-1] if lines else ""
    if named is not None and (named.text in last or not GAVE_UP.search(last)):
        return named
    return _last_line(last, numbers, target, given)


def _last_line(
    line: str, numbers: Sequence[int | Fraction], target: Fraction, given: frozenset[Fraction]
) -> Answer | None:
    """The expression of a last line: the last one on it that is right, or what stands there alone and uses every number."""
    wanted = Counter(Fraction(n) for n in numbers)
    found: list[Answer] = []
    alone = None
    tokens = tokenise(line)
    closed, i = bracketed(tokens), 0
    while i < len(tokens):
        e = read_expression(tokens, i, given, closed=closed)
        if e is None or e.plain:
            i = i + 1 if e is None else max(e.last, i + 1)
            continue
        bare = e.last >= len(tokens) or _links(tokens, e.last)
        if bare and not any(t.kind == "word" and t.text not in LEADS for t in tokens):
            alone = e
        found += [Answer(line[e.start : e.end], e)] if e.value == target and Counter(e.operands) == wanted else []
        i = e.last
    if found:
        return found[-1]
    if alone is not None and (alone.value == target or Counter(alone.operands) == wanted):
        return Answer(line[alone.start : alone.end], alone)
    return None


def _leading(text: str, given: frozenset[Fraction]) -> Answer | None:
    """The expression with which a text opens, after layout and a line break or two."""
    tokens = tokenise(text[:MAX_ANSWER])
    i = 0
    while i < len(tokens) and i < 4 and (tokens[i].kind == "line" or tokens[i].text in (":", "#", "*", "-", ">")):
        i += 1
    found = read_expression(tokens, i, given) if i < len(tokens) else None
    if found is not None and found.plain and found.last < len(tokens) and tokens[found.last].kind == "eq":
        found = read_expression(tokens, found.last + 1, given)
    if found is None or found.plain:
        return None
    return Answer(text[found.start : found.end], found)
