"""What going back pays among responses at a dead end, matched by prompt, where harder prompts go back more."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...procedure.payoff import matched_difference
from ..cells import Cell

Responses = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # correct, went back, item, cluster [responses]


def stuck_responses(
    rng: np.random.Generator,
    *,
    n: int = 60,
    samples: int = 4,
    payoff: float = 0.1,
    spread: float = 0.0,
    per_cluster: int = 1,
    ceiling: float = 0.9,
) -> Responses:
    """Responses at a dead end: harder prompts go back more and are solved less, and going back helps by `payoff`.

    `spread` is the half range of the payoff over clusters of prompts.
    """
    item = np.repeat(np.arange(n), samples)
    cluster = item // per_cluster
    hard = rng.random(n)[item]
    gain = payoff + spread * rng.uniform(-1, 1, n)[cluster]
    back = rng.random(len(item)) < 0.1 + 0.8 * hard
    right = rng.random(len(item)) < spread + (ceiling - payoff - 2 * spread) * (1 - hard) + gain * back
    return right.astype(float), back.astype(float), item, cluster


def payoff_misses(draws: int, rng: np.random.Generator, *, seen: bool = False, **world: Any) -> np.ndarray:
    found = []
    for _ in range(draws):
        correct, back, item, cluster = stuck_responses(rng, **world)
        e = matched_difference(correct, back, item, cluster)
        truth = world.get("payoff", 0.1)
        found.append(np.nan if np.isnan(e.lo) else e.lo > 0 if seen else not e.lo <= truth <= e.hi)
    return np.array(found, float)


def cells() -> list[Cell]:
    found = []
    for n in (20, 60, 200):
        for samples in (2, 4, 8):
            for payoff in (0.0, 0.1):
                draw = partial(payoff_misses, n=n, samples=samples, payoff=payoff)
                found.append(Cell(f"{n} prompts x {samples}, payoff {payoff}", draw))
        hardly = partial(payoff_misses, n=n, payoff=0.0, ceiling=0.05)
        found.append(Cell(f"{n} prompts x 4, hardly ever solved, payoff 0", hardly))
        shared = partial(payoff_misses, n=n, payoff=0.2, spread=0.2, per_cluster=2)
        found.append(Cell(f"{n} prompts x 4, two a cluster, payoffs 0 to 0.4", shared))
        found.append(
            Cell(f"{n} prompts x 4, payoff 0.2", partial(payoff_misses, n=n, payoff=0.2, seen=True), power=True)
        )
    return found
