"""A run folder with states, labels and directions as the probes store them, planted and by no model."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from sftscope.dynamics.record import create_run, step_name

N, LAYERS, WIDTH = 160, 2, 24


def labels(n: int = N) -> dict[str, np.ndarray]:
    """Half of the prompts positive, half of each class to fit; four prompts of a class and part share an object."""
    index = np.arange(n)
    return {
        "label": index % 2 == 0,
        "part": np.where(index // 2 % 2 == 0, "fit", "eval"),
        "half": np.where(index // 4 % 2 == 0, "A", "B"),
        "group": np.array([f"object-{i % 4}-{i // 16}" for i in index]),
    }


def turning(angle: float) -> np.ndarray:
    """Unit directions [layers, width] in a plane of their own a layer, at an angle (radians) to the one at 0."""
    out = np.zeros((LAYERS, WIDTH))
    for layer in range(LAYERS):
        out[layer, 2 * layer], out[layer, 2 * layer + 1] = np.cos(angle), np.sin(angle)
    return out


def states(label: np.ndarray, direction_LD: np.ndarray, rng: np.random.Generator, strength: float = 3.0) -> np.ndarray:
    return rng.standard_normal((len(label), LAYERS, WIDTH)) + strength * label[:, None, None] * direction_LD


def write_states(run: Path, step: int, acts_NLD: np.ndarray, columns: dict[str, np.ndarray], **attrs: str) -> Path:
    folder = run / "probes" / step_name(step)
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / f"refusal-{step:012d}.h5", "w") as f:
        f["activations/last_prompt"] = acts_NLD.astype(np.float16)
        f["items"] = np.array([f"item-{i}" for i in range(len(acts_NLD))], dtype=h5py.string_dtype())
        for name, column in columns.items():
            f[name] = column if name == "label" else np.array(column, dtype=h5py.string_dtype())
        f.attrs.update({"step": step, **attrs})
    return folder / f"refusal-{step:012d}.h5"


def write_direction(
    run: Path, step: int, unit_LD: np.ndarray, concept: str = "refusal", means: tuple | None = None, **attrs: str
) -> Path:
    """As stored now, with means and where it was read, or (without them) as older versions did."""
    folder = run / "probes" / step_name(step)
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / f"direction-{concept}-{step:012d}.h5", "w") as f:
        f["direction"] = unit_LD
        if means is not None:
            f["positive_mean"], f["negative_mean"] = means
        f.attrs.update({"step": step, "concept": concept, **attrs})
    return folder / f"direction-{concept}-{step:012d}.h5"


def make_turning_run(path: Path, angles: dict[int, float], seed: int = 0) -> Path:
    """A run whose direction turns: at each step the states' classes differ along `turning(angle)`."""
    create_run(path, {"config_hash": "turning", "base": {"weights": "hash-of-base"}})
    rng, columns = np.random.default_rng(seed), labels()
    fit, positive = columns["part"] == "fit", columns["label"]
    for step, angle in angles.items():
        acts = states(positive, turning(angle), rng)
        write_states(path, step, acts, columns, weights=f"w{step}")
        means = acts[fit & positive].mean(0), acts[fit & ~positive].mean(0)
        unit = means[0] - means[1]
        unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
        write_direction(path, step, unit, means=means, position="last_prompt", weights=f"w{step}")
    return path
