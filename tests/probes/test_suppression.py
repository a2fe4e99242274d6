"""What going back buys beyond what any ban costs: the control has to be a fair one, and most words are not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scripted import COUNTDOWN, Scripted, filler, searcher
from sftscope.probes.causal.suppression import Suppression, Written, controls
from sftscope.probes.domains import Response
from sftscope.probes.protocol import Answered, Ask, Given

HARD = (2, 3)


def measured(model: Scripted, answered: Answered):
    name = Ask("countdown", temperature=0.0).name
    given = Given(0, answered={name: answered}, handle=model)
    return {r.metric: r for r in Suppression().measure(given).rows}


def accuracy(model: Scripted, answered: Answered, banned: list[str]) -> float:
    responses = model.ask("countdown", answered.items, banned=banned)
    return float(np.mean([COUNTDOWN.grade(i, r).strict for i, r in zip(answered.items, responses, strict=True)]))


def test_going_back_buys_what_a_search_lives_by_although_other_bans_cost_as_much():
    model = searcher()
    answered = model.answered(levels=HARD)
    found = measured(model, answered)
    assert found["suppression_loss"].estimate.value > 0.9
    assert found["suppression_loss_beyond_control"].estimate.lo > 0.5
    assert found["suppression_backtracks_left"].estimate.value < 0.05
    assert found["suppression_backtracks_left_control"].estimate.value > 0.8
    assert found["suppression_loss"].reason == "banned: back no"
    assert not {"left", ":", "=", "yes"} & {word for banned in model.calls for word in banned}
    # naive: any word that is as frequent. Without it the search falls apart, or the answer cannot be said: nothing is left
    for word in ("left", "="):
        naive = accuracy(model, answered, [word]) - accuracy(model, answered, ["no", "back"])
        assert naive < 0.1


@pytest.mark.parametrize("brittle", [True, False])
def test_waiting_buys_nothing_beyond_what_any_ban_costs(brittle):
    model = filler(brittle)
    answered = model.answered()
    found = measured(model, answered)
    beyond = found["suppression_loss_beyond_control"].estimate
    assert beyond.n >= 30
    assert beyond.lo <= 0 <= beyond.hi
    assert abs(beyond.value) < 0.1
    # naive, without a control: the accuracy that is lost is taken for what "wait" had bought
    assert (found["suppression_loss"].estimate.lo > 0.2) == brittle


def test_a_control_is_as_frequent_answer_by_answer_and_no_answer_needs_it():
    model = searcher()
    answered = model.answered(levels=HARD)
    number = {w: k for k, w in ((k, w) for r in answered.responses for k, w in model.tokens(r.text))}
    written = Written(
        [Counter(k for k, _ in model.tokens(r.think)) for r in answered.responses],
        [frozenset(k for k, _ in model.tokens(r.answer)) for r in answered.responses],
        [frozenset(k for k, _ in model.tokens(r.text)) for r in answered.responses],
    )
    banned = frozenset((number["no"], number["back"]))
    drawn = controls(written, banned, frozenset({number["yes"]}))
    assert len(drawn) == 4
    assert len({tokens for tokens, _ in drawn}) == 4
    back, form = written.count(banned), {number[w] for w in ("left", ":", "=", "<think>") if w in number}
    for tokens, responses in drawn:
        assert len(responses) >= 8
        assert not tokens & (banned | form | {number["yes"]})
        ratio = written.count(tokens)[responses] / back[responses]
        assert ratio.min() >= 0.5
        assert ratio.max() <= 2
        assert not any(tokens & written.answer[k] for k in responses)


def test_where_nothing_goes_back_or_nothing_could_stand_in_there_is_a_reason_and_no_number():
    model = searcher()
    items = COUNTDOWN.items("probe", 20)
    direct = [COUNTDOWN.direct(i.reference) for i in items]
    found = measured(model, Answered(COUNTDOWN, items, [Response(t, True, len(t.split())) for t in direct]))
    row = found["suppression_loss_beyond_control"]
    assert not row.estimate.defined
    assert "no response goes back" in row.reason
    # all that is thought is "no" and what the answer needs
    bare = [Response(f"<think> no no no </think> {t}", True, len(t.split()) + 5) for t in direct]
    row = measured(filler(), Answered(COUNTDOWN, items, bare))["suppression_loss_beyond_control"]
    assert not row.estimate.defined
    assert "no other words" in row.reason
