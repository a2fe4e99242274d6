"""How findings say things: names of domains and groups, numbers and intervals in words."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..requests import HARMFUL, SAFE
from ..types import Estimate

GROUP_LABELS = {
    "id_reasoning": "in-domain reasoning",
    "ood_reasoning": "out-of-domain reasoning",
    "general": "general ability",
    "safety": "safety",
    "ungrouped": "no group given",
}
# What the strict score of a safety domain is a share of; elsewhere it is the share of right answers.
SCORE_LABELS = dict.fromkeys(HARMFUL, "share refused") | dict.fromkeys(SAFE, "share helped")


def plain_name(domain: str) -> str:
    return domain.replace("_", " ")


def title(domain: str, group: str) -> str:
    """`Subset sum (out-of-domain reasoning)`; for safety domains, what the score is."""
    name = plain_name(domain)
    notes = [GROUP_LABELS.get(group, group)] + ([SCORE_LABELS[domain]] if domain in SCORE_LABELS else [])
    return f"{name[:1].upper()}{name[1:]} ({', '.join(notes)})"


def number(x: float, digits: int = 2) -> str:
    """Fixed digits, without a minus before zero."""
    if math.isnan(x):
        return "undefined"
    text = f"{x:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def bounds(lo: float, hi: float, digits: int = 2) -> str:
    return "[no interval]" if math.isnan(lo) or math.isnan(hi) else f"[{number(lo, digits)}, {number(hi, digits)}]"


def with_interval(e: Estimate, digits: int = 2) -> str:
    """`0.62 [0.55, 0.68]`."""
    return f"{number(e.value, digits)} {bounds(e.lo, e.hi, digits)}" if e.defined else "undefined"


def signed(e: Estimate, digits: int = 2) -> str:
    """`+0.04 [-0.02, 0.10]`: a difference."""
    if not e.defined:
        return "undefined"
    text = number(e.value, digits)
    return f"{'' if text.startswith('-') else '+'}{text} {bounds(e.lo, e.hi, digits)}"


def against_base(e: Estimate) -> str:
    """`0.04 above base [-0.02, 0.10]`, `0.10 below base [0.04, 0.16]`: the interval reads as the words do."""
    if number(e.value) == "0.00":
        return f"level with base {bounds(e.lo, e.hi)}"
    if e.value > 0:
        return f"{number(e.value)} above base {bounds(e.lo, e.hi)}"
    return f"{number(-e.value)} below base {bounds(-e.hi, -e.lo)}"


def listing(names: Iterable[object]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = [str(n) for n in names]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""


def step_list(steps: Iterable[int], most: int = 6) -> str:
    """`step 4`, `steps 4, 8 and 16`, `12 checkpoints from step 4 to 256`."""
    steps = sorted(set(steps))
    if len(steps) > most:
        return f"{len(steps)} checkpoints from step {steps[0]} to {steps[-1]}"
    return f"step{'s' * (len(steps) > 1)} {listing(steps)}"
