"""Bands hold over all checkpoints at once: noise makes no dips, and a dip as deep as promised is seen."""

import math
import time

import numpy as np
import pytest
from sftscope.dynamics import DataError, simultaneous_band
from sftscope.dynamics.statistics.bands import bootstrap_means
from sftscope.dynamics.trajectories.phases import smallest_detectable_dip
from synthetic import item_answers

T = 12
RISING = np.linspace(0.4, 0.6, T)
NULLS = {
    "flat": {"curve": np.full(T, 0.5)},
    "flat, near the ceiling": {"curve": np.full(T, 0.95)},
    "rising": {"curve": RISING},
    "saturating": {"curve": 0.3 + 0.3 * (1 - np.exp(-6 * np.linspace(0, 1, T)))},
    "flat, items correlated over time": {"curve": np.full(T, 0.5), "persistence": 0.5, "ar": 0.9},
}


def band_of(curve, n, seed, **kind):
    return simultaneous_band(
        item_answers(curve, n, np.random.default_rng([seed, n]), **kind), n_resamples=300, seed=seed
    )


@pytest.mark.parametrize("n", [30, 100, 200])
@pytest.mark.parametrize("null", NULLS)
def test_noise_makes_no_dips(null, n):
    draws = 200
    kind = dict(NULLS[null])
    curve = kind.pop("curve")
    dips = sum(np.any(band_of(curve, n, seed, **kind).hi[1:] < 0) for seed in range(draws))
    assert dips / draws <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize("n", [100, 200])
def test_the_band_holds_the_truth_everywhere(n):
    draws = 300
    missed = 0
    for seed in range(draws):
        band = band_of(RISING, n, seed)
        truth = RISING - RISING[0]
        missed += np.any((band.lo > truth)[1:] | (band.hi < truth)[1:])
    assert missed / draws <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


def test_a_checkpoint_by_checkpoint_interval_would_not_hold():
    """The test above can fail: 1.96 standard errors miss far more often."""
    missed = 0
    for seed in range(200):
        band = band_of(np.full(T, 0.5), 200, seed)
        missed += np.any(np.abs(band.diff[1:]) > 1.96 * band.se[1:])
    assert missed / 200 > 0.15


@pytest.mark.parametrize("n", [30, 100, 300])
def test_a_dip_as_deep_as_the_margin_is_seen(n):
    flat = np.full(T, 0.6)
    margin = float(np.mean([smallest_detectable_dip(band_of(flat, n, seed)) for seed in range(20)]))
    dip = flat.copy()
    dip[4] -= margin
    seen = np.mean([np.any(band_of(dip, n, 1000 + seed).hi[1:] < 0) for seed in range(200)])
    assert seen >= 0.85
    shallow = flat.copy()
    shallow[4] -= margin / 4
    assert np.mean([np.any(band_of(shallow, n, seed).hi[1:] < 0) for seed in range(100)]) < 0.5


def test_identical_checkpoints_do_not_make_a_band_of_no_width():
    for n in (40, 300):
        band = simultaneous_band(np.ones((n, 5)))
        assert np.all(band.diff == 0)
        assert 1.9 / n < band.hi[1] < 4 / n
        assert band.lo[0] == band.hi[0] == 0  # the reference itself


def test_samples_of_one_question_count_once():
    x = item_answers(RISING, 120, np.random.default_rng(0))
    once = simultaneous_band(x, clusters=np.arange(120))
    copies = simultaneous_band(np.repeat(x, 5, axis=0), clusters=np.repeat(np.arange(120), 5))
    assert copies.n == 120
    np.testing.assert_allclose(copies.diff, once.diff, atol=1e-6)
    np.testing.assert_allclose(copies.se, once.se, rtol=1e-5)
    assert copies.critical == pytest.approx(once.critical, rel=1e-3)
    assert (
        simultaneous_band(np.repeat(x, 5, axis=0)).se[1] < 0.6 * once.se[1]
    )  # what ignoring the questions would claim


def test_the_unit_of_the_metric_does_not_matter():
    x = item_answers(RISING, 150, np.random.default_rng(1))
    shares, points = simultaneous_band(x), simultaneous_band(100 * x)
    np.testing.assert_allclose(points.lo, 100 * shares.lo, rtol=1e-4, atol=1e-4)


def test_any_checkpoint_can_be_the_reference():
    x = item_answers(RISING, 150, np.random.default_rng(2))
    band = simultaneous_band(x, reference_column=T - 1)
    assert band.diff[0] == pytest.approx(x[:, 0].mean() - x[:, -1].mean())
    assert band.se[T - 1] == 0
    assert list(band.others) == list(range(T - 1))


def test_items_with_a_gap_are_left_out_everywhere():
    x = item_answers(RISING, 150, np.random.default_rng(3))
    gap = x.copy()
    gap[:50, 3] = np.nan
    np.testing.assert_allclose(simultaneous_band(gap).lo, simultaneous_band(x[50:]).lo)


def test_too_little_gives_nan_and_nonsense_an_error():
    for matrix in (np.ones((1, 4)), np.ones((5, 1)), np.full((5, 4), np.nan)):
        band = simultaneous_band(matrix)
        assert math.isnan(band.critical)
        assert np.isnan(band.hi).all()
    with pytest.raises(DataError, match="shape"):
        simultaneous_band(np.ones(5))
    with pytest.raises(DataError, match="column 7"):
        simultaneous_band(np.ones((5, 3)), reference_column=7)


def test_resampled_means_spread_like_the_standard_error():
    x = item_answers(np.full(3, 0.5), 400, np.random.default_rng(4))
    means = bootstrap_means(x, n_resamples=4000)
    assert means.std(axis=0) == pytest.approx(np.full(3, 0.025), rel=0.08)


def test_a_long_run_is_fast():
    x = item_answers(np.full(640, 0.5), 500, np.random.default_rng(5))
    start = time.perf_counter()
    simultaneous_band(x)
    assert time.perf_counter() - start < 3
