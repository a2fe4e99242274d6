"""A checkpoint that loads is proved to be the model that was saved, whatever its files' hashes say."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from sftscope.dynamics.errors import CheckpointError
from sftscope.dynamics.storage import sha256_file
from sftscope.probes.checkpoints import Checkpoint, load_model, verify_model
from sftscope.train.canary import take_canary
from sftscope.train.checkpoint import write_checkpoint


@pytest.fixture
def saved(tmp_path, micro_model, micro_tokenizer):
    folder = tmp_path / "step-000003"
    write_checkpoint(folder, micro_model, micro_tokenizer, 3, canary=take_canary(micro_model))
    return folder


def alter(folder, change):
    """Change the weights and make the manifest's hashes fit, as a wrong conversion would."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][file.name]["sha256"] = sha256_file(file)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_was_saved_is_what_loads(saved, micro_model):
    loaded = load_model(Checkpoint(3, saved))
    assert verify_model(loaded, saved)
    assert verify_model(micro_model, saved)
    for dtype in (torch.bfloat16, torch.float16):
        assert verify_model(torch.nn.Module.to(load_model(Checkpoint(3, saved)), dtype=dtype), saved)


@pytest.mark.parametrize("part", ["model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.v_proj.weight"])
def test_altered_weights_are_told_though_every_hash_fits(saved, part):
    def change(weights):
        weights[part] *= 1.02

    alter(saved, change)
    with pytest.raises(CheckpointError, match=r"step-000003 does not answer"):
        load_model(Checkpoint(3, saved))


def test_a_live_model_that_kept_its_old_weights_is_told(saved, micro_model):
    """A swap that did not happen: one update apart, in float32."""
    with torch.no_grad():
        for parameter in micro_model.parameters():
            parameter.add_(1e-5 * torch.sign(torch.randn_like(parameter)))
    with pytest.raises(CheckpointError):
        verify_model(micro_model, saved)


def test_folders_of_others_have_no_canary_and_load(saved):
    (saved / "manifest.json").unlink()
    assert not verify_model(load_model(Checkpoint(3, saved)), saved)
