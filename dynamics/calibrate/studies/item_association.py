"""Per-prompt changes: prompts that share a trend, differ in difficulty, saturate at 0 and 1, and no relation beyond that."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from ...association.items import correlation, moments
from ..cells import LEVEL, Cell
from .trial_swap import noise

AT_ONCE_VALUES = 4_000_000


def prompts(
    kind: str,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    *,
    per_cluster: int = 1,
    strength: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """x and y [draws, items, T], base first; `strength` of y's own change is that of x (0: unrelated)."""
    draws, n, checkpoints = shape
    u = np.linspace(0, 1, checkpoints)
    cluster = np.arange(n) // per_cluster

    def own(ar: float) -> np.ndarray:
        """Half of a prompt's changes are its cluster's."""
        shared = noise((draws, int(cluster[-1]) + 1, checkpoints), rng, ar)[:, cluster]
        return shared if per_cluster == 1 else np.sqrt(0.5) * (shared + noise(shape, rng, ar))

    ar = 1.0 if kind == "random walk" else 0.9
    dx = own(ar)
    dy = strength * dx + np.sqrt(1 - strength**2) * own(ar)
    trend = 5 * (1 - np.exp(-5 * u))
    if kind in ("random walk", "AR(0.9)"):
        return dx, dy
    if kind == "shared trend":
        return dx + trend, dy - trend
    if kind == "saturating curves":  # each prompt at its own speed, in x and in y apart
        x, y = (1 - np.exp(-rng.uniform(1, 10, (draws, n, 1)) * u) for _ in "xy")
        return x + 0.05 * dx, y + 0.05 * dy
    if kind == "noise grows":
        return trend + (0.2 + 3 * u) * dx, trend + (0.2 + 3 * u) * dy
    if kind == "heavy tails":
        size = rng.lognormal(0, 1, (2, draws, n, 1))
        return size[0] * dx, size[1] * dy
    if kind == "difficulty":  # one speed a prompt, in x and y
        speed = rng.uniform(1, 10, (draws, n, 1))
        return 1 - np.exp(-speed * u) + 0.1 * dx, 1 - np.exp(-speed * u) + 0.1 * dy
    difficulty = rng.standard_normal((draws, n, 1))  # shared by x and y
    if kind == "answers":  # y is 0/1; both depend on the prompt's difficulty, which does not change
        right = ndtr(0.3 * dy + difficulty + 2 * u - 1) > rng.random(shape)
        return difficulty + dx + trend, right.astype(float)
    if kind == "rare answers":
        right = ndtr(0.3 * dy + difficulty - 2.5 + u) > rng.random(shape)
        return difficulty + dx, right.astype(float)
    raise ValueError(kind)


def items_reject(
    draws: int, rng: np.random.Generator, *, kind: str, n: int, checkpoints: int, runs: int = 1, **world: Any
) -> np.ndarray:
    """NaN where undefined (no answer changed)."""
    found = []
    at_once = max(1, AT_ONCE_VALUES // (n * checkpoints * runs))
    per_cluster = world.get("per_cluster", 1)
    for start in range(0, draws, at_once):
        b = min(at_once, draws - start)
        s = sum(moments(*prompts(kind, (b, n, checkpoints), rng, **world)) for _ in range(runs))
        s = np.add.reduceat(s, np.arange(0, n, per_cluster), axis=1)
        p = correlation(s)[3]
        found.append(np.where(np.isnan(p), np.nan, p <= LEVEL))
    return np.concatenate(found)


def cells() -> list[Cell]:
    found = []
    kinds = ("AR(0.9)", "random walk", "shared trend", "saturating curves", "noise grows", "heavy tails", "answers")
    for kind in (*kinds, "rare answers"):
        for n, checkpoints in ((30, 8), (30, 60), (100, 20), (300, 12)):
            draw = partial(items_reject, kind=kind, n=n, checkpoints=checkpoints)
            found.append(Cell(f"{n} prompts, {checkpoints} checkpoints, {kind}", draw))
        draw = partial(items_reject, kind=kind, n=120, checkpoints=12, per_cluster=4)
        found.append(Cell(f"120 prompts, four a question, 12 checkpoints, {kind}", draw))
    many = partial(items_reject, kind="answers", n=1000, checkpoints=8)
    found.append(Cell("1000 prompts, 8 checkpoints, answers", many))
    several = partial(items_reject, kind="answers", n=100, checkpoints=8, runs=8)
    found.append(Cell("100 prompts, 8 checkpoints, 8 runs, answers", several))
    for n in (100, 300):
        for kind, strength in (("shared trend", 0.3), ("answers", 0.6)):
            draw = partial(items_reject, kind=kind, n=n, checkpoints=12, strength=strength)
            found.append(Cell(f"{n} prompts, 12 checkpoints, {kind}, correlation {strength} planted", draw, power=True))
        speed = partial(items_reject, kind="difficulty", n=n, checkpoints=12)
        found.append(Cell(f"{n} prompts, 12 checkpoints, one speed a prompt (a relation, no cause)", speed, power=True))
    return found
