"""The model organisms that ship with the package: real small models, with the hash of the recipe that made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...dynamics.errors import ConfigError, nearest

PREFIX = "organism:"
DEFAULT = "qwen3-0.9m"


def names() -> list[str]:
    return sorted(p.parent.name for p in Path(__file__).parent.glob("*/config.json"))


def folder(name: str) -> Path:
    """The folder of an organism's weights. Raises ConfigError with the nearest names."""
    if name not in names():
        raise ConfigError(f"no organism called {name!r}: {nearest(name, names())}")
    return Path(__file__).parent / name


def card(name: str) -> dict[str, Any]:
    """What an organism's recipe was, what it cost and what it can do, as measured on the committed weights."""
    found: dict[str, Any] = json.loads((folder(name) / "card.json").read_text())
    return found


def resolve(path: str) -> str:
    """`organism:NAME` to the folder of that organism; any other path as it is."""
    return str(folder(path.removeprefix(PREFIX))) if path.startswith(PREFIX) else path
