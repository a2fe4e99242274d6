"""All differences between conditions at once: simultaneous intervals, and which conditions cannot be told apart.

A `Block` is one benchmark with the means of K conditions and their covariance, from items (paired) or from
aggregates. Blocks of one family (a model) are averaged by group; the intervals of all pairs of conditions in all
groups hold together with 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..errors import DataError
from ..statistics.aggregates import score_variance
from ..statistics.intervals import LEVEL, complete_rows, pseudo_unit
from ..types import Estimate

ASSUMED_CORRELATION = (
    0.5  # of the errors of two aggregate scores on the same items: an assumption, never seen in aggregates
)
RESAMPLES = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    benchmark: str
    mean_K: NDArray  # one per condition, as shares
    covariance_KK: NDArray  # of these means
    extra_KK: NDArray  # what each pair's variance gets beside it: one pseudo-discordant unit; 0 for aggregates
    n: int  # independent units (questions)
    df: float  # n - 1: the variance of a score is an estimate too, be it that of its items or p (1 - p)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Difference of two conditions (columns) in a group: `a` minus `b`, in shares."""

    group: str
    a: int
    b: int
    estimate: Estimate

    @property
    def separated(self) -> bool:
        return self.estimate.lo > 0 or self.estimate.hi < 0


def aggregate_block(benchmark: str, shares: Sequence[float], items: int, correlation: float = 0.0) -> Block:
    """A benchmark of which only scores are known; `correlation` of their errors is assumed, and 0 is the unpaired
    reading.
    """
    sd = np.sqrt(score_variance(np.array(shares, float), items))
    covariance = correlation * np.outer(sd, sd)
    np.fill_diagonal(covariance, sd**2)
    k = len(sd)
    return Block(benchmark, np.asarray(shares, float), covariance, np.zeros((k, k)), items, items - 1)


def item_block(benchmark: str, values_NK: NDArray, clusters: Sequence[object] | NDArray | None = None) -> Block:
    """A benchmark of which every item's value under each condition is known [items, K]: paired, clustered by question.

    Items with a NaN under any condition are left out. Raises DataError with fewer than two questions left.
    """
    *columns, ids = complete_rows(*np.asarray(values_NK, float).T, clusters=clusters)
    values = np.stack(columns, axis=1)
    if ids is None:
        totals, sizes = values, np.ones(len(values))
    else:
        _, inverse = np.unique(np.asarray(ids), return_inverse=True)
        sizes = np.bincount(inverse).astype(float)
        totals = np.stack([np.bincount(inverse, weights=c) for c in values.T], axis=1)
    n, size = len(sizes), sizes.sum()
    if n < 2:
        raise DataError(
            f"{benchmark}: {n} question{'s' * (n != 1)} with a value under every condition: nothing can be compared"
        )
    mean = totals.sum(axis=0) / size
    residuals = totals - sizes[:, None] * mean
    covariance = n / (n - 1) * residuals.T @ residuals / size**2
    k = values.shape[1]
    extra = np.zeros((k, k))
    for i, j in combinations(range(k), 2):
        extra[i, j] = extra[j, i] = (pseudo_unit(totals[:, i] - totals[:, j]) / size) ** 2
    return Block(benchmark, mean, covariance, extra, n, n - 1)


def mean_block(group: str, blocks: Sequence[Block]) -> Block:
    """The mean over independent benchmarks: variances add. `n` is their smallest, `df` that of the smallest."""
    k = len(blocks)
    return Block(
        group,
        np.mean([b.mean_K for b in blocks], axis=0),
        np.sum([b.covariance_KK for b in blocks], axis=0) / k**2,
        np.sum([b.extra_KK for b in blocks], axis=0) / k**2,
        min(b.n for b in blocks),
        min(b.df for b in blocks),
    )


def all_contrasts(
    groups: Mapping[str, Block], method: str, *, joint: bool = True, resamples: int = RESAMPLES, seed: int = 0
) -> list[Contrast]:
    """Every pair of conditions in every group, with intervals that hold together (`joint`) or each by itself.

    The critical value is the 95 % quantile of the largest |t| over all of them (max-t, Hothorn, Bretz & Westfall
    2008), drawn from the joint normal or t distribution of the conditions' means; it never is below that of a single
    comparison.
    """
    critical = joint_critical(groups.values(), resamples, seed) if joint else None
    found = []
    for name, block in groups.items():
        of_one = float(stdtrit(block.df, 0.5 + LEVEL / 2))
        c = of_one if critical is None else max(critical, of_one)
        for i, j in combinations(range(len(block.mean_K)), 2):
            value = float(block.mean_K[i] - block.mean_K[j])
            half = c * math.sqrt(contrast_variance(block, i, j) + block.extra_KK[i, j])
            lo, hi = max(value - half, -1.0), min(value + half, 1.0)
            found.append(Contrast(name, i, j, Estimate(value, lo, hi, block.n, method)))
    return found


def contrast_variance(block: Block, i: int, j: int) -> float:
    v = block.covariance_KK
    return max(float(v[i, i] + v[j, j] - 2 * v[i, j]), 0.0)


def joint_critical(blocks: Iterable[Block], resamples: int = RESAMPLES, seed: int = 0) -> float:
    """The 95 % quantile of the largest |t| over all pairs of conditions of all these independent blocks."""
    rng = np.random.default_rng(seed)
    largest = np.zeros(resamples)
    for block in blocks:
        k = len(block.mean_K)
        values, vectors = np.linalg.eigh(block.covariance_KK)
        draws = rng.standard_normal((resamples, k)) @ (vectors * np.sqrt(np.maximum(values, 0))).T
        draws /= np.sqrt(rng.chisquare(block.df, resamples) / block.df)[:, None]
        for i, j in combinations(range(k), 2):
            variance = contrast_variance(block, i, j)
            if variance > 1e-18:  # conditions that never differed on an item: nothing to draw
                np.maximum(largest, np.abs(draws[:, i] - draws[:, j]) / math.sqrt(variance), out=largest)
            else:
                np.maximum(largest, np.abs(rng.standard_normal(resamples)), out=largest)
    return float(np.quantile(largest, LEVEL, method="higher"))


def inseparable(names: Sequence[str], contrasts: Sequence[Contrast]) -> list[tuple[str, ...]]:
    """The largest sets of conditions in which no two were separated, each in the order of `names`; every name is in
    one.

    They may overlap: A and B, and B and C, may be inseparable while A and C are told apart (maximal cliques of the
    graph of what was not separated; Bron & Kerbosch 1973).
    """
    near: dict[int, set[int]] = {i: set() for i in range(len(names))}
    for c in contrasts:
        if not c.separated and c.a in near and c.b in near:
            near[c.a].add(c.b)
            near[c.b].add(c.a)
    found: list[tuple[str, ...]] = []

    def grow(clique: set[int], candidates: set[int], done: set[int]) -> None:
        if not candidates and not done:
            found.append(tuple(names[i] for i in sorted(clique)))
        for v in sorted(candidates):
            grow(clique | {v}, candidates & near[v], done & near[v])
            candidates = candidates - {v}
            done = done | {v}

    grow(set(), set(near), set())
    return sorted(found, key=lambda s: [list(names).index(x) for x in s])
