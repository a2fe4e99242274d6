"""Residual-stream capture by plain PyTorch hooks: the fast road, behind TransformerLens's names.

What it captures is what TransformerBridge calls `blocks.{i}.hook_resid_post`: the output of decoder block i, before the
final norm (the last entry of Hugging Face's `hidden_states` is after it, and is not this).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def decoder_blocks(model: PreTrainedModel) -> Sequence[torch.nn.Module]:
    """The decoder blocks in order, whatever the architecture calls them."""
    wanted = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted:
            return list(module)
    raise ValueError(f"{type(model).__name__} has no list of {wanted} decoder blocks to hook")


@contextmanager
def block_outputs(model: PreTrainedModel) -> Iterator[dict[int, torch.Tensor]]:
    """Within the context every forward pass leaves the blocks' outputs [batch, position, width] by layer in the dict."""
    seen: dict[int, torch.Tensor] = {}

    def keep(layer: int):
        def hook(_module: torch.nn.Module, _args: object, output: object) -> None:
            seen[layer] = output[0] if isinstance(output, tuple) else output  # type: ignore[assignment]

        return hook

    handles = [block.register_forward_hook(keep(i)) for i, block in enumerate(decoder_blocks(model))]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def capture_last_prompt(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, pad_id: int, batch_size: int = 128
) -> np.ndarray:
    """Residual stream after every block at the last prompt token, float32 [prompts, layers, width].

    Runs in eval mode and puts the mode back; neither gradients nor random state are touched.
    """
    was_training = [m for m in model.modules() if m.training]
    model.eval()
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    n_layers = len(decoder_blocks(model))
    out_NLD: np.ndarray | None = None
    try:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            width = max(len(prompts[i]) for i in rows)
            ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for r, i in enumerate(
                rows
            ):  # right padding: causal attention never looks at it, and positions need no care
                ids[r, : len(prompts[i])] = torch.tensor(prompts[i])
                mask[r, : len(prompts[i])] = 1
            last = mask.sum(-1) - 1
            with block_outputs(model) as seen:
                model.base_model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False)
            if len(seen) != n_layers:
                raise RuntimeError(f"captured {len(seen)} of {n_layers} layers: the model skipped a block")
            for layer, acts_BTD in seen.items():
                if out_NLD is None:
                    out_NLD = np.empty((len(prompts), n_layers, acts_BTD.shape[-1]), dtype=np.float32)
                picked = acts_BTD[torch.arange(len(rows), device=acts_BTD.device), last.to(acts_BTD.device)]
                out_NLD[rows, layer] = picked.float().cpu().numpy()
    finally:
        for module in was_training:
            module.training = True
    if out_NLD is None:
        raise ValueError("no prompts to capture activations on")
    return out_NLD
