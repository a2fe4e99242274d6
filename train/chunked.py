"""The loss over chunks of labelled tokens, so that the logits of a long sequence are never all held at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from .data import IGNORED
from .objective import sums_over_tokens


class HeadError(Exception):
    """The model's output head cannot be taken apart from the rest; the message says why."""


def chunked_token_sums(
    model: torch.nn.Module, head: torch.nn.Module, batch: dict[str, Any], labels_BT: torch.Tensor, chunk: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `token_sums` gives for `model(**batch)`, with the logits of at most `chunk` tokens held at any time.

    `head` is the output embedding of `model`, which may be wrapped (DDP, FSDP): during the forward pass the head
    computes the loss of its hidden states in place of logits, a chunk at a time, and once more in the backward pass
    (Chen et al. 2016, arXiv 1604.06174). Right only where nothing follows the head: `check_head` finds that out.
    Raises HeadError for a model that does not call its head.
    """
    with _summing(head, labels_BT, chunk) as found:
        output = model(**batch, use_cache=False)
    if not found:
        raise HeadError("this model does not call its output embedding as a module")
    # Through the model's output, as wrappers expect of what is to be differentiated.
    return output.logits.float().sum(), found[0]


@contextmanager
def _summing(head: torch.nn.Module, labels_BT: torch.Tensor, chunk: int) -> Iterator[list[torch.Tensor]]:
    """Within, `head` returns the summed negative log-likelihood of its input; the detached sums are put in the list."""
    plain, shadowed = head.forward, head.__dict__.get("forward")
    found: list[torch.Tensor] = []
    targets = labels_BT[:, 1:]
    kept = targets != IGNORED

    def part(hidden_ND: torch.Tensor, target_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return sums_over_tokens(plain(hidden_ND), target_N)

    def forward(hidden_BTD: torch.Tensor) -> torch.Tensor:
        hidden_ND, target_N = hidden_BTD[:, :-1][kept], targets[kept]
        parts = [
            checkpoint(part, h, t, use_reentrant=False, preserve_rng_state=False)
            for h, t in zip(hidden_ND.split(chunk), target_N.split(chunk), strict=True)
        ]
        found.append(torch.stack([sums for _, sums in parts]).sum(0))
        # Not a view of a sum: FSDP hangs its hooks on what a module returns, and warns of views.
        return torch.stack([nll for nll, _ in parts])[:, None, None].sum(0, keepdim=True)

    head.forward = forward
    try:
        yield found
    finally:
        if shadowed is None:
            del head.forward
        else:
            head.forward = shadowed
