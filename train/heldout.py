"""The loss on rows that are never trained on, by domain, at every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..dynamics.record import step_name, write_measurements
from ..dynamics.statistics.intervals import ratio
from ..dynamics.storage import content_key
from ..dynamics.types import Measurement
from .batching import collate, micro_batches
from .chunked import chunked_token_sums
from .data import DataConfig, Example
from .hooks import undisturbed
from .objective import token_sums
from .packing import bucketed_rows
from .records import data_sha256

if TYPE_CHECKING:
    from .update import Trainer

PROBE = "heldout"
METRICS = {"heldout_loss": "nats per token", "heldout_token_accuracy": "share", "heldout_entropy": "nats per token"}


class HeldOut:
    """Held-out rows, measured at a run's checkpoints: each domain's mean over labelled tokens, its interval over rows."""

    def __init__(self, examples: Mapping[str, Sequence[Example]], config: DataConfig, run: Path, run_key: str) -> None:
        self.examples, self.run, self.run_key = examples, Path(run), run_key
        hashes = {domain: data_sha256(path) for domain, path in config.heldout.items()}
        how = (config.loss_on, config.thinking, config.thinking_tokens, config.max_length, config.over_length)
        self.settings = content_key(PROBE, 1, hashes, how)

    def measure(self, trainer: Trainer, model: torch.nn.Module, step: int) -> list[Measurement]:
        """Forward passes over all rows; recorded by the first process, and once. Training goes on as if it had not been.

        Every process calls it where the model is sharded: its forward pass is a collective then.
        """
        if not self.examples:
            return []
        rows = []
        with undisturbed(model):
            for domain, examples in self.examples.items():
                sums = _sums_by_row(trainer, model, examples)  # [N, 4]
                per_token = (sums[:, 0], sums[:, 2], sums[:, 1])
                for (metric, unit), total in zip(METRICS.items(), per_token, strict=True):
                    rows.append(Measurement(step, PROBE, metric, ratio(total, sums[:, 3]), unit, domain))
        key = content_key(self.run_key, step, self.settings)
        there = (self.run / "measurements" / step_name(step) / f"{PROBE}-{key}.parquet").exists()
        if trainer.accelerator.is_main_process and not there:
            write_measurements(self.run, step, PROBE, key=key, settings=self.settings, rows=rows)
        return rows


def _sums_by_row(trainer: Trainer, model: torch.nn.Module, examples: Sequence[Example]) -> np.ndarray:
    """Summed negative log-likelihood, entropy (nats), greedy hits and labelled tokens of every row, float64 [N, 4]."""
    batch, device = trainer.config.batch, trainer.accelerator.device
    lengths, everything = np.array([len(e.input_ids) for e in examples]), range(len(examples))
    # No forward pass is larger than those of training.
    if trainer.logits_chunk is not None:
        passes = [[i] for i in everything]  # their sums come whole, so one row at a time
    elif batch.pack is not None:
        passes = bucketed_rows(everything, lengths, max(batch.pack, int(lengths.max())))
    else:
        passes = micro_batches(everything, lengths, batch.micro or -(-batch.size // trainer.accelerator.num_processes))
    sums = np.zeros((len(examples), 4))
    for indices in passes:
        inputs = collate([examples[i] for i in indices], trainer.pad_id)
        labels = inputs.pop("labels").to(device)
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        if trainer.logits_chunk is not None and trainer.head is not None:
            found = chunked_token_sums(model, trainer.head, inputs, labels, trainer.logits_chunk)[1][None]
            sums[indices] = found.double().cpu().numpy()
            continue
        logits_BTV = model(**inputs, use_cache=False).logits
        by_row = [token_sums(x[None], y[None])[1] for x, y in zip(logits_BTV, labels, strict=True)]
        sums[indices] = torch.stack(by_row).double().cpu().numpy()
    return sums
