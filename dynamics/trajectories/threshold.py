"""When a series crosses a threshold, between which checkpoints, and which of two metrics moved first.

The first crossing of a noisy series comes too early, and a bootstrap of it adds the noise a second time. Here the interval
is the set of checkpoints that tests leave: the population's first crossing t* is not before the first checkpoint that a
single test cannot call below the threshold (t* itself passes that test 97.5 % of the time, however many come before it), and
not after the first one that a test corrected for all checkpoints calls above it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from ..errors import ConfigError, DataError
from ..statistics.bands import complete_clusters
from ..statistics.intervals import LEVEL, median, pseudo_unit
from ..types import Estimate
from .trajectory import Trajectory

HALF = 0.5  # of the final change: where a curve is steep, noise moves the crossing least
TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True, slots=True)
class Crossing:
    """The first crossing lies in `between` = (after this step, at or before that one); the grid sees no finer.

    `interval` widens it by what the items leave open, 95 %. None as the second entry: not within the run.
    """

    step: int | None  # the first checkpoint at or beyond the threshold
    between: tuple[int, int | None] | None
    interval: tuple[int, int | None] | None  # None where there are no items to resample
    threshold: float  # in the metric's unit
    rising: bool
    n: int  # independent units
    method: str
    reason: str = ""  # why undefined

    @classmethod
    def undefined(cls, n: int, reason: str) -> Crossing:
        return cls(None, None, None, math.nan, True, n, "none", reason)

    @property
    def defined(self) -> bool:
        return self.between is not None

    def __str__(self) -> str:
        """`step 40-80 [20, 120]`, `not within the run [120, -]`, or why it is undefined."""
        if self.between is None:
            return f"undefined ({self.reason})"
        after, by = self.between
        seen = f"step {after}-{by}" if by is not None else "not within the run"
        if self.interval is None:
            return f"{seen} [no interval]"
        lo, hi = self.interval
        return f"{seen} [{lo}, {'not within the run' if hi is None else hi}]"


def crossing(trajectory: Trajectory, *, fraction: float | None = HALF, level: float | None = None) -> Crossing:
    """First step at which a trajectory has made `fraction` of its final change, or reached an absolute `level`.

    With items, the interval is paired by item and clustered by question, 95 % for the first crossing of the population's
    curve. Undefined, with the reason, where the final change (for a level: the base's distance from it) is not shown.
    Raises ConfigError for a fraction outside (0, 1].
    """
    if level is None and (fraction is None or not 0 < fraction <= 1):
        raise ConfigError(f"the fraction of the final change is {fraction}: give one above 0 and at most 1, or a level")
    if len(trajectory.steps) < 3:
        return Crossing.undefined(trajectory.n, f"{len(trajectory.steps)} checkpoints, 3 are needed")
    if trajectory.matrix is None:
        return crossing_of_series(trajectory.series(), fraction=fraction, level=level)
    totals, sizes = complete_clusters(np.asarray(trajectory.matrix, float), trajectory.clusters)
    return _by_items(trajectory.steps, totals, sizes, HALF if fraction is None else fraction, level)


def crossing_of_series(series: pd.Series, *, fraction: float | None = HALF, level: float | None = None) -> Crossing:
    """As `crossing`, of a series indexed by step whose items are not known: dated by the grid alone, without interval."""
    series = series.dropna().sort_index()
    y, steps = series.to_numpy(float), series.index.to_numpy()
    if len(y) < 3:
        return Crossing.undefined(0, f"{len(y)} checkpoints, 3 are needed")
    threshold = level if level is not None else y[0] + (HALF if fraction is None else fraction) * (y[-1] - y[0])
    if y[0] == threshold:
        return Crossing.undefined(
            0, "the series starts at the threshold" if level is not None else "it does not change"
        )
    rising = bool(y[0] < threshold)
    at = _first((y - threshold) * (1 if rising else -1) >= 0)
    found = None if at is None else int(steps[at])
    return Crossing(found, _between(steps, at), None, float(threshold), rising, 0, "checkpoint grid")


def _by_items(steps: NDArray, totals: NDArray, sizes: NDArray, fraction: float, level: float | None) -> Crossing:
    n, T = totals.shape
    if n < 2:
        return Crossing.undefined(n, f"{n} item{'s' * (n != 1)} with a value at every checkpoint")
    means = totals.sum(axis=0) / sizes.sum()
    if level is None:
        contrasts = totals - (1 - fraction) * totals[:, [0]] - fraction * totals[:, [-1]]
        shown, threshold = totals[:, [-1]] - totals[:, [0]], float(means[0] + fraction * (means[-1] - means[0]))
        missing = "its final change is not shown to differ from 0"
    else:
        contrasts, threshold = totals - level * sizes[:, None], float(level)
        shown, missing = -contrasts[:, [0]], "the base is not shown to lie on either side of the level"
    sign = float(np.sign(shown.sum()))
    change, se = _mean_and_se(shown, sizes)
    if not abs(change[0]) > float(stdtrit(n - 1, 1 - TAIL)) * se[0]:
        return Crossing.undefined(n, missing)
    mean, se = _mean_and_se(sign * contrasts, sizes)
    one, all_of_them = (float(stdtrit(n - 1, 1 - TAIL / looks)) for looks in (1, T - 1))
    steps_in = slice(1, T)
    point = _first(mean[steps_in] >= 0)
    lo = _first((mean + one * se)[steps_in] >= 0)
    hi = _first((mean - all_of_them * se)[steps_in] > 0)
    if level is None and hi is None:
        hi = T - 2  # all of the final change is made by the end, whatever fraction is asked for
    lo, hi, point = (None if i is None else i + 1 for i in (lo, hi, point))
    return Crossing(
        step=None if point is None else int(steps[point]),
        between=_between(steps, point),
        interval=(int(steps[-1] if lo is None else steps[lo - 1]), None if hi is None else int(steps[hi])),
        threshold=threshold,
        rising=sign > 0,
        n=n,
        method="checkpoints that paired t-tests leave (one look before, Bonferroni over checkpoints after)",
    )


def _mean_and_se(totals: NDArray, sizes: NDArray) -> tuple[NDArray, NDArray]:
    """Mean per item [T] and cluster-robust standard error [T], one pseudo-discordant unit included (`pseudo_unit`)."""
    n, size = len(sizes), sizes.sum()
    mean = totals.sum(axis=0) / size
    squares = np.square(totals - sizes[:, None] * mean).sum(axis=0)
    return mean, np.sqrt(n / (n - 1) * squares + pseudo_unit(totals) ** 2) / size


def _first(true_T: NDArray) -> int | None:
    return int(np.argmax(true_T)) if true_T.any() else None


def _between(steps: NDArray, at: int | None) -> tuple[int, int | None]:
    return (int(steps[-1]), None) if at is None else (int(steps[max(at - 1, 0)]), int(steps[at]))


# ---------------------------------------------------------------- which of two moved first


@dataclass(frozen=True, slots=True)
class WhoFirst:
    first: int  # runs in which x crossed before y
    second: int
    tied: int  # runs in which both have the same date on the checkpoint grid
    lead: Estimate  # median over runs of the checkpoints by which x leads
    share: Estimate  # of the runs that are not tied: x first; Clopper-Pearson
    p: float  # exact two-sided sign test
    undated: int = 0  # runs left out: a metric does not change, or not by five times its noise
    reason: str = ""  # why undefined


MIN_RUNS = 6  # 2 / 2**6 = 0.03; of five runs not even unanimity is evidence (0.06)
MIN_CHANGE = 5.0  # times its noise: below that, noise pulls the date of a saturating curve


def who_was_first(x: Sequence[ArrayLike], y: Sequence[ArrayLike], *, fraction: float = HALF) -> WhoFirst:
    """Whether x or y makes `fraction` of its final change first, paired by run: exact sign test over runs.

    `x` and `y` hold a series [T] a run, on the run's own checkpoints. A metric's date is the number of checkpoints at which it
    has not yet made the fraction: noise throws as many forward as back, while the first crossing comes the earlier the noisier
    a metric is. Runs are the units: the steps of one run are one draw of its clock. Undefined with fewer than 6 dated runs.
    Raises DataError for series that do not pair.
    """
    from scipy.stats import binomtest  # slow to import

    if len(x) != len(y):
        raise DataError(f"{len(x)} series of x and {len(y)} of y: give one of each per run")
    leads = np.array([_lead(a, b, fraction) for a, b in zip(x, y, strict=True)], float)
    known = leads[~np.isnan(leads)]
    first, second = int(np.sum(known > 0)), int(np.sum(known < 0))
    tied, undated, telling = len(known) - first - second, len(leads) - len(known), first + second
    lead = median(known)
    if len(known) < MIN_RUNS:
        why = f"{len(known)} runs with a date for both, {MIN_RUNS} are needed: of fewer not even unanimity is evidence"
        nothing = Estimate.undefined(telling, "clopper-pearson")
        return WhoFirst(first, second, tied, lead, nothing, math.nan, undated, why)
    if not telling:
        return WhoFirst(first, second, tied, lead, Estimate.undefined(0, "clopper-pearson"), 1.0, undated)
    test = binomtest(first, telling)
    bounds = test.proportion_ci(LEVEL)
    share = Estimate(first / telling, float(bounds.low), float(bounds.high), telling, "clopper-pearson")
    return WhoFirst(first, second, tied, lead, share, float(test.pvalue), undated)


def before(values: NDArray, fraction: float = HALF) -> float:
    """Checkpoints at which a series [T] has made less than `fraction` of its final change.

    NaN where the change is below five times the noise, which second differences show (median absolute, normal-consistent).
    """
    change = values[-1] - values[0]
    noise = 1.4826 * float(np.median(np.abs(np.diff(values, 2)))) / math.sqrt(6)
    if change == 0 or abs(change) < MIN_CHANGE * noise:
        return math.nan
    return float(np.sum((values - values[0]) / change < fraction))


def _lead(x: ArrayLike, y: ArrayLike, fraction: float) -> float:
    a, b = np.asarray(x, float), np.asarray(y, float)
    if a.shape != b.shape:
        raise DataError(f"series of {len(a)} and {len(b)} checkpoints in one run: give both on the same checkpoints")
    keep = np.isfinite(a) & np.isfinite(b)
    return before(b[keep], fraction) - before(a[keep], fraction) if keep.sum() >= 3 else math.nan
