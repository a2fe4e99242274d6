"""A KV cache whose rows come and go: every row has an end column of its own, in buffers that are written in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass
class _Front:
    """Where the next column of each live row is written; the layers of a cache share it."""

    rows_B: torch.Tensor
    ends_B: torch.Tensor
    width: int  # columns in use, up to the farthest end


class RowCache(Cache):
    """Keys and values of the live rows, which are always the first rows of buffers [rows, columns, heads, head width].

    Keys carry their position, so rows need not stand in line; columns that a row has not reached are for the attention mask
    to hide, and zero all the same: NaNs of one that was there before would show. All that is right where a layer attends to
    whatever came before: see `fits`.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        none = torch.zeros(0, dtype=torch.long)
        self._front = _Front(none, none, 0)
        self._layers = [_RowLayer(self._front) for _ in DynamicCache(config=config).layers]
        super().__init__(layers=list(self._layers))

    @staticmethod
    def fits(config: PretrainedConfig) -> bool:
        """Whether all layers of such a model keep plain keys and values: no sliding windows, no recurrent states."""
        return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)

    def enter(self, prefilled: DynamicCache, first: int) -> None:
        """Rows of another cache go to rows `first` and after, in the columns they have."""
        for mine, theirs in zip(self._layers, prefilled.layers, strict=True):
            mine.enter(theirs, first)
        self._front.width = max(self._front.width, prefilled.get_seq_length())

    def write_at(self, ends_B: torch.Tensor) -> None:
        """Say in which column of each live row the next forward pass writes."""
        self._front.rows_B = torch.arange(len(ends_B), device=ends_B.device)
        self._front.ends_B, self._front.width = ends_B, int(ends_B.max()) + 1

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, in this order. Copies only those that are not in their place already."""
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero().squeeze(-1)
        if len(moved):
            for layer in self._layers:
                layer.move(indices[moved], moved)


class _RowLayer(DynamicLayer):
    """One layer of a RowCache; `keys` and `values` are whole buffers."""

    def __init__(self, front: _Front) -> None:
        super().__init__()
        self._front = front
        self.keys: Any
        self.values: Any

    def enter(self, theirs: Any, first: int) -> None:
        keys_BCHD, values_BCHD = theirs.keys.transpose(1, 2), theirs.values.transpose(1, 2)
        last, columns = first + len(keys_BCHD), keys_BCHD.shape[1]
        self.keys = _with_room(self.keys, keys_BCHD, first, last, columns)
        self.values = _with_room(self.values, values_BCHD, first, last, columns)
        for buffer, entering in ((self.keys, keys_BCHD), (self.values, values_BCHD)):
            buffer[first:last, :columns] = entering
            buffer[first:last, columns:] = 0
        self.is_initialized = True

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        width = self._front.width
        for buffer in (self.keys, self.values):
            buffer[targets, :width] = buffer[sources, :width]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Write one column a row, and give all columns in use, [rows, heads, columns, head width] as is the custom."""
        keys_BCHD, values_BCHD = key_states.transpose(1, 2), value_states.transpose(1, 2)
        rows_B, ends_B, width = self._front.rows_B, self._front.ends_B, self._front.width
        live = len(rows_B)
        self.keys = _with_room(self.keys, keys_BCHD, live, live, width)
        self.values = _with_room(self.values, values_BCHD, live, live, width)
        self.keys[rows_B, ends_B] = keys_BCHD[:, 0]
        self.values[rows_B, ends_B] = values_BCHD[:, 0]
        return self.keys[:live, :width].transpose(1, 2), self.values[:live, :width].transpose(1, 2)

    def get_seq_length(self) -> int:
        return self._front.width - 1  # the past of a pass that writes into the last column in use


def _with_room(held: torch.Tensor | None, like_BCHD: torch.Tensor, live: int, rows: int, columns: int) -> torch.Tensor:
    """The buffer, or a larger one that holds what its live rows hold."""
    rows_held, columns_held = held.shape[:2] if held is not None else (0, 0)
    if held is not None and rows_held >= rows and columns_held >= columns:
        return held
    if columns_held < columns:
        columns = columns + max(32, columns // 2)  # to spare: growing copies everything
    larger = like_BCHD.new_empty(rows, max(columns, columns_held), *like_BCHD.shape[2:])
    larger[:live, columns_held:] = 0
    if held is not None:
        larger[:live, :columns_held] = held[:live]
    return larger
