"""Does the rate of backtracks per token change beyond the length? Worlds whose lengths move while their rates do not."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...procedure.beyond_length import log_rate_ratios
from ..cells import Cell

PER_TOKEN = 0.04  # backtracks, in the mean over items
TOKENS = 50.0  # before
Search = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # counts, lengths [draws, items]; clusters


def searches(
    draws: int,
    rng: np.random.Generator,
    *,
    n: int = 100,
    growth: float = 1.0,
    log_ratio: float = 0.0,
    noise: str = "poisson",
    per_token: float = PER_TOKEN,
    tokens: float = TOKENS,
    per_cluster: int = 1,
) -> Search:
    """Backtracks and lengths of `n` items before and after: lengths change `growth`-fold, the rate per token exp(log_ratio).

    Items differ in rate (gamma) and length; `noise` says how the counts of responses spread about their means.
    """
    shape = (draws, n)
    clusters = np.arange(n) // per_cluster
    rate = per_token * rng.gamma(1.0, 1.0, shape)
    hard = 0.4 * rng.standard_normal(shape)
    lengths = [tokens * g * np.exp(hard + 0.4 * rng.standard_normal(shape)) for g in (1.0, growth)]
    counts = []
    for length, ratio in zip(lengths, (0.0, log_ratio), strict=True):
        mean = rate * length * np.exp(ratio)
        if noise == "regular":  # systematic search: as near to its mean as a count can be
            counts.append(np.floor(mean + rng.random(shape)))
            continue
        if noise == "bursty":  # most responses have none, some many; shared by the items of a cluster
            mean = mean * rng.gamma(0.5, 2.0, (draws, clusters[-1] + 1))[:, clusters]
        elif noise == "loops":  # one response in fifty runs away
            mean = mean * np.where(rng.random(shape) < 0.02, 20.0, 1.0)
        counts.append(rng.poisson(mean).astype(float))
    return counts[0], counts[1], lengths[0], lengths[1], clusters


def ratio_rejects(draws: int, rng: np.random.Generator, **world: Any) -> np.ndarray:
    _, lo, hi, _ = log_rate_ratios(*searches(draws, rng, **world))
    return np.where(np.isnan(lo), np.nan, (lo > 0) | (hi < 0))


def cells() -> list[Cell]:
    found = []
    for n in (40, 100, 200):
        for name, growth in (("lengths stay", 1.0), ("surge", 3.0), ("contract", 0.4)):
            for noise in ("poisson", "bursty", "loops", "regular"):
                draw = partial(ratio_rejects, n=n, growth=growth, noise=noise)
                found.append(Cell(f"{n} items, {name}, {noise}", draw))
        rare = partial(ratio_rejects, n=n, growth=5.0, noise="bursty", tokens=10.0, per_token=0.01)
        found.append(Cell(f"{n} items, surge from almost none, bursty", rare))
        shared = partial(ratio_rejects, n=n, growth=3.0, noise="bursty", per_cluster=4)
        found.append(Cell(f"{n} items, four a cluster, surge, bursty", shared))
        for noise in ("poisson", "bursty"):
            doubled = partial(ratio_rejects, n=n, growth=3.0, noise=noise, log_ratio=np.log(2))
            found.append(Cell(f"{n} items, rate doubles, surge, {noise}", doubled, power=True))
    return found
