"""What a readout is worth: the end of the ROC curve that matters, capacity, words alone, and the best of many layers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sftscope.probes.internals import directions as d
from sftscope.probes.internals import separability as s
from sftscope.probes.internals.nulls import matched_directions, null


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_tpr_at_1_percent_fpr_differs_where_auc_does_not(rng):
    """Two readouts of equal AUC: one misses every tenth positive altogether, the other blurs both classes."""
    n = 4000
    label = np.arange(n) < n // 2
    missing = np.where(label & (rng.random(n) > 0.1), 8.0, 0.0) + rng.standard_normal(n)
    d_prime = np.sqrt(2) * norm.ppf(d.auc(missing, label).value)
    blurred = rng.standard_normal(n) + d_prime * label
    assert abs(d.auc(missing, label).value - d.auc(blurred, label).value) < 0.01
    sharp, dull = (s.tpr_at_fpr(x, label) for x in (missing, blurred))
    assert sharp.value == pytest.approx(0.9, abs=0.02)
    assert dull.value == pytest.approx(norm.cdf(d_prime - norm.ppf(0.99)), abs=0.06)
    assert dull.hi < sharp.lo - 0.1


def test_the_interval_of_tpr_covers_though_one_negative_sets_the_threshold(rng):
    label = np.arange(200) < 100
    for d_prime in (2.0, 3.5):  # 70 to 85 % by the percentile interval
        truth = norm.cdf(d_prime - norm.ppf(0.99))
        found = [s.tpr_at_fpr(rng.standard_normal(200) + d_prime * label, label, seed=k) for k in range(100)]
        assert np.mean([e.lo <= truth <= e.hi for e in found]) >= 0.87
        assert np.mean([e.hi - e.lo for e in found]) < 0.6  # and still says something
    perfect = s.tpr_at_fpr(np.arange(40.0), np.arange(40) >= 20)
    assert (perfect.value, perfect.hi) == (1.0, 1.0)
    assert perfect.lo < 0.9  # 20 positives are no certainty


def test_ties_with_the_threshold_are_no_hits():
    label = np.arange(8) < 4
    assert s.tpr_at_fpr(np.zeros(8), label).value == 0.0
    assert s.tpr_at_fpr(np.array([1, 1, 1, 0, 0, 0, 0, 0.0]), label).value == 0.75


def test_a_probe_that_learns_by_heart_is_told_from_one_that_reads(rng):
    """Rows of a group are near copies: folds that split groups make random labels readable, grouped folds do not."""
    group = np.repeat([f"g{k}" for k in range(60)], 4)
    centres = 3 * rng.standard_normal((60, 48))
    acts = np.repeat(centres, 4, axis=0) + 0.3 * rng.standard_normal((240, 48))
    by_chance = np.repeat(rng.random(60) < 0.5, 4)
    assert d.auc(s.grouped_scores(acts, by_chance, group), by_chance, group).lo < 0.5
    assert s.control_auc(acts, group) > 0.85  # the naive row folds "read" labels that mean nothing
    true = np.repeat(np.arange(60) % 2 == 0, 4)
    independent = rng.standard_normal((240, 8)) + true[:, None]  # nothing of the group in it: nothing to learn by heart
    real = d.auc(s.grouped_scores(independent, true, group), true, group).value
    assert real - s.control_auc(independent, group) > 0.25


def test_a_frozen_probe_is_fitted_on_other_prompts_of_the_base(rng):
    """Prompts have contents of their own, the same at base and later: a probe fitted on all of them would know them."""
    n = 160
    label, group = np.arange(n) % 2 == 0, np.array([f"g{k}" for k in range(n)])
    honest = []
    for _ in range(5):
        base = rng.standard_normal((n, 200))
        later = base + 0.1 * rng.standard_normal((n, 200))
        naive = s.readout().fit(base, label).decision_function(later)
        assert d.auc(naive, label).value > 0.95
        honest.append(d.auc(s.grouped_scores(base, label, group, later), label).value)
    assert 0.4 < np.mean(honest) < 0.6


def test_words_alone_expose_a_lexical_confound(rng):
    """Classes that differ by one word are read off by a bag of words as well as by any state; matched ones are not."""
    n = 120
    label, group = np.arange(n) % 2 == 0, tuple(f"g{k}" for k in range(n))
    fillers = [" ".join(rng.choice(list("abcdefgh"), 5)) for _ in range(n)]
    confounded = tuple(f"{f} {'please' if y else 'now'}" for f, y in zip(fillers, label, strict=True))
    acts = rng.standard_normal((n, 16)) + 3 * label[:, None]
    state = d.auc(s.grouped_scores(acts, label, np.array(group)), label, np.array(group))
    assert s.words_auc(confounded, tuple(label.tolist()), group).value > 0.99
    matched = s.words_auc(tuple(fillers), tuple(label.tolist()), group)
    assert matched.lo < 0.5 < matched.hi
    assert state.lo > matched.hi  # only now does the state say more than the words
    longer = tuple(f + " a" * int(y) for f, y in zip(fillers, label, strict=True))
    assert s.length_auc(longer, tuple(label.tolist()), group).value > 0.99


def noise_run(rng, layers=12, n=160, width=24):
    """Activations without any concept, in layers that share little; half the rows to fit on."""
    scale = 1.0 / np.arange(1, width + 1)
    acts = (rng.standard_normal((n, layers, width)) * scale).astype(np.float32)
    label, fit = np.arange(n) % 2 == 0, np.arange(n) < n // 2
    return acts, label, fit


def test_the_best_of_many_layers_finds_directions_in_noise_and_ours_does_not(rng):
    naive = ours = 0
    runs = 60
    for k in range(runs):
        acts, label, fit = noise_run(rng)
        unit = d.unit(d.difference_in_means(acts[fit], label[fit]))
        held = np.einsum("nld,ld->nl", acts[~fit].astype(float), unit)
        best = max(d.auc(held[:, layer], label[~fit]).value for layer in range(acts.shape[1]))
        chance = null({"p": acts}, label, fit, {"p": unit}, draws=200, seed=k)
        naive += best > np.quantile(chance.auc["p"][:, 0], 0.95)  # judged as if there had been one layer
        ours += best > np.quantile(chance.auc["p"].max(1), 0.95)
    assert naive / runs > 0.2
    assert ours / runs <= 0.12  # 5 %, with room for 2.5 sd of 60 runs


def test_chance_at_the_best_site_takes_positions_along(rng):
    acts, label, fit = noise_run(rng)
    unit = d.unit(rng.standard_normal(acts.shape[1:]))
    one = null({"a": acts}, label, fit, {"a": unit}, draws=400)
    more = null({"a": acts, "b": noise_run(rng)[0]}, label, fit, {"a": unit, "b": unit}, draws=400)
    assert more.best_quantile(more.cosine) > one.best_quantile(one.cosine) > one.quantile(one.cosine, "a").max() - 0.02


def test_matched_directions_have_the_within_class_covariance(rng):
    label = np.arange(400) % 2 == 0
    acts = rng.standard_normal((400, 6)) * np.array([5, 3, 1, 1, 1, 0.2]) + 20 * label[:, None]
    weights = rng.standard_normal((20_000, 400)).astype(np.float32)
    drawn = matched_directions(acts, label, weights, rng)
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-4)
    factored = d.random_directions(d.within_class_covariance(acts, label), 20_000, seed=1)
    assert np.allclose((drawn**2).mean(0), (factored**2).mean(0), atol=0.01)  # the class gap is not in it
