"""Forecasts of a score by metrics that know nothing of it, that only repeat the loss, or that lead it by two checkpoints."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...prediction.held_out import RIVALS, losses, p_values
from ..cells import Cell

LEADS = (1, 2, 4)
World = tuple[np.ndarray, np.ndarray, np.ndarray]  # score [D, R, T], baselines [D, R, T, 2], metric [D, R, T]


def wandering(rng: np.random.Generator, shape: tuple[int, ...], phi: float = 0.7) -> np.ndarray:
    """Stationary AR(1) of unit variance along the last axis."""
    x = rng.standard_normal(shape)
    for t in range(1, shape[-1]):
        x[..., t] = phi * x[..., t - 1] + np.sqrt(1 - phi**2) * x[..., t]
    return x


def trending(rng: np.random.Generator, draws: int, runs: int, checkpoints: int) -> np.ndarray:
    """Saturating curves, each run at its own pace."""
    pace = rng.uniform(1, 8, (draws, runs, 1))
    return 4 * (1 - np.exp(-pace * np.linspace(0, 1, checkpoints)))


def world(rng: np.random.Generator, draws: int, kind: str, runs: int, checkpoints: int) -> World:
    """Loss and length (the baselines) relate to the score; the metric is what `kind` says."""
    shape = (draws, runs, checkpoints)
    loss, length, own = (wandering(rng, shape) for _ in range(3))
    shared = 4 * (1 - np.exp(-4 * np.linspace(0, 1, checkpoints)))
    score = shared + 0.5 * np.concatenate([loss[..., :1], loss[..., :-1]], axis=-1) + own
    score = score + 0.3 * rng.standard_normal(shape)
    if kind == "unrelated, trending":
        score, metric = score + trending(rng, *shape), trending(rng, *shape) + wandering(rng, shape)
    elif kind == "random walk":
        score, metric = score + np.cumsum(rng.standard_normal(shape), -1), np.cumsum(rng.standard_normal(shape), -1)
    elif kind == "repeats the loss":
        metric = 3 - 2 * loss + 0.5 * rng.standard_normal(shape)
    elif kind == "shared trend":
        metric = shared + 0.1 * wandering(rng, shape)
    elif kind == "one odd run":  # heavy tails over runs: one swings five times as much
        size = np.where(np.arange(runs) == 0, 5.0, 1.0)[:, None]
        score, metric = shared + size * own, wandering(rng, shape)
    else:  # leads the score by two checkpoints
        metric = wandering(rng, shape)
        late = np.concatenate([np.zeros_like(metric[..., :2]), metric[..., :-2]], axis=-1)
        score, metric = score + 1.5 * late, metric + 0.3 * rng.standard_normal(shape)
    return score, np.stack([loss, length], axis=-1), metric


def skill_is_claimed(
    draws: int, rng: np.random.Generator, *, kind: str, runs: int, checkpoints: int, arms: int = 0
) -> np.ndarray:
    """Whether skill is claimed at any lead."""
    labels = np.arange(runs) % arms if arms else np.arange(runs)
    found = []
    for start in range(0, draws, 200):
        count = min(200, draws - start)
        score, baselines, metric = world(rng, count, kind, runs, checkpoints)
        if arms:  # runs of an arm share most of what sets them apart
            score = score + 2 * wandering(rng, (count, arms, checkpoints))[:, labels]
            metric = metric + 2 * wandering(rng, (count, arms, checkpoints))[:, labels]
        gains = []
        for k in LEADS:
            now = score[..., :-k]
            base = np.concatenate([now[..., None], baselines[..., :-k, :]], axis=-1)
            lost = losses(score[..., k:] - now, base, metric[..., :-k], labels)
            by_run = lost.rivals - lost.full
            gains.append(np.stack([by_run[..., labels == u].mean(axis=-1) for u in np.unique(labels)], axis=-1))
        stacked = np.stack(gains, axis=-2)  # [rivals, D, leads, units]
        p = np.max([p_values(stacked[j]) for j in range(len(RIVALS))], axis=0)
        found.append((p <= 0.05).any(axis=-1))
    return np.concatenate(found).astype(float)


def cells() -> list[Cell]:
    found = []
    for kind in ("unrelated, trending", "random walk", "repeats the loss", "shared trend", "one odd run"):
        for runs, checkpoints in ((5, 8), (6, 24), (8, 12), (8, 60), (12, 12)):
            draw = partial(skill_is_claimed, kind=kind, runs=runs, checkpoints=checkpoints)
            found.append(Cell(f"{kind}, {runs} runs, {checkpoints} checkpoints", draw))
    for kind in ("unrelated, trending", "repeats the loss"):
        draw = partial(skill_is_claimed, kind=kind, runs=18, checkpoints=12, arms=6)
        found.append(Cell(f"{kind}, 18 runs in 6 arms, 12 checkpoints", draw))
    for runs, checkpoints in ((5, 24), (6, 12), (6, 24), (8, 24), (12, 12)):
        draw = partial(skill_is_claimed, kind="leads by two", runs=runs, checkpoints=checkpoints)
        found.append(Cell(f"leads by two, {runs} runs, {checkpoints} checkpoints", draw, power=True))
    return found
