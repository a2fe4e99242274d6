"""Scores from elsewhere: tables and a harness's results become a run folder; what cannot be read says where and why."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import Run, analyze
from sftscope.dynamics.errors import DataError, RecordError
from sftscope.dynamics.scores.importing import import_scores
from sftscope.dynamics.scores.tables import read_benchmarks, read_table

REFERENCE = Path(__file__).parent / "reference"
ITEMS = "benchmark,group,items,samples_per_item\nmath,id_reasoning,500,3\ncode,ood_reasoning,300,1\n"
SCORES = "step,math,code\n0,50,40\n10,30,38\n20,60,41\n"


@pytest.fixture
def files(tmp_path):
    def write(scores=SCORES, items=ITEMS):
        (tmp_path / "scores.csv").write_text(scores)
        (tmp_path / "items.csv").write_text(items)
        return tmp_path / "scores.csv", tmp_path / "out", tmp_path / "items.csv"

    return write


def phases_of(run):
    return {f.domain: f for f in analyze(run) if f.kind == "phase"}


def test_a_table_of_scores_becomes_findings(files):
    found = phases_of(import_scores(*files()))
    assert found["math"].verdict == "dips-and-recovers"
    assert found["math"].estimate.value == pytest.approx(0.10)
    assert found["math"].details["assuming_paired"]["correlation"] == 0.5
    assert "assuming" in found["math"].sentence
    assert found["code"].verdict == "undecidable"
    assert Run(files()[1]).domains() == {"math": "id_reasoning", "code": "ood_reasoning"}
    assert json.loads((files()[1] / "findings.json").read_text())["schema"] == 1


def test_the_published_run_is_read_whole(tmp_path):
    table = REFERENCE / "qwen3_4b_math_cot.csv"
    found = phases_of(import_scores(table, tmp_path / "out", REFERENCE / "items_per_benchmark.csv"))
    assert set(found) == set(pd.read_csv(table).columns) - {"step"}
    assert all(math.isfinite(f.details["smallest_detectable_dip"]) for f in found.values())


def test_steps_in_any_order_and_an_edited_table_replaces_what_was_read(files):
    first = phases_of(import_scores(*files()))
    again = phases_of(import_scores(*files("step,code,math\n20,41,60\n0,40,50\n10,38,30\n")))
    assert first["math"].estimate == again["math"].estimate
    shorter = import_scores(*files("step,math\n0,50\n10,51\n"))
    assert Run(shorter).measured_steps() == [0, 10]
    assert set(phases_of(shorter)) == {"math"}


def test_no_base_and_no_items_are_findings(files):
    scores, out, items = files("step,math,other\n10,50,3\n20,40,4\n")
    found = analyze(import_scores(scores, out, items))
    assert any(f.id == "warning:no-base" for f in found)
    phases = {f.domain: f for f in found if f.kind == "phase"}
    assert phases["math"].verdict == phases["other"].verdict == "undecidable"
    scores, out, items = files("step,math,other\n0,50,300\n20,70,4\n")
    other = phases_of(import_scores(scores, out, items))["other"]
    assert "how many items" in other.sentence
    assert math.isnan(other.estimate.lo)


def test_a_score_that_is_no_share_gets_no_interval(files):
    items = (
        ITEMS.replace("samples_per_item", "samples_per_item,unit")
        .replace("500,3", "500,3,reward")
        .replace("300,1", "300,1,share")
    )
    found = phases_of(import_scores(*files("step,math,code\n0,-0.84,0.2\n10,1.2,0.6\n", items)))
    assert found["math"].verdict == "undecidable"
    assert "reward" in found["math"].sentence
    assert found["code"].verdict == "improves"


def test_a_missing_score_is_said_and_the_rest_judged(files):
    found = analyze(import_scores(*files("step,math,code\n0,50,40\n10,,38\n20,70,41\n")))
    assert "math at step 10" in next(f.sentence for f in found if f.id == "warning:missing-scores")
    assert next(f.verdict for f in found if f.domain == "math" and f.kind == "phase") == "improves"


def test_further_axes_are_no_benchmarks(files):
    run = Run(import_scores(*files("step,epoch,tokens,math\n0,0,0,50\n10,0.5,1000,70\n")))
    assert set(run.domains()) == {"math"}
    assert run.axes().loc[10, ["epoch", "tokens"]].tolist() == [0.5, 1000]
    assert [f.verdict for f in analyze(run.path) if f.kind == "phase"] == ["improves"]
    with pytest.raises(DataError, match="no column beside step, epoch"):
        import_scores(*files("step,epoch\n0,0\n10,0.5\n"))


def test_one_checkpoint_shows_nothing(files):
    assert "only one checkpoint" in phases_of(import_scores(*files("step,math\n0,50\n")))["math"].sentence


@pytest.mark.parametrize(
    ("scores", "items", "said"),
    [
        ("step,math\n0,50\n10,40\n10,41\n", ITEMS, "step 10 stands 2 times"),
        ("step,math\n0,50\n10,140\n", ITEMS, "140 in 'math' is no percent"),
        ("step,math\n0,50\n10,-1\n", ITEMS, "-1 in 'math' is no percent"),
        ("step,math\n0,50\n10,inf\n", ITEMS, "infinite"),
        ("step,math\n0,50\n10,n/a?\n", ITEMS, "'n/a?' in 'math' is not a number"),
        ("step,math\n0,0.5\n10,0.4\n", ITEMS, "no score is above 0.5"),
        ("step,math\nbase,50\n10,40\n", ITEMS, "'base' is no step"),
        ("step,math\n0.5,50\n10,40\n", ITEMS, "is no step"),
        ("steps,math\n0,50\n", ITEMS, "did you mean 'steps'"),
        ("step\n0\n", ITEMS, "holds no table"),
        ("step,math\n0,\n", ITEMS, "holds no score"),
        (SCORES, "benchmark,items\nmath,500\n", "no column `group`"),
        (SCORES, ITEMS.replace("id_reasoning", "id_reasonin"), "did you mean 'id_reasoning'"),
        (SCORES, ITEMS.replace("500", "0"), "a whole number from 1"),
        (SCORES, ITEMS + "math,general,3,1\n", "twice"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(files, scores, items, said):
    with pytest.raises(DataError) as error:
        import_scores(*files(scores, items))
    assert said in str(error.value)


def test_a_file_that_is_no_table(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"\0\1\2 no table")
    (tmp_path / "x.csv").write_bytes(b"\xd0\xff\0\1")
    for name in ("x.parquet", "x.csv", "missing.csv"):
        with pytest.raises(DataError, match=name):
            read_table(tmp_path / name)


def test_another_runs_folder_is_left_alone(files, small_run):
    scores, _, items = files()
    with pytest.raises(RecordError, match="folder of a run"):
        import_scores(scores, small_run, items)
    assert Run(small_run).measured_steps()


# ---------------------------------------------------------------- single answers


def answers(n=200, samples=1, seed=0):
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    rows = []
    for step, share in ((0, 0.6), (10, 0.35), (20, 0.65)):
        for item in range(n):
            for sample in range(samples):
                right = float(hard[item] + 0.05 * rng.standard_normal() < share)
                rows.append({"step": step, "benchmark": "math", "item": f"q{item}", "sample": sample, "score": right})
    return pd.DataFrame(rows)


def test_single_answers_are_paired_and_show_more_than_their_means(files, tmp_path):
    table = answers()
    table.drop(columns="sample").to_parquet(tmp_path / "long.parquet")
    paired = phases_of(import_scores(tmp_path / "long.parquet", tmp_path / "paired"))["math"]
    means = (table.groupby("step")["score"].mean() * 100).rename("math").reset_index()
    means.to_csv(tmp_path / "means.csv", index=False)
    (tmp_path / "n.csv").write_text("benchmark,group,items\nmath,general,200\n")
    apart = phases_of(import_scores(tmp_path / "means.csv", tmp_path / "apart", tmp_path / "n.csv"))["math"]
    assert paired.verdict == apart.verdict == "dips-and-recovers"
    assert paired.estimate.value == pytest.approx(apart.estimate.value)
    assert paired.details["smallest_detectable_dip"] < 0.8 * apart.details["smallest_detectable_dip"]


def test_samples_of_one_question_are_one_unit(tmp_path):
    answers(n=120, samples=4).to_parquet(tmp_path / "long.parquet")
    found = phases_of(import_scores(tmp_path / "long.parquet", tmp_path / "out"))["math"]
    assert found.estimate.n == 120
    assert found.details["items"] == 480


def test_answers_that_differ_between_checkpoints_are_a_finding(tmp_path):
    table = answers()
    table[~((table["step"] == 10) & (table["item"] == "q3"))].to_parquet(tmp_path / "long.parquet")
    found = phases_of(import_scores(tmp_path / "long.parquet", tmp_path / "out"))["math"]
    assert found.verdict == "undecidable"
    assert "q3" in found.sentence


# ---------------------------------------------------------------- lm-eval


def harness(folder, step, scores, *, samples=None, n=150, metric="exact_match,strict-match"):
    """One results file as lm-eval 0.4 writes it, with the answers beside it."""
    at = folder / f"checkpoint-{step}"
    at.mkdir(parents=True)
    date = f"2026-11-0{1 + step // 10}T10-00-00.000001"
    name, used = metric.split(",")
    told = {
        "results": {t: {"alias": t, metric: s, f"{name}_stderr,{used}": 0.04} for t, s in scores.items()},
        "groups": {},
        "n-samples": {t: {"original": n, "effective": n} for t in scores},
        "model_name": f"/runs/x/checkpoint-{step}",
    }
    (at / f"results_{date}.json").write_text(json.dumps(told))
    for task, values in (samples or {}).items():
        lines = [json.dumps({"doc_id": i, "filter": used, name: v}) for i, v in enumerate(values)]
        lines += [json.dumps({"doc_id": i, "filter": "flexible-extract", name: 1.0}) for i in range(len(values))]
        (at / f"samples_{task}_{date}.jsonl").write_text("\n".join(lines))


def test_results_of_a_harness_are_read_by_step_and_question(tmp_path):
    rng = np.random.default_rng(0)
    hard = rng.random(150)
    for step, share in ((0, 0.5), (10, 0.3), (20, 0.6)):
        values = (hard < share).astype(float).tolist()
        harness(tmp_path / "evals", step, {"gsm8k": float(np.mean(values)), "mmlu": share}, samples={"gsm8k": values})
    (tmp_path / "items.csv").write_text("benchmark,group,items\ngsm8k,id_reasoning,150\n")
    run = Run(import_scores(tmp_path / "evals", tmp_path / "out", tmp_path / "items.csv"))
    assert run.measured_steps() == [0, 10, 20]
    assert run.items("gsm8k").shape == (150, 3)
    assert run.domains() == {"gsm8k": "id_reasoning", "mmlu": "ungrouped"}
    found = phases_of(run.path)
    assert found["gsm8k"].verdict == "dips-and-recovers"
    assert "assuming_paired" in found["mmlu"].details
    assert "assuming_paired" not in found["gsm8k"].details


def test_results_that_do_not_say_their_step_or_change_their_questions(tmp_path):
    harness(tmp_path / "a", 0, {"gsm8k": 0.5})
    (tmp_path / "a" / "checkpoint-0").rename(tmp_path / "a" / "final")
    file = next((tmp_path / "a" / "final").glob("*.json"))
    file.write_text(file.read_text().replace("checkpoint-0", "model"))
    with pytest.raises(DataError, match="which step"):
        import_scores(tmp_path / "a", tmp_path / "out")
    harness(tmp_path / "b", 0, {"gsm8k": 0.5})
    harness(tmp_path / "b", 10, {"gsm8k": 0.5}, n=140)
    with pytest.raises(DataError, match="140 questions, earlier results have 150"):
        import_scores(tmp_path / "b", tmp_path / "out")


def test_the_items_table_is_checked_on_its_own(tmp_path):
    (tmp_path / "items.csv").write_text(ITEMS)
    assert read_benchmarks(tmp_path / "items.csv")["math"].samples_per_item == 3
