"""The numbers of a run as a tracker's rows: few names, each with its bounds, one row a step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any

import pandas as pd

from ..association.series import middle
from ..record import STEPS_FILE, Run
from ..types import Measurement

STEP = "train/step"

# Tracker's name -> metric, a series for each domain that has it, each with its bounds.
BY_DOMAIN = {
    "score": "score_strict",
    "finish": "finish_rate",
    "tokens": "tokens_restricted_mean",
    "backtracks_per_opportunity": "backtracks_per_opportunity",
    "cues_per_1k_tokens": "cues_per_1k_tokens",
    "refusal": "refusal_rate",
    "harmful_compliance": "harmful_compliance_rate",
    "over_refusal": "over_refusal_rate",
    "helpful": "helpful_rate",
    "heldout_loss": "heldout_loss",
}
LAYERED = ("refusal_cosine_to_base", "refusal_auc_frozen", "refusal_gap_frozen")  # at the middle layer only
TAKEN = ("train", "samples", "layers", "measurements")  # by what is no measured number
HELDOUT = "heldout"  # the probe of held-out rows, which is measured by the training process always


def step_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of steps.jsonl as a tracker's: `train/<column>`, the step among them. What was not measured is left out."""
    return {f"train/{name}": value for name, value in row.items() if value is not None}


def step_rows(run: Run) -> dict[int, dict[str, Any]]:
    """The rows of steps.jsonl by step, as they were written: a table would make floats of integers.

    Of a step that a resumed run trained again, the later row: it led to the weights. A torn last line is dropped.
    """
    file = run.path / STEPS_FILE
    whole = file.read_text().split("\n")[:-1] if file.exists() else []
    return {row["step"]: row for row in map(json.loads, filter(None, whole))}


def also_mirrored(run: Run) -> tuple[str, ...]:
    """`tracking.metrics` of the run's recipe: names of metrics, or patterns, that are mirrored beside the usual ones."""
    return tuple(tracking_of(run).get("metrics") or ())


def tracking_of(run: Run) -> dict[str, Any]:
    """The recipe's `tracking`; empty for runs that were not trained here."""
    return (run.info.get("config") or {}).get("tracking") or {}


def history(run: Run, steps: Sequence[int], *, probes: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """A row per checkpoint: `train/step` and every number that is measured (by `probes`, where given) and defined there."""
    table = run.measurements()
    if probes is not None and len(table):
        table = table[table["probe"].isin(probes)]
    found = measured_rows(table, also_mirrored(run))
    for step in steps:
        yield {STEP: step, **found.get(step, {})}


def measured_rows(table: pd.DataFrame, also: Sequence[str] = ()) -> dict[int, dict[str, float]]:
    """By step: `name`, `name_lower` and `name_upper` of the long table's metrics; undefined is absent, never 0.

    Metrics are those of `BY_DOMAIN` and `LAYERED`, and others whose name matches one of `also`: of several layers the whole
    (-1), or else the middle one. What would take another's name is left out (`left_out` tells of it).
    """
    rows: dict[int, dict[str, float]] = {}
    curves = _curves(table, also)
    owners = _owners(curves)
    for curve, found in curves:
        if owners.get(curve.name) == curve:
            for step, *numbers in found[["step", "value", "lo", "hi"]].itertuples(index=False, name=None):
                named = zip((curve.name, *curve.bounds), map(float, numbers), strict=True)
                kept = {key: n for key, n in named if isfinite(n) and owners.get(key, curve) == curve}
                rows.setdefault(int(step), {}).update(kept)
    return rows


def left_out(table: pd.DataFrame, also: Sequence[str] = ()) -> list[str]:
    """Which numbers have no curve since their name is another's, in words."""
    curves = _curves(table, also)
    owners = _owners(curves)
    told = []
    for curve, _ in curves:
        if owners.get(curve.name) != curve:
            told.append(f"{curve} has no curve: `{curve.name}` is {owners.get(curve.name, 'kept for other things')}")
        else:
            taken = {owners[name] for name in curve.bounds if name in owners}
            told += [
                f"{curve} has a curve without a bound: `{other.name}` is {other}" for other in sorted(taken, key=str)
            ]
    return told


@dataclass(frozen=True)
class Curve:
    """A series that a tracker draws."""

    name: str
    metric: str
    domain: str
    position: str

    @property
    def bounds(self) -> tuple[str, str]:
        return f"{self.name}_lower", f"{self.name}_upper"

    def __str__(self) -> str:
        return " ".join(filter(None, [f"`{self.metric}`", self.domain and f"of {self.domain!r}", self.position]))


def _curves(table: pd.DataFrame, also: Sequence[str]) -> list[tuple[Curve, pd.DataFrame]]:
    """What is to be drawn, the usual metrics first, and the rows of each."""
    if table.empty:
        return []
    names = {metric: name for name, metric in BY_DOMAIN.items()} | {metric: f"direction/{metric}" for metric in LAYERED}
    for metric in dict.fromkeys(table["metric"]):
        if metric not in names and any(fnmatchcase(metric, pattern) for pattern in also):
            names[metric] = metric
    kept = table[(table["status"] == "ok") & table["metric"].isin(names)]
    curves = []
    by_metric = dict(list(kept.groupby("metric")))
    for metric, shown in names.items():
        if (found := by_metric.get(metric)) is None:
            continue
        found = pd.concat([_at_one_layer(rows) for _, rows in found.groupby("domain")])
        if found.groupby(["step", "domain"])["position"].nunique().max() <= 1:
            found = found.assign(position="")
        for (domain, position), series in found.groupby(["domain", "position"]):
            name = "/".join(filter(None, [shown, domain, position]))
            curves.append((Curve(name, metric, domain, position), series))
    return curves


def _at_one_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a metric, of one domain, at one layer. Where each checkpoint has a single one, such as the best, that is
    it, though it moves."""
    if rows.groupby(["step", "position"])["layer"].nunique().max() <= 1:
        return rows
    layers = set(rows["layer"])
    return rows[rows["layer"] == (-1 if -1 in layers else middle(sorted(layers)))]


def _owners(curves: Sequence[tuple[Curve, pd.DataFrame]]) -> dict[str, Curve]:
    """Whose each name is: the first that takes it. A bound never takes a curve's."""
    owners: dict[str, Curve] = {}
    for curve, _ in curves:
        if curve.name.split("/")[0] not in TAKEN:
            owners.setdefault(curve.name, curve)
    return owners


def as_table(measured: Sequence[Measurement]) -> pd.DataFrame:
    """Measurements as rows of the long table."""
    flat = []
    for row in measured:
        record = asdict(row)
        estimate = record.pop("estimate")
        flat.append(record | estimate)
    return pd.DataFrame(flat)


def inline_probes(run: Run) -> list[str]:
    """The probes that the training process itself measures: by the recipe's `probes.during`, and held-out rows."""
    return [HELDOUT, *((run.info.get("probes") or {}).get("during") or ())]


def training_rows(
    run: Run, *, upto: int | None = None, also: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What the training process tells a tracker, again from the folder: (step, row) in order of steps, up to `upto`.

    `also` is what else to mirror than on record.

    A row holds the optimiser step's numbers and those measured inline at its checkpoint.
    """
    inline = inline_probes(run)
    table = run.measurements()
    table = table[table["probe"].isin(inline)] if len(table) else table
    measured = measured_rows(table, also_mirrored(run) if also is None else also)
    trained = step_rows(run)
    for step in sorted({*trained, *measured}):
        if upto is None or step <= upto:
            yield step, {STEP: step, **step_row(trained.get(step, {})), **measured.get(step, {})}
