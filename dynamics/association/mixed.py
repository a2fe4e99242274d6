"""Many runs: a mixed model of what is left of first differences, with the runs as units.

Of every run's x and y, what the runs of its arm share is removed checkpoint by checkpoint, so the shared trend cannot
contribute; first differences of the rest are scaled to variance 1 within each run, so a noisy run has no more say than
another. Model: dy = b dx + b_run dx + e. The coefficient is a mean of within-run correlations.

A Wald p with the errors taken as independent is too bold (with few runs it uses the normal, and differences of noisy series
are correlated over time), and removing the shared part makes runs slightly alike. So the standard error is the larger of the
model's and that between runs, the latter with a degree of freedom less an arm, and p is that of a t with so many.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ..errors import DataError
from ..statistics.intervals import LEVEL
from .one_run import LAGS, MIN_PAIRS, Association
from .seeds import common, deviations, shifted, unit

NULL = "t between runs, mixed model of first differences less what the runs of an arm share"
ALL_ALIKE = 1e-6  # variance of the runs' coefficients, in residual variances
MIN_RUNS = 8  # below, the trial-swap needs no assumption and sees as much


def mixed_association(
    x: Sequence[pd.Series], y: Sequence[pd.Series], arms: Sequence[object] | None = None, lags: Sequence[int] = LAGS
) -> Association:
    """Coefficient of the lag with the smallest p, which is multiplied by the number of lags tried; a series a run.

    n counts pairs of differences, n_eff the runs. Undefined, with the reason, for fewer than 8 runs, or 6 common differences.
    Where the model does not converge, estimate and interval are those between runs, and the reason says so.
    """
    arms = [0] * len(y) if arms is None else list(arms)
    if not len(x) == len(y) == len(arms):
        raise DataError(f"{len(x)} runs of x, {len(y)} of y, {len(arms)} arms: give one of each a run")
    groups = [[i for i, a in enumerate(arms) if a == arm] for arm in dict.fromkeys(arms)]
    groups = [g for g in groups if len(g) > 1]
    n = sum(len(g) for g in groups)
    if n < MIN_RUNS:
        return Association.undefined(0, f"{n} runs that share their arm with another, {MIN_RUNS} are needed", n_seeds=n)
    arrays = [common([[x[i] for i in g]], [y[i] for i in g]) for g in groups]
    shortest = min(ys.shape[-1] for _, ys in arrays)
    lags = [lag for lag in lags if shortest - 1 - abs(lag) >= MIN_PAIRS]
    if not lags:
        return Association.undefined(
            0, f"{shortest} checkpoints common to all runs, {MIN_PAIRS + 1} are needed", n_seeds=n
        )
    tried = []
    for lag in lags:
        differences = [standardised_differences(xs[0], ys, lag) for xs, ys in arrays]
        if any(not np.any(d) for pair in differences for d in pair):
            what = "x" if any(not np.any(dx) for dx, _ in differences) else "y"
            return Association.undefined(0, f"{what} is the same in every run of an arm", n_seeds=n)
        tried.append((lag, differences, float(between_runs(differences)[2])))
    lag, differences, _ = min(tried, key=lambda t: (t[2], abs(t[0])))
    value, se, _ = (float(v) for v in between_runs(differences))
    fitted = _fit(differences)
    reason = "the mixed model does not converge: mean and spread of the runs' own coefficients"
    if fitted is not None:
        value, se, reason = fitted[0], max(se, fitted[1]), ""
    df = n - len(groups) - 1
    p = 2 * float(stdtr(df, -abs(value) / se))
    half = float(stdtrit(df, 1 - (1 - LEVEL) / 2 / len(lags))) * se
    pairs = sum(dx.size for dx, _ in differences)
    p = min(1.0, p * len(lags))
    return Association(
        lag, value, max(-1.0, value - half), min(1.0, value + half), p, pairs, float(n), reason, n_seeds=n
    )


def standardised_differences(x: NDArray, y: NDArray, lag: int) -> tuple[NDArray, NDArray]:
    """First differences of deviations [..., runs, T - 1 - |lag|], centred and of variance 1 within each run (0: none)."""
    a, b = shifted(np.diff(deviations(x)), np.diff(deviations(y)), lag)
    return tuple(unit(d) * math.sqrt(d.shape[-1]) for d in (a, b))  # type: ignore[return-value]


def between_runs(differences: Sequence[tuple[NDArray, NDArray]]) -> tuple[NDArray, NDArray, NDArray]:
    """Mean coefficient, its standard error and p [...] from dx and dy [..., runs, T] of each arm.

    Runs whose shared part was removed are correlated by 1/(R - 1)^2: the squared error is (R - 1)/(R - 2) of that of R
    independent ones. It is never below that of independent differences.
    """
    r = np.concatenate([np.mean(dx * dy, axis=-1) for dx, dy in differences], axis=-1)
    runs, arms = r.shape[-1], len(differences)
    value = r.mean(axis=-1)
    df = runs - arms - 1
    spread = r.std(axis=-1, ddof=1) ** 2 / runs * (runs - arms) / df
    size = sum(dx.shape[-1] * dx.shape[-2] for dx, _ in differences)
    within = (1 - value**2) / size * runs / (runs - arms)
    se = np.sqrt(np.maximum(spread, within))
    return value, se, 2 * stdtr(df, -np.abs(value) / se)


# ---------------------------------------------------------------- parts


def _fit(differences: Sequence[tuple[NDArray, NDArray]]) -> tuple[float, float] | None:
    """Coefficient and standard error of the mixed model (REML, random slope by run); None where it does not converge."""
    from statsmodels.regression.linear_model import OLS
    from statsmodels.regression.mixed_linear_model import MixedLM  # slow to import

    dx, dy = (np.concatenate([pair[k].ravel() for pair in differences]) for k in (0, 1))
    run = np.repeat(np.arange(sum(d.shape[0] for d, _ in differences)), [d.shape[1] for d, _ in differences for _ in d])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a variance of 0 between runs, which is an answer: asked for below
        try:
            model = MixedLM(dy, dx[:, None], groups=run, exog_re=dx[:, None]).fit(reml=True, method=["lbfgs", "powell"])
        except np.linalg.LinAlgError:
            return None
        if float(model.cov_re[0, 0]) < ALL_ALIKE * float(model.scale):
            model = OLS(dy, dx[:, None]).fit()  # no spread between runs: what the mixed model is there
            return float(model.params[0]), float(model.bse[0])
        value, se = float(model.fe_params[0]), float(model.bse_fe[0])
    return (value, se) if model.converged and math.isfinite(se) and se > 0 else None
