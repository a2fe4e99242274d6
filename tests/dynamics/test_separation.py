"""The area under the ROC curve with prompts that share an object. Without clusters: tests/probes/test_directions.py."""

import numpy as np
import pytest
from scipy.special import ndtr
from sftscope.dynamics.separation import auc


def clustered(rng, groups=30, each=4, shared=0.8, gap=1.0, mixed=False):
    """Scores of prompts that share most of what they are with the others of their object."""
    group = np.repeat(np.arange(groups), each)
    label = np.arange(len(group)) % 2 == 0 if mixed else group % 2 == 0
    own = np.sqrt(shared) * rng.standard_normal(groups)[group] + np.sqrt(1 - shared) * rng.standard_normal(len(group))
    return own + gap * label, label, group


@pytest.mark.parametrize("mixed", [False, True])
def test_objects_and_not_prompts_decide_the_width(mixed):
    rng, truth = np.random.default_rng(0), ndtr(1 / np.sqrt(2))
    if mixed:  # both classes from one object differ by less of chance
        truth = ndtr(1 / np.sqrt(2))
    ours, naive = [], []
    for _ in range(300):
        scores, label, group = clustered(rng, mixed=mixed)
        for found, e in ((ours, auc(scores, label, group)), (naive, auc(scores, label))):
            found.append(e.lo <= truth <= e.hi)
    assert np.mean(ours) > 0.92
    assert mixed or np.mean(naive) < 0.8


def test_prompts_that_share_nothing_count_each():
    scores, label, _ = clustered(np.random.default_rng(1), shared=0.0)
    alone = auc(scores, label, np.arange(len(scores)))
    assert alone.value == auc(scores, label).value
    assert alone.n == len(scores)
    assert alone.lo == pytest.approx(auc(scores, label).lo, abs=0.01)


def test_copies_add_nothing():
    scores, label, _ = clustered(np.random.default_rng(2), shared=0.0)
    once = auc(scores, label, np.arange(len(scores)))
    copies = auc(np.repeat(scores, 6), np.repeat(label, 6), np.repeat(np.arange(len(scores)), 6))
    assert copies.n == once.n
    assert (copies.lo, copies.hi) == pytest.approx((once.lo, once.hi), abs=0.003)


def test_perfect_separation_of_few_objects_is_not_certain():
    label = np.repeat([True, False], 40)
    scores, group = label + 0.0, np.repeat(np.arange(8), 10)
    assert auc(scores, label).lo > 0.95
    perfect = auc(scores, label, group)
    assert (perfect.value, perfect.hi, perfect.n) == (1, 1, 8)
    assert perfect.lo < 0.8


def test_one_class_is_undefined():
    assert not auc(np.ones(4), np.ones(4, bool), np.arange(4)).defined
    assert not auc(np.array([1.0, np.nan]), np.array([True, False])).defined
