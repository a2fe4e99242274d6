"""Whether captured states are what they are taken for: three ways to read them, two ways to pad, and the store's precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...dynamics.errors import first_line
from .lines import Line, Status

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Prompts = Sequence[Sequence[int]]
# How far two computations of one state may be apart by rounding, in units of its length; more than `LOST` is another
# state (one token or layer off, before or after the final norm, padding that was attended to).
ROUNDING = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 6e-2}
LOST = 0.2


def relative_gap(a_NLD: np.ndarray, b_NLD: np.ndarray) -> float:
    """The largest distance between two readings of a state, in units of its length; NaN where one is not finite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = np.linalg.norm(a_NLD - b_NLD, axis=-1) / np.linalg.norm(b_NLD, axis=-1)
    return float(gaps.max())


def check_parity(model: PreTrainedModel, prompts: Prompts, pad_id: int) -> list[Line]:
    """Plain hooks against transformers' `hidden_states` and against TransformerBridge, a prompt at a time."""
    from ..internals.capture import capture_last_prompt

    states_NLD = np.concatenate([capture_last_prompt(model, [p], pad_id=pad_id) for p in prompts])
    hidden_NLD = _hidden_states(model, prompts)
    # The last entry of hidden_states comes after the final norm: it is not the last block's output.
    before_norm = slice(0, hidden_NLD.shape[1] - 1)
    hidden = "transformers' hidden_states before the final norm"
    lines = [_line("hooks", hidden, states_NLD[:, before_norm], hidden_NLD[:, before_norm], model)]
    try:
        bridged_NLD = _bridge_states(model, prompts)
    except Exception as error:  # noqa: BLE001  (an architecture that the bridge does not know fails in ways of its own)
        text = f"TransformerBridge does not take this model ({first_line(error)}): causal probes will be recorded as failed"
        return [*lines, Line("bridge", "not checked", text)]
    return [*lines, _line("bridge", "TransformerBridge", states_NLD, bridged_NLD, model)]


def check_padding(model: PreTrainedModel, prompts: Prompts, pad_id: int) -> Line:
    """The same prompts alone, padded on the right (as captured) and on the left (as generated from)."""
    from ..internals.capture import capture_last_prompt

    alone_NLD = np.concatenate([capture_last_prompt(model, [p], pad_id=pad_id) for p in prompts])
    right = relative_gap(capture_last_prompt(model, prompts, pad_id=pad_id), alone_NLD)
    left = relative_gap(_left_padded(model, prompts, pad_id), alone_NLD)
    status, told = _verdict(max(left, right) if left == left and right == right else np.nan, model)
    text = f"states of prompts padded on the right are within {right:.1e} of those alone, on the left within {left:.1e}: {told}"
    return Line("padding", status, text, {"right": right, "left": left})


def check_storage(states_NLD: np.ndarray) -> Line:
    """What the store makes of a model's states: whether half precision holds them, and what it rounds away."""
    from ..internals.store import halved

    finite = np.isfinite(states_NLD).all(axis=(1, 2))
    if not finite.all():
        text = (
            f"{int((~finite).sum())} of {len(finite)} prompts give states that are not finite: the model overflows in the "
            "precision that it runs in; load it in bfloat16 or float32"
        )
        return Line("storage", "failed", text, {"not_finite": int((~finite).sum())})
    largest = float(np.abs(states_NLD).max())
    rounded = relative_gap(halved(states_NLD).astype(np.float32), states_NLD)
    numbers = {"largest": largest, "rounded_by": rounded}
    if not rounded <= ROUNDING["float16"]:
        text = f"stored states come back {rounded:.1e} of their length away: directions fitted to them would be others"
        return Line("storage", "failed", text, numbers)
    if largest > 6e4:
        text = f"coordinates reach {largest:,.0f}, beyond float16: states are stored in float32, at twice the size"
        return Line("storage", "look", text, numbers)
    text = f"coordinates reach {largest:,.4g} and float16 holds 65,504: stored states are within {rounded:.0e} of their length"
    return Line("storage", "ok", text, numbers)


# ---------------------------------------------------------------- parts


def _line(name: str, other: str, a_NLD: np.ndarray, b_NLD: np.ndarray, model: PreTrainedModel) -> Line:
    if a_NLD.shape[1] == 0:
        return Line(
            name, "not checked", f"{other} tell nothing of a single block: their only entry is after the final norm"
        )
    gap = relative_gap(a_NLD, b_NLD)
    status, told = _verdict(gap, model)
    n, layers = a_NLD.shape[:2]
    text = f"states captured by hooks are within {gap:.1e} of {other} ({n} prompts, {layers} blocks): {told}"
    return Line(name, status, text, {"gap": gap})


def _verdict(gap: float, model: PreTrainedModel) -> tuple[Status, str]:
    if gap == 0:
        return "ok", "to the bit"
    dtype = str(model.dtype).removeprefix("torch.")
    if gap <= ROUNDING.get(dtype, ROUNDING["float32"]):
        return "ok", f"rounding of {dtype}"
    if gap <= LOST:
        return (
            "look",
            f"more than {dtype} rounds, and less than another state; differences of this size are the machine's",
        )
    return "failed", "another state, and what is measured on it would be wrong"


def _hidden_states(model: PreTrainedModel, prompts: Prompts) -> np.ndarray:
    import torch

    rows = []
    with torch.no_grad():
        for prompt in prompts:
            ids = torch.tensor([list(prompt)], device=model.device)
            states = model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
            rows.append([s[0, -1].float().cpu().numpy() for s in states[1:]])
    return np.array(rows)


def _bridge_states(model: PreTrainedModel, prompts: Prompts) -> np.ndarray:
    import torch

    from ..internals.bridge import BridgedModel

    bridged, rows = BridgedModel(model), []
    with torch.no_grad():
        for prompt in prompts:
            ids = torch.tensor([list(prompt)], device=model.device)
            _, cache = bridged.bridge.run_with_cache(ids, names_filter=lambda name: name.endswith("hook_resid_post"))
            names = [f"blocks.{layer}.hook_resid_post" for layer in range(bridged.n_layers)]
            rows.append([cache[name][0, -1].float().cpu().numpy() for name in names])
    return np.array(rows)


def _left_padded(model: PreTrainedModel, prompts: Prompts, pad_id: int) -> np.ndarray:
    """States of the last token of prompts in one batch, padded and positioned as the engine does."""
    import torch

    from ..internals.capture import block_outputs, decoder_blocks

    width = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, width - len(prompt) :] = torch.tensor(list(prompt))
        mask_BT[row, width - len(prompt) :] = 1
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
    layers = range(len(decoder_blocks(model)))
    seen: dict[int, torch.Tensor] = {}
    with torch.no_grad(), block_outputs(model, layers, seen.__setitem__):
        model.base_model(
            input_ids=ids_BT.to(model.device),
            attention_mask=mask_BT.to(model.device),
            position_ids=positions_BT.to(model.device),
            use_cache=False,
        )
    return np.stack([seen[layer][:, -1].float().cpu().numpy() for layer in layers], axis=1)
