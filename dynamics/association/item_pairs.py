"""Which per-prompt metrics are related with which per-prompt outcomes, and their values by prompt and step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..errors import RecordError
from ..probe_files import read_states
from ..record import Run
from ..trajectories.trajectory import Trajectory
from .items import halves_of_samples
from .series import BEHAVIOURS, Layer, Pair, middle

CONCEPT = PROMPT_SET = "refusal"  # states at the prompt's end, before anything is generated
PROJECTION = (
    "refusal_projection"  # onto the direction of the base, at its own position; in units of the residual stream
)
SAMPLES = "samples"  # the split: x from half of a question's samples, y from the other half
ItemPair = tuple[pd.DataFrame, pd.DataFrame, dict[str, object]]  # x and y, items x steps; clusters of items


def item_pairs(run: Run, trajectories: Mapping[str, Trajectory], layer: Layer = None) -> dict[Pair, ItemPair]:
    """x, y and the clusters of items for every pair with values a prompt.

    Internal: the projection of the prompt's own state onto the base's direction, which shares no generation with y.
    Behaviours come from the generations that y comes from: where questions have several samples, x is taken from one half of
    them and y from the other; with one sample a question the pair is given as it cannot be tested, with empty tables.
    """
    found: dict[Pair, ItemPair] = {}
    projections = _projections(run, layer)
    for domain, trajectory in trajectories.items():
        if trajectory.matrix is None:
            continue
        y = _table(trajectory)
        clusters = dict(
            zip(trajectory.items, trajectory.items if trajectory.clusters is None else trajectory.clusters, strict=True)
        )
        for at, x in projections.items():
            if len(x.index.intersection(y.index)):
                found[Pair(PROJECTION, "internal", "", at, domain, str(trajectory.group), "none")] = (x, y, clusters)
        for metric in (m for m in BEHAVIOURS if m in run.item_metrics(domain)):
            halves = halves_of_samples(run.items(domain, metric), y, clusters)
            pair = Pair(metric, "behaviour", domain, -1, domain, str(trajectory.group), SAMPLES)
            found[pair] = (*halves, {i: i for i in halves[0].index})
    return found


# ---------------------------------------------------------------- parts


def _table(trajectory: Trajectory) -> pd.DataFrame:
    return pd.DataFrame(trajectory.matrix, index=list(trajectory.items), columns=trajectory.steps)


def _projections(run: Run, layer: Layer) -> dict[int, pd.DataFrame]:
    """Layer -> items x steps; none where the run stores no states or no direction of its first checkpoint.

    A file at a time: all states of a long run would not fit into memory.
    """
    try:
        files = run.activation_files(PROMPT_SET)
        base = run.direction(CONCEPT, min(files))
        index = run.prompt_labels(PROMPT_SET).index
    except RecordError:  # not measured, or by a version that stored no labels: then there is nothing to relate
        return {}
    measured = list(base.layers)
    wanted = measured if layer == "all" else [middle(measured) if layer is None else layer]
    found = {}
    for at in (w for w in wanted if w in measured):
        unit_D = np.asarray(base.direction_LD[measured.index(at)], dtype=np.float32)
        columns = {step: read_states(file, at, base.position) @ unit_D for step, file in files.items()}
        found[at] = pd.DataFrame(columns, index=index).groupby(level=0).mean()
    return found
