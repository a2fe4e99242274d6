"""Every wrong response is in exactly one class, planted faults are found, and a slip that the answer does not rest on is none."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from sftscope.probes.behaviour.errors import Errors
from sftscope.probes.domains import Response
from sftscope.probes.freeform import FreeCountdown
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.microworld.countdown import compute
from sftscope.probes.mistakes import MISTAKES, Diagnosing, mistake
from sftscope.probes.protocol import Answered, Given

DIAGNOSING = [name for name, d in DOMAINS.items() if isinstance(d, Diagnosing)]


def measured(domain, items, responses):
    rows = Errors().measure(Given(step=0, answered={domain.name: Answered(domain, items, responses)})).rows
    return {r.metric: r.estimate.value for r in rows}


def test_the_domains_whose_answers_can_be_diagnosed():
    assert set(DIAGNOSING) == {"countdown", "countdown4", "path", "subset_sum", "coloring", "calculation"}
    assert Errors().needs(DOMAINS).generations == tuple(DIAGNOSING)


COUNTDOWN = {"numbers": [3, 5, 7], "target": 56}
PATH = {"start": "a", "goal": "d", "edges": ["ab", "bc", "ad"]}
COLORING = {"lists": {"a": ["red", "blue"], "b": ["red"], "c": ["red", "green"]}, "edges": ["ab", "bc"]}
SUBSET = {"numbers": [3, 9, 14, 20], "target": 23}
SUM = {"start": 4, "steps": [["+", 28], ["*", 2]]}


@pytest.mark.parametrize(
    ("name", "task", "text", "expected"),
    [
        ("countdown", COUNTDOWN, "answer 3 + 5 = 8 , 7 * 8 = 56", None),
        ("countdown", COUNTDOWN, "answer 3 + 5 = 8 , 7 + 8 = 15", "exploration"),
        ("countdown", COUNTDOWN, "answer 7 * 8 = 56", "illegal"),  # the 8 was never made
        ("countdown", COUNTDOWN, "answer 3 + 5 = 9 , 7 * 9 = 56", "arithmetic"),
        ("countdown", COUNTDOWN, "answer 3 + 7 = 10 , 5 * 10 = 56", "arithmetic"),  # the last step bent to the target
        ("countdown", COUNTDOWN, "answer 3 + 5 = 8", "exploration"),  # numbers left over
        ("countdown", COUNTDOWN, "answer 7 8 56", "format"),
        ("countdown", COUNTDOWN, "sorry i cannot help with that", "format"),
        ("path", PATH, "answer a d", None),
        ("path", PATH, "answer a b c", "exploration"),
        ("path", PATH, "answer a c d", "illegal"),  # no such edge
        ("path", PATH, "answer b c", "illegal"),  # starts elsewhere
        ("coloring", COLORING, "answer a blue b red c green", None),
        ("coloring", COLORING, "answer a red b red c green", "exploration"),
        ("coloring", COLORING, "answer a green b red c green", "illegal"),
        ("coloring", COLORING, "answer a blue b red g green", "illegal"),
        ("coloring", COLORING, "answer a blue b red b red", "illegal"),
        ("subset_sum", SUBSET, "answer 3 20", None),
        ("subset_sum", SUBSET, "answer 3 14", "exploration"),
        ("subset_sum", SUBSET, "answer 3 3 20", "illegal"),
        ("subset_sum", SUBSET, "answer 3 21", "illegal"),
        ("subset_sum", SUBSET, "<think> take 9 9 + 14 = 24 no 9 + 20 = 23 yes </think> answer 9 20", "arithmetic"),
        ("calculation", SUM, "<think> 4 + 28 = 32 32 * 2 = 64 </think> answer 64", None),
        ("calculation", SUM, "<think> 4 + 28 = 32 32 * 2 = 65 </think> answer 65", "arithmetic"),
        ("calculation", SUM, "<think> 4 + 28 = 32 32 + 2 = 34 </think> answer 34", "illegal"),  # not asked for
        ("calculation", SUM, "<think> 4 + 28 = 32 </think> answer 32", "exploration"),  # a step left out
        ("calculation", SUM, "answer 65", "arithmetic"),
    ],
)
def test_one_class_for_each(name, task, text, expected):
    domain = DOMAINS[name]
    item = domain.items("probe", 2)[0]
    item = type(item)(item.id, item.prompt, task)
    assert mistake(domain, item, Response(text, True, 10)) == expected
    if expected is not None:
        assert mistake(domain, item, Response(text, False, 10)) == "unfinished"


def test_a_slip_in_a_branch_that_was_left_is_not_why_the_answer_is_wrong():
    """The naive class, by the first wrong step anywhere in the trace, blames arithmetic that the answer does not rest on."""
    domain, item = DOMAINS["countdown"], DOMAINS["countdown"].items("probe", 2)[0]
    item = type(item)(item.id, item.prompt, COUNTDOWN)
    think = "3 + 5 = 9 left 7 9 : 7 + 9 = 16 no back 3 + 7 = 10 left 5 10 : 5 + 10 = 15 yes"
    moves = domain.read_trace(COUNTDOWN, think)
    assert any(m.legal and not m.valid for m in moves)  # what the naive class would go by
    text = f"<think> {think} </think> answer 3 + 7 = 10 , 5 + 10 = 15"
    assert mistake(domain, item, Response(text, True, 30)) == "exploration"
    subset = DOMAINS["subset_sum"]
    picked = "<think> take 9 9 + 14 = 24 no back take 3 3 + 14 = 17 yes </think> answer 3 14"
    assert mistake(subset, type(item)("x", "", SUBSET), Response(picked, True, 30)) == "exploration"


def corrupted(rng: random.Random, item) -> tuple[str, str]:
    """A right answer to Countdown spoilt in one way, with the way."""
    *steps, last = DOMAINS["countdown"].direct(item.reference).removeprefix("answer ").split(" , ")
    a, op, b, _, c = last.split()
    kind = rng.choice(["arithmetic", "illegal", "format", "unfinished", "exploration"])
    if kind == "arithmetic":
        last = f"{a} {op} {b} = {(int(c) + rng.randint(1, 9)) % 100}"
    elif kind == "illegal":
        other = next(n for n in range(1, 99) if n not in (int(a), int(b)))
        last = f"{a} {op} {other} = {compute(int(a), op, other)}" if op == "+" else f"{other} + {b} = {other + int(b)}"
    elif kind == "format":
        last = last.replace("=", "left")
    elif kind == "exploration":
        other = next(
            o
            for o in "+-*"
            if o != op and 0 <= compute(int(a), o, int(b)) <= 9999 and compute(int(a), o, int(b)) != int(c)
        )
        last = f"{a} {other} {b} = {compute(int(a), other, int(b))}"
    return " , ".join(["answer " + steps[0], last] if steps else ["answer " + last]), kind


def test_planted_faults_are_recovered_one_by_one():
    rng, domain = random.Random(0), DOMAINS["countdown"]
    items = domain.items("probe", 300)
    texts = [corrupted(rng, i) for i in items]
    responses = [Response(t, kind != "unfinished", 12) for t, kind in texts]
    found = [mistake(domain, i, r) for i, r in zip(items, responses, strict=True)]
    assert found == [kind for _, kind in texts]
    shares = measured(domain, items, responses)
    assert shares == pytest.approx({f"error_{k}": n / 300 for k, n in Counter(found).items()})


@pytest.mark.parametrize("name", DIAGNOSING)
def test_whatever_is_written_the_classes_and_the_strict_score_sum_to_one(name):
    domain, rng = DOMAINS[name], random.Random(7)
    items = domain.items("probe", 80)
    words = [w for i in items for w in domain.worked(i.reference).split()]
    responses = []
    for i in items:
        text = domain.worked(i.reference).split()
        for _ in range(rng.choice((0, 1, 2, 5, 40))):
            text[rng.randrange(len(text))] = rng.choice(words)
        responses.append(Response(" ".join(text), rng.random() < 0.9, len(text)))
    shares = measured(domain, items, responses)
    strict = sum(domain.grade(i, r).strict for i, r in zip(items, responses, strict=True)) / len(items)
    assert set(shares) == {f"error_{m}" for m in MISTAKES}
    assert sum(shares.values()) == pytest.approx(1 - strict, abs=1e-12)
    assert 0 < strict < 1
    assert shares["error_unfinished"] > 0


@pytest.fixture
def free(tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps({"numbers": [19, 36, 55, 7], "target": 65}))
    return FreeCountdown(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>55 + 36 = 91, 91 - 19 = 72, 72 - 7 = 65.</think><answer>55 + 36 - 19 - 7</answer>", None),
        ("<think>55 + 36 = 91.</think><answer>55 + 36 + 19 - 7</answer>", "exploration"),
        ("<think>55 + 19 = 74.</think><answer>55 + 19 - 7</answer>", "exploration"),  # the 36 is left over
        ("<think>36 * 7 = 225, 225 - 55 = 170.</think><answer>36 * 7 - 55 - 19</answer>", "arithmetic"),
        # the slip is in what is done to a partial result, which the answer writes out
        ("<think>55 + 36 = 91. 91 - 19 = 58, 58 + 7 = 65.</think><answer>55 + 36 - 19 + 7</answer>", "arithmetic"),
        ("<think>36 * 7 = 225, no. 55 + 19 = 74.</think><answer>55 + 19 - 7 - 36</answer>", "exploration"),
        ("<think>55 + 7 = 62.</think><answer>55 + 7 + 3</answer>", "illegal"),
        ("<think>x</think><answer>55 + 55 - 36 - 19 + 7</answer>", "illegal"),
        ("<think>x</think><answer>36 / (19 - 19) + 55</answer>", "illegal"),
        ("<think>x</think><answer>65</answer>", "format"),
        ("<think>I cannot find one.</think>", "format"),
    ],
)
def test_free_text_is_diagnosed_by_the_steps_its_answer_rests_on(free, text, expected):
    item = free.items("probe", 1)[0]
    assert mistake(free, item, Response(text, True, 30)) == expected
