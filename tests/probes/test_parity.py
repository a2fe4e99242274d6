"""Plain hooks, TransformerBridge and Hugging Face give the same states, in every style of model that is fine-tuned here."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import transformers
from sftscope.probes.internals.bridge import BridgedModel
from sftscope.probes.internals.capture import capture

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
SLIDING = {"sliding_window": 8, "query_pre_attn_scalar": 8}  # shorter than the prompts
STYLES = {
    "Qwen3": {},
    "Qwen2": {},
    "Llama": {"attention_bias": True},
    "Gemma2": SLIDING,
    "Gemma3": {**SLIDING, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
}
LENGTHS = (3, 5, 8, 11, 12, 14, 17, 20, 20, 22)


@pytest.fixture(params=STYLES)
def model(request):
    """Three random layers whose states are of length ten or so, norms and biases off their neutral values."""
    style = request.param
    config_class = getattr(transformers, f"{style}TextConfig" if style == "Gemma3" else f"{style}Config")
    torch.manual_seed(0)
    model = getattr(transformers, f"{style}ForCausalLM")(config_class(**SMALL, **STYLES[style])).eval()
    if style == "Gemma2":
        model.set_attn_implementation("eager")  # Hugging Face's sdpa leaves out its softcapped scores without a word
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            else:
                parameter.normal_(0, 0.3)
    return model


@pytest.fixture
def prompts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(2, 97, (n,), generator=generator).tolist() for n in LENGTHS]


@torch.no_grad()
def hugging_face(model, prompts, pad: str | None = None) -> np.ndarray:
    """Hidden states at the last token of each prompt [prompts, layers, width], each alone or all in one padded batch.

    The last one is left before the final norm by reading what that norm is given.
    """
    seen: list[torch.Tensor] = []
    handle = model.model.norm.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    found = []
    try:
        for batch in [prompts] if pad else [[p] for p in prompts]:
            width = max(map(len, batch))
            ids, mask = torch.zeros(len(batch), width, dtype=torch.long), torch.zeros(len(batch), width).long()
            for row, prompt in enumerate(batch):
                inside = slice(width - len(prompt), width) if pad == "left" else slice(0, len(prompt))
                ids[row, inside], mask[row, inside] = torch.tensor(prompt), 1
            places = (mask.cumsum(-1) - 1).clamp(min=0)
            states = model(ids, attention_mask=mask, position_ids=places, output_hidden_states=True).hidden_states
            layers = torch.stack([*states[1:-1], seen.pop()], dim=2).float()  # [rows, columns, layers, width]
            last = mask.cumsum(-1).argmax(-1)
            found.append(layers[torch.arange(len(batch)), last].numpy())
    finally:
        handle.remove()
    return np.concatenate(found)


def hooks(model, prompts, **how) -> np.ndarray:
    return capture(model, prompts, [[len(p) - 1] for p in prompts], pad_id=0, **how)[0]


@torch.no_grad()
def bridge(bridged, prompts) -> np.ndarray:
    """The bridge's own cache, a prompt at a time."""
    out = []
    for prompt in prompts:
        _, cache = bridged.bridge.run_with_cache(torch.tensor([prompt]), names_filter=lambda n: "resid_post" in n)
        out.append([cache[f"blocks.{i}.hook_resid_post"][0, -1].float().numpy() for i in range(bridged.n_layers)])
    return np.array(out)


def gap(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two states, in units of the state's length."""
    return float((np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)).max())


def test_in_fp32_all_agree_and_padding_on_either_side_changes_nothing(model, prompts):
    reference = hugging_face(model, prompts)
    assert np.linalg.norm(reference, axis=-1).min() > 1  # a tolerance of 1e-5 says something
    for side in ("left", "right"):
        assert gap(hugging_face(model, prompts, side), reference) <= 1e-5
        assert gap(hooks(model, prompts, pad_left=side == "left"), reference) <= 1e-5
    bridged = BridgedModel(model)
    assert gap(bridge(bridged, prompts), reference) <= 1e-5
    for side in ("left", "right"):  # plain hooks on the bridge's shell: how states are read under edits
        assert gap(hooks(bridged.model, prompts, pad_left=side == "left"), reference) <= 1e-5


def test_with_one_attention_kernel_single_numbers_agree(model, prompts):
    model.set_attn_implementation("eager")  # as the bridge computes
    reference = hugging_face(model, prompts)
    ours = np.concatenate([hooks(model, [p]) for p in prompts])
    assert np.abs(ours - reference).max() <= 1e-5
    assert np.abs(bridge(BridgedModel(model), prompts) - reference).max() <= 1e-5


def test_the_naive_last_column_of_a_padded_batch_is_another_state(model, prompts):
    """Right-padded, the last column is padding; left-padded without a mask, the padding is read as words."""
    reference = hugging_face(model, prompts)
    width = max(LENGTHS)
    right = torch.tensor([p + [0] * (width - len(p)) for p in prompts])
    left = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    short = [k for k, n in enumerate(LENGTHS) if n < width]
    with torch.no_grad():
        for ids in (right, left):
            # the second block: the first one of some styles attends to a few words back alone
            naive = model(ids, output_hidden_states=True).hidden_states[2][:, -1].numpy()
            assert all(gap(naive[k], reference[k, 1]) > 0.01 for k in short)
    for side in (True, False):
        assert gap(hooks(model, prompts, pad_left=side), reference) <= 1e-5


def rms_gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a - b) ** 2).sum(-1) / (b**2).sum(-1)).mean())


def test_in_bf16_they_are_as_near_to_exact_as_hugging_face(model, prompts):
    half = model.to(torch.bfloat16)
    exact = hugging_face(copy.deepcopy(half).float(), prompts)  # the same rounded weights, exact arithmetic
    eager = copy.deepcopy(half)
    eager.set_attn_implementation("eager")  # as the bridge computes: it rounds a little more than sdpa does
    noise, more = (rms_gap(hugging_face(m, prompts), exact) for m in (half, eager))
    assert 1e-4 < noise < 0.1
    assert rms_gap(hooks(half, prompts), exact) <= 1.1 * noise
    assert rms_gap(hooks(half, prompts, pad_left=True), exact) <= 1.1 * noise
    assert rms_gap(bridge(BridgedModel(half), prompts), exact) <= 1.2 * max(noise, more)
