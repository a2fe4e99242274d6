"""Does the model go back more often than its length explains? Backtracks per token outside backtracks, compared by prompt.

Longer responses hold more of everything, so backtracks are counted per token that belongs to none of them. Every prompt
is compared with itself (a fixed effect: hard prompts need more going back at every checkpoint), which leaves, for two
checkpoints, a binomial of each prompt's backtracks after among those before and after. Only the mean of the counts is
assumed to be proportional to length: the standard error comes from the spread between prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, stdtrit

from ..errors import DataError
from ..record import Run
from ..statistics.intervals import LEVEL
from ..trajectories.trajectory import from_run
from ..types import Estimate

METRIC = "backtracks_beyond_length"  # log of a ratio of rates; 0: as many as the length explains
EVENTS, LENGTH = "backtracks", "tokens_outside_backtracks"
METHOD = "conditional poisson, clustered score interval"
REACH = 30.0  # of the search for bounds, beyond the largest log ratio of two lengths; a ratio of e^30 is infinite
HALVINGS = 40


def change_beyond_length(run: Run, domain: str) -> dict[int, Estimate]:
    """Log rate ratio of each later checkpoint against the first, by step; the last entry is last against first.

    Intervals are those of one comparison each. Raises RecordError for a domain without the two metrics, DataError where
    items differ between checkpoints.
    """
    events, length = from_run(run, domain, EVENTS), from_run(run, domain, LENGTH)
    if events.items != length.items or list(events.steps) != list(length.steps):
        raise DataError(
            f"`{EVENTS}` and `{LENGTH}` of {domain!r} are of different items or checkpoints: probe the run again, so that "
            "both come from the same responses"
        )
    assert events.matrix is not None
    assert length.matrix is not None
    first = events.matrix[:, 0], length.matrix[:, 0]
    return {
        int(step): log_rate_ratio(first[0], events.matrix[:, t], first[1], length.matrix[:, t], events.clusters)
        for t, step in enumerate(events.steps)
        if t > 0
    }


def beyond_length_table(run: Run) -> pd.DataFrame:
    """`change_beyond_length` of every domain that has it: domain, step, value, lo, hi, n, method."""
    rows = [
        {"domain": domain, "step": step, "value": e.value, "lo": e.lo, "hi": e.hi, "n": e.n, "method": e.method}
        for domain in run.domains()
        if {EVENTS, LENGTH} <= set(run.item_metrics(domain))
        for step, e in change_beyond_length(run, domain).items()
    ]
    return pd.DataFrame(rows, columns=["domain", "step", "value", "lo", "hi", "n", "method"])


def log_rate_ratio(
    events_before: ArrayLike,
    events_after: ArrayLike,
    length_before: ArrayLike,
    length_after: ArrayLike,
    clusters: Sequence[object] | NDArray | None = None,
) -> Estimate:
    """Log of (events per length after / events per length before), conditional on each item's total; arrays [N], by item.

    n counts the clusters with an event. Without any event before, the value and the upper bound are +inf (-inf and the
    lower one, without any after), and the other bound says what is known all the same. Items with a NaN are left out.
    Raises DataError for negative numbers and for events in a response of length 0. Sources: `log_rate_ratios`.
    """
    columns = [np.asarray(a, float).ravel() for a in (events_before, events_after, length_before, length_after)]
    if len({len(c) for c in columns}) > 1 or (clusters is not None and len(clusters) != len(columns[0])):
        raise DataError(
            f"events and lengths of {[len(c) for c in columns]} items: give one of each, and one cluster, an item"
        )
    keep = ~np.any(np.isnan(columns), axis=0)
    before, after, *lengths = (c[keep] for c in columns)
    if any(np.any(c < 0) for c in (before, after, *lengths)):
        raise DataError("a count of events or a length is negative: both are counted from 0")
    for count, length in ((before, lengths[0]), (after, lengths[1])):
        if np.any((count > 0) & (length == 0)):
            raise DataError(
                f"{int(np.sum((count > 0) & (length == 0)))} responses have events and no length: a rate needs the tokens "
                "outside the events"
            )
    ids = None if clusters is None else np.asarray(clusters)[keep]
    value, lo, hi, n = (
        a[0] for a in log_rate_ratios(before[None], after[None], lengths[0][None], lengths[1][None], ids)
    )
    return Estimate(float(value), float(lo), float(hi), int(n), METHOD)


def log_rate_ratios(
    before_BN: NDArray,
    after_BN: NDArray,
    length_before_BN: NDArray,
    length_after_BN: NDArray,
    clusters: Sequence[object] | NDArray | None = None,
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """`log_rate_ratio` of many data sets at once: value, lo, hi and n, each [B]; the clusters [N] are theirs in common.

    With p = logit^-1(log(length after / before) + b), the score of an item is u = after (1 - p) - before p: Poisson counts
    with a fixed effect, conditional on their sum (Hausman, Hall & Griliches 1984), consistent for any counts with these
    means (Wooldridge 1999). The interval holds every b at which |sum u| <= t sqrt(V): the generalised score test
    (Boos 1992), V between clusters, and never below the Poisson variance sum (before + after) p (1 - p), without which an
    absence of events would seem certain.
    """
    usable = (length_before_BN > 0) & (length_after_BN > 0)
    before, after = np.where(usable, before_BN, 0.0), np.where(usable, after_BN, 0.0)
    shift = np.log(np.where(usable, length_after_BN, 1.0)) - np.log(np.where(usable, length_before_BN, 1.0))
    total = before + after
    member = None if clusters is None else _membership(clusters)

    def by_cluster(x_BN: NDArray) -> NDArray:
        return x_BN if member is None else x_BN @ member

    n = np.sum(by_cluster(total) > 0, axis=1)
    many = np.maximum(n, 2)
    t = np.where(n >= 2, stdtrit(many - 1, 0.5 + LEVEL / 2), math.nan)

    def score(b: NDArray) -> NDArray:
        """sum u [B]: falls with b."""
        x = shift + b[:, None]
        return np.sum(after * expit(-x) - before * expit(x), axis=1)

    def standardised(b: NDArray) -> NDArray:
        x = shift + b[:, None]
        p, q = expit(x), expit(-x)
        u = by_cluster(after * q - before * p)
        s = u.sum(axis=1)
        between = many / (many - 1) * (np.sum(u * u, axis=1) - s * s / many)
        with np.errstate(invalid="ignore"):  # 0 / 0 without any event: undefined
            return s / np.sqrt(np.maximum(between, np.sum(total * p * q, axis=1)))

    far = REACH + np.max(np.abs(shift), axis=1, initial=0.0)
    some_before, some_after = before.sum(axis=1) > 0, after.sum(axis=1) > 0
    value = _crossing(score, -far, far)
    value = np.where(some_before, np.where(some_after, value, -math.inf), np.where(some_after, math.inf, math.nan))
    inside = np.clip(np.nan_to_num(value), -far, far)
    lo = _crossing(lambda b: standardised(b) - t, -far, inside)
    hi = _crossing(lambda b: standardised(b) + t, inside, far)
    with np.errstate(invalid="ignore"):
        lo = np.where(standardised(-far) > t, lo, -math.inf)
        hi = np.where(standardised(far) < -t, hi, math.inf)
    known = (n >= 2) & ~np.isnan(value)
    return value, np.where(known, lo, math.nan), np.where(known, hi, math.nan), n


# ---------------------------------------------------------------- parts


def _membership(clusters: Sequence[object] | NDArray) -> NDArray:
    """0/1 [N, C]."""
    names, code = np.unique(np.asarray(clusters), return_inverse=True)
    return np.eye(len(names))[code]


def _crossing(f: Callable[[NDArray], NDArray], left: NDArray, right: NDArray) -> NDArray:
    """Where f [B] comes down through 0 between two points [B], by halving: all data sets in step."""
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        above = f(middle) > 0
        left, right = np.where(above, middle, left), np.where(above, right, middle)
    return (left + right) / 2
