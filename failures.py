"""What a sweep could not measure, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A checkpoint that could not be measured, or a probe that failed at it."""

    step: int
    reason: str
    probe: str = ""  # "": nothing of the checkpoint could be measured

    def __str__(self) -> str:
        return f"step {self.step}{f', {self.probe}' if self.probe else ''}: {self.reason}"


def told(failures: Sequence[Failure]) -> list[str]:
    """A line for each checkpoint and for each probe: one that fails everywhere is told once, with how often."""
    lines = [str(f) for f in failures if not f.probe]
    for found in _by_probe(failures).values():
        same = len({f.reason for f in found}) == 1
        where = f"so at {len(found)} checkpoints" if same else f"and, with other reasons, at {len(found) - 1} more"
        lines.append(f"{found[0]} ({where})" if len(found) > 1 else str(found[0]))
    return lines


def measured(failures: Sequence[Failure], checkpoints: int) -> str:
    """How many checkpoints were measured, and which probes are wanting: "3 of 3 checkpoints (scores failed at 2)"."""
    whole = {f.step for f in failures if not f.probe}
    wanting = ", ".join(f"{probe} failed at {len(found)}" for probe, found in _by_probe(failures).items())
    return f"{checkpoints - len(whole)} of {checkpoints} checkpoints{f' ({wanting})' if wanting else ''}"


def _by_probe(failures: Sequence[Failure]) -> dict[str, list[Failure]]:
    found: dict[str, list[Failure]] = {}
    for failure in sorted(failures, key=lambda f: f.step):
        if failure.probe:
            found.setdefault(failure.probe, []).append(failure)
    return found
