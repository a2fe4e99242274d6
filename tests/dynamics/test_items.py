"""Prompts whose x changed most have the y that changed most: found where planted, and not where prompts share a trend."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sftscope.dynamics import DataError
from sftscope.dynamics.association.items import correlation, halves_of_samples, item_association, moments
from sftscope.dynamics.calibrate.studies.item_association import items_reject, prompts


def table(x_NT) -> pd.DataFrame:
    return pd.DataFrame(x_NT, index=[f"i{k:03d}" for k in range(len(x_NT))], columns=8 * np.arange(x_NT.shape[1]))


@pytest.mark.parametrize("kind", ["shared trend", "saturating curves", "heavy tails", "answers"])
def test_unrelated_changes_are_rarely_related(kind):
    rng = np.random.default_rng(len(kind))
    assert items_reject(1000, rng, kind=kind, n=40, checkpoints=12).mean() <= 0.07


def test_correlating_all_points_would_fail_that():
    """Prompts x checkpoints as if all were independent, trends and all."""
    rng = np.random.default_rng(0)
    x, y = prompts("shared trend", (50, 40, 12), rng)
    assert np.mean([pearsonr(a.ravel(), b.ravel()).pvalue < 0.05 for a, b in zip(x, y, strict=True)]) > 0.9
    x, y = prompts("random walk", (200, 40, 12), rng)
    change = [(a - a[:, :1], b - b[:, :1]) for a, b in zip(x, y, strict=True)]
    naive = [pearsonr((a - a.mean(axis=0)).ravel(), (b - b.mean(axis=0)).ravel()).pvalue < 0.05 for a, b in change]
    assert np.mean(naive) > 0.2  # checkpoints of one prompt are no independent units


def test_covariates_at_the_base_would_fail_that():
    """Why the values at the base are not regressed out: a noisy x at the base and its change tell how hard a prompt is."""
    rng = np.random.default_rng(1)
    x, y = prompts("answers", (200, 200, 10), rng)
    base = np.concatenate([np.ones_like(x[..., :1]), x[..., :1], y[..., :1]], axis=-1)
    adjusted = [v - base @ (np.linalg.pinv(base) @ v) for v in (x, y)]
    adjusted = [np.concatenate([np.zeros_like(v[..., :1]), v[..., 1:]], axis=-1) for v in adjusted]
    assert np.mean(correlation(moments(*adjusted))[3] < 0.05) > 0.3
    assert np.mean(correlation(moments(x, y))[3] < 0.05) < 0.1


def test_a_planted_relation_is_found_and_covered():
    rng = np.random.default_rng(2)
    x, y = prompts("shared trend", (300, 100, 12), rng, strength=0.4)
    value, lo, hi, p = correlation(moments(x, y))
    assert np.mean(p < 0.05) > 0.9
    assert np.mean(value) == pytest.approx(0.4, abs=0.02)
    assert 0.92 < np.mean((lo < 0.4) & (hi > 0.4)) < 0.99
    found = item_association([table(x[0])], [table(y[0])])
    assert (found.n_items, found.n, found.n_seeds, found.lag) == (100, 1100, 1, 0)
    assert found.estimate == pytest.approx(value[0])


def test_samples_of_one_question_are_one_unit():
    rng = np.random.default_rng(3)
    x, y = (np.repeat(v[0], 5, axis=0) for v in prompts("AR(0.9)", (1, 30, 8), rng))
    clusters = {f"i{k:03d}": k // 5 for k in range(150)}
    as_one = item_association([table(x)], [table(y)], clusters)
    alone = item_association([table(x[::5])], [table(y[::5])])
    assert as_one.n_eff == 30
    assert as_one.p == pytest.approx(alone.p)
    assert item_association([table(x)], [table(y)]).p < as_one.p


def test_metrics_of_the_same_response_are_kept_apart():
    """Length and score of one response go together by themselves: between the halves of the samples they do not."""
    rng = np.random.default_rng(4)
    chance = rng.random((60, 4, 10))  # response by response, nothing of the prompt's own
    long, right = (chance > 0.7).astype(float), (chance < 0.5).astype(float)
    index = [f"q{q:02d}-{s}" for q in range(60) for s in range(4)]
    x, y = (pd.DataFrame(v.reshape(240, 10), index=index) for v in (long, right))
    clusters = {i: i[:3] for i in index}
    assert item_association([x], [y], clusters).p < 1e-6
    a, b = halves_of_samples(x, y, clusters)
    assert a.shape == b.shape == (60, 10)
    assert item_association([a], [b]).p > 0.01
    who = pd.DataFrame({0: [2.0 ** (k % 4) for k in range(240)]}, index=index)  # means of two tell which two
    mine, other = halves_of_samples(who, who, clusters)
    assert (mine + other == 7.5).all().all()  # each sample is in one half
    single = pd.DataFrame({0: [1.0]}, index=["q"])
    assert all(t.empty for t in halves_of_samples(single, single, {"q": "q"}))


def test_several_runs_are_pooled_and_many_are_units_themselves():
    rng = np.random.default_rng(5)
    runs = [[table(v[0]) for v in prompts("AR(0.9)", (1, 50, 6), rng, strength=0.5)] for _ in range(6)]
    x, y = ([r[k] for r in runs] for k in (0, 1))
    few, many = item_association(x[:3], y[:3]), item_association(x, y)
    assert "these 3 runs" in few.reason
    assert (many.n_seeds, many.reason) == (6, "")
    assert few.p < 0.05
    flipped = [
        table(-t.to_numpy()) if k % 2 else t for k, t in enumerate(x)
    ]  # the relation turns round from run to run
    assert item_association(flipped, y).p > 0.2


def test_what_is_undefined_says_why():
    rng = np.random.default_rng(6)
    x, y = (table(rng.standard_normal((30, 5))) for _ in "xy")
    assert "20 are needed" in item_association([x.iloc[:19]], [y]).reason
    still = table(np.repeat(rng.standard_normal((30, 1)), 5, axis=1))
    found = item_association([x], [still])
    assert math.isnan(found.p)
    assert "y changed in no prompt" in found.reason
    assert "x changed in no prompt" in item_association([still], [y]).reason
    assert item_association([x[[0]]], [y]).n_items == 0
    with pytest.raises(DataError, match="2 runs of x for 1 of y"):
        item_association([x, x], [y])
