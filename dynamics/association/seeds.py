"""Trial-swap: do two metrics of the same run go together more than metrics of different runs of the same arm?

What all runs of an arm share (the clock, the schedule, the data) moves every metric of every run, so it relates x of one
run to y of another just as well; only a relation between the deviations of single runs is lost when their pairing is
swapped. Exact whatever the series are: autocorrelated, trending, heteroscedastic over time. It says nothing of the shared
trend. Runs that differ in speed or size (one learns everything faster) deviate in all metrics alike: that is a relation
between runs too, and no sign that one metric acts on the other.

Sources: Harris (2020, arXiv 2012.06862) on what session permutation can and cannot show; Westfall & Young (1993) for the
maximum over lags and layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import permutations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..errors import DataError
from ..statistics.intervals import LEVEL
from .one_run import LAGS, MIN_PAIRS, Association

NULL = "trial-swap: runs of one arm paired anew, largest statistic over lags"
MIN_PAIRINGS = 120  # those of five runs: the smallest p is 1/120; four allow 1/24, which survives no correction
MOST_PAIRINGS = 5040  # all of seven runs; beyond that as many are drawn
ROUNDING = 1e-9


def trial_swap(
    x: Sequence[pd.Series], y: Sequence[pd.Series], arms: Sequence[object] | None = None, lags: Sequence[int] = LAGS
) -> Association:
    """The lag at which deviations of runs go together most, its p from swapping y between the runs of an arm.

    `x` and `y` hold a series by step for every run. The estimate is the mean over runs of the correlation, within a run, of
    the deviations of x and y from their arm's mean at each checkpoint; its interval a t over runs that allows for the lags
    tried. Undefined, with the reason, for fewer pairings than five runs of one arm have.
    """
    return trial_swap_layers({0: x}, y, arms, lags)[0][0]


def trial_swap_layers(
    x: Mapping[int, Sequence[pd.Series]],
    y: Sequence[pd.Series],
    arms: Sequence[object] | None = None,
    lags: Sequence[int] = LAGS,
) -> dict[int, tuple[Association, float]]:
    """`trial_swap` of one metric at several layers, with the p of each for the maximum over all layers and lags.

    Raises DataError where there are not as many runs of x, y and arms.
    """
    arms = [0] * len(y) if arms is None else list(arms)
    for name, given in [("arms", arms), *((f"x at layer {k}", v) for k, v in x.items())]:
        if len(given) != len(y):
            raise DataError(f"{len(given)} runs of {name} for {len(y)} of y: give one of each a run")
    groups = [[i for i, a in enumerate(arms) if a == arm] for arm in dict.fromkeys(arms)]
    groups = [g for g in groups if len(g) > 1]  # the only run of its arm has nobody to swap with
    n = sum(len(g) for g in groups)

    def undefined(reason: str) -> dict[int, tuple[Association, float]]:
        return {k: (Association.undefined(0, reason, n_seeds=n), math.nan) for k in x}

    count = math.prod(math.factorial(len(g)) for g in groups)
    if count < MIN_PAIRINGS:
        most = max((len(g) for g in groups), default=1)
        return undefined(
            f"{most} runs of one arm: their pairing can be swapped in {count} ways, so the smallest p is 1/{count}; five runs "
            f"allow 1/{MIN_PAIRINGS}"
        )
    arrays = [common([[v[i] for i in g] for v in x.values()], [y[i] for i in g]) for g in groups]
    shortest = min(ys.shape[-1] for _, ys in arrays)
    lags = [lag for lag in lags if shortest - abs(lag) >= MIN_PAIRS + 1]  # one is spent on the innovations
    if not lags:
        return undefined(f"{shortest} checkpoints common to all runs, {MIN_PAIRS + 1} are needed")
    if any(np.ptp(deviations(ys), axis=-1).max() == 0 for _, ys in arrays):
        return undefined("y is the same in every run: there are no deviations to relate")
    pairings = swaps([len(g) for g in groups])
    z_KLP = swap_statistics(arrays, pairings, lags)
    still = [bool(np.all([np.ptp(deviations(xs[k]), axis=-1).max() == 0 for xs, _ in arrays])) for k in range(len(x))]
    best_K, p_K, family_K = swap_test(z_KLP)
    found = {}
    for k, layer in enumerate(x):
        if still[k]:
            reason = "x is the same in every run: there are no deviations to relate"
            found[layer] = (Association.undefined(0, reason, n_seeds=n), math.nan)
            continue
        lag = lags[best_K[k]]
        r = np.concatenate([_within(xs[k], ys, lag) for xs, ys in arrays])
        pairs = sum(len(g) * (ys.shape[-1] - abs(lag)) for g, (_, ys) in zip(groups, arrays, strict=True))
        value, lo, hi = _mean_correlation(r, len(lags))
        result = Association(lag, value, lo, hi, float(p_K[k]), pairs, float(n), n_seeds=n)
        found[layer] = (result, float(family_K[k]))
    return found


def swaps(sizes: Sequence[int], most: int = MOST_PAIRINGS, seed: int = 0) -> list[NDArray]:
    """Pairings of runs within arms of these sizes, one array [pairings, runs] an arm; the first pairs each with itself.

    All of them where there are at most `most`, else as many drawn at random (the p counts the true pairing among them).
    """
    if math.prod(math.factorial(n) for n in sizes) <= most:
        rows = list(product(*(permutations(range(n)) for n in sizes)))
        return [np.array([row[k] for row in rows]) for k in range(len(sizes))]
    rng = np.random.default_rng(seed)
    drawn = [rng.permuted(np.tile(np.arange(n), (most, 1)), axis=1) for n in sizes]
    for pairing in drawn:
        pairing[0] = np.arange(pairing.shape[1])
    return drawn


def deviations(x: NDArray) -> NDArray:
    """Series [..., runs, T] minus what the runs share at each checkpoint, rounding errors of equal runs set to 0.

    Shared is a mean with weights inverse to each run's variance about the median: of one noisy run, the plain mean would put
    a share into the deviations of all others.
    """
    spread = np.square(x - np.median(x, axis=-2, keepdims=True)).mean(axis=-1, keepdims=True)
    least = spread.mean(axis=-2, keepdims=True) / 100  # no run is weighted as if it were without noise
    weight = 1 / np.where(least > 0, spread + least, 1.0)
    d = x - np.sum(weight * x, axis=-2, keepdims=True) / np.sum(weight, axis=-2, keepdims=True)
    return np.where(np.abs(d) > 1e-12 * np.abs(x).max(axis=(-2, -1), keepdims=True), d, 0.0)


def swap_statistics(
    arrays: Sequence[tuple[NDArray, NDArray]], pairings: Sequence[NDArray], lags: Sequence[int]
) -> NDArray:
    """Standardised statistic of every pairing [..., lags, pairings], from x and y [..., runs, T] of each arm.

    A pairing's value is the mean over its pairs of the correlation of two deviation series. It is taken of the deviations
    and of their innovations (an autoregression whose one coefficient the runs of an arm share), each standardised over
    pairings, and added: the first sees what measurement noise would hide from the second, which sees the lag of slow
    series sharply. Both treat every run alike, so swapping runs is all that differs between pairings.
    """
    total: NDArray | float = 0.0
    for view in (deviations, _innovations):
        values: NDArray = np.zeros(1)
        for (x, y), pairing in zip(arrays, pairings, strict=True):
            c_LRR = _cross_correlations(view(x), view(y), lags)
            for i in range(pairing.shape[1]):
                values = values + c_LRR[..., i, :][..., pairing[:, i]]
        values = values - values.mean(axis=-1, keepdims=True)
        sd = values.std(axis=-1, keepdims=True)
        total = total + np.divide(values, sd, out=np.zeros_like(values), where=sd > ROUNDING)
    return np.asarray(total)


def swap_test(z: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Best lag [..., K], p for the maximum over lags [..., K] and over lags and members [..., K], of z [..., K, L, P]."""
    size = np.abs(z)
    over_lags = size.max(axis=-2)  # [..., K, P]
    seen = over_lags[..., :1] - ROUNDING
    over_all = over_lags.max(axis=-2, keepdims=True)
    return size[..., 0].argmax(axis=-1), np.mean(over_lags >= seen, axis=-1), np.mean(over_all >= seen, axis=-1)


# ---------------------------------------------------------------- parts


def common(x: Sequence[Sequence[pd.Series]], y: Sequence[pd.Series]) -> tuple[NDArray, NDArray]:
    """x [members, runs, T] and y [runs, T] at the checkpoints where all of them are known."""
    columns = [*y, *(s for member in x for s in member)]
    joined = pd.concat([s.rename(i) for i, s in enumerate(columns)], axis=1, join="inner").dropna().sort_index()
    rows = joined.to_numpy(float).T
    return rows[len(y) :].reshape(len(x), len(y), -1), rows[: len(y)]


def _innovations(x: NDArray) -> NDArray:
    d = deviations(x)
    size = np.linalg.norm(d, axis=-1, keepdims=True)
    past, now = d[..., :-1], d[..., 1:]
    unit = np.divide(d, size, out=np.zeros_like(d), where=size > 0)  # every run has the same say in the coefficient
    power = np.sum(unit[..., :-1] ** 2, axis=(-2, -1), keepdims=True)
    product_sum = np.sum(unit[..., 1:] * unit[..., :-1], axis=(-2, -1), keepdims=True)
    slope = np.divide(product_sum, power, out=np.zeros_like(power), where=power > 0)
    return now - np.clip(slope, 0.0, 1.0) * past


def _cross_correlations(x: NDArray, y: NDArray, lags: Sequence[int]) -> NDArray:
    """Correlation of x of run i with y of run j, `lag` checkpoints later [..., lags, runs, runs]; 0 with a constant."""
    return np.stack([unit(a) @ np.swapaxes(unit(b), -1, -2) for a, b in (shifted(x, y, lag) for lag in lags)], axis=-3)


def _within(x: NDArray, y: NDArray, lag: int) -> NDArray:
    """Correlation of the deviations of each run [runs]; NaN where one does not deviate."""
    a, b = (unit(s) for s in shifted(deviations(x), deviations(y), lag))
    known = np.any(a != 0, axis=-1) & np.any(b != 0, axis=-1)
    return np.where(known, np.sum(a * b, axis=-1), math.nan)


def shifted(x: NDArray, y: NDArray, lag: int) -> tuple[NDArray, NDArray]:
    last = x.shape[-1] - abs(lag)
    return (x[..., :last], y[..., lag:]) if lag >= 0 else (x[..., -lag:], y[..., :last])


def unit(x: NDArray) -> NDArray:
    x = x - x.mean(axis=-1, keepdims=True)
    size = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, size, out=np.zeros_like(x), where=size > 1e-12)


def _mean_correlation(r: NDArray, n_lags: int) -> tuple[float, float, float]:
    """Mean of correlations through Fisher's z, with a t-interval over runs, Bonferroni over the lags tried."""
    z = np.arctanh(np.clip(r[~np.isnan(r)], -1 + 1e-9, 1 - 1e-9))
    if len(z) < 2:
        return float(np.tanh(z.mean())) if len(z) else math.nan, math.nan, math.nan
    half = float(stdtrit(len(z) - 1, 1 - (1 - LEVEL) / 2 / n_lags)) * float(z.std(ddof=1)) / math.sqrt(len(z))
    return tuple(float(np.tanh(v)) for v in (z.mean(), z.mean() - half, z.mean() + half))  # type: ignore[return-value]
