"""Fully sharded training (FSDP2) in two processes, with the settings of configs/accelerate/fsdp2.yaml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sftscope.dynamics.record import Run
from sftscope.dynamics.weights import check_folder, read_manifest
from sftscope.probes.checkpoints import Checkpoint, load_model

CONFIGS = Path(__file__).parents[2] / "configs" / "accelerate"

# Accelerate shards on GPUs only, though gloo can as well: to it, these two processes are GPUs.
SHARDED = """
import json, sys, torch
torch.set_num_threads(1)
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

def begin():
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU

begin()
from torch.distributed.tensor import DTensor
from sftscope.dynamics.errors import ConfigError, SftscopeError
from sftscope.dynamics.settings import from_mapping
from sftscope.train import TrainConfig, loop

step = loop.update

def sharded(trainer, window, counters):
    held = [p for p in trainer.model.parameters() if isinstance(p, DTensor)]
    assert held and all(p.to_local().numel() < p.numel() for p in held if p.shape[0] > 1)
    return step(trainer, window, counters)

loop.update = sharded
"""
TRAIN = """
for mapping, run in json.loads(sys.argv[1]):
    begin()
    loop.train(from_mapping(TrainConfig, mapping), run, quiet=True)
"""
KILL_AND_RESUME = """
from pathlib import Path
folder = Path(sys.argv[2])

class Killed(Exception):
    pass

def killed_after_six(trainer, window, counters):
    if counters.step == 6:
        raise Killed
    return sharded(trainer, window, counters)

for mapping, name in json.loads(sys.argv[1]):
    config = from_mapping(TrainConfig, mapping)
    loop.train(config, folder / f"whole-{name}", quiet=True)
    loop.update = killed_after_six
    try:
        loop.train(config, folder / f"broken-{name}", quiet=True)
        raise AssertionError("it was not killed")
    except Killed:
        pass
    loop.update = sharded
    torch.rand(7)
    loop.train(config, folder / f"broken-{name}", quiet=True, resume=True)
"""
HOOKED = """
try:
    loop.train(from_mapping(TrainConfig, json.loads(sys.argv[1])), sys.argv[2], [lambda *_: []], quiet=True)
    raise AssertionError("probes ran on a share of the model")
except ConfigError as error:
    assert "train without probes" in str(error)
"""


def launcher_environment(name):
    """What `accelerate launch --config_file` sets for its processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    arguments = launch_command_parser().parse_args(["--config_file", str(CONFIGS / f"{name}.yaml"), "train.py"])
    arguments, *_ = _validate_launch_command(arguments)
    told = prepare_multi_gpu_env(arguments)
    return {key: value for key, value in told.items() if os.environ.get(key) != value}


def test_the_launchers_files_are_read_as_meant():
    ddp, fsdp = launcher_environment("ddp"), launcher_environment("fsdp2")
    assert "ACCELERATE_USE_FSDP" not in ddp
    assert (fsdp["ACCELERATE_USE_FSDP"], fsdp["FSDP_VERSION"]) == ("true", "2")
    for told in (ddp, fsdp):  # what decides the result is the recipe's
        assert (told["ACCELERATE_MIXED_PRECISION"], told["ACCELERATE_DYNAMO_BACKEND"]) == ("no", "NO")


@pytest.fixture(scope="session")
def untied_model_dir(tmp_path_factory, tokenizer_dir, tiny):
    from sftscope.train.model import ModelConfig, load

    path = tmp_path_factory.mktemp("untied")
    fields = tiny.fields | {"tie_word_embeddings": False}
    model, tokenizer = load(ModelConfig(init=fields, tokenizer=str(tokenizer_dir)), seed=1)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.slow
def test_two_shards_train_what_one_process_trains(tiny, fit, mapping, tmp_path, rows_of, launch, untied_model_dir):
    """Losses, gradient norms (clipped over all shards) and whole checkpoints; adapters and 16-bit compute too."""
    data = {"path": str(tiny.write_rows(tmp_path / "nine.jsonl", tiny.make_rows(9)))}
    common = {"data": data, "checkpoints": {"first": True, "every": 3}, "optim": {"lr": 3e-3, "clip": 0.5}}
    packed = {"size": 4, "pack": 40, "logits_chunk": 7}
    variants = {
        "tied": {"batch": {"size": 4, "micro": 1}},
        "untied": {"model": {"path": str(untied_model_dir)}, "batch": packed | {"gradient_checkpointing": True}},
        "adapters": {"lora": {"rank": 4}, "batch": packed},
        "mixed": {"model": {"compute": "bfloat16"}, "batch": packed},
    }
    jobs = [[mapping(**common, **changes), str(tmp_path / f"two-{name}")] for name, changes in variants.items()]
    told = launch(SHARDED + TRAIN, jobs, environment=launcher_environment("fsdp2"))
    assert "UserWarning" not in told
    for name, changes in variants.items():
        alone, both = fit(f"one-{name}", **common, **changes), tmp_path / f"two-{name}"
        rtol, atol = (1e-2, 3e-3) if name == "mixed" else (1e-4, 1e-4)
        for key in ("loss", "grad_norm", "entropy", "tokens"):
            one, two = ([row[key] for row in rows_of(run)] for run in (alone, both))
            assert two == pytest.approx(one, rel=5 * rtol if key == "grad_norm" else rtol), (name, key)
        there = Run(both).checkpoints()
        assert list(there) == list(Run(alone).checkpoints())
        for step, folder in there.items():
            check_folder(folder)
            assert "canary" not in read_manifest(folder)
            file = "adapter_model.safetensors" if name == "adapters" else "model.safetensors"
            a, b = load_file(Run(alone).checkpoints()[step] / file), load_file(folder / file)
            assert {n: (t.shape, t.dtype) for n, t in a.items()} == {n: (t.shape, t.dtype) for n, t in b.items()}
            if name != "mixed":
                assert all(torch.allclose(a[k], b[k], atol=atol) for k in a), (name, step)
            assert type(load_model(Checkpoint(step, folder))).__name__ == "Qwen3ForCausalLM"


@pytest.mark.slow
def test_sharded_runs_resume_to_the_bit(mapping, tmp_path, launch, dropout_model_dir):
    common = {"checkpoints": {"every": 4, "resume_every": 5}, "batch": {"size": 8, "micro": 2}}
    jobs = [
        [mapping(model={"path": str(dropout_model_dir)}, **common), "full"],
        [mapping(lora={"rank": 4, "dropout": 0.3}, **common), "adapters"],
    ]
    launch(SHARDED + KILL_AND_RESUME, jobs, tmp_path, environment=launcher_environment("fsdp2"))
    for _, name in jobs:
        whole, broken = Run(tmp_path / f"whole-{name}"), Run(tmp_path / f"broken-{name}")
        assert whole.steps()["loss"].tolist() == broken.steps()["loss"].tolist()
        assert list(whole.checkpoints()) == list(broken.checkpoints()) == [4, 8, 12]
        for step, folder in whole.checkpoints().items():
            for file in folder.glob("*.safetensors"):
                assert file.read_bytes() == (broken.checkpoints()[step] / file.name).read_bytes(), (name, step)
        assert not (broken.path / "resume").exists()


@pytest.mark.slow
def test_probes_inside_a_sharded_run_are_refused_before_anything_is_written(mapping, tmp_path, launch):
    launch(SHARDED + HOOKED, mapping(), tmp_path / "run", environment=launcher_environment("fsdp2"))
    assert not (tmp_path / "run").exists()
