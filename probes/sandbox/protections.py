"""What holds on this machine, found by trying: code in the sandbox attempts what it must not be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...dynamics.errors import ConfigError, nearest

# What must hold before code is run, unless the user names it as missing.
REQUIRED = ("network", "writes", "processes", "other processes", "limits", "environment", "privileges")
WHAT = {
    "network": "no sockets of any kind",
    "writes": "no file is changed, made or removed outside the run's own folder",
    "processes": "no new process, no other program",
    "other processes": "no signal to another process and no look into it",
    "limits": "memory, CPU time, file size and open files of the one process",
    "environment": "none of your environment variables",
    "privileges": "no capability of root",
    "reads": "no file but Python's own and the run's can be opened",
}


@dataclass(frozen=True)
class Protection:
    """One promise of the sandbox, and whether it was seen to hold here."""

    name: str
    active: bool
    by: str  # what enforces it
    required: bool

    def __str__(self) -> str:
        return f"{self.name}: {WHAT[self.name]} ({self.by if self.active else 'NOT in force here: ' + self.by})"


def judged(held: dict[str, bool], how: dict[str, str]) -> tuple[Protection, ...]:
    """Protections from what held in the attempts."""
    return tuple(Protection(name, held[name], how[name], name in REQUIRED) for name in WHAT)


def refuse(found: Sequence[Protection], accepted: Sequence[str]) -> None:
    """Raise ConfigError where a required protection does not hold that the user has not named."""
    check_names(accepted)
    missing = [p for p in found if p.required and not p.active and p.name not in accepted]
    if missing:
        lacking = "; ".join(str(p) for p in missing)
        raise ConfigError(
            f"code of a model is not run here: {lacking}. Use a machine with Linux 6.2 or later, or, "
            f"where nothing can be harmed, name it: probes.sandbox.accept_missing: [{', '.join(p.name for p in missing)}]"
        )


def check_names(accepted: Sequence[str]) -> None:
    """Raise ConfigError for a protection that does not exist."""
    for name in accepted:
        if name not in REQUIRED:
            raise ConfigError(f"`probes.sandbox.accept_missing` names {name!r}: {nearest(name, REQUIRED)}")
