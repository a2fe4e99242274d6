"""verl's per-rank shards: put together to the bit where that is sure, refused with verl's command where it is not."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
import torch.distributed as dist
from sftscope.dynamics.errors import CheckpointError
from sftscope.probes.checkpoints import Checkpoint, check_checkpoint, load_model, load_tokenizer
from sftscope.probes.finding import find_checkpoints
from sftscope.probes.shards import merge_shards
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoModelForCausalLM


def write_shards(model, folder, world, replicas=1, edit=lambda state, rank: state):
    """What every one of `world` processes would write of a model sharded by FSDP2 (each played in turn)."""
    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(world):
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
        try:
            if replicas == 1:
                mesh = init_device_mesh("cpu", (world,), mesh_dim_names=("fsdp",))
            else:
                mesh = init_device_mesh("cpu", (replicas, world // replicas), mesh_dim_names=("ddp", "fsdp"))
            sharded = copy.deepcopy(model)
            for block in sharded.model.layers:
                fully_shard(block, mesh=mesh)
            fully_shard(sharded, mesh=mesh)
            state = edit(sharded.state_dict(), rank)
            torch.save(state, folder / f"model_world_size_{world}_rank_{rank}.pt")
        finally:
            dist.destroy_process_group()


def save_config(model, tokenizer_from, folder):
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (tokenizer_from / name).is_file():
            shutil.copy(tokenizer_from / name, folder)


@pytest.fixture(scope="module")
def model(micro_folder):
    return AutoModelForCausalLM.from_pretrained(micro_folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, model, micro_folder):
    """A run of verl's PPO trainer: an actor's shards with config and tokenizer beside them, a critic, and bookkeeping."""
    root = tmp_path_factory.mktemp("verl")
    for step in (10, 20):
        actor = root / f"global_step_{step}" / "actor"
        with torch.no_grad():
            later = copy.deepcopy(model)
            later.model.norm.weight.mul_(1 + step / 100)
        write_shards(later, actor, world=3)
        save_config(later, micro_folder, actor / "huggingface")
        (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 3}))
        (actor / "optim_world_size_3_rank_0.pt").write_bytes(b"not ours to read")
        (root / f"global_step_{step}" / "critic").mkdir()
        (root / f"global_step_{step}" / "data.pt").touch()
    (root / "latest_checkpointed_iteration.txt").write_text("20")
    return root


def test_shards_are_the_model_to_the_bit(trained, model):
    found = find_checkpoints([trained])
    assert [c.step for c in found] == [10, 20]
    for checkpoint in found:
        state = load_model(checkpoint).state_dict()
        for name, tensor in model.state_dict().items():
            expected = tensor * (1 + checkpoint.step / 100) if name == "model.norm.weight" else tensor
            assert torch.equal(state[name], expected), name
    assert load_tokenizer(found[0]).chat_template
    assert found[0].weights != found[1].weights


def test_uneven_and_empty_parts_are_put_together(model, tmp_path):
    """Five processes share tensors of 32 rows unevenly; eleven leave some of them empty."""
    for world in (1, 5, 11):
        write_shards(model, tmp_path / str(world), world)
        merged = merge_shards(tmp_path / str(world))
        assert merged.keys() == model.state_dict().keys()
        assert all(torch.equal(merged[k], v) for k, v in model.state_dict().items())


def test_replicas_are_left_out(model, tmp_path):
    write_shards(model, tmp_path, world=4, replicas=2)
    assert all(torch.equal(merge_shards(tmp_path)[k], v) for k, v in model.state_dict().items())


def test_files_of_an_older_torch_are_read(model, tmp_path, monkeypatch):
    """Once a mesh was stored under other names, and without what is made of it today."""

    def stored(mesh):
        return {"device_type": "cuda", "mesh": mesh.mesh, "mesh_dim_names": ("fsdp",), "_coordinate_on_dim": [0]}

    monkeypatch.setattr(DeviceMesh, "__getstate__", stored)
    write_shards(model, tmp_path, world=3)
    merged = merge_shards(tmp_path)
    assert all(torch.equal(merged[k], v) for k, v in model.state_dict().items())


def test_the_sft_trainers_folder_and_an_older_one_are_read(model, micro_folder, tmp_path):
    new, old = tmp_path / "global_step_640", tmp_path / "global_step_320"
    for folder in (new, old):
        write_shards(model, folder, world=2)
    save_config(model, micro_folder, new / "huggingface")
    save_config(model, micro_folder, old)  # before there was `huggingface/`
    for checkpoint in find_checkpoints([tmp_path]):
        assert torch.equal(load_model(checkpoint).model.norm.weight, model.model.norm.weight)
        assert load_tokenizer(checkpoint).chat_template


def test_what_is_whole_counts_before_shards(trained, micro_folder, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.copy(
        micro_folder / "model.safetensors", run / "global_step_10" / "actor" / "huggingface"
    )  # `hf_model` saved
    shutil.copytree(micro_folder, run / "merged_step20")  # what the study's script leaves beside the shards
    found = find_checkpoints([run])
    assert [(c.step, c.path.name) for c in found] == [(10, "huggingface"), (20, "merged_step20")]
    adapter = run / "global_step_20" / "actor" / "lora_adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").touch()
    assert find_checkpoints([run / "global_step_20"])[0].path == adapter


COMMAND = r"python -m verl.model_merger merge --backend fsdp --local_dir .*actor --target_dir .*merged/global_step_10"


def damaged(trained, tmp_path):
    return shutil.copytree(trained / "global_step_10", tmp_path / "global_step_10") / "actor"


def test_missing_and_truncated_shards_are_told(trained, tmp_path):
    actor = damaged(trained, tmp_path)
    (actor / "model_world_size_3_rank_1.pt").rename(tmp_path / "away")
    with pytest.raises(CheckpointError, match="lacks 1 of its 3 shards, that of rank 1 first"):
        check_checkpoint(Checkpoint(10, actor))
    (tmp_path / "away").rename(actor / "model_world_size_3_rank_1.pt")
    file = actor / "model_world_size_3_rank_2.pt"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=COMMAND):
        load_model(Checkpoint(10, actor))
    shutil.copy(file, actor / "model_world_size_8_rank_0.pt")
    with pytest.raises(CheckpointError, match=r"shards of 2 trainings \(3, 8 processes\)"):
        check_checkpoint(Checkpoint(10, actor))


class Planted:
    """What a pickle could do: on reading, it would write a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_code_in_a_shard_is_not_run(model, tmp_path, micro_folder):
    actor, target = tmp_path / "global_step_10" / "actor", tmp_path / "planted"
    write_shards(model, actor, 2, edit=lambda state, rank: {**state, "model.norm.weight": Planted(target)})
    save_config(model, micro_folder, actor / "huggingface")
    with pytest.raises(CheckpointError, match=COMMAND):
        load_model(Checkpoint(10, actor))
    assert not target.exists()


def unlike(state, rank):
    return state | {"model.norm.weight": torch.ones(16) * rank}  # divided, and not said how


def of_an_adapter(state, rank):
    return state | {"base_model.model.layers.0.lora_A.default.weight": torch.ones(2, 2)}


def lost(state, rank):
    return {k: v for k, v in state.items() if rank or k != "model.norm.weight"}


@pytest.mark.parametrize(
    ("edit", "message"),
    [(unlike, "do not say how it was divided"), (of_an_adapter, "an adapter"), (lost, "do not hold the same tensors")],
)
def test_what_is_not_sure_is_left_to_verl(edit, message, model, tmp_path, micro_folder):
    actor = tmp_path / "global_step_10" / "actor"
    write_shards(model, actor, 2, edit=edit)
    save_config(model, micro_folder, actor / "huggingface")
    with pytest.raises(CheckpointError, match=message) as told:
        load_model(Checkpoint(10, actor))
    assert "python -m verl.model_merger merge" in str(told.value)


def test_shards_of_another_model_than_the_config_says_are_refused(trained, tmp_path):
    actor = damaged(trained, tmp_path)
    file = actor / "huggingface" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"num_hidden_layers": 3, "layer_types": None}))
    with pytest.raises(CheckpointError, match="lacks weights of its own architecture"):
        load_model(Checkpoint(10, actor))
    file.unlink()
    with pytest.raises(CheckpointError, match=r"no config.json beside them or in huggingface/"):
        check_checkpoint(Checkpoint(10, actor))
