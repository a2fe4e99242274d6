"""A break is one that smooth curves, walks and persistent noise do not make; the usual search finds them everywhere."""

import math

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import DataError
from sftscope.dynamics.calibrate.studies.change_point import KINDS, break_is_claimed, unbroken
from sftscope.dynamics.trajectories.change_point import ChangePoint, change_point, gains, recurrence

DRAWS = 60


def searched(y) -> bool:
    """The usual search, one step of it: a change of mean accepted where the l2 cost falls by more than the BIC penalty."""
    n, noise = len(y), np.median(np.abs(np.diff(y))) / (0.6745 * math.sqrt(2))
    cost = [np.sum((y[:t] - y[:t].mean()) ** 2) + np.sum((y[t:] - y[t:].mean()) ** 2) for t in range(2, n - 1)]
    return np.sum((y - y.mean()) ** 2) - min(cost) > 2 * noise**2 * math.log(n)


def test_the_usual_search_finds_breaks_where_there_are_none():
    rng = np.random.default_rng(0)
    for kind in ("saturating, little noise", "smooth bump", "random walk"):
        assert np.mean([searched(unbroken(rng, kind, 40)) for _ in range(DRAWS)]) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_no_break_is_claimed_where_there_is_none(kind):
    found = break_is_claimed(DRAWS, np.random.default_rng(1), kind=kind, checkpoints=16)
    assert found.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)


def test_a_jump_is_found_where_it_is():
    assert break_is_claimed(40, np.random.default_rng(2), kind="white noise", checkpoints=24, jump=10.0).mean() > 0.6
    steps = np.arange(0, 300, 10)
    noise = 0.02 * np.random.default_rng(3).standard_normal(30)
    found = change_point(pd.Series(0.3 + 0.001 * steps + 0.8 * (steps >= 150) + noise, index=steps))
    assert found.verdict == "break"
    assert found.between == (140, 150)
    assert found.kind == "jump"
    assert max(found.worlds.values()) == found.p <= 0.05


def test_left_out_errors_are_those_of_leaving_out():
    """The smooth curve's leave-one-out shortcut against fits that never saw the checkpoint."""
    from sftscope.dynamics.trajectories.change_point import SMOOTHNESS, _predictors

    T, y = 12, np.random.default_rng(4).standard_normal(12)
    plain, _, _ = _predictors(T)
    errors = (y @ plain).reshape(len(SMOOTHNESS), T)
    second = np.diff(np.eye(T), 2, axis=0)
    for s, row in zip(SMOOTHNESS, errors, strict=True):
        for t in (0, 5, 11):
            seen = np.diag((np.arange(T) != t).astype(float))
            curve = np.linalg.solve(seen + s * second.T @ second, seen @ y)
            assert row[t] == pytest.approx(y[t] - curve[t], rel=1e-5)


def test_scale_and_trend_change_nothing():
    y = np.random.default_rng(5).standard_normal((3, 20))
    same = 40 * y + 5 + 3 * np.arange(20)
    assert gains(y)[0] == pytest.approx(gains(same)[0])
    assert change_point(pd.Series(y[0])).p == change_point(pd.Series(2 * y[0])).p


def test_what_a_walk_does_as_well_cannot_be_told():
    rng = np.random.default_rng(6)
    said = [change_point(pd.Series(unbroken(rng, "random walk", 30)), surrogates=99) for _ in range(40)]
    assert {s.verdict for s in said} <= {"no break", "cannot be told", "break"}
    for s in said:
        if s.verdict == "cannot be told":
            assert "does as well" in s.reason
            assert max(s.worlds["random walk"], s.worlds["AR(0.9)"]) > 0.05


def test_what_is_undefined_says_why_and_long_series_are_binned():
    assert "10 are needed" in change_point(pd.Series(np.arange(9.0))).reason
    assert "vary" in change_point(pd.Series(np.ones(20))).reason
    y = np.random.default_rng(7).standard_normal(240) + 20 * (np.arange(240) >= 120)
    found = change_point(pd.Series(y, index=5 * np.arange(240)), surrogates=99)
    assert found.verdict == "break"
    assert found.between[0] < 600 <= found.between[1]
    assert found.n == 240


def test_only_a_break_that_recurs_is_shown():
    def run(place):
        between = None if place is None else (10.0 * (place - 1), 10.0 * place)
        return ChangePoint("no break" if place is None else "break", 0.01, between, "jump", 1.0, 20, {})

    steps = 10 * np.arange(20)
    again = recurrence([run(8), run(9), run(8), run(None)], steps)
    assert again.shown
    assert (again.found, again.together, again.runs) == (3, 3, 4)
    assert again.between == (70, 80)
    assert not recurrence([run(8)], steps).shown
    assert not recurrence([run(3), run(9), run(15)], steps).shown
    assert not recurrence([run(8), run(8), *[run(None)] * 20], steps).shown  # two false ones of 22 are what luck makes
    assert recurrence([], steps).p == 1
    with pytest.raises(DataError, match="none of the 20 checkpoints"):
        recurrence([run(25)], steps)
