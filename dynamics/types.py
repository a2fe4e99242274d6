"""The types that every part shares: estimates, measurements, findings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Group = Literal["id_reasoning", "ood_reasoning", "general", "safety"]
GROUPS: tuple[Group, ...] = ("id_reasoning", "ood_reasoning", "general", "safety")

Verdict = Literal["improves", "dips-and-recovers", "under-optimised", "degrades", "overfits", "flat", "undecidable"]
FindingKind = Literal["phase", "association", "comparison", "mechanism", "tradeoff", "advice", "warning"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its uncertainty. No bare float leaves statistics; what is undefined is NaN, never 0."""

    value: float  # in the unit that the metric's name states
    lo: float  # 95 % interval, same unit
    hi: float
    n: int  # independent units: questions, not samples
    method: str  # "wilson", "cluster-t", "paired-t", "jackknife" …

    @classmethod
    def undefined(cls, n: int, method: str) -> Estimate:
        return cls(math.nan, math.nan, math.nan, n, method)

    @property
    def defined(self) -> bool:
        return not math.isnan(self.value)

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        if not self.defined:
            return f"undefined (n = {self.n})"
        if math.isnan(self.lo) or math.isnan(self.hi):
            return f"{self.value:{spec}} (no interval, n = {self.n})"
        return f"{self.value:{spec}} [{self.lo:{spec}}, {self.hi:{spec}}]"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of the long table: what one probe says of one metric at one checkpoint."""

    step: int
    probe: str
    metric: str
    estimate: Estimate
    unit: str  # "share", "tokens", "per 1k tokens", "cosine", "sd" …
    domain: str = ""  # empty where the metric belongs to no domain
    layer: int = -1  # -1 where the metric belongs to no layer
    position: str = ""  # named token position, such as "last_prompt"
    status: Literal["ok", "failed"] = "ok"
    reason: str = ""  # why it failed, or a caveat that travels with the number

    @classmethod
    def failure(cls, step: int, probe: str, reason: str, *, domain: str = "") -> Measurement:
        """A probe that failed is recorded as failed: never a zero, never a missing row that nobody notices."""
        return cls(step, probe, "failed", Estimate.undefined(0, "none"), "", domain, status="failed", reason=reason)


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence built from numbers, with what it rests on and what would overturn it."""

    id: str
    kind: FindingKind
    sentence: str
    domain: str = ""
    metric: str = ""
    verdict: str = ""
    estimate: Estimate | None = None
    step: int | None = None
    method: str = ""
    evidence: tuple[str, ...] = ()  # files of the run folder, relative to it
    would_overturn: str = ""
    exploratory: bool = True
    details: dict[str, Any] = field(default_factory=dict)
