"""Runs of one arm: what a run's metrics share beyond their arm is found, with its lag; what all runs share is not."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sftscope.dynamics import DataError
from sftscope.dynamics.association.seeds import deviations, swaps, trial_swap, trial_swap_layers
from sftscope.dynamics.calibrate.studies.trial_swap import (
    layers_reject,
    lead_found,
    seeds_of_an_arm,
    swap_rejects,
    with_a_lead,
)


def by_run(x_RT) -> list[pd.Series]:
    return [pd.Series(row, index=10 * np.arange(len(row))) for row in x_RT]


def test_a_lead_of_two_checkpoints_is_found_at_six_seeds():
    rng = np.random.default_rng(1)
    assert lead_found(200, rng, runs=6, checkpoints=20, ar=0.9, measured=0.0).mean() > 0.9
    x, y = (a[0] for a in with_a_lead(1, 6, 20, rng, ar=0.5, measured=0.0))
    forth, back = trial_swap(by_run(x), by_run(y)), trial_swap(by_run(y), by_run(x))
    assert (forth.lag, back.lag) == (2, -2)  # positive: x leads
    assert forth.p < 0.05
    assert 0 < forth.lo < forth.estimate < forth.hi
    assert (forth.n_seeds, forth.n) == (6, 6 * 18)


@pytest.mark.parametrize("kind", ["shared trend", "shared walk", "saturating curves", "noisy seeds"])
def test_a_shared_trend_is_not_found(kind):
    rng = np.random.default_rng(len(kind))
    assert swap_rejects(400, rng, kind=kind, arms=(6,), checkpoints=20).mean() <= 0.08


def test_correlating_all_points_of_all_runs_finds_the_shared_trend_every_time():
    x, y = seeds_of_an_arm("shared trend", 50, 6, 20, np.random.default_rng(2))
    assert all(pearsonr(a.ravel(), b.ravel()).pvalue < 0.001 for a, b in zip(x, y, strict=True))


def test_what_all_runs_share_contributes_nothing():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 5, 16))
    shared = 100 * np.cumsum(rng.standard_normal((2, 16)), axis=1)
    alone, together = trial_swap(by_run(x), by_run(y)), trial_swap(by_run(x + shared[0]), by_run(y + shared[1]))
    assert together.p == alone.p
    assert together.estimate == pytest.approx(alone.estimate)


def test_one_noisy_run_does_not_enter_the_deviations_of_the_others():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((6, 200))
    x[0] *= 50
    assert np.abs(np.corrcoef(deviations(x))[0, 1:]).max() < 0.2
    assert np.corrcoef(x - x.mean(axis=0))[0, 1:].max() < -0.9  # what subtracting the mean would do


def test_the_smallest_p_is_one_in_all_pairings():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((5, 30))
    found = trial_swap(by_run(x), by_run(x + 0.01 * rng.standard_normal(x.shape)))
    assert found.p == pytest.approx(1 / 120)
    assert found.lag == 0
    assert len(swaps([8])[0]) == 5040
    assert list(swaps([8])[0][0]) == list(range(8))


def test_four_seeds_are_too_few_and_it_says_why():
    rng = np.random.default_rng(6)
    found = trial_swap(by_run(rng.standard_normal((4, 20))), by_run(rng.standard_normal((4, 20))))
    assert math.isnan(found.p)
    assert "1/24" in found.reason
    assert found.n_seeds == 4


def test_runs_are_swapped_within_their_arm_only():
    """Arms with different trends: swapping across them would call any two metrics that differ between arms related."""
    rng = np.random.default_rng(7)
    p = []
    for _ in range(100):
        gap = np.repeat([0, 10], 4)[:, None] * np.sin(np.arange(15))
        x, y = gap + rng.standard_normal((2, 8, 15))
        p.append(trial_swap(by_run(x), by_run(y), ["a"] * 4 + ["b"] * 4).p)
    assert np.mean(np.array(p) <= 0.05) <= 0.1
    across = trial_swap(by_run(x), by_run(y))
    assert across.p < 0.05  # the naive way
    alone = trial_swap(by_run(x), by_run(y), list("abcdefgh"))
    assert "can be swapped in 1 ways" in alone.reason


def test_layers_tried_are_paid_for():
    rng = np.random.default_rng(8)
    assert layers_reject(200, rng, layers=12, runs=5, checkpoints=12).mean() <= 0.1
    y = rng.standard_normal((6, 20))
    layers = {k: by_run(rng.standard_normal((6, 20)) + (3 * y if k == 7 else 0)) for k in range(10)}
    found = trial_swap_layers(layers, by_run(y))
    assert found[7][1] <= 0.05
    assert all(family >= one.p for one, family in found.values())
    assert np.mean([family <= 0.05 for k, (_, family) in found.items() if k != 7]) < 0.2


def test_what_is_undefined_says_why():
    rng = np.random.default_rng(9)
    x, same = rng.standard_normal((5, 20)), np.tile(rng.standard_normal(20), (5, 1))
    assert "x is the same in every run" in trial_swap(by_run(same), by_run(x)).reason
    assert "y is the same in every run" in trial_swap(by_run(x), by_run(same)).reason
    assert "checkpoints common" in trial_swap(by_run(x[:, :5]), by_run(x)).reason
    with pytest.raises(DataError, match="4 runs of x"):
        trial_swap(by_run(x[:4]), by_run(x))


def test_only_checkpoints_that_all_runs_have_are_compared():
    rng = np.random.default_rng(10)
    x, y = by_run(rng.standard_normal((5, 20))), by_run(rng.standard_normal((5, 20)))
    short = [s.iloc[3:] if i == 2 else s for i, s in enumerate(x)]
    assert trial_swap(short, y) == trial_swap([s.iloc[3:] for s in x], y)
