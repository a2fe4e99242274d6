"""docs/recipes.md names every setting there is, and no other."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

from sftscope.pipeline import CONFIGS, Recipe, read_recipe

PAGE = Path(__file__).parent.parent / "docs" / "recipes.md"


def keys(cls: type, prefix: str = "") -> set[str]:
    found = set()
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        options = [hints[field.name], *typing.get_args(hints[field.name])]
        section = next((o for o in options if dataclasses.is_dataclass(o)), None)
        found |= keys(section, f"{prefix}{field.name}.") if section else {f"{prefix}{field.name}"}
    return found


def test_the_page_lists_every_key():
    documented = set(re.findall(r"`((?:train|probes|arm)\.[a-z_.0-9]+)`", PAGE.read_text()))
    assert documented == keys(Recipe)


def test_every_recipe_that_ships_is_valid(tmp_path):
    for file in CONFIGS.glob("*.yaml"):
        assert read_recipe(file.stem, tmp_path / "run").train.checkpoints.first
