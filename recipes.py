"""Recipes: YAML files, or flags, read into the settings of a run; a recipe may extend another and change what it names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .dynamics.errors import ConfigError, nearest
from .dynamics.settings import from_mapping, read_yaml
from .dynamics.storage import content_key
from .probes import organisms
from .probes.microworld import EDITION
from .probes.microworld.arms import FineTuningArm
from .probes.microworld.corpus import write_records
from .probes.planner import ProbeConfig
from .train import TrainConfig

CONFIGS = Path(__file__).parent / "configs"
NOT_RECIPES = ("accelerate/", "organisms/", "parts/")  # for `accelerate launch`, `organism build`, and `extends` only
MADE_FROM_ARM = Path("(made from `arm`)")  # stands for `train.data.path` until the arm is final


@dataclass(frozen=True)
class Recipe:
    """A run: what to train and how, what to measure at its checkpoints."""

    train: TrainConfig
    probes: ProbeConfig = field(default_factory=ProbeConfig)
    arm: FineTuningArm | None = None  # records of the micro-world, made for this run; null: `train.data.path` is yours
    heldout_rows: int = 0  # with an arm: rows of each probed domain never trained on, made for `train.data.heldout`

    def __post_init__(self) -> None:
        if self.heldout_rows < 0 or (self.heldout_rows and self.arm is None):
            raise ConfigError(
                f"`heldout_rows` is {self.heldout_rows}: they are made of the micro-world, beside an `arm`; give your own in "
                "`train.data.heldout`"
            )


def read_recipe(name: str | Path, out: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by path, or by the name of one that ships (`quickstart`), with settings given as flags of their full name.

    `out` is the run folder that records made for the run are put beside. Raises ConfigError for unknown keys and values,
    naming the nearest valid ones.
    """
    return parse_recipe(_layered(_find(str(name))), out, overrides)


def shipped() -> dict[str, str]:
    """The recipes that ship, by name, each with the first sentence of its comment."""
    found = {}
    for file in sorted(CONFIGS.rglob("*.yaml")):
        name = file.relative_to(CONFIGS).with_suffix("").as_posix()
        if not name.startswith(NOT_RECIPES):
            comment = " ".join(line.lstrip("# ") for line in file.read_text().splitlines() if line.startswith("#"))
            found[name] = re.split(r"(?<=\.)\s", comment)[0]
    return found


def _find(name: str, beside: Path | None = None) -> Path:
    """The file of a recipe: a path, seen from the file that names it, or the name of one that ships."""
    path = (beside.parent if beside else Path()) / name
    if path.is_file():
        return path
    names = shipped()
    if name in names or (name.startswith("parts/") and (CONFIGS / f"{name}.yaml").is_file()):
        return CONFIGS / f"{name}.yaml"
    raise ConfigError(
        f"no recipe at {name}: give the path of a YAML file, or the name of one that `sftscope recipes` lists: "
        + nearest(name, names)
    )


def _layered(file: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mapping in a file over those of the recipes it `extends` (one, or a list, each over those before it): sections
    are merged, values and lists replaced."""
    if file in seen:
        raise ConfigError(f"{file} extends itself, by way of {', '.join(p.name for p in seen)}")
    mapping = read_yaml(file)
    parents = mapping.pop("extends", None) or []
    under: dict[str, Any] = {}
    for parent in parents if isinstance(parents, list) else [parents]:
        under = _merged(under, _layered(_find(str(parent), beside=file), (*seen, file)))
    return _merged(under, mapping)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {
        k: _merged(under[k], v) if isinstance(v, dict) and isinstance(under.get(k), dict) else v
        for k, v in over.items()
    }
    return under | both


def parse_recipe(mapping: dict[str, Any], out: Path, overrides: Sequence[str] = ()) -> Recipe:
    mapping = json.loads(json.dumps(mapping))  # ours to change
    train = mapping.get("train")
    if isinstance(train, dict) and mapping.get("arm") is not None and isinstance(train.setdefault("data", {}), dict):
        train["data"].setdefault("path", str(MADE_FROM_ARM))
    recipe = from_mapping(Recipe, mapping)
    if overrides:
        import tyro

        # An optional section is a section, not a subcommand: `--arm.rows 32` changes the arm that the recipe has.
        config = (tyro.conf.AvoidSubcommands,)
        recipe = tyro.cli(Recipe, prog="sftscope train CONFIG", default=recipe, args=list(overrides), config=config)
    return _resolved(recipe, out)


def _resolved(recipe: Recipe, out: Path) -> Recipe:
    """Names turned into paths, last of all: a flag may have changed what they follow from."""
    model, data = recipe.train.model, recipe.train.data
    if model.path is not None:
        model = replace(model, path=organisms.resolve(model.path))
    if data.path == MADE_FROM_ARM and recipe.arm is not None:
        data = replace(data, path=_records_path(recipe.arm, out))
    if recipe.arm is not None:
        names = recipe.probes.domains if recipe.heldout_rows else ()
        made = {name: Path(out).parent / "data" / _heldout_name(name, recipe) for name in names}
        data = replace(data, heldout=made | data.heldout)
    return replace(recipe, train=replace(recipe.train, model=model, data=data))


def make_records(recipe: Recipe) -> None:
    """Write the rows that are made for this run, those that are not there yet."""
    arm, data = recipe.arm, recipe.train.data
    if arm is None:
        return
    if not data.path.exists():
        write_records(data.path, arm.records())
    for domain, path in data.heldout.items():
        if path.name == _heldout_name(domain, recipe) and not path.exists():
            write_records(path, arm.heldout_records(domain, recipe.heldout_rows))


def _records_path(arm: FineTuningArm, out: Path) -> Path:
    key = content_key(EDITION, asdict(arm), length=6)
    return Path(out).parent / "data" / f"{arm.domain}-{arm.rendering}-{arm.rows}-{key}.jsonl"


def _heldout_name(domain: str, recipe: Recipe) -> str:
    """The file of the rows that are made for `train.data.heldout`; a path of the user's own has another name."""
    key = content_key(EDITION, asdict(recipe.arm) if recipe.arm else None, length=6)
    return f"heldout-{domain}-{recipe.heldout_rows}-{key}.jsonl"
