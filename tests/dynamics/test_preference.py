"""The grammar of preferences: what it reads, and what its errors say."""

from __future__ import annotations

import pytest
from sftscope.dynamics.choice.preference import Constraint, Name, parse
from sftscope.dynamics.errors import ConfigError


def plain(text: str) -> list[tuple]:
    return [(str(c.name), c.operator, c.level, c.to_base) for c in parse(text).constraints]


def test_an_objective_alone():
    read = parse("ood_reasoning")
    assert (str(read.objective), read.direction, read.constraints) == ("ood_reasoning", None, ())


def test_the_issue_s_own_example():
    assert plain("ood_reasoning s.t. refusal >= 0.9") == [("refusal", ">=", 0.9, False)]


@pytest.mark.parametrize("such", ["s.t.", "s.t", "st", "subject to"])
@pytest.mark.parametrize("join", [",", " and ", " , "])
def test_constraints_are_joined_by_and_or_comma(such, join):
    read = plain(f"max reasoning {such} refusal>=90%{join}general >= base-0.02{join}over_refusal < .05")
    assert read == [("refusal", ">=", 0.9, False), ("general", ">=", -0.02, True), ("over_refusal", "<", 0.05, False)]


def test_levels_relative_to_the_base():
    read = plain("a s.t. b >= base and c <= base + 10% and d > -0.5, e ≥ base − 0.1")
    assert read == [
        ("b", ">=", 0.0, True),
        ("c", "<=", 0.1, True),
        ("d", ">", -0.5, False),
        ("e", ">=", -0.1, True),
    ]


def test_names_with_a_metric_a_hyphen_or_other_signs():
    read = parse("min countdown.tokens s.t. MMLU-Pro >= 0.5 and 'My set (v2)'.strict > 0.1")
    assert (read.objective.of, read.objective.metric, read.direction) == ("countdown", "tokens", "min")
    assert [str(c.name) for c in read.constraints] == ["MMLU-Pro", "My set (v2).strict"]


def test_min_and_max_can_be_names():
    assert str(parse("max s.t. b > 0").objective) == "max"


def test_a_constraint_says_what_was_written():
    for text in ("general >= base - 0.02", "refusal > 0.9", "general >= base", "tokens <= base + 5"):
        assert str(parse(f"a s.t. {text}").constraints[0]) == text
    assert str(Constraint(Name("a", "b"), "<", 1.0)) == "a.b < 1"


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("", None, "is empty"),
        ("path refusal", 5, "`s.t.`"),
        ("path s.t.", 9, "not its end"),
        ("path s.t. refusal", 17, "one of >= <= > <"),
        ("path s.t. refusal >=", 20, "a number or `base`"),
        ("path s.t. refusal >= base -", 27, "a number"),
        ("path s.t. refusal == 0.9", 18, "no constraints"),
        ("path s.t. refusal >= high", 21, "'high'"),
        ("path s.t. refusal >= 0.9 general > 0", 25, "`and`"),
        (">= 3", 0, "what to prefer"),
        ("countdown. s.t. a > 0", 11, "a metric after 'countdown.'"),
        ("path; import os", 4, "';'"),
    ],
)
def test_a_mistake_is_said_with_its_place(text, at, said):
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert said in str(error.value)
    if at is not None:
        assert f"(character {at + 1})" in str(error.value)
        assert str(error.value).splitlines()[-1] == "  " + " " * at + "^"
