"""At which checkpoint a curve is highest: the checkpoints that no other is shown to exceed.

A bootstrap of the highest column hops between near ties and says nothing of the truth when they are many; the set of columns
that survive comparison with the best holds the population's highest with 95 % probability, however many tie (multiple
comparisons with the best: Hsu 1984). Paired by item, Bonferroni over the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..statistics.bands import complete_clusters
from ..statistics.intervals import pseudo_unit


def highest(matrix: NDArray, clusters: NDArray | None, *, error: float = 0.025, first: int = 0) -> tuple[int, NDArray]:
    """The column with the highest mean of `matrix` [items, T] from column `first` on, and the set of columns [K] that holds the
    population's highest with probability 1 - `error`.

    Items with a NaN are left out; with fewer than two units every column is in the set.
    """
    totals, sizes = complete_clusters(np.asarray(matrix, float), clusters)
    totals = totals[:, first:]
    n, T = totals.shape
    columns = np.arange(first, first + T)
    if n < 2 or T < 2:
        return int(columns[int(np.argmax(totals.sum(axis=0)))] if n else first), columns
    size = sizes.sum()
    mean = totals.sum(axis=0) / size
    residuals = totals - sizes[:, None] * mean
    product = residuals.T @ residuals
    squares = np.diag(product)[:, None] + np.diag(product) - 2 * product  # of paired differences
    pseudo = pseudo_unit(totals - totals[:, [0]])
    se = np.sqrt(n / (n - 1) * np.maximum(squares, 0) + pseudo**2) / size
    exceeded = (mean - mean[:, None]) / se  # [i, j]: by how much j is above i
    limit = float(stdtrit(n - 1, 1 - error / (T - 1)))
    return int(columns[int(np.argmax(mean))]), columns[exceeded.max(axis=1) <= limit]
