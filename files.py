"""The files that settings name, for those who read them from another folder or on another machine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .probes.planner import ProbeConfig
from .probes.scorers import ScorerConfig

T = TypeVar("T")


def found_from_anywhere(config: ProbeConfig) -> ProbeConfig:
    """The same settings with every file that is there named by its absolute path. (What is not there is told when it is read.)"""
    return _changed(config, lambda path: Path(os.path.abspath(path)) if path.exists() else path)


def files_of(config: ProbeConfig) -> list[Path]:
    """The files and folders that settings name and that are there."""
    found: list[Path] = []

    def note(path: Path) -> Path:
        found.extend([path] if path.exists() else [])
        return path

    _changed(config, note)
    return found


def _changed(value: T, change: Callable[[Path], Path]) -> T:
    """Settings with every path in them, however deep, replaced by what `change` makes of it."""
    new: Any = value
    if isinstance(value, Path):
        new = change(value)
    elif isinstance(value, ScorerConfig):
        if (here := Path(value.model)).is_dir():  # else the name of one on the hub
            new = dataclasses.replace(value, model=str(change(here)))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        moved = {name: now for name, old in fields.items() if (now := _changed(old, change)) != old}
        new = dataclasses.replace(value, **moved) if moved else value
    elif isinstance(value, dict):
        new = {key: _changed(v, change) for key, v in value.items()}
    elif isinstance(value, tuple):
        new = tuple(_changed(v, change) for v in value)
    return new
