"""Is the direction of one checkpoint a readout of another? The transfer matrix: fitted at s, read on the states of t.

Its diagonal is *refit* (is the concept still decodable?), its first row *frozen* (is the base's readout still valid?).
What lies between tells a readout that drifts a little at every step from one that jumps once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .errors import DataError, RecordError
from .probe_files import StoredDirection, read_weights
from .record import Run
from .separation import auc
from .types import Estimate

METRIC = "transfer_auc"
COLUMNS = ["fitted_at", "read_at", "layer", "auc", "lo", "hi", "n"]


def transfer_matrix(
    run: Run,
    concept: str,
    prompt_set: str | None = None,
    *,
    layers: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> pd.DataFrame:
    """AUC of every stored direction of a concept on the states of every checkpoint: fitted_at, read_at, layer, auc, lo, hi, n.

    Directions are those the run's probes fitted on the part `fit` of the prompts; states are of the part `eval` of
    `prompt_set` (by default the one named as the concept), at the position the direction was fitted at. `layers` and
    `steps` choose some of those there are. Raises RecordError where the run folder lacks what is needed, or holds directions
    and states of different weights at one step; DataError for labels that are not two classes.
    """
    prompts = prompt_set or concept
    held_out, label, group = _held_out(run, prompts)
    stored = _directions(run, concept, steps)
    position = next(iter(stored.values())).position
    shared = sorted(set.intersection(*(set(d.layers) for d in stored.values())))
    rows = []
    for read_at in (s for s in run.activation_files(prompts) if steps is None or s in steps):
        if read_at in stored:
            _check_weights(run, prompts, read_at, stored[read_at].weights)
        for layer in shared if layers is None else layers:
            states = run.activations(prompts, layer, [read_at], position)[0][held_out]
            fitted = {s: d.direction_LD[d.layers.index(layer)] for s, d in stored.items()}
            rows += [
                {"fitted_at": s, "read_at": read_at, "layer": layer, "auc": e.value, "lo": e.lo, "hi": e.hi, "n": e.n}
                for s, e in readouts(states, fitted, label, group).items()
            ]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS[:3], ignore_index=True)


def readouts(
    states_ND: NDArray, directions: Mapping[int, NDArray], label_N: NDArray, group_N: NDArray
) -> dict[int, Estimate]:
    """AUC `Estimate` of each direction [width] on held-out states, clustered by the prompts' group."""
    projections_NS = states_ND.astype(np.float64) @ np.stack(list(directions.values()), axis=1)
    return {s: auc(projections_NS[:, k], label_N, group_N) for k, s in enumerate(directions)}


# ---------------------------------------------------------------- parts


def _held_out(run: Run, prompts: str) -> tuple[NDArray, NDArray, NDArray]:
    """Which prompts are reported on [all prompts], and of these the class (bool) and the group (numbered)."""
    labels = run.prompt_labels(prompts)
    if not labels["label"].isin([0, 1]).all():
        raise DataError(
            f"the prompts of {prompts!r} have numbers as labels, not two classes: an AUC needs positives and negatives"
        )
    held_out = (labels["part"] == "eval").to_numpy()
    if not held_out.any():
        raise DataError(f"the prompts of {prompts!r} have no part `eval` to report on: parts {set(labels['part'])}")
    reported = labels[held_out]
    return held_out, reported["label"].to_numpy(bool), pd.factorize(reported["group"])[0]


def _directions(run: Run, concept: str, steps: Sequence[int] | None) -> dict[int, StoredDirection]:
    known = run.direction_files(concept)
    stored = {s: run.direction(concept, s) for s in known if steps is None or s in steps}
    if not stored:
        raise RecordError(f"no direction of {concept!r} at steps {steps}: there are {list(known)}")
    positions = {d.position for d in stored.values()}
    if len(positions) > 1:
        raise RecordError(f"the directions of {concept!r} are of several positions, {positions}: probe the run again")
    return stored


def _check_weights(run: Run, prompts: str, step: int, of_direction: str) -> None:
    of_states = read_weights(run.activation_files(prompts, [step])[step])
    if of_direction and of_states and of_direction != of_states:
        raise RecordError(
            f"at step {step} of {run.path} the direction is of weights {of_direction[:12]}… and the states of "
            f"{prompts!r} of {of_states[:12]}…: the checkpoint was replaced. Probe it again"
        )
