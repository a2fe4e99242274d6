"""Heat maps of layers by checkpoints, with the cells marked that the null explains."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import pandas as pd

from .axes import NAMES, even, step_labels
from .figures import Bounds, finish, rounded

ROOM = 34  # pixels that a number in a cell needs
MOST_NUMBERED = 16  # layers: with more of them a cell is too low for a number
ROWS = {"layer": "layer", "fitted_at": "direction fitted at step"}
UNKNOWN = "#8c8c8c"
STROKE = "M-0.6,0.6L0.6,-0.6"  # an oblique line, as a path in a square of side 2


def digits_of(domain: Bounds) -> int:
    """Decimals with which two ends of a scale, and what lies between them, are told apart: two, more where it ends below
    0.1."""
    end = max(abs(bound) for bound in domain)
    return 2 if end >= 0.1 or end == 0 else 1 - math.floor(math.log10(end))


def heat_map(
    table: pd.DataFrame,
    *,
    title: str,
    description: str,
    unit: str,
    domain: Bounds,
    axes: pd.DataFrame | None = None,
    row: str = "layer",
) -> alt.LayerChart:
    """Layer x checkpoint (columns layer, step, value), or another `row` column. Cells without a value are grey with a `?`.

    Cells in which `within` (where there is such a column) is true lie inside their null: their number stands in parentheses,
    and where there is no room for numbers they are struck through. `axes` (index: step) can label the checkpoints.
    """
    layers = sorted(set(table[row]))
    steps = sorted(set(table["step"]))
    digits = digits_of(domain)
    height = len(layers) * min(28, max(9, 320 // max(1, len(layers))))
    bounds = [c for c in ("lo", "hi") if c in table]  # not drawn, and saved with the data
    extra = [c for c in ("null", "within") if c in table]
    tips = [
        alt.Tooltip(f"{row}:O"),
        alt.Tooltip("step:O"),
        alt.Tooltip("value:Q", title=unit, format=f".{digits + 1}f"),
    ]
    tips += [alt.Tooltip("null:Q", title="null, 99th percentile", format=".3f")] if "null" in extra else []
    frame = alt.Chart(rounded(table[[row, "step", "value", *bounds, *extra]])).encode(
        x=alt.X("step:O", title=even(NAMES["step"][0]), sort=steps, axis=alt.Axis(labelAngle=0)),
        y=alt.Y(f"{row}:O", title=ROWS[row], sort=layers[::-1]),
        tooltip=tips,
    )
    known, unknown = frame.transform_filter("isValid(datum.value)"), frame.transform_filter("!isValid(datum.value)")
    scale = alt.Scale(scheme="viridis", domain=list(domain), clamp=True)
    legend = alt.Legend(orient="top", gradientLength=180, title=unit, titleFontWeight="normal", format=f".{digits}~f")
    middle = domain[0] + 0.42 * (domain[1] - domain[0])
    on_cell = alt.condition(f"datum.value > {middle}", alt.value("black"), alt.value("white"))
    room = ROOM + 6 * bool(extra) + 6 * (digits - 2)
    roomy = f"width > {room * len(steps)}" if len(layers) <= MOST_NUMBERED else "false"
    parts: list[alt.Chart] = [
        known.mark_rect().encode(color=alt.Color("value:Q", scale=scale, legend=legend)),
        unknown.mark_rect(color=UNKNOWN),
        unknown.mark_text(text="?", color="black", fontSize=11),
    ]
    if len(layers) <= MOST_NUMBERED:
        number = f"format(datum.value, '.{digits}f')"
        told = f"datum.within ? '(' + {number} + ')' : {number}" if "within" in extra else number
        text = known.transform_calculate(told=told).mark_text(fontSize=10, opacity=alt.ExprRef(f"{roomy} ? 1 : 0"))
        parts.append(text.encode(text="told:N", color=on_cell))
    if "within" in extra and bool(table["within"].any()):
        struck = known.transform_filter("datum.within")
        look: dict[str, Any] = {"shape": STROKE, "size": 36, "strokeWidth": 1.2, "filled": False}
        line = struck.mark_point(**look, opacity=alt.ExprRef(f"{roomy} ? 0 : 0.9"))
        parts.append(line.encode(color=on_cell))
    chart = alt.layer(*parts).properties(height=height, width=600)
    return finish(chart, title, description, panels=0, axes=step_labels(axes, steps))
