"""The conditional-generalisation table: gain over base per domain group, by data within each model, with intervals.

From runs the gains are paired by item with their own base. From a table of scores nothing is paired: the unpaired
reading decides, and a second one that assumes how strongly scores on the same items go together is labelled as an
assumption wherever it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, nearest
from ..findings.wording import listing
from ..types import GROUPS
from .contrasts import (
    ASSUMED_CORRELATION,
    Block,
    Contrast,
    aggregate_block,
    all_contrasts,
    inseparable,
    item_block,
    mean_block,
)
from .score_tables import Benchmark, ItemColumns, Scores, to_shares

UNPAIRED = "unpaired"
ASSUMED = f"assumed paired, r = {ASSUMED_CORRELATION:g}"
PAIRED = "paired by item"
POINTS = 100.0  # tables and sentences speak of points: a hundredth of a share


@dataclass(frozen=True, slots=True)
class ConditionalTable:
    """Gains and differences in points. `sampling` says what the interval rests on; rows of `assumed …` never decide."""

    by: tuple[str, ...]
    condition: str
    base: str
    cells: pd.DataFrame  # by…, benchmark, group, condition, score, gain, lo, hi, n, sampling: each interval by itself
    groups: pd.DataFrame  # by…, group, condition, rank, gain, lo, hi, n, letters, benchmarks, left_out, sampling: joint
    pairs: pd.DataFrame  # by…, group, higher, lower, difference, lo, hi, n, separated, sampling: joint with the gains
    notes: tuple[str, ...] = field(default=())

    @property
    def deciding(self) -> str:
        """The sampling whose rows decide."""
        return PAIRED if (self.groups["sampling"] == PAIRED).any() else UNPAIRED

    def families(self) -> list[tuple[str, ...]]:
        """The models (or whatever `by` names), in the order of the table."""
        return [tuple(map(str, row)) for row in self.groups[list(self.by)].drop_duplicates().itertuples(index=False)]

    def of(
        self, table: str, family: Sequence[str], group: str | None = None, sampling: str | None = None
    ) -> pd.DataFrame:
        """The rows of `cells`, `groups` or `pairs` of one family, and group; of the deciding sampling unless another
        is named.
        """
        rows: pd.DataFrame = getattr(self, table)
        keep = rows["sampling"] == (sampling or self.deciding)
        for column, value in zip(self.by, family, strict=True):
            keep &= rows[column].astype(str) == value
        if group is not None:
            keep &= rows["group"] == group
        return rows[keep]

    def inseparable(self, family: Sequence[str], group: str, sampling: str | None = None) -> list[tuple[str, ...]]:
        """The largest sets of conditions (base included) among which the items separate none, best first."""
        rows = self.of("groups", family, group, sampling)
        sets: dict[str, list[str]] = {}
        for row in rows.sort_values("rank").itertuples():
            for letter in str(row.letters):
                sets.setdefault(letter, []).append(str(row.condition))
        return [tuple(sets[k]) for k in sorted(sets)]


@dataclass(frozen=True, slots=True, eq=False)
class ItemGains:
    """One benchmark of one model: each item's gain over its own base under each condition."""

    benchmark: str
    group: str
    gains: Mapping[str, NDArray]  # condition -> [items], the same items in the same order
    clusters: NDArray | None = None
    scores: Mapping[str, float] = field(default_factory=dict)  # condition -> mean score, for the table


def conditional_table(
    scores: pd.DataFrame,
    items: pd.DataFrame,
    *,
    by: Sequence[str] = ("model",),
    condition: str = "data",
    base: str = "base",
    item_columns: ItemColumns | None = None,
) -> ConditionalTable:
    """Gain over the row `base` per group of benchmarks, by `condition` within each `by`, from scores of which only
    aggregates are known.

    `scores` is wide: label columns, a column per benchmark. `items` says group, number of questions and (optionally)
    unit of each. All gains and differences of one family (model) hold together with 95 %; a group's gain is the mean
    over the benchmarks that all conditions of the family have. Raises ConfigError for unknown columns or base,
    DataError for values that cannot be scores.
    """
    by = tuple(by)
    if not by or condition in by:
        raise ConfigError(
            f"--by {list(by)} and --condition {condition!r}: name at least one other column to compare within"
        )
    read = to_shares(scores, items, (*by, condition), item_columns)
    table = read.shares
    _check_labels(table, by, condition, base)
    build = _Builder(by, condition, base, list(read.notes))
    for key, rows in table.groupby(list(by), sort=False):
        family = tuple(map(str, key if isinstance(key, tuple) else (key,)))
        values = rows.set_index(rows[condition].astype(str))[[b.name for b in read.benchmarks]]
        _aggregate_family(build, family, values, read)
    _raw_cells(build, read)
    return build.table()


def conditional_from_items(
    families: Mapping[tuple[str, ...], Sequence[ItemGains]],
    *,
    by: Sequence[str] = ("model",),
    condition: str = "condition",
    base: str = "base",
    notes: Sequence[str] = (),
) -> ConditionalTable:
    """As `conditional_table`, where every item is known: gains paired by item with their own base, clustered by
    question.

    Differences between conditions are differences in differences, paired by item too. Training noise is not in the
    intervals.
    """
    build = _Builder(tuple(by), condition, base, list(notes))
    for family, parts in families.items():
        names = list(dict.fromkeys(c for p in parts for c in p.gains))
        complete: dict[str, list[Block]] = {}
        left_out: dict[str, list[str]] = {}
        for part in parts:
            for name, gains in part.gains.items():
                zero = np.zeros(len(gains))
                block = item_block(part.benchmark, np.stack([zero, gains], axis=1), part.clusters)
                score = part.scores.get(name, math.nan)
                build.cell(family, part.group, part.benchmark, name, score, {part.group: block}, PAIRED)
            absent = [n for n in names if n not in part.gains]
            if absent:
                left_out.setdefault(part.group, []).append(part.benchmark)
                build.notes.append(_left_out_note(family, part.group, part.benchmark, absent))
                continue
            zero = np.zeros(len(next(iter(part.gains.values()))))
            matrix = np.stack([zero, *(part.gains[n] for n in names)], axis=1)
            complete.setdefault(part.group, []).append(item_block(part.benchmark, matrix, part.clusters))
        build.family(family, [base, *names], complete, left_out, PAIRED)
    return build.table()


# ---------------------------------------------------------------- families


def _aggregate_family(build: _Builder, family: tuple[str, ...], values: pd.DataFrame, read: Scores) -> None:
    empty = [c for c in values.index if values.loc[c].isna().all()]
    for name in empty:
        build.notes.append(f"{', '.join(family)}: {name} has no score that can be compared")
    values = values.drop(index=empty)
    names = [n for n in values.index if n != build.base]
    if build.base not in values.index:
        build.notes.append(f"{', '.join(family)}: no row {build.base!r}, so no gains over it")
    else:
        names = [build.base, *names]
    values = values.loc[names]
    complete: dict[str, list[tuple[Benchmark, list[float]]]] = {}
    left_out: dict[str, list[str]] = {}
    for benchmark in read.benchmarks:
        column = values[benchmark.name]
        _aggregate_cells(build, family, benchmark, column)
        absent = [n for n in names if math.isnan(column[n])]
        if absent:
            left_out.setdefault(benchmark.group, []).append(benchmark.name)
            build.notes.append(_left_out_note(family, benchmark.group, benchmark.name, absent))
        else:
            complete.setdefault(benchmark.group, []).append((benchmark, [float(column[n]) for n in names]))
    for group in left_out:
        if group not in complete:
            build.notes.append(
                f"{', '.join(family)}: {group} has no benchmark that all conditions have, and so no mean"
            )
    if len(names) < 2:
        build.notes.append(
            f"{', '.join(family)}: only {listing(names) or 'nothing'} is there, with nothing to compare it with"
        )
        return
    for sampling, correlation in ((UNPAIRED, 0.0), (ASSUMED, ASSUMED_CORRELATION)):
        blocks = {
            g: [aggregate_block(b.name, x, b.items, correlation) for b, x in members] for g, members in complete.items()
        }
        build.family(family, names, blocks, left_out, sampling)


def _aggregate_cells(build: _Builder, family: tuple[str, ...], benchmark: Benchmark, column: pd.Series) -> None:
    for name, score in column.items():
        if name == build.base or build.base not in column.index or math.isnan(score):
            continue
        start = float(column[build.base])
        for sampling, correlation in ((UNPAIRED, 0.0), (ASSUMED, ASSUMED_CORRELATION)):
            blocks = {}
            if not math.isnan(start):
                blocks[benchmark.group] = aggregate_block(benchmark.name, [start, score], benchmark.items, correlation)
            build.cell(family, benchmark.group, benchmark.name, str(name), float(score), blocks, sampling)


def _raw_cells(build: _Builder, read: Scores) -> None:
    """Scores without a sampling model: their gains in their own unit, without an interval."""
    labels = list(read.labels)
    for name in (c for c in read.raw.columns if c not in labels):
        for key, rows in read.raw.groupby(list(build.by), sort=False):
            family = tuple(map(str, key if isinstance(key, tuple) else (key,)))
            values = rows.set_index(rows[build.condition].astype(str))[name]
            start = float(values[build.base]) if build.base in values.index else math.nan
            for condition, score in values.items():
                if condition != build.base and not math.isnan(score):
                    build.raw_cell(family, str(name), str(condition), float(score), float(score) - start)


def _left_out_note(family: tuple[str, ...], group: str, benchmark: str, absent: Sequence[str]) -> str:
    return f"{', '.join(family)}: {benchmark} is missing for {listing(absent)}, and left out of the mean of {group}"


def _check_labels(table: pd.DataFrame, by: tuple[str, ...], condition: str, base: str) -> None:
    labels = [*by, condition]
    if table[labels].isna().any(axis=None):
        row = int(np.flatnonzero(table[labels].isna().any(axis=1))[0])
        raise DataError(f"row {row + 1} of the scores has no {' or '.join(labels)}: every row needs them")
    twice = table[labels][table.duplicated(labels)]
    if len(twice):
        named = ", ".join(map(str, twice.iloc[0]))
        raise DataError(
            f"two rows of scores for {named}: give each one row, or name the column that tells them apart in --by"
        )
    if base not in set(table[condition].astype(str)):
        raise ConfigError(
            f"no row whose {condition} is {base!r}, the base: {nearest(base, set(table[condition].astype(str)))}"
        )


# ---------------------------------------------------------------- rows


class _Builder:
    """Collects the rows of a conditional table."""

    def __init__(self, by: tuple[str, ...], condition: str, base: str, notes: list[str]) -> None:
        self.by, self.condition, self.base, self.notes = by, condition, base, notes
        self._cells: list[dict] = []
        self._groups: list[dict] = []
        self._pairs: list[dict] = []

    def cell(
        self,
        family: tuple[str, ...],
        group: str,
        benchmark: str,
        condition: str,
        score: float,
        block: Mapping[str, Block],
        sampling: str,
    ) -> None:
        row: dict[str, Any] = {**self._key(family), "benchmark": benchmark, "group": group, "condition": condition}
        row |= {"score": score * POINTS, "gain": math.nan, "lo": math.nan, "hi": math.nan, "n": 0}
        for c in all_contrasts(block, sampling, joint=False):
            e = c.estimate  # base minus condition
            row |= {"gain": -e.value * POINTS, "lo": -e.hi * POINTS, "hi": -e.lo * POINTS, "n": e.n}
        self._cells.append(row | {"unit": "points", "sampling": sampling})

    def raw_cell(self, family: tuple[str, ...], benchmark: str, condition: str, score: float, gain: float) -> None:
        row: dict[str, Any] = {**self._key(family), "benchmark": benchmark, "group": "", "condition": condition}
        row |= {
            "score": score,
            "gain": gain,
            "lo": math.nan,
            "hi": math.nan,
            "n": 0,
            "unit": "its own",
            "sampling": "unknown",
        }
        self._cells.append(row)

    def family(
        self,
        family: tuple[str, ...],
        names: Sequence[str],
        complete: Mapping[str, Sequence[Block]],
        left_out: Mapping[str, Sequence[str]],
        sampling: str,
    ) -> None:
        blocks = {g: mean_block(g, complete[g]) for g in sorted(complete, key=group_order)}
        contrasts = all_contrasts(blocks, sampling)
        for group, block in blocks.items():
            mine = [c for c in contrasts if c.group == group]
            order = sorted(range(len(names)), key=lambda i: -block.mean_K[i])
            letters = _letters(names, order, mine)
            have_base = names[0] == self.base
            about = {"benchmarks": " ".join(b.benchmark for b in complete[group])}
            about |= {"left_out": " ".join(left_out.get(group, ())), "sampling": sampling}
            for rank, i in enumerate(order, 1):
                row = self._key(family) | {"group": group, "condition": names[i], "rank": rank}
                row |= {"gain": 0.0 if have_base else math.nan, "lo": math.nan, "hi": math.nan, "n": block.n}
                for c in mine:
                    if have_base and c.a == 0 and c.b == i:
                        e = c.estimate
                        row |= {"gain": -e.value * POINTS, "lo": -e.hi * POINTS, "hi": -e.lo * POINTS}
                self._groups.append(row | {"letters": letters[names[i]]} | about)
            self._pairs += [self._key(family) | _pair(c, names) | {"sampling": sampling} for c in mine]

    def table(self) -> ConditionalTable:
        cells, groups, pairs = (pd.DataFrame(rows) for rows in (self._cells, self._groups, self._pairs))
        if groups.empty:
            raise DataError("nothing can be compared: " + ("; ".join(dict.fromkeys(self.notes)) or "no scores"))
        return ConditionalTable(
            self.by, self.condition, self.base, cells, groups, pairs, tuple(dict.fromkeys(self.notes))
        )

    def _key(self, family: tuple[str, ...]) -> dict[str, str]:
        return dict(zip(self.by, family, strict=True))


def _pair(c: Contrast, names: Sequence[str]) -> dict:
    e, a, b = c.estimate, names[c.a], names[c.b]
    if e.value < 0:
        e, a, b = replace(e, value=-e.value, lo=-e.hi, hi=-e.lo), b, a
    row = {"group": c.group, "higher": a, "lower": b, "difference": e.value * POINTS}
    return row | {"lo": e.lo * POINTS, "hi": e.hi * POINTS, "n": e.n, "separated": c.separated}


def _letters(names: Sequence[str], order: Sequence[int], contrasts: Sequence[Contrast]) -> dict[str, str]:
    """A compact letter display (Piepho 2004): conditions that share a letter are not separated."""
    place = {i: k for k, i in enumerate(order)}
    ordered = [names[i] for i in order]
    moved = [replace(c, a=place[c.a], b=place[c.b]) for c in contrasts]
    letters = dict.fromkeys(names, "")
    for k, members in enumerate(inseparable(ordered, moved)):
        for name in members:
            letters[name] += chr(ord("a") + k % 26)
    return letters


def group_order(group: str) -> tuple[int, str]:
    return (GROUPS.index(group) if group in GROUPS else len(GROUPS), group)
