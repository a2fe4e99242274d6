"""One break in a series, against a smooth curve, compared out of sample and calibrated on worlds without a break.

Searching for breaks finds them: PELT with an l2 cost and a BIC penalty does so in 98-100 % of smooth curves and random walks.
Here the statistic is how much better a smooth curve with one jump or kink predicts left-out checkpoints than a smooth curve
alone, each at its best smoothness and place; and it is judged against its own distribution in four worlds, the largest p
deciding: the series' smooth curve, and its best saturating curve, with residuals autocorrelated as its own; a random walk; and
autoregressive noise (0.9). Where a random walk does as well, nobody can tell a break at this length, and that is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError

MIN_CHECKPOINTS = 10
SMOOTHNESS = tuple(10.0**e for e in np.arange(-2.0, 5.1, 1.0))  # of the penalty on second differences
SURROGATES = 199
FIXED_SURROGATES = 999  # of the worlds that are the same for all series of a length
MOST_CHECKPOINTS = 60  # longer series are averaged in bins: a break is dated no finer, and the search stays quick
ALPHA = 0.05
WORLDS = ("smooth curve", "saturating curve", "random walk", "AR(0.9)")
PACES = tuple(np.geomspace(0.5, 60.0, 25))  # of saturating curves, over the whole run
Verdict = Literal["break", "no break", "cannot be told", "undefined"]


@dataclass(frozen=True, slots=True)
class ChangePoint:
    verdict: Verdict
    p: float  # the largest over the worlds
    between: tuple[float, float] | None  # the break lies after the first of these steps, at or before the second
    kind: str  # "jump" or "kink"
    gain: float  # log of the ratio of left-out squared errors, smooth over broken
    n: int  # checkpoints
    worlds: dict[str, float]  # p against each
    reason: str = ""


def change_point(series: pd.Series, *, surrogates: int = SURROGATES, seed: int = 0) -> ChangePoint:
    """Whether one break is shown in a series indexed by step; the place in checkpoints, whatever their distance.

    "cannot be told" where the series' own smooth curve would not do it but a random walk or AR(0.9) would. Undefined for fewer
    than 10 checkpoints or a series that does not vary. Exploratory by itself: ask for recurrence over seeds (`recurrence`).
    """
    series = series.dropna().sort_index()
    y, steps = series.to_numpy(float), series.index.to_numpy(float)
    if len(y) < MIN_CHECKPOINTS or np.ptp(y) == 0:
        why = (
            "the series does not vary"
            if len(y) >= MIN_CHECKPOINTS
            else f"{len(y)} checkpoints, {MIN_CHECKPOINTS} are needed"
        )
        return ChangePoint("undefined", math.nan, None, "", math.nan, len(y), {}, why)
    bins = np.arange(len(y)) * min(len(y), MOST_CHECKPOINTS) // len(y)
    y = np.bincount(bins, y) / np.bincount(bins)
    gain, place, kind = (x[0] for x in gains(y[None]))
    own = [gains(world)[0] for world in own_worlds(y, surrogates, np.random.default_rng(seed))]
    nulls = [*own, *_fixed_worlds(len(y))]
    worlds = {w: float((1 + np.sum(g >= gain)) / (1 + len(g))) for w, g in zip(WORLDS, nulls, strict=True)}
    p = max(worlds.values())
    between = (float(steps[bins == place - 1][0]), float(steps[bins == place][-1]))
    verdict: Verdict = (
        "break" if p <= ALPHA else "cannot be told" if max(worlds[w] for w in WORLDS[:2]) <= ALPHA else "no break"
    )
    reason = (
        ""
        if verdict == "break"
        else f"a {max(worlds, key=lambda w: worlds[w])} does as well in {100 * p:.0f} % of draws"
    )
    return ChangePoint(verdict, p, between, ("jump", "kink")[int(kind)], float(gain), len(steps), worlds, reason)


def gains(y: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Of series [B, T]: log(left-out error of the best smooth curve / of the best with one break), its first column after the
    break, and its kind (0 jump, 1 kink)."""
    T = y.shape[1]
    plain, broken, places = _predictors(T)
    plain_errors = np.square(y @ plain).reshape(len(y), len(SMOOTHNESS), T).mean(axis=2).min(axis=1)
    best = np.full(len(y), np.inf)
    at = np.zeros(len(y), int)
    for i, matrix in enumerate(broken):  # one place and kind at a time: all smoothnesses side by side
        errors = np.square(y @ matrix).reshape(len(y), len(SMOOTHNESS), T).mean(axis=2).min(axis=1)
        at = np.where(errors < best, i, at)
        best = np.minimum(best, errors)
    tiny = 1e-12 * np.maximum(y.var(axis=1), 1e-300)
    return np.log((plain_errors + tiny) / (best + tiny)), places[at, 0], places[at, 1]


def own_worlds(y: NDArray, count: int, rng: np.random.Generator) -> list[NDArray]:
    """Series [count, T] each: the smooth curve and the saturating curve nearest to `y` [T], with noise like its residuals."""
    return [
        curve + sd * _autoregressive(rng.standard_normal((count, len(y))), phi)
        for curve, phi, sd in (_with_noise(y, *_smooth_fit(y)), _with_noise(y, *_saturating_fit(y)))
    ]


@lru_cache(maxsize=8)
def _fixed_worlds(T: int) -> tuple[NDArray, NDArray]:
    """Gains in random walks and in AR(0.9): no scale and no linear trend changes them, so they hang on the length alone."""
    noise = np.random.default_rng(0).standard_normal((2, FIXED_SURROGATES, T))
    return gains(np.cumsum(noise[0], axis=1))[0], gains(_autoregressive(noise[1], 0.9))[0]


@dataclass(frozen=True, slots=True)
class Recurrence:
    found: int  # runs with a break
    together: int  # of them within one checkpoint of the most frequent place
    runs: int
    p: float  # so many by luck, each run's test being wrong 5 % of the time
    between: tuple[float, float] | None
    shown: bool


def recurrence(runs: Sequence[ChangePoint], steps: ArrayLike) -> Recurrence:
    """Whether runs of the same checkpoints `steps` break at the same place: at least two, more than 5 % false ones would make.

    Raises DataError where a break lies at none of the steps.
    """
    from scipy.stats import binom  # slow to import

    at = np.asarray(steps, float)
    judged = [r for r in runs if r.verdict != "undefined"]
    broken = [r.between[1] for r in judged if r.verdict == "break" and r.between is not None]
    missing = [b for b in broken if b not in at]
    if missing:
        raise DataError(
            f"a break at step {missing[0]:g}, which is none of the {len(at)} checkpoints: give the runs' own steps"
        )
    columns = np.array([int(np.flatnonzero(at == b)[0]) for b in broken], int)
    near = (np.abs(columns[:, None] - columns) <= 1).sum(axis=1)
    together = int(near.max()) if len(near) else 0
    # The place was chosen after looking: by luck any of the T - 1 might have gathered them, but only runs that broke count.
    p = float(binom.sf(together - 1, len(judged), ALPHA)) if together else 1.0
    where = columns[int(np.argmax(near))] if together else 0
    between = (float(at[where - 1]), float(at[where])) if together else None
    return Recurrence(len(broken), together, len(judged), p, between, together >= 2 and p <= ALPHA)


# ---------------------------------------------------------------- parts


@lru_cache(maxsize=8)
def _predictors(T: int) -> tuple[NDArray, list[NDArray], NDArray]:
    """Matrices [T, smoothnesses * T] that turn a series into its leave-one-out errors: of smooth curves, and of each broken one.

    A smooth curve minimises squared error plus a penalty on second differences (Whittaker 1923; P-splines with a knot at every
    checkpoint, Eilers & Marx 1996); the break enters unpenalised. Leave-one-out errors of a linear smoother: residual / (1 - h).
    """
    second = np.diff(np.eye(T), 2, axis=0)
    residual_makers = [np.eye(T) - np.linalg.inv(np.eye(T) + s * second.T @ second) for s in SMOOTHNESS]
    plain = np.concatenate([_left_out(r).T for r in residual_makers], axis=1)
    broken, places = [], []
    for place in range(2, T - 1):
        after = (np.arange(T) >= place).astype(float)
        for kind, column in enumerate((after, after * (np.arange(T) - place + 1.0))):
            parts = []
            for r in residual_makers:
                v = r @ column
                parts.append(_left_out(r - np.outer(v, v) / (column @ v)).T)
            broken.append(np.concatenate(parts, axis=1))
            places.append((place, kind))
    return plain, broken, np.array(places)


def _left_out(residual_maker: NDArray) -> NDArray:
    return residual_maker / np.maximum(np.diag(residual_maker), 1e-8)[:, None]


def _smooth_fit(y: NDArray) -> tuple[NDArray, float]:
    """The best smooth curve [T] by leave-one-out error, and its degrees of freedom."""
    T = len(y)
    plain, _, _ = _predictors(T)
    errors = np.square(y @ plain).reshape(len(SMOOTHNESS), T).mean(axis=1)
    second = np.diff(np.eye(T), 2, axis=0)
    hat = np.linalg.inv(np.eye(T) + SMOOTHNESS[int(np.argmin(errors))] * second.T @ second)
    return hat @ y, float(np.trace(hat))


def _saturating_fit(y: NDArray) -> tuple[NDArray, float]:
    """The best curve a + b exp(-pace u) [T] by least squares, u from 0 to 1 over the run; three degrees of freedom."""
    u = np.linspace(0, 1, len(y))
    best, least = y, math.inf
    for pace in PACES:
        design = np.stack([np.ones_like(u), np.exp(-pace * u)], axis=1)
        curve = design @ np.linalg.lstsq(design, y, rcond=None)[0]
        error = float(np.sum((y - curve) ** 2))
        if error < least:
            best, least = curve, error
    return best, 3.0


def _with_noise(y: NDArray, curve: NDArray, freedom: float) -> tuple[NDArray, float, float]:
    """A curve, its residuals' AR(1) coefficient (corrected for bias, Kendall 1954), and their standard deviation."""
    e = y - curve
    sd = math.sqrt(float(e @ e) / max(len(y) - freedom, 1.0))
    e = e - e.mean()
    raw = float(e[1:] @ e[:-1] / (e @ e)) if e @ e > 0 else 0.0
    return curve, float(np.clip(raw + (1 + 3 * raw) / len(y), 0.0, 0.95)), sd


def _autoregressive(noise: NDArray, phi: float) -> NDArray:
    x = noise.copy()
    for t in range(1, x.shape[-1]):
        x[..., t] = phi * x[..., t - 1] + math.sqrt(1 - phi**2) * noise[..., t]
    return x
