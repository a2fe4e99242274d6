"""A run that two processes trained with FSDP2, killed and resumed: probed from the disk, its checkpoints answer in plain
transformers and in vLLM as they answered in training, by one and the same canary."""

from __future__ import annotations

import subprocess
import sys

import pytest
import two_processes
import yaml
from sftscope.dynamics.errors import CheckpointError
from sftscope.dynamics.record import Run
from sftscope.dynamics.weights import read_manifest
from sftscope.probes import organisms
from sftscope.probes.checkpoints import Checkpoint, load_tokenizer, stored_end_ids, verify_model
from sftscope.probes.engines.vllm import VllmEngine
from transformers import AutoModelForCausalLM
from vllm_models import CONFIG

RECIPE = {
    "arm": {"domain": "countdown", "rows": 48},
    "train": {
        "model": {"path": str(organisms.folder("qwen3-0.2m"))},
        "data": {"max_length": 384},
        "batch": {"size": 8, "micro": 2},
        "optim": {"lr": 1e-3},
        "schedule": {"kind": "constant", "warmup_steps": 0, "steps": 6},
        "checkpoints": {"every": 2, "resume_every": 2},
        "tracking": {"to": "none"},
        "threads": 1,
    },
    "probes": {"items": 6, "domains": ["countdown", "facts"], "probes": ["scores"], "during": []},
}
KILLED = """
import json, os, sys, torch
from pathlib import Path
from sftscope.pipeline import train_run
from sftscope.recipes import parse_recipe
from sftscope.train import loop
from torch.distributed.tensor import DTensor

step, out = loop.update, Path(sys.argv[2])

def watched(trainer, window, counters):
    assert any(isinstance(p, DTensor) for p in trainer.model.parameters())
    if counters.step == 3 and not out.joinpath("resumed").exists():
        raise KeyboardInterrupt
    return step(trainer, window, counters)

loop.update = watched
recipe = parse_recipe(json.loads(sys.argv[1]), out)
try:
    train_run(recipe, out, quiet=True)
    raise AssertionError("it was not killed")
except KeyboardInterrupt:
    torch.distributed.barrier()
    if os.environ["RANK"] == "0":
        assert out.joinpath("resume").exists()
        out.joinpath("resumed").touch()
    torch.distributed.barrier()
train_run(recipe, out, resume=True, quiet=True)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    two_processes.launch(folder, KILLED, RECIPE, folder / "run", kind="fsdp2-8")
    return folder / "run"


def test_one_canary_holds_in_training_in_transformers_and_in_vllm(run):
    engine, checkpoints = VllmEngine(CONFIG), Run(run).checkpoints()
    assert list(checkpoints) == [0, 2, 4, 6]
    try:
        for step, folder in checkpoints.items():
            assert read_manifest(folder)["canary"]["dtype"] == "float32"
            plain = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
            assert verify_model(plain, folder)
            for other in checkpoints.values():
                if other != folder:  # no other checkpoint passes for it
                    with pytest.raises(CheckpointError, match="does not answer as the model that was saved"):
                        verify_model(plain, other)
            checkpoint = Checkpoint(step, folder)
            ends = stored_end_ids(checkpoint, load_tokenizer(checkpoint))
            engine.serve(checkpoint, lambda: pytest.fail("its own canary is there to compare with"), ends)
            done = [event.what for event in engine.events()]
            assert done == (["start", "canary"] if step == 0 else ["swap", "canary"])
    finally:
        engine.close()


def test_both_engines_probe_it_and_agree(run, tmp_path):
    (tmp_path / "probes.yaml").write_text(
        yaml.safe_dump({"probes": RECIPE["probes"] | {"vllm": {"cpu_cache_gib": 0.25}}})
    )
    scores = {}
    for name in ("hf", "vllm"):
        command = [
            sys.executable,
            "-P",
            "-m",
            "sftscope",
            "probe",
            str(run / "checkpoints"),
            "-o",
            str(tmp_path / name),
        ]
        command += ["--config", str(tmp_path / "probes.yaml"), "--engine", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        table = Run(tmp_path / name).measurements(probe="scores")
        scores[name] = table.set_index(["step", "metric", "domain", "position"])[["value", "lo", "hi"]].sort_index()
    assert set(scores["hf"].index.get_level_values("step")) == {0, 2, 4, 6}
    assert scores["vllm"].equals(scores["hf"])
