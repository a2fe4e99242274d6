"""Sentences on associations: by which level, and what that level leaves open."""

import math

from sftscope.dynamics.association.finding import association_findings
from sftscope.dynamics.association.one_run import Association
from sftscope.dynamics.association.series import Pair
from sftscope.dynamics.association.table import ITEMS, MIXED, ONE_RUN, TRIAL_SWAP, row, with_q
from sftscope.dynamics.primaries import DeclaredAssociation

DECLARED = [DeclaredAssociation("gap", "", "harmful")]


def entry(level, p, x="gap", y="harmful", declared=(), lag=2, seeds=6, items=0):
    found = Association(lag, 0.6, 0.2, 0.8, p, 40, 12.0, "" if not math.isnan(p) else "too few", seeds, items)
    internal = Pair(x, "internal", "", 7, y, "safety", "none")
    return row(internal, level, f"null of {level}", found, declared, replicated=level != ONE_RUN)


def test_one_run_explores_and_says_so():
    (found,) = association_findings(with_q([entry(ONE_RUN, 0.001, seeds=1, declared=DECLARED)]))
    assert found.exploratory
    assert found.verdict == "exploratory"
    assert "One run can only explore" in found.sentence
    assert "it leads by 2 checkpoints" in found.sentence
    assert "five or more seeds" in found.would_overturn


def test_a_declared_pair_over_seeds_is_shown_and_its_limit_said():
    rows = [entry(TRIAL_SWAP, 1 / 120, declared=DECLARED), entry(TRIAL_SWAP, 0.5, x="auc", declared=DECLARED)]
    (found,) = association_findings(with_q(rows))
    assert (found.verdict, found.exploratory, found.metric, found.estimate.n) == ("shown", False, "gap", 6)
    assert "1 of 1 declared pair survives correction: gap at layer 7 and the score of harmful" in found.sentence
    assert "says nothing of the trend" in found.sentence
    assert "0.60 [0.20, 0.80]" in found.sentence
    assert "intervention" in found.would_overturn
    assert "No association" in found.sentence  # of the exploratory ones


def test_a_declared_pair_that_fails_is_told_first_and_not_replaced_by_a_lucky_one():
    rows = [entry(TRIAL_SWAP, 0.6, declared=DECLARED), entry(TRIAL_SWAP, 1 / 720, x="auc", declared=DECLARED)]
    (found,) = association_findings(with_q(rows))
    assert found.sentence.startswith("0 of 1 declared pair survives correction: gap")
    assert (found.verdict, found.exploratory) == ("exploratory", True)
    assert found.details["declared_surviving"] == 0


def test_each_level_speaks_for_itself_the_strongest_design_first():
    rows = [entry(ONE_RUN, 0.9), entry(ITEMS, 0.001, lag=0, items=300), entry(MIXED, 0.9), entry(TRIAL_SWAP, 0.9)]
    found = association_findings(with_q(rows))
    assert [f.details["level"] for f in found] == [TRIAL_SWAP, MIXED, ITEMS, ONE_RUN]
    assert len({f.id for f in found}) == 4
    by_prompt = found[2]
    assert "300 prompts" in by_prompt.sentence
    assert "learnt sooner" in by_prompt.sentence
    assert by_prompt.estimate.n == 300


def test_what_could_not_be_computed_is_said_once():
    (found,) = association_findings(with_q([entry(ONE_RUN, math.nan), entry(ITEMS, math.nan)]))
    assert found.verdict == "undecidable"
    assert "too few" in found.sentence
    assert association_findings(with_q([])) == []
