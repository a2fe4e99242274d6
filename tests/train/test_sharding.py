"""Fully sharded training (FSDP2) in two processes, with the settings of configs/accelerate/fsdp2-8.yaml."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sftscope.dynamics.canary import TOLERANCE
from sftscope.dynamics.errors import CheckpointError
from sftscope.dynamics.record import Run
from sftscope.dynamics.weights import check_folder, read_manifest
from sftscope.probes.checkpoints import Checkpoint, load_model, verify_model
from two_processes import CONFIGS, launcher_environment

SHARDED = """
import json, os, sys, torch
torch.set_num_threads(1)
from torch.distributed.tensor import DTensor
from sftscope.dynamics.errors import ConfigError
from sftscope.dynamics.settings import from_mapping
from sftscope.train import TrainConfig, loop

step = loop.update

def sharded(trainer, window, counters):
    if "ACCELERATE_USE_FSDP" in os.environ:
        held = [p for p in trainer.model.parameters() if isinstance(p, DTensor)]
        assert held and all(p.to_local().numel() < p.numel() for p in held if p.shape[0] > 1)
    return step(trainer, window, counters)

loop.update = sharded
config = from_mapping(TrainConfig, json.loads(sys.argv[1]))
"""
TRAIN = """
loop.train(config, sys.argv[2], quiet=True)
"""
KILL_AND_RESUME = """
whole, broken = sys.argv[2:]

class Killed(Exception):
    pass

def killed_after_six(trainer, window, counters):
    if counters.step == 6:
        raise Killed
    return sharded(trainer, window, counters)

loop.train(config, whole, quiet=True)
loop.update = killed_after_six
try:
    loop.train(config, broken, quiet=True)
    raise AssertionError("it was not killed")
except Killed:
    pass
loop.update = sharded
torch.rand(7)
loop.train(config, broken, quiet=True, resume=True)
"""
HOOKED = """
try:
    loop.train(config, sys.argv[2], [lambda *_: []], quiet=True)
    raise AssertionError("probes ran on a share of the model")
except ConfigError as error:
    assert "train without probes inside" in str(error)
"""


def test_the_launchers_files_are_read_as_meant():
    ddp, fsdp = launcher_environment("ddp"), launcher_environment("fsdp2-8")
    assert "ACCELERATE_USE_FSDP" not in ddp
    assert (fsdp["ACCELERATE_USE_FSDP"], fsdp["FSDP_VERSION"]) == ("true", "2")
    for told in (ddp, fsdp):  # what decides the result is the recipe's
        assert (told["ACCELERATE_MIXED_PRECISION"], told["ACCELERATE_DYNAMO_BACKEND"]) == ("no", "NO")


def test_the_files_for_one_eight_and_sixteen_gpus_differ_in_nothing_else():
    read = {n: yaml.safe_load((CONFIGS / f"fsdp2-{n}.yaml").read_text()) for n in (1, 8, 16)}
    assert {n: (f.pop("num_machines"), f.pop("num_processes")) for n, f in read.items()} == {
        1: (1, 1),
        8: (1, 8),
        16: (2, 16),
    }
    across = {key: read[16].pop(key) for key in ("main_process_port", "rdzv_backend", "same_network")}
    assert across["same_network"]
    assert read[1] == read[8] == read[16]
    for n in (1, 8):
        told = launcher_environment(f"fsdp2-{n}")
        assert (told["ACCELERATE_USE_FSDP"], told["FSDP_VERSION"]) == ("true", "2")


@pytest.fixture(scope="session")
def untied_model_dir(tmp_path_factory, tokenizer_dir, tiny):
    from sftscope.train.model import ModelConfig, load

    path = tmp_path_factory.mktemp("untied")
    fields = tiny.fields | {"tie_word_embeddings": False}
    model, tokenizer = load(ModelConfig(init=fields, tokenizer=str(tokenizer_dir)), seed=1)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


PACKED = {"size": 4, "pack": 40, "logits_chunk": 7}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "untied"),
    [
        ({"batch": {"size": 4, "micro": 1}}, False),
        ({"batch": PACKED | {"gradient_checkpointing": True}}, True),
        ({"batch": PACKED, "lora": {"rank": 4}}, False),
        ({"batch": PACKED, "lora": {"rank": 4}, "model": {"dtype": "bfloat16"}}, False),
        ({"batch": PACKED, "model": {"compute": "bfloat16"}}, False),
        ({"batch": PACKED, "model": {"compile": True}}, False),
    ],
    ids=["tied", "untied", "adapters", "adapters over 16 bits", "mixed", "compiled"],
)
def test_two_shards_train_what_one_process_trains(
    tiny, fit, mapping, tmp_path, rows_of, launch, untied_model_dir, changes, untied
):
    """Losses, gradient norms (clipped over all shards) and whole checkpoints; adapters and 16-bit compute too."""
    held = tiny.write_rows(tmp_path / "held.jsonl", tiny.make_rows(7, seed=3))
    data = {"path": str(tiny.write_rows(tmp_path / "nine.jsonl", tiny.make_rows(9))), "heldout": {"mine": str(held)}}
    changes = changes | {"data": data, "checkpoints": {"first": True, "every": 3}, "optim": {"lr": 3e-3, "clip": 0.5}}
    if untied:
        changes["model"] = {"path": str(untied_model_dir)}
    told = launch(SHARDED + TRAIN, mapping(**changes), tmp_path / "both", kind="fsdp2-8")
    assert "UserWarning" not in told
    alone, both = fit("alone", **changes), tmp_path / "both"
    mixed = bool(
        {"compute", "dtype"} & set(changes.get("model", {}))
    )  # of 16 bits, the last ones are rounded otherwise
    for key, rtol in {"loss": 1e-4, "grad_norm": 1e-3, "entropy": 1e-4, "tokens": 0}.items():
        one, two = ([row[key] for row in rows_of(run)] for run in (alone, both))
        assert two == pytest.approx(one, rel=50 * rtol if mixed else rtol), key
    one, two = (Run(run).measurements(probe="heldout")[["step", "value"]].to_numpy() for run in (alone, both))
    assert two == pytest.approx(one, rel=5e-3 if mixed else 1e-4)
    there = Run(both).checkpoints()
    assert list(there) == list(Run(alone).checkpoints())
    for step, folder in there.items():
        check_folder(folder)
        file = next(folder.glob("*.safetensors")).name
        a, b = load_file(Run(alone).checkpoints()[step] / file), load_file(folder / file)
        assert {n: (t.shape, t.dtype) for n, t in a.items()} == {n: (t.shape, t.dtype) for n, t in b.items()}
        assert mixed or all(torch.allclose(a[k], b[k], atol=1e-4) for k in a), step
        model = load_model(Checkpoint(step, folder))  # compares it with the canary
        assert type(model).__name__ == "Qwen3ForCausalLM"
        one, two = (read_manifest(f)["canary"] for f in (Run(alone).checkpoints()[step], folder))
        assert two["dtype"] == ("bfloat16" if mixed else "float32")
        for key in ("logits", "margins"):
            spread = one["spread"] * (TOLERANCE["bfloat16"] if mixed else TOLERANCE["float32"])
            assert np.array(two[key]) == pytest.approx(np.array(one[key]), abs=8 * spread), key
    if not mixed:
        with pytest.raises(CheckpointError, match="does not answer as the model that was saved"):
            verify_model(load_model(Checkpoint(0, there[0])), there[max(there)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("fsdp2-8", {}),
        ("fsdp2-8", {"lora": {"rank": 4, "dropout": 0.3}}),
        ("ddp", {"lora": {"rank": 4, "dropout": 0.3}}),
    ],
    ids=["shares", "shares of adapters", "adapters"],
)
def test_runs_of_two_processes_resume_to_the_bit(mapping, tmp_path, launch, dropout_model_dir, kind, changes):
    changes = changes | {
        "model": {"path": str(dropout_model_dir)},
        "checkpoints": {"every": 4, "resume_every": 5},
        "batch": {"size": 8, "micro": 2},
    }
    launch(SHARDED + KILL_AND_RESUME, mapping(**changes), tmp_path / "whole", tmp_path / "broken", kind=kind)
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    assert whole.steps()["loss"].tolist() == broken.steps()["loss"].tolist()
    assert list(whole.checkpoints()) == list(broken.checkpoints()) == [4, 8, 12]
    for step, folder in whole.checkpoints().items():
        for file in folder.glob("*.safetensors"):
            assert file.read_bytes() == (broken.checkpoints()[step] / file.name).read_bytes(), step
    assert not (broken.path / "resume").exists()


@pytest.mark.slow
def test_probes_inside_a_sharded_run_are_refused_before_anything_is_written(mapping, tmp_path, launch):
    launch(SHARDED + HOOKED, mapping(), tmp_path / "run", kind="fsdp2-8")
    assert not (tmp_path / "run").exists()
