"""Directions for the user's own code: one safetensors file with a direction per layer and what it is of (docs/directions.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from .probe_files import HOOK
from .storage import whole_file

if TYPE_CHECKING:
    from .record import Run


def export_direction(run: Run, concept: str, step: int, path: Path) -> Path:
    """Write a stored direction as safetensors: `direction`, and `positive_mean`, `negative_mean` where stored, all float32.

    Tensors are [layers, width]; the metadata are strings (docs/directions.md). Raises RecordError where the run has no
    such direction.
    """
    from safetensors.numpy import save_file

    stored = run.direction(concept, step)
    tensors = {
        "direction": stored.direction_LD,
        "positive_mean": stored.positive_mean_LD,
        "negative_mean": stored.negative_mean_LD,
    }
    about = {
        "concept": concept,
        "step": str(step),
        "hook": HOOK,
        "position": stored.position,
        "axes": "layers, width",
        "layers": ",".join(map(str, stored.layers)),
        "weights": stored.weights or "unknown",
        "base": str(run.info.get("base", {}).get("weights", "unknown")),
        "run": run.name,
        "sftscope": __version__,
    }
    with whole_file(Path(path)) as aside:
        save_file(
            {name: np.ascontiguousarray(x, dtype=np.float32) for name, x in tensors.items() if x is not None},
            aside,
            metadata=about,
        )
    return Path(path)
