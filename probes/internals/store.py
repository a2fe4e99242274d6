"""Activations and directions on disk: HDF5, one file a checkpoint and prompt set, chunks of 32 items x 1 layer x width."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ...dynamics.record import step_name
from ...dynamics.storage import whole_file

CHUNK_ITEMS = 32


def write_activations(
    run: Path,
    step: int,
    prompt_set: str,
    *,
    key: str,
    acts_NLD: np.ndarray,
    position: str,
    items: list[str],
    attrs: dict[str, str],
) -> Path:
    """Store float16 activations; float32 where a value would not fit (fp16 tops out at 65,504)."""
    fits = np.abs(acts_NLD).max() < 6e4
    n, _, width = acts_NLD.shape
    target = Path(run) / "probes" / step_name(step) / f"{prompt_set}-{key}.h5"
    with whole_file(target) as aside, h5py.File(aside, "w") as f:
        f.create_dataset(
            f"activations/{position}",
            data=acts_NLD.astype(np.float16 if fits else np.float32),
            chunks=(min(CHUNK_ITEMS, n), 1, width),
        )
        f.create_dataset("items", data=np.array(items, dtype=h5py.string_dtype()))
        f.attrs.update(
            {"step": step, "hook": "blocks.{layer}.hook_resid_post", "axes": "items, layers, width", **attrs}
        )
    return target


def read_activations(path: Path, position: str) -> np.ndarray:
    """[items, layers, width] as float32."""
    with h5py.File(path, "r") as f:
        return f["activations"][position][:].astype(np.float32)


def write_direction(run: Path, step: int, concept: str, *, key: str, unit_LD: np.ndarray) -> Path:
    target = Path(run) / "probes" / step_name(step) / f"direction-{concept}-{key}.h5"
    with whole_file(target) as aside, h5py.File(aside, "w") as f:
        f.create_dataset("direction", data=unit_LD)
        f.attrs.update({"step": step, "concept": concept})
    return target
