"""Simultaneous bands for the differences of every checkpoint from one of them, paired by item.

Looking at many checkpoints and picking the worst finds a "dip" in noise: the naive interval of the minimum rejects
42-94 % of the time. The band's half width is one critical value (max-t) times each checkpoint's standard error, so
that all differences lie inside it together with 95 % probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..errors import DataError
from .intervals import cluster_totals, pseudo_unit

IN_CACHE = 64_000  # numbers of an array that a core works on at once
MOST_KEPT = 2_000_000  # numbers of an array of resamples that is kept, or made at once
BOOTSTRAP_FROM = 100  # independent units; with fewer the item bootstrap rejects too often (12.7 % at 30 items)


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    diff: NDArray  # [T] mean over items of x_t - x_reference
    lo: NDArray  # [T] simultaneous bounds; 0 at the reference itself
    hi: NDArray
    se: NDArray  # [T] standard errors, with one pseudo-discordant unit
    critical: float  # lo, hi = diff -/+ critical * se
    reference: int  # column
    n: int  # independent units (clusters) that have a value at every checkpoint
    method: str

    @property
    def others(self) -> NDArray:
        """Columns other than the reference."""
        return np.delete(np.arange(len(self.diff)), self.reference)


def simultaneous_band(
    matrix: NDArray,
    reference_column: int = 0,
    clusters: Sequence[object] | NDArray | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Band:
    """Band over checkpoints of the paired differences of `matrix` [items, T] from its column `reference_column`.

    From 100 independent units on: studentised bootstrap of clusters, max-t (Westfall & Young 1993; Romano & Wolf
    2005). Below: each cluster's checkpoints are permuted, which needs no large sample. Items with a NaN anywhere are
    left out, so that all checkpoints are compared on the same ones. Each standard error counts one pseudo-discordant
    unit (`pseudo_unit`), so that identical columns have a band of about +-critical/n. NaN bounds with fewer than two
    units or two checkpoints.
    """
    return simultaneous_bands(matrix, (reference_column,), clusters, n_resamples, seed, level)[0][0]


def simultaneous_bands(
    matrix: NDArray,
    references: Sequence[int],
    clusters: Sequence[object] | NDArray | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[Band], NDArray]:
    """A band for each reference column, and the bootstrapped differences from the first [n_resamples, T], float32.

    All from the same resamples, so that a further reference costs one product more. See `simultaneous_band`.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or not all(0 <= r < matrix.shape[1] for r in references):
        raise DataError(
            f"a matrix of items x checkpoints with column{'s' * (len(references) > 1)} "
            f"{', '.join(map(str, references))} is needed, not shape {matrix.shape}"
        )
    values_CT, sizes = complete_clusters(matrix, clusters)
    n, steps = values_CT.shape
    if n < 2 or steps < 2:
        return [_no_band(values_CT, sizes, r) for r in references], np.zeros((0, steps), np.float32)
    world = _Resamples(values_CT, sizes, references[0], n_resamples, seed)
    shares = np.nanmin(matrix) >= 0 and np.nanmax(matrix) <= 1
    bands = []
    for reference in references:
        diffs_CT = values_CT - values_CT[:, [reference]]
        pseudo = pseudo_unit(diffs_CT)
        diff, se = _mean_and_se(diffs_CT, sizes, pseudo)
        if n >= BOOTSTRAP_FROM:
            maxima, method = world.maxima(reference, diff, pseudo), "max-t, item bootstrap"
        else:
            maxima = _permutation_maxima(values_CT, sizes, pseudo, reference, n_resamples, seed)
            method = "max-t, within-item permutation of checkpoints"
        critical = max(float(np.quantile(maxima, level, method="higher")), _least_critical(diffs_CT, level))
        se[reference] = 0.0
        lo, hi = diff - critical * se, diff + critical * se
        if shares:  # no difference is beyond -1 and 1
            lo, hi = np.maximum(lo, -1.0), np.minimum(hi, 1.0)
        bands.append(Band(diff, lo, hi, se, critical, reference, n, method))
    return bands, world.diffs_BT


def bootstrap_means(
    matrix: NDArray, clusters: Sequence[object] | NDArray | None = None, n_resamples: int = 1000, seed: int = 0
) -> NDArray:
    """Means over items of each checkpoint [n_resamples, T] when the clusters of complete items are drawn again."""
    values_CT, sizes = complete_clusters(np.asarray(matrix), clusters)
    weights_BC = _weights(len(sizes), n_resamples, seed)
    return (weights_BC @ values_CT.astype(np.float32)) / (weights_BC @ sizes.astype(np.float32))[:, None]


def complete_clusters(matrix: NDArray, clusters: Sequence[object] | NDArray | None) -> tuple[NDArray, NDArray]:
    """Cluster totals [C, T] and sizes [C] of the items without a NaN at any checkpoint."""
    keep = ~np.isnan(matrix).any(axis=1)
    ids = None if clusters is None else np.asarray(clusters)[keep]
    return cluster_totals(matrix[keep], ids)


# ---------------------------------------------------------------- parts


def _no_band(values_CT: NDArray, sizes: NDArray, reference: int) -> Band:
    n, steps = values_CT.shape
    nan = np.full(steps, math.nan)
    diff = (values_CT - values_CT[:, [reference]]).sum(axis=0) / sizes.sum() if n else nan
    return Band(diff, nan, nan.copy(), nan.copy(), math.nan, reference, n, "none")


def _mean_and_se(diffs_CT: NDArray, sizes: NDArray, pseudo: float) -> tuple[NDArray, NDArray]:
    """Mean difference per item [T] and its cluster-robust standard error [T], one pseudo-discordant unit included."""
    n, size = len(sizes), sizes.sum()
    mean = diffs_CT.sum(axis=0, dtype=float) / size
    squares = np.square(diffs_CT - sizes[:, None] * mean).sum(axis=0)
    return mean, np.sqrt(n / (n - 1) * squares + pseudo**2) / size


def _least_critical(diffs_CT: NDArray, level: float) -> float:
    """No band is narrower than a single t-interval; where nothing ever differed there is nothing to resample:
    Bonferroni."""
    n, steps = diffs_CT.shape
    looks = 1 if np.any(diffs_CT) else steps - 1
    return float(stdtrit(n - 1, 1 - (1 - level) / 2 / looks))


class _Resamples:
    """Clusters drawn again: the differences of each resample and what its standard errors need.

    In units of a typical difference, so that squares lose no digits in float32. sum w (d - star m)^2 is expanded, so that
    a resample costs three products and no array [B, C, T]; a difference from another column is a difference of two of
    these.
    """

    def __init__(self, values_CT: NDArray, sizes: NDArray, origin: int, resamples: int, seed: int) -> None:
        diffs_CT = values_CT - values_CT[:, [origin]]
        self.unit = pseudo_unit(diffs_CT)
        self.origin, self.n = origin, len(sizes)
        self.d = (diffs_CT / self.unit).astype(np.float32)
        self.w, m = _weights(self.n, resamples, seed), sizes.astype(np.float32)
        self.size_B1 = (self.w @ m)[:, None]
        self.one_each = bool(np.all(m == 1))
        self.star = (self.w @ self.d) / self.size_B1
        self.m = m

    @property
    def diffs_BT(self) -> NDArray:
        return self.star * np.float32(self.unit)

    @cached_property
    def squares(self) -> NDArray:
        """sum w d^2"""
        return self.w @ np.square(self.d)

    @cached_property
    def products(self) -> NDArray:
        """sum w d m"""
        return self.w @ (self.d * self.m[:, None])

    def maxima(self, reference: int, mean_T: NDArray, pseudo: float) -> NDArray:
        """max_t |D*_t - D_t| / se*_t per resample [B]; taking the standard error anew in each corrects for skew."""
        mean = (mean_T / self.unit).astype(np.float32)
        least, more = np.float32((pseudo / self.unit) ** 2), np.float32(self.n / (self.n - 1))
        mm_B1 = self.size_B1 if self.one_each else (self.w @ np.square(self.m))[:, None]
        column = None if reference == self.origin else [reference]
        across = None if column is None else self.w @ (self.d * self.d[:, column])
        found = []
        at_once = max(1, IN_CACHE // self.star.shape[1])
        for rows in (slice(start, start + at_once) for start in range(0, len(self.star), at_once)):
            x, square = self.star[rows], self.squares[rows].copy()
            if across is not None:
                square -= 2 * across[rows] - square[:, column]
                x = x - x[:, column]
            # sum w (d - x m)^2 = sum w d^2 - 2 x sum w d m + x^2 sum w m^2
            if self.one_each:
                square -= self.size_B1[rows] * (x * x)
            else:
                products = self.products[rows]
                products = products if column is None else products - products[:, column]
                square += x * (x * mm_B1[rows] - 2 * products)
            np.maximum(square, 0, out=square)
            square *= more
            square += least
            gap = x - mean
            gap *= gap
            gap /= square
            found.append(np.sqrt(gap.max(axis=1)) * self.size_B1[rows, 0])
        return np.concatenate(found)


def _permutation_maxima(
    values_CT: NDArray, sizes: NDArray, pseudo: float, reference: int, resamples: int, seed: int
) -> NDArray:
    """max_t |D_t| / se_t per resample [B] when each cluster's checkpoints are put in random order."""
    n, steps = values_CT.shape
    size = sizes.sum()
    # In units of a typical difference: no loss of digits in d * d.
    x_CT = ((values_CT - values_CT.mean(axis=1, keepdims=True)) / pseudo).astype(np.float32)
    m = (sizes / size).astype(np.float32)
    maxima = []
    for order_BCT in _orders(n, steps, resamples, seed):
        x = np.take_along_axis(x_CT[None], order_BCT, axis=2)
        d = x - x[:, :, [reference]]
        mean = d.sum(axis=1) / size
        # sum (d - size mean)^2 over clusters, expanded: no second array of all draws
        cross = np.einsum("bct,c->bt", d, m)
        squares = np.einsum("bct,bct->bt", d, d) - 2 * size * mean * cross + mean**2 * np.sum(sizes**2)
        se = np.sqrt(n / (n - 1) * np.maximum(squares, 0) + 1) / size
        maxima.append(np.max(np.abs(mean) / se, axis=1))  # 0 at the reference itself, so never the maximum
    return np.concatenate(maxima)


def _orders(n: int, steps: int, resamples: int, seed: int) -> Iterator[NDArray]:
    """Random orders of the checkpoints of each cluster, [some B, n, T] at a time."""
    if resamples * n * steps <= MOST_KEPT:
        yield _kept_orders(n, steps, resamples, seed)
        return
    rng, at_once = np.random.default_rng(seed), max(1, MOST_KEPT // (n * steps))
    for start in range(0, resamples, at_once):
        yield _draw_orders(rng, min(at_once, resamples - start), n, steps)


@lru_cache(maxsize=2)  # both references of a verdict, and the metrics of the same items, share them: half of their cost
def _kept_orders(n: int, steps: int, resamples: int, seed: int) -> NDArray:
    return _draw_orders(np.random.default_rng(seed), resamples, n, steps)


def _draw_orders(rng: np.random.Generator, count: int, n: int, steps: int) -> NDArray:
    # Sorting random keys is three times as fast as `rng.permuted`, whose draws come one by one.
    return np.argsort(rng.random((count, n, steps), dtype=np.float32), axis=2)


@lru_cache(maxsize=4)  # metrics of the same items share their resamples, which cost as much as a product
def _weights(n: int, resamples: int, seed: int) -> NDArray:
    """How often each of `n` clusters is drawn in each resample, float32 [B, n]."""
    draws = np.random.default_rng(seed).integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    weights = np.bincount(draws.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float32)
    weights.flags.writeable = False
    return weights
