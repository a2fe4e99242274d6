"""The mixed model of many runs, on runs that share a trend and nothing else. Arms of equal length: there the model's
coefficient is the mean of the runs' own, and its error the one between runs or the pooled one (a test compares them)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...association.mixed import between_runs, standardised_differences
from ...association.one_run import LAGS
from ..cells import LEVEL, Cell
from .trial_swap import LEAD, seeds_of_an_arm, with_a_lead

AT_ONCE = 500
Make = Callable[[int, int], tuple[np.ndarray, np.ndarray]]  # draws, runs -> x and y [draws, runs, T]


def best_lag(draws: int, arms: tuple[int, ...], make: Make) -> tuple[np.ndarray, np.ndarray]:
    """p, corrected for the lags tried, and lag [draws]."""
    p, lag = [], []
    for start in range(0, draws, AT_ONCE):
        b = min(AT_ONCE, draws - start)
        arrays = [make(b, n) for n in arms]
        each = np.stack([between_runs([standardised_differences(x, y, k) for x, y in arrays])[2] for k in LAGS])
        p.append(np.minimum(1, each.min(axis=0) * len(LAGS)))
        lag.append(np.array(LAGS)[each.argmin(axis=0)])
    return np.concatenate(p), np.concatenate(lag)


def mixed_rejects(
    draws: int, rng: np.random.Generator, *, kind: str, arms: tuple[int, ...], checkpoints: int
) -> np.ndarray:
    return best_lag(draws, arms, lambda b, n: seeds_of_an_arm(kind, b, n, checkpoints, rng))[0] <= LEVEL


def one_lag_rejects(draws: int, rng: np.random.Generator, *, kind: str, runs: int, checkpoints: int) -> np.ndarray:
    """Without choosing a lag: Bonferroni leaves no room that could hide a standard error that is too small."""
    return (
        between_runs([standardised_differences(*seeds_of_an_arm(kind, draws, runs, checkpoints, rng), 0)])[2] <= LEVEL
    )


def lead_found(draws: int, rng: np.random.Generator, *, runs: int, checkpoints: int, **world: Any) -> np.ndarray:
    """Found, at the lag that was planted."""
    p, lag = best_lag(draws, (runs,), lambda b, n: with_a_lead(b, n, checkpoints, rng, **world))
    return (p <= LEVEL) & (lag == LEAD)


def cells() -> list[Cell]:
    found = []
    kinds = ("AR(0.9)", "random walk", "saturating curves", "shared trend", "shared walk", "trend scaled by seed")
    for kind in (*kinds, "noise grows", "noisy seeds"):
        for arms, checkpoints in (((8,), 8), ((8,), 24), ((12,), 60), ((4, 4, 4), 12)):
            draw = partial(mixed_rejects, kind=kind, arms=arms, checkpoints=checkpoints)
            found.append(Cell(f"{len(arms)} arm(s) of {arms[0]} seeds, {checkpoints} checkpoints, {kind}", draw))
        for runs, checkpoints in ((8, 12), (20, 12)):
            one = partial(one_lag_rejects, kind=kind, runs=runs, checkpoints=checkpoints)
            found.append(Cell(f"{runs} seeds, {checkpoints} checkpoints, one lag, {kind}", one))
    for runs in (8, 20):
        for ar, measured in ((0.0, 0.0), (0.9, 0.0), (0.9, 0.5)):
            draw = partial(lead_found, runs=runs, checkpoints=24, ar=ar, measured=measured)
            what = f"AR({ar:g}) deviations, {measured:g} SD of measurement noise"
            found.append(Cell(f"{runs} seeds, 24 checkpoints, lead of two, {what}", draw, power=True))
    return found
