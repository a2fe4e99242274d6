"""A table of last-checkpoint scores from anywhere: read, checked, and brought to shares. Nothing is guessed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ConfigError, DataError, nearest

SCALES = {"percent": 100.0, "share": 1.0}  # units that are shares; any other has no sampling model


@dataclass(frozen=True, slots=True)
class Benchmark:
    name: str
    group: str
    items: int  # questions behind a score; what its uncertainty is computed from
    scale: float  # value of a score that means "all"


@dataclass(frozen=True, slots=True)
class ItemColumns:
    """What the columns of an items table are called."""

    benchmark: str = "benchmark"
    group: str = "group"
    items: str = "items"
    unit: str = "unit"  # optional column


@dataclass(frozen=True, slots=True)
class Scores:
    shares: pd.DataFrame  # the label columns, and a column of shares per benchmark that has a sampling model
    labels: tuple[str, ...]
    benchmarks: tuple[Benchmark, ...]
    raw: pd.DataFrame  # label columns, and the scores that have none, in their own unit
    notes: tuple[str, ...] = field(default=())


def read_table(path: Path | str) -> pd.DataFrame:
    """A CSV or parquet file. Raises DataError for a file that is missing or no table."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no file at {path}: give a table of scores, as CSV or parquet")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError, UnicodeDecodeError) as error:  # pandas' and pyarrow's parser errors are ValueErrors
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path} is not a table that can be read ({told}): give CSV with a header line, or parquet"
        ) from error
    if table.shape[1] < 2 or table.empty:
        raise DataError(f"{path} has {len(table)} rows and {table.shape[1]} columns: that is no table of scores")
    return table


def need_columns(table: pd.DataFrame, names: Sequence[str], what: str) -> None:
    """Raises ConfigError naming the first column that is not there, and near names."""
    for name in names:
        if name not in table.columns:
            raise ConfigError(f"{what} has no column {name!r}: {nearest(name, map(str, table.columns))}")


def to_shares(
    scores: pd.DataFrame, items: pd.DataFrame, labels: Sequence[str], columns: ItemColumns | None = None
) -> Scores:
    """Scores with what the items table says of them; `labels` are the columns that are no scores.

    A column without items, or whose unit is no share, is kept apart and said. Raises ConfigError for an unknown
    column, DataError for scores outside their unit, repeated benchmarks, or text where a score should be.
    """
    need_columns(scores, labels, "the table of scores")
    known, notes = _benchmarks(items, columns or ItemColumns())
    shares, raw, used = scores[list(labels)].copy(), scores[list(labels)].copy(), []
    for name in (c for c in scores.columns if c not in labels):
        benchmark = known.get(str(name))
        values = pd.to_numeric(scores[name], errors="coerce")
        text = scores[name][values.isna() & scores[name].notna()]
        if benchmark is None:
            if len(text):
                notes.append(f"column {name!r} is neither a score nor a label: left out")
            else:
                raw[name] = values
                notes.append(
                    f"{name}: nothing says how many items stand behind it; no interval, and in no group's mean"
                )
            continue
        if len(text):
            raise DataError(
                f"{name} holds {text.iloc[0]!r}, which is no number: leave a cell empty where a score is missing"
            )
        if math.isnan(benchmark.scale):
            raw[name] = values
            notes.append(f"{name}: its unit is no share; no interval, and in no group's mean")
            continue
        _check_range(str(name), values, benchmark.scale, scores, labels)
        shares[name] = values / benchmark.scale
        used.append(benchmark)
    if not used:
        there = ", ".join(str(c) for c in scores.columns if c not in labels) or "none"
        raise ConfigError(
            f"no column of scores is a benchmark of the items table: columns {there}; benchmarks {', '.join(known)}"
        )
    _check_scale(shares, used, items, columns or ItemColumns())
    return Scores(shares, tuple(labels), tuple(used), raw, tuple(notes))


# ---------------------------------------------------------------- parts


def _benchmarks(items: pd.DataFrame, columns: ItemColumns) -> tuple[dict[str, Benchmark], list[str]]:
    need_columns(items, (columns.benchmark, columns.group, columns.items), "the items table")
    twice = items[columns.benchmark][items[columns.benchmark].duplicated()]
    if len(twice):
        raise DataError(f"the items table names {twice.iloc[0]!r} twice: give each benchmark one row")
    units = items[columns.unit] if columns.unit in items.columns else pd.Series("percent", index=items.index)
    found: dict[str, Benchmark] = {}
    notes: list[str] = []
    counts = pd.to_numeric(items[columns.items], errors="coerce")
    rows = zip(items[columns.benchmark].astype(str), items[columns.group].astype(str), counts, units, strict=True)
    for name, group, count, unit in rows:
        scale = SCALES.get(str(unit).strip().lower() if isinstance(unit, str) else "percent", math.nan)
        if not math.isnan(scale) and (math.isnan(count) or count < 1 or count != int(count)):
            raise DataError(
                f"the items table gives {name} {count:g} items: a whole number of questions, 1 or more, is needed"
            )
        found[name] = Benchmark(name, group, 0 if math.isnan(count) else int(count), scale)
    return found, notes


def _check_range(name: str, values: pd.Series, scale: float, scores: pd.DataFrame, labels: Sequence[str]) -> None:
    outside = values[(values < 0) | (values > scale) | np.isinf(values)]
    if len(outside):
        row = ", ".join(str(scores.loc[outside.index[0], label]) for label in labels)
        raise DataError(
            f"{name} is {outside.iloc[0]:g} ({row}), outside 0 to {scale:g}: mend it, or name its unit in the items table "
            "(`unit`: percent, share, or anything else for what is no share)"
        )


def _check_scale(shares: pd.DataFrame, used: Sequence[Benchmark], items: pd.DataFrame, columns: ItemColumns) -> None:
    """Percent is what scores are where nothing else is said; a table of shares read that way would be a hundred times
    too small.
    """
    if columns.unit in items.columns or any(b.scale != SCALES["percent"] for b in used):
        return
    largest = float(np.nanmax(shares[[b.name for b in used]].to_numpy(float), initial=0.0))
    if 0 < largest <= 0.01:
        raise DataError(
            f"the largest score is {100 * largest:g}, and scores are percent where the items table has no column "
            f"`{columns.unit}`: if these are shares, add `{columns.unit}` with `share`"
        )
