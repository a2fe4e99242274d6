"""What a tracker is told while a run trains is what the run folder holds; a run that is resumed doubles and loses nothing."""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import analyze
from sftscope.dynamics.errors import ConfigError, SftscopeError
from sftscope.dynamics.mirror.store import read_stored
from sftscope.dynamics.record import Run, write_measurements
from sftscope.dynamics.settings import from_mapping
from sftscope.dynamics.types import Estimate, Measurement
from sftscope.reports import push
from sftscope.train import TrainConfig, train
from sftscope.train.tracking import TrackingConfig, check_tracker


def settled(run, seconds=30):
    """The only W&B run of a run folder, once it has ended: W&B's own process may still be writing when `finish` returns."""
    until = time.monotonic() + seconds
    while True:
        (folder,) = (run / "wandb").glob("offline-run-*")
        stored = read_stored(folder)
        if stored.exit_code is not None or time.monotonic() > until:
            return stored
        time.sleep(0.1)


def trained(rows):
    """By step, in the order of the file, what a mirror has of steps.jsonl."""
    return [{k: v for k, v in row.items() if k.startswith("train/")} for row in rows if "train/loss" in row]


def on_record(run):
    """Of a step that was trained twice, the later row."""
    rows = {row["step"]: row for row in map(json.loads, (run / "steps.jsonl").read_text().splitlines())}
    return [{f"train/{k}": v for k, v in rows[step].items() if v is not None} for step in sorted(rows)]


def scores(step, model, folder):
    """A hook that measures a score and a few layers, and a probe that fails."""
    good = Measurement(step, "scores", "score_strict", Estimate(1 / 3 + step, 0.1, 0.7, 10, "wilson"), "share", "path")
    bare = Measurement(
        step, "scores", "finish_rate", Estimate(0.5, float("nan"), float("nan"), 3, "none"), "share", "path"
    )
    own = Measurement(step, "mine", "accuracy", Estimate(0.25, 0.2, 0.3, 10, "wilson"), "share", "path")
    layers = [
        Measurement(step, "d", "refusal_cosine_to_base", Estimate(0.1 * i, 0.0, 1.0, 9, "j"), "cosine", layer=i)
        for i in range(3)
    ]
    return [good, bare, own, *layers, Measurement.failure(step, "judge", "no key")]


def test_wandb_gets_every_number_offline_and_nothing_lands_elsewhere(fit, tmp_path, monkeypatch):
    for name in ("cwd", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = fit(hooks=[scores], tracking={"to": "wandb", "metrics": ["acc*"]})
    assert list((tmp_path / "cwd").iterdir()) == []
    assert not [f for f in (tmp_path / "home").rglob("*") if f.is_file() and "logs" not in f.parts]
    stored = settled(run)
    assert stored.step_metrics["*"] == "train/step"
    assert trained(stored.rows) == on_record(run)  # equal, not nearly equal
    assert len(trained(stored.rows)) == 12
    (row,) = [row for row in stored.numbers() if "score/path" in row]
    assert row["train/step"] == 12
    measured = {k: v for k, v in row.items() if k.split("/")[0] not in ("train", "layers")}
    assert measured == {
        "score/path": 1 / 3 + 12,
        "score/path_lower": 0.1,
        "score/path_upper": 0.7,
        "finish/path": 0.5,  # and no bounds that are undefined
        "accuracy/path": 0.25,
        "accuracy/path_lower": 0.2,
        "accuracy/path_upper": 0.3,
        "direction/refusal_cosine_to_base": 0.1,  # the middle layer; all of them are in a table
        "direction/refusal_cosine_to_base_lower": 0.0,
        "direction/refusal_cosine_to_base_upper": 1.0,
    }
    (table,) = run.glob("wandb/offline-run-*/files/media/table/layers_*.json")
    assert [row[4] for row in json.loads(table.read_text())["data"]] == [0.0, 0.1, 0.2]
    (checkpoint,) = [a for a in stored.artifacts if a.type == "checkpoint"]
    assert "step-000012" in checkpoint.aliases
    weights = run / "checkpoints" / "step-000012" / "model.safetensors"
    assert weights.as_uri() in {entry.ref for entry in checkpoint.manifest.contents}


KILLED = """
import json, os, signal, sys, torch
torch.set_num_threads(1)
from sftscope.dynamics.settings import from_mapping
from sftscope.train import TrainConfig, train
import sftscope.train.loop

def on_progress(row):
    if row["step"] == 9:
        os.kill(os.getpid(), signal.SIGKILL)

for folder, settings in json.loads(sys.argv[1]).items():
    if not (child := os.fork()):  # imported once for all
        train(from_mapping(TrainConfig, settings), folder, on_progress=on_progress, quiet=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


@pytest.fixture(scope="module")
def killed(model_dir, data_file, tmp_path_factory):
    """By tracker, the settings and folder of a run that was killed (SIGKILL) at step 9, with a state of step 5."""
    settings = {
        "model": {"path": str(model_dir)},
        "data": {"path": str(data_file), "heldout": {"path": str(data_file)}},
        "batch": {"size": 8},
        "optim": {"lr": 3e-3},
        "schedule": {"epochs": 4},
        "checkpoints": {"every": 4, "resume_every": 5, "first": True},
    }
    root = tmp_path_factory.mktemp("killed")
    found = {to: (settings | {"tracking": {"to": to}}, root / to) for to in ("wandb", "tensorboard")}
    runs = json.dumps({str(run): one for one, run in found.values() if find_spec(one["tracking"]["to"])})
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}  # with a process of W&B's of their own
    environment["WANDB_MODE"] = "offline"
    command = [sys.executable, "-c", KILLED, runs]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return found


def resumed(settings, run):
    train(from_mapping(TrainConfig, settings), run, resume=True, quiet=True)


def test_a_killed_and_resumed_run_is_mirrored_whole_and_once(killed, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings, run = killed["wandb"]
    (first,) = (run / "wandb").glob("offline-run-*")
    later = Measurement(4, "scores", "score_strict", Estimate(0.5, 0.4, 0.6, 10, "wilson"), "share", "path")
    write_measurements(run, 4, "scores", key="k", settings="s", rows=[later])  # by another process
    for step, finished in ((0, 1.0), (4, 0.0)):  # which is an alert, and was told before the kill
        same = {"domain": "path", "group": "ood_reasoning", "cluster": "c", "metric": "finished", "value": finished}
        items = pd.DataFrame([{"item": f"i{i}", **same} for i in range(40)])
        row = Measurement(step, "ends", "finished", Estimate(finished, 0.0, 1.0, 40, "wilson"), "share", "path")
        write_measurements(run, step, "ends", key="k", settings="s", rows=[row], items=items)
    resumed(settings, run)
    assert len((run / "steps.jsonl").read_text().splitlines()) == 16  # 6 to 9 were trained twice
    stored = settled(run)
    assert not first.exists()
    steps = [row["train/step"] for row in stored.rows]
    assert steps == list(range(13))  # each once, the base among them
    assert trained(stored.rows) == on_record(run)
    losses = Run(run).series("heldout_loss", domain="path")
    assert list(losses.index) == [0, 4, 8, 12]
    for row in stored.rows:
        if row["train/step"] in losses.index:  # those of before the kill as well
            found = tuple(row[f"heldout_loss/path{bound}"] for bound in ("", "_lower", "_upper"))
            assert found == tuple(losses.loc[row["train/step"], ["value", "lo", "hi"]])
    assert not any("score/path" in row for row in stored.rows)  # what others measure is not the training's
    aliases = [set(a.aliases) - {"latest"} for a in stored.artifacts if a.type == "checkpoint"]
    assert [alias for (alias,) in aliases] == ["step-000000", "step-000004", "step-000008", "step-000012"]
    assert [title for title, _ in stored.alerts] == ["finish-rate-collapsed at step 4"]
    analyze(run)
    assert [folder.name.split("-")[3] for folder in push(run)] == [
        "probes",
        "report",
    ]  # the training has told all of it


def events(run):
    """By tag: [(step, value)] of TensorBoard's files, read as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_tensorboard_has_the_same_numbers_also_of_a_resumed_run(killed):
    pytest.importorskip("tensorboard")
    settings, run = killed["tensorboard"]
    resumed(settings, run)
    found = events(run)
    rows = on_record(run)
    assert found["train/loss"] == [(row["train/step"], np.float32(row["train/loss"])) for row in rows]
    assert found["train/lr"] == [(row["train/step"], np.float32(row["train/lr"])) for row in rows]
    losses = Run(run).series("heldout_loss", domain="path")
    assert found["heldout_loss/path_upper"] == [(step, np.float32(hi)) for step, hi in losses["hi"].items()]
    assert not (run / "wandb").exists()


def test_a_run_that_diverges_is_an_alert_and_has_failed(fit, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(SftscopeError, match="diverged"):
        fit(tracking={"to": "wandb"}, optim={"lr": 1e30})
    stored = settled(tmp_path / "run")
    ((title, text),) = stored.alerts
    assert title.startswith("loss-not-finite at step")
    assert "training has diverged" in text
    assert stored.exit_code == 1
    assert len(trained(stored.rows)) == len(on_record(tmp_path / "run"))


def test_a_disabled_tracker_writes_nothing(fit, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert not (fit(hooks=[scores], tracking={"to": "wandb"}) / "wandb").exists()


def test_none_does_not_import_wandb(tmp_path, mapping):
    code = f"""
import json, sys, torch
torch.set_num_threads(1)
from sftscope.dynamics.settings import from_mapping
from sftscope.train import TrainConfig, train
train(from_mapping(TrainConfig, json.loads({json.dumps(mapping())!r})), {str(tmp_path / "run")!r}, quiet=True)
assert "wandb" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "comet_ml"])
def test_a_tracker_that_is_not_installed(monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"'{name}', which is not installed: `pip install {name}`") as error:
        check_tracker(TrackingConfig(to=name))
    assert "\n" not in str(error.value)
    check_tracker(TrackingConfig(to="none"))
