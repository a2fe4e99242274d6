"""From a run's rows to a figure of the page: the chart, its caption, a description for those who cannot see it, a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from . import figures
from .source import Source
from .tables import Table, by_step, number
from .text import visible

SHARE = (0.0, 1.0)
BANDS = "Bands: 95 % intervals of each checkpoint alone"


@dataclass(frozen=True, slots=True)
class Figure:
    id: str
    section: str
    title: str
    chart: Any  # an altair chart
    shows: str
    omits: str  # what it does not show
    table: Table


def by_domain(source: Source, rows: pd.DataFrame, **rest: Any) -> Figure | None:
    """Panels are domains, coloured by group and in the groups' order."""
    if rows.empty:
        return None
    rank = {d: i for i, d in enumerate(source.groups)}
    colours = {d: figures.GROUP_COLOURS.get(g, figures.BLUE) for d, g in source.groups.items()}
    rows = rows.assign(panel=rows["domain"].map(source.panel), colour=rows["domain"].map(colours))
    rows = rows.iloc[rows["domain"].map(rank).argsort(kind="stable")]
    return make(source, rows, **rest)


def by_metric(source: Source, panels: Mapping[str, str], **rest: Any) -> Figure | None:
    """Panels are metrics, lines are domains."""
    rows = concat([source.metric(m).assign(panel=panel) for m, panel in panels.items()])
    if len(rows):
        rows = rows.assign(series=rows["domain"].map(source.name_of))
    return make(source, rows, **rest)


def make(
    source: Source,
    rows: pd.DataFrame,
    *,
    id: str,
    section: str,
    title: str,
    y: str,
    shows: str,
    omits: str,
    domain: figures.Bounds | None = None,
    base: bool = False,
    level: float | None = None,
) -> Figure | None:
    """A figure of small multiples, or None without a single number. The rest is as in `figures.multiples`."""
    if rows.empty or rows["value"].isna().all():
        return None
    known = rows.groupby("panel")["value"].transform("count") > 0
    if not known.all():
        empty = ", ".join(str(panel).replace("|", ", ") for panel in dict.fromkeys(rows.loc[~known, "panel"]))
        rows, shows = rows[known], f"{shows} Undefined at every checkpoint, and so not drawn: {empty}."
    kept = [c for c in ("domain", "panel", "series", "colour", "step", "value", "lo", "hi", "n", "mark") if c in rows]
    if "domain" in kept:
        rows = rows.assign(domain=rows["domain"].map(visible))
        if not rows["domain"].all():
            kept.remove("domain")
    chart = figures.multiples(
        rows[kept],
        title=title,
        description=describe(title, rows),
        y=y,
        steps=source.steps,
        domain=domain,
        base=base,
        level=level,
        rules=source.rules,
        axes=source.axes,
    )
    return Figure(id, section, title, chart, shows, omits, by_step(rows, _names(rows)))


def concat(parts: list[pd.DataFrame]) -> pd.DataFrame:
    parts = [p for p in parts if len(p)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _names(rows: pd.DataFrame) -> list[str]:
    return [c for c in ("panel", "series") if c in rows]


def describe(title: str, rows: pd.DataFrame, unit: str = "step") -> str:
    """For those who cannot see the chart: its lines, each with its first and last value."""
    parts = []
    for name, part in rows.groupby(_names(rows), sort=False):
        part = part.sort_values(unit)
        (first, start), (last, end) = part[["value", unit]].iloc[[0, -1]].to_numpy()
        label = ", ".join(str(n).split("|")[0] for n in name)
        parts.append(f"{label}: {number(float(first))} at {unit} {start:g} to {number(float(last))} at {unit} {end:g}")
    return f"{title}. {'; '.join(parts)}. The data is in the table below."


def ruled(source: Source) -> str:
    """What the vertical lines are."""
    words = []
    for what, (dash, _, _) in figures.RULES.items():
        at = source.rules.loc[source.rules["what"] == what, "at"]
        if len(at):
            words.append(f"{dash}, {what} (step {', '.join(str(int(s)) for s in at)})")
    return f"Vertical lines: {'; '.join(words)}." if words else ""
