"""Bands for the difference of two runs over their matched checkpoints, paired by item: all of them hold together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..statistics.bands import BOOTSTRAP_FROM, Band, complete_clusters, simultaneous_band
from ..statistics.intervals import pseudo_unit


def difference_band(
    differences: NDArray,
    clusters: Sequence[object] | NDArray | None = None,
    *,
    limit: float = 1.0,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Band:
    """Simultaneous band over checkpoints of the mean of `differences` [items, T], one run's items minus the other's.

    From 100 questions on: the studentised bootstrap of `statistics.bands`, against a column that is 0 for every item.
    Below: the two runs change places within a question, at all its checkpoints together (max-t of sign flips, which
    needs no large sample and keeps how an item's checkpoints go together). Bounds are cut at +-`limit`. The reference
    column of the returned band is -1: there is none.
    """
    d = np.asarray(differences, float)
    clusters = None if clusters is None else np.asarray(clusters)
    totals, sizes = complete_clusters(d, clusters)
    n, steps = totals.shape
    if n >= BOOTSTRAP_FROM or n < 2 or steps == 0:
        band = simultaneous_band(np.column_stack([np.zeros(len(d)), d]), 0, clusters, n_resamples, seed, level)
        diff, se, critical, method = band.diff[1:], band.se[1:], band.critical, band.method
    else:
        diff, se, critical = _sign_flips(totals, sizes, n_resamples, level, np.random.default_rng(seed))
        method = "max-t, runs exchanged within items"
    lo, hi = np.maximum(diff - critical * se, -limit), np.minimum(diff + critical * se, limit)
    return Band(diff, lo, hi, se, critical, -1, n, method)


def _sign_flips(
    totals_CT: NDArray, sizes: NDArray, resamples: int, level: float, rng: np.random.Generator
) -> tuple[NDArray, NDArray, float]:
    n, steps = totals_CT.shape
    size = sizes.sum()
    pseudo = pseudo_unit(totals_CT)
    diff = totals_CT.sum(axis=0) / size
    residuals = totals_CT - sizes[:, None] * diff
    se = np.sqrt(n / (n - 1) * np.square(residuals).sum(axis=0) + pseudo**2) / size
    signs = rng.choice([-1.0, 1.0], size=(resamples, n))
    star = signs @ totals_CT / size
    # sum (s d - m star)^2, expanded: the squares of d do not change with their signs
    squares = (
        np.square(totals_CT).sum(axis=0) - 2 * star * (signs @ (totals_CT * sizes[:, None])) + star**2 * (sizes @ sizes)
    )
    star_se = np.sqrt(n / (n - 1) * np.maximum(squares, 0) + pseudo**2) / size
    largest = np.max(np.abs(star) / star_se, axis=1)
    looks = 1 if np.any(totals_CT) else steps  # where nothing ever differed there is nothing to exchange: Bonferroni
    least = float(stdtrit(n - 1, 1 - (1 - level) / 2 / looks))
    # Few items have few values of t, and the same t rounds differently in a flip and in the sample: a tie is no exceedance.
    return diff, se, max(float(np.quantile(largest, level, method="higher")) * (1 + 1e-9), least)
