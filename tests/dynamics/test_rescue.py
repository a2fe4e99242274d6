"""How much came back of what was lost, and nothing at all where little was lost."""

import math

import numpy as np
import pytest
from sftscope.dynamics import DataError
from sftscope.dynamics.calibrate.cells import LEVEL, holds, measure
from sftscope.dynamics.calibrate.studies.rescue import cells, outcomes
from sftscope.dynamics.refusal.rescue import rescue_fraction
from sftscope.dynamics.statistics import intervals


def test_intervals_hold_the_fraction_at_48_items():
    """A slice of `python -m sftscope.dynamics.calibrate rescue`, which has 2,000 draws a cell."""
    rates = measure(cells(), 100, seed=1)
    assert max(r.value for r in rates if r.of > 30) <= LEVEL + 4 * math.sqrt(LEVEL * (1 - LEVEL) / 100)
    assert holds(rates)


def test_a_ratio_of_shares_would_rescue_what_was_never_lost():
    naive, ours = [], []
    for seed in range(200):
        x, _ = outcomes(np.random.default_rng(seed), (0.9, 0.9, 0.9))
        base, now, treated = x.mean(axis=1)
        naive.append(base > now and (treated - now) / (base - now) >= 0.5)
        ours.append(rescue_fraction(*x).defined)
    assert np.mean(naive) > 0.2  # "at least half of it came back"
    assert np.mean(ours) <= 0.05


def test_by_hand_and_unclipped():
    base, now = np.ones(40), np.zeros(40)
    half = (np.arange(40) < 20).astype(float)
    e = rescue_fraction(base, now, half)
    assert e.value == 0.5
    assert 0.3 < e.lo < 0.4
    assert 0.6 < e.hi < 0.7
    assert e.n == 40
    worse = rescue_fraction(base, half, np.zeros(40))
    assert worse.value == -1
    more = rescue_fraction((np.arange(40) < 30).astype(float), now, base)
    assert more.value == pytest.approx(4 / 3)
    assert more.lo > 1


def test_no_effect_and_full_effect_are_not_certain():
    base, now = np.ones(48), np.zeros(48)
    none, whole = rescue_fraction(base, now, now), rescue_fraction(base, now, base)
    assert (none.value, whole.value) == (0, 1)
    assert 0.03 < none.hi == -none.lo < 0.06
    assert 0.03 < whole.hi - 1 < 0.07


def test_without_a_loss_there_is_no_fraction():
    rng = np.random.default_rng(0)
    now = (rng.random(48) < 0.9).astype(float)
    base = now.copy()
    assert not rescue_fraction(base, now, np.zeros(48)).defined
    base[now == 0] = 1  # a few items
    lost = intervals.paired_difference(base, now)
    assert rescue_fraction(base, now, base).defined == (lost.lo > 0)
    assert not rescue_fraction(now, base, now).defined  # a gain is no loss
    assert not rescue_fraction([1.0], [0.0], [1.0]).defined


def test_a_loss_that_is_barely_sure_bounds_little():
    base, now = np.ones(48), np.ones(48)
    now[:6] = 0
    sure, barely = np.ones(48), rescue_fraction(base, now, base)
    now_lost = np.zeros(48)
    assert barely.hi - barely.lo > 5 * (rescue_fraction(sure, now_lost, sure).hi - 1)


def test_items_of_one_cluster_count_once_and_gaps_are_left_out():
    x, _ = outcomes(np.random.default_rng(1), (0.97, 0.3, 0.6))
    once = rescue_fraction(*x)
    copies = rescue_fraction(*(np.repeat(c, 3) for c in x), np.repeat(np.arange(48), 3))
    assert (copies.value, copies.lo, copies.hi, copies.n) == pytest.approx((once.value, once.lo, once.hi, 48))
    gap = x[2].copy()
    gap[:8] = np.nan
    assert rescue_fraction(x[0], x[1], gap) == rescue_fraction(*x[:, 8:])
    with pytest.raises(DataError, match="different lengths"):
        rescue_fraction(x[0], x[1], gap[:3])
