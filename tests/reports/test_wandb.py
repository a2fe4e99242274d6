"""What W&B is pushed is what the record says, to the last bit; pushing twice adds nothing, and a kill loses nothing."""

import json
import math
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sftscope.dynamics import Estimate, Measurement, analyze
from sftscope.dynamics.errors import ConfigError, RecordError
from sftscope.dynamics.mirror.artifacts import checkpoint_artifact, declare_input
from sftscope.dynamics.mirror.opening import chosen_mode, init_arguments, training_id
from sftscope.dynamics.mirror.rows import (
    BY_DOMAIN,
    LAYERED,
    STEP,
    as_table,
    history,
    left_out,
    measured_rows,
    training_rows,
)
from sftscope.dynamics.mirror.store import read_stored
from sftscope.dynamics.mirror.tables import SAMPLES, SAMPLES_PER_DOMAIN, SampleTables
from sftscope.dynamics.record import Run, step_name, write_measurements, write_samples
from sftscope.dynamics.storage import sha256_file, whole_folder, write_manifest
from sftscope.dynamics.watching import checkpoint_alerts
from sftscope.reports import push
from sftscope.reports.live import LiveMirror
from sftscope.reports.source import Source
from sftscope.train.tracking import TrackingConfig
from sftscope.watch import watch_run


def job_of(folders, name):
    """The folder of one of a push's W&B runs, in the order in which they are made."""
    return dict(zip(("training", "probes", "report"), folders, strict=True))[name]


@pytest.fixture(scope="module")
def pushed(run, tmp_path_factory):
    path = shutil.copytree(run, tmp_path_factory.mktemp("pushed") / "planted")
    add_a_checkpoint(path)
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        folders = push(path, say=said.append)
    return path, folders, said


def add_a_checkpoint(path, step=256):
    with whole_folder(path / "checkpoints" / step_name(step)) as aside:
        (aside / "config.json").write_text("{}")
        (aside / "model.safetensors").write_bytes(b"weights" * 1000)
        write_manifest(aside, {"step": step, "weights": "abc"})


def expected_rows(path):
    """The probes' rows, from the long table by another road than the mirror's: by step, name -> number."""
    record = Run(path)
    wanted = {step: {STEP: step} for step in Source(path).steps}
    for name, metric in BY_DOMAIN.items():
        for row in record.measurements(metric=metric).to_dict("records"):
            add_numbers(wanted, f"{name}/{row['domain']}", row)
    for metric in LAYERED:
        rows = record.measurements(metric=metric)
        layers = sorted(set(rows["layer"]))
        for row in rows[rows["layer"] == layers[len(layers) // 2]].to_dict("records") if len(rows) else ():
            add_numbers(wanted, f"direction/{metric}", row)
    return list(wanted.values())


def add_numbers(wanted, name, row):
    for key, column in ((name, "value"), (f"{name}_lower", "lo"), (f"{name}_upper", "hi")):
        if math.isfinite(row[column]):
            wanted[row["step"]][key] = row[column]


def without_tables(rows):
    """Numbers alone: a table's columns lie below its name."""
    return [
        {k: v for k, v in row.items() if k.split("/")[0] not in ("samples", "layers", "measurements")} for row in rows
    ]


def test_what_is_pushed_is_exactly_what_the_record_says(pushed):
    path, folders, _ = pushed
    stored = read_stored(job_of(folders, "probes"))
    assert without_tables(stored.numbers()) == expected_rows(path)  # equal, not nearly equal
    assert stored.exit_code == 0
    assert stored.step_metrics["*"] == STEP
    assert sum(len(row) for row in expected_rows(path)) > 500
    steps = [json.loads(line) for line in (path / "steps.jsonl").read_text().splitlines()]
    trained = [row for row in read_stored(job_of(folders, "training")).numbers() if "train/loss" in row]
    wanted = [{f"train/{name}": value for name, value in row.items() if value is not None} for row in steps]
    assert [{k: v for k, v in row.items() if k.startswith("train/")} for row in trained] == wanted


def test_wandb_itself_reads_the_same(pushed):
    """Our reader of the offline store against W&B's own, which is a program in another language."""
    for folder in pushed[1]:
        command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(folder)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
        theirs = [r["history"]["item"] for r in map(json.loads, lines) if r["type"] == "history"]
        ours = read_stored(folder).rows
        theirs = [{k.replace(".", "/"): v for k, v in row.items()} for row in theirs]  # of what is nested
        assert len(ours) > 0
        assert [{k.replace(".", "/"): v for k, v in row.items()} for row in ours] == theirs


def test_few_names_and_layers_as_a_table(pushed):
    names = {name for row in read_stored(job_of(pushed[1], "probes")).numbers() for name in row}
    assert (
        len({n.removesuffix("_lower").removesuffix("_upper") for n in without_tables([dict.fromkeys(names)])[0]}) < 60
    )
    assert "direction/refusal_cosine_to_base" in names
    (table,) = tables_of(job_of(pushed[1], "probes"), "layers")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    for metric in ("refusal_cosine_to_base", "refusal_auc_frozen"):
        long = Run(pushed[0]).measurements(metric=metric).to_dict("records")
        wanted = {
            (r["layer"], r["step"]): [x if math.isfinite(x) else None for x in (r["value"], r["lo"], r["hi"])]
            for r in long
        }
        found = {(r["layer"], r["step"]): [r["value"], r["lower"], r["upper"]] for r in rows if r["metric"] == metric}
        assert found == wanted
        assert len(found) >= 48  # layers x checkpoints


def tables_of(folder, name):
    """The tables of one name, in order of their steps: that of a file's name is W&B's own."""
    tables = [json.loads(file.read_text()) for file in folder.glob(f"files/media/table/{name}_*.json")]
    return sorted(tables, key=lambda table: dict(zip(table["columns"], table["data"][0], strict=True)).get("step"))


def test_a_table_for_each_checkpoint_holds_every_row_of_the_record(pushed):
    path, folders, _ = pushed
    record, found = Run(path), []
    for table in tables_of(job_of(folders, "probes"), "measurements"):
        found += [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    wanted = []
    for row in record.measurements(failed=True).to_dict("records"):
        names = {"value": "value", "lower": "lo", "upper": "hi"}
        numbers = {name: row[column] if math.isfinite(row[column]) else None for name, column in names.items()}
        kept = ("step", "probe", "metric", "domain", "layer", "position", "n", "unit", "status", "reason")
        wanted.append({name: row[name] for name in kept} | numbers)
    assert sorted(found, key=str_of) == sorted(wanted, key=str_of)  # equal, not nearly equal
    assert any(row["reason"] == "it met a <b>wall</b>" and row["status"] == "failed" for row in found)
    assert any(row["value"] is None and row["status"] == "ok" for row in found)
    assert {row["metric"] for row in found} > {*BY_DOMAIN.values(), *LAYERED}


def str_of(row):
    return [str(row[name]) for name in ("step", "probe", "metric", "domain", "layer", "position")]


@pytest.mark.usefixtures("plain_page")
def test_a_table_that_a_panel_draws_in_part_is_said_and_whole_in_its_artifact(own_run, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb.Table, "MAX_ROWS", 50)
    said = []
    folder = job_of(push(own_run, say=said.append), "probes")
    table = Run(own_run).measurements(failed=True)
    rows = table.groupby("step").size().max()
    assert any(line.startswith(f"the table `measurements` has {rows} rows") for line in said)
    assert any(line.startswith("the table `layers` has") for line in said)
    entries = [entry for artifact in read_stored(folder).artifacts for entry in artifact.manifest.contents]
    files = [Path(entry.local_path) for entry in entries if entry.path == "measurements.table.json"]
    assert sum(len(json.loads(file.read_text())["data"]) for file in files) == len(table)


def test_a_table_of_samples_for_each_checkpoint_with_the_same_items(pushed):
    path, folders, _ = pushed
    tables, source = tables_of(job_of(folders, "probes"), "samples"), Source(path)
    assert len(tables) == len(source.steps)
    items = []
    for step, table in zip(source.steps, tables, strict=True):
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        assert {row["step"] for row in rows} == {step}
        assert {row["domain"] for row in rows} == set(source.run.domains())
        items.append([(row["domain"], row["item"]) for row in rows])
        for row in rows:
            strict = source.run.items(row["domain"], "strict").loc[row["item"], step]
            assert (row["verdict"] in ("right", "refused", "helped")) == (strict > 0.5)
            sample = source.run.samples(row["domain"], step).set_index("item").loc[row["item"]]
            assert row["tokens"] == len(sample["token_ids"])
            assert row["answer"] in sample["text"]
    assert all(same == items[0] for same in items)


def test_a_table_of_samples_is_bounded(own_run):
    rows = [
        {"item": f"path-{i:04d}", "prompt": "p", "text": "t", "token_ids": [1], "finish": "stop"} for i in range(120)
    ]
    write_samples(own_run, 256, "path", key="zz", rows=rows)
    picked = [row[2] for row in SampleTables(Run(own_run)).rows(256) if row[1] == "path"]
    assert len(picked) == SAMPLES_PER_DOMAIN
    assert max(picked) > "path-0040"  # not the first of the file
    write_samples(own_run, 192, "path", key="zz", rows=rows[::-1])
    assert [row[2] for row in SampleTables(Run(own_run)).rows(192) if row[1] == "path"] == picked


def test_the_text_of_a_model_stays_text(own_run):
    text = "<think>\x1b[31m<script>alert(1)</script></think>" + "long " * 9999
    rows = [{"item": "path-0001", "prompt": "<b>p</b>", "text": text, "token_ids": [1, 2], "finish": "length"}]
    write_samples(own_run, 256, "path", key="zz", rows=rows)
    (row,) = [r for r in SampleTables(Run(own_run)).rows(256) if r[1] == "path"]
    row = dict(zip(SAMPLES, row, strict=True))
    assert row["prompt"] == "<b>p</b>"
    assert row["think"] == "␛[31m<script>alert(1)</script>"
    assert len(row["answer"]) < 4_100
    assert "cut here: 4,000 of 49,994" in row["answer"]


def artifacts_of(folders, name, kind):
    return [a for a in read_stored(job_of(folders, name)).artifacts if a.type == kind]


def test_checkpoints_are_references_and_each_artifact_names_its_origin(pushed):
    path, folders, _ = pushed
    (checkpoint,) = artifacts_of(folders, "training", "checkpoint")
    assert "step-000256" in checkpoint.aliases
    entries = {entry.path: entry for entry in checkpoint.manifest.contents}
    folder = path / "checkpoints" / "step-000256"
    assert entries["model.safetensors"].ref == (folder / "model.safetensors").as_uri()
    assert not entries["model.safetensors"].local_path  # not copied
    assert entries["manifest.json"].local_path == str(folder / "manifest.json")
    told = json.loads(checkpoint.metadata)
    assert told["sha256"]["model.safetensors"] == sha256_file(folder / "model.safetensors")
    probes = {json.loads(a.metadata)["step"]: a for a in artifacts_of(folders, "probes", "probe")}
    assert list(probes) == Source(path).steps
    (origin,) = json.loads(probes[256].metadata)["inputs"]
    assert origin == {"artifact": f"{checkpoint.name}:step-000256", "type": "checkpoint", "digest": checkpoint.digest}
    assert json.loads(probes[0].metadata)["inputs"] == []  # its weights are not here
    (report,) = artifacts_of(folders, "report", "report")
    inputs = json.loads(report.metadata)["inputs"]
    assert {i["digest"] for i in inputs} == {a.digest for a in probes.values()}
    assert {i["artifact"] for i in inputs} >= {f"{probes[256].name}:step-000256"}
    for entry in report.manifest.contents:  # what will be uploaded is there, and in the run folder
        assert sha256_file(Path(entry.local_path)) == json.loads(report.metadata)["sha256"][entry.path]
        assert Path(entry.local_path).is_relative_to(path)


@pytest.mark.usefixtures("plain_page")
def test_an_upload_finds_its_files_from_any_directory(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.chdir(own_run.parent)
    add_a_checkpoint(Path(own_run.name))
    files = [file for folder in push(own_run.name) for file in read_stored(folder).local_files()]
    monkeypatch.chdir("/")
    assert own_run / "checkpoints" / "step-000256" / "manifest.json" in files
    assert [file for file in files if not file.is_absolute() or not file.is_file()] == []


def test_other_weights_are_another_version_at_the_same_place(pushed, tmp_path):
    record, folder = Run(pushed[0]), tmp_path / "step-000256"
    digests = []
    for content in (b"one", b"two", b"one"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(content)
        write_manifest(folder)
        digests.append(checkpoint_artifact(record, 256, folder).digest)
    assert digests[0] == digests[2] != digests[1]


def test_online_an_input_is_declared_and_offline_it_is_named(pushed):
    """Without an account there is no online run to ask: what W&B's run is told is recorded here."""

    class Told:
        offline = False

        def __init__(self):
            self.used = []

        def use_artifact(self, artifact, aliases):
            self.used.append((artifact.name, artifact.type, tuple(aliases)))

    record, told = Run(pushed[0]), Told()
    artifact = checkpoint_artifact(record, 256, record.checkpoints()[256])
    origin = declare_input(told, artifact, 256)
    assert told.used == [(artifact.name, "checkpoint", ("step-000256",))]
    told.offline, told.used = True, []
    assert declare_input(told, artifact, 256) == origin
    assert told.used == []


def test_the_page_and_the_findings_are_logged(pushed):
    path, folders, said = pushed
    folder = job_of(folders, "report")
    (html,) = folder.glob("files/media/html/report*.html")
    assert html.read_text() == (path / "report.html").read_text()
    (findings,) = tables_of(folder, "findings")
    assert len(findings["data"]) == len(Run(path).findings())
    assert said[:-1] == [f"pushed: {folder.resolve()}" for folder in folders]
    assert "wandb sync" in said[-1]  # once


@pytest.mark.parametrize(("steps", "second"), [(5, {"report-traces.html"}), (24, set())], ids=["two pages", "one page"])
def test_the_second_page_goes_with_the_first_where_it_was_written_with_one(own_run, monkeypatch, steps, second):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("sftscope.reports.page.PAGE_STEPS", steps)
    (own_run / "report-traces.html").write_text("of an earlier page")
    (report,) = artifacts_of(push(own_run), "report", "report")
    assert {entry.path for entry in report.manifest.contents} == {"report.html", "findings.json"} | second


def test_pushing_twice_adds_nothing(pushed, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    path, folders, _ = pushed

    def files():
        return {f: f.stat().st_mtime_ns for f in path.rglob("*") if ".claims" not in f.parts}

    before, said = files(), []
    assert push(path, say=said.append) == folders
    assert files() == before
    assert said[:-1] == [f"already there: {folder.resolve()}" for folder in folders]


@pytest.mark.usefixtures("plain_page")
def test_what_is_new_is_pushed_and_nothing_else(pushed, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = shutil.copytree(pushed[0], tmp_path / "planted", symlinks=True)
    before = {f.name for f in path.glob("wandb/offline-run-*")}
    (path / "findings.json").write_text((path / "findings.json").read_text() + "\n")
    names = [f.name for f in push(path)]
    assert [name in before for name in names] == [True, True, False]
    assert {f.name for f in path.glob("wandb/offline-run-*")} == set(names)  # the outdated report has gone
    assert len(list(path.glob("wandb/staged/report-*"))) == 1
    (path / "wandb" / names[-1] / "run-x.wandb.synced").touch()  # as W&B does
    (path / "findings.json").write_text((path / "findings.json").read_text() + "\n")
    assert names[-1] not in [f.name for f in push(path)]
    assert len(list(path.glob("wandb/offline-run-*-report-*"))) == 2  # what is uploaded is not ours to take back


@pytest.mark.usefixtures("plain_page")
def test_a_folder_that_was_moved_is_pushed_anew_unless_it_was_uploaded(own_run, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    add_a_checkpoint(own_run)
    names = [folder.name for folder in push(own_run)]
    (own_run / "wandb" / names[0] / "run-x.wandb.synced").touch()  # as W&B does
    moved = own_run.rename(tmp_path / "elsewhere")
    said = []
    folders = push(moved, say=said.append)
    assert [line.split(":")[0] for line in said[:-1]] == ["already there", "pushed", "pushed"]
    for folder in folders[1:]:
        files = read_stored(folder).local_files()
        assert len(files) > 0
        assert [file for file in files if not file.is_file() or not file.is_relative_to(moved)] == []
    assert len(list(moved.glob("wandb/offline-run-*"))) == 3  # those that could not be uploaded have gone
    assert push(moved) == folders


@pytest.mark.usefixtures("plain_page")
def test_what_training_told_before_the_folder_was_moved_is_pushed_anew(own_run, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    add_a_checkpoint(own_run)
    told_live(own_run)
    moved = own_run.rename(tmp_path / "elsewhere")
    assert names_of(push(moved)) == ["training", "probes", "report"]


@pytest.mark.usefixtures("plain_page")
def test_a_push_that_was_cut_off_while_it_wrote_leaves_nothing_that_counts(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    probes = job_of(push(own_run), "probes")
    (file,) = probes.glob("run-*.wandb")
    file.write_bytes(file.read_bytes()[:-50])  # its last record says how it ended
    assert read_stored(job_of(push(own_run), "probes")).exit_code == 0
    assert len(list(own_run.glob("wandb/offline-run-*"))) == 3


@pytest.fixture
def plain_page(monkeypatch):
    """Where the page is not what is tested: drawing it takes seconds."""

    def write(run):
        (run / "report.html").write_text("<p>a page</p>")
        return [run / "report.html"]

    monkeypatch.setattr("sftscope.reports.mirrored.write_pages", write)


def told_live(run, change=lambda row: row):
    """What a training process leaves in the folder."""
    import wandb

    record = Run(run)
    arguments = init_arguments(record, name=record.name, key=training_id(record), mode="offline", folder=run)
    tracked = wandb.init(project="p", **arguments)
    for step, row in training_rows(record):
        tracked.log(change(row), step=step)
    for step, folder in record.checkpoints().items():
        tracked.log_artifact(checkpoint_artifact(record, step, folder))
    tracked.finish()
    settled(Path(tracked.dir).parent)


def settled(folder, seconds=30):
    """A W&B run, once it has ended: W&B's own process may still be writing when `finish` returns."""
    until = time.monotonic() + seconds
    while (stored := read_stored(folder)).exit_code is None and time.monotonic() < until:
        time.sleep(0.05)
    return stored


def names_of(folders):
    return [folder.name.split("-")[3] for folder in folders]


def rewrite_steps(run, change):
    file = run / "steps.jsonl"
    rows = [change(json.loads(line)) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def diverge(row):
    return row | {"loss": math.nan, "grad_norm": math.inf} if row["step"] == 256 else row


@pytest.mark.usefixtures("plain_page")
def test_a_training_that_was_mirrored_live_is_not_pushed_again(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    add_a_checkpoint(own_run)
    rewrite_steps(own_run, diverge)  # NaN is itself
    told_live(own_run)
    assert names_of(push(own_run)) == ["probes", "report"]


@pytest.mark.usefixtures("plain_page")
@pytest.mark.parametrize(
    "change",
    [
        lambda row: row | {"train/loss": row["train/loss"] + 1e-12} if row[STEP] == 100 else row,
        lambda row: {name: value for name, value in row.items() if name != "train/lr"},
        lambda row: {name: value for name, value in row.items() if not name.startswith("heldout_loss")},
    ],
    ids=["another loss", "no learning rate", "no held-out rows"],
)
def test_a_live_mirror_that_differs_from_the_record_is_not_enough(own_run, monkeypatch, change):
    monkeypatch.setenv("WANDB_MODE", "offline")
    told_live(own_run, change)
    assert names_of(push(own_run)) == ["training", "probes", "report"]


@pytest.mark.usefixtures("plain_page")
def test_a_checkpoint_that_training_did_not_tell_of_is_pushed(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    told_live(own_run)
    add_a_checkpoint(own_run)
    folders = push(own_run)
    assert len(artifacts_of(folders, "training", "checkpoint")) == 1


@pytest.mark.usefixtures("plain_page")
def test_rows_without_a_loss_are_pushed_as_they_are(own_run, monkeypatch):
    """As a callback writes them that logs every tenth step."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    rewrite_steps(own_run, lambda row: {k: v for k, v in row.items() if k != "loss" or row["step"] % 10 == 0})
    rows = {row[STEP]: row for row in read_stored(job_of(push(own_run), "training")).rows}
    assert ("train/loss" in rows[20], "train/loss" in rows[21]) == (True, False)
    assert rows[21]["train/lr"] == json.loads((own_run / "steps.jsonl").read_text().splitlines()[20])["lr"]


@pytest.mark.usefixtures("plain_page")
def test_held_out_rows_and_checkpoints_that_come_later_are_pushed(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    before = push(own_run)
    assert artifacts_of(before, "training", "checkpoint") == []
    add_a_checkpoint(own_run)
    with_checkpoint = push(own_run)
    assert {f.name for f in with_checkpoint} & {f.name for f in before} == set()
    assert len(artifacts_of(with_checkpoint, "training", "checkpoint")) == 1
    (last,) = [a for a in artifacts_of(with_checkpoint, "probes", "probe") if "step-000256" in a.aliases]
    assert len(json.loads(last.metadata)["inputs"]) == 1
    late = Measurement(256, "heldout", "heldout_loss", Estimate(0.5, 0.4, 0.6, 9, "t"), "nats per token", "path")
    write_measurements(own_run, 256, "heldout", key="late", settings="later", rows=[late])
    (row,) = [row for row in read_stored(job_of(push(own_run), "training")).rows if row[STEP] == 256]
    assert row["heldout_loss/path"] == 0.5


def test_what_is_pushed_holds_the_alerts_of_the_record(pushed):
    path, folders, _ = pushed
    wanted = alerts_of(path)
    assert len(wanted) >= 3
    assert read_stored(job_of(folders, "probes")).alerts == wanted


def alerts_of(path, upto=math.inf):
    """What speaks at each checkpoint, each kind once for each domain."""
    record, told = Run(path), {}
    for step in record.measured_steps():
        for alert in checkpoint_alerts(record, step) if step <= upto else ():
            told.setdefault((alert.kind, alert.domain), (f"{alert.kind} at step {step}", alert.sentence))
    return list(told.values())


@pytest.mark.usefixtures("plain_page")
def test_a_training_that_diverged_is_pushed_with_its_alert(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    rewrite_steps(own_run, lambda row: diverge(row) | {"step_tokens": 99})
    ((title, _),) = read_stored(job_of(push(own_run), "training")).alerts
    assert title == "loss-not-finite at step 256"


def test_a_checkpoint_that_comes_late_or_again_is_not_lost(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    mirror_to_wandb(own_run)
    order = (0, 64, 8, 65, 96, 64, 256)  # 65 is W&B's own next step after 64
    with LiveMirror(own_run) as mirror:
        for step in order:
            mirror.log(step)
    (folder,) = own_run.glob("wandb/offline-run-*")
    rows = {row[STEP]: row for row in expected_rows(own_run)} | {65: {STEP: 65}}
    assert without_tables(settled(folder).numbers()) == [rows[step] for step in order]


def mirror_to_wandb(run):
    file = run / "run.json"
    info = json.loads(file.read_text())
    info["config"]["tracking"] = {"to": "wandb"}
    info["plan"]["checkpoints"] = [256]
    file.write_text(json.dumps(info))


@pytest.fixture
def filling(own_run, monkeypatch):
    """A run folder that mirrors to W&B, with checkpoints and without measurements; those that `watch_run` asks for come from
    a store."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    mirror_to_wandb(own_run)
    store = own_run.with_name("store")
    store.mkdir()
    for kind in ("measurements", "items", "samples"):
        (own_run / kind).rename(store / kind)

    def measure(run, checkpoints, *args, **kwargs):
        for checkpoint in checkpoints:
            for kind in store.iterdir():
                if (kind / checkpoint.path.name).is_dir():
                    target = own_run / kind.name / checkpoint.path.name
                    shutil.copytree(kind / checkpoint.path.name, target, dirs_exist_ok=True)
        return []

    monkeypatch.setattr("sftscope.watch.probe_run", measure)
    monkeypatch.setattr("sftscope.watch.open_probe_run", lambda *args, **kwargs: (Run(own_run), None, None))
    return own_run


def watched(run):
    """The W&B run of a watch that ends when nothing comes."""
    watch_run([run], None, None, every=0.05, idle=0.2, say=lambda line: None)
    (folder,) = run.glob("wandb/offline-run-*")
    return folder, settled(folder)


def test_a_watch_that_begins_again_tells_everything_once(filling):
    for step in (0, 1, 2, 4):
        add_a_checkpoint(filling, step)
    _, before = watched(filling)
    assert before.alerts == alerts_of(filling, 4)
    assert len(before.alerts) > 0
    add_a_checkpoint(filling, 8)
    folder, stored = watched(filling)
    assert without_tables(stored.numbers()) == [row for row in expected_rows(filling) if row[STEP] <= 8]
    assert len(tables_of(folder, "samples")) == 5
    assert stored.alerts == alerts_of(filling, 8)


ASKS = """
import wandb
from sftscope.dynamics.mirror.opening import chosen_mode
print("CHOSEN", chosen_mode("online"), flush=True)
"""


def chosen_on_a_terminal(home, **variables):
    """What a process that has a terminal, and a home without W&B's files, makes of `online`."""
    child, terminal = pty.fork()
    if not child:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
        os.execve(sys.executable, [sys.executable, "-P", "-c", ASKS], kept | {"HOME": str(home)} | variables)
    shown, until = b"", time.monotonic() + 60
    while time.monotonic() < until and b"\n" not in shown.partition(b"CHOSEN")[2]:
        if select.select([terminal], [], [], 1)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # it has ended
                break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(terminal)
    return " ".join(shown.decode().split())


def test_without_an_account_nobody_is_asked_for_one(tmp_path):
    shown = chosen_on_a_terminal(tmp_path)
    assert "CHOSEN ('offline', 'no W&B account is known here (`wandb login` tells it), so nothing is sent')" in shown


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"WANDB_API_KEY": "short"}, "API key must have 40"),
        ({"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "authenticate with http://127.0.0.1:9"),
    ],
)
def test_an_account_that_is_not_taken_means_offline_and_the_note_says_why(tmp_path, variables, why):
    shown = chosen_on_a_terminal(tmp_path, **variables)
    assert "CHOSEN ('offline', " in shown
    assert why in shown.split("CHOSEN")[1]


def test_a_mode_that_there_is_not(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "dryrun")  # W&B's old name
    assert chosen_mode("online") == ("offline", "")
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(ConfigError, match="'ofline': give offline, online, disabled"):
        push(own_run)


def test_other_metrics_are_mirrored_by_name_or_pattern(own_run):
    file = own_run / "run.json"
    info = json.loads(file.read_text())
    info["config"]["tracking"] = {"metrics": ["parse_rate", "thinking_*"]}
    file.write_text(json.dumps(info))
    (row,) = history(Run(own_run), [256])
    series = Run(own_run).series("parse_rate", domain="path").loc[256]
    assert (row["parse_rate/path"], row["parse_rate/path_upper"]) == (series["value"], series["hi"])
    assert "thinking_share/path" in row
    assert "accuracy_of_parsed/path" not in row


def long_table(*rows):
    """(step, metric, domain, layer, value) as rows of the long table, with bounds 0.1 beside the value."""
    return as_table(
        [
            Measurement(step, "p", metric, Estimate(value, value - 0.1, value + 0.1, 9, "t"), "share", domain, layer)
            for step, metric, domain, layer, value in rows
        ]
    )


def test_a_metric_of_a_layer_that_moves_is_a_curve_of_every_checkpoint():
    table = long_table(*((step, "best", "d", layer, step / 8) for step, layer in ((0, 2), (1, 2), (2, 1), (4, 3))))
    assert {step: row["best/d"] for step, row in measured_rows(table, ["best"]).items()} == {
        step: step / 8 for step in (0, 1, 2, 4)
    }
    # Of several layers: the whole where there is one, or else the middle one; never one layer here and another there.
    layers = [(step, "norm", "d", layer, 10.0 * layer) for step in (0, 1) for layer in (0, 1, 2)]
    assert [row["norm/d"] for row in measured_rows(long_table(*layers), ["norm"]).values()] == [10.0, 10.0]
    whole = long_table(*layers, (0, "norm", "d", -1, 5.0), (1, "norm", "d", -1, 6.0))
    assert [row["norm/d"] for row in measured_rows(whole, ["norm"]).values()] == [5.0, 6.0]
    assert [row.get("norm/d") for row in measured_rows(long_table(*layers[:4]), ["norm"]).values()] == [10.0]


def test_no_number_takes_the_name_of_another():
    table = long_table((1, "score_strict", "dom", -1, 0.5), (1, "score_strict", "dom_lower", -1, 0.9))
    assert measured_rows(table)[1] == {
        "score/dom": 0.5,
        "score/dom_upper": 0.6,
        "score/dom_lower": 0.9,
        "score/dom_lower_lower": 0.8,
        "score/dom_lower_upper": 1.0,
    }
    (line,) = left_out(table)
    assert "`score_strict` of 'dom' has a curve without a bound" in line
    table = long_table((1, "score", "d", -1, 0.9), (1, "score_strict", "d", -1, 0.5), (1, "layers", "", -1, 0.7))
    assert measured_rows(table, ["score", "lay*"])[1]["score/d"] == 0.5
    assert len(measured_rows(table, ["score", "lay*"])[1]) == 3
    assert [line.split(":")[0] for line in left_out(table, ["score", "lay*"])] == [
        "`score` of 'd' has no curve",
        "`layers` has no curve",
    ]
    for name in ("score", "layers"):
        with pytest.raises(ConfigError, match=f"'{name}', a name that the tracker has"):
            TrackingConfig(metrics=("parse_rate", name))


def test_what_has_no_curve_is_said(own_run, monkeypatch, plain_page):
    monkeypatch.setenv("WANDB_MODE", "offline")
    rows = [Measurement(256, "odd", "score_strict", Estimate(0.5, 0.4, 0.6, 9, "t"), "share", "path_upper")]
    write_measurements(own_run, 256, "odd", key="o", settings="s", rows=rows)
    said = []
    push(own_run, say=said.append)
    assert any(line.startswith("`score_strict` of 'path' has a curve without a bound") for line in said)


def test_disabled_pushes_nothing_and_a_run_without_findings_is_an_error(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert push(own_run) == []
    assert not (own_run / "wandb").exists()
    (own_run / "findings.json").unlink()
    with pytest.raises(RecordError, match="sftscope analyze"):
        push(own_run)


@pytest.mark.slow
def test_a_push_that_is_killed_loses_nothing_nor_do_two_at_once(synthetic, tmp_path):
    """kill_pushes.py: SIGKILL at five moments, and three pairs."""
    left_out = dict.fromkeys(("calculation", "facts", "instructions", "subset_sum"))
    run = synthetic.make_run(tmp_path / "small", n=40, steps=(0, 8, 64, 256), curves=left_out)
    analyze(run)
    script = Path(__file__).with_name("kill_pushes.py")
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"} | {"WANDB_MODE": "offline"}
    command = [sys.executable, "-P", str(script), str(run), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert (len(told["killed"]), told["pairs"]) == (5, 3)
