"""Directions: a planted one is found, noise is not; noise does not pass for drift, nor an easy null for a hard one."""

from __future__ import annotations

import numpy as np
import pytest
from sftscope.probes.internals import directions as d


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def planted(rng, n=256, layers=2, width=64, strength=6.0, truth=None, covariance=None):
    """Activations whose classes differ along `truth` in every layer."""
    truth = d.unit(rng.standard_normal((layers, width))) if truth is None else truth
    label = np.arange(n) % 2 == 0
    noise = rng.standard_normal((n, layers, width))
    if covariance is not None:
        noise = noise @ np.linalg.cholesky(covariance).T
    return noise + strength * label[:, None, None] * truth, label, truth


def test_a_planted_direction_is_recovered_and_shuffled_labels_are_chance(rng):
    acts, label, truth = planted(rng, n=2000, strength=6.0)
    assert (d.cosine(d.difference_in_means(acts, label), truth) > 0.99).all()
    fit, held = np.arange(2000) < 1000, np.arange(2000) >= 1000
    direction = d.unit(d.difference_in_means(acts[fit], label[fit]))
    assert d.auc(acts[held, 0] @ direction[0], label[held]).value > 0.99
    covered = 0
    for _ in range(40):
        shuffled = rng.permutation(label)
        chance = d.unit(d.difference_in_means(acts[fit], shuffled[fit]))
        found = d.auc(acts[held, 0] @ chance[0], shuffled[held])
        covered += found.lo < 0.5 < found.hi
    assert covered >= 34  # 95 % of 40, with room for 2.7 sd


HALF = np.where((np.arange(256) // 2) % 2 == 0, "A", "B")


def test_estimation_noise_is_not_drift(rng):
    """Same truth, few prompts: the raw cosine falls far below 1, the corrected one does not."""
    truth = d.unit(rng.standard_normal((1, 1024)))
    raw, corrected = [], []
    for _ in range(60):
        (a, label, _), (b, _, _) = (planted(rng, layers=1, width=1024, strength=6.0, truth=truth) for _ in range(2))
        raw.append(d.cosine(d.difference_in_means(a, label), d.difference_in_means(b, label))[0])
        corrected.append(d.corrected_cosine_estimates(b, a, label, HALF)[0].value)
    assert np.mean(raw) < 0.75
    assert abs(np.nanmean(corrected) - 1) < 0.05


def test_a_true_rotation_is_measured_though_checkpoints_share_their_prompts(rng):
    """True cosine 0.7, the prompts' own content the same at both checkpoints: sharing it must not pass for agreement."""
    first, other = d.unit(rng.standard_normal((2, 1, 1024)))
    other = d.unit(other - (other * first).sum() * first)
    second = 0.7 * first + np.sqrt(1 - 0.49) * other
    label = np.arange(256) % 2 == 0
    ours, naive = [], []
    for _ in range(40):
        content = rng.standard_normal((256, 1, 1024))
        base, later = (
            content + 0.3 * rng.standard_normal(content.shape) + 6 * label[:, None, None] * u for u in (first, second)
        )
        ours.append(d.corrected_cosine_estimates(later, base, label, HALF)[0].value)
        (a_t, b_t), (a_0, b_0) = (d.halves(x, label, HALF, np.ones(256, bool)) for x in (later, base))
        reliability = [2 * c / (1 + c) for c in (d.cosine(a_t, b_t)[0], d.cosine(a_0, b_0)[0])]  # Spearman-Brown
        together = d.cosine(d.difference_in_means(later, label), d.difference_in_means(base, label))[0]
        naive.append(together / np.sqrt(reliability[0] * reliability[1]))
    assert abs(np.mean(ours) - 0.7) < 0.04
    assert np.mean(naive) > 0.9  # the textbook correction, with the noise shared


def test_without_reliability_there_is_no_number(rng):
    acts, label, _ = planted(rng, n=64, strength=0.0, width=512)
    half = np.where((np.arange(64) // 2) % 2 == 0, "A", "B")
    assert not any(e.defined for e in d.corrected_cosine_estimates(acts, acts[::-1].copy(), label, half))


def test_the_jackknife_interval_covers(rng):
    truth = d.unit(rng.standard_normal((1, 64)))
    covered = 0
    for _ in range(120):
        a, label, _ = planted(rng, n=256, layers=1, strength=2.0, truth=truth)
        b, _, _ = planted(rng, n=256, layers=1, strength=2.0, truth=truth)
        half = np.where((np.arange(256) // 2) % 2 == 0, "A", "B")
        e = d.corrected_cosine_estimates(b, a, label, half)[0]
        covered += e.lo <= 1.0 <= e.hi
    assert covered / 120 >= 0.89


def test_isotropic_chance_is_too_easy(rng):
    """In a space with a few strong dimensions random directions share them: the fair null is several times wider."""
    scale = np.diag(1.0 / np.arange(1, 257) ** 2)
    acts, label, _ = planted(rng, n=512, layers=1, width=256, strength=0.0, covariance=scale)
    cov = d.within_class_covariance(acts[:, 0], label, shrinkage=0.01)
    reference = d.random_directions(cov, 1, seed=1)[0]
    fair = np.quantile(np.abs(d.random_directions(cov, 4000, seed=2) @ reference), 0.99)
    easy = np.quantile(np.abs(d.random_directions(np.eye(256), 4000, seed=2) @ reference), 0.99)
    assert fair > 3 * easy


def test_auc_intervals_cover_and_do_not_claim_certainty(rng):
    perfect = d.auc(np.arange(20.0), np.arange(20) >= 10)
    assert perfect.value == 1.0
    assert perfect.lo < 0.9
    assert perfect.hi == 1.0
    from scipy.stats import norm

    truth = norm.cdf(1.0 / np.sqrt(2))
    covered = 0
    for _ in range(300):
        label = np.arange(80) < 40
        e = d.auc(rng.standard_normal(80) + label, label)
        covered += e.lo <= truth <= e.hi
    assert covered / 300 >= 0.92
    assert not d.auc(np.ones(4), np.ones(4, dtype=bool)).defined


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="both classes"):
        d.difference_in_means(np.ones((3, 1, 2)), np.array([True, True, True]))
