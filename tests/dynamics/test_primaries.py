"""What can be declared before a run, and what cannot be read is refused before it starts."""

import pytest
from sftscope.dynamics import ConfigError
from sftscope.dynamics.primaries import (
    DeclaredAssociation,
    Outcome,
    check_primaries,
    declared_associations,
    parse_primary,
)
from sftscope.train.config import AnalysisConfig


def test_outcomes_and_associations_are_told_apart():
    assert parse_primary("countdown") == parse_primary("countdown.strict") == Outcome("countdown", "strict")
    assert parse_primary("refusal_cosine_to_base~harmful") == DeclaredAssociation(
        "refusal_cosine_to_base", "", "harmful"
    )
    assert parse_primary("countdown.tokens~path.strict") == DeclaredAssociation("tokens", "countdown", "path")
    info = {"primaries": {"declared": ["path", "tokens~path"]}}
    assert declared_associations(info) == [DeclaredAssociation("tokens", "", "path")]
    assert declared_associations({}) == []


def test_a_declared_pair_is_that_of_the_outcomes_own_domain_or_of_none():
    declared = DeclaredAssociation("tokens", "", "path")
    assert declared.covers("tokens", "path", "path")
    assert declared.covers("tokens", "", "path")
    assert not declared.covers("tokens", "countdown", "path")
    assert not declared.covers("tokens", "path", "countdown")
    assert not DeclaredAssociation("tokens", "countdown", "path").covers("tokens", "path", "path")


@pytest.mark.parametrize("entry", ["", "~harmful", "tokens~", "a~b~c", "a.b.c", "tokens ~ harmful", "a..b~c"])
def test_what_cannot_be_read_is_an_error_that_shows_the_forms(entry):
    with pytest.raises(ConfigError, match=r"metric~domain") as error:
        AnalysisConfig(primary=(entry,))
    assert repr(entry) in str(error.value)


def test_what_makes_no_sense_says_why():
    with pytest.raises(ConfigError, match=r"strict score.*tokens~path"):
        parse_primary("tokens~path.lenient")
    with pytest.raises(ConfigError, match="nothing about itself"):
        parse_primary("path.strict~path")
    with pytest.raises(ConfigError, match="are the same"):
        check_primaries(["path", "path.strict"])
