"""Residual-stream capture by plain PyTorch hooks: the fast road, behind TransformerLens's names.

What it captures is what TransformerBridge calls `blocks.{i}.hook_resid_post`: the output of decoder block i, before the
final norm (the last entry of Hugging Face's `hidden_states` is after it, and is not this). Only the wanted places are kept,
as each block leaves them, so that memory stays that of a plain forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def tokens_at_once(device: torch.device) -> int:
    """Tokens of one forward pass, padding included: on a CPU what its caches hold, a third faster than eight times as many."""
    return 1024 if device.type == "cpu" else 8192


def decoder_blocks(model: PreTrainedModel) -> Sequence[torch.nn.Module]:
    """The decoder blocks in order, whatever the architecture calls them."""
    wanted = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted:
            return list(module)
    raise ValueError(f"{type(model).__name__} has no list of {wanted} decoder blocks to hook")


class _Enough(Exception):
    pass


@contextmanager
def block_outputs(
    model: PreTrainedModel, layers: Sequence[int], keep: Callable[[int, torch.Tensor], None]
) -> Iterator[None]:
    """Within the context every forward pass shows the output [batch, position, width] of each wanted block to `keep`.

    Where the blocks above the last wanted one are not needed, the pass is left there, by an exception that the context
    swallows: what follows the call inside the context is then skipped.
    """
    blocks = decoder_blocks(model)
    last = max(layers)

    def watch(layer: int):
        def hook(_module: torch.nn.Module, _args: object, output: object) -> None:
            keep(layer, output[0] if isinstance(output, tuple) else output)  # type: ignore[arg-type]
            if layer == last < len(blocks) - 1:
                raise _Enough

        return hook

    handles = [blocks[i].register_forward_hook(watch(i)) for i in layers]
    try:
        yield
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode within the context; every module's own mode afterwards."""
    was_training = [m for m in model.modules() if m.training]
    model.eval()
    try:
        yield
    finally:
        for module in was_training:
            module.training = True


@torch.no_grad()
def capture(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    *,
    pad_id: int,
    layers: Sequence[int] | None = None,
    batch_tokens: int | None = None,
    pad_left: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Residual stream after the wanted blocks at the wanted places of token sequences: one forward pass, in batches.

    `places[i]` are token indices in `sequences[i]`. Gives float32 [places, layers, width], all places in order, and the
    mean input embedding up to each place [places, width]. Runs in eval mode and puts the mode back; neither gradients
    nor random state are touched. `pad_left`: sequences end in one column, as edits of the stream expect prompts to.
    Raises ValueError where nothing is asked for.
    """
    if not sequences or not any(map(len, places)):
        raise ValueError("no places to capture activations at")
    wanted = sorted(layers) if layers is not None else list(range(len(decoder_blocks(model))))
    column = {layer: k for k, layer in enumerate(wanted)}
    first_row = np.cumsum([0, *map(len, places)])
    n = int(first_row[-1])
    acts_NLD: np.ndarray | None = None
    embedded_ND: np.ndarray | None = None
    with evaluating(model):
        for batch in batches([len(s) for s in sequences], batch_tokens or tokens_at_once(model.device)):
            width = max(len(sequences[i]) for i in batch)
            # Right padding: causal attention never looks at it, and positions need no care.
            begins = [width - len(sequences[i]) if pad_left else 0 for i in batch]
            ids = torch.full((len(batch), width), pad_id, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for r, (i, begin) in enumerate(zip(batch, begins, strict=True)):
                ids[r, begin : begin + len(sequences[i])] = torch.tensor(sequences[i])
                mask[r, begin : begin + len(sequences[i])] = 1
            rows = torch.tensor([r for r, i in enumerate(batch) for _ in places[i]], device=model.device)
            at = torch.tensor(
                [begin + p for i, begin in zip(batch, begins, strict=True) for p in places[i]], device=model.device
            )
            if not len(rows):
                continue
            mask = mask.to(model.device)
            positions = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if pad_left else {}
            kept: dict[int, torch.Tensor] = {}
            embedded: list[torch.Tensor] = []

            def keep(
                layer: int,
                acts_BTD: torch.Tensor,
                kept: dict[int, torch.Tensor] = kept,
                rows: torch.Tensor = rows,
                at: torch.Tensor = at,
            ) -> None:
                kept[layer] = acts_BTD[rows.to(acts_BTD.device), at.to(acts_BTD.device)].float()

            def average(
                _module: torch.nn.Module,
                _args: object,
                embedded_BTD: torch.Tensor,
                embedded: list[torch.Tensor] = embedded,
                rows: torch.Tensor = rows,
                at: torch.Tensor = at,
                mask: torch.Tensor = mask,
            ) -> None:
                sums_BTD = (embedded_BTD.float() * mask.unsqueeze(-1)).cumsum(1)
                embedded.append(sums_BTD[rows, at] / mask.cumsum(1)[rows, at].unsqueeze(-1))

            handle = model.get_input_embeddings().register_forward_hook(average)
            try:
                with block_outputs(model, wanted, keep):
                    model.base_model(input_ids=ids.to(model.device), attention_mask=mask, use_cache=False, **positions)
            finally:
                handle.remove()
            if len(kept) != len(wanted):
                raise RuntimeError(f"captured {len(kept)} of {len(wanted)} layers: the model skipped a block")
            if acts_NLD is None or embedded_ND is None:
                acts_NLD = np.empty((n, len(wanted), kept[wanted[0]].shape[-1]), dtype=np.float32)
                embedded_ND = np.empty((n, embedded[0].shape[-1]), dtype=np.float32)
            target = np.concatenate([np.arange(first_row[i], first_row[i + 1]) for i in batch])
            for layer, picked in kept.items():
                acts_NLD[target, column[layer]] = picked.cpu().numpy()
            embedded_ND[target] = embedded[0].cpu().numpy()
    assert acts_NLD is not None
    assert embedded_ND is not None
    return acts_NLD, embedded_ND


def capture_last_prompt(model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, pad_id: int) -> np.ndarray:
    """Residual stream after every block at the last token of each prompt, float32 [prompts, layers, width]."""
    return capture(model, prompts, [[len(p) - 1] for p in prompts], pad_id=pad_id)[0]


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length, at most so many tokens each with their padding."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * lengths[i] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
