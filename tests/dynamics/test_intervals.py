"""Intervals hold as often as they say, shrink to nothing for nobody, and count questions rather than samples."""

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from sftscope.dynamics import DataError
from sftscope.dynamics.statistics import intervals


def coverage(draws, truth):
    return np.mean([e.lo <= truth <= e.hi for e in draws])


def at_least(rate: float, draws: int) -> float:
    """A rate of `rate` or more stays above this in all but 1 in 1000 simulations."""
    return rate - 3.1 * math.sqrt(rate * (1 - rate) / draws)


def test_wilson_matches_published_values():
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for k, n, lo, hi in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        e = intervals.proportion(k, n)
        assert (round(e.lo, 4), round(e.hi, 4)) == (lo, hi)


def test_shares_are_covered_at_small_n():
    rng = np.random.default_rng(0)
    for p in (0.05, 0.3, 0.5, 0.9):
        draws = [intervals.mean(rng.random(30) < p) for _ in range(2000)]
        assert coverage(draws, p) > at_least(0.93, 2000)


def test_clusters_and_not_samples_decide_the_width():
    rng = np.random.default_rng(1)
    questions = np.repeat(np.arange(100), 4)

    def draw():  # four samples that nearly always agree with each other
        return np.repeat(rng.normal(size=100), 4) + 0.1 * rng.normal(size=400)

    clustered = [intervals.mean(draw(), questions) for _ in range(600)]
    naive = [intervals.mean(draw()) for _ in range(600)]
    assert clustered[0].n == 100
    assert coverage(clustered, 0) > at_least(0.94, 600)
    assert coverage(naive, 0) < 0.8  # what ignoring the clusters would do


def test_copying_every_sample_changes_nothing():
    rng = np.random.default_rng(2)
    a, b, ids = rng.random(40), rng.random(40), np.arange(40)
    once = intervals.paired_difference(a, b, ids)
    twice = intervals.paired_difference(np.repeat(a, 2), np.repeat(b, 2), np.repeat(ids, 2))
    assert twice.n == once.n == 40
    assert (twice.value, twice.lo, twice.hi) == pytest.approx((once.value, once.lo, once.hi))
    r1, r2 = intervals.ratio(a, b, ids), intervals.ratio(np.repeat(a, 2), np.repeat(b, 2), np.repeat(ids, 2))
    assert (r1.value, r1.lo, r1.hi, r1.n) == pytest.approx((r2.value, r2.lo, r2.hi, r2.n))


def test_paired_differences_are_covered_and_gain_from_pairing():
    rng = np.random.default_rng(3)
    draws = []
    for _ in range(1500):
        difficulty = rng.normal(size=100)
        a, b = (difficulty + 0.3 * rng.normal(size=100) < c for c in (0.5, 0.2))
        draws.append(intervals.paired_difference(a, b))
    from scipy.stats import norm

    truth = norm.cdf(0.5 / math.sqrt(1.09)) - norm.cdf(0.2 / math.sqrt(1.09))
    assert coverage(draws, truth) > at_least(0.94, 1500)
    assert np.mean([e.hi - e.lo for e in draws]) < 0.75 * 2 * 1.96 * math.sqrt(2 * 0.24 / 100)


def test_answers_that_never_changed_do_not_make_certainty():
    same = np.ones(50)
    e = intervals.paired_difference(same, same)
    assert e.value == 0
    assert e.hi == pytest.approx(2.01 / 50, rel=0.01)  # t(49) times one discordant unit


def test_all_right_is_not_certain_either():
    assert 0.9 < intervals.mean(np.ones(50)).lo < 0.95
    assert intervals.mean(np.ones(200), np.repeat(np.arange(50), 4)).lo == pytest.approx(intervals.mean(np.ones(50)).lo)
    assert math.isnan(intervals.mean(np.full(50, 7.0)).lo)  # no spread to judge by, and no share


def test_a_share_over_few_clusters_stays_between_0_and_1():
    e = intervals.mean([1, 1, 1, 1, 1, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3])
    assert (e.value, e.n) == (0.875, 4)
    assert 0 <= e.lo < 0.7
    assert 0.95 < e.hi < 1


@pytest.mark.parametrize(("p", "together"), [(0.02, 0.7), (0.02, 0.97), (0.98, 0.97), (0.5, 0.7)])
def test_shares_of_few_successes_are_covered_whatever_questions_share(p, together):
    """A symmetric t misses 10 to 13 % of the time near 0 and 1: who happens to see few successes sees little spread."""
    rng = np.random.default_rng(7)
    questions, ours, naive = np.repeat(np.arange(100), 4), [], []
    for _ in range(800):
        latent = math.sqrt(together) * np.repeat(rng.normal(size=100), 4)
        x = ndtr(latent + math.sqrt(1 - together) * rng.normal(size=400)) < p
        ours.append(intervals.mean(x, questions))
        t = x.reshape(100, 4).mean(axis=1)
        half = 1.984 * t.std(ddof=1) / 10 or 1
        naive.append(abs(t.mean() - p) <= half)
    assert coverage(ours, p) > at_least(0.94, 800)
    assert (np.mean(naive) < 0.91) == (p != 0.5)


def test_ratios_of_counts_near_0_are_covered():
    """Accuracy of the responses that could be read: a t-interval of the jackknife misses 8 % at 100 questions."""
    rng = np.random.default_rng(8)
    questions, ours = np.repeat(np.arange(100), 4), []
    for _ in range(800):
        read = rng.random(400) < 0.8
        right = read & (ndtr(np.repeat(rng.normal(size=100), 4) * 2 + rng.normal(size=400)) < 0.005)
        ours.append(intervals.ratio(right, read, questions))
    truth = ndtr(ndtri(0.005) / math.sqrt(5))
    assert coverage(ours, truth) > at_least(0.94, 800)
    assert {e.method for e in ours} == {"cluster-wilson"}


def test_one_sample_right_bounds_no_tighter_than_none():
    questions = np.repeat(np.arange(100), 8)
    none, one = np.zeros(800), np.zeros(800)
    one[5] = 1
    assert intervals.mean(none, questions).hi == pytest.approx(intervals.mean(np.zeros(100)).hi)
    assert intervals.mean(one, questions).hi > 0.5 * intervals.mean(none, questions).hi


def test_ratio_is_covered_with_uneven_clusters():
    rng = np.random.default_rng(4)
    draws = []
    for _ in range(1000):
        den = rng.poisson(5, 150) + 1
        draws.append(intervals.ratio(rng.binomial(den, 0.3), den))
    assert coverage(draws, 0.3) > at_least(0.935, 1000)


def test_ratio_is_undefined_without_a_denominator():
    e = intervals.ratio([0, 0], [0, 0])
    assert math.isnan(e.value)
    assert math.isnan(e.lo)
    one = intervals.ratio([3, 0, 0], [4, 0, 0])  # all of it in one response: a value, and nothing to judge it by
    assert (one.value, one.n) == (0.75, 1)
    assert math.isnan(one.lo)


def test_rates_stay_where_rates_can_be():
    few = intervals.ratio([0, 0, 5], [10, 10, 10])
    assert 0 <= few.lo < 0.02
    assert 0.6 < few.hi <= 1
    assert intervals.ratio([0, 3, 9], [1, 1, 2]).hi > 1  # a count per response is no share
    assert intervals.ratio([-1, 1, 0.5], [1, 1, 1]).lo < 0


def test_ratio_that_is_one_in_every_cluster():
    e = intervals.ratio([3, 1, 2, 5], [3, 1, 2, 5])
    assert e.value == 1
    assert e.lo < 0.6  # four clusters say little, however equal


def test_median_is_covered_for_a_skewed_distribution():
    rng = np.random.default_rng(5)
    for n in (6, 25, 101):
        draws = [intervals.median(rng.exponential(size=n)) for _ in range(1500)]
        assert coverage(draws, math.log(2)) > at_least(0.95, 1500)
    assert math.isnan(intervals.median(np.arange(5)).lo)  # no 95 % interval exists
    assert intervals.median(np.arange(1, 7)).lo == 1
    cut = intervals.median([3, 4, 5, 6, 7, 8, np.inf, np.inf, np.inf])  # three responses ran into the cap
    assert (cut.value, cut.hi, cut.n) == (7, np.inf, 9)


@pytest.mark.parametrize("function", [intervals.mean, intervals.median])
def test_nothing_gives_undefined_and_one_gives_no_bounds(function):
    assert not function([]).defined
    assert not function([math.nan]).defined
    one = function([3.0])
    assert one.value == 3
    assert math.isnan(one.lo)
    assert math.isnan(one.hi)


def test_nan_is_left_out_and_not_counted():
    e = intervals.mean([1, 0, math.nan, 1])
    assert (e.n, e.value) == (3, pytest.approx(2 / 3))
    d = intervals.paired_difference([1, math.nan, 0, 1], [0, 1, math.nan, 1])
    assert (d.n, d.value) == (2, 0.5)


def test_impossible_input_is_refused():
    with pytest.raises(DataError, match="5 successes among 3"):
        intervals.proportion(5, 3)
    with pytest.raises(DataError, match="2 cluster ids"):
        intervals.mean([1, 2, 3], [1, 2])
