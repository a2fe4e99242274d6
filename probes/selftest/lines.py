"""What a self-test says: one line and one sentence for each thing that was tried."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "look", "failed", "not checked"]


@dataclass(frozen=True)
class Line:
    """`look`: measurements mean what they say, within what the sentence tells. `failed`: they would be wrong."""

    name: str
    status: Status
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)  # what the sentence is made of, JSON-able
