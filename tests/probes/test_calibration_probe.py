"""Confidence against correctness: the error of perfect calibration is not 0, and the answer is not the thinking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sftscope.probes.behaviour.calibration import Calibration, calibration_error, calibration_null
from sftscope.probes.domains import Response
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.protocol import Answered, Given, Scored

FACTS = DOMAINS["facts"]


def test_perfect_calibration_is_within_its_null_and_overconfidence_beyond_it():
    """Naive: an error above 0 is taken for miscalibration, which it is in every one of these draws."""
    rng = np.random.default_rng(0)
    above, found, errors = [], [], []
    for draw in range(150):
        c = rng.beta(2, 1, 200)
        items = np.arange(200)
        p95 = np.quantile(calibration_null(c, items, seed=draw), 0.95)
        errors.append(calibration_error(c, (rng.random(200) < c).astype(float), items).value)
        above.append(errors[-1] > p95)
        too_sure = (rng.random(200) < c - 0.15).astype(float)
        found.append(calibration_error(c, too_sure, items).value > p95)
    assert min(errors) > 0.02
    assert np.mean(errors) > 0.05
    assert np.mean(above) <= 0.09
    assert np.mean(found) >= 0.9


def test_answers_that_share_their_luck_do_not_pass_for_miscalibrated():
    rng = np.random.default_rng(1)
    naive, ours = [], []
    for draw in range(150):
        c = rng.beta(2, 1, 200)
        objects = np.repeat(np.arange(20), 10)
        y = (rng.random(20)[objects] < c).astype(float)
        error = calibration_error(c, y, objects).value
        naive.append(error > np.quantile(calibration_null(c, np.arange(200), seed=draw), 0.95))
        ours.append(error > np.quantile(calibration_null(c, objects, seed=draw), 0.95))
    assert np.mean(naive) > 0.3
    assert np.mean(ours) <= 0.09


def test_the_error_by_hand():
    c, y = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 1.0, 1.0, 1.0])
    e = calibration_error(c, y, list("abcd"), bins=2)
    assert e.value == pytest.approx(0.5 * abs(0.15 - 0.5) + 0.5 * abs(0.85 - 1.0))
    assert e.lo <= e.value <= e.hi
    assert not calibration_error(np.empty(0), np.empty(0), []).defined


def responses(n: int = 120):
    """Answers after thinking that is unsure of every word: sure of half the answers, which are right, unsure of the rest."""
    rng = np.random.default_rng(0)
    items = FACTS.items("probe", n)
    written, logprobs, entropies = [], [], []
    for k, item in enumerate(items):
        right = k % 2 == 0
        answer = FACTS.direct(item.reference) if right else "answer soup"
        text = f"<think> {'hmm ' * 6}</think> {answer}"
        words = len(answer.split()) + 1  # the end token
        lp = np.concatenate([-rng.uniform(2, 4, 8), np.full(words, np.log(0.99 if right else 0.6))])
        written.append(Response(text, True, len(lp) - 1, n_think_tokens=6, n_answer_tokens=words - 1))
        logprobs.append(lp.astype(np.float32))
        entropies.append(np.where(np.arange(len(lp)) < 8, 3.0, 0.5).astype(np.float32))
    return items, written, Scored(logprobs, entropies)


def measured(items, written, scored) -> dict[tuple[str, str], object]:
    given = Given(0, answered={"facts": Answered(FACTS, items, written)}, scored={"facts": scored})
    return {(r.metric, r.position): r.estimate for r in Calibration().measure(given).rows}


def test_confidence_is_that_of_the_answer_and_knows_what_is_right():
    items, written, scored = responses()
    found = measured(items, written, scored)
    per_token, whole = found["answer_confidence", "per token"], found["answer_confidence", "whole answer"]
    assert per_token.value == pytest.approx((0.99 + 0.6) / 2, abs=1e-3)
    assert whole.value == pytest.approx((0.99**3 + 0.6**3) / 2, abs=1e-3)
    assert found["confidence_auc", "whole answer"].value == 1
    assert found["answer_overconfidence", "per token"].value == pytest.approx(per_token.value - 0.5, abs=1e-6)
    assert found["brier_score", "per token"].value == pytest.approx((0.01**2 + 0.6**2) / 2, abs=1e-3)
    assert found["thinking_entropy", ""].value == pytest.approx(3.0)
    assert found["answer_entropy", ""].value == pytest.approx(0.5)
    # naive: the whole response's confidence is mostly that of its thinking
    naive = np.array([np.exp(lp.mean()) for lp in scored.logprobs])
    assert naive.max() < 0.3


def test_a_response_that_is_cut_off_has_no_confidence():
    items, written, scored = responses()
    cut = [replace(r, finished=k >= 30) for k, r in enumerate(written)]
    found = measured(items, cut, scored)
    assert found["answer_confidence", "per token"].n == 90
    assert found["confidence_auc", "whole answer"].value == 1  # not: sure, unfinished and so wrong
    nobody = measured(items, [replace(r, finished=False) for r in written], scored)
    assert not nobody["calibration_error", "whole answer"].defined
    assert not nobody["calibration_error_null_p95", "whole answer"].defined
    assert not nobody["confidence_auc", "per token"].defined
