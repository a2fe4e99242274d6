"""Which rows make up each update: a pure function of the seed and the epoch, so that resuming needs no state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..dynamics.errors import ConfigError
from .data import IGNORED, Example

if TYPE_CHECKING:
    import torch

POOL = 64  # batches that share a pool when sorting by length: large enough to save padding, small enough to stay random


@dataclass(frozen=True)
class BatchConfig:
    """Sequences per update and per forward pass. All but `size` change memory and speed, never the result."""

    size: int = 32  # sequences per optimiser step, over all processes
    micro: int | None = None  # sequences per forward pass of one process; null: all of its share at once
    pack: int | None = None  # in place of `micro`: tokens per forward pass of one process, sequences end to end
    logits_chunk: int | None = None  # labelled tokens whose logits are held at once; null: those of a whole forward
    gradient_checkpointing: bool = False  # keep each layer's input only, and compute the layer again going backward

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"`batch.size` is {self.size}: give 1 or more sequences per optimiser step")
        if self.micro is not None and not 1 <= self.micro <= self.size:
            raise ConfigError(
                f"`batch.micro` is {self.micro} and `batch.size` {self.size}: give between 1 and {self.size}"
            )
        if self.pack is not None and self.micro is not None:
            raise ConfigError(
                f"`batch.pack` is {self.pack} and `batch.micro` {self.micro}: give one, tokens or sequences per forward"
            )
        if self.pack is not None and self.pack < 2:
            raise ConfigError(f"`batch.pack` is {self.pack}: give the tokens of a packed row, 2 or more")
        if self.logits_chunk is not None and self.logits_chunk < 1:
            raise ConfigError(f"`batch.logits_chunk` is {self.logits_chunk}: give 1 or more labelled tokens, or null")


def epoch_order(
    n: int,
    seed: int,
    epoch: int,
    order: Literal["shuffled", "fixed"] = "shuffled",
    lengths: Sequence[int] | np.ndarray | None = None,
    bucket: bool = False,
    batch_size: int = 32,
) -> list[list[int]]:
    """The rows of every optimiser step of one epoch: each of the `n` rows once, the last window possibly shorter.

    With `bucket`, rows of similar length (`lengths`: tokens per row) meet: a shuffled order is cut into pools of 64
    batches, each pool is sorted by length, and the batches are shuffled (the short one among them).
    """
    rng = np.random.default_rng([seed, epoch])
    rows = np.arange(n) if order == "fixed" else rng.permutation(n)
    if bucket:
        assert lengths is not None
        by_length = np.asarray(lengths)
        pool = POOL * batch_size
        pools = [rows[i : i + pool] for i in range(0, n, pool)]
        rows = np.concatenate([p[np.argsort(by_length[p], kind="stable")] for p in pools])
    windows = [rows[i : i + batch_size].tolist() for i in range(0, n, batch_size)]
    if bucket:
        windows = [windows[i] for i in rng.permutation(len(windows))]
    return windows


def dealt(indices: Sequence[int], lengths: Sequence[int] | np.ndarray, world: int) -> list[list[int]]:
    """A window dealt to the processes by length, so that they get like amounts of work."""
    ranked = sorted(indices, key=lambda i: (lengths[i], i))
    return [ranked[rank::world] for rank in range(world)]


def micro_batches(
    indices: Sequence[int],
    lengths: Sequence[int] | np.ndarray,
    micro: int | None,
    rank: int = 0,
    world: int = 1,
) -> list[list[int]]:
    """One process's share of a window, cut into forward passes of at most `micro` rows of similar length.

    Every process gets the same number of batches, as collective operations demand; a batch may be empty where a short
    window does not reach every process.
    """
    share = dealt(indices, lengths, world)[rank]
    largest = -(-len(indices) // world)
    micro = micro or max(largest, 1)
    return [share[i : i + micro] for i in range(0, max(largest, 1), micro)]


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids`, `attention_mask` and `labels` (-100 on padding), int64 [batch, longest].

    No examples at all give one masked pad token, so that an idle process can keep step with the others.
    """
    import torch

    longest = max((len(e.input_ids) for e in examples), default=1)
    shape = (max(len(examples), 1), longest)
    ids, mask, labels = np.full(shape, pad_id), np.zeros(shape, dtype=np.int64), np.full(shape, IGNORED)
    if not examples:
        mask[:] = 1
    for row, example in enumerate(examples):
        n = len(example.input_ids)
        ids[row, :n], mask[row, :n], labels[row, :n] = example.input_ids, 1, example.labels
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "labels": torch.from_numpy(labels),
    }
