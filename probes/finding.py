"""Checkpoints of any origin, found and ordered by step: run folders, other tools' folders, single models, adapters, the hub."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..dynamics.errors import CheckpointError, ConfigError, nearest
from ..dynamics.record import RUN_FILE, Run
from ..dynamics.settings import read_yaml
from ..dynamics.steps import step_of, step_of_revision
from . import organisms
from .checkpoints import Checkpoint
from .hub import Remote, fetch_small, find_remote, hub_name
from .layouts import is_sharded, weights_folder

FORMS = (
    "a run folder, a folder of checkpoints (step-N, checkpoint-N, global_step_N), model folders, or names on the hub"
)


class NoCheckpoints(CheckpointError):
    """A folder that holds none, which may be because it is still empty."""


@dataclass(frozen=True)
class Found:
    """A checkpoint before its step is settled."""

    names: tuple[str, ...]  # by which a map of steps may call it; the last says where it is
    step: int | None  # that its own name tells
    path: Path
    remote: Remote | None = None
    fixed: bool = False  # a run's own: its steps are the record's


def find_checkpoints(
    sources: Sequence[Path | str],
    *,
    steps: Mapping[str, int] | None = None,
    tokenizer: Path | None = None,
    filling: bool = False,
) -> list[Checkpoint]:
    """Checkpoints under the given sources, by step: a run folder, a folder of `step-*`, `checkpoint-*`, `global_step_*`, a
    model, an adapter, `organism:NAME`, or a hub name `name[@revision][:subfolder]` (whose step folders are all taken).

    `steps` maps names (as given, a path, or a folder's name) to steps, before what names tell. Models without either are
    numbered in the order given, from 0; beside named ones the first alone can be, as the base. `tokenizer` is the folder
    of one that goes with all of them. `filling`: the folder may still lack what the map names, and the hub is not asked.
    Raises CheckpointError, and ConfigError for a map that names what is not there.
    """
    known = dict(steps or {})
    found = [each for source in sources for each in _look(str(source), known, ask_hub=not filling)]
    placed = _with_steps(found, known)
    if not filling:
        _check_map(known, found)
    made = [Checkpoint(step, f.path, tokenizer=tokenizer, remote=f.remote) for f, step in placed]
    return sorted((_local_where_unhashed(c) for c in made), key=lambda c: c.step)


def read_steps(file: Path) -> dict[str, int]:
    """The map of names to steps in a YAML or JSON file. Raises ConfigError for what is no step, and for a step given twice."""
    mapping = {str(name): step for name, step in read_yaml(file).items()}
    for name, step in mapping.items():
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise ConfigError(f"{file} gives {name!r} the step {step!r}: give a whole number from 0")
    for step in mapping.values():
        twice = [name for name, other in mapping.items() if other == step]
        if len(twice) > 1:
            raise ConfigError(
                f"{file} gives step {step} to both {twice[0]!r} and {twice[1]!r}: a step is one checkpoint's"
            )
    return mapping


def tokenizer_folder(source: str) -> Path:
    """The folder of a tokenizer given as a folder, `organism:NAME` or a hub name. Raises CheckpointError."""
    path = Path(organisms.resolve(source)).expanduser()
    name = None if path.exists() else hub_name(source)
    if name is not None:
        return fetch_small(name)
    if not path.is_dir():
        raise CheckpointError(f"no tokenizer's folder at {source}: give one, or a name on the hub")
    return path


# ---------------------------------------------------------------- parts


def _look(source: str, known: Collection[str], ask_hub: bool) -> list[Found]:
    path = Path(organisms.resolve(source)).expanduser()
    name = None if path.exists() else hub_name(source)
    if name is not None and ask_hub:
        there = find_remote(name)
        if isinstance(there, Path):
            step = step_of_revision(name.revision) if name.revision else None
            cached = _look(str(there), known, ask_hub=False)
            return [replace(f, names=(source, *f.names), step=step if f.step is None else f.step) for f in cached]
        return [Found((source, r.folder.split("/")[-1], r.address), step, r.path, r) for step, r in there]
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {source}: give {FORMS}")
    if (path / RUN_FILE).is_file():
        return [Found((str(p),), step, p, fixed=True) for step, p in Run(path).checkpoints().items()]
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file: give {FORMS}")
    return _in_folder(path, source, known)


def _in_folder(path: Path, source: str, known: Collection[str]) -> list[Found]:
    own = weights_folder(path)
    itself = Found((source, path.resolve().name, str(path)), step_of(path.resolve().name), own or path)
    # Before the model beside them: a Trainer's output folder ends with one, of the last step or the best.
    inside = []
    for child in sorted(p for p in path.iterdir() if p.is_dir()):
        weights, step = weights_folder(child), step_of(child.name)
        named = child.name in known or str(child) in known
        if named or (step is not None and (weights is not None or not child.name.isdigit())):
            inside.append(Found((child.name, str(child)), step, weights or child))
    # A step of a Trainer with DeepSpeed keeps its state in a folder named alike: `checkpoint-10/global_step10`.
    if inside and not (own is not None and {f.step for f in inside} == {itself.step}):
        return [f for f in inside if not _has_merged_twin(f, inside)]
    if own is not None:
        return [itself]
    names = ", ".join(sorted(p.name for p in path.iterdir())[:6]) or "nothing"
    raise NoCheckpoints(f"{path} holds no checkpoints (step-N, checkpoint-N, global_step_N), but: {names}")


def _has_merged_twin(found: Found, beside: Sequence[Found]) -> bool:
    """Whether the folder also holds the same step merged, as the script of the study leaves it: shards are left for that."""
    twins = [f for f in beside if f.step is not None and f.step == found.step and f is not found]
    return is_sharded(found.path) and any(not is_sharded(f.path) and weights_folder(f.path) for f in twins)


def _with_steps(found: Sequence[Found], known: Mapping[str, int]) -> list[tuple[Found, int]]:
    placed = []
    for f in found:
        given = next((known[name] for name in f.names if name in known), None)
        placed.append((f, f.step if given is None or f.fixed else given))
    unnamed = [f for f, step in placed if step is None]
    if len(unnamed) == len(found):
        placed = [(f, i) for i, f in enumerate(found)]
    elif unnamed:
        if unnamed != [found[0]]:
            odd = next(f for f in unnamed if f is not found[0])
            raise CheckpointError(
                f"{odd.names[-1]} has no step in its name, and other checkpoints have: write one to a file as "
                f"`{odd.names[0]}: 100` and give it with `--steps FILE` (the first, without a step, is the base at 0)"
            )
        placed[0] = (found[0], 0)
    settled = [(f, step) for f, step in placed if step is not None]
    numbers = [step for _, step in settled]
    for step in numbers:
        twice = [f.names[-1] for f, other in settled if other == step]
        if len(twice) > 1:
            raise CheckpointError(
                f"step {step} was found twice: {', '.join(twice)}. Give one of them, or other steps with `--steps FILE`"
            )
    return settled


def _check_map(known: Mapping[str, int], found: Sequence[Found]) -> None:
    names = {name for f in found for name in f.names}
    for name in known:
        if name not in names:
            raise ConfigError(f"`--steps` names {name!r}, which is none of the checkpoints: {nearest(name, names)}")


def _local_where_unhashed(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint whose hash the hub does not tell (an adapter, small files) is fetched at once, and hashed here."""
    remote = checkpoint.remote
    return checkpoint if remote is None or remote.weights else replace(checkpoint, path=remote.fetch(), remote=None)
