"""Series without a break that look like one: smooth curves, walks, AR(0.9), saturation; and a real jump."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from ...trajectories.change_point import change_point
from ..cells import Cell

KINDS = (
    "smooth bump",
    "saturating",
    "saturating, little noise",
    "white noise",
    "AR(0.9)",
    "random walk",
    "walk with drift",
)


def unbroken(rng: np.random.Generator, kind: str, T: int) -> np.ndarray:
    u = np.linspace(0, 1, T)
    if kind == "smooth bump":
        return np.exp(-0.5 * ((u - rng.uniform(0.3, 0.7)) / 0.15) ** 2) + 0.1 * rng.standard_normal(T)
    if kind.startswith("saturating"):
        noise = {"saturating, little noise": 0.005, "saturating at once": 0.1}.get(kind, 0.05)
        pace = rng.uniform(10, 20) if kind == "saturating at once" else rng.uniform(2, 10)
        return 1 - np.exp(-pace * u) + noise * rng.standard_normal(T)
    if kind == "AR(0.9)":
        x = rng.standard_normal(T)
        for t in range(1, T):
            x[t] = 0.9 * x[t - 1] + np.sqrt(1 - 0.81) * x[t]
        return x
    if kind == "white noise":
        return rng.standard_normal(T)
    drift = 0.3 * T * u if kind == "walk with drift" else 0.0
    return np.cumsum(rng.standard_normal(T)) + drift


def break_is_claimed(
    draws: int, rng: np.random.Generator, *, kind: str, checkpoints: int, jump: float = 0.0
) -> np.ndarray:
    """A break is claimed; with `jump`, within one checkpoint of its place: a jump in units of the noise of a flat series."""
    found = []
    for i in range(draws):
        y = unbroken(rng, kind, checkpoints)
        place = int(rng.integers(checkpoints // 4, 3 * checkpoints // 4))
        y = y + jump * (np.arange(checkpoints) >= place)
        seen = change_point(pd.Series(y), surrogates=99, seed=i)
        hit = seen.verdict == "break"
        found.append(hit and (not jump or (seen.between is not None and abs(seen.between[1] - place) <= 1)))
    return np.array(found, float)


def cells() -> list[Cell]:
    found = []
    for kind in KINDS:
        for checkpoints in (12, 24, 40):
            draw = partial(break_is_claimed, kind=kind, checkpoints=checkpoints)
            found.append(Cell(f"{kind}, {checkpoints} checkpoints", draw))
    for checkpoints, jump in ((12, 10.0), (24, 10.0), (40, 10.0), (24, 5.0)):
        draw = partial(break_is_claimed, kind="white noise", checkpoints=checkpoints, jump=jump)
        found.append(Cell(f"a jump of {jump:g} times the noise, {checkpoints} checkpoints", draw, power=True))
    return found
