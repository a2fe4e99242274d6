"""Captured activations are the bridge's and Hugging Face's, and the live model notices nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sftscope.probes import organisms
from sftscope.probes.checkpoints import Checkpoint, load_model
from sftscope.probes.engines import Sampling
from sftscope.probes.engines.hf import HfEngine
from sftscope.probes.internals.bridge import BridgedModel, shell_of
from sftscope.probes.internals.capture import block_outputs, capture_last_prompt
from sftscope.probes.internals.store import read_activations, write_activations


@pytest.fixture(scope="module")
def organism():
    return load_model(Checkpoint(0, organisms.folder(organisms.DEFAULT)))


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(5, 300, (n,), generator=generator).tolist() for n in (3, 9, 9, 17, 30)]


def bridge_states(model, prompts):
    """The same states by the bridge's own cache, a prompt at a time [prompts, layers, width], and its largest logit gap."""
    bridged, states, gap = BridgedModel(model), [], 0.0
    with torch.no_grad():
        for prompt in prompts:
            ids = torch.tensor([prompt])
            logits, cache = bridged.bridge.run_with_cache(ids, names_filter=lambda n: n.endswith("hook_resid_post"))
            states.append([cache[f"blocks.{i}.hook_resid_post"][0, -1].numpy() for i in range(bridged.n_layers)])
            gap = max(gap, float((logits - model(ids).logits).abs().max()))
    return np.array(states), gap


def relative_gap(a, b):
    """Largest difference of two states, in units of the state's length (the organism's reach 40 in single coordinates)."""
    return (np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)).max()


def test_plain_hooks_equal_the_bridge_on_the_organism(organism, prompts):
    reference, _ = bridge_states(organism, prompts)
    assert relative_gap(capture_last_prompt(organism, prompts, pad_id=0), reference) <= 1e-5
    same_kernel = copy.deepcopy(organism)
    same_kernel.set_attn_implementation("eager")  # as the bridge computes: what is left is not the attention's rounding
    alone = np.concatenate([capture_last_prompt(same_kernel, [p], pad_id=0) for p in prompts])
    reference, gap = bridge_states(same_kernel, prompts)
    assert np.abs(alone - reference).max() <= 1e-5
    assert gap <= 1e-5


def test_captures_are_block_outputs_and_not_the_normed_last_hidden_state(organism, prompts):
    got = capture_last_prompt(organism, prompts, pad_id=0)
    for row, prompt in enumerate(prompts):
        with torch.no_grad():
            states = organism(torch.tensor([prompt]), output_hidden_states=True).hidden_states
        for layer in range(got.shape[1]):
            # the last entry of hidden_states is after the final norm: taking it for the last block's output is a known trap
            same = relative_gap(got[row, layer], states[layer + 1][0, -1].numpy()) <= 1e-5
            assert same == (layer < got.shape[1] - 1)


def test_padding_and_company_change_nothing(organism, prompts):
    together = capture_last_prompt(organism, prompts, pad_id=0)
    alone = np.concatenate([capture_last_prompt(organism, [p], pad_id=0) for p in prompts])
    small = capture_last_prompt(organism, prompts, pad_id=0, batch_size=2)
    assert relative_gap(together, alone) <= 1e-5
    assert relative_gap(together, small) <= 1e-5


def test_the_live_model_notices_nothing(organism, prompts, tmp_path):
    model = copy.deepcopy(organism)
    model.train()
    model.lm_head.eval()  # a mix of modes has to come back as it was
    modes = [m.training for m in model.modules()]
    keys, attention = list(model.state_dict()), model.config._attn_implementation
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random_state = torch.get_rng_state()
    hooks = sum(len(m._forward_hooks) for m in model.modules())

    capture_last_prompt(model, prompts, pad_id=0)
    bridged = BridgedModel(model)
    with bridged.editing({1: lambda x: x * 0}) as edited:
        HfEngine(edited, eos_ids=[1], pad_id=0).generate(prompts, Sampling(4))

    assert [m.training for m in model.modules()] == modes
    assert list(model.state_dict()) == keys
    assert model.config._attn_implementation == attention == "sdpa"
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").exists()


def test_the_shell_shares_parameters_and_follows_training(organism, prompts):
    model = copy.deepcopy(organism)
    shell = shell_of(model)
    ours, theirs = dict(model.named_parameters()), dict(shell.named_parameters())
    assert all(theirs[k].data_ptr() == p.data_ptr() for k, p in ours.items())
    bridged = BridgedModel(model)
    ids = torch.tensor([prompts[3]])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    with torch.no_grad():
        assert torch.allclose(bridged.model(ids).logits, model(ids).logits, atol=1e-5)
        assert not torch.allclose(organism(ids).logits, model(ids).logits, atol=1e-2)


def test_edits_reach_generation_through_the_bridge_and_end_with_the_context(organism, prompts):
    bridged = BridgedModel(organism)
    ids = torch.tensor([prompts[2]])
    with torch.no_grad():
        plain = bridged.model(ids).logits
        with bridged.editing({2: lambda x: x + 1.0}) as edited:
            shifted = edited(ids).logits
            via_bridge = bridged.bridge(ids)
        after = bridged.model(ids).logits
    assert torch.allclose(shifted, via_bridge, atol=1e-5)
    assert not torch.allclose(plain, shifted, atol=1e-2)
    assert torch.equal(plain, after)


def test_hooks_do_not_leak_when_a_forward_fails(micro_model):
    with pytest.raises(RuntimeError, match="boom"), block_outputs(micro_model):
        raise RuntimeError("boom")
    assert all(not m._forward_hooks for m in micro_model.modules())


def test_the_store_is_chunked_and_keeps_what_half_precision_cannot(tmp_path):
    import h5py

    rng = np.random.default_rng(0)
    acts = rng.standard_normal((70, 3, 16)).astype(np.float32)
    file = write_activations(
        tmp_path, 3, "p", key="k", acts_NLD=acts, position="last_prompt", items=["i"] * 70, attrs={}
    )
    with h5py.File(file) as f:
        data = f["activations/last_prompt"]
        assert data.chunks == (32, 1, 16)
        assert data.dtype == np.float16
    assert np.abs(read_activations(file, "last_prompt") - acts).max() < 2e-3
    acts[0, 0, 0] = 1e6  # beyond float16
    file = write_activations(
        tmp_path, 4, "p", key="k", acts_NLD=acts, position="last_prompt", items=["i"] * 70, attrs={}
    )
    assert read_activations(file, "last_prompt")[0, 0, 0] == np.float32(1e6)
