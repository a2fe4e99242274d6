"""The embedded engine: batched decoding with a KV cache on a Hugging Face model, finished rows leaving the batch.

Tokens are those of `model.generate`: same left padding, same positions, argmax of the same logits. What it saves is the
work on rows that are done, which is most of it where lengths are mixed (a model half-way to thinking aloud).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from .base import Completion, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class HfEngine:
    """Generates with the model it is given, in the mode it finds it (put it in eval mode before)."""

    name = "hf"

    def __init__(self, model: PreTrainedModel, *, eos_ids: Sequence[int], pad_id: int, batch_size: int = 256) -> None:
        self.model, self.pad_id, self.batch_size = model, pad_id, batch_size
        self.eos = torch.tensor(sorted(eos_ids), device=model.device)

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion a prompt (or `sampling.n`, together). Raises ValueError for an empty prompt."""
        if any(len(p) == 0 for p in prompts):
            raise ValueError("an empty prompt cannot be continued")
        jobs = [(i, s) for i in range(len(prompts)) for s in range(sampling.n)]
        jobs.sort(key=lambda job: len(prompts[job[0]]))  # prompts of like length share a batch: little padding
        out: dict[tuple[int, int], Completion] = {}
        for start in range(0, len(jobs), self.batch_size):
            batch = jobs[start : start + self.batch_size]
            for job, completion in zip(batch, self._run([prompts[i] for i, _ in batch], batch, sampling), strict=True):
                out[job] = completion
            if progress:
                progress(len(batch))
        return [out[(i, s)] for i in range(len(prompts)) for s in range(sampling.n)]

    def _run(self, prompts: list[Sequence[int]], jobs: list[tuple[int, int]], sampling: Sampling) -> list[Completion]:
        from transformers import DynamicCache

        device = self.model.device
        width = max(map(len, prompts))
        ids_BT = torch.full((len(prompts), width), self.pad_id, dtype=torch.long, device=device)
        mask_BT = torch.zeros_like(ids_BT)
        for row, prompt in enumerate(prompts):
            ids_BT[row, width - len(prompt) :] = torch.tensor(prompt, device=device)
            mask_BT[row, width - len(prompt) :] = 1
        positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
        # A generator a sample: what a sample draws does not depend on which others share its batch.
        generators = None
        if sampling.temperature > 0:
            generators = [torch.Generator().manual_seed(sampling.seed * 1_000_003 + i * 101 + s) for i, s in jobs]
        written: list[list[int]] = [[] for _ in prompts]
        stopped = [False] * len(prompts)
        rows = torch.arange(len(prompts), device=device)  # which completion each live row belongs to
        cache = DynamicCache(config=self.model.config)
        done_B = torch.zeros(len(prompts), dtype=torch.bool, device=device)
        for t in range(sampling.max_new_tokens):
            logits_BV = self.model(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            next_B = self._choose(logits_BV, rows, sampling, generators)
            ended_B = torch.isin(next_B, self.eos) & ~done_B
            for r, token, ended, done in zip(
                rows.tolist(), next_B.tolist(), ended_B.tolist(), done_B.tolist(), strict=True
            ):
                if ended:
                    stopped[r] = True
                elif not done:
                    written[r].append(token)
            done_B = done_B | ended_B
            live = int((~done_B).sum())
            if live == 0 or t == sampling.max_new_tokens - 1:
                break
            if live <= 0.8 * len(rows):  # copying the cache costs about a step: not for every row that ends
                keep = (~done_B).nonzero().squeeze(-1)
                cache.batch_select_indices(keep)
                mask_BT, positions_BT = mask_BT[keep], positions_BT[keep]
                rows, next_B, done_B = rows[keep], next_B[keep], done_B[keep]
            ids_BT = next_B[:, None]
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], dim=-1)
            positions_BT = positions_BT[:, -1:] + 1
        return [Completion(w, "stop" if s else "length") for w, s in zip(written, stopped, strict=True)]

    @staticmethod
    def _choose(
        logits_BV: torch.Tensor, rows: torch.Tensor, sampling: Sampling, generators: list[torch.Generator] | None
    ) -> torch.Tensor:
        if sampling.banned:
            logits_BV = logits_BV.index_fill(-1, torch.tensor(sampling.banned, device=logits_BV.device), -torch.inf)
        if generators is None:
            return logits_BV.argmax(-1)
        probs_BV = (logits_BV.float() / sampling.temperature).softmax(-1).cpu()
        drawn = [torch.multinomial(p, 1, generator=generators[r]) for p, r in zip(probs_BV, rows.tolist(), strict=True)]
        return torch.cat(drawn).to(logits_BV.device)
