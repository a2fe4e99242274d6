"""What going back gains is read within prompts; over all responses hard prompts make a gain look like a loss."""

import math

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import DataError
from sftscope.dynamics.calibrate.cells import LEVEL, holds, measure
from sftscope.dynamics.calibrate.studies.payoff import cells, stuck_responses
from sftscope.dynamics.procedure.payoff import matched_difference, matched_payoff


def test_intervals_hold_the_payoff():
    """A slice of `python -m sftscope.dynamics.calibrate payoff`, which has 2,000 draws a cell."""
    chosen = [c for c in cells() if not c.power]
    rates = measure(chosen, 150, seed=1)
    assert max(r.value for r in rates) <= LEVEL + 4 * math.sqrt(LEVEL * (1 - LEVEL) / 150)
    assert holds(rates)


def test_over_all_responses_a_gain_reads_as_a_loss():
    ours, naive = [], []
    for seed in range(60):
        correct, back, item, _ = stuck_responses(np.random.default_rng(seed), n=100, samples=8, payoff=0.1)
        ours.append(matched_difference(correct, back, item))
        naive.append(correct[back == 1].mean() - correct[back == 0].mean())
    assert np.mean([e.value for e in ours]) == pytest.approx(0.1, abs=0.02)
    assert np.mean([e.hi < 0 for e in ours]) <= 0.02
    assert max(naive) < 0
    assert np.mean(naive) < -0.08


def test_a_payoff_is_seen():
    cell = next(c for c in cells() if c.power and c.name.startswith("200"))
    assert measure([cell], 100)[0].value > 0.9


def table(rows):
    return pd.DataFrame(rows, columns=["item", "sample", "went_back", "correct", "dead_end"])


HAND = table(
    [
        ("a", 0, True, True, True),
        ("a", 1, True, False, True),
        ("a", 2, False, False, True),
        ("a", 3, False, True, False),  # met no dead end
        ("b", 0, True, True, True),
        ("b", 1, False, False, True),
        ("c", 0, True, True, True),  # always went back: nothing to compare with
        ("c", 1, True, True, True),
    ]
)


def test_by_hand():
    e = matched_payoff(HAND)
    weight_a, weight_b = 2 / 3, 1 / 2
    assert e.value == pytest.approx((weight_a * 0.5 + weight_b * 1.0) / (weight_a + weight_b))
    assert e.n == 2
    assert (e.lo, e.hi) == (-1, 1)  # two prompts bound nothing


def test_columns_may_be_bools_or_numbers_with_gaps():
    numbers = HAND.assign(went_back=HAND["went_back"].astype(float), correct=HAND["correct"].astype("boolean"))
    assert matched_payoff(numbers) == matched_payoff(HAND)
    more = pd.concat([HAND, table([("b", 2, None, True, True), ("b", 3, True, None, True)])], ignore_index=True)
    assert matched_payoff(more) == matched_payoff(HAND)
    assert matched_payoff(HAND.sample(frac=1, random_state=0)) == matched_payoff(HAND)


def test_prompts_of_one_cluster_count_once():
    correct, back, item, _ = stuck_responses(np.random.default_rng(0), n=60)
    rows = pd.DataFrame({"item": item, "went_back": back, "correct": correct, "dead_end": 1})
    once = matched_payoff(rows.assign(cluster=rows["item"]))
    assert once == matched_payoff(rows)
    copies = pd.concat([rows.assign(cluster=item, item=100 * k + item) for k in range(3)], ignore_index=True)
    tripled = matched_payoff(copies)
    assert (tripled.n, tripled.value) == (once.n, pytest.approx(once.value))
    assert (tripled.lo, tripled.hi) == pytest.approx((once.lo, once.hi))
    assert matched_payoff(copies.drop(columns="cluster")).lo > once.lo


def test_prompts_that_agree_are_not_certain():
    rows = [(i, s, s % 2 == 0, True, True) for i in range(30) for s in range(4)]
    e = matched_payoff(table(rows))
    assert e.value == 0
    assert e.hi == -e.lo > 0.02


def test_nothing_to_compare_is_undefined_and_nonsense_refused():
    assert matched_payoff(HAND[HAND["item"] == "c"]).n == 0
    assert not matched_payoff(HAND.iloc[:0]).defined
    with pytest.raises(DataError, match="no column dead_end"):
        matched_payoff(HAND.drop(columns="dead_end"))
    with pytest.raises(DataError, match="`correct` says yes or no"):
        matched_payoff(HAND.assign(correct=0.5))
    with pytest.raises(DataError, match="`went_back` says yes or no"):
        matched_payoff(HAND.assign(went_back="often"))
