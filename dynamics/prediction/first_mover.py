"""Which metric moved first: its dates in one run, and over runs a sign test of each metric against the out-of-domain score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from ..association.series import INTERNAL
from ..errors import DataError, nearest
from ..findings.evidence import files_of
from ..findings.wording import bounds, listing, number, plain_name
from ..record import Run
from ..trajectories.threshold import MIN_RUNS, Crossing, crossing, crossing_of_series, who_was_first
from ..trajectories.trajectory import Trajectory
from ..types import Estimate, Finding
from .of_runs import TARGET, measured_series, warning_table

DATES = "half of the final change, between two checkpoints; items by paired t-tests"


def crossings(run: Run, trajectories: Mapping[str, Trajectory]) -> dict[str, Crossing]:
    """When each score (by domain, dated by its items) and each internal metric (by the grid) made half of its final change."""
    dated = {domain: crossing(t) for domain, t in trajectories.items()}
    return dated | {metric: crossing_of_series(measured_series(run, metric)) for metric in INTERNAL}


def threshold_finding(run: Run, trajectories: Mapping[str, Trajectory]) -> Finding | None:
    """By which checkpoints scores and internal metrics of one run made half of their final change; None where nothing can be
    dated."""
    known = {name: c for name, c in crossings(run, trajectories).items() if c.defined}
    if not known:
        return None
    order = sorted(known, key=lambda name: (known[name].between or (0, 0))[0])
    first, before = order[0], known[order[0]]
    said = listing(f"{plain_name(name)} by {_when(known[name])}" for name in order)
    return Finding(
        id="association:half-change",
        kind="association",
        sentence=f"Half of its final change was made: {said}. In brackets 95 % of what the items leave open; a metric without "
        "them is dated by the checkpoints alone, as if it had no noise. "
        f"One run cannot say which moves first: {MIN_RUNS} runs can.",
        metric=first,
        verdict="exploratory",
        step=before.step,
        method=DATES,
        evidence=files_of(run, ["score_strict"], [before.step], domain=first if first in trajectories else ""),
        would_overturn=f"{MIN_RUNS} or more seeds in another order",
        exploratory=True,
        details={
            name: {"between": list(c.between or ()), "interval": list(c.interval) if c.interval else None, "n": c.n}
            for name, c in known.items()
        },
    )


def first_mover_table(
    table: pd.DataFrame, *, target: str = TARGET, run: str = "run", step: str = "step"
) -> pd.DataFrame:
    """Each column against the target, which made half of its change first: sign test over runs.

    `table` has a row per run and checkpoint (`warning_table` makes one of run folders). Columns of the result: `metric`, `runs`,
    `first`, `second`, `tied`, `undated`, `lead` (median, checkpoints), `lo`, `hi`, `p`, `p_holm` (corrected for the metrics),
    `reason`. Only checkpoints that have both values are used. Raises DataError for an unknown column.
    """
    for column in (target, run, step):
        if column not in table:
            raise DataError(f"no column {column!r} in the table: {nearest(column, map(str, table.columns))}")
    groups = [g.sort_values(step) for _, g in table.groupby(run)]
    rows = []
    for metric in (str(c) for c in table if c not in (run, step, target)):
        found = who_was_first([g[metric].to_numpy(float) for g in groups], [g[target].to_numpy(float) for g in groups])
        record = {k: v for k, v in asdict(found).items() if k not in ("lead", "share")}
        lead = {"lead": found.lead.value, "lo": found.lead.lo, "hi": found.lead.hi}
        rows.append({"metric": metric, "runs": len(groups)} | record | lead)
    columns = ["metric", "runs", "first", "second", "tied", "undated", "lead", "lo", "hi", "p", "reason"]
    result = pd.DataFrame(rows, columns=columns)
    result["p_holm"] = _holm(result["p"])
    return result.sort_values("p", na_position="last", kind="stable", ignore_index=True)


def first_mover_findings(runs: Sequence[Run]) -> list[Finding]:
    """Which metric made half of its change before the out-of-domain score did, over runs; none where nothing can be paired."""
    table = warning_table(runs)
    return order_findings(first_mover_table(table)) if TARGET in table else []


def order_findings(table: pd.DataFrame) -> list[Finding]:
    """The sentence of a `first_mover_table`; none where it is empty."""
    if table.empty:
        return []
    best = table.iloc[0]
    if np.isnan(best["p"]):
        sentence = f"Which metric moves before the out-of-domain score cannot be said: {best['reason']}."
        return [_finding(sentence, "undecidable", table)]
    tested = int(table["p"].notna().sum())
    kept = table[table["p_holm"] <= 0.05]
    metrics = f"{tested} metric{'s' * (tested != 1)} tested over runs"
    if kept.empty:
        sentence = (
            f"No metric is shown to move before or after the out-of-domain score: {metrics}, smallest corrected p "
            f"{number(float(best['p_holm']), 3)} ({plain_name(best['metric'])}; first in {best['first']} runs, second in "
            f"{best['second']}, at the same checkpoint in {best['tied']})."
        )
        return [_finding(sentence, "none", table)]
    parts = []
    for _, row in kept.iterrows():
        order = "before" if row["first"] > row["second"] else "after"
        agreeing = max(row["first"], row["second"])
        lead = f"median {number(abs(row['lead']), 0)} checkpoints {_turned(row)}"
        parts.append(
            f"{plain_name(row['metric'])} {order} it in {agreeing} of {row['runs']} runs ({lead}, p {number(row['p_holm'], 3)})"
        )
    sentence = f"Half of the change comes at another time than the out-of-domain score's: {listing(parts)}; {metrics}, corrected."
    return [_finding(sentence, "ordered", table)]


# ---------------------------------------------------------------- parts


def _finding(sentence: str, verdict: str, table: pd.DataFrame) -> Finding:
    best = table.iloc[0]
    lead = Estimate(float(best["lead"]), float(best["lo"]), float(best["hi"]), int(best["runs"]), "order-statistic")
    return Finding(
        id="association:first-mover",
        kind="association",
        sentence=sentence,
        metric=str(best["metric"]) if verdict == "ordered" else "",
        verdict=verdict,
        estimate=lead if verdict == "ordered" and lead.defined else None,
        method="checkpoints before half of the change; exact sign test over runs, Holm over metrics",
        would_overturn="more seeds in another order",
        exploratory=True,
        details={"table": table.replace({np.nan: None}).to_dict("records")},
    )


def _when(c: Crossing) -> str:
    assert c.between is not None
    after, by = c.between
    interval = (
        ""
        if c.interval is None
        else f" [{c.interval[0]}, {'the end or later' if c.interval[1] is None else c.interval[1]}]"
    )
    return f"steps {after}-{by}{interval}"


def _turned(row: pd.Series) -> str:
    lo, hi = sorted((row["lo"], row["hi"])) if row["lead"] >= 0 else sorted((-row["lo"], -row["hi"]))
    return bounds(float(lo), float(hi), 0)


def _holm(p: pd.Series) -> pd.Series:
    from statsmodels.stats.multitest import multipletests  # slow to import

    corrected = pd.Series(np.nan, index=p.index, dtype=float)
    known = p.dropna()
    if len(known):
        corrected[known.index] = multipletests(known.to_numpy(float), method="holm")[1]
    return corrected
