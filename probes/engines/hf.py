"""The embedded engine: continuous batching on a Hugging Face model. Rows that have ended leave, waiting prompts enter.

Tokens are those of `model.generate`: same positions, argmax of the same logits. What it saves is the work on rows that
have ended, which is most of it where lengths are mixed (a model half-way to thinking aloud).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from .base import Completion, Request, Sampling
from .batch import DecodingBatch, Row
from .requests import complete

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ENTER_AT = 1 / 8  # share of the batch that has to be free for prompts to enter: that takes a forward pass of its own


class HfEngine:
    """Generates with the model it is given, in the mode it finds it (put it in eval mode before)."""

    name = "hf"

    def __init__(self, model: PreTrainedModel, *, eos_ids: Sequence[int], pad_id: int, batch_size: int = 256) -> None:
        self.model, self.pad_id, self.batch_size = model, pad_id, batch_size
        self.eos = frozenset(eos_ids)

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion a prompt (or `sampling.n`, together); `progress` is told how many more are finished.

        Raises ValueError for an empty prompt, and for banned ids that the model does not have.
        """
        choose = _Choice(sampling, self.model)
        return complete(lambda rows, how: self._write(rows, how, choose, progress), prompts, sampling)

    def _write(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        choose: _Choice,
        progress: Callable[[int], None] | None,
    ) -> list[Completion]:
        rows = [Row(r.prompt, seed=r.seed) for r in requests]
        waiting = deque(sorted(rows, key=lambda row: len(row.prompt)))  # those of like length together: little padding
        batch = DecodingBatch(self.model, self.pad_id, min(self.batch_size, len(rows)))
        while waiting or batch.rows:
            if waiting and batch.room >= min(len(waiting), max(1, ENTER_AT * batch.size)):
                logits_BV = batch.enter([waiting.popleft() for _ in range(min(len(waiting), batch.room))])
            else:
                logits_BV = batch.step()
            fed = batch.rows[-len(logits_BV) :]
            ids_B = choose(logits_BV, fed)
            pairs = zip(fed, ids_B.tolist(), strict=True)
            ended = sum(row.take(token, self.eos, sampling.max_new_tokens) for row, token in pairs)
            batch.write(ids_B)
            if progress and ended:
                progress(ended)
        return [Completion(row.written, row.finish or "length", row.end) for row in rows]


class _Choice:
    """The next token of each row: the likeliest one that is not banned, or one drawn at the temperature."""

    def __init__(self, sampling: Sampling, model: PreTrainedModel) -> None:
        n_ids = model.config.get_text_config().vocab_size
        if unknown := [i for i in sampling.banned if not 0 <= i < n_ids]:
            raise ValueError(f"`banned` holds {unknown}: the model's token ids are 0 to {n_ids - 1}")
        self._banned = torch.tensor(sampling.banned, dtype=torch.long, device=model.device)
        self._temperature = sampling.temperature

    def __call__(self, logits_BV: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        if len(self._banned):
            logits_BV = logits_BV.index_fill(-1, self._banned, -torch.inf)
        if self._temperature == 0:
            return logits_BV.argmax(-1)
        # A number a row on the CPU, so that what is drawn depends on no other row; the vocabulary stays where the logits are.
        share_B = torch.stack([torch.rand((), dtype=torch.float64, generator=row.generator) for row in rows])
        return draw((logits_BV.double() / self._temperature).softmax(-1), share_B.to(logits_BV.device))


def draw(probs_BV: torch.Tensor, share_B: torch.Tensor) -> torch.Tensor:
    """The id [B] at which the summed probabilities pass a share in [0, 1): inversion of the distribution function."""
    summed_BV = probs_BV.cumsum(-1)
    whole_B1 = summed_BV[:, -1:].contiguous()
    ids_B1 = torch.searchsorted(summed_BV, share_B[:, None] * whole_B1, right=True)
    last_B1 = torch.searchsorted(summed_BV, whole_B1)  # the last that can be: a share near 1 may round up to the whole
    return torch.minimum(ids_B1, last_B1)[:, 0]
