"""Do two independent series of one run pass for associated, and is a planted lag found?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...association.one_run import associate
from ..cells import Cell

Maker = Callable[[int, np.random.Generator], NDArray]  # checkpoints -> a series
CHECKPOINTS = (8, 12, 20, 40, 60)
PLANTED = ((28, 0), (28, 2), (28, -1), (60, 2))  # checkpoints, lag; fewer checkpoints hold too few independent changes


def random_walk(t: int, rng: np.random.Generator) -> NDArray:
    return np.cumsum(rng.standard_normal(t))


def autoregressive(t: int, rng: np.random.Generator) -> NDArray:
    """AR(0.9), begun in its stationary state."""
    x = rng.standard_normal(t)
    x[0] /= np.sqrt(1 - 0.81)
    for i in range(1, t):
        x[i] += 0.9 * x[i - 1]
    return x


def saturating(t: int, rng: np.random.Generator, *, noise: float) -> NDArray:
    return 1 - np.exp(-rng.uniform(2, 10) * np.linspace(0, 1, t)) + noise * rng.standard_normal(t)


def dipping(t: int, rng: np.random.Generator) -> NDArray:
    u = np.linspace(0, 1, t)
    return -5 * u * np.exp(-rng.uniform(3, 9) * u) + 0.05 * rng.standard_normal(t)


def trend(t: int, rng: np.random.Generator) -> NDArray:
    return np.linspace(0, rng.uniform(0.5, 2), t) + 0.1 * rng.standard_normal(t)


def share_of_items(t: int, rng: np.random.Generator) -> NDArray:
    """A score of 200 items that rises and saturates: noise of sampling, larger in the middle."""
    return rng.binomial(200, 0.3 + 0.5 * (1 - np.exp(-rng.uniform(2, 10) * np.linspace(0, 1, t)))) / 200


MAKERS: dict[str, Maker] = {
    "random walks": random_walk,
    "AR(0.9)": autoregressive,
    "saturating curves": partial(saturating, noise=0.02),
    "saturating curves, hardly any noise": partial(saturating, noise=0.002),
    "dips": dipping,
    "two trends": trend,
    "saturating scores of 200 items": share_of_items,
}


def claims(draws: int, rng: np.random.Generator, *, x: Maker, y: Maker, checkpoints: int) -> np.ndarray:
    """p < 0.05 between independent series; NaN where the test says that it cannot tell."""
    steps = np.arange(checkpoints)
    found = []
    for _ in range(draws):
        p = associate(pd.Series(x(checkpoints, rng), steps), pd.Series(y(checkpoints, rng), steps)).p
        found.append(np.nan if np.isnan(p) else p < 0.05)
    return np.array(found, float)


def lag_found(draws: int, rng: np.random.Generator, *, checkpoints: int, lag: int) -> np.ndarray:
    """A random walk whose changes drive those of another `lag` checkpoints later (correlation 0.95): sign, lag and p."""
    steps = np.arange(checkpoints)
    found = []
    for _ in range(draws):
        cause = rng.standard_normal(checkpoints + 4)
        x = np.cumsum(cause[2:-2])
        y = np.cumsum(np.roll(cause, lag)[2:-2] * -1.5 + 0.5 * rng.standard_normal(checkpoints))
        e = associate(pd.Series(x, steps), pd.Series(y, steps))
        found.append(e.lag == lag and e.p < 0.05 and e.hi < 0)
    return np.array(found, float)


def cells() -> list[Cell]:
    found = []
    for t in CHECKPOINTS:
        for name, maker in MAKERS.items():
            found.append(Cell(f"{name}, {t} checkpoints", partial(claims, x=maker, y=maker, checkpoints=t)))
        walk_and_curve = partial(claims, x=random_walk, y=MAKERS["saturating curves"], checkpoints=t)
        found.append(Cell(f"a random walk and a saturating curve, {t} checkpoints", walk_and_curve))
    for t, lag in PLANTED:
        draw = partial(lag_found, checkpoints=t, lag=lag)
        found.append(Cell(f"a planted lag of {lag}, {t} checkpoints", draw, power=True))
    return found
