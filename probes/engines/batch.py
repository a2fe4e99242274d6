"""The rows that decode together on a Hugging Face model, and one forward pass for all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from .cache import RowCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(eq=False)
class Row:
    """A sample of a prompt and what is written to it; `finish` says why it ended, once it has."""

    prompt: Sequence[int]
    seed: int
    written: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    end: int | None = None  # the token that it stopped at

    @cached_property
    def generator(self) -> torch.Generator:
        """What the row's tokens are drawn by."""
        return torch.Generator().manual_seed(self.seed)

    def take(self, token: int, eos_ids: Collection[int], limit: int) -> bool:
        """Go on with a token, unless the row has ended. Whether it ends by that."""
        if self.finish:
            return False
        if token in eos_ids:
            self.finish, self.end = "stop", token
        else:
            self.written.append(token)
            self.finish = "length" if len(self.written) >= limit else None
        return self.finish is not None


class DecodingBatch:
    """Up to `size` rows, some of which may have ended and not left yet.

    Where the model keeps plain keys and values, rows leave as they end and others enter beside those at work. With other
    layers (sliding windows, recurrent states) rows enter an empty batch only, all in line, and leave as far as that can be.
    """

    def __init__(self, model: PreTrainedModel, pad_id: int, size: int) -> None:
        self.model, self.pad_id, self.size = model, pad_id, size
        self.rows: list[Row] = []
        self._open = RowCache.fits(model.config)
        self._cache: Cache = RowCache(model.config) if self._open else DynamicCache(config=model.config)
        cuttable = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in self._cache.layers)
        # Share of rows that have to be done before they leave. Cutting a DynamicCache copies all of it, about a step's time.
        self._leave_at = 0.0 if self._open else 0.2 if cuttable else 1.0
        self._starts_B = self._ends_B = self._last_B = torch.zeros(0, dtype=torch.long, device=model.device)

    @property
    def room(self) -> int:
        """How many rows may enter now."""
        return self.size - len(self.rows) if self._open or not self.rows else 0

    def enter(self, rows: Sequence[Row]) -> torch.Tensor:
        """Run prompts through the model; they become the last rows. Gives their next logits [rows, vocabulary]."""
        width = max(2, *(len(row.prompt) for row in rows))  # edits know the prompt from decoding by its many columns
        starts_B = torch.tensor([width - len(row.prompt) for row in rows], device=self.model.device)
        ids_BT = torch.tensor([[self.pad_id] * (width - len(row.prompt)) + list(row.prompt) for row in rows])
        ends_B = torch.full_like(starts_B, width - 1)
        prefilled = DynamicCache(config=self.model.config)
        logits_BV = self._forward(ids_BT.to(self.model.device), starts_B, ends_B, prefilled)
        if isinstance(self._cache, RowCache):
            self._cache.enter(prefilled, len(self.rows))
        else:
            self._cache = prefilled
        self.rows += rows
        self._starts_B, self._ends_B = torch.cat([self._starts_B, starts_B]), torch.cat([self._ends_B, ends_B])
        return logits_BV

    def step(self) -> torch.Tensor:
        """Run the last token of every row through the model: the next logits [rows, vocabulary]."""
        self._ends_B = self._ends_B + 1
        if isinstance(self._cache, RowCache):
            self._cache.write_at(self._ends_B)
        return self._forward(self._last_B[:, None], self._starts_B, self._ends_B, self._cache)

    def write(self, ids_B: torch.Tensor) -> None:
        """Set the next token of the last rows, as many as there are; rows that have ended leave."""
        self._last_B = torch.cat([self._last_B[: len(self.rows) - len(ids_B)], ids_B])
        live = [i for i, row in enumerate(self.rows) if not row.finish]
        ended = len(self.rows) - len(live)
        if ended == 0 or ended < self._leave_at * len(self.rows):
            return
        kept = _packed(live)
        kept_B = torch.tensor(kept, dtype=torch.long, device=self._last_B.device)
        if kept:
            self._cache.batch_select_indices(kept_B)
        self.rows = [self.rows[i] for i in kept]
        self._starts_B, self._ends_B, self._last_B = (x[kept_B] for x in (self._starts_B, self._ends_B, self._last_B))

    def _forward(
        self, ids_BT: torch.Tensor, starts_B: torch.Tensor, ends_B: torch.Tensor, cache: Cache
    ) -> torch.Tensor:
        """Logits after the last of the tokens. A row's own columns reach from its start to its end; the others are masked."""
        columns = torch.arange(int(ends_B.max()) + 1, device=ids_BT.device)
        before_last = torch.arange(ids_BT.shape[1] - 1, -1, -1, device=ids_BT.device)
        return self.model(
            input_ids=ids_BT,
            attention_mask=((columns >= starts_B[:, None]) & (columns <= ends_B[:, None])).long(),
            position_ids=((ends_B - starts_B)[:, None] - before_last).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


def _packed(live: list[int]) -> list[int]:
    """The live rows in an order that leaves most of them where they are: gaps are filled from the end."""
    stay = {i for i in live if i < len(live)}
    rest = [i for i in live if i >= len(live)]
    return [i if i in stay else rest.pop() for i in range(len(live))]
