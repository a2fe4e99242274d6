"""Procedure or style: what was planted is answered, length and words alone are no procedure, and parts keep their dependence."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import DataError, Estimate, Measurement, analyze
from sftscope.dynamics.calibrate.studies.procedure_index import answers, responses
from sftscope.dynamics.procedure.index import (
    BUDGET,
    CUES,
    LENGTH,
    LOOPS,
    PAYOFF,
    SUPPRESSION,
    WENT_BACK,
    answer,
    measured_part,
    procedure_index,
)
from sftscope.dynamics.procedure.index_finding import procedure_index_finding
from sftscope.dynamics.record import Run, create_run, write_measurements
from sftscope.dynamics.statistics import intervals
from sftscope.dynamics.trajectories.trajectory import from_run

NO_SEARCH = {"opportunities": 0.0, "cues": 0.0, "loops": 0.0}
# Means of a response's counts in the models of tests/known_truth.py, 120 Countdown questions each.
SEARCHES = {"met": 6.45, "left": 0.79, "cues": 1.75, "loops": 0.28, "length": 52.5, "tokens": 84.7}
SAYS_WAIT = {"met": 0.86, "left": 0.06, "cues": 1.0, "loops": 0.04, "length": 113.0, "tokens": 113.0}
LOOPS_ONLY = {"met": 7.22, "left": 0.0, "cues": 4.38, "loops": 6.74, "length": 84.0, "tokens": 84.0}
ANSWERS = {"met": 0.0, "left": 0.0, "cues": 0.0, "loops": 0.0, "length": 12.0, "tokens": 12.0}


def like(rng, means: dict[str, float], n: int = 120) -> dict[str, np.ndarray]:
    met = rng.poisson(means["met"], n).astype(float)
    left = rng.binomial(met.astype(int), means["left"]).astype(float)
    stretch = np.exp(0.3 * rng.standard_normal(n))
    return {
        "opportunities": met,
        "opportunities_left": left,
        "backtracks": left,
        "cues": left + rng.poisson(means["cues"], n),
        "loops": rng.poisson(means["loops"], n).astype(float),
        "length": means["length"] * stretch,
        "tokens": means["tokens"] * stretch,
    }


def world(seed: int = 0, n: int = 300, before: dict | None = None, **after):
    rng = np.random.default_rng(seed)
    hard = rng.gamma(2.0, 0.5, n)
    return responses(rng, n, hard, **(before or {})), responses(rng, n, hard, **after)


@pytest.mark.parametrize(
    ("model", "expected"), [(SEARCHES, "procedure"), (SAYS_WAIT, "style"), (LOOPS_ONLY, "style"), (ANSWERS, "neither")]
)
def test_the_measures_of_models_whose_truth_is_known(model, expected):
    rng = np.random.default_rng(0)
    found = procedure_index(like(rng, ANSWERS), like(rng, model))
    assert found.answer == expected
    if expected == "procedure":
        assert found.index.lo > 0
    if expected == "style":
        assert found.index.hi < 0


def test_a_planted_change_of_procedure_is_seen_and_its_size_is_right():
    found = procedure_index(*world(rate=0.8))
    assert found.answer == "procedure"
    part = found.part(WENT_BACK)
    assert part.change.lo < 0.4 < part.change.hi
    assert found.procedure.value == part.change.value  # its only part


def test_going_back_and_its_look_together_are_both():
    before, after = world(rate=0.8, growth=4.0, cues=12.0, loops=4.0)
    assert procedure_index(before, after).answer == "both"


@pytest.mark.parametrize("after", [{"growth": 2.0}, {"cues": 3.0}, {"loops": 3.0}])
def test_length_words_or_loops_alone_are_never_procedure(after):
    rng = np.random.default_rng(0)
    assert answers(150, rng, n=150, wrong=("procedure", "both"), **after).mean() <= 0.06


def test_nothing_is_nothing():
    rng = np.random.default_rng(0)
    assert answers(150, rng, n=150, wrong=("procedure", "both", "style"), rate=0.4).mean() <= 0.07
    same, _ = world(n=1000)
    found = procedure_index(same, same)
    assert found.answer == "neither"
    assert found.index.value == 0
    assert 0 < found.index.hi < 0.05  # identical answers are no certainty


def test_the_naive_reading_by_backtracks_calls_more_dead_ends_procedure():
    before, after = world(opportunities=9.0)
    naive = intervals.paired_difference(after["backtracks"], before["backtracks"])
    assert naive.lo > 1
    assert procedure_index(before, after).answer not in ("procedure", "both")


def test_the_parts_of_style_are_those_of_the_formulas():
    n = 40
    flat = dict.fromkeys(("opportunities", "opportunities_left", "backtracks"), np.zeros(n))
    before = flat | {"cues": np.zeros(n), "tokens": np.full(n, 50.0), "length": np.full(n, 50.0), "loops": np.zeros(n)}
    after = before | {"cues": np.ones(n), "tokens": np.full(n, 100.0), "length": np.full(n, 100.0)}
    after["loops"] = np.r_[np.ones(10), np.zeros(30)]
    found = procedure_index(before, after)
    assert found.part(CUES).change.value == pytest.approx(1 / 2)  # one per 100 tokens, over one and the unit of one
    assert found.part(LENGTH).change.value == pytest.approx(1 / 3)
    assert found.part(LOOPS).change.value == pytest.approx(0.25)
    assert found.style.value == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert "at all" in found.part(WENT_BACK).note


def test_samples_of_one_question_are_no_new_questions():
    before, after = world(n=100, rate=0.6)
    four = [{k: np.repeat(v, 4) for k, v in side.items()} for side in (before, after)]
    once, as_four = procedure_index(before, after), procedure_index(*four, clusters=np.repeat(np.arange(100), 4))
    assert as_four.index.value == pytest.approx(once.index.value)
    assert as_four.index.n == once.index.n
    assert as_four.index.hi - as_four.index.lo == pytest.approx(once.index.hi - once.index.lo, rel=0.02)


def test_parts_measured_otherwise_widen_the_index_as_if_all_moved_together():
    before, after = world(rate=0.8)
    alone = procedure_index(before, after)
    loss = Estimate(0.4, 0.3, 0.5, 64, "paired-t")
    with_loss = procedure_index(
        before,
        after,
        measured={SUPPRESSION: measured_part(SUPPRESSION, Estimate(0.0, -0.1, 0.1, 64, "paired-t"), loss)},
    )
    part = with_loss.part(SUPPRESSION).change
    assert (part.lo, part.hi) == pytest.approx((0.2, 0.6))  # half widths added
    assert with_loss.procedure.value == pytest.approx((alone.procedure.value + 0.4) / 2)
    assert "added" in with_loss.index.method
    assert set(alone.missing) == {PAYOFF, SUPPRESSION, BUDGET}
    assert set(with_loss.missing) == {PAYOFF, BUDGET}


def test_what_cannot_be_estimated_is_missing_with_its_reason():
    before, after = world(n=40)
    met = np.r_[np.ones(3), np.zeros(37)]
    few = procedure_index(before | {"opportunities": met, "opportunities_left": met}, after)
    assert "only 3 questions" in few.missing[WENT_BACK]
    assert few.answer == "undecidable"
    assert not few.procedure.defined
    assert not few.index.defined
    with pytest.raises(DataError, match="different lengths"):
        procedure_index(before, {k: v[:-1] for k, v in after.items()})


def test_the_rules():
    def e(lo, hi):
        return Estimate((lo + hi) / 2, lo, hi, 100, "")

    nan = Estimate.undefined(0, "")
    up, small, wide = e(0.2, 0.4), e(-0.05, 0.05), e(-0.2, 0.3)
    assert answer(up, small, e(0.0, 0.3)) == "procedure"
    assert answer(up, up, e(0.05, 0.2)) == "procedure"
    assert answer(up, up, e(-0.1, 0.1)) == "both"
    assert answer(small, up, e(-0.3, -0.1)) == "style"
    assert answer(e(-0.02, 0.14), e(0.3, 0.4), e(-0.3, -0.1)) == "style"
    assert answer(small, small, small) == "neither"
    for p, s in ((wide, up), (up, wide), (wide, wide), (small, wide), (nan, up), (nan, nan)):
        assert answer(p, s, wide) == "undecidable"


# ---------------------------------------------------------------- in a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Countdown searched at the end and not at first; in `path` only the words came."""
    path = tmp_path_factory.mktemp("runs") / "planted"
    create_run(path, {"config_hash": "x"})
    rng = np.random.default_rng(0)
    for step, of in ((0, (ANSWERS, ANSWERS)), (64, (SEARCHES, SAYS_WAIT))):
        rows, items = [], []
        for domain, group, model in zip(("countdown", "path"), ("id_reasoning", "ood_reasoning"), of, strict=True):
            values = like(rng, model) | {"strict": (rng.random(120) < 0.5).astype(float)}
            values["tokens_outside_backtracks"] = values.pop("length")
            ids = [f"{domain}-{i}" for i in range(120)]
            for metric, column in values.items():
                items.append(
                    pd.DataFrame(
                        {
                            "item": ids,
                            "cluster": ids,
                            "metric": metric,
                            "value": column,
                            "domain": domain,
                            "group": group,
                        }
                    )
                )
            e = intervals.ratio(values["opportunities_left"], values["opportunities"])
            rows.append(Measurement(step, "all", "backtracks_per_opportunity", e, "share", domain))
            rows.append(Measurement(step, "all", "score_strict", intervals.mean(values["strict"]), "share", domain))
            if step:
                undefined = Estimate.undefined(0, "paired-t")
                rows.append(
                    Measurement(
                        step, "all", "suppression_loss_beyond_control", undefined, "share", domain, reason="no words"
                    )
                )
                slope = (
                    Estimate(0.4, 0.3, 0.5, 64, "t") if domain == "countdown" else Estimate(0.0, -0.05, 0.05, 64, "t")
                )
                rows.append(Measurement(step, "all", "budget_slope", slope, "share", domain))
        write_measurements(path, step, "all", key=f"k{step}", settings="s", rows=rows, items=pd.concat(items))
    return Run(path)


def test_a_run_s_finding_leads_with_the_domain_trained_on_and_names_every_part(run, tmp_path):
    trajectories = {d: from_run(run, d) for d in run.domains()}
    found = procedure_index_finding(run, trajectories)
    assert (found.domain, found.verdict, found.kind, found.step) == ("countdown", "procedure", "mechanism", 64)
    for words in ("half of procedure", "opportunities gone back from", "hang on the thinking +0.40", "(no words)"):
        assert words in found.sentence
    assert "payoff of going back (not measured)" in found.sentence
    assert "path style" in found.sentence
    assert found.details["path"]["answer"] == "style"
    assert found.estimate.lo > 0
    assert found.evidence
    told = [f.id for f in analyze(shutil.copytree(run.path, tmp_path / "copy"))]
    assert told.index("mechanism:procedure-index") < told.index("mechanism:procedure:countdown")


def test_a_domain_without_traces_has_no_index(small_run):
    run = Run(small_run)
    assert procedure_index_finding(run, {"facts": from_run(run, "facts")}) is None
