"""Differences between arms with several seeds each: runs are the units, for one seed more or less is what a claim
must survive.

Items of one run say nothing of training noise: with it, an interval over items alone rejects far too often. Two ways
over seeds were simulated (`calibrate/studies/comparison.py`): permuting runs between arms has no p below 1/3 at two
seeds each, and 1/10 at three; Welch's t keeps its size from two seeds on and sees more, so it is the one used. Items
are drawn too: their variance is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..statistics.intervals import LEVEL, cluster_totals, linearised_variance, pseudo_unit
from ..types import Estimate

ONE_SEED = "one seed each: items only, training noise not included"


@dataclass(frozen=True, slots=True)
class SeedTest:
    these_items: Estimate  # other seeds, the same items: Welch's t on run means
    estimate: Estimate  # other seeds and other items
    spread_a: float  # standard deviation between seeds of run means; NaN with one
    spread_b: float
    seeds_a: int
    seeds_b: int


def seed_test(
    a_SN: NDArray, b_SN: NDArray, clusters: Sequence[object] | NDArray | None = None, level: float = LEVEL
) -> SeedTest:
    """Difference of two arms from each run's value on the same items [seeds, items]; NaN bounds with one seed in
    either arm.

    `these_items`: Welch (1947) on run means. `estimate`: the variance over items of the arms' mean difference,
    clustered, is added; degrees of freedom by Satterthwaite (1946) over the three parts. What an item does in one run
    alone is then counted twice, by which the interval is a little too wide, never too narrow. Items with a NaN in any
    run are left out.
    """
    keep = ~(np.isnan(a_SN).any(axis=0) | np.isnan(b_SN).any(axis=0))
    a, b = np.asarray(a_SN, float)[:, keep], np.asarray(b_SN, float)[:, keep]
    ids = None if clusters is None else np.asarray(clusters)[keep]
    means_a, means_b = a.mean(axis=1), b.mean(axis=1)
    value = float(means_a.mean() - means_b.mean())
    spreads = [float(m.std(ddof=1)) if len(m) > 1 else math.nan for m in (means_a, means_b)]
    seeds = (len(means_a), len(means_b))
    of_seeds = [(s**2 / k, k - 1) for s, k in zip(spreads, seeds, strict=True)]
    of_items, n = _variance_over_items(a.mean(axis=0) - b.mean(axis=0), ids)
    runs = sum(seeds)
    return SeedTest(
        these_items=_satterthwaite(value, of_seeds, runs, "Welch t over seeds, these items", level),
        estimate=_satterthwaite(value, [*of_seeds, (of_items, n - 1)], runs, "Welch t over seeds and items", level),
        spread_a=spreads[0],
        spread_b=spreads[1],
        seeds_a=seeds[0],
        seeds_b=seeds[1],
    )


def _variance_over_items(d: NDArray, ids: NDArray | None) -> tuple[float, int]:
    totals, sizes = cluster_totals(d[:, None], ids)
    n, size = len(sizes), sizes.sum()
    if n < 2:
        return math.nan, n
    return linearised_variance(totals[:, 0] - d.mean() * sizes, size) + (pseudo_unit(totals) / size) ** 2, n


def _satterthwaite(value: float, parts: Sequence[tuple[float, int]], n: int, method: str, level: float) -> Estimate:
    variance = sum(v for v, _ in parts)
    if not variance > 0 or any(math.isnan(v) for v, _ in parts):
        return Estimate(value, math.nan, math.nan, n, method)
    df = variance**2 / sum(v**2 / k for v, k in parts if v > 0)
    half = float(stdtrit(df, 0.5 + level / 2)) * math.sqrt(variance)
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), n, method)
