"""Activations, directions and token scores on disk: HDF5, a file each a checkpoint, chunks of 32 items x 1 layer x width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from ...dynamics.record import step_name
from ...dynamics.storage import whole_file
from ..protocol import Direction, PromptSet

CHUNK_ITEMS = 32
HOOK = "blocks.{layer}.hook_resid_post"
_TEXT = h5py.string_dtype()


def write_activations(
    run: Path,
    step: int,
    prompts: PromptSet,
    *,
    key: str,
    acts: Mapping[str, np.ndarray],
    embedded_ND: np.ndarray,
    layers: Sequence[int],
    attrs: Mapping[str, str],
) -> Path:
    """Store a prompt set's activations by position [rows, layers, width], with the set's labels beside them.

    float16; float32 where a value would not fit (float16 tops out at 65,504).
    """
    target = Path(run) / "probes" / step_name(step) / f"{prompts.name}-{key}.h5"
    with whole_file(target) as aside, h5py.File(aside, "w") as f:
        for position, acts_NLD in acts.items():
            n, _, width = acts_NLD.shape
            f.create_dataset(f"activations/{position}", data=halved(acts_NLD), chunks=(min(CHUNK_ITEMS, n), 1, width))
        f.create_dataset("embedded", data=halved(embedded_ND))
        f.create_dataset("items", data=np.array([i.id for i in prompts.items], dtype=_TEXT))
        f.create_dataset("label", data=prompts.label)
        for name in ("part", "half", "group"):
            f.create_dataset(name, data=np.array(getattr(prompts, name), dtype=_TEXT))
        f.attrs.update({"step": step, "hook": HOOK, "axes": "items, layers, width", "layers": list(layers), **attrs})
    return target


def halved(x: np.ndarray) -> np.ndarray:
    """As float16, or as float32 where a value would not fit."""
    return x.astype(np.float16 if np.abs(x).max() < 6e4 else np.float32)


def read_activations(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[int, ...]]:
    """Activations by position as float32 [rows, layers, width], mean input embeddings [rows, width], the layers' numbers."""
    with h5py.File(path, "r") as f:
        acts = {name: data[:].astype(np.float32) for name, data in f["activations"].items()}
        return acts, f["embedded"][:].astype(np.float32), tuple(int(x) for x in f.attrs["layers"])


def write_direction(
    run: Path, step: int, concept: str, direction: Direction, *, key: str, attrs: Mapping[str, str]
) -> Path:
    """Store a concept's direction at one checkpoint, with its class means where it has them."""
    target = Path(run) / "probes" / step_name(step) / f"direction-{concept}-{key}.h5"
    with whole_file(target) as aside, h5py.File(aside, "w") as f:
        f.create_dataset("direction", data=direction.unit_LD)
        for name, mean_LD in (("positive_mean", direction.positive_LD), ("negative_mean", direction.negative_LD)):
            if mean_LD is not None:
                f.create_dataset(name, data=mean_LD)
        about = {"step": step, "concept": concept, "hook": HOOK, "position": direction.position}
        f.attrs.update(about | {"layers": list(direction.layers), **attrs})
    return target


def write_scores(target: Path, logprobs: Sequence[np.ndarray], entropies: Sequence[np.ndarray]) -> None:
    """Store values by token, all responses in one row, with where each begins."""
    with whole_file(target) as aside, h5py.File(aside, "w") as f:
        f.create_dataset("begins", data=np.cumsum([0, *map(len, logprobs)]))
        for name, values in (("logprobs", logprobs), ("entropies", entropies)):
            f.create_dataset(name, data=np.concatenate([np.empty(0, np.float32), *values]))


def read_scores(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(log-probabilities, entropies), float32 [tokens] a response."""
    with h5py.File(path, "r") as f:
        inner = f["begins"][1:-1]
        logprobs, entropies = (np.split(f[name][:], inner) for name in ("logprobs", "entropies"))
        return (logprobs, entropies) if len(f["begins"]) > 1 else ([], [])
