"""Tables of scores and of the items behind them, read and checked: every error says where and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError, first_line, nearest
from ..types import GROUPS

UNGROUPED = "ungrouped"
PER_ONE = {"percent": 100.0, "share": 1.0}  # units whose spread is known: those of a share of items
ENDINGS = (".csv", ".tsv", ".parquet")
ITEM_COLUMNS: list[str] = ["step", "benchmark", "item", "cluster", "value"]
LONGEST = 50  # characters of a name that an error quotes


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What stands behind a score."""

    group: str = UNGROUPED
    items: int | None = None  # independent questions; None where unknown
    samples_per_item: int = 1
    unit: str = ""  # "percent", "share", or any other; "" where unknown
    metric: str = ""  # of a harness that reports several for one task


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores by step, as shares where their unit is one."""

    benchmarks: dict[str, Benchmark]
    aggregates: pd.DataFrame  # step, benchmark, value
    items: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ITEM_COLUMNS))
    notes: tuple[str, ...] = ()  # what was left out, in words
    axes: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # step, and what the table says of epoch, tokens, cumulative_lr


def read_table(path: Path) -> pd.DataFrame:
    """A CSV, TSV or Parquet file. Raises DataError where it is none, or has no rows."""
    if not path.is_file():
        raise DataError(f"no file {path}")
    reader = {".parquet": pd.read_parquet, ".tsv": lambda p: pd.read_csv(p, sep="\t")}.get(path.suffix, pd.read_csv)
    try:
        table = reader(path)
    except (ValueError, OSError, pd.errors.ParserError) as error:  # pyarrow's errors are ValueErrors and OSErrors
        raise DataError(f"{path} is not a table (CSV, TSV or Parquet, by its ending): {first_line(error)}") from error
    table.columns = [str(c).strip() for c in table.columns]
    if len(table.columns) < 2 or table.empty:
        raise DataError(f"{path} holds no table: {len(table)} rows of the columns {list(table.columns)[:5]}")
    return table


def read_benchmarks(path: Path) -> dict[str, Benchmark]:
    """`benchmark, group, items, samples_per_item` and optionally `unit` (percent by default) and `metric`.

    Raises DataError for a missing column, an unknown group, an item count that is none, or a benchmark listed twice.
    """
    table = read_table(path)
    for column in ("benchmark", "group", "items"):
        if column not in table:
            raise DataError(f"{path} has no column `{column}`: {nearest(column, table.columns)}")
    found: dict[str, Benchmark] = {}
    for row in table.to_dict("records"):
        name = str(row["benchmark"]).strip()
        group = UNGROUPED if pd.isna(row["group"]) else str(row["group"]).strip()
        if group not in (*GROUPS, UNGROUPED):
            raise DataError(f"{path}: the group of {name!r} is {group!r}: {nearest(group, GROUPS)}")
        if name in found:
            raise DataError(f"{path} lists {name!r} twice")
        unit = row.get("unit")
        metric = row.get("metric")
        samples = row.get("samples_per_item")
        found[name] = Benchmark(
            group=group,
            items=_count(row["items"], f"{path}: the number of items of {name!r}"),
            samples_per_item=_count(samples, f"{path}: `samples_per_item` of {name!r}") or 1,
            unit="percent" if unit is None or pd.isna(unit) else str(unit).strip(),
            metric="" if metric is None or pd.isna(metric) else str(metric).strip(),
        )
    return found


def steps_of(values: pd.Series, where: str) -> pd.Series:
    """Whole steps of 0 or more; raises DataError naming the first that is none."""
    numbers = pd.to_numeric(values, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(float)) | (numbers < 0) | (numbers % 1 != 0)
    if bad.any():
        raise DataError(f"{where}: {values[bad].iloc[0]!r} is no step: whole numbers from 0 (the base) are")
    return numbers.astype(int)


def as_shares(values: pd.Series, name: str, benchmark: Benchmark, where: str) -> pd.Series:
    """Values in the unit of shares where theirs is one; raises DataError for what is no number or outside the unit."""
    numbers = pd.to_numeric(values, errors="coerce")
    text = numbers.isna() & ~values.isna()
    if text.any():
        raise DataError(f"{where}: {values[text].iloc[0]!r} in {name!r} is not a number")
    if np.isinf(numbers.to_numpy(float)).any():
        raise DataError(f"{where}: {name!r} holds an infinite value")
    most = PER_ONE.get(benchmark.unit)
    if most is None:
        return numbers.astype(float)
    outside = (numbers < 0) | (numbers > most)
    if outside.any():
        raise DataError(
            f"{where}: {numbers[outside].iloc[0]:g} in {name!r} is no {benchmark.unit} (0 to {most:g}): mend it, or name "
            "another `unit` in the items table (`share` for 0 to 1; any other unit gets no interval)"
        )
    return numbers / most


def check_units(columns: dict[str, pd.Series], benchmarks: dict[str, Benchmark], where: str) -> None:
    """Percent is the default, so a table of shares would be read a hundred times too low: that is an error."""
    percent = [n for n in columns if benchmarks[n].unit == "percent"]
    highest = max((float(pd.to_numeric(columns[n], errors="coerce").max()) for n in percent), default=2.0)
    if percent and highest <= 1 and any(columns[n].nunique() > 1 for n in percent):
        raise DataError(
            f"{where}: no score is above {highest:g}, though they are read as percent: if they are shares, say so with a "
            "column `unit` in the items table (`share`)"
        )


def check_repeats(table: pd.DataFrame, by: Sequence[str], where: str) -> None:
    """Raises DataError naming the first combination of `by` that stands twice."""
    twice = table.duplicated(list(by), keep=False)
    if twice.any():
        first = table[twice].iloc[0]
        named = ", ".join(f"{c} {str(first[c])[:LONGEST]}" for c in by)
        raise DataError(f"{where}: {named} stands {int((table[list(by)] == first[list(by)]).all(axis=1).sum())} times")


def _count(value: object, what: str) -> int | None:
    if value is None or pd.isna(value):
        return None
    number = pd.to_numeric(pd.Series([value]), errors="coerce").iloc[0]
    if not np.isfinite(number) or number < 1 or number % 1:
        raise DataError(f"{what} is {value!r}: a whole number from 1 is needed")
    return int(number)
