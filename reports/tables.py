"""Numbers as tables of text, for those who cannot see a figure or want its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""  # what was left out, and where it is


def number(x: float | None, digits: int = 2) -> str:
    """Fixed digits, `–` where undefined; from three digits on, what would round to zero is shown in significant ones."""
    if x is None or math.isnan(x):
        return "–"
    if digits > 2 and x != 0 and abs(x) < 10.0**-digits:
        return f"{x:.{digits}g}"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    text = f"{x:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(value: float, lo: float, hi: float, digits: int = 2) -> str:
    """`0.62 [0.55, 0.68]`; the bare number where there is no interval."""
    if math.isnan(value):
        return "–"
    if math.isnan(lo) or math.isnan(hi):
        return number(value, digits)
    return f"{number(value, digits)} [{number(lo, digits)}, {number(hi, digits)}]"


def one_row_each(table: pd.DataFrame, key: Sequence[str]) -> None:
    """Raise ValueError with the first row whose `key` another row has too: one would hide the other."""
    columns = [c for c in key if c in table]
    again = table[table.duplicated(columns)]
    if len(again):
        first = {k: again[k].iloc[0] for k in columns}
        count = int((table[columns] == pd.Series(first)).all(axis=1).sum())
        named = ", ".join(f"{k} {v!r}" if isinstance(v, str) else f"{k} {v}" for k, v in first.items())
        raise ValueError(
            f"{count} rows have {named}: each place of a figure holds one, so give them names of their own"
        )


def by_step(table: pd.DataFrame, columns: Sequence[str], *, digits: int = 2, most: int = 200) -> Table:
    """A row per step, a column per panel (and series) of a long table with value, lo and hi.

    `columns` names the columns of `table` that together name a column of the result. Raises ValueError where two rows
    would stand in one cell.
    """
    one_row_each(table, [*columns, "step"])
    names = table[list(columns)].astype(str).agg(" · ".join, axis=1).str.replace("|", ", ")
    cells = pd.Series(
        [interval(v, lo, hi, digits) for v, lo, hi in table[["value", "lo", "hi"]].astype(float).to_numpy()],
        index=table.index,
    )
    long = pd.DataFrame({"step": table["step"], "column": names, "cell": cells})
    wide = long.pivot(index="step", columns="column", values="cell")
    return thinned(wide[list(dict.fromkeys(names))].fillna("–").reset_index(), most)


def thinned(table: pd.DataFrame, most: int = 200) -> Table:
    """A frame of text and steps as a Table; every k-th row and the last where there are more than `most`."""
    every = -(-len(table) // most) if len(table) else 1
    note = ""
    if every > 1:
        note = f"Every {every}th of {len(table):,} rows; the run folder holds them all."
        table = pd.concat([table.iloc[:-1:every], table.iloc[[-1]]])
    rows = tuple(tuple(str(v) for v in row) for row in table.itertuples(index=False))
    return Table(tuple(str(c) for c in table.columns), rows, note)
