"""Yes or no, as a text says it at last."""

from __future__ import annotations

import re

from .markup import boxes, plain

_YES = r"yes\b|hallucinated\b|(?:is\s+)?a\s+hallucination\b"
_NO = r"no\b|(?:not|non)[\s-]+hallucinated\b|(?:is\s+)?not\s+a\s+hallucination\b"
_SAID = rf"(?P<no>{_NO})|(?P<yes>{_YES})"
_OTHER = r"(?!\s*(?:/|,?\s*or\b)\s*(?:yes|no)\b)(?!\W*where\s+it\s+do)"  # both, or the words of the question
_IS = (
    r"(?:\s+(?:is|was|would\s+be|must\s+be|should\s+be|will\s+be|has\s+to\s+be)\b(?:\s+(?:therefore|thus|then|that)\b)?)?"
    r"\W{0,8}(?:it\s+is\s+)?"
)


def _stated(names: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)\b(?:{names})\b{_IS}(?:{_SAID}){_OTHER}")


_JUDGEMENTS = _stated("judge?ment|verdict")
_ANSWERS = _stated("answer|conclusion|decision")
_WHOLE = re.compile(rf"(?i)\W*(?:{_SAID})\W*$")
# "Yes, it does." and not "Yes, I can help", "No problem!"
_OPENS = re.compile(
    rf"(?i)[\"'(\[]*(?:(?P<no>no)|(?P<yes>yes))\b{_OTHER}(?=\s*(?:$|[.,;:!)\n—–-])|\s+(?:it|the|this|there)\b)"
    r"(?!\W*(?:i\b(?!\s+(?:think|believe|see|find))|we\b|let|sure|of\s+course|certainly|here|problem|worries))"
)
_POLITE = re.compile(r"\b(?:Yes\W{1,3}(?:I|we)\s+(?:can|will|would|could)\b|No\s+(?:problem|worries|doubt|matter))")
_STANDING = re.compile(r"\b(?:Yes|No)\b(?=\s*(?:$|[.,;:!)\n]))")


def judgement(text: str) -> bool | None:
    """What a text says: True for yes. None where it says neither, or both.

    The first of these that there is decides, by its last: a stated judgement or verdict, a box, a stated answer, a line at
    the end or the beginning that says nothing else, the first word, and, as in the authors' harness, the one of "Yes" and
    "No" that stands in the text where the other does not.
    """
    said = plain(text)
    if found := list(_JUDGEMENTS.finditer(said)):
        return found[-1]["yes"] is not None
    boxed = [match for box in boxes(text) if box and (match := _WHOLE.match(plain(box)))]
    if boxed:
        return boxed[-1]["yes"] is not None
    lines = [line for line in said.splitlines() if line.strip()]
    for match in (*_ANSWERS.finditer(said), *map(_WHOLE.match, [*lines[:1], *lines[-1:]]))[::-1]:
        if match is not None:
            return match["yes"] is not None
    if match := _OPENS.match(said):
        return match["yes"] is not None
    rest = _POLITE.sub("", said)
    named = set(re.findall(r"\b(?:Yes|No)\b", rest))
    return named.pop() == "Yes" if len(named) == 1 and _STANDING.search(rest) else None
