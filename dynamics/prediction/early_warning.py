"""Does a metric foretell a score, on runs that had no part in the fit, beyond what is known anyway?

A forecast is of the change of the target from a checkpoint to the k-th after it. A metric has skill only where a ridge with it
beats each of three rivals: the same ridge without it (the target's present value and the baselines), "no change", and the mean
change of the other runs. All look at how a run differs from the others at that step, so a trend that runs share earns nothing.
Runs are the units: five at least, as with R runs the smallest p is 1 / 2^R; "no skill" is an answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, nearest
from ..statistics.intervals import ratio
from .held_out import RIVALS, losses, p_values

LEADS = (1, 2, 4)  # checkpoints
MIN_UNITS = 5
ALPHA = 0.05
NULL = "sign flips of whole runs, largest studentised gain over metrics and leads"


@dataclass(frozen=True, slots=True)
class Skill:
    """Of one metric at one lead: 1 - squared error with it / squared error of the hardest rival."""

    metric: str
    lead: int
    skill: float
    lo: float  # jackknife over runs (over arms where they are left out whole)
    hi: float
    p: float  # that all three rivals are beaten, corrected for all metrics and leads; one-sided
    n: int  # runs, or arms
    rival: str  # the hardest
    verdict: str  # "skill", "no skill", "undefined"
    reason: str = ""


COLUMNS = ["metric", "lead", "skill", "lo", "hi", "p", "n", "rival", "verdict", "reason"]


def early_warning(
    table: pd.DataFrame,
    *,
    target: str,
    metrics: Sequence[str],
    baselines: Sequence[str],
    leads: Sequence[int] = LEADS,
    run: str = "run",
    step: str = "step",
    arm: str | None = None,
) -> pd.DataFrame:
    """Out-of-run skill of each metric at each lead, the surest first: columns as `Skill`.

    `table` has a row per run and checkpoint; the other arguments name its columns. Checkpoints that not all runs have are left
    out; `leads` count those that remain. With `arm`, whole arms are left out and are the units: the claim is then about new arms,
    without it about new runs of these. Rows with a missing value are left out of every forecast. Raises DataError for an unknown
    or repeated column or a repeated row, ConfigError for a lead below 1.
    """
    if not metrics or any(k < 1 for k in leads) or not len(leads):
        raise ConfigError(
            f"metrics {list(metrics)} at leads {list(leads)}: give one of each at least, leads of 1 or more"
        )
    cubes, labels, why = _arrange(table, [target, *baselines, *metrics], run, step, arm)
    if not why and cubes[target].shape[1] < max(leads) + 2:
        why = f"{cubes[target].shape[1]} checkpoints that all runs have, {max(leads) + 2} are needed for a lead of {max(leads)}"
    pairs = [(m, k) for m in metrics for k in leads]
    if why:
        return pd.DataFrame([_undefined(m, k, len(set(labels)), why) for m, k in pairs], columns=COLUMNS)
    y = cubes[target]
    base = np.stack([y, *(cubes[b] for b in baselines)], axis=-1)
    units = np.unique(labels)
    error = np.full((len(pairs), len(RIVALS) + 1, len(units)), np.nan)  # by unit: full, then rivals
    for i, (metric, k) in enumerate(pairs):
        lost = losses(y[:, k:] - y[:, :-k], base[:, :-k], cubes[metric][:, :-k], labels)
        by_run = np.concatenate([lost.full[None], lost.rivals])
        error[i] = np.stack([_mean_known(by_run[:, labels == u]) for u in units], axis=-1)
    # A unit without the metric has gained nothing by it; flipping its 0 changes nothing.
    gains = np.nan_to_num(error[:, 1:] - error[:, :1])
    p = np.max([p_values(gains[:, j]) for j in range(len(RIVALS))], axis=0)
    rows = [_row(m, k, error[i], float(p[i])) for i, (m, k) in enumerate(pairs)]
    found = pd.DataFrame(rows, columns=COLUMNS)
    return found.sort_values(
        ["p", "skill"], ascending=[True, False], na_position="last", kind="stable", ignore_index=True
    )


def _row(metric: str, lead: int, error: NDArray, p: float) -> dict[str, object]:
    known = np.isfinite(error).all(axis=0)
    n = int(known.sum())
    if n < MIN_UNITS:
        return _undefined(metric, lead, n, _too_few(n, "runs with a complete row"))
    full, rivals = error[0, known], error[1:, known]
    hardest = int(np.argmin(rivals.mean(axis=1)))
    skill = ratio(rivals[hardest] - full, rivals[hardest])
    if not np.any(rivals[hardest]):
        return _undefined(metric, lead, n, "the target never changes")
    verdict = "skill" if p <= ALPHA else "no skill"
    return asdict(Skill(metric, lead, skill.value, skill.lo, skill.hi, p, n, RIVALS[hardest], verdict))


def _arrange(
    table: pd.DataFrame, columns: list[str], run: str, step: str, arm: str | None
) -> tuple[dict[str, NDArray], NDArray, str]:
    """Each column as [runs, common checkpoints], the label of the unit of each run, and why nothing can be judged."""
    for column in [run, step, *([arm] if arm else []), *columns]:
        if column not in table:
            raise DataError(f"no column {column!r} in the table: {nearest(column, map(str, table.columns))}")
    twice = {c for c in columns if columns.count(c) > 1}
    if twice:
        raise DataError(f"{', '.join(sorted(twice))}: a column is target, baseline or metric, not two of them")
    if table.duplicated([run, step]).any():
        row = table[table.duplicated([run, step])].iloc[0]
        raise DataError(f"run {row[run]!r} has several rows for step {row[step]}: give one row per run and step")
    try:
        values = table.set_index([run, step])[columns].astype(float).replace([math.inf, -math.inf], math.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"the columns {columns} must hold numbers: {error}") from error
    wide = {c: values[c].unstack(step).sort_index(axis=1) for c in columns}
    known = wide[columns[0]].notna().all(axis=0)
    cubes = {c: w.loc[:, known].to_numpy(float) for c, w in wide.items()}
    runs = wide[columns[0]].index
    if arm is None:
        labels = np.arange(len(runs)).astype(str)
    else:
        arms = table.groupby(run)[arm].agg(["first", "nunique"]).loc[runs]
        if (arms["nunique"] > 1).any():
            raise DataError(f"run {arms.index[arms['nunique'] > 1][0]!r} lies in several arms: a run has one")
        labels = arms["first"].astype(str).to_numpy()
    units = len(set(labels))
    return cubes, labels, "" if units >= MIN_UNITS else _too_few(units, "arms" if arm else "runs")


def _too_few(n: int, what: str) -> str:
    what = what[:-1] if n == 1 and what.endswith("s") else what
    return f"{n} {what}, {MIN_UNITS} are needed: what was not used to fit must be forecast, and 1 / 2^R is the least p"


def _undefined(metric: str, lead: int, n: int, reason: str) -> dict[str, object]:
    return asdict(Skill(metric, lead, math.nan, math.nan, math.nan, math.nan, n, "", "undefined", reason))


def _mean_known(errors: NDArray) -> NDArray:
    """Mean over the runs [.., S] of a unit that have an error; NaN where none has."""
    known = np.isfinite(errors)
    total = np.where(known, errors, 0.0).sum(axis=-1)
    return np.where(known.any(axis=-1), total / np.maximum(known.sum(axis=-1), 1), np.nan)
