"""Verification: explicit verdicts on computed states. Filler is none, and a model that always says "no" does not verify."""

from __future__ import annotations

import json

import pytest
from sftscope.probes.behaviour.verification import Verification
from sftscope.probes.comparisons import said_of_moves
from sftscope.probes.domains import Item, Response
from sftscope.probes.freeform import FreeCountdown, read
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.protocol import Answered, Given
from sftscope.probes.search import summarise

SEARCHES = ["countdown", "countdown4", "path", "subset_sum", "coloring"]
TASK = {"numbers": [3, 5, 7], "target": 56}


def said(text: str, name: str = "countdown", task: dict = TASK) -> list[tuple[bool, bool]]:
    moves = DOMAINS[name].read_trace(task, text)
    return [(c.yes, c.reached) for c in said_of_moves(text.split(), moves)]


def measured(domain, items, texts):
    responses = [Response(t, True, len(t.split())) for t in texts]
    given = Given(step=0, answered={domain.name: Answered(domain, items, responses)})
    return {r.metric: r.estimate for r in Verification().measure(given).rows}


@pytest.mark.parametrize("name", SEARCHES)
def test_systematic_traces_verify_every_end_and_are_always_right(name):
    domain = DOMAINS[name]
    items = domain.items("probe", 60)
    found = measured(domain, items, [f"<think> {domain.trace(i.reference)} </think>" for i in items])
    for metric in ("verification_accuracy", "verification_yes_precision", "verification_yes_recall"):
        assert found[metric].value == 1, metric
    assert found["verifications_per_terminal_state"].value == 1
    assert found["verifications_per_response"].value > 1


def test_a_model_that_always_says_no_is_nearly_always_right_and_sees_no_hit():
    domain = DOMAINS["countdown"]
    items = domain.items("probe", 60)
    texts = [f"<think> {domain.trace(i.reference).replace('yes', 'no')} </think>" for i in items]
    found = measured(domain, items, texts)
    assert found["verification_accuracy"].value > 0.6  # the naive number alone
    assert found["verification_yes_recall"].value == 0
    assert not found["verification_yes_precision"].defined  # it never says yes


def test_words_without_a_computed_state_are_no_verification():
    assert said("no no wait no yes") == []
    assert said("no 3 + 5 = 8 left 7 8 : no no no 7 * 8 = 56 yes yes") == [(False, False), (True, True)]


def test_a_yes_after_wrong_arithmetic_or_reused_numbers_is_false():
    assert said("3 + 7 = 10 left 5 10 : 5 * 10 = 56 yes") == [(True, False)]
    assert said("3 + 5 = 9 left 7 9 : 7 * 9 = 56 yes") == [(True, False)]
    assert said("7 * 7 = 49 left 7 49 : 49 + 7 = 56 yes") == [(True, False)]
    assert said("a to b yes", "path", {"start": "a", "goal": "b", "edges": ["ac"]}) == [(True, False)]
    wrong_before = "2 + 5 = 8 left 7 8 : 7 * 8 = 56 yes"
    assert said(wrong_before, task={"numbers": [2, 5, 7], "target": 56}) == [(True, False)]
    moves = DOMAINS["countdown"].read_trace({"numbers": [2, 5, 7], "target": 56}, wrong_before)
    assert not summarise(moves).solved  # a right last step on a wrong one solves nothing


NUMBERS = [19, 36, 55, 7]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("55 + 36 - 19 + 7 = 79. Too high.", [(False, False)]),
        ("55 + 36 - 19 + 7 = 79, not 65.", [(False, False)]),
        ("55 + 36 - 19 + 7 = 79 ✗\n55 + 36 - 19 - 7 = 65 ✓", [(False, False), (True, True)]),
        ("55 + 36 - 19 + 7 = 79. Hmm, that is 14 too many.", [(False, False)]),
        ("55 + 36 - 19 + 7 = 79, but I need 65.", [(False, False)]),
        ("55 + 36 - 19 - 7 = 65. Wait, really? Yes, 65.", [(True, True)]),
        ("55 + 36 = 91, 91 - 19 = 72, 72 - 7 = 65, that's it!", [(True, True)]),
        ("55 + 36 = 91 is far too big. 36 + 7 = 43", [(False, False)]),  # of a partial result, too
        ("55 + 36 - 19 + 7 = 79. Yes, still 14 too many.", [(False, False)]),
        ("55 + 17 - 7 = 65. Bingo!", [(True, False)]),  # 17 was not given
        ("55 + 36 - 19 - 7 = 66. That's the target!", [(True, False)]),
        ("55 + 7 = 62, then 36 - 19 = 17. Wait. Hmm.", []),  # doubt, no verdict
        ("Wait, no. Hmm, no, hold on.", []),
        ("Great, let me use 36 * 7 = 252, good, and 252 - 55 = 197", []),  # praise of a step is none
        ("36 * 7 is way too big", []),  # nothing was computed
        ("55 + 36 - 19 - 7 = 65. Check: 55 + 36 = 91 ✓, 91 - 19 = 72 ✓, 72 - 7 = 65 ✓", [(True, True)]),
    ],
)
def test_verdicts_of_free_text(text, expected):
    assert [(c.yes, c.reached) for c in read(text, NUMBERS, 65).comparisons] == expected


def test_free_text_is_measured_by_the_same_probe(tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps({"numbers": NUMBERS, "target": 65}))
    domain = FreeCountdown(file)
    item = domain.items("probe", 1)[0]
    texts = [
        "<think>55 + 36 - 19 + 7 = 79. No. 55 + 36 - 19 - 7 = 65. Yes!</think>",
        "<think>55 + 36 + 19 - 7 = 103. Yes!</think>",
    ]
    found = measured(domain, [item, Item("b", item.prompt, item.reference, "b")], texts)
    assert found["verifications_per_response"].value == 1.5
    assert found["verification_accuracy"].value == pytest.approx(2 / 3)
    assert found["verification_yes_precision"].value == 0.5
    assert found["verifications_per_terminal_state"].value == 1
