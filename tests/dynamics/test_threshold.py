"""A crossing is dated no finer than the checkpoints and the items allow, and noise does not make a metric the first mover."""

import math

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import ConfigError, DataError, Trajectory
from sftscope.dynamics.calibrate.studies.thresholds import curve, first_is_called, interval_misses
from sftscope.dynamics.trajectories.threshold import before, crossing, crossing_of_series, who_was_first
from synthetic import item_answers

STEPS = np.array([0, 10, 20, 40, 80, 160, 320])
RISE = np.array([0.3, 0.3, 0.35, 0.4, 0.7, 0.8, 0.8])  # half of the change lies between 40 and 80


def trajectory(matrix, steps=STEPS, clusters=None) -> Trajectory:
    return Trajectory("strict", "d", "general", steps, matrix, tuple(map(str, range(len(matrix)))), clusters)


def drawn(curve, n=300, seed=0):
    return trajectory(item_answers(curve, n, np.random.default_rng(seed)))


def test_a_crossing_between_two_checkpoints_is_dated_by_both():
    found = crossing(drawn(RISE))
    assert found.between == (40, 80)
    assert found.step == 80
    assert found.interval[0] <= 40
    assert found.interval[1] >= 80
    assert found.threshold == pytest.approx(0.55, abs=0.05)
    assert str(found).startswith("step 40-80 [")


def test_a_falling_metric_crosses_too_and_questions_are_the_units():
    x = item_answers(1 - RISE, 60, np.random.default_rng(1))
    alone = crossing(trajectory(x))
    copies = crossing(trajectory(np.repeat(x, 6, axis=0), clusters=np.repeat([f"c{i}" for i in range(60)], 6)))
    assert not alone.rising
    assert alone.between == (40, 80)
    assert copies.n == alone.n == 60
    assert copies.interval == alone.interval


def test_more_items_date_it_more_finely():
    steps = np.arange(40) * 10
    line = np.linspace(0.2, 0.8, 40)
    few, many = (
        crossing(trajectory(item_answers(line, n, np.random.default_rng(2)), steps)).interval for n in (40, 2000)
    )
    assert many[1] - many[0] < (few[1] - few[0]) / 2


def test_an_absolute_level_may_not_be_reached_within_the_run():
    never = crossing(drawn(RISE, 1000), level=0.95)
    assert never.between == (320, None)
    assert never.step is None
    assert never.interval[1] is None
    assert "not within the run" in str(never)
    reached = crossing(drawn(RISE, 1000), level=0.6)
    assert reached.between == (40, 80)
    # the level is the population's last value: half of all draws end above it, and nothing shows that it was crossed
    assert crossing(drawn(RISE, 1000), level=0.8).interval[1] is None


def test_what_cannot_be_dated_says_why():
    assert "final change" in crossing(drawn(np.full(7, 0.5))).reason
    assert "base" in crossing(drawn(RISE), level=0.3).reason
    assert "3 are needed" in crossing(trajectory(np.ones((9, 2)), np.array([0, 1]))).reason
    assert "item" in crossing(trajectory(np.ones((1, 7)))).reason
    assert "undefined" in str(crossing(trajectory(np.ones((1, 7)))))
    with pytest.raises(ConfigError, match="fraction"):
        crossing(drawn(RISE), fraction=1.5)


def test_a_series_without_items_is_dated_by_the_grid_alone():
    found = crossing_of_series(pd.Series(RISE, index=STEPS))
    assert found.between == (40, 80)
    assert found.interval is None
    assert crossing_of_series(pd.Series(RISE, index=STEPS), level=2.0).between == (320, None)
    assert not crossing_of_series(pd.Series(np.ones(7), index=STEPS)).defined


def test_the_interval_holds_the_truth():
    for shape in ("saturating", "logistic"):
        missed = interval_misses(150, np.random.default_rng(3), shape=shape, n=100, checkpoints=24, gain=0.4)
        assert np.isfinite(missed).sum() > 100
        assert np.nanmean(missed) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)


def test_the_first_mover_is_named_over_seeds():
    rng = np.random.default_rng(4)
    hits = first_is_called(60, rng, shape="logistic", runs=6, checkpoints=24, noise=0.05, lead=2)
    assert np.mean(hits) > 0.8
    result = who_was_first([RISE] * 7, [np.r_[RISE[:1], RISE[:-1]]] * 7)
    assert (result.first, result.second, result.lead.value) == (7, 0, 1)
    assert result.p == pytest.approx(2 / 2**7)
    assert result.share.lo > 0.5


def test_noise_does_not_make_a_first_mover_and_the_first_crossing_would():
    rng = np.random.default_rng(5)
    called = first_is_called(150, rng, shape="line", runs=8, checkpoints=60, noise=0.1)
    assert np.nanmean(called) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)
    u, naive = np.linspace(0, 1, 60), []
    for _ in range(60):  # x is noisy, y is not; both move together
        dates = [
            [int(np.argmax(curve("line", u, rng) + s * rng.standard_normal(60) >= 0.5)) for s in (0.1, 0.0)]
            for _ in range(8)
        ]
        naive.append(all(x < y for x, y in dates))  # unanimous: p = 2 / 2**8
    assert np.mean(naive) > 0.2


def test_few_or_undatable_runs_are_no_evidence():
    few = who_was_first([RISE] * 5, [RISE[::-1]] * 5)
    assert "6 are needed" in few.reason
    assert math.isnan(few.p)
    noise = np.random.default_rng(6).standard_normal((8, 30))
    assert who_was_first(noise, noise[::-1]).undated == 8
    same = who_was_first([RISE] * 8, [RISE] * 8)
    assert same.tied == 8
    assert same.p == 1
    assert math.isnan(before(np.ones(9)))
    with pytest.raises(DataError, match="one of each"):
        who_was_first([RISE], [])
    with pytest.raises(DataError, match="checkpoints"):
        who_was_first([RISE], [RISE[1:]])
