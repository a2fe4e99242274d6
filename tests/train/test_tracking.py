import json
import subprocess
import sys
import time

import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.dynamics.types import Estimate, Measurement
from sftscope.train.tracking import TrackingConfig, check_tracker


def offline_records(file):
    """The records of a W&B file: LevelDB's log format (blocks of 32 KiB, chunks of crc, length, type) after 7 bytes."""
    content, position, parts = file.read_bytes(), 7, []
    while position + 7 <= len(content):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # whole, or the last of several chunks
            yield b"".join(parts)
            parts = []


def read_offline(folder):
    """The metric definitions (name -> step metric) and history rows of an offline W&B run."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("offline-run-*/*.wandb")
    metrics, rows = {}, []
    for data in offline_records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("metric"):
            metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        if record.HasField("history"):
            items = record.history.item
            rows.append({(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in items})
    return metrics, rows


def settled(folder, rows, seconds=30):
    """`read_offline` once the rows are there: W&B's own process may still be writing when its Python side has finished."""
    until = time.monotonic() + seconds
    while True:
        metrics, history = read_offline(folder)
        if sum("train/loss" in row for row in history) >= rows or time.monotonic() > until:
            return metrics, history
        time.sleep(0.2)


def test_wandb_gets_every_row_offline_and_nothing_lands_in_the_working_folder(fit, rows_of, tmp_path, monkeypatch):
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("WANDB_MODE", "offline")

    def hook(step, model, folder):
        good = Measurement(step, "strict", "accuracy", Estimate(0.5, 0.4, 0.6, 10, "wilson"), "share", "countdown")
        return [good, Measurement.failure(step, "judge", "no key")]

    run = fit(hooks=[hook], tracking={"to": "wandb"})
    assert list(cwd.iterdir()) == []
    metrics, history = settled(run / "wandb", len(rows_of(run)))
    assert metrics["*"] == "train/step"
    losses = [row["train/loss"] for row in history if "train/loss" in row]
    assert losses == [row["loss"] for row in rows_of(run)]
    measured = [row for row in history if "strict/countdown/accuracy" in row]
    assert [(row["train/step"], row["strict/countdown/accuracy"]) for row in measured] == [(12, 0.5)]
    assert not any("judge" in key for row in history for key in row)


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


def test_a_tracker_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="'tensorboard', which is not installed"):
        check_tracker(TrackingConfig(to="tensorboard"))
    check_tracker(TrackingConfig(to="none"))
