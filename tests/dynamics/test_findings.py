"""Findings are correct English, carry their numbers, and come in the order in which one decides."""

import re

import numpy as np
import pytest
from sftscope.dynamics import Estimate, Measurement, Phase, Run, Trajectory, analyze, judge
from sftscope.dynamics.choice.advice import _decide
from sftscope.dynamics.choice.tradeoff import mean_of_independent
from sftscope.dynamics.findings.building import phase_sentence
from sftscope.dynamics.findings.wording import against_base, number, signed, step_list, title
from sftscope.dynamics.procedure.mechanism import _procedure_reading
from sftscope.dynamics.record import write_measurements
from synthetic import VERDICTS, item_answers, make_run, spread

STEPS = np.array([0, 1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256])
SHAPES = {
    "dips-and-recovers": (0.6, 0.4, 0.25, 0.5, 0.8),
    "under-optimised": (0.6, 0.4, 0.15, 0.3, 0.4),
    "degrades": (0.6, 0.5, 0.4, 0.3, 0.3),
    "improves": (0.3, 0.4, 0.5, 0.6, 0.6),
    "overfits": (0.4, 0.6, 0.8, 0.6, 0.4),
    "flat": (1.0, 1.0),
    "undecidable": (0.5, 0.5),
}
OPENINGS = {
    "dips-and-recovers": "dips and recovers",
    "under-optimised": "is under-optimised",
    "degrades": "degrades",
    "improves": "improves",
    "overfits": "overfits",
    "flat": "stays flat",
    "undecidable": "is undecidable",
}


def judged(*points: float, n: int = 300, seed: int = 0) -> Phase:
    x = item_answers(spread(points, STEPS), n, np.random.default_rng(seed))
    return judge(Trajectory("strict", "d", "id_reasoning", STEPS, x, tuple(f"q{i}" for i in range(n))))


@pytest.mark.parametrize("verdict", SHAPES)
def test_every_verdict_has_a_sentence_with_its_numbers(verdict):
    phase = judged(*SHAPES[verdict])
    assert phase.verdict == verdict
    sentence = phase_sentence(title("subset_sum", "ood_reasoning"), phase)
    assert sentence.startswith(f"Subset sum (out-of-domain reasoning) {OPENINGS[verdict]}: ")
    assert sentence.endswith(f"smallest detectable dip {phase.margin:.2f} (seen 9 times in 10; n = 300).")
    assert re.search(r"\[-?\d\.\d\d, -?\d\.\d\d\]", sentence)
    assert f"{phase.base.value:.2f} at step 0" in sentence
    assert "at step 256" in sentence
    assert "nan" not in sentence
    assert "-0.00" not in sentence


def test_the_sentence_agrees_with_the_phase():
    phase = judged(*SHAPES["dips-and-recovers"])
    sentence = phase_sentence("Countdown (in-domain reasoning)", phase)
    expected = (
        f"{phase.depth.value:.2f} lower [{phase.depth.lo:.2f}, {phase.depth.hi:.2f}] at step {phase.trough_step} "
        f"(selection-corrected), {phase.final.value:.2f} above base [{phase.final.lo:.2f}, {phase.final.hi:.2f}]"
    )
    assert expected in sentence


def test_losses_are_told_in_the_direction_of_their_words():
    assert against_base(Estimate(-0.1, -0.16, -0.04, 10, "")) == "0.10 below base [0.04, 0.16]"
    assert against_base(Estimate(0.04, -0.02, 0.10, 10, "")) == "0.04 above base [-0.02, 0.10]"
    assert against_base(Estimate(-0.001, -0.02, 0.02, 10, "")) == "level with base [-0.02, 0.02]"
    assert signed(Estimate(-0.1, -0.16, -0.04, 10, "")) == "-0.10 [-0.16, -0.04]"
    assert signed(Estimate.undefined(0, "")) == "undefined"
    assert number(-0.0004) == "0.00"
    assert step_list([4]) == "step 4"
    assert step_list([8, 4, 4]) == "steps 4 and 8"


def test_a_domain_without_a_base_is_a_finding_and_no_crash(tmp_path):
    findings = analyze(make_run(tmp_path / "late", n=30, steps=(4, 8)))
    phases = [f for f in findings if f.kind == "phase"]
    assert {f.verdict for f in phases} == {"undecidable"}
    assert all("no base (step 0)" in f.sentence for f in phases)
    one = analyze(make_run(tmp_path / "single", n=30, steps=(0,)))
    assert all("only one checkpoint" in f.sentence for f in one if f.kind == "phase")


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    path = make_run(tmp_path_factory.mktemp("runs") / "planted", n=300)
    return path, analyze(path)


def by_id(findings):
    return {f.id: f for f in findings}


def test_findings_agree_with_what_was_planted(analysed):
    _, findings = analysed
    assert {f.domain: f.verdict for f in findings if f.kind == "phase"} == VERDICTS


def test_the_most_decision_worthy_comes_first(analysed):
    _, findings = analysed
    kinds = [f.kind for f in findings]
    assert kinds[0] == "advice"
    assert kinds.index("tradeoff") < kinds.index("phase")  # what to do and at which price, before the accounts
    groups = [f.details["group"] for f in findings if f.kind == "phase"]
    order = ["id_reasoning", "ood_reasoning", "general", "safety"]
    assert groups == sorted(groups, key=order.index)
    assert findings[-1].id == "warning:one-seed"
    assert len({f.id for f in findings}) == len(findings)


def test_only_declared_outcomes_are_not_exploratory(analysed):
    _, findings = analysed
    declared = {f.domain for f in findings if f.kind == "phase" and not f.exploratory}
    assert declared == {"countdown", "path"}  # one declared as a domain, one as domain.metric


def test_every_finding_names_its_evidence_and_what_would_overturn_it(analysed):
    path, findings = analysed
    for finding in findings:
        assert finding.would_overturn
        assert finding.sentence.endswith(".")
        assert finding.evidence
        assert all((path / file).is_file() for file in finding.evidence)
    phase = by_id(findings)["phase:countdown"]
    assert any(f.startswith("items/") for f in phase.evidence)
    assert phase.details["depth"]["lo"] > 0
    assert phase.details["smallest_detectable_dip"] > 0


def test_procedure_and_style_are_reported_with_their_parts(analysed):
    finding = by_id(analysed[1])["mechanism:procedure:countdown"]
    for part in (
        "go-backs per opportunity",
        "go-backs per 1k tokens",
        "verbal cues per 1k tokens",
        "tokens per response",
    ):
        assert part in finding.sentence


def test_the_advice_follows_from_the_reasoning_domains(analysed):
    advice = analysed[1][0]
    assert advice.verdict == "train-on"
    assert "train on for the sake of path" in advice.sentence
    assert "The price so far: facts and harmful fell; more of the same is not shown" in advice.sentence, advice.sentence


@pytest.mark.parametrize(
    ("inside", "outside", "verdict"),
    [
        ("overfits", "under-optimised", "over-trained"),
        ("under-optimised", "improves", "train-on"),
        ("degrades", "improves", "no-gain"),
        ("improves", "improves", "done"),
        ("dips-and-recovers", "degrades", "done"),
        ("improves", "overfits", "done"),
        ("improves", "under-optimised", "train-on"),
        ("undecidable", "overfits", "over-trained"),
        ("undecidable", "under-optimised", "train-on"),
        ("flat", "degrades", "no-gain"),
        ("flat", "improves", "done"),
        ("flat", "flat", "no-effect"),
        ("undecidable", "flat", "undecided"),
    ],
)
def test_advice_for_every_pair_of_verdicts(inside, outside, verdict):
    phases = {v: judged(*SHAPES[v]) for v in {inside, outside}}
    got, sentence, _ = _decide({"countdown": phases[inside]}, {"path": phases[outside]})
    assert got == verdict
    assert sentence.endswith(".")
    if "overfits" in (inside, outside) and verdict != "train-on":
        assert "step" in sentence  # the checkpoint to prefer


def test_refusal_is_named_only_after_both_interventions(small_run, analysed):
    good = by_id(analysed[1])["mechanism:refusal-direction"]
    assert good.verdict == "refusal direction"
    assert "layer 2" in good.sentence
    path = small_run
    weak = {"refusal_rate_ablated": 0.05, "refusal_rate_ablated_random": 0.95} | {
        "refusal_rate_added": 0.30,  # adding it causes no more refusals than a random direction does
        "refusal_rate_added_random": 0.25,
    }
    rows = [
        Measurement(0, "causal", m, Estimate(v, v - 0.08, v + 0.08, 100, "wilson"), "share", "harmful", 1)
        for m, v in weak.items()
    ]
    write_measurements(path, 0, "causal", key="newer", settings="newer", rows=rows)
    finding = by_id(analyze(path))["mechanism:refusal-direction"]
    assert finding.verdict == "harm recognition"
    assert "Adding it does not cause them beyond a random direction: it is called harm recognition" in finding.sentence
    assert "no diagnosis of refusal" in finding.sentence


def test_an_ablation_that_breaks_the_model_is_no_mechanism(small_run):
    rows = [
        Measurement(0, "cost", m, Estimate(v, v - 0.05, v + 0.05, 100, "wilson"), "share", "safe", 2)
        for m, v in (("helpful_rate_base", 0.9), ("helpful_rate_ablated", 0.3))
    ]
    write_measurements(small_run, 0, "cost", key="k", settings="s", rows=rows)
    finding = by_id(analyze(small_run))["mechanism:refusal-direction"]
    assert finding.verdict == "harm recognition"
    assert "breaks harmless compliance too (0.90 [0.85, 0.95] to 0.30 [0.25, 0.35])" in finding.sentence


def test_a_broken_model_is_told_from_an_unsafe_one(tmp_path):
    fall = (0.97, 0.9, 0.7, 0.3, 0.2)
    steps = (0, 1, 2, 4, 8)
    broken = analyze(make_run(tmp_path / "broken", n=150, steps=steps, curves={"harmful": fall, "safe": fall}))
    unsafe = analyze(make_run(tmp_path / "unsafe", n=150, steps=steps, curves={"harmful": fall, "safe": (0.99, 0.99)}))
    assert "a broken model rather than an unsafe one" in by_id(broken)["tradeoff:last"].sentence
    assert "safety was lost, not ability to answer" in by_id(unsafe)["tradeoff:last"].sentence
    assert "answers broke" in by_id(broken)["mechanism:refusal"].sentence


def test_over_refusal_is_told_from_broken_answers(tmp_path):
    curves = {"harmful": (0.97, 0.97), "safe": (0.97, 0.3)}
    found = by_id(analyze(make_run(tmp_path / "run", n=150, steps=(0, 1, 2, 4, 8), curves=curves, refused_share=1.0)))
    assert "came to be refused too" in found["tradeoff:last"].sentence
    assert "over-refusal" in found["mechanism:refusal"].sentence
    assert "broke" not in found["mechanism:refusal"].sentence


def test_a_termination_collapse_is_told_from_a_loss_of_ability(tmp_path):
    """The same planted dip in both: in one, wrong answers did not finish."""
    dip = {"countdown": (0.8, 0.5, 0.2, 0.6, 0.8)}
    steps = (0, 1, 2, 4, 8, 16, 32)
    stuck = {"countdown": (0.98, 0.3, 0.05, 0.5, 0.98)}
    endless = by_id(analyze(make_run(tmp_path / "endless", n=200, steps=steps, curves=dip, finish=stuck)))
    able = by_id(analyze(make_run(tmp_path / "able", n=200, steps=steps, curves=dip)))
    warning = endless["warning:dip-by-finishing:countdown"]
    assert warning.verdict == "termination-collapse"
    shares = [f["share"] for f in warning.details["factors"].values()]
    assert sum(shares) == pytest.approx(1)
    assert endless["phase:countdown"].details["split"]["carrier"] == "finishing"
    assert able["phase:countdown"].details["split"]["carrier"] == "accuracy"
    assert "carried mostly by accuracy" in able["phase:countdown"].sentence
    assert "warning:dip-by-finishing:countdown" not in able


def test_failures_zeros_and_single_chains_are_warned_of(tmp_path):
    path = make_run(tmp_path / "r", n=25, steps=(0, 1, 2), curves={"calculation": (0.5, 0.0, 0.5)})
    write_measurements(
        path,
        1,
        "refusal",
        key="f",
        settings="s",
        rows=[Measurement.failure(1, "refusal", "out of memory", domain="safe")],
    )
    top3 = [
        Measurement(2, "backtracking", "backtracks_top3_share", Estimate(0.92, 0.92, 0.92, 25, ""), "share", "path")
    ]
    write_measurements(path, 2, "backtracking", key="t", settings="s", rows=top3)
    findings = analyze(path)
    sentences = [f.sentence for f in findings if f.kind == "warning"]
    assert any("refusal on safe failed at step 1: out of memory" in s for s in sentences)
    assert any(s.startswith("Calculation") and "exactly 0 on all 25 items at step 1" in s for s in sentences)
    assert 2 in by_id(findings)["warning:top3:path"].details["steps"]
    assert any("In path, three responses hold over 30 % of all go-backs" in s for s in sentences)
    first_phase = min(i for i, f in enumerate(findings) if f.kind == "phase")
    assert max(i for i, f in enumerate(findings) if f.kind == "warning" and f.id != "warning:one-seed") < first_phase


def test_a_failure_measured_again_is_not_one_any_more(small_run):
    path = small_run
    write_measurements(path, 1, "late", key="1", settings="s", rows=[Measurement.failure(1, "late", "no memory")])
    assert any("failed" in f.sentence for f in analyze(path))
    ok = Measurement(1, "late", "something", Estimate(1, 0, 2, 5, "t"), "share")
    write_measurements(path, 1, "late", key="2", settings="s", rows=[ok])
    assert not any("failed" in f.sentence for f in analyze(path))


@pytest.mark.parametrize(
    ("before", "after", "half", "verdict"),
    [
        (0.5, 0.5, 0.04, "style"),
        (0.5, 0.8, 0.04, "procedure"),
        (0.8, 0.5, 0.04, "less-procedure"),
        (0.5, 0.5, 0.3, "undecidable"),  # too wide to say that nothing rose
    ],
)
def test_style_is_told_from_procedure(before, after, half, verdict):
    known = {
        "backtracks_per_opportunity": tuple(Estimate(v, v - half, v + half, 50, "t") for v in (before, after)),
        "cues_per_1k_tokens": (Estimate(1.0, 0.5, 1.5, 50, "t"), Estimate(9.0, 8.0, 10.0, 50, "t")),
    }
    got, sentence = _procedure_reading(known)
    assert got == verdict
    assert sentence.endswith(".")
    assert ("cues" in sentence) == (verdict != "less-procedure")


def test_independent_means_add_in_quadrature():
    e = mean_of_independent([Estimate(0.1, 0.0, 0.2, 50, ""), Estimate(0.3, 0.2, 0.4, 80, "")])
    assert (e.value, e.n) == (pytest.approx(0.2), 50)
    assert e.hi - e.value == pytest.approx(0.1 / np.sqrt(2))


def test_run_reads_findings_back_as_written(analysed):
    path, findings = analysed
    assert [f["sentence"] for f in Run(path).findings()] == [f.sentence for f in findings]
