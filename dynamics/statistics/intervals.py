"""95 % intervals for shares, means, paired differences, ratios and medians. Every function returns an `Estimate`.

`n` counts independent units: the clusters (questions) where clusters are given. With fewer than two of them, or where
the data show no spread to judge by, the bounds are NaN: a standard error of 0 would claim a certainty nobody has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtri, stdtrit  # scipy.stats would triple the import time of this package

from ..errors import DataError
from ..types import Estimate

LEVEL = 0.95
Z = float(ndtri(0.5 + LEVEL / 2))


def wilson_bounds(share: float, n: float) -> tuple[float, float]:
    """Wilson's (1927) score interval of a share observed on `n` units (which may be an effective number)."""
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def proportion(k: int, n: int) -> Estimate:
    """`k` successes among `n` independent units, as a share with Wilson's interval."""
    if not 0 <= k <= n:
        raise DataError(f"{k} successes among {n} units: the first must lie between 0 and the second")
    if n == 0:
        return Estimate.undefined(0, "wilson")
    if n < 2:
        return Estimate(k / n, math.nan, math.nan, n, "wilson")
    return Estimate(k / n, *wilson_bounds(k / n, n), n, "wilson")


def mean(values: ArrayLike, clusters: Sequence[object] | NDArray | None = None) -> Estimate:
    """Mean over samples [N] with an interval over clusters: Wilson for 0/1 values, else a (cluster-robust) t.

    NaN values are left out. Wilson's interval of clustered 0/1 values rests on their effective number
    (`clustered_share`).
    """
    x, ids = complete_rows(values, clusters=clusters)
    n = _count(ids, len(x))
    if len(x) == 0:
        return Estimate.undefined(0, "t")
    if n == len(x) and _binary(x):
        return proportion(int(x.sum()), len(x))
    totals, sizes = cluster_totals(x[:, None], ids)
    value = float(x.mean())
    if n >= 2 and _binary(x):
        return clustered_share(totals[:, 0], sizes)
    variance = linearised_variance(totals[:, 0] - value * sizes, sizes.sum())
    return t_estimate(value, variance, n, "t" if n == len(x) else "cluster-t")


def clustered_share(right: NDArray, sizes: NDArray, variance: float | None = None) -> Estimate:
    """Share of right samples, `right` [C] of `sizes` [C] in each of C >= 2 clusters, with Wilson's interval on their
    effective number; by default the variance is linearised.

    The effective number is the samples' over the design effect, lowered by (z / t)^2 for the degrees of freedom, and at
    least that of clusters which answer as one: Korn & Graubard (1998), with Wilson's interval as in Franco et al.
    (2019). Two things keep few or very unequal clusters from looking sure. The design effect is mixed with that of
    clusters which answer as one, by a weight of 1 / (1 + k^2), k clusters holding the rarer outcome. And the degrees of
    freedom of the variance are those its clusters' squares show (Satterthwaite 1946): one cluster that carries it is
    one. A symmetric t misses a share of 0.02 (100 questions of 4 samples) 12 % of the time, a rate of 0.05 out of very
    unequal counts 14 to 34 % at 6 clusters and 7 to 13 % at 100.
    """
    n, size = len(sizes), float(sizes.sum())
    value = float(right.sum() / size)
    as_one = size**2 / float(np.sum(np.square(sizes, dtype=float)))  # effective number where clusters answer as one
    k = int(min(np.sum(right > 0), np.sum(right < sizes)))
    effective = as_one
    if k:
        residuals = right - value * sizes
        if variance is None:
            variance = linearised_variance(residuals, size)
        seen, worst = variance * size / (value * (1 - value)), size / as_one
        effect = max(1.0, (k**2 * seen + worst) / (k**2 + 1))
        shrink = (Z / float(stdtrit(_degrees_of_freedom(residuals), 0.5 + LEVEL / 2))) ** 2
        effective = max(as_one, size / effect * shrink)
    return Estimate(value, *wilson_bounds(value, effective), n, "cluster-wilson")


def paired_difference(a: ArrayLike, b: ArrayLike, clusters: Sequence[object] | NDArray | None = None) -> Estimate:
    """Mean of `a - b` over pairs [N] (same item in both), t-interval over clusters; pairs with a NaN are left out.

    The variance counts one pseudo-discordant unit more than was seen (see `pseudo_unit`), so that answers which never
    changed do not yield an interval of width 0.
    """
    d, ids = complete_rows(np.asarray(a, float) - np.asarray(b, float), clusters=clusters)
    n = _count(ids, len(d))
    if len(d) == 0:
        return Estimate.undefined(0, "paired-t")
    totals, sizes = cluster_totals(d[:, None], ids)
    value = float(d.mean())
    variance = linearised_variance(totals[:, 0] - value * sizes, sizes.sum()) + (pseudo_unit(totals) / sizes.sum()) ** 2
    estimate = t_estimate(value, variance, n, "paired-t" if n == len(d) else "paired-cluster-t")
    shares = all(np.nanmin(x) >= 0 and np.nanmax(x) <= 1 for x in (np.asarray(a, float), np.asarray(b, float)))
    return replace(estimate, lo=max(estimate.lo, -1.0), hi=min(estimate.hi, 1.0)) if shares else estimate


def ratio(numerator: ArrayLike, denominator: ArrayLike, clusters: Sequence[object] | NDArray | None = None) -> Estimate:
    """Sum of `numerator` over sum of `denominator`, both [N], with a delete-one-cluster jackknife t-interval; of counts
    out of counts, with Wilson's on the effective number that the jackknife shows (`clustered_share`).

    Clusters without numerator and denominator tell nothing and are not counted. NaN where the denominator is 0.
    Source: Shao & Tu (1995), section 2; the jackknife rather than linearisation because a single long response can
    carry a sum.
    """
    num, den, ids = complete_rows(numerator, denominator, clusters=clusters)
    totals, _ = cluster_totals(np.stack([num, den], axis=1), ids)
    totals = totals[np.any(totals != 0, axis=1)]
    n = len(totals)
    total_num, total_den = totals.sum(axis=0) if n else (0.0, 0.0)
    if total_den == 0:
        return Estimate.undefined(n, "jackknife-t")
    value = float(total_num / total_den)
    left = total_den - totals[:, 1]
    if n < 2 or np.any(left == 0):  # one cluster holds the whole denominator: nothing to compare it with
        return Estimate(value, math.nan, math.nan, n, "jackknife-t")
    without = (total_num - totals[:, 0]) / left
    variance = float((n - 1) / n * np.sum((without - without.mean()) ** 2))
    if np.ptp(without) <= 1e-12 * abs(value):  # equal in every cluster, but for rounding
        variance = 0.0
    counts = np.all(totals >= 0) and np.all(totals == np.round(totals))
    if counts and np.all(totals[:, 0] <= totals[:, 1]) and (variance > 0 or value in (0.0, 1.0)):
        return clustered_share(totals[:, 0], totals[:, 1], variance)
    e = t_estimate(value, variance, n, "jackknife-t")
    if math.isnan(e.lo) or np.any(totals < 0):
        return e
    most = 1.0 if np.all(totals[:, 0] <= totals[:, 1]) else math.inf  # a rate is not negative, a share not above 1
    return Estimate(value, max(0.0, e.lo), min(most, e.hi), n, e.method)


def jackknife(value: float, without: NDArray) -> Estimate:
    """A statistic with its delete-one-cluster t-interval; `without` [C]: the statistic with each cluster left out.

    Undefined bounds where one of them is undefined. Source: Shao & Tu (1995), section 2.
    """
    n = len(without)
    variance = float((n - 1) / n * np.sum((without - without.mean()) ** 2)) if n else math.nan
    return t_estimate(value, variance, n, "jackknife-t")


def median(values: ArrayLike) -> Estimate:
    """Median of independent values [N] with the order-statistic interval: at least 95 % for any distribution, N >= 6.

    Infinite values are in order: a response cut off at the cap is longer than any that ended.
    """
    x, _ = complete_rows(values, clusters=None)
    n = len(x)
    if n == 0:
        return Estimate.undefined(0, "order-statistic")
    x = np.sort(x)
    # The interval (x_(j), x_(n+1-j)) misses with probability 2 P(Binomial(n, 1/2) <= j - 1): take the largest such j.
    j = int(np.sum(2 * bdtr(np.arange(n // 2), n, 0.5) <= 1 - LEVEL)) if n > 1 else 0
    lo, hi = (x[j - 1], x[n - j]) if j else (math.nan, math.nan)
    return Estimate(float(np.median(x)), float(lo), float(hi), n, "order-statistic")


def cluster_totals(values_NT: NDArray, clusters: Sequence[object] | NDArray | None) -> tuple[NDArray, NDArray]:
    """Sums of rows by cluster [C, T] and cluster sizes [C]; every row its own cluster without `clusters`."""
    if clusters is None:
        return np.asarray(values_NT), np.ones(len(values_NT))
    _, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(inverse).astype(float)
    totals = np.zeros((len(sizes), values_NT.shape[1]), dtype=np.asarray(values_NT).dtype)
    np.add.at(totals, inverse, values_NT)
    return totals, sizes


def pseudo_unit(totals: NDArray) -> float:
    """Size of one discordant unit: the root mean square of the differences that are not 0, and 1 where all are.

    Adding it once to a sum of squares keeps a paired standard error at about 1/n or more for 0/1 items, where nothing
    changed in the sample but something would in the next one (in the spirit of Agresti & Min 2005, who add
    pseudo-pairs).
    """
    changed = totals[totals != 0]
    return float(np.sqrt(np.mean(np.square(changed, dtype=float)))) if len(changed) else 1.0


def linearised_variance(residuals: NDArray, size: float) -> float:
    """Cluster-robust variance of a mean from cluster residuals [C] that sum to 0 (Cameron & Miller 2015, eq. 6)."""
    n = len(residuals)
    if n < 2:
        return math.nan
    square = float(np.sum(np.square(residuals)))
    return n / (n - 1) * square / size**2 if square > 1e-20 * n else 0.0


def t_estimate(value: float, variance: float, n: int, method: str) -> Estimate:
    """A value with its t-interval, n - 1 degrees of freedom; NaN bounds without a variance, or for n < 2."""
    if n < 2 or not variance > 0:
        return Estimate(value, math.nan, math.nan, n, method)
    half = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * math.sqrt(variance)
    return Estimate(value, value - half, value + half, n, method)


def complete_rows(*arrays: ArrayLike, clusters: Sequence[object] | NDArray | None) -> tuple:
    """The arrays as float64 [N] without the rows in which any is NaN, and the clusters of those rows (or None).

    Raises DataError for arrays, or clusters, of different lengths.
    """
    columns = [np.asarray(a, float).ravel() for a in arrays]
    ids = None if clusters is None else np.asarray(clusters)
    lengths = {len(c) for c in columns}
    if len(lengths) > 1:
        raise DataError(f"values of different lengths {sorted(lengths)}: each row is one response")
    if ids is not None and {len(ids)} != lengths:
        raise DataError(f"{len(ids)} cluster ids for {lengths.pop()} values: each value needs one")
    keep = ~np.any([np.isnan(c) for c in columns], axis=0)
    return *(c[keep] for c in columns), None if ids is None else ids[keep]


# ---------------------------------------------------------------- parts


def _binary(x: NDArray) -> bool:
    return bool(np.all((x == 0) | (x == 1)))


def _degrees_of_freedom(residuals: NDArray) -> float:
    """2 E[s^2]^2 / var(s^2) of a sum of squares, from the fourth powers; between 1 and n - 1."""
    n = len(residuals)
    squares = np.square(residuals)
    total = float(squares.sum())
    excess = float(np.sum(squares**2)) / total**2 - 1 / n if total > 0 else 0.0
    return min(n - 1.0, max(1.0, 2 / excess)) if excess > 0 else n - 1.0


def _count(ids: NDArray | None, n: int) -> int:
    return n if ids is None else len(np.unique(ids))
