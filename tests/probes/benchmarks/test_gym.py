"""reasoning-gym's tasks: full credit only, splits that share nothing, and no answer run as code."""

from __future__ import annotations

import pytest
from benchmark_standins import cut, done
from sftscope.dynamics.errors import ConfigError
from sftscope.probes.asked import domains_of, items_of
from sftscope.probes.benchmarks import BenchmarkConfig, GymTask
from sftscope.probes.benchmarks.gym import LOWEST_SEED, is_harmless, last_answer, seed_of
from sftscope.probes.planner import ProbeConfig

pytest.importorskip("reasoning_gym")
TASKS = ("countdown", "knights_knaves", "chain_sum", "n_queens", "number_sorting", "syllogism")


@pytest.mark.parametrize("task", TASKS)
def test_right_wrong_unparsable_and_truncated_answers_are_told_apart(task):
    domain = GymTask(task)
    items = domain.items("probe", 4)
    for item, other in zip(items, items[1:] + items[:1], strict=True):
        right = f"So: <answer>{item.reference['answer']}</answer>"
        assert domain.grade(item, done(f"<think> Hm. </think> {right}")).strict
        wrong = domain.grade(item, done("<answer>0</answer>"))
        assert (wrong.parsed, wrong.strict, wrong.lenient) == (True, False, False)
        for text in ("I give up.", "<answer></answer>", f"<answer>{item.reference['answer']}"):
            unparsable = domain.grade(item, done(text))
            assert (unparsable.finished, unparsable.parsed, unparsable.strict) == (True, False, False)
        late = domain.grade(item, cut(right))
        assert (late.finished, late.parsed, late.strict, late.lenient) == (False, False, False, True)
        assert item.prompt != other.prompt
    assert domain.chance == 0


def test_partial_credit_is_wrong():
    """Countdown gives 0.05 for an expression of the wrong value: a good form is no right answer."""
    domain = GymTask("countdown")
    item = domain.items("probe", 2)[0]
    grade = domain.grade(item, done("<answer>1 + 1</answer>"))
    assert 0 < grade.details["score"] < 1
    assert (grade.parsed, grade.correct) == (True, False)


@pytest.mark.parametrize("task", ["knights_knaves", "chain_sum", "syllogism"])
def test_splits_share_no_seed_and_no_question(task):
    domain = GymTask(task)
    found = {s: domain.items(s, 40) for s in ("train", "probe", "test")}
    for a, b in (("train", "probe"), ("train", "test"), ("probe", "test")):
        assert {i.prompt for i in found[a]}.isdisjoint(i.prompt for i in found[b])
        assert {i.reference["seed"] for i in found[a]}.isdisjoint(i.reference["seed"] for i in found[b])
    seeds = [i.reference["seed"] for items in found.values() for i in items]
    assert min(seeds) >= LOWEST_SEED  # what people write in configs lies below
    assert max(seeds) < 2**32  # NumPy takes no more


def test_questions_are_the_same_wherever_they_are_made():
    first, again = GymTask("chain_sum").items("probe", 12), GymTask("chain_sum").items("probe", 6)
    assert again == first[:6]
    assert GymTask("chain_sum").items("probe", 12, seed=1) != first
    assert seed_of("chain_sum", "probe", 3) == 4239942719
    late = GymTask("chain_sum")  # grades what another process asked
    assert late.grade(first[0], done(f"<answer>{first[0].reference['answer']}</answer>")).strict


def test_answers_are_never_run_as_code(tmp_path):
    victim = tmp_path / "touched"
    attack = f"__import__('pathlib').Path({str(victim)!r}).touch()"
    for task in ("countdown", "n_queens", "binary_matrix"):
        domain = GymTask(task)
        assert domain.evaluates
        grade = domain.grade(domain.items("probe", 2)[0], done(f"<answer>{attack}</answer>"))
        assert (grade.parsed, grade.correct, grade.details["score"]) == (True, False, 0.0)
    assert not victim.exists()
    with pytest.raises(ConfigError, match="runs answers as code"):
        GymTask("polynomial_multiplication")


def test_an_answer_that_trips_the_scorer_is_wrong(monkeypatch):
    domain = GymTask("chain_sum")
    item = domain.items("probe", 2)[0]
    dataset, _ = domain._entries[item.id]
    monkeypatch.setattr(dataset, "score_answer", lambda answer, entry: 1 / 0)
    assert domain.grade(item, done("<answer>1</answer>")).details["score"] == 0


@pytest.mark.parametrize(
    ("answer", "harmless"),
    [
        ("(1 + 2) * 3 / 4", True),
        ("[[1, 2], [3]]", True),
        ("['a', 'b']", True),
        ("9**9**9", False),
        ("f(1)", False),
        ("x + 1", False),
        ("_ _ Q\nQ _ _", True),
        ("a.b", False),
        ("[0] * 99", False),
    ],
)
def test_only_sums_and_literals_reach_a_scorer_that_evaluates(answer, harmless):
    assert is_harmless(answer) is harmless


def test_the_last_closed_answer_counts():
    assert last_answer("<answer>1</answer> no, <answer> 2 </answer>") == "2"
    assert last_answer("<answer>1 <answer>2</answer>") == "2"
    assert last_answer("<answer>1") is None


def test_tasks_are_asked_by_config():
    config = ProbeConfig(
        domains=(), items=3, benchmarks={"gym_chain_sum": BenchmarkConfig(), "gym_syllogism": BenchmarkConfig(items=5)}
    )
    domains = domains_of(config)
    assert {n: len(i) for n, i in items_of(config, domains).items()} == {"gym_chain_sum": 3, "gym_syllogism": 5}
    assert {d.group for d in domains.values()} == {"ood_reasoning"}
    with pytest.raises(ConfigError, match="did you mean 'chain_sum'"):
        GymTask("chainsum")
    with pytest.raises(ConfigError, match="cannot be made"):
        GymTask("composite")
    with pytest.raises(ConfigError, match="is generated"):
        GymTask("chain_sum", BenchmarkConfig(revision="x"))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("{question} {foo}", "known: question"),
        ("{question} {", "write braces of the text itself twice"),
        ("{{question}}", r"has no \{question\}"),
        ("Go.", r"has no \{question\}"),
    ],
)
def test_a_prompt_of_ones_own_is_checked_before_anything_is_asked(prompt, said):
    with pytest.raises(ConfigError, match=said):
        GymTask("chain_sum", BenchmarkConfig(prompt=prompt))
