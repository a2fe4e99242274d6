"""A folder of forty checkpoints, one of them corrupt: probed with interruptions, and watched while it fills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from sftscope.cli import main
from sftscope.dynamics.record import Run
from sftscope.dynamics.settings import from_mapping
from sftscope.probes import organisms
from sftscope.probes import work as work_module
from sftscope.probes.planner import ProbeConfig
from sftscope.watch import watch_run

SETTINGS = {
    "items": 8,
    "domains": ["harmful", "safe", "countdown"],
    "probes": ["scores", "refusal_direction"],
    "during": [],
}
STEPS = [10 * i for i in range(40)]
CORRUPT = 170
pytestmark = pytest.mark.slow
VALUES = ["step", "probe", "metric", "domain", "layer", "position", "value", "lo", "hi", "n"]


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    """An organism's weights, perturbed more from step to step."""
    base, folder = organisms.folder("qwen3-0.2m"), tmp_path_factory.mktemp("theirs")
    weights, generator = load_file(base / "model.safetensors"), torch.Generator().manual_seed(0)
    for step in STEPS:
        checkpoint = folder / f"checkpoint-{step}"
        shutil.copytree(base, checkpoint, ignore=shutil.ignore_patterns("model.safetensors", "card.json"))
        save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
        weights = {
            name: (w.float() + 2e-3 * torch.randn(w.shape, generator=generator)).to(w.dtype)
            for name, w in weights.items()
        }
    damaged = folder / f"checkpoint-{CORRUPT}" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    return folder


@pytest.fixture(scope="module")
def probed(forty, tmp_path_factory):
    """The run of a probing that is killed, then interrupted, then ends; and what was loaded after the kill."""
    place = tmp_path_factory.mktemp("probed")
    (place / "few.yaml").write_text(f"probes: {SETTINGS}")
    args = ["probe", str(forty), "-o", str(place / "run"), "--config", str(place / "few.yaml"), "--workers", "1"]
    told: dict = {"run": place / "run", "killed": killed(args, place / "run", at=4)}
    told |= {"loads": [], "memory": [], "alive": []}
    models: list[weakref.ref] = []
    load = work_module.load_model

    def watched(checkpoint):
        if len(told["loads"]) == 5 and "interrupted" not in told:
            told["interrupted"] = checkpoint.step
            signal.raise_signal(signal.SIGINT)  # Ctrl-C, with a checkpoint in hand
        told["alive"].append(sum(ref() is not None for ref in models))
        told["memory"].append(psutil.Process().memory_info().rss / 2**20)
        told["loads"].append(checkpoint.step)
        model = load(checkpoint)
        models.append(weakref.ref(model))
        return model

    work_module.load_model = watched
    # A shell that starts us in the background has Ctrl-C ignored, and Python then leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        told["interrupted_with"] = main(args)
        with pytest.raises(SystemExit) as ended:  # some failed
            main(args)
        told["ended_with"] = ended.value.code
    finally:
        work_module.load_model = load
        signal.signal(signal.SIGINT, before)
    return told


def killed(args, run, at):
    """Steps that are done when a probing is killed, after `at` of them."""
    process = subprocess.Popen([sys.executable, "-P", "-m", "sftscope", *args], stderr=subprocess.PIPE, text=True)
    while len(done(run)) < at:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.kill()
    process.communicate()
    return done(run)


def done(run):
    """Steps with a result of every probe."""
    return {
        int(folder.name.removeprefix("step-"))
        for folder in (run / "measurements").glob("step-*")
        if all(list(folder.glob(f"{probe}-*[0-9a-f].parquet")) for probe in SETTINGS["probes"])
    }


def values_of(run) -> pd.DataFrame:
    table = Run(run).measurements()
    table = table[table["probe"] != "cost"]
    return table[VALUES].sort_values(VALUES[:6]).reset_index(drop=True)


def test_one_corrupt_checkpoint_costs_itself_alone(probed):
    assert (probed["interrupted_with"], probed["ended_with"]) == (130, 1)
    assert done(probed["run"]) == set(STEPS) - {CORRUPT}
    (failed,) = Run(probed["run"]).measurements(failed=True).query("status == 'failed'").to_dict("records")
    assert failed["step"] == CORRUPT
    assert "truncated or damaged" in failed["reason"]


def test_an_interruption_loses_at_most_the_checkpoint_in_hand(probed):
    assert 4 <= len(probed["killed"]) < 20
    assert "interrupted" in probed
    assert sorted(probed["loads"]) == sorted(set(STEPS) - probed["killed"])  # each that was not done, once


def test_memory_stays_flat(probed):
    assert len(probed["loads"]) >= 20
    assert max(probed["alive"]) == 0  # the model before is gone when the next is read: two would not fit on a GPU
    settled = probed["memory"][5:]
    assert max(settled) - settled[0] < 20  # MiB; a model kept of every checkpoint would make it 30 and more


def test_the_same_folder_watched_while_it_fills_gives_the_same_measurements(forty, probed, tmp_path):
    filling = tmp_path / "filling"
    filling.mkdir()

    def fill():
        for step in STEPS:
            shutil.copytree(forty / f"checkpoint-{step}", filling / f"checkpoint-{step}", copy_function=os.link)
            time.sleep(0.05)

    thread = threading.Thread(target=fill)
    thread.start()
    config, told = from_mapping(ProbeConfig, SETTINGS), []
    run, failures = watch_run([filling], tmp_path / "run", config, every=0.3, idle=1.5, say=told.append, quiet=True)
    thread.join()
    assert [line.split()[1] for line in told if line.startswith("step")] == [str(s) for s in STEPS]
    assert len(failures) == 1
    pd.testing.assert_frame_equal(values_of(run.path), values_of(probed["run"]))
