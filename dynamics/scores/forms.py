"""The forms that scores come in: a column per benchmark (wide), or a row per score or per answer (long)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..errors import DataError, nearest
from ..trajectories.trajectory import AXES
from .tables import (
    ITEM_COLUMNS,
    Benchmark,
    Scores,
    as_shares,
    check_repeats,
    check_units,
    read_benchmarks,
    read_table,
    steps_of,
)

LONG = {"benchmark", "score"}


def read_scores(path: Path, items: Path | None) -> Scores:
    """A table of scores: wide (`step` and a column per benchmark) or long (`step, benchmark, score`, and for single
    answers `item` and `sample`).

    A benchmark that the items table does not know has no number of items: it gets neither interval nor verdict. Columns
    `epoch`, `tokens` and `cumulative_lr` are further x-axes and no benchmarks.
    """
    table = read_table(path)
    known = read_benchmarks(items) if items is not None else {}
    if "step" not in table:
        raise DataError(f"{path} has no column `step`: {nearest('step', table.columns)}")
    table = table.assign(step=steps_of(table["step"], str(path))).sort_values("step", kind="stable")
    return _long(table, known, str(path)) if table.columns.isin(LONG).sum() == 2 else _wide(table, known, str(path))


def _wide(table: pd.DataFrame, known: dict[str, Benchmark], where: str) -> Scores:
    check_repeats(table, ["step"], where)
    axes = [c for c in AXES if c in table and c not in known]
    names = [c for c in table.columns if c != "step" and c not in axes]
    if not names:
        raise DataError(f"{where} has no score: no column beside {', '.join(['step', *axes])}")
    benchmarks = {n: known.get(n, Benchmark()) for n in names}
    check_units({n: table[n] for n in names}, benchmarks, where)
    parts = [
        pd.DataFrame({"step": table["step"], "benchmark": n, "value": as_shares(table[n], n, benchmarks[n], where)})
        for n in names
    ]
    aggregates = pd.concat(parts).dropna(subset="value")
    empty = [n for n in names if n not in set(aggregates["benchmark"])]
    notes = tuple(f"{n!r} holds no score" for n in empty)
    kept = {n: b for n, b in benchmarks.items() if n not in empty}
    if not kept:
        raise DataError(f"{where} holds no score: every cell beside `step` is empty")
    known_axes = table[["step", *axes]].apply(pd.to_numeric, errors="coerce") if axes else pd.DataFrame()
    return Scores(kept, aggregates.reset_index(drop=True), notes=notes, axes=known_axes)


def _long(table: pd.DataFrame, known: dict[str, Benchmark], where: str) -> Scores:
    table = table.assign(benchmark=table["benchmark"].astype(str))
    single = "item" in table
    by = ["step", "benchmark", *(c for c in ("item", "sample") if c in table)]
    check_repeats(table, by, where)
    benchmarks, parts = {}, []
    for name, rows in table.groupby("benchmark", sort=False):
        benchmark = known.get(str(name), Benchmark())
        if single and name not in known:  # answers show their own number
            benchmark = replace(benchmark, unit="share")
        benchmarks[str(name)] = benchmark
        parts.append(rows.assign(value=as_shares(rows["score"], str(name), benchmark, where)))
    if not single:
        check_units({n: table.loc[table["benchmark"] == n, "score"] for n in benchmarks}, benchmarks, where)
        scores = pd.concat(parts).dropna(subset="value")[["step", "benchmark", "value"]]
        return Scores(benchmarks, scores.reset_index(drop=True))
    answers = pd.concat(parts)
    return from_answers(answers.assign(cluster=answers["item"].astype(str)), benchmarks, where)


def from_answers(answers: pd.DataFrame, benchmarks: dict[str, Benchmark], where: str) -> Scores:
    """Scores from single answers: step, benchmark, cluster (the question), optionally sample, value.

    Several answers to a question are kept as items of one cluster. Raises DataError for a unit that is no share.
    """
    for name, benchmark in benchmarks.items():
        if benchmark.unit not in ("share", "percent"):
            raise DataError(
                f"{where}: single answers of {name!r} in the unit {benchmark.unit!r}: only shares and percent are judged "
                "item by item; give the means of other scores, in a table without `item`"
            )
    item = answers["cluster"]
    if "sample" in answers:
        item = item + "#" + answers["sample"].astype(str)
    items = answers.assign(item=item)[ITEM_COLUMNS].reset_index(drop=True)
    per_benchmark = items.groupby("benchmark")["cluster"].nunique()
    counted = {n: replace(b, items=int(per_benchmark[n])) for n, b in benchmarks.items()}
    means = items.groupby(["step", "benchmark"], as_index=False)["value"].mean()
    return Scores(counted, means.dropna(subset="value"), items)
