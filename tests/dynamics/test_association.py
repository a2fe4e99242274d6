"""What moved together is found; what only shares a clock, or the same generations, is not."""

import math

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import Run, associate, association_table
from sftscope.dynamics.association.one_run import (
    LAGS,
    MIN_DIFFERENCES,
    associate_each,
    effective_size,
    lagged,
    prewhitened,
)
from sftscope.dynamics.record import half_of
from sftscope.dynamics.trajectories.trajectory import from_run
from synthetic import make_run


def series(values) -> pd.Series:
    return pd.Series(np.asarray(values, float), index=np.arange(len(values)))


def walk(t, rng):
    return series(np.cumsum(rng.standard_normal(t)))


def autoregressive(t, rng):
    x = rng.standard_normal(t)
    for i in range(1, t):
        x[i] += 0.9 * x[i - 1]
    return series(x)


def saturating(t, rng, noise=0.02):
    return series(1 - np.exp(-rng.uniform(2, 10) * np.linspace(0, 1, t)) + noise * rng.standard_normal(t))


def dipping(t, rng):
    u = np.linspace(0, 1, t)
    return series(-5 * u * np.exp(-rng.uniform(3, 9) * u) + 0.05 * rng.standard_normal(t))


@pytest.mark.parametrize("checkpoints", [12, 24, 40])
@pytest.mark.parametrize("maker", [walk, autoregressive, saturating, dipping])
def test_independent_series_are_rarely_associated(maker, checkpoints):
    rng = np.random.default_rng([checkpoints, len(maker.__name__)])
    draws = 250
    found = np.mean([associate(maker(checkpoints, rng), maker(checkpoints, rng)).p < 0.05 for _ in range(draws)])
    assert found <= 0.08


def test_plain_correlation_of_changes_would_fail_that():
    """The nulls above have teeth: saturating curves correlate in levels and in differences."""
    from scipy.stats import pearsonr

    rng = np.random.default_rng(0)
    pairs = [(saturating(12, rng), saturating(12, rng)) for _ in range(100)]
    assert np.mean([pearsonr(x, y).pvalue < 0.05 for x, y in pairs]) > 0.9
    assert np.mean([pearsonr(np.diff(x), np.diff(y)).pvalue < 0.05 for x, y in pairs]) > 0.9


@pytest.mark.parametrize("lag", LAGS)
def test_a_planted_lag_is_found_with_its_sign(lag):
    rng = np.random.default_rng(5 + lag)
    hits = []
    for _ in range(60):
        cause = rng.standard_normal(36)
        x = series(np.cumsum(cause[4:-4]))
        y = series(np.cumsum(np.roll(cause, lag)[4:-4] * -1.5 + 0.5 * rng.standard_normal(28)))
        found = associate(x, y)
        hits.append(found.lag == lag and found.p < 0.05 and found.hi < 0)
    assert np.mean(hits) > 0.9  # positive lag: x leads


def test_the_best_lag_pays_for_the_lags_tried():
    rng = np.random.default_rng(6)
    x, y = walk(30, rng), walk(30, rng)
    rows = lagged(x, y)
    best = associate(x, y)
    assert best.p == pytest.approx(min(1, 5 * min(r.p for r in rows)))
    assert best.n == len(x) - 1 - 2 - abs(best.lag)  # 29 differences, 2 of them spent on prewhitening


def test_persistent_series_are_worth_fewer_values():
    rng = np.random.default_rng(7)
    white, slow = rng.standard_normal(200), np.convolve(rng.standard_normal(220), np.ones(20), "valid")[:200]
    assert effective_size(white, white[::-1].copy()) > 60
    assert effective_size(slow, slow[::-1].copy()) < 40
    jump = np.zeros(200)
    jump[50] = 1  # one event is one event, however many checkpoints surround it
    assert effective_size(jump, white) < 3


def test_one_event_in_each_series_proves_nothing():
    x, y = np.zeros(20), np.zeros(20)
    x[8:], y[9:] = 1, 1
    found = associate(series(x + 1e-6 * np.arange(20) ** 1.5), series(y + 1e-6 * np.arange(20) ** 1.3))
    assert found.p == 1 or found.p > 0.5


def test_an_exponential_leaves_no_innovations():
    d = np.diff(1 - np.exp(-np.linspace(0, 3, 20)))
    assert np.abs(prewhitened(d)).max() < 1e-12
    smooth = series(1 - np.exp(-np.linspace(0, 3, 20)))
    assert "smooth" in associate(smooth, walk(20, np.random.default_rng(0))).reason


def test_what_is_undefined_says_why():
    rng = np.random.default_rng(8)
    assert "constant" in associate(series(np.ones(12)), walk(12, rng)).reason
    few = associate(walk(MIN_DIFFERENCES, rng), walk(MIN_DIFFERENCES, rng))
    assert "differences" in few.reason
    assert math.isnan(few.p)
    assert few.lag is None
    gaps = walk(20, rng)
    gaps.iloc[3:18] = np.nan
    assert math.isnan(associate(gaps, walk(20, rng)).p)


def test_only_common_steps_are_compared():
    rng = np.random.default_rng(9)
    x, y = walk(30, rng), walk(30, rng)
    whole = associate(x.iloc[5:25], y.iloc[5:25])
    assert associate(x.iloc[5:], y.iloc[:25]) == whole


@pytest.fixture(scope="module")
def table_and_run(finished_run):
    run = Run(finished_run)
    trajectories = {d: from_run(run, d) for d in run.domains()}
    return association_table(run, trajectories), run, trajectories


def test_the_table_relates_internals_and_behaviour_to_every_score(table_and_run):
    table, run, _ = table_and_run
    assert set(table["y_domain"]) == set(run.domains())
    assert set(table["x_kind"]) == {"internal", "behaviour"}
    assert set(table.loc[table["x_kind"] == "internal", "x_layer"]) == {2}  # the middle one, fixed in advance
    assert table["exploratory"].all()
    defined = table[table["p"].notna()]
    assert (defined["q"] >= defined["p"] - 1e-12).all()
    assert table.loc[table["p"].isna(), "reason"].str.len().gt(0).all()
    own_refusal = (table["x"] == "strict") & (table["y_domain"] == "harmful")
    assert not own_refusal.any()


def test_same_generations_are_split_into_halves(table_and_run):
    table, run, trajectories = table_and_run
    table = table[table["level"] == "one run"]
    same = table["x_domain"] == table["y_domain"]
    assert (table.loc[same, "split"] == "A/B").all()
    assert (table.loc[~same, "split"] == "none").all()
    row = table[(table["x"] == "tokens") & (table["x_domain"] == "path") & (table["y_domain"] == "path")].iloc[0]
    tokens, strict = run.items("path", "tokens"), run.items("path")
    x = tokens[[half_of(i) == "A" for i in tokens.index]].mean()
    y = strict[[half_of(i) == "B" for i in strict.index]].mean()
    expected = associate(x, y)
    assert row["estimate"] == pytest.approx(expected.estimate, rel=1e-4)
    whole = associate(tokens.mean(), trajectories["path"].series())
    assert row["estimate"] != pytest.approx(whole.estimate, rel=1e-4)


def test_one_response_a_question_cannot_be_related_by_prompt(table_and_run):
    """Its length and its score go together by themselves."""
    table, _, _ = table_and_run
    by_prompt = table[table["level"] == "items"]
    assert len(by_prompt)
    assert by_prompt["p"].isna().all()
    assert by_prompt["reason"].str.contains("several samples a question").all()


def test_another_layer_can_be_asked_for(table_and_run):
    _, run, trajectories = table_and_run
    table = association_table(run, {"path": trajectories["path"]}, layer=0)
    assert set(table.loc[table["x_kind"] == "internal", "x_layer"]) == {0}


def test_absent_metrics_are_skipped(tmp_path):
    run = Run(make_run(tmp_path / "r", n=20, steps=(0, 1, 2), layers=0))
    table = association_table(run, {"path": from_run(run, "path")})
    assert set(table["x_kind"]) == {"behaviour"}
    assert table["p"].isna().all()  # two differences
    assert association_table(run, {}).empty


def test_many_series_at_once_are_what_they_are_one_by_one():
    rng = np.random.default_rng(10)
    makers = (walk, autoregressive, saturating, dipping)
    xs = [makers[k % 4](30, rng) for k in range(12)] + [
        series(np.ones(30)),
        walk(30, rng).iloc[4:],
        walk(9, rng).iloc[:5],
    ]
    xs[3].iloc[[5, 20]] = np.nan
    y = walk(30, rng)
    for one, each in zip([associate(x, y) for x in xs], associate_each(xs, y), strict=True):
        assert (each.lag, each.n, each.reason) == (one.lag, one.n, one.reason)
        numbers = [(e.estimate, e.lo, e.hi, e.p, e.n_eff) for e in (one, each)]
        np.testing.assert_allclose(*numbers, rtol=1e-9, equal_nan=True)


def test_effective_size_is_bartletts_formula():
    """Against the sum written out, which the transform replaces."""
    a, b = np.cumsum(np.random.default_rng(11).standard_normal((2, 40)), axis=1)
    r = [
        [np.sum((s - s.mean())[k:] * (s - s.mean())[: len(s) - k]) / np.sum((s - s.mean()) ** 2) for k in range(21)]
        for s in (a, b)
    ]
    total = sum((1 - k / 40) * max(r[0][k] * r[1][k], 0) for k in range(1, 21))
    participation = [2 * np.sum((s - s.mean()) ** 2) ** 2 / np.sum((s - s.mean()) ** 4) for s in (a, b)]
    assert effective_size(a, b) == pytest.approx(min(40, 40 / (1 + 2 * total), *participation))
