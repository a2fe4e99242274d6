"""Reading single numbers out of a run for the findings, and the files they came from."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ..record import Run
from ..types import Estimate


def estimate_at(run: Run, metric: str, step: int, *, domain: str = "", layer: int | None = None) -> Estimate | None:
    """A measured metric at a step, or None where it was not measured (or failed)."""
    table = run.measurements(metric=metric, domain=domain, layer=layer)
    if len(table):
        table = table[table["step"] == step]
    return row_estimate(table.iloc[-1]) if len(table) else None


def row_estimate(row: pd.Series) -> Estimate:
    return Estimate(float(row["value"]), float(row["lo"]), float(row["hi"]), int(row["n"]), str(row["method"]))


def files_of(run: Run, metrics: Iterable[str], steps: Iterable[int | None], *, domain: str = "") -> tuple[str, ...]:
    """The measurement files that hold these metrics at these steps, and the item files beside them."""
    table = run.measurements(domain=domain)
    if table.empty:
        return ()
    wanted = {s for s in steps if s is not None}
    rows = table[table["metric"].isin(list(metrics)) & table["step"].isin(wanted)].sort_values("step")
    measured = list(dict.fromkeys(rows["file"]))
    items = [f.replace("measurements/", "items/", 1) for f in measured]
    return tuple(measured + [f for f in items if (run.path / f).is_file()])


def is_declared(run: Run, domain: str, metric: str = "strict") -> bool:
    """Whether the run declared this outcome as primary before it started (`analysis.primary`)."""
    declared = (run.info.get("primaries") or {}).get("declared") or []
    return domain in declared or f"{domain}.{metric}" in declared
