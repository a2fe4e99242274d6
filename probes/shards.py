"""Models that were saved as one file for each process of a sharded training (verl on FSDP), put together in memory.

The files are pickles: they are read with `weights_only`, which builds tensors and nothing else. What cannot be put
together surely and exactly is an error that prints verl's own command for it. Nothing is rounded (verl's merger rounds
to bfloat16), and nothing is written.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.errors import CheckpointError, first_line
from ..dynamics.storage import sha256_file
from ..dynamics.weights import weights_hash
from .layouts import CONFIG, SHARD, config_folder

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]


def shard_files(folder: Path) -> list[Path]:
    """The model's files in the order of their ranks. Raises CheckpointError where some are missing."""
    found = {m: p for p in Path(folder).iterdir() if (m := SHARD.fullmatch(p.name))}
    worlds = {int(m[1]) for m in found}
    if len(worlds) != 1:
        raise CheckpointError(
            f"{folder} holds shards of {len(worlds)} trainings ({', '.join(map(str, sorted(worlds)))} processes): keep one's"
        )
    (world,) = worlds
    by_rank = {int(m[2]): p for m, p in found.items()}
    missing = [rank for rank in range(world) if rank not in by_rank]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of its {world} shards, that of rank {missing[0]} first: copy it again"
        )
    return [by_rank[rank] for rank in range(world)]


def shards_hash(folder: Path) -> str:
    """The hash of the weights, by which results know them. Raises CheckpointError where shards are missing."""
    return weights_hash({file.name: sha256_file(file) for file in shard_files(folder)})


def check_shards(folder: Path) -> None:
    """Raise CheckpointError where shards or the config that goes with them are missing."""
    shard_files(folder)
    if not (config_folder(folder) / CONFIG).is_file():
        raise CheckpointError(
            f"{folder} holds shards and no config.json beside them or in huggingface/: copy the one of the model that was trained"
        )


def merge_shards(folder: Path) -> State:
    """The full tensors by name, in the shards' own precision. Raises CheckpointError with the command that merges them."""
    ranks = [_read(file, folder) for file in shard_files(folder)]
    names = set(ranks[0])
    if any(set(rank) != names for rank in ranks):
        raise _unmerged(folder, "its shards do not hold the same tensors")
    if any("lora_" in name for name in names):
        raise _unmerged(folder, "its shards hold an adapter inside the model, without the scale that it is added with")
    return {name: _whole(name, [rank.pop(name) for rank in ranks], folder) for name in sorted(names)}


def _read(file: Path, folder: Path) -> dict[str, Any]:
    import torch
    import torch.distributed.tensor  # without it the reader does not know sharded tensors

    try:  # mapped, not read: one tensor at a time is copied out of all files
        with _unwarned("torch.distributed.device_mesh"):  # of process groups that are not here, and are not needed
            state: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, AttributeError, TypeError, ValueError, OSError, EOFError) as error:
        raise _unmerged(folder, f"{file.name} cannot be read as weights alone ({first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise _unmerged(folder, f"{file.name} holds other things than tensors")
    return state


@contextmanager
def _unwarned(logger: str) -> Iterator[None]:
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _whole(name: str, parts: list[torch.Tensor], folder: Path) -> torch.Tensor:
    """One tensor from the ranks' parts of it."""
    import torch
    from torch.distributed.tensor import DTensor

    if all(isinstance(part, DTensor) for part in parts):
        return _gathered(name, parts, folder)
    if any(isinstance(part, DTensor) for part in parts):
        raise _unmerged(folder, f"{name} is sharded in some of its files and whole in others")
    if all(part.shape == parts[0].shape and torch.equal(part, parts[0]) for part in parts[1:]):
        return parts[0].clone()  # what every process had (and of a single process, all there is)
    raise _unmerged(folder, f"{name} differs between its files, which do not say how it was divided")


def _gathered(name: str, parts: list[Any], folder: Path) -> torch.Tensor:
    """The parts of a tensor divided along one dimension, one after the other; replicas are left out."""
    import torch
    from torch.distributed.tensor import Replicate, Shard

    mesh, placements = _ranks(parts[0]), tuple(parts[0].placements)
    agree = all(tuple(p.placements) == placements and torch.equal(_ranks(p), mesh) for p in parts)
    divided = [i for i, p in enumerate(placements) if not isinstance(p, Replicate)]
    if not agree or len(divided) > 1 or any(type(placements[i]) is not Shard for i in divided):
        raise _unmerged(folder, f"{name} is divided in a way that is not put together here ({placements})")
    for axis in reversed(range(mesh.ndim)):
        if axis not in divided:
            mesh = mesh.select(axis, 0)  # replicas are alike
    with torch.no_grad():
        local = [parts[int(rank)].to_local() for rank in mesh.flatten()]
    dimension: int = placements[divided[0]].dim if divided else 0
    whole = torch.cat(local, dim=dimension) if divided else local[0].clone()
    if whole.shape != parts[0].shape:
        raise _unmerged(folder, f"the parts of {name} make {tuple(whole.shape)}, and it was {tuple(parts[0].shape)}")
    return whole


def _ranks(part: Any) -> torch.Tensor:
    """Which process held which part [of every dimension of the mesh]; older versions of torch stored it by another name."""
    mesh = part.device_mesh
    stored = vars(mesh).get("mesh", vars(mesh).get("_mesh"))
    return mesh.mesh if stored is None else stored


def _unmerged(folder: Path, reason: str) -> CheckpointError:
    folder = Path(folder).absolute()
    step = folder.parent if folder.name == "actor" else folder
    target = step.parent / "merged" / step.name
    return CheckpointError(
        f"{folder}: {reason}. Merge it where it was trained, and give the result:\n"
        f"  python -m verl.model_merger merge --backend fsdp --local_dir {folder} --target_dir {target}"
    )
