"""The whole number that a text gives as its answer."""

from __future__ import annotations

import re

from .markup import boxes

_WORDS = re.compile(
    r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mbox)\s*\{(?P<held>[^{}]*)\}(?P<power>\s*\^\s*\{?[0-9]\}?)?"
)
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ\b)|\\(?:degrees?|circ)\b|°")
_NOTHING = re.compile(r"\\(?:left|right|bf|rm|displaystyle|quad|qquad|%|\$|[ ,;!])|[$%{}]|(?<=[0-9])\.$")
_GROUPED = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|,)(?=[0-9]{3}(?![0-9]))")
_FRACTION = re.compile(
    r"(-?)\\[dt]?frac\s*(?:\{\s*([0-9]{1,9})\s*\}|([0-9]))\s*(?:\{\s*([0-9]{1,9})\s*\}|([0-9]))|(-?)([0-9]{1,9})\s*/\s*([0-9]{1,9})"
)
_LEFT_SIDE = re.compile(
    r"[A-Za-z0-9\s|()\[\]+*/^_.\\{}·×÷-]{1,200}"
)  # of an equation: terms, not a list and not a sentence
_NUMBER = r"-?[0-9]{1,9}(?:\.0+)?"
_IS = (
    r"(?i:\banswer(?:\s+(?:is|would\s+be|must\s+be|should\s+be|is\s+therefore|is\s+thus|is\s+then))?)\s*[:=]?\s*\**\s*"
)
# in a formula of its own: $…$, $$…$$, \(…\), \[…\]
_FORMULA = re.compile(
    _IS + r"(?:\$\$?(?P<a>[^$]{1,200})\$|\\\((?P<b>.{1,200}?)\\\)|\\\[(?P<c>.{1,200}?)\\\])"
    r"(?P<on>\s*[/^*+×·]|\s*\\(?:sqrt|frac|pi)\b)?",
    re.DOTALL,
)
_PLAIN = re.compile(
    _IS + rf"(?:[A-Za-z](?:\s*\+\s*[A-Za-z])*\s*=\s*)*(?P<number>{_NUMBER})"
    r"(?![0-9A-Za-z]|[.,][0-9]|\s*[/+×·÷=]|\s*\*(?!\*)|\*\*\s*[0-9]|\s*[-–]\s*[0-9]|\s*\^(?!\s*\{?\s*\\circ)|\s*\\(?:sqrt|frac|dfrac|pi|cdot|times|binom)\b|!\S)"
)


def stated_integer(text: str) -> int | None:
    """The whole number that a text gives as its answer: in its last box, or stated where nothing is boxed.

    What dresses it up is left out (units, degrees, percent, fonts, brackets, "m+n ="); a fraction may be whole.
    """
    found = [box for box in boxes(text, short=True) if box]
    if found:
        return whole_number(found[-1])
    stated: dict[int, int | None] = {m.end("number"): int(float(m["number"])) for m in _PLAIN.finditer(text)}
    for match in _FORMULA.finditer(text):
        held = match["a"] or match["b"] or match["c"]
        stated[match.end()] = None if match["on"] else whole_number(held)
    return stated[max(stated)] if stated else None


def whole_number(held: str) -> int | None:
    """The whole number that a formula gives; None where it is another formula, or several numbers."""
    said = _WORDS.sub(_words, _DEGREES.sub("", held))
    *sides, last = re.split(r"(?<![<>≤≥\\])=", said)
    if not all(_LEFT_SIDE.fullmatch(side) and not re.search(r"\b(?:or|and)\b", side) for side in sides):
        return None
    if fraction := _FRACTION.fullmatch(_brackets(last.strip(" $"))):
        sign, above, below = (
            fraction[1] or fraction[6],
            fraction[2] or fraction[3] or fraction[7],
            fraction[4] or fraction[5] or fraction[8],
        )
        whole = int(below) != 0 and int(above) % int(below) == 0
        return (-1 if sign else 1) * int(above) // int(below) if whole else None
    number = _brackets(_NOTHING.sub("", _GROUPED.sub("", last.strip())).strip()).strip(" .,;:\\")
    return int(float(number)) if re.fullmatch(_NUMBER, number) else None


def _words(match: re.Match[str]) -> str:
    """Words are units or a lead-in; digits in another font are digits; "or" and "and" part one number from another."""
    held = match["held"]
    if re.search(r"[0-9]", held):
        return held
    return "∨" if re.search(r"\b(?:or|and|not)\b|[,;]", held) else " "


def _brackets(held: str) -> str:
    while (match := re.fullmatch(r"\s*(?:\\left)?[(\[]([^()\[\]]*?)(?:\\right)?[)\]]\s*", held)) is not None:
        held = match[1]
    return held
