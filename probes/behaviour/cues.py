"""Cue words per thousand tokens, by family, in the responses of every domain: cheap, and a stand-in (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ...dynamics.statistics import intervals
from ...dynamics.storage import content_key
from ...dynamics.types import Measurement
from ..domains import Domain
from ..lexicon import Families, families_of, find_cues
from ..protocol import Given, Needs, Result, item_rows


class Cues:
    """`cues`: families of cue words in place of the default ones; empty for those."""

    name = "cues"
    version = 1

    def __init__(self, cues: Families | None = None) -> None:
        self.cues = cues or {}
        self.settings = content_key("cues", dict(self.cues)) if self.cues else ""

    @classmethod
    def configured(cls, config: Any) -> Cues:
        return cls(config.cues)

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(domains))

    def measure(self, given: Given) -> Result:
        rows, items = [], []
        for name, answered in given.answered.items():
            domain, clusters = answered.domain, [i.cluster for i in answered.items]
            tokens = [float(r.n_tokens) for r in answered.responses]
            for family, phrases in families_of(domain, self.cues).items():
                events = [float(len(find_cues(domain, r.text, phrases))) for r in answered.responses]
                rate = intervals.ratio([1000 * e for e in events], tokens, clusters)
                rows.append(
                    Measurement(given.step, self.name, "cue_rate", rate, "per 1k tokens", name, position=family)
                )
                items += item_rows(answered, {f"cues_{family}": events})
        return Result(rows, pd.DataFrame(items))
