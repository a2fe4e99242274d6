"""How long a response will be, read from the state at the prompt's end: ridge regression within strata, by grouped folds.

A stratum is a level of a domain: harder questions have longer answers, and a readout that only tells levels apart has
found difficulty (2506.08390). States and log lengths enter as deviations from the means of their stratum's training rows.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ...dynamics.statistics import intervals
from ...dynamics.types import Estimate
from . import directions as d

FOLDS = 5
ALPHAS = np.logspace(0, 5, 11)
BLOCKS = 8  # of the jackknife
MIN_ROWS = 60
MIN_STRATUM = 8


def telling(log_N: np.ndarray, stratum_N: np.ndarray) -> np.ndarray:
    """Rows of strata that can say something: enough rows to be centred in every fold, and lengths that differ."""
    out = np.zeros(len(log_N), bool)
    for name in np.unique(stratum_N):
        inside = stratum_N == name
        out[inside] = inside.sum() >= MIN_STRATUM and np.ptp(log_N[inside]) > 0
    return out


def deviations(x_ND: np.ndarray, stratum_N: np.ndarray, train_N: np.ndarray) -> np.ndarray:
    """Rows less the mean of their stratum's training rows; NaN where it has none."""
    out = np.full(x_ND.shape, np.nan)
    for name in np.unique(stratum_N[train_N]):
        inside = stratum_N == name
        out[inside] = x_ND[inside] - x_ND[inside & train_N].mean(0)
    return out


def indicators(stratum_N: np.ndarray) -> np.ndarray:
    """A column for each stratum, 1 in its rows."""
    return (stratum_N[:, None] == np.unique(stratum_N)).astype(float)


def ridge() -> Pipeline:
    return make_pipeline(StandardScaler(), RidgeCV(ALPHAS))


def grouped_predictions(
    fit_ND: np.ndarray,
    log_N: np.ndarray,
    stratum_N: np.ndarray,
    group_N: np.ndarray,
    read: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(predicted, actual) deviations of log length, each by a ridge that saw none of the row's group.

    `read`: states, log lengths, strata and groups of the rows to predict, where they are not the ones fitted on. A group
    lies in the same fold on both sides. NaN where a stratum has no training rows.
    """
    to_ND, to_log_N, to_stratum_N, to_group_N = read or (fit_ND, log_N, stratum_N, group_N)
    predicted, actual = np.full(len(to_log_N), np.nan), np.full(len(to_log_N), np.nan)
    names = np.unique(np.concatenate([group_N, to_group_N]))
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % FOLDS, strict=True))
    fold_N, to_fold_N = (np.array([fold_of[g] for g in group]) for group in (group_N, to_group_N))
    for k in range(FOLDS):
        train, to_train = fold_N != k, to_fold_N != k
        x = deviations(fit_ND, stratum_N, train)[train]
        y = deviations(log_N[:, None], stratum_N, train)[train, 0]
        if len(y) < MIN_ROWS / 2 or not np.ptp(y) > 0:
            continue
        test = ~to_train
        to_x = deviations(to_ND, to_stratum_N, to_train)[test]
        to_y = deviations(to_log_N[:, None], to_stratum_N, to_train)[test, 0]
        known = np.isfinite(to_y)
        rows = np.flatnonzero(test)[known]
        if len(rows):
            predicted[rows] = ridge().fit(x, y).predict(to_x[known])
            actual[rows] = to_y[known]
    return predicted, actual


def r_squared(predicted_N: np.ndarray, actual_N: np.ndarray, group_N: np.ndarray) -> Estimate:
    """1 - residual / total sum of squares about the strata's training means; jackknife over groups. Below 0: worse than they."""
    known = np.isfinite(predicted_N)
    total, residual = actual_N[known] ** 2, (actual_N[known] - predicted_N[known]) ** 2
    if known.sum() < MIN_ROWS or not total.sum() > 0:
        return Estimate.undefined(len(np.unique(group_N[known])), "jackknife-t")
    return intervals.ratio(total - residual, total, group_N[known])


def rank_correlation(predicted_N: np.ndarray, actual_N: np.ndarray, group_N: np.ndarray) -> Estimate:
    """Spearman's rho with Fieller's (1957) interval on the number of groups."""
    known = np.isfinite(predicted_N)
    n = len(np.unique(group_N[known]))
    if known.sum() < MIN_ROWS or n < 5 or not np.ptp(actual_N[known]) > 0 or not np.ptp(predicted_N[known]) > 0:
        return Estimate.undefined(n, "fieller")
    rho = float(spearmanr(predicted_N[known], actual_N[known]).statistic)
    z, half = math.atanh(min(max(rho, -0.999999), 0.999999)), d.Z * math.sqrt(1.06 / (n - 3))
    return Estimate(rho, math.tanh(z - half), math.tanh(z + half), n, "fieller")


def ridge_vector(x_ND: np.ndarray, y_N: np.ndarray, penalty: float) -> np.ndarray:
    """Ridge coefficients of centred rows in the states' own units: scaled to unit variance for the penalty, then back.

    NaN without rows.
    """
    if len(x_ND) < 2:
        return np.full(x_ND.shape[1], np.nan)
    scale = x_ND.std(0)
    scale[scale == 0] = 1.0
    x = x_ND / scale
    if x.shape[1] <= len(x):
        w = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y_N)
    else:
        w = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y_N)
    return w / scale


class Readout:
    """One layer's length readout at one checkpoint, on the rows of one kind of response."""

    def __init__(
        self, x_ND: np.ndarray, log_N: np.ndarray, stratum_N: np.ndarray, half_N: np.ndarray, group_N: np.ndarray
    ) -> None:
        every = np.ones(len(log_N), bool)
        self.x_ND = deviations(x_ND.astype(np.float64), stratum_N, every)
        self.y_N = deviations(log_N[:, None], stratum_N, every)[:, 0]
        self.half_N, self.group_N = half_N, group_N
        self.penalty = float(ridge().fit(self.x_ND, self.y_N)[-1].alpha_)

    @property
    def vector(self) -> np.ndarray:
        return ridge_vector(self.x_ND, self.y_N, self.penalty)

    def halves(self, without: frozenset[str] = frozenset()) -> tuple[np.ndarray, np.ndarray]:
        """Readouts of half A and of half B, leaving some groups out."""
        kept = ~np.isin(self.group_N, list(without)) if without else np.ones(len(self.y_N), bool)
        a, b = (kept & (self.half_N == h) for h in "AB")
        return tuple(ridge_vector(self.x_ND[k], self.y_N[k], self.penalty) for k in (a, b))  # type: ignore[return-value]


def corrected_cosine(now: Readout, base: Readout) -> Estimate:
    """`directions.corrected_cosine` of two length readouts, with a delete-a-block jackknife over groups."""
    names = np.unique(np.concatenate([now.group_N, base.group_N]))

    def value(without: frozenset[str] = frozenset()) -> float:
        four = (*now.halves(without), *base.halves(without))
        return float(d.corrected_cosine(*(w[None] for w in four))[0])

    whole = value()
    if math.isnan(whole):
        return Estimate.undefined(len(names), "group-jackknife")
    left_out = np.array([value(frozenset(names[k::BLOCKS])) for k in range(BLOCKS)])
    se = math.sqrt((BLOCKS - 1) / BLOCKS * float(((left_out - left_out.mean()) ** 2).sum()))
    return Estimate(whole, whole - d.Z * se, whole + d.Z * se, len(names), "group-jackknife")
