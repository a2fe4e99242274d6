"""Whether the fast paths of training compute what the plain ones do, tried on the model and rows at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import signature
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .batching import collate
from .chunked import HeadError, chunked_token_sums
from .data import Example
from .hooks import undisturbed
from .lora import plain
from .objective import token_sums
from .packing import collate_packed
from .update import Trainer

SEQUENCES = 4  # packed for the test: the first rows,
HEAD = 256  # of each at most so many tokens
AFTER = 16  # tokens of a sequence whose losses are compared: a leak shows at once behind a boundary and fades
# What rounding may do to a token's loss, in nats, where the same sum is taken in rows of another shape: eight units in
# the last place of a number around 1. float32 adds up thousands of terms, in an order that changes with the shape, so
# it gets 1e-4, a thousand units (2e-6 was seen on the shipped organism, on rows that surprise it by 10 nats a token).
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 8 * 2**-7, torch.float16: 8 * 2**-10}
# Rows of one shape that differ only in other sequences' tokens are the same sums term by term where nothing leaks: the
# losses are equal to the bit, whatever the type (on CPU so for Qwen3, Llama, Gemma 2 and 3, GPT-2 and three mixtures of
# experts), while the short convolutions of an untrained LFM2 already move them by 1e-5.
INFLUENCE = 1e-6  # nats
LEAK_SHARE = 0.2  # of the gap that joined sequences show: more than that is not rounding, whatever its size


@dataclass(frozen=True)
class PackingCheck:
    """Mean differences of a token's loss, in nats; those of the packed sequence that has the largest."""

    packed: float  # packed, from alone
    joined: float  # in the same row as one sequence, every boundary crossed, from alone: what a leak looks like
    influence: float  # packed, from packed behind other tokens
    rounding: float  # what may pass between rows of another shape

    @property
    def clean(self) -> bool:
        """Packed losses are the separate ones up to rounding, far from those of joined sequences, and know nothing of
        the sequences before."""
        equal = self.packed <= self.rounding and self.packed <= LEAK_SHARE * self.joined
        return equal and self.influence <= INFLUENCE


def check_packing(
    model: torch.nn.Module, examples: Sequence[Example], device: torch.device, dtype: torch.dtype
) -> PackingCheck:
    """Losses of the sequences packed into one row, against each on its own, by `model` in evaluation mode.

    Compared token by token, on the first tokens after a boundary (the prompt's too), where equal sums cannot hide a
    leak. A model that ignores position ids, or keeps a recurrent state, takes something over from the sequence before.
    Needs two or more sequences of two or more tokens. `dtype` is what the model computes in.
    """
    batch = collate_packed(examples, 0)
    ids, positions = batch["input_ids"].to(device), batch["position_ids"].to(device)
    running = torch.arange(ids.shape[1], device=device)[None]
    gaps = []
    with undisturbed(model):
        packed, joined = _token_losses(model, ids, positions), _token_losses(model, ids, running)
        start = len(examples[0].input_ids)
        for example in examples[1:]:
            stop = start + len(example.input_ids)
            here = slice(start, min(stop - 1, start + AFTER))
            alone = _token_losses(model, ids[:, start:stop], positions[:, start:stop])[:AFTER]
            others = torch.cat([ids[:, :start].flip(1), ids[:, start:]], dim=1)  # real tokens, in another order
            behind = _token_losses(model, others, positions)[here]
            pairs = ((packed[here], alone), (joined[here], alone), (packed[here], behind))
            gaps.append([float((a - b).abs().mean()) for a, b in pairs])
            start = stop
    off, crossed, moved = (max(column) for column in zip(*gaps, strict=True))
    return PackingCheck(off, crossed, moved, ROUNDING.get(dtype, ROUNDING[torch.float32]))


def _token_losses(model: torch.nn.Module, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of tokens 1 … T-1 of one row, float32 [T - 1], in nats."""
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    return F.cross_entropy(logits[0, :-1].float(), ids[0, 1:], reduction="none")


def check_head(trainer: Trainer, example: Example) -> str | None:
    """Why the loss cannot be taken over chunks of this model's logits, or None: tried on one row, both ways."""
    head = trainer.head
    if head is None:
        return "this model has no output embedding"
    batch = {name: tensor.to(trainer.accelerator.device) for name, tensor in collate([example], 0).items()}
    labels = batch.pop("labels")
    with undisturbed(trainer.model):
        whole, _ = token_sums(trainer.model(**batch, use_cache=False).logits, labels)
        try:
            chunked, found = chunked_token_sums(trainer.model, head, batch, labels, max(1, example.labelled // 2))
        except HeadError as error:
            return str(error)
    per_token = torch.stack([chunked, found[0]]).sub(whole).abs().max() / example.labelled
    if per_token <= ROUNDING.get(_dtype(trainer), ROUNDING[torch.float32]):
        return None
    return f"something follows this model's output embedding (the loss is off by {per_token:.2g} nats a token)"


def packing_problem(
    model: torch.nn.Module, bare: Any, examples: Sequence[Example], device: torch.device, dtype: torch.dtype
) -> str | None:
    """Why this model's sequences cannot share a row, or None: tried on the first rows of the data.

    `bare` is the model without its wrappers (DDP, FSDP, peft); `dtype` what it computes in.
    """
    taken = signature(bare.forward).parameters
    if "position_ids" not in taken and all(p.kind != p.VAR_KEYWORD for p in taken.values()):
        return "this model takes no position ids"
    rows = _heads(bare, examples)
    if len(rows) < 2:
        return None
    check = check_packing(model, rows, device, dtype)
    if check.clean:
        return None
    return (
        f"this model mixes packed sequences (their losses are off by {check.packed:.2g} nats a token, and move by "
        f"{check.influence:.2g} with the sequence before)"
    )


def without_what_fails(trainer: Trainer) -> tuple[Trainer, list[str]]:
    """The trainer with its fast paths tried out: those that are not exact are switched off, and a line says so.

    Every process tries the same rows, and what fails on one is off on all.
    """
    notes: list[str] = []
    if trainer.packed:
        accelerator = trainer.accelerator
        bare = plain(accelerator.unwrap_model(trainer.model))
        problem = packing_problem(trainer.model, bare, trainer.examples, accelerator.device, _dtype(trainer))
        if _anywhere(trainer, problem is not None):
            trainer = replace(trainer, packed=False)
            notes.append(
                f"not packed: {problem or 'another process found sequences mixed'}; rows of like length are padded "
                f"instead, up to {trainer.config.batch.pack:,} tokens a forward pass"
            )
    if trainer.logits_chunk is not None:
        learnt = np.flatnonzero(trainer.labelled)
        shortest = trainer.examples[learnt[trainer.lengths[learnt].argmin()]] if len(learnt) else None
        problem = check_head(trainer, shortest) if shortest is not None else None
        if _anywhere(trainer, problem is not None):
            trainer = replace(trainer, logits_chunk=None)
            notes.append(f"logits not chunked: {problem or 'another process found the loss off'}")
    return trainer, notes


def _heads(bare: Any, examples: Sequence[Example]) -> list[Example]:
    """The heads of the first rows of two tokens or more, within the positions that the model was made for."""
    limit = getattr(bare.config, "max_position_embeddings", None)
    width = HEAD if limit is None else max(2, min(HEAD, limit // SEQUENCES))
    rows = list(islice((e for e in examples if len(e.input_ids) >= 2), SEQUENCES))
    return [Example(row.input_ids[:width], row.labels[:width]) for row in rows]


def _dtype(trainer: Trainer) -> torch.dtype:
    """What the model computes in when undisturbed: the dtype of its weights, or what FSDP gathers them in."""
    if trainer.accelerator.is_fsdp2 and trainer.config.model.compute is not None:
        return torch.bfloat16
    return next(p.dtype for p in trainer.model.parameters() if p.is_floating_point())


def _anywhere(trainer: Trainer, failed: bool) -> bool:
    flag = torch.tensor(float(failed), device=trainer.accelerator.device)
    return bool(trainer.accelerator.reduce(flag, "sum") > 0)
