"""Verdicts in free English on what was just computed: "not 62", "too high", "that's it". Only what follows a result counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from ..comparisons import Comparison
from .course import Event
from .statements import Statement
from .states import Node, hits, solves

WITHIN = 90  # characters after a result in which a verdict on it begins
# Layout and small words between a result and its verdict: ") - hmm, well, that is …".
_LAYOUT = r"[\s$`*_~)\]}\\.,;:!?(–—|-]*"
_SMALL = (
    r"(?:(?:which|that|this|it|and|but|so|still|again|also|even|just|already|clearly|obviously|of course|really|well|hm+|oh+|ah+"
    r"|ugh|argh|ok|okay|wait|wow|i think|i guess|is|are|was|'s|’s|a bit|far|much|way)\b[\s,.!?…—-]*){0,6}"
)
_COUNT = r"(?:[$\\(]*\d+(?:\.\d+)?[$\\)]*|one|two|three|four|five|six|seven|eight|nine|ten|a few|only \w+)"
_NO = (
    r"no\b(?! (?:wait|problem|number))",
    r"(?:nope|nah|meh|wrong|useless|worse|lower|higher|farther|rejected|miss(?:es|ed))\b",
    r"not (?:it|there|quite|enough|the (?:target|goal|one)|what|right|good|equal|a solution)\b",
    r"(?:isn['’]t|doesn['’]t|does not|won['’]t)\b",
    r"too (?:big|large|high|low|small|much|little|far|many|few)\b",
    r"✗|❌|✘|❎|≠",
    r"(?:over|under)(?:shoots?|shot)?\b",
    r"(?:past|short (?:by|of)|off by|further (?:away|off)|close,? (?:but|no)|so (?:close|near))\b",
    rf"{_COUNT} (?:too \w+|short|over|under|off|away|less|more than|above|below|far)\b",
)
_YES = (
    r"(?:yes+|yep|yeah|yay|bingo|eureka|perfect|success|done|solved|correct|accepted|good|great|matches|works)\b",
    r"✓|✅|✔|☑|🎯|🎉",
    r"there(?: (?:it is|we go|we have it|you go))?(?=[.!]|$|\n)",
    r"it(?=[.!)]|$|\n)",
    r"(?:exactly )?(?:the|our|my) (?:target|goal)\b",
    r"exactly\b(?! \d)",
    r"as (?:needed|required|wanted|desired)\b",
    r"(?:got it|we (?:have|got) it|does it|hits (?:it|the (?:target|goal)))\b",
    r"right\b(?= on| answer|[.!])",
)
_VERDICT = re.compile(f"{_LAYOUT}{_SMALL}(?:(?P<no>{'|'.join(_NO)})|(?P<yes>{'|'.join(_YES)}))", re.IGNORECASE)
_TAKEN_BACK = re.compile(rf"{_LAYOUT}{_SMALL}(?:{'|'.join(_NO)})", re.IGNORECASE)
# Words that set a result against the target where they name it.
_AGAINST = (
    r"(?:\bnot(?: equal to)?|≠|\bneither is|\binstead of|\brather than"
    r"|\b(?:need|needed|want|wanted)\b(?: to (?:get|reach|make|hit))?)\s*(?:the )?\$?"
)
_SENTENCE_END = re.compile(r"[.!?](?=\s+\S)|\n\s*\n")


def find_verdicts(
    text: str, statements: Sequence[Statement], events: Sequence[Event], target: Fraction, use_all: bool
) -> list[Comparison]:
    """Verdicts on the states that a text reached, in its order.

    Of a check, only what restates the state at hand counts ("5 * 8 = 40 ✓" verifies a step, and compares with no target); a
    "yes" is one to the target only where nothing is left to do or the result is the target.
    """
    found: list[Comparison] = []
    here: Node | None = None
    for i, (s, event) in enumerate(zip(statements, events, strict=True)):
        here = event.node or here
        if here is None or here.new is None or event.role in ("backward", "abandoned"):
            continue
        if event.node is None and s.comes_to != here.new.value:
            continue
        following = statements[i + 1].start if i + 1 < len(statements) else len(text)
        said = _said(text[s.end : min(following, s.end + WITHIN)], target) if following >= s.end else None
        if said is None:
            continue
        terminal = len(here.state) == 1 or hits(here, target, use_all)
        if said and not terminal and s.comes_to != target:
            continue
        found.append(Comparison(said, solves(here, target, use_all), terminal))
    return found


def _said(gap: str, target: Fraction) -> bool | None:
    """True for "yes", False for "no", None where a gap between two results holds no verdict."""
    verdict = _VERDICT.match(gap)
    if verdict is not None:
        taken_back = verdict["yes"] and _TAKEN_BACK.match(gap, verdict.end())  # "yes, still 13 short"
        return verdict["yes"] is not None and not taken_back
    # "Not 62", or later in the same sentence "but we need 62".
    end = _SENTENCE_END.search(gap, pos=2)
    against = re.compile(rf"{_AGAINST}{re.escape(str(target))}\b", re.IGNORECASE)
    named = against.search(gap[: end.start()] if end else gap) or re.match(
        f"{_LAYOUT}{_SMALL}{against.pattern}", gap, re.I
    )
    return None if named is None else False
