"""docs/recipes.md names every setting there is, and no other."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.probes.microworld import DOMAINS
from sftscope.recipes import Recipe, read_recipe, shipped

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
    table = PAGE.read_text().split("## Every key")[1]
    documented = {
        name for row in re.findall(r"^\| (`.+?) \|", table, re.M) for name in re.findall(r"`([a-z_.0-9]+)`", row)
    }
    assert documented == keys(Recipe)


def test_every_recipe_that_ships_can_run(tmp_path):
    """Valid, its checkpoints within its steps, and as many training items as it asks for."""
    enough = {}
    for name, about in shipped().items():
        recipe = read_recipe(name, tmp_path / "run")
        assert recipe.train.checkpoints.first, name
        assert about.endswith("."), name
        arm, schedule = recipe.arm, recipe.train.schedule
        rows = arm.rows if arm else recipe.train.data.rows
        steps = schedule.steps or schedule.epochs * rows // recipe.train.batch.size
        assert max(recipe.train.checkpoints.at) < steps, name
        if arm is None:
            continue
        enough[arm.domain, arm.levels] = max(arm.rows, enough.get((arm.domain, arm.levels), 0))
    for (domain, levels), rows in enough.items():
        assert len(DOMAINS[domain].items("train", rows, levels=levels)) == rows


def test_a_recipe_extends_another_in_what_it_names(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "extends: theirs.yaml\ntrain:\n  optim: {lr: 1.0e-5}\n  checkpoints: {at: [3]}\n"
    )
    (tmp_path / "theirs.yaml").write_text("extends: countdown\narm: {rows: 64}\ntrain: {seed: 4}\n")
    standard, mine = (read_recipe(n, tmp_path / "run") for n in ("countdown", tmp_path / "mine.yaml"))
    assert (mine.train.optim.lr, mine.train.checkpoints.at, mine.train.seed, mine.arm.rows) == (1e-5, (3,), 4, 64)
    assert mine.train.batch == standard.train.batch
    assert mine.probes == standard.probes
    assert mine.train.checkpoints.resume_every == standard.train.checkpoints.resume_every


def test_of_several_parents_the_later_one_wins_and_the_recipe_over_both(tmp_path):
    (tmp_path / "a.yaml").write_text("train: {seed: 1, optim: {lr: 1.0e-5, eps: 1.0e-6}}\n")
    (tmp_path / "b.yaml").write_text("train: {seed: 2, optim: {lr: 1.0e-4}}\n")
    (tmp_path / "mine.yaml").write_text("extends: [countdown, a.yaml, b.yaml]\ntrain: {seed: 3}\n")
    train = read_recipe(tmp_path / "mine.yaml", tmp_path / "run", ["--train.model.path", "elsewhere"]).train
    assert (train.seed, train.optim.lr, train.optim.eps) == (3, 1e-4, 1e-6)


@pytest.mark.parametrize(
    ("parent", "message"),
    [("countdwn", "did you mean 'countdown'"), ("mine.yaml", "extends itself"), ("[1]", "no recipe")],
)
def test_a_parent_that_is_not_there_is_named(tmp_path, parent, message):
    (tmp_path / "mine.yaml").write_text(f"extends: {parent}\n")
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "mine.yaml", tmp_path / "run")
