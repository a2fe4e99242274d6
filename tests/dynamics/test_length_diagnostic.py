"""The published diagnostic is held against the run: what surges, contracts, rests or rises again is said so, and no more."""

import math

import numpy as np
import pytest
from sftscope.dynamics import Run, Trajectory, judge
from sftscope.dynamics.calibrate.studies.length_diagnostic import (
    bump,
    date_misses,
    dating_is_claimed,
    responses,
    shape_is_wrong,
)
from sftscope.dynamics.trajectories.extremes import highest
from sftscope.dynamics.trajectories.length_diagnostic import diagnose_length, rises_again, swap_p
from sftscope.dynamics.trajectories.length_finding import length_finding, length_findings, length_sentence
from sftscope.dynamics.trajectories.trajectory import from_run
from synthetic import make_run

U = np.linspace(0, 1, 12)
UNUSED = ("facts", "safe", "instructions", "calculation", "harmful")


def judged(length, share=None, n=200, seed=0, finished=None):
    tokens, score = responses(np.random.default_rng(seed), n, np.asarray(length), share)
    return diagnose_length(tokens, score, None if score is None else judge(score), finished)


@pytest.mark.parametrize(
    ("shape", "reading", "length"),
    [
        ("surge-and-contraction", "done", 100 + 100 * bump(U, 0.3)),
        ("surge-and-contraction", "under-optimised", 100 + 100 * bump(U, 0.4, 0.3)),
        ("surge", "under-optimised", 30 + 400 * U),
        ("rising-again", "over-trained", 100 + 120 * bump(U, 0.25) + 120 * (U > 0.65) * (U - 0.65)),
        ("contraction", "none", 200 - 100 * (1 - np.exp(-9 * U))),
    ],
)
def test_a_planted_shape_is_seen(shape, reading, length):
    found = [judged(length, seed=s) for s in range(8)]
    assert sum(f.shape == shape for f in found) >= 7
    assert sum(f.reading == reading for f in found) >= 6


def test_what_did_not_happen_is_rarely_claimed():
    for kind in ("flat", "surge that stays"):
        wrong = shape_is_wrong(80, np.random.default_rng(1), kind=kind, n=120, checkpoints=12)
        assert wrong.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 80)


def test_responses_at_the_cap_are_no_long_answers():
    n, cap = 200, 256.0
    rng = np.random.default_rng(2)
    stuck = rng.random((n, 12)) < 0.5 * bump(U, 0.35)
    lengths = np.where(stuck, cap, rng.normal(60, 10, (n, 12)))
    items = tuple(map(str, range(n)))
    tokens = Trajectory("tokens", "d", "general", np.arange(12) * 10, lengths, items)
    finished = Trajectory("finished", "d", "general", np.arange(12) * 10, 1.0 - stuck, items)
    found = diagnose_length(tokens, finished=finished)
    assert found.shape == "termination-collapse"
    assert found.unfinished_part.lo > 0.5
    assert diagnose_length(tokens).shape == "surge-and-contraction"  # without the share finished, nobody could tell
    longer = judged(
        100 + 100 * bump(U, 0.35), finished=Trajectory("finished", "d", "general", np.arange(12) * 10, stuck < 2, items)
    )
    assert longer.shape == "surge-and-contraction"


def test_dates_are_compared_and_a_contraction_elsewhere_is_told():
    together = judged(100 + 100 * bump(U, 0.4), 0.7 - 0.45 * bump(U, 0.4), n=400)
    assert together.to_recovery.lo <= 0 <= together.to_recovery.hi
    assert together.to_trough.lo <= 0 <= together.to_trough.hi
    assert 0 < together.chance <= 1
    late = judged(100 + 100 * bump(U, 0.7), 0.7 - 0.45 * bump(U, 0.2), n=400)
    assert late.to_recovery.lo > 0
    assert late.to_trough.lo > 0
    no_dip = judged(100 + 100 * bump(U, 0.4), 0.5 + 0.2 * U, n=400)
    assert not no_dip.to_recovery.defined


def test_the_dates_hold_the_truth():
    missed = date_misses(40, np.random.default_rng(3), n=150, checkpoints=24, shift=0.1)
    assert np.isfinite(missed).sum() > 30
    assert np.nanmean(missed) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 30)


def test_the_highest_checkpoint_is_a_set_when_several_tie():
    """A plateau's highest of ten: the bootstrap of the argmax leaves some out, the comparison with the best does not."""
    rng = np.random.default_rng(4)
    kept, missed_by_bootstrap = [], 0
    for _ in range(100):
        x = rng.standard_normal((60, 10))
        at, columns = highest(x, None)
        assert at in columns
        kept.append(0 in columns)
        draws = x[rng.integers(60, size=(200, 60))].mean(axis=1).argmax(axis=1)
        missed_by_bootstrap += 0 not in draws
    assert np.mean(kept) >= 0.95
    assert missed_by_bootstrap > 10
    clear = rng.standard_normal((60, 10)) + 3 * (np.arange(10) == 6)
    assert highest(clear, None)[1].tolist() == [6]


def test_one_surge_does_not_rise_again():
    rng = np.random.default_rng(5)
    lengths = [responses(rng, 60, 100 + 60 * bump(U, 0.4))[0].matrix for _ in range(100)]
    assert np.mean([rises_again(x, None) for x in lengths]) <= 0.05


def test_only_pairing_by_run_is_evidence_over_runs():
    rng = np.random.default_rng(6)
    assert dating_is_claimed(60, rng, runs=6, checkpoints=24, follows=True).mean() > 0.8
    assert dating_is_claimed(200, rng, runs=6, checkpoints=24, follows=False, shared=True).mean() <= 0.1
    assert swap_p([(4, 5)] * 6) == 1  # all runs alike: nothing tells the pairing from chance
    assert math.isnan(swap_p([(1, 1), (2, 2), (5, 5), (9, 9)]))


def test_what_cannot_be_judged_says_why():
    assert "step 0" in judged(np.full(2, 100.0)).reason
    assert "1 item" in judged(np.full(5, 100.0), n=1).reason
    assert "cannot be said" in length_sentence("path", judged(np.full(2, 100.0)), None)


def test_a_run_gets_a_sentence_and_several_runs_a_count(tmp_path):
    runs = [Run(make_run(tmp_path / f"s{i}", seed=i, n=80, curves=dict.fromkeys(UNUSED))) for i in range(2)]
    score = from_run(runs[0], "countdown")
    finding = length_finding(runs[0], score, judge(score))
    assert finding.sentence.startswith("The length of responses in countdown s")
    assert "tokens against base at step" in finding.sentence
    assert "nan" not in finding.sentence
    assert finding.evidence
    several = length_findings(runs)
    assert {f.domain for f in several} == {"countdown", "path", "subset_sum"}
    assert all("of 2 runs" in f.sentence and f.verdict == "undecidable" for f in several)
