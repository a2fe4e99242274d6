"""The fraction of a loss that an intervention brings back, and no fraction of a loss that is none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.special import ndtr

from ...refusal.rescue import rescue_fraction
from ..cells import Cell


def outcomes(
    rng: np.random.Generator, shares: Sequence[float], *, n: int = 48, per_cluster: int = 1, persistence: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """0/1 outcomes of the same items under conditions with these shares [conditions, n], and the items' clusters.

    Latent score = cluster and item in equal parts (`persistence` of its variance, over conditions) + noise.
    """
    cluster = np.arange(n) // per_cluster
    own = np.sqrt(0.5) * (rng.standard_normal(cluster[-1] + 1)[cluster] + rng.standard_normal(n))
    noise = rng.standard_normal((len(shares), n))
    latent = np.sqrt(persistence) * own + np.sqrt(1 - persistence) * noise
    return (ndtr(latent) < np.asarray(shares)[:, None]).astype(float), cluster


def rescue_misses(
    draws: int, rng: np.random.Generator, *, base: float, now: float, fraction: float, per_cluster: int
) -> np.ndarray:
    found = []
    for _ in range(draws):
        x, cluster = outcomes(rng, (base, now, now + fraction * (base - now)), per_cluster=per_cluster)
        e = rescue_fraction(x[0], x[1], x[2], cluster)
        found.append(np.nan if not e.defined else not e.lo <= fraction <= e.hi)
    return np.array(found, float)


def rescue_of_nothing(draws: int, rng: np.random.Generator, *, share: float, per_cluster: int) -> np.ndarray:
    """An error: a fraction of a loss that is none."""
    return np.array(
        [
            rescue_fraction(x[0], x[1], x[2], cluster).defined
            for x, cluster in (outcomes(rng, (share,) * 3, per_cluster=per_cluster) for _ in range(draws))
        ],
        float,
    )


def cells() -> list[Cell]:
    found = []
    for per_cluster in (1, 2, 4):
        for base, now in ((0.97, 0.02), (0.97, 0.3), (0.97, 0.7), (0.9, 0.75), (0.9, 0.5)):
            for fraction in (0.0, 0.5, 1.0):
                draw = partial(rescue_misses, base=base, now=now, fraction=fraction, per_cluster=per_cluster)
                found.append(Cell(f"{per_cluster} a cluster, {base} to {now}, {fraction} comes back", draw))
        for share in (0.5, 0.95):
            nothing = partial(rescue_of_nothing, share=share, per_cluster=per_cluster)
            found.append(Cell(f"{per_cluster} a cluster, {share} and nothing lost", nothing))
    return found
