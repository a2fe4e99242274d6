"""What a model thinks of text: log-probability and entropy of every token, by teacher forcing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .capture import batches, evaluating, tokens_at_once

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS = 2**27  # held at a time: half a GiB in float32


@torch.no_grad()
def score(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    pad_id: int,
    around: Callable[[int], AbstractContextManager[None]] = lambda _columns: nullcontext(),
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Log-probability of each response token given all before it, and entropy of the distribution there, in nats.

    Two lists of float32 [tokens], one array a response (empty for an empty one). One forward pass over prompt and
    response; logits are made at the responses' places alone. Prompts are padded on the left and responses on the right,
    so that all prompts of a pass end in one column: `around` is entered with the number of columns after it.
    Raises ValueError for an empty prompt.
    """
    if any(len(p) == 0 for p in prompts):
        raise ValueError("an empty prompt cannot be continued")
    logprobs: list[np.ndarray] = [np.empty(0, np.float32)] * len(prompts)
    entropies = list(logprobs)
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    batch_tokens = min(tokens_at_once(model.device), LOGITS // model.config.get_text_config().vocab_size)
    with evaluating(model):
        for batch in batches(lengths, batch_tokens):
            front, back = max(len(prompts[i]) for i in batch), max(len(responses[i]) for i in batch)
            if back == 0:
                continue
            ids = torch.full((len(batch), front + back), pad_id, dtype=torch.long)
            mask, wanted = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
            for r, i in enumerate(batch):
                begin, end = front - len(prompts[i]), front + len(responses[i])
                ids[r, begin:end] = torch.tensor([*prompts[i], *responses[i]])
                mask[r, begin:end] = 1
                wanted[r, front:end] = True
            with around(back):
                log_NV = _logits_before(model, ids, mask, wanted).log_softmax(-1)
            logprob_N = log_NV.gather(-1, ids[wanted].to(log_NV.device)[:, None])[:, 0].cpu().numpy()
            entropy_N = -(log_NV.exp() * log_NV).nan_to_num(0.0).sum(-1).cpu().numpy()
            ends = np.cumsum([len(responses[i]) for i in batch])[:-1]
            for i, lp, h in zip(batch, np.split(logprob_N, ends), np.split(entropy_N, ends), strict=True):
                logprobs[i], entropies[i] = lp, h
    return logprobs, entropies


@torch.no_grad()
def next_logprobs(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: Sequence[int], *, pad_id: int
) -> np.ndarray:
    """Log-probability, nats, of each of some tokens right after each prompt, float64 [prompts, tokens].

    Raises ValueError for an empty prompt.
    """
    if any(len(p) == 0 for p in prompts):
        raise ValueError("an empty prompt cannot be continued")
    out_PK = np.empty((len(prompts), len(tokens)))
    with evaluating(model):
        for batch in batches([len(p) + 1 for p in prompts], tokens_at_once(model.device)):
            width = max(len(prompts[i]) for i in batch)
            ids = torch.full((len(batch), width + 1), pad_id, dtype=torch.long)  # the last column is what is predicted
            mask, wanted = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
            for r, i in enumerate(batch):
                ids[r, width - len(prompts[i]) : width] = torch.tensor(prompts[i])
                mask[r, width - len(prompts[i]) :] = 1
            wanted[:, -1] = True
            log_BV = _logits_before(model, ids, mask, wanted).double().log_softmax(-1)
            out_PK[batch] = log_BV[:, list(tokens)].cpu().numpy()
    return out_PK


def _logits_before(
    model: PreTrainedModel, ids_BT: torch.Tensor, mask_BT: torch.Tensor, wanted_BT: torch.Tensor
) -> torch.Tensor:
    """Logits that predict the wanted tokens, float32 [wanted, vocabulary]: the output head sees those states alone."""
    before_BT = wanted_BT.roll(-1, dims=1).to(model.device)  # the first column is never wanted: prompts are not empty

    def pick(_head: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][before_BT.to(args[0].device)].unsqueeze(0), *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        output = model(
            input_ids=ids_BT.to(model.device),
            attention_mask=mask_BT.to(model.device),
            position_ids=(mask_BT.cumsum(-1) - 1).clamp(min=0).to(model.device),
            use_cache=False,
        )
    finally:
        handle.remove()
    return output.logits[0].float()
