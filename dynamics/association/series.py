"""Which metrics of a run are related with which scores, and the series of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import pandas as pd

from ..primaries import DeclaredAssociation, declared_associations
from ..record import Run
from ..requests import HARMFUL, spokesman
from ..trajectories.trajectory import Trajectory, from_run

INTERNAL = ("refusal_cosine_to_base", "refusal_gap_frozen", "refusal_auc_frozen")
BEHAVIOURS = ("tokens", "thought", "backtracks")
Layer = int | Literal["all"] | None  # None: the middle one


class Pair(NamedTuple):
    """A metric and a score, and how both came from different generations."""

    x: str
    x_kind: str  # "internal" or "behaviour"
    x_domain: str
    x_layer: int
    y_domain: str
    y_group: str
    split: str  # "A/B": x from the items of half A, y from half B; "none": x never shared y's generations


def pairs(
    run: Run, trajectories: Mapping[str, Trajectory], layer: Layer = None
) -> dict[Pair, tuple[pd.Series, pd.Series]]:
    """x and y by step for every pair of a metric and a domain's score.

    Internal metrics at `layer`, by default the middle one of those measured: fixed in advance, not the best. Behaviours are
    those of the score's own domain, of the in-domain reasoning domains, and the refusal rate. Where x and y would come from
    the same generations, x is computed from the items of half A and y from half B. What is absent is skipped, unless the run
    declared it: that has empty series.
    """
    declared = declared_associations(run.info)
    internal = _internal(run, layer, [*INTERNAL, *(d.x for d in declared if not d.x_domain)])
    behaviours = {(d, m): from_run(run, d, m) for d in trajectories for m in BEHAVIOURS if m in run.item_metrics(d)}
    found: dict[Pair, tuple[pd.Series, pd.Series]] = {}
    for domain, y in trajectories.items():
        whole, half_b = y.series(), half_series(y, "B")
        for (x, at), series in internal.items():
            found[Pair(x, "internal", "", at, domain, str(y.group), "none")] = (series, whole)
        for (x_domain, x), t in _behaviours(behaviours, trajectories, domain).items():
            same = x_domain == domain
            series, against = (half_series(t, "A"), half_b) if same else (t.series(), whole)
            found[Pair(x, "behaviour", x_domain, -1, domain, str(y.group), "A/B" if same else "none")] = (
                series,
                against,
            )
    for d in declared:
        if not any(d.covers(p.x, p.x_domain, p.y_domain) for p in found):
            found |= _declared(run, trajectories, d)
    return found


def half_series(trajectory: Trajectory, which: str) -> pd.Series:
    """The mean over the items of one half by step; empty where only aggregates are known."""
    return pd.Series(dtype=float) if trajectory.matrix is None else trajectory.half(which).series()


def middle(layers: Sequence[int]) -> int:
    """The middle one of some layers (the upper of two): a choice that does not look at the data."""
    return sorted(layers)[len(layers) // 2]


# ---------------------------------------------------------------- parts


def _internal(run: Run, layer: Layer, metrics: Sequence[str]) -> dict[tuple[str, int], pd.Series]:
    found = {}
    for metric in dict.fromkeys(metrics):
        table = run.measurements(metric=metric)
        if len(table) and (table["domain"] == "").any():
            table = table[table["domain"] == ""]
        if table.empty:
            continue
        measured = sorted(set(table["layer"]))
        for at in measured if layer == "all" else [middle(measured) if layer is None or measured == [-1] else layer]:
            rows = table[table["layer"] == at].drop_duplicates("step", keep="last")
            found[metric, int(at)] = rows.set_index("step")["value"].astype(float)
    return found


def _behaviours(
    known: Mapping[tuple[str, str], Trajectory], trajectories: Mapping[str, Trajectory], y_domain: str
) -> dict[tuple[str, str], Trajectory]:
    trained = [d for d, t in trajectories.items() if t.group == "id_reasoning"]
    wanted = [(d, m) for d in dict.fromkeys([y_domain, *trained]) for m in BEHAVIOURS]
    found = {at: known[at] for at in wanted if at in known}
    harmful = spokesman(HARMFUL, trajectories)  # its strict score is the share refused: a behaviour as well
    if harmful and y_domain != harmful:  # a score is no explanation of itself
        found[harmful, "strict"] = trajectories[harmful]
    return found


def _declared(
    run: Run, trajectories: Mapping[str, Trajectory], d: DeclaredAssociation
) -> dict[Pair, tuple[pd.Series, pd.Series]]:
    """A declared pair beyond those always related; with empty series, so that it is seen to be missing."""
    y = trajectories.get(d.y_domain)
    x_domain = d.x_domain or d.y_domain
    same = x_domain == d.y_domain
    x = from_run(run, x_domain, d.x) if d.x in run.item_metrics(x_domain) else None
    pair = Pair(d.x, "behaviour", x_domain, -1, d.y_domain, str(y.group) if y else "", "A/B" if same else "none")
    if x is None or y is None:
        return {pair: (pd.Series(dtype=float), pd.Series(dtype=float))}
    return {pair: (half_series(x, "A"), half_series(y, "B")) if same else (x.series(), y.series())}
