"""Accuracy against the share of a model's own thinking that it is left: procedure moves it, filler does not."""

from __future__ import annotations

import numpy as np
import pytest
from scripted import COUNTDOWN, Scripted, filler, searcher
from sftscope.probes.causal.budget import FRACTIONS, Budget, cut, slopes
from sftscope.probes.domains import Response
from sftscope.probes.protocol import Answered, Ask, Given


def measured(model: Scripted, answered: Answered):
    given = Given(0, answered={Ask("countdown", temperature=0.0).name: answered}, handle=model)
    return {(r.metric, r.position): r for r in Budget().measure(given).rows}


def naive(answered: Answered) -> float:
    """Correlation of being right with the length of the thinking, over responses."""
    right = [COUNTDOWN.grade(i, r).strict for i, r in zip(answered.items, answered.responses, strict=True)]
    return float(np.corrcoef(right, [len(r.think.split()) for r in answered.responses])[0, 1])


def test_a_search_is_moved_by_its_budget_and_filler_is_not():
    search, wait = searcher(), filler()
    of_search, of_filler = (measured(m, m.answered())["budget_slope", ""].estimate for m in (search, wait))
    assert of_search.lo > 0.5
    assert of_filler.value == 0
    assert of_filler.lo < 0 < of_filler.hi
    curve = measured(wait, wait.answered())
    assert len({curve["budget_accuracy", f"fraction={f:g}"].estimate.value for f in FRACTIONS}) == 1


def test_over_responses_long_thinking_looks_harmful_where_hard_questions_take_longer():
    """The same thinking cut says what carries the answer; lengths of different questions say what is hard."""
    honest = searcher()
    items = COUNTDOWN.items("probe", 64)
    rng = np.random.default_rng(0)
    length = np.array([len(COUNTDOWN.trace(i.reference).split()) for i in items])
    fails = dict(zip((i.id for i in items), rng.random(64) < length / length.max(), strict=True))

    def answer(item, thinking, barred):
        return "answer 1 + 1 = 2" if fails[item.id] else honest.answer(item, thinking, barred)

    model = Scripted(honest.think, answer)
    answered = Answered(COUNTDOWN, items, model.ask("countdown", items))
    assert naive(answered) < -0.2
    assert measured(model, answered)["budget_slope", ""].estimate.lo > 0.2


def test_with_the_whole_thinking_the_answers_are_the_model_s_own():
    model = searcher()
    answered = model.answered(n=20)
    measured(model, answered)
    forced = len(FRACTIONS) - 1
    assert (
        len(model.calls) == 1 + forced + 1
    )  # its own; every fraction but the last, which only cut-off thinking would need
    again = model.ask("countdown", answered.items, begins=[f"<think> {r.think} </think>" for r in answered.responses])
    assert [r.answer for r in again] == [r.answer for r in answered.responses]


def test_a_model_that_does_not_think_has_no_budget():
    items = COUNTDOWN.items("probe", 12)
    direct = [Response(COUNTDOWN.direct(i.reference), True, 12) for i in items]
    row = measured(searcher(), Answered(COUNTDOWN, items, direct))["budget_slope", ""]
    assert not row.estimate.defined
    assert row.reason == "no response thinks"


@pytest.mark.parametrize(
    ("fraction", "kept"),
    [(0, ""), (0.25, "one"), (0.5, "one  two\n"), (0.74, "one  two\n"), (1, "one  two\nthree four")],
)
def test_thinking_is_cut_between_words(fraction, kept):
    assert cut("one  two\nthree four", fraction) == kept.rstrip("\n")


def test_the_slope_is_that_of_a_line_through_each_question():
    correct = np.array([[0, 0, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0.25, 0.5, 0.75, 1]])
    expected = [np.polyfit(FRACTIONS, row, 1)[0] for row in correct]
    np.testing.assert_allclose(slopes(correct, FRACTIONS), expected, atol=1e-12)
