"""What can be known of a run before it starts: the findings of each package's `checks(config)`, printed by `sftscope doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["ok", "note", "not checked", "failed"]


@dataclass(frozen=True)
class Check:
    """One thing looked at. `failed` is a reason not to start; `not checked` says what would be needed to check it."""

    name: str
    status: Status
    text: str
    detail: Any = None  # printed below: a text, or what rich can draw
