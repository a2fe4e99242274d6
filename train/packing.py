"""Several sequences in one row without padding: which share a row, and the row itself."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .batching import dealt
from .data import IGNORED, Example

if TYPE_CHECKING:
    import torch

Lengths = Sequence[int] | np.ndarray


def best_fit_decreasing(indices: Iterable[int], lengths: Lengths, pack: int) -> list[list[int]]:
    """Sequences in rows of at most `pack` tokens: the longest first, each into the fullest row that still takes it.

    The classic heuristic for bin packing (Johnson 1973), at most 11/9 of the fewest rows + 1. Ties go by index, so the
    result depends on nothing but the arguments. A sequence longer than `pack` is a ValueError.
    """
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # tokens left in a row, and which; sorted
    for i in sorted(indices, key=lambda i: (-int(lengths[i]), i)):
        length = int(lengths[i])
        if length > pack:
            raise ValueError(f"sequence {i} has {length} tokens and a row takes {pack}")
        at = bisect_left(free, (length, -1))
        if at == len(free):
            rows.append([i])
            insort(free, (pack - length, len(rows) - 1))
        else:
            left, row = free.pop(at)
            rows[row].append(i)
            insort(free, (left - length, row))
    return rows


def packed_rows(indices: Sequence[int], lengths: Lengths, pack: int, rank: int = 0, world: int = 1) -> list[list[int]]:
    """One process's share of a window as rows of at most `pack` tokens, each a forward pass.

    Every process gets as many, as collective operations demand; a row may be empty.
    """
    return _in_step([best_fit_decreasing(share, lengths, pack) for share in dealt(indices, lengths, world)])[rank]


def bucketed_rows(
    indices: Sequence[int], lengths: Lengths, pack: int, rank: int = 0, world: int = 1
) -> list[list[int]]:
    """The same share for a model that cannot be packed: padded batches of rows of like length, each of at most `pack`
    tokens with its padding."""
    return _in_step([_buckets(share, lengths, pack) for share in dealt(indices, lengths, world)])[rank]


def _buckets(share: Sequence[int], lengths: Lengths, pack: int) -> list[list[int]]:
    batches: list[list[int]] = []
    for i in share:  # from short to long: the newcomer sets the width
        if batches and (len(batches[-1]) + 1) * int(lengths[i]) <= pack:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _in_step(shares: list[list[list[int]]]) -> list[list[list[int]]]:
    most = max(1, *(len(share) for share in shares))
    return [share + [[]] * (most - len(share)) for share in shares]


def fill_share(windows: Iterable[Sequence[int]], lengths: Lengths, pack: int, world: int = 1) -> tuple[float, float]:
    """The share of packed rows that holds tokens, 0 to 1, and the forward passes of a process per window on average."""
    tokens = rows = passes = count = 0
    for window in windows:
        shares = [best_fit_decreasing(share, lengths, pack) for share in dealt(window, lengths, world)]
        tokens += sum(int(lengths[i]) for i in window)
        rows += sum(map(len, shares))
        passes += max(map(len, shares))
        count += 1
    return tokens / (rows * pack), passes / count


def collate_packed(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """One row of sequences end to end: `input_ids`, `position_ids`, `labels`, int64 [1, tokens].

    Positions begin anew with every sequence: that is how transformers tells packed sequences apart, when it is given
    no attention mask, and keeps attention within them. The first token of a sequence is predicted by nothing, so its
    label is -100: the last token before it belongs to another. No examples at all give one pad token without a label.
    """
    import torch

    if not examples:
        ids, positions, labels = np.array([pad_id]), np.array([0]), np.array([IGNORED])
    else:
        ids = np.concatenate([e.input_ids for e in examples])
        positions = np.concatenate([np.arange(len(e.input_ids)) for e in examples])
        labels = np.concatenate([e.labels for e in examples])
        labels[positions == 0] = IGNORED
    columns = {"input_ids": ids, "position_ids": positions, "labels": labels}
    return {name: torch.from_numpy(column.astype(np.int64))[None] for name, column in columns.items()}
