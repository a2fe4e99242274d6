"""Reading the HDF5 files of a run folder: states on a prompt set with its labels, and directions with their class means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .errors import RecordError, nearest

if TYPE_CHECKING:
    import h5py

LABELS = ("label", "part", "half", "group")
LAST_PROMPT = "last_prompt"  # where the directions of files that name no position were read
HOOK = "blocks.{layer}.hook_resid_post"


@dataclass(frozen=True, eq=False)
class StoredDirection:
    """A direction as its file has it."""

    direction_LD: NDArray  # unit length per layer
    layers: tuple[int, ...]  # the blocks' numbers along the first axis
    positive_mean_LD: NDArray | None = None  # class means that it is the difference of; None in older files
    negative_mean_LD: NDArray | None = None
    position: str = LAST_PROMPT
    weights: str = ""  # hash of the checkpoint's weights; empty in older files


def read_states(file: Path, layer: int, position: str) -> NDArray:
    """Residual stream after one block, float32 [items, width]. Raises RecordError for another position or layer."""
    import h5py

    with h5py.File(file, "r") as f:
        positions = f["activations"]
        if position not in positions:
            raise RecordError(f"{file} holds no position {position!r}: {nearest(position, positions)}")
        layers = _layers(f, positions[position].shape[1])
        if layer not in layers:
            raise RecordError(f"{file} holds the layers {', '.join(map(str, layers))}, not {layer}")
        return positions[position][:, layers.index(layer), :].astype(np.float32)


def read_weights(file: Path) -> str:
    """Hash of the weights that a file of states or a direction was made from; empty where it does not say."""
    import h5py

    with h5py.File(file, "r") as f:
        return str(f.attrs.get("weights", ""))


def read_labels(files: Sequence[Path]) -> pd.DataFrame:
    """Labels of a prompt set's items (index: item; columns label, part, half, group), in the files' own order.

    Raises RecordError where checkpoints have other items, so that their rows cannot be compared, or no labels are stored.
    """
    import h5py

    def strings(dataset: h5py.Dataset) -> NDArray:
        return np.asarray(dataset.asstr()[:], dtype=object)

    first: NDArray | None = None
    table: pd.DataFrame | None = None
    missing: list[str] = []
    for file in files:
        with h5py.File(file, "r") as f:
            items = strings(f["items"])
            if first is None:
                first = items
            if not np.array_equal(first, items):
                raise RecordError(
                    f"{file} has other prompts than {files[0]}: probe the run again, so that all checkpoints are asked alike"
                )
            missing = [name for name in LABELS if name not in f]
            if table is None and not missing:
                columns = {name: f[name][:] if name == "label" else strings(f[name]) for name in LABELS}
                table = pd.DataFrame(columns, index=pd.Index(items, name="item"))
    if table is None:
        raise RecordError(
            f"{files[-1]} holds no {', '.join(missing)}: it was written by an older version. Probe the run again to have the "
            "labels of its prompts stored"
        )
    return table


def read_direction(file: Path) -> StoredDirection:
    """A direction with what its file says of it; older files hold the direction alone."""
    import h5py

    with h5py.File(file, "r") as f:
        positive, negative = (f[name][:] if name in f else None for name in ("positive_mean", "negative_mean"))
        position, weights = str(f.attrs.get("position", LAST_PROMPT)), str(f.attrs.get("weights", ""))
        direction_LD = f["direction"][:]
        return StoredDirection(direction_LD, _layers(f, len(direction_LD)), positive, negative, position, weights)


def _layers(f: h5py.File, count: int) -> tuple[int, ...]:
    """The numbers of the blocks that a file holds; older files hold all."""
    return tuple(int(layer) for layer in f.attrs.get("layers", range(count)))
