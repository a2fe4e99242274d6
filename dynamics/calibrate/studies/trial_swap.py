"""Trial-swap on runs that share a trend and nothing else, and on runs in which x leads y by two checkpoints."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...association.one_run import LAGS
from ...association.seeds import swap_statistics, swap_test, swaps
from ..cells import LEVEL, Cell

AT_ONCE = 50
LEAD = 2


def noise(shape: tuple[int, ...], rng: np.random.Generator, ar: float) -> np.ndarray:
    """Autoregressive series [..., T] that start where they stay (random walks, for ar = 1, from 0)."""
    e = rng.standard_normal(shape)
    if 0 < ar < 1:
        e[..., 0] /= np.sqrt(1 - ar**2)
    for t in range(1, shape[-1]):
        e[..., t] += ar * e[..., t - 1]
    return e


def seeds_of_an_arm(
    kind: str, draws: int, runs: int, checkpoints: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """x and y [draws, runs, T] whose deviations from what the runs share are unrelated."""
    shape, u = (draws, runs, checkpoints), np.linspace(0, 1, checkpoints)
    trend = 20 * (1 - np.exp(-5 * u))
    if kind in ("AR(0.9)", "random walk"):
        ar = 0.9 if kind == "AR(0.9)" else 1.0
        return noise(shape, rng, ar), noise(shape, rng, ar)
    if kind == "saturating curves":  # each run of each metric at its own speed
        x, y = (1 - np.exp(-rng.uniform(2, 10, (draws, runs, 1)) * u) for _ in "xy")
        return x + 0.02 * rng.standard_normal(shape), y + 0.02 * rng.standard_normal(shape)
    if kind == "shared trend":
        return trend + rng.standard_normal(shape), -trend + rng.standard_normal(shape)
    if kind == "shared walk":  # the same events in all runs, in both metrics
        shared = 3 * noise((draws, 1, checkpoints), rng, 1.0)
        return shared + noise(shape, rng, 0.9), shared + noise(shape, rng, 0.9)
    if kind == "trend scaled by seed":  # of x and of y, independently
        x, y = (trend * rng.lognormal(0, 0.3, (draws, runs, 1)) for _ in "xy")
        return x + rng.standard_normal(shape), y + rng.standard_normal(shape)
    if kind == "noise grows":
        return trend + (0.2 + 3 * u) * noise(shape, rng, 0.5), trend + (0.2 + 3 * u) * noise(shape, rng, 0.5)
    if kind == "noisy seeds":  # a run that is noisy in x is noisy in y
        size = rng.lognormal(0, 1, (draws, runs, 1))
        return trend + size * noise(shape, rng, 0.9), trend + size * noise(shape, rng, 0.9)
    raise ValueError(kind)


def with_a_lead(
    draws: int, runs: int, checkpoints: int, rng: np.random.Generator, *, ar: float, measured: float
) -> tuple[np.ndarray, np.ndarray]:
    """x and y [draws, runs, T] with a shared trend; half of the variance of a run's own y is its x two checkpoints before.

    `measured` is the SD of what measuring adds, in SDs of the deviations.
    """
    own, other = (noise((draws, runs, checkpoints + LEAD), rng, ar) for _ in "xy")
    x, y = own[..., LEAD:], own[..., :-LEAD] + other[..., LEAD:]
    x, y = (s + measured * s.std() * rng.standard_normal(s.shape) for s in (x, y))
    trend = 20 * (1 - np.exp(-5 * np.linspace(0, 1, checkpoints)))
    return x + trend, y - trend


def swap_rejects(
    draws: int, rng: np.random.Generator, *, kind: str, arms: tuple[int, ...], checkpoints: int
) -> np.ndarray:
    return _run(draws, arms, lambda b, n: seeds_of_an_arm(kind, b, n, checkpoints, rng))[0] <= LEVEL


def lead_found(draws: int, rng: np.random.Generator, *, runs: int, checkpoints: int, **world: Any) -> np.ndarray:
    """Found, at the lag that was planted."""
    p, lag = _run(draws, (runs,), lambda b, n: with_a_lead(b, n, checkpoints, rng, **world))
    return (p <= LEVEL) & (lag == LEAD)


def speed_found(draws: int, rng: np.random.Generator, *, runs: int, checkpoints: int) -> np.ndarray:
    """One speed a run, in x and y: a relation between runs, so it is found, though neither metric acts on the other."""

    def make(b: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        curve = 1 - np.exp(-rng.uniform(2, 10, (b, n, 1)) * np.linspace(0, 1, checkpoints))
        shape = (b, n, checkpoints)
        return curve + 0.02 * rng.standard_normal(shape), curve + 0.02 * rng.standard_normal(shape)

    return _run(draws, (runs,), make)[0] <= LEVEL


def layers_reject(draws: int, rng: np.random.Generator, *, layers: int, runs: int, checkpoints: int) -> np.ndarray:
    """Any of several correlated layers related to y, by the p of the maximum over layers."""
    found = []
    pairings = swaps([runs])
    for start in range(0, draws, AT_ONCE):
        b = min(AT_ONCE, draws - start)
        shared, y = seeds_of_an_arm("AR(0.9)", b, runs, checkpoints, rng)
        x = shared[:, None] + noise((b, layers, runs, checkpoints), rng, 0.9)
        z = swap_statistics([(x, y[:, None])], pairings, LAGS)
        found.append(swap_test(z)[2].min(axis=-1) <= LEVEL)
    return np.concatenate(found)


def cells() -> list[Cell]:
    found = []
    kinds = ("AR(0.9)", "random walk", "saturating curves", "shared trend", "shared walk", "trend scaled by seed")
    for kind in (*kinds, "noise grows", "noisy seeds"):
        for arms, checkpoints in (((5,), 8), ((6,), 24), ((8,), 12), ((5,), 60), ((3, 3, 3), 12)):
            draw = partial(swap_rejects, kind=kind, arms=arms, checkpoints=checkpoints)
            found.append(Cell(f"{_seeds(arms)}, {checkpoints} checkpoints, {kind}", draw))
    for layers in (4, 24):
        draw = partial(layers_reject, layers=layers, runs=5, checkpoints=12)
        found.append(Cell(f"5 seeds, 12 checkpoints, any of {layers} layers", draw))
    for runs in (6, 8):
        for checkpoints in (12, 24, 60):
            for ar, measured in ((0.0, 0.0), (0.9, 0.0), (1.0, 0.0), (0.9, 0.5)):
                draw = partial(lead_found, runs=runs, checkpoints=checkpoints, ar=ar, measured=measured)
                what = f"AR({ar:g}) deviations, {measured:g} SD of measurement noise"
                found.append(Cell(f"{runs} seeds, {checkpoints} checkpoints, lead of two, {what}", draw, power=True))
        draw = partial(speed_found, runs=runs, checkpoints=12)
        found.append(Cell(f"{runs} seeds, 12 checkpoints, one speed a seed (a relation, no cause)", draw, power=True))
    return found


# ---------------------------------------------------------------- parts


def _run(draws: int, arms: tuple[int, ...], make: Any) -> tuple[np.ndarray, np.ndarray]:
    """p and best lag [draws] of series made a batch at a time by make(draws, runs)."""
    pairings = swaps(arms, most=1000)  # of 8 seeds: a thousand drawn pairings are a valid test too
    p, lag = [], []
    for start in range(0, draws, AT_ONCE):
        b = min(AT_ONCE, draws - start)
        arrays = [make(b, n) for n in arms]
        z = swap_statistics([(x[:, None], y[:, None]) for x, y in arrays], pairings, LAGS)
        best, p_lags, _ = swap_test(z)
        p.append(p_lags[:, 0])
        lag.append(np.array(LAGS)[best[:, 0]])
    return np.concatenate(p), np.concatenate(lag)


def _seeds(arms: tuple[int, ...]) -> str:
    return f"{arms[0]} seeds" if len(arms) == 1 else f"{len(arms)} arms of {arms[0]} seeds"
