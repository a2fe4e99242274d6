"""The micro-world: small domains with the study's groups, in which real dynamics are seen on a laptop."""

from __future__ import annotations

from .calculation import Calculation
from .common import MicroDomain
from .countdown import Countdown
from .facts import Facts
from .instructions import Instructions
from .path import Path
from .requests import Harmful, Safe
from .subset_sum import SubsetSum

DOMAINS: dict[str, MicroDomain] = {
    d.name: d for d in (Countdown(), Path(), SubsetSum(), Calculation(), Facts(), Instructions(), Harmful(), Safe())
}

__all__ = ["DOMAINS", "MicroDomain"]
