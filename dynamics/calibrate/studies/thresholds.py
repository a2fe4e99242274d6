"""When a curve crosses half of its change, and which of two metrics did first: truths known, noise unequal."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import ndtr

from ...trajectories.threshold import crossing, who_was_first
from ...trajectories.trajectory import Trajectory
from ..cells import Cell


def curve(shape: str, u: np.ndarray, rng: np.random.Generator, delay: float = 0.0) -> np.ndarray:
    """From 0 to about 1 over training `u` [T] in [0, 1]; its pace is random, `delay` moves it to the right."""
    v = np.clip(u - delay, 0, 1)
    if shape == "saturating":
        return 1 - np.exp(-rng.uniform(3, 9) * v)
    if shape == "logistic":
        return 1 / (1 + np.exp(-12 * (v - rng.uniform(0.3, 0.6))))
    return v


def interval_misses(
    draws: int, rng: np.random.Generator, *, shape: str, n: int, checkpoints: int, gain: float, per_cluster: int = 1
) -> np.ndarray:
    """An error: the population's first crossing lies outside the interval; undefined where no change is shown."""
    found = np.full(draws, np.nan)
    for i in range(draws):
        share = 0.3 + gain * curve(shape, np.linspace(0, 1, checkpoints), rng)
        cluster = np.arange(n) // per_cluster
        own = rng.standard_normal((cluster[-1] + 1, 1))[cluster]
        latent = np.sqrt(0.6) * own + np.sqrt(0.4) * rng.standard_normal((n, checkpoints))
        x = (ndtr(latent) < share).astype(float)
        clusters = None if per_cluster == 1 else cluster.astype(str).astype(object)
        items = tuple(map(str, range(n)))
        seen = crossing(Trajectory("strict", "d", "general", np.arange(checkpoints), x, items, clusters))
        if seen.interval is not None:
            truth = int(np.argmax(share >= (share[0] + share[-1]) / 2))
            after, by = seen.interval
            found[i] = not (after < truth and (by is None or truth <= by))
    return found


def first_is_called(
    draws: int, rng: np.random.Generator, *, shape: str, runs: int, checkpoints: int, noise: float, lead: int = 0
) -> np.ndarray:
    """Whether the test names a first one. `noise` is x's, in units of the change; y's is 0.02; x leads by `lead` checkpoints."""
    u = np.linspace(0, 1, checkpoints)
    found = []
    for _ in range(draws):
        x, y = [], []
        for _ in range(runs):
            pace = int(rng.integers(2**32))
            late = curve(shape, u, np.random.default_rng(pace), delay=lead / (checkpoints - 1))
            x.append(curve(shape, u, np.random.default_rng(pace)) + noise * rng.standard_normal(checkpoints))
            y.append(late + 0.02 * rng.standard_normal(checkpoints))
        result = who_was_first(x, y)
        named = result.p < 0.05 and (result.lead.value > 0 or lead == 0)
        found.append(np.nan if np.isnan(result.p) else float(named))
    return np.array(found)


def cells() -> list[Cell]:
    found = []
    for shape in ("saturating", "logistic", "line"):
        for n, checkpoints in ((30, 8), (30, 40), (100, 12), (300, 24), (1000, 60)):
            for gain in (0.15, 0.5):
                draw = partial(interval_misses, shape=shape, n=n, checkpoints=checkpoints, gain=gain)
                found.append(Cell(f"crossing: {shape}, {n} items, {checkpoints} checkpoints, gain {gain}", draw))
        shared = partial(interval_misses, shape=shape, n=100, checkpoints=12, gain=0.5, per_cluster=4)
        found.append(Cell(f"crossing: {shape}, 100 items four a question, 12 checkpoints", shared))
        for runs, checkpoints in ((6, 12), (8, 24), (8, 60)):
            for noise in (0.02, 0.1, 0.2):
                draw = partial(first_is_called, shape=shape, runs=runs, checkpoints=checkpoints, noise=noise)
                found.append(Cell(f"first: {shape}, {runs} runs, {checkpoints} checkpoints, noise {noise}", draw))
        if shape != "line":  # a delayed line has as much less to go: half of it comes one checkpoint later, not two
            leads = partial(first_is_called, shape=shape, runs=6, checkpoints=24, noise=0.05, lead=2)
            found.append(Cell(f"first: {shape}, 6 runs, 24 checkpoints, two ahead", leads, power=True))
    return found
