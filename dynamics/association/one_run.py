"""Do two series of one run move together? A description, labelled exploratory: one run is one draw of its shared clock.

Two trends always correlate, and first differences do not cure it: of independent saturating curves measured with
little noise, the ESS-corrected t on first differences still rejects 40-97 %, because the differences of both die out
from the same start. So each differenced series is first reduced to its innovations (prewhitening), and no series
counts for more independent values than its own changes support. On random walks, AR(0.9), saturating curves and dips
this rejects <= 4 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from ..statistics.intervals import LEVEL

LAGS = (-2, -1, 0, 1, 2)  # in checkpoints; positive: x leads
NULL = "ESS-corrected t on prewhitened first differences"
MIN_DIFFERENCES = 6
MIN_PAIRS = 5  # per lag, after prewhitening


@dataclass(frozen=True, slots=True)
class Association:
    lag: int | None  # checkpoints by which x leads
    estimate: float  # correlation of the innovations
    lo: float  # Fisher z with n_eff, at the level that allows for the lags tried
    hi: float
    p: float
    n: int  # pairs of differences compared
    n_eff: float
    reason: str = ""  # why undefined, or what weakens it
    n_seeds: int = 1  # runs
    n_items: int = 0  # prompts, where they are the units

    @classmethod
    def undefined(cls, n: int, reason: str, *, n_seeds: int = 1, n_items: int = 0) -> Association:
        return cls(None, math.nan, math.nan, math.nan, math.nan, n, math.nan, reason, n_seeds, n_items)


def associate(x: pd.Series, y: pd.Series, lags: Sequence[int] = LAGS) -> Association:
    """The lag with the smallest p between two series indexed by step, its p multiplied by the number of lags tried.

    Undefined, with the reason, for fewer than 6 differences at common steps or a series that does not move.
    """
    return associate_each([x], y, lags)[0]


def associate_each(xs: Sequence[pd.Series], y: pd.Series, lags: Sequence[int] = LAGS) -> list[Association]:
    """`associate` of many series with the same y: those known at the same steps are computed together."""
    return [_best(rows) if isinstance(rows, list) else rows for rows in _lagged_each(xs, y, lags)]


def lagged(x: pd.Series, y: pd.Series, lags: Sequence[int] = LAGS) -> list[Association] | Association:
    """Correlations of the innovations of two series at each lag, p-values uncorrected; or why there are none.

    Prewhitening: Haugh (1976). Effective sample size: Bartlett (1935), n / (1 + 2 sum (1 - k/n) r_x(k) r_y(k)), with
    negative terms dropped (a gain in sample size is never claimed) and at most twice the participation ratio of either
    series' changes.
    """
    return _lagged_each([x], y, lags)[0]


def prewhitened(d: NDArray) -> NDArray:
    """Residuals of an autoregression through the origin: a decaying transient obeys one exactly, so it leaves nothing.

    Its order grows with the series (1, from 16 differences 2, from 30 on 3): measurement noise hides a transient from
    a short one.
    """
    order = 1 if len(d) < 16 else 2 if len(d) < 30 else 3
    past = np.stack([d[order - k - 1 : len(d) - k - 1] for k in range(order)], axis=1)
    return d[order:] - past @ np.linalg.lstsq(past, d[order:], rcond=None)[0]


def effective_size(a: NDArray, b: NDArray) -> NDArray:
    """Independent pairs that the correlation of two series [..., n] is worth, at most n (see `lagged`)."""
    n = a.shape[-1]
    k = np.arange(1, n // 2 + 1)
    products = np.maximum(_autocorrelation(a)[..., k] * _autocorrelation(b)[..., k], 0)
    bartlett = n / (1 + 2 * (products @ (1 - k / n)))
    return np.minimum(np.minimum(n, bartlett), 2 * np.minimum(_participation(a), _participation(b)))


# ---------------------------------------------------------------- parts


def _best(rows: list[Association]) -> Association:
    best = min(rows, key=lambda row: (row.p, abs(row.lag or 0)))
    return replace(best, p=min(1.0, best.p * len(rows)))


def _lagged_each(xs: Sequence[pd.Series], y: pd.Series, lags: Sequence[int]) -> list[list[Association] | Association]:
    y = y.dropna().sort_index()
    known = [x.dropna().sort_index() for x in xs]
    found: list[list[Association] | Association] = [[] for _ in xs]
    by_steps: dict[bytes, list[int]] = {}
    common = [x.index.intersection(y.index) for x in known]
    for i, steps in enumerate(common):
        by_steps.setdefault(steps.to_numpy().tobytes(), []).append(i)
    for members in by_steps.values():
        steps = common[members[0]]
        values_KT = np.stack([known[i].loc[steps].to_numpy(float) for i in members])
        for i, rows in zip(members, _at_common_steps(values_KT, y.loc[steps].to_numpy(float), lags), strict=True):
            found[i] = rows
    return found


def _at_common_steps(x_KT: NDArray, y_T: NDArray, lags: Sequence[int]) -> list[list[Association] | Association]:
    n = len(y_T) - 1
    if n < MIN_DIFFERENCES:
        reason = f"{max(n, 0)} differences at common checkpoints, {MIN_DIFFERENCES} are needed"
        return [Association.undefined(max(n, 0), reason)] * len(x_KT)
    y, why_not_y = _innovations("y", y_T)
    found: list[list[Association] | Association] = []
    innovations: dict[int, NDArray] = {}
    for i, x_T in enumerate(x_KT):
        x, why_not = _innovations("x", x_T)
        if reason := why_not or why_not_y:
            found.append(Association.undefined(n, reason))
        else:
            innovations[i] = x
            found.append([])
    if not innovations:
        return found
    ex = np.stack(list(innovations.values()))
    for lag in lags:
        a, b = (ex[:, : ex.shape[1] - lag], y[lag:]) if lag >= 0 else (ex[:, -lag:], y[:lag])
        if len(b) < MIN_PAIRS or np.ptp(b) == 0:
            continue
        for i, row, spread in zip(innovations, _correlations(a, b, lag, len(lags)), np.ptp(a, axis=1), strict=True):
            if spread > 0:
                found[i].append(row)  # type: ignore[union-attr]
    return [rows if rows != [] else Association.undefined(n, "too few differences at every lag") for rows in found]


def _innovations(name: str, values: NDArray) -> tuple[NDArray, str]:
    """Prewhitened differences, and why there are none."""
    d = np.diff(values)
    if np.ptp(values) == 0:
        return d, f"{name} is constant"
    e = prewhitened(d)
    smooth = np.ptp(e) <= 1e-9 * np.ptp(d)
    return e, f"{name} is a smooth curve: nothing is left but its trend" if smooth else ""


def _correlations(a_KN: NDArray, b_N: NDArray, lag: int, n_lags: int) -> list[Association]:
    n = len(b_N)
    n_eff = effective_size(a_KN, b_N)
    a, b = a_KN - a_KN.mean(axis=1, keepdims=True), b_N - b_N.mean()
    with np.errstate(invalid="ignore", divide="ignore"):  # of a series that does not vary: left out by the caller
        r = np.clip(a @ b / np.sqrt(np.sum(a * a, axis=1) * np.sum(b * b)), -1, 1)
        t = np.abs(r) * np.sqrt((n_eff - 2) / np.maximum(1 - r * r, 1e-12))
        z = float(ndtri(1 - (1 - LEVEL) / 2 / n_lags)) / np.sqrt(n_eff - 3)
        p = 2 * stdtr(n_eff - 2, -t)
    centre = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    lo, hi = np.tanh(centre - z), np.tanh(centre + z)
    rows = []
    for k, worth in enumerate(n_eff):
        if worth > 3:
            value, low, high, small = (float(v[k]) for v in (r, lo, hi, p))
            rows.append(Association(lag, value, low, high, small, n, float(worth)))
        else:
            reason = f"rests on about {worth:.0f} independent changes"
            rows.append(Association(lag, float(r[k]), math.nan, math.nan, 1.0, n, float(worth), reason))
    return rows


def _autocorrelation(a: NDArray) -> NDArray:
    a = a - a.mean(axis=-1, keepdims=True)
    n = a.shape[-1]
    power = np.abs(np.fft.rfft(a, 2 * n, axis=-1)) ** 2  # padded: no value meets one from the other end
    full = np.fft.irfft(power, 2 * n, axis=-1)[..., :n]
    with np.errstate(invalid="ignore"):
        return full / full[..., :1]


def _participation(a: NDArray) -> NDArray:
    """(sum a^2)^2 / sum a^4: how many values carry the variance; about n/3 for normal ones, 1 for a single jump."""
    a = a - a.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.sum(a**2, axis=-1) ** 2 / np.sum(a**4, axis=-1)
