"""The probes there are. Adding one is one file and one line here."""

from __future__ import annotations

from ..dynamics.errors import ConfigError, nearest
from .behaviour.backtracking import Backtracking
from .behaviour.calibration import Calibration
from .behaviour.payoff import Payoff
from .behaviour.refusal import Refusal
from .behaviour.refusal_format import RefusalFormat
from .behaviour.refusal_opening import RefusalOpening
from .behaviour.scores import Scores
from .behaviour.verbosity import Verbosity
from .causal.budget import Budget
from .causal.refusal_pair import RefusalPair
from .causal.suppression import Suppression
from .internals.refusal_direction import RefusalDirection
from .protocol import Probe

_ALL: tuple[type[Probe], ...] = (
    Scores,
    Verbosity,
    Backtracking,
    Refusal,
    RefusalDirection,
    RefusalPair,
    RefusalFormat,
    RefusalOpening,
    Payoff,
    Suppression,
    Budget,
    Calibration,
)
PROBES: dict[str, type[Probe]] = {}
for _probe in _ALL:
    if _probe.name in PROBES:
        raise ValueError(f"two probes are called {_probe.name!r}")
    PROBES[_probe.name] = _probe


def make_probe(name: str) -> Probe:
    """A probe by name. Raises ConfigError with the nearest names."""
    if name not in PROBES:
        raise ConfigError(f"unknown probe {name!r}: {nearest(name, PROBES)}")
    return PROBES[name]()
