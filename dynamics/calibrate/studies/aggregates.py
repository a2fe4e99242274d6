"""Scores without items: dips found in noise, dips as deep as the margin seen, and differences that hold the truth.

Checkpoints that share nothing are the worst case; items that answer alike at all of them the usual one.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import ndtri

from ...statistics.aggregates import aggregate_band, aggregate_margin, difference, share_of_items
from ...trajectories.phases import POWER
from ..cells import Cell


def scores(draws: int, rng: np.random.Generator, truth: np.ndarray, n: int, correlation: float) -> np.ndarray:
    """Aggregate scores [draws, T] of n items at these true shares, an item's luck shared by checkpoints as asked."""
    if correlation == 0:
        return rng.binomial(n, truth, size=(draws, len(truth))) / n
    found = np.empty((draws, len(truth)))
    for i in range(draws):
        own = np.sqrt(correlation) * rng.standard_normal((n, 1))
        found[i] = (own + np.sqrt(1 - correlation) * rng.standard_normal((n, len(truth))) < ndtri(truth)).mean(axis=0)
    return found


def finds_dip(
    draws: int, rng: np.random.Generator, *, truth: np.ndarray, n: int, correlation: float = 0.0
) -> np.ndarray:
    rows = scores(draws, rng, truth, n, correlation)
    return np.array([np.any(aggregate_band([share_of_items(s, n) for s in row]).hi[1:] < 0) for row in rows], float)


def finds_margin(draws: int, rng: np.random.Generator, *, base: float, n: int, looks: int) -> np.ndarray:
    at_base = [share_of_items(base, n)] * (looks + 1)
    truth = np.full(looks + 1, base)
    truth[looks // 2] -= aggregate_margin(at_base[0], aggregate_band(at_base), POWER)
    return finds_dip(draws, rng, truth=truth, n=n)


def misses_difference(draws: int, rng: np.random.Generator, *, base: float, change: float, n: int) -> np.ndarray:
    rows = scores(draws, rng, np.array([base, base + change]), n, 0.0)
    found = [difference(share_of_items(b, n), share_of_items(a, n)) for a, b in rows]
    return np.array([not e.lo <= change <= e.hi for e in found], float)


def cells() -> list[Cell]:
    found = []
    for n in (30, 100, 300, 1000):
        for looks in (8, 20, 59):
            for base in (0.1, 0.5, 0.9):
                flat = np.full(looks + 1, base)
                draw = partial(finds_dip, truth=flat, n=n)
                found.append(Cell(f"dip, {n} items, {looks} looks at {base}, nothing shared", draw))
            rising = 0.3 + 0.4 * (1 - np.exp(-np.arange(looks + 1) / 5))
            found.append(Cell(f"dip, {n} items, {looks} looks, saturating", partial(finds_dip, truth=rising, n=n)))
        shared = partial(finds_dip, truth=np.full(9, 0.5), n=n, correlation=0.5)
        found.append(Cell(f"dip, {n} items, 8 looks at 0.5, items alike", shared))
        for base, change in ((0.5, 0.0), (0.5, 0.1), (0.9, 0.0), (0.1, 0.2)):
            draw = partial(misses_difference, base=base, change=change, n=n)
            found.append(Cell(f"difference, {n} items, {base} and {change:+}", draw))
        if n >= 100:
            for looks in (8, 59):
                draw = partial(finds_margin, base=0.6, n=n, looks=looks)
                found.append(
                    Cell(
                        f"margin, {n} items, {looks} looks at 0.6",
                        draw,
                        power=True,
                        test="detectable dip",
                        at_least=0.90,
                    )
                )
    return found
