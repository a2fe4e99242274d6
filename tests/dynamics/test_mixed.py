"""Many runs: the mixed model's coefficient, with an error that knows how few the runs are."""

import math

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import DataError
from sftscope.dynamics.association.mixed import (
    MIN_RUNS,
    between_runs,
    mixed_association,
    standardised_differences,
)
from sftscope.dynamics.calibrate.studies.mixed_model import mixed_rejects, one_lag_rejects
from sftscope.dynamics.calibrate.studies.trial_swap import seeds_of_an_arm, with_a_lead


def by_run(x_RT) -> list[pd.Series]:
    return [pd.Series(row, index=10 * np.arange(len(row))) for row in x_RT]


def test_a_planted_lead_is_found_at_its_lag():
    x, y = (a[0] for a in with_a_lead(1, 10, 24, np.random.default_rng(1), ar=0.9, measured=0.0))
    forth, back = mixed_association(by_run(x), by_run(y)), mixed_association(by_run(y), by_run(x))
    assert (forth.lag, back.lag) == (2, -2)
    assert forth.p < 0.001
    assert forth.lo < math.sqrt(0.5) < forth.hi  # half of the variance of y is x's
    assert (forth.n_seeds, forth.n, forth.n_eff) == (10, 10 * 21, 10)


@pytest.mark.parametrize("kind", ["shared trend", "random walk", "saturating curves", "noisy seeds"])
def test_what_runs_share_is_not_found(kind):
    rng = np.random.default_rng(len(kind))
    assert mixed_rejects(500, rng, kind=kind, arms=(10,), checkpoints=16).mean() <= 0.06
    assert one_lag_rejects(1000, rng, kind=kind, runs=8, checkpoints=16).mean() <= 0.07


def test_wald_p_of_the_model_would_fail_that():
    """Differences of noisy curves with independent errors assumed: 0.5^2 of their neighbours' products are shared."""
    rng = np.random.default_rng(2)
    x, y = seeds_of_an_arm("shared trend", 1000, 8, 16, rng)
    dx, dy = standardised_differences(x, y, 0)
    r = np.mean(dx * dy, axis=(-2, -1))
    wald = np.abs(r) / np.sqrt((1 - r * r) / (dx.shape[-1] * dx.shape[-2])) > 1.96
    assert wald.mean() > 0.07
    assert np.mean(between_runs([(dx, dy)])[2] < 0.05) < wald.mean() / 1.5


def test_the_study_computes_what_the_model_does():
    """Arms of one length: coefficient and error of `between_runs` are the mixed model's, or more careful."""
    rng = np.random.default_rng(3)
    for k in range(5):
        x, y = (a[0] for a in with_a_lead(1, 9, 14, rng, ar=0.5, measured=0.5 * k))
        found = mixed_association(by_run(x), by_run(y), lags=[2])
        if found.reason:  # not converged: then it is the closed form itself
            continue
        value, _, p = between_runs([standardised_differences(x, y, 2)])
        assert found.estimate == pytest.approx(value, abs=1e-3)
        assert p <= found.p + 1e-12 or found.p == pytest.approx(p, rel=0.05)
        assert found.p <= max(2 * p, 1e-6)


def test_runs_of_several_arms_are_compared_with_their_own():
    rng = np.random.default_rng(4)
    arms = np.repeat([0, 1], 5)
    gap = 20 * arms[:, None] * np.sin(np.arange(16))
    x, y = gap + rng.standard_normal((2, 10, 16))
    within, pooled = mixed_association(by_run(x), by_run(y), list(arms)), mixed_association(by_run(x), by_run(y))
    assert within.p > 0.05
    assert pooled.p < 0.05  # the naive way
    short = [s.iloc[:12] if a else s for s, a in zip(by_run(x), arms, strict=True)]
    assert mixed_association(short, by_run(y), list(arms)).n < within.n


def test_what_is_undefined_says_why():
    rng = np.random.default_rng(5)
    x, y = (by_run(rng.standard_normal((MIN_RUNS, 12))) for _ in "xy")
    assert "7 runs" in mixed_association(x[1:], y[1:]).reason
    assert "8 are needed" in mixed_association(x, y, list("abcdefgh")).reason
    same = by_run(np.tile(rng.standard_normal(12), (MIN_RUNS, 1)))
    assert "y is the same" in mixed_association(x, same).reason
    assert "checkpoints common" in mixed_association([s.iloc[:5] for s in x], y).reason
    with pytest.raises(DataError, match="one of each a run"):
        mixed_association(x[1:], y)


def test_a_model_that_does_not_converge_is_replaced_and_said(monkeypatch):
    x, y = (a[0] for a in with_a_lead(1, 9, 14, np.random.default_rng(6), ar=0.5, measured=0.0))
    monkeypatch.setattr("sftscope.dynamics.association.mixed._fit", lambda differences: None)
    found = mixed_association(by_run(x), by_run(y), lags=[2])
    value, se, p = between_runs([standardised_differences(x, y, 2)])
    assert "does not converge" in found.reason
    assert (found.estimate, found.p) == (pytest.approx(value), pytest.approx(p))
    assert found.hi - found.lo > 4 * se  # t of few runs, not the normal's 1.96 twice
