"""The probes there are. Adding one is one file and one line here."""

from __future__ import annotations

from ..dynamics.errors import ConfigError, nearest
from .behaviour.backtracking import Backtracking
from .behaviour.refusal import Refusal
from .behaviour.scores import Scores
from .behaviour.verbosity import Verbosity
from .causal.refusal_dose import RefusalDose
from .causal.refusal_pair import RefusalPair
from .internals.refusal_direction import RefusalDirection
from .protocol import Probe

# Run by default; and run where they are named in `probes.probes`, since they cost more (docs/metrics.md says how much).
_STANDARD: tuple[type[Probe], ...] = (Scores, Verbosity, Backtracking, Refusal, RefusalDirection, RefusalPair)
_ON_REQUEST: tuple[type[Probe], ...] = (RefusalDose,)
STANDARD = tuple(p.name for p in _STANDARD)
PROBES: dict[str, type[Probe]] = {}
for _probe in (*_STANDARD, *_ON_REQUEST):
    if _probe.name in PROBES:
        raise ValueError(f"two probes are called {_probe.name!r}")
    PROBES[_probe.name] = _probe


def make_probe(name: str) -> Probe:
    """A probe by name. Raises ConfigError with the nearest names."""
    if name not in PROBES:
        raise ConfigError(f"unknown probe {name!r}: {nearest(name, PROBES)}")
    return PROBES[name]()
