"""What a run declares before it starts (`analysis.primary`): outcomes, and associations of a metric with an outcome."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError

FORMS = "`domain`, `domain.metric`, or for an association `metric~domain` or `domain.metric~domain`"
_PART = re.compile(r"[^\s.~]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    domain: str
    metric: str = "strict"


@dataclass(frozen=True, slots=True)
class DeclaredAssociation:
    """Of a metric x with the strict score of a domain."""

    x: str
    x_domain: str  # empty: that of a metric that belongs to no domain, or else the outcome's own
    y_domain: str

    def covers(self, x: str, x_domain: str, y_domain: str) -> bool:
        return (x, y_domain) == (self.x, self.y_domain) and x_domain in (
            (self.x_domain,) if self.x_domain else ("", y_domain)
        )


def parse_primary(entry: str) -> Outcome | DeclaredAssociation:
    """Read an entry of `analysis.primary`. Raises ConfigError with the forms there are."""
    sides = entry.split("~")
    parts = [side.split(".") for side in sides]
    if len(sides) > 2 or any(len(p) > 2 or not all(_PART.fullmatch(name) for name in p) for p in parts):
        raise ConfigError(f"`analysis.primary` holds {entry!r}: give {FORMS}")
    if len(sides) == 1:
        return Outcome(*parts[0])
    (*x_domain, x), (y_domain, *metric) = parts
    if metric not in ([], ["strict"]):
        raise ConfigError(
            f"`analysis.primary` holds {entry!r}: an association is with a domain's strict score, so name the domain alone "
            f"({sides[0]}~{y_domain})"
        )
    if x == "strict" and (not x_domain or x_domain[0] == y_domain):
        raise ConfigError(
            f"`analysis.primary` holds {entry!r}: a score explains nothing about itself. Name another metric, or the score of "
            "another domain as `domain.strict~domain`"
        )
    return DeclaredAssociation(x, x_domain[0] if x_domain else "", y_domain)


def check_primaries(entries: Iterable[str]) -> None:
    """Raises ConfigError for an entry that cannot be read, or one that stands there twice."""
    seen: dict[Any, str] = {}
    for entry in entries:
        parsed = parse_primary(entry)
        if parsed in seen:
            raise ConfigError(
                f"`analysis.primary` holds {seen[parsed]!r} and {entry!r}, which are the same: name it once"
            )
        seen[parsed] = entry


def declared_associations(info: dict[str, Any]) -> list[DeclaredAssociation]:
    """The associations that a run's record (run.json) declares."""
    declared: Sequence[str] = (info.get("primaries") or {}).get("declared") or []
    return [a for a in map(parse_primary, declared) if isinstance(a, DeclaredAssociation)]
