"""Repetition in what a model wrote: whether it ends in a loop, and how varied it is at equal length."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

COPIES = 3  # of a block, one after another at the end, that make a loop
LONGEST_CHANCE = 16  # units: what is said again and again for less than that is no loop ("repeat apple 6 times")
WINDOW = 32  # units


def loop_start(units: Sequence[Hashable]) -> int | None:
    """Where the loop in which a response ends begins, or None where it ends in none.

    A loop: the response ends in at least three copies of one block, which together are `LONGEST_CHANCE` units or longer; the last
    copy may be cut off. Linear in the length: the Z-function of the response read backwards (Gusfield 1997, section 1.3) says at
    each period how far back the repetition reaches. What changes from copy to copy ("Step 12", "Step 13") is not found.
    """
    back = list(reversed(units))
    reach = _z(back)
    best = 0
    for period in range(1, len(back) // COPIES + 1):
        length = reach[period] + period  # of the end that repeats itself with this period
        if length >= max(COPIES * period, LONGEST_CHANCE):
            best = max(best, length)
    return len(units) - best if best else None


def _z(x: Sequence[Hashable]) -> list[int]:
    """For each place, the length of the longest common prefix of `x` and of `x` from there."""
    z = [0] * len(x)
    left = right = 0
    for i in range(1, len(x)):
        k = min(right - i, z[i - left]) if i < right else 0
        while i + k < len(x) and x[k] == x[i + k]:
            k += 1
        z[i] = k
        if i + k > right:
            left, right = i, i + k
    return z


def distinct_share(units: Sequence[Hashable], n: int) -> float:
    """Distinct n-grams over all n-grams (arXiv 1510.03055); NaN below n + 1 units. Falls with length by itself."""
    grams = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
    return len(set(grams)) / len(grams) if len(grams) > 1 else math.nan


def distinct_in_windows(units: Sequence[Hashable], n: int, window: int = WINDOW) -> float:
    """The mean of `distinct_share` over the full windows of a response: as long a text each time, however long the response.

    NaN where the response is shorter than one window.
    """
    whole = range(0, len(units) - window + 1, window)
    shares = [distinct_share(units[i : i + window], n) for i in whole]
    return sum(shares) / len(shares) if shares else math.nan
