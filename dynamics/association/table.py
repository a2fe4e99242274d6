"""One table of associations: every pair of a metric and a score, by the level of the ladder that its data reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..primaries import DeclaredAssociation, declared_associations
from ..record import Run
from ..trajectories.trajectory import PRESENCE, Trajectory, from_run
from . import items, mixed, one_run, seeds
from .arms import arm_of, check_distinct
from .item_pairs import SAMPLES, item_pairs
from .one_run import Association
from .series import Layer, Pair, pairs

ONE_RUN, TRIAL_SWAP, MIXED, ITEMS = LEVELS = ("one run", "trial-swap", "mixed", "items")
COLUMNS = [
    *(
        "x",
        "x_kind",
        "x_domain",
        "x_layer",
        "y",
        "y_domain",
        "y_group",
        "level",
        "lag",
        "estimate",
        "lo",
        "hi",
        "p",
        "q",
    ),
    *("n", "n_eff", "n_seeds", "n_items", "null", "exploratory", "primary", "split", "reason"),
]


def association_table(run: Run, trajectories: Mapping[str, Trajectory], *, layer: Layer = None) -> pd.DataFrame:
    """Internal and behavioural metrics against every domain's score, in one run: a row per pair and level.

    `pairs` says which metrics and how generations are kept apart; `layer` is a block, `"all"`, or the middle one. All rows are
    exploratory: one run is one draw. Columns: `COLUMNS`; q as in `with_q`.
    """
    declared = declared_associations(run.info)
    rows: list[dict[str, Any]] = []
    for members in _by_score(pairs(run, trajectories, layer)):
        found = one_run.associate_each([x for _, x, _ in members], members[0][2])
        rows += [row(p, ONE_RUN, one_run.NULL, a, declared) for (p, _, _), a in zip(members, found, strict=True)]
    for pair, (x, y, clusters) in item_pairs(run, trajectories, layer).items():
        rows.append(row(pair, ITEMS, items.NULL, _by_prompt(pair, [x], [y], clusters), declared))
    return with_q(rows)


def associations(runs: Sequence[Run], *, arms: Sequence[object] | None = None, layer: Layer = None) -> pd.DataFrame:
    """Metrics against scores over several runs: trial-swap, mixed model and item level, a row per pair and level.

    Runs are swapped, and what they share removed, within an arm: the same base model, data and settings (`arm_of`), unless
    `arms` says of each run which it is. Rows are exploratory unless every run declared the pair before it started. Pairs that
    some run lacks are left out. Raises DataError where a run is given twice, or fewer than two are given.
    """
    if len(runs) < 2:
        raise DataError(
            f"{len(runs)} run given: associations over runs need two or more (`association_table` is for one)"
        )
    check_distinct(runs)
    arms = [arm_of(run) for run in runs] if arms is None else arms
    trajectories = [_judged(run) for run in runs]
    every = [set(declared_associations(run.info)) for run in runs]
    declared = list(set.intersection(*every))
    rows: list[dict[str, Any]] = []

    known = [pairs(run, t, layer) for run, t in zip(runs, trajectories, strict=True)]
    families: dict[Pair, list[Pair]] = {}
    for pair in known[0]:
        if all(pair in other for other in known):
            families.setdefault(pair._replace(x_layer=-1), []).append(pair)
    for members in families.values():
        y = [k[members[0]][1] for k in known]
        x = {p.x_layer: [k[p][0] for k in known] for p in members}
        swapped = seeds.trial_swap_layers(x, y, arms)
        for pair in members:
            found, p_family = swapped[pair.x_layer]
            rows.append(row(pair, TRIAL_SWAP, seeds.NULL, found, declared, p_family=p_family, replicated=True))
            fitted = mixed.mixed_association(x[pair.x_layer], y, arms)
            rows.append(row(pair, MIXED, mixed.NULL, fitted, declared, replicated=True))

    by_prompt = [item_pairs(run, t, layer) for run, t in zip(runs, trajectories, strict=True)]
    for pair in by_prompt[0]:
        if all(pair in other for other in by_prompt):
            xs, ys, clusters = zip(*(other[pair] for other in by_prompt), strict=True)
            found = _by_prompt(pair, xs, ys, {k: v for c in clusters for k, v in c.items()})
            rows.append(row(pair, ITEMS, items.NULL, found, declared, replicated=len(runs) >= items.MIN_RUNS))
    return with_q(rows)


def row(
    pair: Pair,
    level: str,
    null: str,
    found: Association,
    declared: Sequence[DeclaredAssociation] = (),
    *,
    p_family: float | None = None,
    replicated: bool = False,
) -> dict[str, Any]:
    """A row of the table; `p_family` is p for the maximum over the layers of its family, where the test gives one.

    Only what was declared before the run, and tested on several (`replicated`), is not exploratory.
    """
    primary = any(d.covers(pair.x, pair.x_domain, pair.y_domain) for d in declared)
    named = pair._asdict() | {"y": "score_strict"} | asdict(found)
    standing = {"level": level, "null": null, "primary": primary, "exploratory": not (primary and replicated)}
    return named | standing | {"p_family": found.p if p_family is None else p_family, "maximum": p_family is not None}


def with_q(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table of such rows, smallest q first, with q: corrected for the layers of a family, then across families.

    A family is one x metric at all layers against one score: within it p is that of the maximum statistic, or Bonferroni
    where the test has none. Across families of a level and kind of x, Benjamini-Hochberg of their smallest p; other members
    keep their ratio to it (Benjamini & Bogomolov 2014). Declared pairs are corrected among themselves only.
    """
    table = pd.DataFrame(list(rows), columns=[*COLUMNS, "p_family", "maximum"]).astype({"lag": "Int64"})
    if table.empty:
        return table[COLUMNS].astype({"p": float, "q": float})
    known = table[table["p"].notna()]
    family = known.groupby(["level", "x", "x_domain", "y_domain", "split"], sort=False)
    layers = family["p"].transform("size").where(~known["maximum"].astype(bool), 1)
    corrected = (known["p_family"] * layers).clip(upper=1.0).astype(float)
    table["q"] = np.nan
    sets = known["x_kind"].where(~known["primary"].astype(bool), "declared")
    for _, members in known.groupby([known["level"], sets]):
        of = family.ngroup()[members.index]
        smallest = corrected[members.index].groupby(of).transform("min")
        first = ~of.duplicated()
        across = pd.Series(_benjamini_hochberg(smallest[first].to_numpy()), index=of[first])
        ratio = np.where(smallest > 0, of.map(across) / smallest.where(smallest > 0, 1.0), float(len(across)))
        table.loc[members.index, "q"] = np.minimum(1.0, corrected[members.index] * ratio)
    order = table.sort_values(["q", "p"], na_position="last", kind="stable")
    return order[COLUMNS].reset_index(drop=True)


# ---------------------------------------------------------------- parts


def _judged(run: Run) -> dict[str, Trajectory]:
    return {d: from_run(run, d) for d in run.domains() if PRESENCE in run.item_metrics(d)}


def _by_prompt(
    pair: Pair, x: Sequence[pd.DataFrame], y: Sequence[pd.DataFrame], clusters: Mapping[str, object]
) -> Association:
    if pair.split == SAMPLES and all(t.empty for t in x):
        reason = "both come from the one response to each question: several samples a question would keep them apart"
        return Association.undefined(0, reason, n_seeds=len(x))
    return items.item_association(x, y, clusters)


def _by_score(found: Mapping[Pair, tuple[pd.Series, pd.Series]]) -> list[list[tuple[Pair, pd.Series, pd.Series]]]:
    """Pairs with the same series y together: they are computed at once."""
    groups: dict[int, list[tuple[Pair, pd.Series, pd.Series]]] = {}
    for pair, (x, y) in found.items():
        groups.setdefault(id(y), []).append((pair, x, y))
    return list(groups.values())


def _benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    from scipy.stats import false_discovery_control  # slow to import

    return false_discovery_control(p)
