"""The run folder: files exist whole or not at all, results of different settings are not mixed, damage is named."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import Estimate, Measurement, RecordError, Run
from sftscope.dynamics.record import create_run, half_of, read_samples, write_measurements, write_samples, write_spans
from sftscope.dynamics.storage import content_key, whole_file, whole_folder, write_manifest
from synthetic import make_run


@pytest.fixture
def path(tmp_path):
    create_run(tmp_path / "r", {"config_hash": "x"})
    return tmp_path / "r"


def row(step, value, metric="m", probe="p"):
    return Measurement(step, probe, metric, Estimate(value, value, value, 3, "t"), "share")


def test_a_file_is_whole_or_absent(tmp_path):
    target = tmp_path / "a" / "f.txt"

    def write_and_die(text):
        with whole_file(target) as aside:
            aside.write_text(text)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_and_die("half")
    assert list(target.parent.iterdir()) == []
    with whole_file(target) as aside:
        aside.write_text("old")
    with pytest.raises(RuntimeError):
        write_and_die("new, half")
    assert target.read_text() == "old"
    assert [p.name for p in target.parent.iterdir()] == ["f.txt"]


def test_a_folder_is_whole_or_absent(tmp_path):
    target = tmp_path / "step-000001"

    def write_and_die():
        with whole_folder(target) as aside:
            (aside / "weights").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_die()
    assert list(tmp_path.iterdir()) == []
    with whole_folder(target) as aside:
        (aside / "weights").write_text("all")
        write_manifest(aside)
    assert set(p.name for p in target.iterdir()) == {"weights", "manifest.json"}
    with pytest.raises(OSError, match="step-000001"), whole_folder(target) as aside:
        (aside / "weights").write_text("again")
    assert (target / "weights").read_text() == "all"


def test_a_torn_last_line_is_dropped_and_a_torn_middle_is_named(path):
    lines = [json.dumps({"step": s, "loss": 1.0 / s}) for s in (1, 2, 3)]
    (path / "steps.jsonl").write_text("\n".join(lines) + '\n{"step": 4, "lo')
    assert Run(path).steps()["step"].tolist() == [1, 2, 3]
    (path / "steps.jsonl").write_text(lines[0] + '\n{"step": 2, "lo\n' + lines[2] + "\n")
    with pytest.raises(RecordError, match="line 2 is not JSON"):
        Run(path).steps()


def test_a_step_written_twice_counts_as_last_written(path):
    rows = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 2, "loss": 1.5}]
    (path / "steps.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert Run(path).steps()["loss"].tolist() == [3.0, 1.5]


def test_another_runs_folder_is_refused(path, tmp_path):
    create_run(path, {"config_hash": "x"})  # the same run: fine
    with pytest.raises(RecordError, match=r"belongs to another run: its `config_hash` is 'x', this one's is 'y'"):
        create_run(path, {"config_hash": "y"})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    with pytest.raises(RecordError, match="not empty"):
        create_run(tmp_path / "notes", {"config_hash": "x"})


def test_damage_is_named(path):
    with pytest.raises(RecordError, match="no run at"):
        Run(path.parent)
    (path / "run.json").write_text('{"schema": 1, ')
    with pytest.raises(RecordError, match="damaged"):
        Run(path)
    (path / "run.json").write_text('{"schema": 99}')
    with pytest.raises(RecordError, match="schema 99"):
        Run(path)


def test_results_of_older_settings_are_kept_and_not_mixed(path):
    write_measurements(path, 0, "p", key="a0", settings="old", rows=[row(0, 1.0)])
    write_measurements(path, 1, "p", key="a1", settings="old", rows=[row(1, 1.0)])
    write_measurements(path, 0, "p", key="b0", settings="new", rows=[row(0, 2.0)])
    run = Run(path)
    assert run.series("m")["value"].to_dict() == {0: 2.0}
    assert len(run.measurements(all_settings=True)) == 3


def test_the_newer_result_of_the_same_settings_counts(path):
    """A checkpoint trained again has other weights, hence another key: its items are not averaged with the old ones."""
    for key, value in (("z-old", 0.0), ("a-new", 1.0)):
        items = pd.DataFrame({"item": ["i"], "cluster": ["i"], "metric": "strict", "value": [value]})
        table = items.assign(domain="path", group="ood_reasoning")
        write_measurements(path, 0, "p", key=key, settings="s", rows=[row(0, value)], items=table)
    run = Run(path)
    assert run.series("m")["value"].to_dict() == {0: 1.0}
    assert run.items("path")[0].to_dict() == {"i": 1.0}


def test_a_run_read_again_is_as_if_read_anew_and_reads_only_what_is_new(path, monkeypatch):
    file = write_measurements(path, 0, "p", key="k0", settings="s", rows=[row(0, 0.5)])
    run = Run(path)
    assert len(run.measurements()) == 1
    write_measurements(path, 1, "p", key="k1", settings="s", rows=[row(1, 0.6)])
    write_measurements(path, 2, "q", key="k2", settings="s", rows=[row(2, 0.7, probe="q")])
    read, files = pd.read_parquet, []
    monkeypatch.setattr(pd, "read_parquet", lambda f: files.append(f.name) or read(f))
    pd.testing.assert_frame_equal(run.again().measurements(), Run(path).measurements())
    assert sorted(files) == sorted(["p-k1.parquet", "q-k2.parquet", "p-k0.parquet", "p-k1.parquet", "q-k2.parquet"])
    file.unlink()
    write_measurements(path, 1, "p", key="k1", settings="s", rows=[row(1, 0.9)])  # the same name, and not the same file
    run = run.again()
    assert run.measurements()["value"].tolist() == Run(path).measurements()["value"].tolist() == [0.9, 0.7]


def test_a_failed_probe_is_neither_zero_nor_silent(path):
    write_measurements(
        path, 0, "p", key="a", settings="s", rows=[Measurement.failure(0, "p", "no memory"), row(0, 1.0)]
    )
    run = Run(path)
    assert len(run.measurements()) == 1
    failed = run.measurements(failed=True).query("status == 'failed'")
    assert failed["reason"].tolist() == ["no memory"]
    assert math.isnan(failed["value"].iloc[0])


def test_a_probe_without_numbers_leaves_whole_numbers_whole(path):
    write_measurements(path, 1, "p", key="k1", settings="s", rows=[row(1, 0.5)])
    write_measurements(path, 1, "marks", key="k2", settings="s", rows=[])
    table = Run(path).measurements()
    assert [str(table[name].dtype) for name in ("step", "layer", "n")] == ["int64"] * 3


def test_unknown_metrics_get_near_names(path):
    write_measurements(path, 0, "p", key="a", settings="s", rows=[row(0, 1.0, "score_strict")])
    with pytest.raises(RecordError, match="did you mean 'score_strict'"):
        Run(path).series("score_strickt")


def test_items_and_samples_come_back_as_written(path):
    ids = ["a", "b", "c"]
    items = pd.DataFrame({"item": ids, "cluster": ["q", "q", "r"], "metric": "strict", "value": [1.0, 0.0, math.nan]})
    table = items.assign(domain="path", group="ood_reasoning")
    write_measurements(path, 4, "p", key="k", settings="s", rows=[row(4, 0.5)], items=table)
    run = Run(path)
    matrix = run.items("path")
    np.testing.assert_array_equal(matrix[4], [1.0, 0.0, math.nan])
    assert matrix.attrs["cluster"] == {"a": "q", "b": "q", "c": "r"}
    assert run.domains() == {"path": "ood_reasoning"}
    assert run.item_metrics("path") == ["strict"]
    assert run.item_metrics("nowhere") == []
    rows = [{"item": "ä <b>", "text": "…", "token_ids": [1, 2], "finish": "stop"}]
    assert read_samples(write_samples(path, 4, "path", key="k", rows=rows)) == rows


def test_axes_start_at_zero(tmp_path):
    run = Run(make_run(tmp_path / "r", n=5, steps=(0, 2)))
    axes = run.axes()
    assert axes.index.tolist() == [0, 1, 2]
    assert axes.loc[0].tolist() == [0, 0, 0]
    assert axes["cumulative_lr"].is_monotonic_increasing


def test_halves_and_keys_do_not_depend_on_the_process():
    assert "".join(half_of(f"item-{i}") for i in range(8)) == "".join(half_of(f"item-{i}") for i in range(8))
    assert 400 < sum(half_of(f"item-{i}") == "A" for i in range(1000)) < 600
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


@pytest.mark.parametrize("name", ["../../up", "a/b", "a\\b", "..", "a\0b", "L" * 101, ""])
def test_a_domain_whose_name_leads_elsewhere_is_refused(tmp_path, name):
    create_run(tmp_path / "run", {})
    before = sorted(tmp_path.rglob("*"))
    spans = pd.DataFrame(columns=["item", "kind", "name", "start", "end"])
    for write in (
        lambda: write_samples(tmp_path / "run", 4, name, key="k", rows=[]),
        lambda: write_spans(tmp_path / "run", 4, name, key="k", spans=spans),
    ):
        with pytest.raises(RecordError, match="give it a name of 1 to 100 characters") as error:
            write()
        assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
    for fine in ("their_math", "ü ñ 日本", "a.b", "L" * 100):
        rows = [{"item": "a"}]
        assert read_samples(write_samples(tmp_path / "run", 4, fine, key="k", rows=rows)) == rows
