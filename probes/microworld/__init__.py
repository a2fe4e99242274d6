"""The micro-world: small domains with the study's groups, in which real dynamics are seen on a laptop."""

from __future__ import annotations

from .calculation import Calculation
from .coloring import Coloring
from .common import MicroDomain
from .countdown import Countdown, Countdown4
from .facts import Facts
from .instructions import Instructions
from .objects import Objects
from .path import Path
from .requests import Harmful, Safe, UnseenHarmful, UnseenSafe
from .subset_sum import SubsetSum

_ALL: tuple[MicroDomain, ...] = (
    Countdown(),
    Countdown4(),
    Path(),
    SubsetSum(),
    Coloring(),
    Calculation(),
    Facts(),
    Instructions(),
    Objects(),
    Harmful(),
    Safe(),
    UnseenHarmful(),
    UnseenSafe(),
)
EDITION = 2  # raised when the same settings give other documents
DOMAINS: dict[str, MicroDomain] = {d.name: d for d in _ALL}

__all__ = ["DOMAINS", "EDITION", "MicroDomain"]
