"""What going back pays, read from traces; and how far a score moves when the same checkpoint is asked twice."""

from __future__ import annotations

import numpy as np
import pytest
from sftscope.probes.behaviour.payoff import SAMPLES, Payoff, asked, noise_floor, response_table
from sftscope.probes.domains import Response
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.protocol import Answered, Given

COUNTDOWN = DOMAINS["countdown"]


def said(text: str) -> Response:
    return Response(text, True, len(text.split()))


def gives_up(problem: dict) -> str:
    """The search up to its first failure, and a wrong answer."""
    first = COUNTDOWN.trace(problem).split(" no")[0]
    steps = [s.strip() for s in first.replace(":", "left").split("left") if "=" in s]
    return f"<think> {first} no </think> answer {' , '.join(steps)}"


def hard_and_easy(payoff: bool) -> Answered:
    """Questions with dead ends, gone back from in half the samples, and questions solved at once in every sample."""
    pool = COUNTDOWN.items("probe", 150)
    hard = [i for i in pool if " no" in COUNTDOWN.trace(i.reference)][:30]
    easy = [i for i in pool if " no" not in COUNTDOWN.trace(i.reference)][:20]
    items, responses = [], []
    for k, item in enumerate(hard):
        goes_back = COUNTDOWN.worked(item.reference)
        wrong = goes_back.rpartition("answer")[0] + "answer 1 + 1 = 2"
        for s in range(SAMPLES):
            items.append(item)
            if s % 2:
                responses.append(said(gives_up(item.reference)))
            else:
                responses.append(said(goes_back if payoff and k % 2 else wrong))
    for item in easy:
        items += [item] * SAMPLES
        responses += [said(COUNTDOWN.worked(item.reference))] * SAMPLES
    return Answered(COUNTDOWN, items, responses)


def rows(answered: Answered) -> dict[tuple[str, str], object]:
    result = Payoff().measure(Given(0, answered={asked("countdown").name: answered}))
    return {(r.metric, r.domain): r for r in result.rows}


def test_going_back_pays_at_dead_ends_where_over_all_responses_it_seems_to_cost():
    answered = hard_and_easy(payoff=True)
    found = rows(answered)["backtracking_payoff", "countdown"].estimate
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert found.lo > 0.2
    assert found.n == 30
    table = response_table(answered)
    naive = table.groupby("went_back")["correct"].mean()
    assert naive[1.0] < naive[0.0]  # easy questions are solved without


def test_where_it_pays_nothing_nothing_is_found():
    found = rows(hard_and_easy(payoff=False))["backtracking_payoff", "countdown"].estimate
    assert found.value == 0
    assert found.lo < 0 < found.hi


def test_without_both_kinds_there_is_a_reason_and_no_number():
    items = [i for i in COUNTDOWN.items("probe", 10) for _ in range(SAMPLES)]
    direct = Answered(COUNTDOWN, items, [said(COUNTDOWN.direct(i.reference)) for i in items])
    row = rows(direct)["backtracking_payoff", "countdown"]
    assert not row.estimate.defined
    assert "no question has responses with and without" in row.reason


def test_the_noise_floor_is_the_spread_of_scores_that_differ_in_their_samples_alone():
    rng = np.random.default_rng(0)
    chance = rng.beta(0.6, 0.6, 60)
    scores = (rng.random((2000, 60)) < chance).mean(1)  # one sample an item, again and again
    floors, inside = [], []
    for _ in range(300):
        sd, twice = noise_floor((rng.random((60, 4)) < chance[:, None]).astype(float), [str(i) for i in range(60)])
        floors.append(sd.value)
        inside.append(twice.lo <= 0 <= twice.hi)
    assert np.mean(floors) == pytest.approx(scores.std(), rel=0.05)
    assert np.mean(inside) >= 0.93  # the same checkpoint twice: no difference, in 95 of 100
    # naive: a binomial error, in which questions that are unlike each other pass for noise
    assert np.sqrt(chance.mean() * (1 - chance.mean()) / 60) > 1.25 * scores.std()
