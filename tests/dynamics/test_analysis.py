"""`analyze` writes all or nothing new, and what it writes agrees with itself."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import DataError, Measurement, RecordError, Run, analyze
from sftscope.dynamics.record import create_run, write_measurements
from sftscope.dynamics.statistics import intervals
from synthetic import STEPS, VERDICTS, make_run


def as_json(findings) -> str:
    return json.dumps([dataclasses.asdict(f) for f in findings])


def times(path) -> dict[str, int]:
    return {str(f): f.stat().st_mtime_ns for f in [*path.glob("analysis/*"), path / "findings.json"]}


def test_the_tables_hold_every_domain_and_step(tmp_path):
    path = make_run(tmp_path / "r", n=300)
    findings = analyze(path)
    bands = pd.read_parquet(path / "analysis/bands.parquet")
    assert len(bands) == len(VERDICTS) * len(STEPS)
    assert bands.groupby("domain")["verdict"].first().to_dict() == VERDICTS
    assert (bands["score_lo"] <= bands["score"]).all()
    assert (bands["diff_lo"] <= bands["diff"] + 1e-12).all()
    base = bands[bands["step"] == 0]
    assert (base[["diff", "diff_lo", "diff_hi"]] == 0).all().all()
    last = bands[bands["step"] == 256].set_index("domain")
    for finding in findings:
        if finding.kind == "phase":
            row = last.loc[finding.domain]
            assert (row["diff"], row["diff_lo"], row["diff_hi"]) == pytest.approx(
                (finding.estimate.value, finding.estimate.lo, finding.estimate.hi)
            )
    assert len(pd.read_parquet(path / "analysis/association.parquet")) > 50


def test_nothing_is_done_twice_and_the_answer_is_the_same(small_run):
    first = analyze(small_run)
    before = times(small_run)
    again = analyze(small_run)
    assert times(small_run) == before
    assert as_json(again) == as_json(first)
    assert again[0].evidence == first[0].evidence  # tuples again, not lists


def test_new_measurements_are_analysed(analysed_run):
    before = times(analysed_run)
    row = Measurement.failure(2, "late", "no memory")
    write_measurements(analysed_run, 2, "late", key="x", settings="s", rows=[row])
    assert any("no memory" in f.sentence for f in analyze(analysed_run))
    assert times(analysed_run) != before


def test_findings_are_strict_json_and_undefined_numbers_come_back_as_nan(tmp_path):
    path = make_run(tmp_path / "run", n=40, steps=(0,))
    analyze(path)

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    json.loads((path / "findings.json").read_text(), parse_constant=refuse)
    phase = next(f for f in Run(path).findings() if f["kind"] == "phase")
    assert math.isnan(phase["estimate"]["value"])
    assert math.isnan(phase["details"]["smallest_detectable_dip"])
    assert phase["details"]["trough_step"] is None


@pytest.mark.parametrize("lost", ["findings.json", "analysis/bands.parquet", "analysis/key.json"])
def test_what_was_lost_is_made_again(analysed_run, lost):
    first = analyze(analysed_run)
    (analysed_run / lost).unlink()
    assert as_json(analyze(analysed_run)) == as_json(first)
    assert (analysed_run / lost).is_file()


def test_findings_changed_by_hand_are_not_trusted(analysed_run):
    first = analyze(analysed_run)
    file = analysed_run / "findings.json"
    file.write_text(file.read_text().replace("One run", "Ten runs"))
    assert as_json(analyze(analysed_run)) == as_json(first)


def test_an_analysis_is_the_same_every_time(tmp_path):
    a, b = (make_run(tmp_path / name / "same", n=30, steps=(0, 1, 2, 4, 8, 16, 32)) for name in "ab")
    assert as_json(analyze(a)) == as_json(analyze(b))


def test_a_domain_whose_items_differ_does_not_hide_the_others(small_run):
    items = pd.DataFrame({"item": ["new"], "cluster": ["new"], "metric": "strict", "value": [1.0]})
    rows = [Measurement(2, "scores", "score_strict", intervals.mean([1.0]), "share", "path")]
    table = items.assign(domain="path", group="ood_reasoning")
    write_measurements(small_run, 2, "scores", key="extra", settings="s", rows=rows, items=table)
    phases = {f.domain: f for f in analyze(small_run) if f.kind == "phase"}
    assert len(phases) == len(VERDICTS)
    assert phases["path"].verdict == "undecidable"
    assert "differ between checkpoints" in phases["path"].sentence
    assert phases["countdown"].estimate.defined


def test_a_run_with_nothing_measured_says_so(tmp_path):
    create_run(tmp_path / "r", {"config_hash": "x"})
    findings = analyze(tmp_path / "r")
    assert findings[-1].kind == "warning"
    assert any("Nothing has been measured" in f.sentence for f in findings)


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="no run at"):
        analyze(tmp_path)
    assert not (tmp_path / "analysis").exists()


def test_nan_scores_are_no_zeros(tmp_path):
    path = make_run(tmp_path / "r", n=20, steps=(0, 1))
    items = pd.DataFrame({"item": [f"countdown-{i:04d}" for i in range(20)], "metric": "strict", "value": np.nan})
    table = items.assign(domain="countdown", group="id_reasoning", cluster=items["item"])
    rows = [Measurement(2, "scores", "score_strict", intervals.mean([np.nan]), "share", "countdown")]
    write_measurements(path, 2, "scores", key="nan", settings="s", rows=rows, items=table)
    phase = next(f for f in analyze(path) if f.id == "phase:countdown")
    assert "20 of 20 are missing at step 2" in phase.sentence
    assert issubclass(DataError, Exception)
