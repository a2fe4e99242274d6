"""Squared errors of forecasts for runs that had no part in the fit, and what a metric takes off them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

PENALTY = 0.1  # of the ridge, times the training rows; fixed in advance, so nothing is chosen on any run
RIVALS = ("ridge on the baselines", "no change", "mean of the other runs")
EXACT_UP_TO = 12  # runs: 4096 sign flips
RANDOM_FLIPS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Mean squared error of each run's forecasts, [..., R]; NaN for a run without a complete row."""

    full: NDArray  # ridge on baselines and metric
    rivals: NDArray  # [3, ..., R], as RIVALS


def losses(change: NDArray, baselines: NDArray, metric: NDArray, groups: NDArray, penalty: float = PENALTY) -> Losses:
    """Forecast `change` [..., R, T] from `baselines` [..., R, T, F] with and without `metric` [..., R, T], each group of runs
    by a fit on the others.

    `groups` [R]: runs with one label are left out together. Rows with a NaN are left out of fit and test, for all forecasts
    alike.
    """
    known = np.isfinite(change) & np.isfinite(metric) & np.isfinite(baselines).all(axis=-1)
    y, b = np.where(known, change, 0.0), np.where(known[..., None], baselines, 0.0)
    m = np.where(known, metric, 0.0)[..., None]
    shape = y.shape
    with_metric, without, mean = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for label in np.unique(groups):
        out = groups == label
        for target, features in ((with_metric, np.concatenate([b, m], axis=-1)), (without, b)):
            target[..., out, :], mean[..., out, :] = _forecast(y, features, known, out, penalty)
    tested = known & np.isfinite(mean)  # a step that no other run has cannot be forecast
    rows = tested.sum(axis=-1)

    def error(forecast: NDArray) -> NDArray:
        squares = np.where(tested, (y - np.where(tested, forecast, 0.0)) ** 2, 0.0)
        return np.where(rows > 0, squares.sum(axis=-1) / np.maximum(rows, 1), np.nan)

    return Losses(error(with_metric), np.stack([error(without), error(np.zeros(shape)), error(mean)]))


def _forecast(y: NDArray, x: NDArray, known: NDArray, out: NDArray, penalty: float) -> tuple[NDArray, NDArray]:
    """Forecasts and trajectory means for the runs `out`: mean change of the other runs at that step, plus a standardised ridge
    on how far a run is from them at that step. A trend that all runs share is in the mean, and no metric gets credit for it.
    """
    w = (known & ~out[:, None]).astype(float)
    counts = w.sum(axis=-2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_y = (w * y).sum(axis=-2, keepdims=True) / counts
        mean_x = (w[..., None] * x).sum(axis=-3, keepdims=True) / counts[..., None]
    dy = np.where(known & (counts > 0), y - mean_y, 0.0)
    dx = np.where((known & (counts > 0))[..., None], x - mean_x, 0.0)
    rows = w.sum(axis=(-2, -1))[..., None, None, None]
    scale = np.sqrt((w[..., None] * dx**2).sum(axis=(-3, -2), keepdims=True) / np.maximum(rows, 1))
    z = dx / np.where(scale > 1e-12, scale, np.inf)
    flat = (z * w[..., None]).reshape(*z.shape[:-3], -1, z.shape[-1])
    gram = np.swapaxes(flat, -1, -2) @ flat
    ridge = gram + penalty * np.maximum(rows[..., 0], 1) * np.eye(z.shape[-1])
    beta = np.linalg.solve(ridge, np.swapaxes(flat, -1, -2) @ dy.reshape(*dy.shape[:-2], -1, 1))
    own = (z @ beta[..., None, :, :])[..., 0]
    return (mean_y + own)[..., out, :], np.broadcast_to(mean_y, y.shape)[..., out, :]


def p_values(gains: NDArray, seed: int = 0) -> NDArray:
    """One-sided p [..., K] that each of K mean gains over runs [..., K, R] is above 0, corrected for all K.

    Sign flips of whole runs, the largest studentised mean (Westfall & Young 1993): all flips up to 12 runs, 4096 random ones
    beyond. The smallest p is 1 / 2^R.
    """
    runs = gains.shape[-1]
    if runs <= EXACT_UP_TO:
        signs = np.array(list(product((1.0, -1.0), repeat=runs)))
    else:
        signs = np.random.default_rng(seed).choice((1.0, -1.0), size=(RANDOM_FLIPS, runs))
        signs[0] = 1.0
    flipped = _studentised(gains[..., None, :] * signs)  # [..., K, flips]
    largest = flipped.max(axis=-2)
    return np.mean(largest[..., None, :] >= flipped[..., :1] - 1e-9, axis=-1)


def _studentised(gains: NDArray) -> NDArray:
    n = gains.shape[-1]
    mean = gains.mean(axis=-1)
    spread = np.sqrt(np.maximum((gains**2).mean(axis=-1) - mean**2, 0.0) / (n - 1))
    varies = spread > 1e-12 * np.abs(mean)
    alike = np.where(mean == 0, 0.0, np.copysign(np.inf, mean))  # equal gains in all runs are as sure as can be
    return np.where(varies, mean / np.where(varies, spread, 1.0), alike)
