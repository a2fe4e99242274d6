"""Checkpoints measured while they come: by a watch beside the training, or inside it; and what an alert does."""

from __future__ import annotations

import json
import shutil
import threading
import time

import pandas as pd
import pytest
from safetensors.torch import load_file
from sftscope.cli import main
from sftscope.dynamics.errors import CheckpointError, ConfigError, Stopped
from sftscope.dynamics.record import Run
from sftscope.dynamics.settings import from_mapping
from sftscope.pipeline import open_probe_run, probe_run, train_run
from sftscope.probes import organisms
from sftscope.probes.planner import ProbeConfig
from sftscope.recipes import parse_recipe
from sftscope.watch import Arrivals, watch_run

PROBES = {"probes": ["scores", "refusal", "verbosity"], "domains": ["facts", "harmful"], "items": 48, "during": []}
BASE = "qwen3-0.2m"
VALUES = ["step", "probe", "metric", "domain", "position", "value", "lo", "hi", "n"]


@pytest.fixture(scope="module")
def base():
    return organisms.folder(BASE)


def recipe(tmp_path, name="run", **changes):
    """A run that forgets how to refuse: answers to Countdown alone, at a high rate."""
    mapping = {
        "arm": {"rows": 768, "rendering": "direct"},
        "train": {
            "model": {"path": f"organism:{BASE}"},
            "data": {"max_length": 384},
            "batch": {"size": 32},
            "optim": {"lr": 5e-3},
            "schedule": {"epochs": 1, "warmup_steps": 0},
            "checkpoints": {"at": [8, 16]},
            "tracking": {"to": "none"},
            "threads": 1,
        },
        "probes": PROBES,
    }
    for section, values in changes.items():
        mapping[section] = mapping[section] | values if isinstance(values, dict) else values
    return parse_recipe(mapping, tmp_path / name)


def values_of(run) -> pd.DataFrame:
    table = Run(run).measurements()
    table = table[table["probe"] != "cost"]
    return table[VALUES].sort_values(VALUES[:5]).reset_index(drop=True)


def test_a_checkpoint_comes_once_when_its_files_have_settled(tmp_path, base):
    folder = tmp_path / "theirs"
    folder.mkdir()
    arrivals = Arrivals([folder])
    assert arrivals.look() == []
    checkpoint = folder / "checkpoint-20"
    checkpoint.mkdir()
    shutil.copy(base / "config.json", checkpoint)
    assert arrivals.look() == []  # just appeared
    shutil.copy(base / "model.safetensors", checkpoint)
    assert arrivals.look() == []  # and is still growing
    (found,) = arrivals.look()
    assert (found.step, found.path) == (20, checkpoint)
    assert arrivals.look() == []
    (checkpoint / "config.json").write_text((base / "config.json").read_text() + "\n")
    arrivals.look()
    assert [c.step for c in arrivals.look()] == [20]  # mended, so given again
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        Arrivals([tmp_path / "elsewhere"]).look()


def test_a_map_of_steps_holds_for_what_is_still_to_come(tmp_path, base):
    folder = tmp_path / "theirs"
    folder.mkdir()
    arrivals = Arrivals([folder], {"epoch-1": 80, "epoch-2": 160})
    assert arrivals.look() == []
    for name, step in (("epoch-2", 160), ("epoch-1", 80)):
        shutil.copytree(base, folder / name)
        arrivals.look()
        assert [c.step for c in arrivals.look()] == [step]
    shutil.copytree(base, folder / "checkpoint-80")
    with pytest.raises(CheckpointError, match="step 80 was found twice"):  # and not looked past for ever
        arrivals.look()


def test_a_folder_watched_while_it_fills_gives_what_probing_it_full_gives(tmp_path, base):
    folder = tmp_path / "theirs"
    folder.mkdir()

    def fill():
        for step in (10, 20, 30):
            checkpoint = folder / f"checkpoint-{step}"
            checkpoint.mkdir()
            for file in sorted(base.iterdir()):  # as Trainer does: in place, file by file
                shutil.copy(file, checkpoint)
                time.sleep(0.05)
            if step == 20:
                weights = checkpoint / "model.safetensors"
                weights.write_bytes(weights.read_bytes()[:-1000])

    filling = threading.Thread(target=fill)
    filling.start()
    config, told = from_mapping(ProbeConfig, PROBES), []
    watched, failures = watch_run(
        [folder], tmp_path / "watched", config, every=0.5, idle=4, say=told.append, quiet=True
    )
    filling.join()
    assert len(failures) == 1
    assert "step 20" in str(failures[0])
    assert [line.split()[1] for line in told] == ["10", "20", "30"]
    run, checkpoints, config = open_probe_run([folder], tmp_path / "probed", config)
    assert len(probe_run(run, checkpoints, config, workers=1, quiet=True)) == 1
    pd.testing.assert_frame_equal(values_of(watched.path), values_of(run.path))
    assert set(values_of(run.path)["step"]) == {10, 30}


def test_an_alert_of_a_watch_stops_the_training_and_resume_goes_on(tmp_path):
    settings = recipe(tmp_path, train={"schedule": {"steps": 4000, "warmup_steps": 0}, "checkpoints": {"every": 16}})
    ended = []

    def training():
        try:
            train_run(settings, tmp_path / "run", quiet=True)
        except Stopped as stop:
            ended.append(str(stop))

    thread, told = threading.Thread(target=training), []
    thread.start()
    while not (tmp_path / "run" / "run.json").is_file():
        time.sleep(0.2)
    watching = threading.Thread(
        target=watch_run,
        args=([tmp_path / "run"], None, None),
        kwargs={"every": 0.2, "idle": 20, "on_alert": "stop", "say": told.append, "quiet": True},
        daemon=True,
    )
    watching.start()
    thread.join(timeout=300)
    assert not thread.is_alive()
    (message,) = ended
    assert "--resume goes on" in message
    assert any("refus" in line for line in told if line.startswith("alert"))
    steps = Run(tmp_path / "run").steps()
    at = int(steps["step"].iloc[-1])
    assert at < 4000
    assert at in Run(tmp_path / "run").checkpoints()
    assert not (tmp_path / "run" / "stop").exists()
    assert list((tmp_path / "run" / "resume").iterdir())
    watching.join(timeout=120)


def test_an_alert_inside_training_stops_it_and_going_on_ends_in_the_same_bits(tmp_path, capsys):
    probes = PROBES | {"during": ["scores", "refusal", "verbosity"]}
    whole = train_run(recipe(tmp_path, "whole", probes=probes), tmp_path / "whole", quiet=True)
    stopping = recipe(tmp_path, "stopped", probes=probes, train={"on_alert": "stop"})
    with pytest.raises(Stopped, match="ended after step 9 of 24"):
        train_run(stopping, tmp_path / "stopped")
    told = " ".join(capsys.readouterr().err.split())
    assert "At step 8, " in told
    assert "of the harmful requests are refused" in told
    assert list(Run(tmp_path / "stopped").checkpoints()) == [0, 8, 9]
    # The same collapse is no news to the run that goes on; at step 16 there is another, and then none.
    with pytest.raises(Stopped, match="ended after step 17 of 24"):
        train_run(stopping, tmp_path / "stopped", resume=True, quiet=True)
    train_run(stopping, tmp_path / "stopped", resume=True, quiet=True)
    ends = [load_file(Run(p).checkpoints()[24] / "model.safetensors") for p in (whole.path, tmp_path / "stopped")]
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])


def test_a_run_in_training_is_watched_to_its_end_from_the_command_line(tmp_path, capsys):
    settings = recipe(tmp_path)
    thread = threading.Thread(target=train_run, args=(settings, tmp_path / "run"), kwargs={"quiet": True})
    thread.start()
    while not (tmp_path / "run" / "run.json").is_file():
        time.sleep(0.2)
    assert main(["watch", str(tmp_path / "run"), "--every", "0.2"]) == 0
    thread.join()
    assert set(values_of(tmp_path / "run")["step"]) == {0, 8, 16, 24}
    out = capsys.readouterr().out
    assert "step 24       measured" in out
    assert "alert" in out


def test_a_first_checkpoint_that_is_rotated_away_and_a_last_model_beside_them_change_nothing(tmp_path, base):
    folder = tmp_path / "theirs"
    shutil.copytree(base, folder / "checkpoint-10")

    def go_on():
        while not list((tmp_path / "watched").glob("measurements/step-000010/verbosity-*")):
            time.sleep(0.1)
        shutil.copytree(base, folder / "checkpoint-20")
        shutil.rmtree(folder / "checkpoint-10")  # `save_total_limit`
        for file in base.iterdir():  # `trainer.save_model()`
            shutil.copy(file, folder)

    training = threading.Thread(target=go_on, daemon=True)
    training.start()
    config = from_mapping(ProbeConfig, PROBES)
    watched, failures = watch_run(
        [folder], tmp_path / "watched", config, every=0.3, idle=4, say=lambda _: None, quiet=True
    )
    training.join()
    assert not failures
    assert set(values_of(watched.path)["step"]) == {10, 20}


def test_what_cannot_be_watched_is_said(tmp_path, base):
    assert main(["watch", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["watch", str(base / "config.json"), "-o", str(tmp_path / "out")]) == 2
    assert main(["watch", str(tmp_path / "empty"), "--every", "-1"]) == 2
    with pytest.raises(CheckpointError, match="is it the folder that is being filled"):
        watch_run([tmp_path / "empty"], tmp_path / "out", None, every=0.1, idle=0.3)
    shutil.copytree(base, tmp_path / "theirs" / "checkpoint-1")
    with pytest.raises(ConfigError, match="asks a training run of ours"):
        watch_run([tmp_path / "theirs"], tmp_path / "out", None, every=0.1, idle=5, on_alert="stop")


def test_rows_held_out_are_made_measured_and_in_no_probe_or_training_row(tmp_path):
    settings = recipe(tmp_path, heldout_rows=16, train={"schedule": {"steps": 4, "warmup_steps": 0}, "checkpoints": {}})
    run = train_run(settings, tmp_path / "run", quiet=True)
    table = run.measurements(probe="heldout")
    assert set(table["step"]) == {0, 4}
    assert set(table["domain"]) == {"facts", "harmful"}
    assert (table["n"] == 16).all()
    read = lambda path: {json.loads(line)["prompt"] for line in path.read_text().splitlines()}  # noqa: E731
    trained = read(settings.train.data.path)
    for path in settings.train.data.heldout.values():
        assert len(read(path)) == 16
        assert not read(path) & trained
