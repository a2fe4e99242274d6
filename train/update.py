"""One optimiser step: forward passes over a window's micro-batches, one update, one row of numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .batching import collate, micro_batches
from .chunked import chunked_token_sums
from .config import TrainConfig
from .data import Example
from .footprint import read_shape
from .lora import plain
from .objective import token_sums
from .optim import make_optimizer
from .packing import bucketed_rows, collate_packed, packed_rows
from .plan import Plan
from .schedule import lr_at
from .speed import Speed, known_peak

Row = dict[str, float]


@dataclass
class Counters:
    """What has been trained on so far, summed over steps and processes."""

    step: int = 0
    tokens: int = 0  # labelled
    sequences: int = 0
    cumulative_lr: float = 0.0


@dataclass(frozen=True)
class Trainer:
    """What every step needs: the prepared model and optimiser, and the data in memory."""

    config: TrainConfig
    accelerator: Accelerator
    model: torch.nn.Module
    optimizer: Any  # AcceleratedOptimizer
    examples: Sequence[Example]
    lengths: np.ndarray  # input tokens of each example
    labelled: np.ndarray  # tokens of each example that carry loss
    pad_id: int
    plan: Plan
    packed: bool  # forward passes are packed rows
    head: torch.nn.Module | None  # the model's output embedding
    logits_chunk: int | None  # labelled tokens whose logits are held at once
    speed: Speed


def prepare(
    config: TrainConfig,
    accelerator: Accelerator,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    plan: Plan,
) -> Trainer:
    """Put the model and its optimiser on the accelerator, and seed what training draws (dropout)."""
    optimizer = make_optimizer(model, config.optim, fused=accelerator.device.type in ("cpu", "cuda"))
    prepared, optimizer = accelerator.prepare(model, optimizer)
    set_seed(config.seed, device_specific=True)  # the same whether the weights were drawn or read
    peak = config.tracking.peak_tflops
    speed = Speed(
        shape=read_shape(plain(model).config.to_dict()),
        adapters=config.lora is not None,
        peak=known_peak(accelerator.device) if peak is None else peak * 1e12,
        devices=accelerator.num_processes,
        device=accelerator.device,
    )
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return Trainer(
        config=config,
        accelerator=accelerator,
        model=prepared,
        optimizer=optimizer,
        examples=examples,
        lengths=np.array([len(e.input_ids) for e in examples]),
        labelled=np.array([e.labelled for e in examples]),
        pad_id=pad,
        plan=plan,
        packed=config.batch.pack is not None,
        head=plain(model).get_output_embeddings(),
        logits_chunk=config.batch.logits_chunk,
        speed=speed,
    )


def update(trainer: Trainer, window: list[int], counters: Counters) -> Row:
    """One optimiser step on the rows of `window`; advances `counters` and returns the row for steps.jsonl.

    The loss is the mean over the window's labelled tokens, on however many forward passes and processes: every
    micro-batch adds its sum divided by the tokens of the whole window, so the split changes nothing.
    """
    start = time.perf_counter()
    accelerator, model, optimizer = trainer.accelerator, trainer.model, trainer.optimizer
    world = accelerator.num_processes
    lr = lr_at(counters.step + 1, trainer.plan.total_steps, trainer.config.schedule, trainer.config.optim.lr)
    for group in optimizer.param_groups:
        group["lr"] = lr
    batches = _forward_passes(trainer, window)
    tokens = int(trainer.labelled[window].sum())
    sums = torch.zeros(4, device=accelerator.device)
    model.train()
    for i, indices in enumerate(batches):
        batch = (collate_packed if trainer.packed else collate)([trainer.examples[j] for j in indices], trainer.pad_id)
        batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in batch.items()}
        labels = batch.pop("labels")
        with accelerator.no_sync(model) if i < len(batches) - 1 else nullcontext():
            nll, found = _loss(trainer, batch, labels)
            # Gradients are averaged over processes, and we want their sum: hence the factor.
            accelerator.backward(nll * (world / max(tokens, 1)))
        sums += found
    # An infinite bound clips nothing and still gives the norm.
    norm = accelerator.clip_grad_norm_(model.parameters(), trainer.config.optim.clip or math.inf)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    nll, entropy, correct, _ = accelerator.reduce(sums, "sum").tolist()
    seconds = time.perf_counter() - start
    per_token = 1 / tokens if tokens else math.nan
    counters.step += 1
    counters.tokens += tokens
    counters.sequences += len(window)
    counters.cumulative_lr += lr
    return {
        "step": counters.step,
        "loss": nll * per_token,
        "lr": lr,
        "cumulative_lr": counters.cumulative_lr,
        "epoch": counters.sequences / len(trainer.examples),
        "tokens": counters.tokens,
        "step_tokens": tokens,
        "sequences": len(window),
        "grad_norm": float(norm),
        "entropy": entropy * per_token,
        "token_accuracy": correct * per_token,
        "seconds": seconds,
        **trainer.speed.row(trainer.lengths[window], seconds),
    }


def _forward_passes(trainer: Trainer, window: list[int]) -> list[list[int]]:
    """The rows of each of this process's forward passes: as many on every process."""
    batch, rank, world = trainer.config.batch, trainer.accelerator.process_index, trainer.accelerator.num_processes
    if batch.pack is None:
        return micro_batches(window, trainer.lengths, batch.micro, rank, world)
    return (packed_rows if trainer.packed else bucketed_rows)(window, trainer.lengths, batch.pack, rank, world)


def _loss(trainer: Trainer, batch: dict[str, torch.Tensor], labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if trainer.logits_chunk is None or trainer.head is None:
        return token_sums(trainer.model(**batch, use_cache=False).logits, labels)
    return chunked_token_sums(trainer.model, trainer.head, batch, labels, trainer.logits_chunk)
