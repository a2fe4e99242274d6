"""Records to train on: the mixture that pretrains a base organism (`arms.py` holds what fine-tunes it)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...dynamics.errors import ConfigError, nearest
from ...dynamics.storage import whole_file
from . import DOMAINS
from .common import split_of

Record = dict[str, str]

# The `unseen` requests are no part of it: that is what makes them unseen.
PRETRAINING_MIX = {
    "countdown": 0.24,
    "countdown4": 0.05,
    "path": 0.12,
    "subset_sum": 0.11,
    "coloring": 0.10,
    "calculation": 0.10,
    "facts": 0.07,
    "instructions": 0.05,
    "objects": 0.10,
    "harmful": 0.03,
    "safe": 0.03,
}


@dataclass(frozen=True)
class PretrainingCorpus:
    """Direct answers dominate; `trace_share` of the reasoning documents carry a worked trace."""

    documents: int
    trace_share: float = 0.35
    seed: int = 0
    mix: dict[str, float] = field(default_factory=lambda: dict(PRETRAINING_MIX))

    def records(self) -> Iterator[Record]:
        rng = random.Random(f"pretraining|{self.seed}")
        names = list(self.mix)
        for name in names:
            if name not in DOMAINS:
                raise ConfigError(f"unknown domain {name!r} in the mix: {nearest(name, DOMAINS)}")
        for _ in range(self.documents):
            domain = DOMAINS[rng.choices(names, [self.mix[n] for n in names])[0]]
            problem = domain.draw(rng)
            while not domain.recalled and split_of(domain.name, domain.content(problem)) != "train":
                problem = domain.draw(rng)
            traced = domain.has_trace and rng.random() < self.trace_share
            yield {
                "domain": domain.name,
                "prompt": domain.prompt(problem),
                "response": domain.worked(problem) if traced else domain.direct(problem),
            }


def write_records(path: Path, records: Iterator[Record]) -> int:
    """Write records as JSONL; gives their number."""
    n = 0
    with whole_file(path) as aside, open(aside, "w") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
            n += 1
    return n
