"""Captured activations are the bridge's and Hugging Face's, and the live model notices nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sftscope.probes import organisms
from sftscope.probes.checkpoints import Checkpoint, load_model
from sftscope.probes.domains import Item
from sftscope.probes.engines import Sampling
from sftscope.probes.engines.hf import HfEngine
from sftscope.probes.internals.bridge import BridgedModel, shell_of
from sftscope.probes.internals.capture import block_outputs, capture, capture_last_prompt, decoder_blocks
from sftscope.probes.internals.scoring import score
from sftscope.probes.internals.store import read_activations, write_activations
from sftscope.probes.protocol import PromptSet


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
    small, _ = capture(organism, prompts, [[len(p) - 1] for p in prompts], pad_id=0, batch_tokens=20)
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
    with pytest.raises(RuntimeError, match="boom"), block_outputs(micro_model, [0], lambda *_: None):
        raise RuntimeError("boom")
    assert all(not m._forward_hooks for m in micro_model.modules())


def rows_of(n, **more) -> PromptSet:
    items = tuple(Item(f"i{k}", "p", {}) for k in range(n))
    names = np.array(["A"] * n)
    return PromptSet("p", items, np.arange(n) % 2 == 0, np.array(["fit"] * n), names, names, **more)


def stored(tmp_path, step, acts):
    about = {"embedded_ND": acts[:, 0], "layers": [0, 2, 5], "attrs": {}}
    return write_activations(tmp_path, step, rows_of(len(acts)), key="k", acts={"last_prompt": acts}, **about)


def test_the_store_is_chunked_and_keeps_what_half_precision_cannot(tmp_path):
    import h5py

    rng = np.random.default_rng(0)
    acts = rng.standard_normal((70, 3, 16)).astype(np.float32)
    file = stored(tmp_path, 3, acts)
    with h5py.File(file) as f:
        data = f["activations/last_prompt"]
        assert data.chunks == (32, 1, 16)
        assert data.dtype == np.float16
        assert f["label"][:3].tolist() == [True, False, True]
    back, _, layers = read_activations(file)
    assert np.abs(back["last_prompt"] - acts).max() < 2e-3
    assert layers == (0, 2, 5)
    acts[0, 0, 0] = 1e6  # beyond float16
    back, *_ = read_activations(stored(tmp_path, 4, acts))
    assert back["last_prompt"][0, 0, 0] == np.float32(1e6)


def test_places_inside_a_text_are_those_of_the_whole_pass(organism, prompts):
    at = [[0, 2], [8], [1, 4, 7], [16], [29, 3]]
    acts, embedded = capture(organism, prompts, at, pad_id=0, layers=[0, 2])
    embeddings = organism.get_input_embeddings().weight.detach()
    row = 0
    for prompt, places in zip(prompts, at, strict=True):
        with torch.no_grad():
            states = organism(torch.tensor([prompt]), output_hidden_states=True).hidden_states
        for place in places:
            for column, layer in enumerate((0, 2)):
                assert relative_gap(acts[row, column], states[layer + 1][0, place].numpy()) <= 1e-5
            mean = embeddings[torch.tensor(prompt[: place + 1])].mean(0)
            assert np.allclose(embedded[row], mean.numpy(), atol=1e-5)
            row += 1
    assert row == len(acts)


def test_a_pass_ends_after_the_last_layer_that_is_needed(organism, prompts):
    ran = []
    blocks = decoder_blocks(organism)
    handles = [b.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, b in enumerate(blocks)]
    few, _ = capture(organism, prompts, [[0]] * len(prompts), pad_id=0, layers=[1])
    for handle in handles:
        handle.remove()
    assert set(ran) == {0, 1}
    every, _ = capture(organism, prompts, [[0]] * len(prompts), pad_id=0)
    assert np.array_equal(few[:, 0], every[:, 1])


def test_scores_are_those_of_the_plain_forward_pass(organism, prompts):
    responses = [[7, 8, 9], [], [5, 5, 5, 5, 5, 5, 5], [9], [11, 12]]
    logprobs, entropies = score(organism, prompts, responses, pad_id=0)
    for prompt, response, lp, h in zip(prompts, responses, logprobs, entropies, strict=True):
        with torch.no_grad():
            log = organism(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        assert len(lp) == len(h) == len(response)
        if response:
            wanted = log[torch.arange(len(response)), torch.tensor(response)]
            assert np.allclose(lp, wanted.numpy(), atol=1e-4)
            assert np.allclose(h, torch.distributions.Categorical(logits=log).entropy().numpy(), atol=1e-4)
