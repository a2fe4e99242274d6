"""Figures as pure functions of data frames: small multiples over training steps. Each returns an altair chart.

A frame is long: `panel` (or what panels are made of), `step`, `value`, `lo`, `hi`, `n`, and `series` where a panel holds
several lines. `usermeta` tells a page how to lay the panels out: how many there are, and how wide one must be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from .axes import choices, step_axis, with_axes
from .tables import interval, one_row_each

# Okabe & Ito (2008): told apart with any kind of colour vision; without the yellow and black, which vanish on a background.
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
GROUP_COLOURS = {"id_reasoning": BLUE, "ood_reasoning": VERMILLION, "general": GREEN, "safety": PURPLE}
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2], [4, 4], [1, 3])
INK = "currentColor"  # the page's own text colour: right on white, on black and on paper
PANEL_HEIGHT = 130
LABEL = 150  # pixels for the name of a row
CROWDED = 24  # with more checkpoints than this, points are small and have no bars of their own

Bounds = tuple[float, float]


# ---------------------------------------------------------------- small multiples


def multiples(
    table: pd.DataFrame,
    *,
    title: str,
    description: str,
    y: str,
    steps: Sequence[int],
    domain: Bounds | None = None,
    least: Bounds | None = None,
    base: bool = False,
    level: float | None = None,
    rules: pd.DataFrame | None = None,
    points: bool = True,
    axes: pd.DataFrame | None = None,
) -> alt.FacetChart:
    """A panel for each `panel`, in the order of their first rows: lines with interval bands over steps.

    `y` is the axis title with its unit; without `domain` every panel has its own scale, which spans `least` at the
    least. `colour` in the table colours whole
    panels; `series` draws several lines, told apart by colour, shape and dash. `base` rules in the value at step 0, `level`
    another one, `rules`
    (columns at, what) draws vertical lines, and `mark` in the table names points to be marked (a key of `MARKS`). Without
    `points` there are lines alone, of many steps and without intervals. `axes` (index: steps) holds what a page can put in
    the place of steps. Raises ValueError where two rows share panel, series and step.
    """
    one_row_each(table, ["panel", "series", "step"])
    x = step_axis(steps)
    rules = None if rules is None else with_axes(rules, axes, at="at")
    scale = alt.Scale(domain=list(domain), nice=False) if domain else alt.Scale(zero=False)
    value, low = (alt.Y(f"{column}:Q", title=y, scale=scale) for column in ("value", "lo"))
    paint = _series_encodings(list(dict.fromkeys(table["series"]))) if "series" in table else {}
    colour = paint.get("color") or alt.Color("colour:N", scale=None)
    layers: list[Any] = [] if rules is None else _vertical(rules, x)
    if base:
        at_base = alt.Chart().transform_filter("datum.step == 0")
        layers.append(at_base.mark_rule(strokeDash=[3, 3], color=INK, opacity=0.65).encode(y="mean(value):Q"))
    if level is not None:
        layers.append(_level(level).encode(y="level:Q"))
    line = alt.Chart().mark_line(strokeWidth=1.8, clip=True)
    layers.append(line.encode(x=x, y=value, color=colour, **_only(paint, "strokeDash")))
    if points:
        interval_encoding = {"x": x, "y": low, "y2": "hi:Q", "color": colour}
        # A point without an interval is drawn with one of no length; in the data, its interval stays empty.
        bounds = alt.Chart().transform_calculate(
            **{end: f"isValid(datum.{end}) ? datum.{end} : datum.value" for end in ("lo", "hi")}
        )
        layers.insert(-1, bounds.mark_area(opacity=0.2, clip=True).encode(**interval_encoding))
        crowded = len(set(table["step"])) > CROWDED
        if not crowded:
            layers.append(bounds.mark_rule(opacity=0.5, clip=True).encode(**interval_encoding))
        dot = alt.Chart().mark_point(filled=True, size=10 if crowded else 24, opacity=1)
        tips = [
            f"{name}:N" for name in ("panel", "series", "step", "estimate", "n") if name in table or name == "estimate"
        ]
        layers.append(dot.encode(x=x, y=value, color=colour, tooltip=tips, **_only(paint, "shape")))
        layers += _marked(table, x, value)
    if least and not domain:
        layers.append(_unseen(pd.DataFrame({"value": least})).encode(y=value))
    if len(set(table["step"])) < len(set(steps)):  # a figure of fewer checkpoints, even of one, has the room of all
        layers.append(_unseen(with_axes(pd.DataFrame({"step": [min(steps), max(steps)]}), axes)).encode(x=x))
    panels = list(dict.fromkeys(table["panel"]))
    facet = alt.Facet("panel:N", sort=panels, title=None, header=_HEADER)
    table = with_axes(table, axes)
    data = _with_intervals(table) if points else rounded(table.drop(columns=["lo", "hi"]))
    chart = alt.layer(*layers).properties(height=PANEL_HEIGHT).facet(data=data, facet=facet, columns=4)
    if domain is None:
        chart = chart.resolve_scale(y="independent")
    return finish(chart, title, description, panels=len(panels), own_y=domain is None, axes=choices(axes, steps))


# Shape, and how many pixels below the point.
MARKS = {
    "trough": ("triangle-down", 9),
    "recovered": ("triangle-up", -9),
    "at least": ("triangle-up", -9),
    "at most": ("triangle-down", 9),
}


def _marked(table: pd.DataFrame, x: alt.X, value: alt.Y) -> list[alt.Chart]:
    """Open triangles in the page's ink: nothing else in a panel looks like them."""
    look: dict[str, Any] = {"filled": False, "size": 60, "strokeWidth": 1.6, "stroke": INK, "opacity": 1}
    named = set(table["mark"]) if "mark" in table else set()
    return [
        alt.Chart()
        .transform_filter(f"datum.mark == '{name}'")
        .mark_point(shape=shape, yOffset=down, **look)
        .encode(x=x, y=value, tooltip=["panel:N", "mark:N", "step:N", "estimate:N"])
        for name, (shape, down) in MARKS.items()
        if name in named
    ]


def _with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """The frame with `estimate` as text for the tooltip."""
    numbers = table[["value", "lo", "hi"]].astype(float).to_numpy()
    text = [interval(value, lo, hi, 3) for value, lo, hi in numbers]
    return rounded(table.assign(estimate=text))


_HEADER = alt.Header(
    labelExpr="split(datum.label, '|')", labelFontSize=12, labelFontWeight="bold", labelLimit=230, labelPadding=4,
    labelAnchor="start", labelLineHeight=14,
)  # fmt: skip


def _series_encodings(names: Sequence[str]) -> dict[str, Any]:
    """Colour, shape and dash of the same lines in one legend."""
    size = len(names)

    def pick(values: Sequence[Any], shift: int = 0) -> list[Any]:
        """`shift`: how far every further round of the values is moved, so that no two lines are drawn alike."""
        return [values[(i + shift * (i // len(values))) % len(values)] for i in range(size)]

    legend = alt.Legend(title=None, orient="top", symbolOpacity=1, symbolStrokeWidth=0)  # a dashed outline is no help

    def scale(values: Sequence[Any], shift: int = 0) -> dict[str, Any]:
        return {
            "sort": list(names),
            "scale": alt.Scale(domain=list(names), range=pick(values, shift)),
            "legend": legend,
        }

    return {
        "color": alt.Color("series:N", **scale(PALETTE)),
        "shape": alt.Shape("series:N", **scale(SHAPES, 1)),
        "strokeDash": alt.StrokeDash("series:N", **scale(DASHES, 2)),
    }


def _only(paint: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: paint[name]} if name in paint else {}


def _level(at: float) -> alt.Chart:
    """A dashed line across each panel: drawn once, and not once a row of the data."""
    return alt.Chart(pd.DataFrame({"level": [at]})).mark_rule(strokeDash=[3, 3], color=INK, opacity=0.65)


def _unseen(ends: pd.DataFrame) -> alt.Chart:
    """Lines that nobody sees, at the ends that an axis must reach."""
    return alt.Chart(ends).mark_rule(opacity=0)


def _vertical(rules: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    """By their dashes, as `RULES` says. (A scale of dashes would be mixed with that of the series.)"""
    marks = []
    for what, (_, dash, opacity) in RULES.items():
        at = rounded(rules[rules["what"] == what].drop(columns="what").rename(columns={"at": "step"}))
        if len(at):
            marks.append(alt.Chart(at).mark_rule(color=INK, opacity=opacity, strokeDash=dash).encode(x=x))
    return marks


RULES: dict[str, tuple[str, list[int], float]] = {
    "end of warm-up": ("dotted", [1, 3], 0.45),
    "end of epoch": ("dashed", [5, 4], 0.45),
    "checkpoint to take": ("solid", [1, 0], 0.55),
}


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Five significant digits: what a screen can show, in half the space."""
    out = table.copy()
    for column in out.select_dtypes("floating").columns:
        out[column] = [float(f"{v:.5g}") if math.isfinite(v) else math.nan for v in out[column]]
    return out


def finish(chart: Any, title: str, description: str, **layout: Any) -> Any:
    """Title, description, and a look that takes its ink from the page."""
    ink: dict[str, Any] = {"labelColor": INK, "titleColor": INK}
    lines: dict[str, Any] = {
        "domainColor": INK,
        "domainOpacity": 0.4,
        "tickColor": INK,
        "tickOpacity": 0.4,
        "gridColor": INK,
        "gridOpacity": 0.13,
    }
    size: dict[str, Any] = {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"}
    return chart.properties(title=title, description=description, usermeta=layout).configure(
        aria=False,  # the page describes a figure as a whole
        background="transparent",
        font="system-ui, sans-serif",
        axis=alt.AxisConfig(**ink, **lines, **size, labelOverlap="greedy", labelSeparation=3),
        axisY=alt.AxisConfig(tickCount=4),
        legend=alt.LegendConfig(**ink, labelFontSize=12, labelLimit=220),
        header=alt.HeaderConfig(labelColor=INK),
        title=alt.TitleConfig(color=INK, anchor="start"),
        view=alt.ViewConfig(stroke=None),
        facet=alt.CompositionConfig(spacing=22),
    )


def dots(
    table: pd.DataFrame, *, title: str, description: str, x: str, colour: str = BLUE, level: float = 0
) -> alt.FacetChart:
    """A panel for each `panel`, a row for each `row`: value with lo and hi as a bar, and zero (or another level) ruled in.
    `x` names the axis; a `|` in a row's name begins its second line."""
    rows = list(dict.fromkeys(table["row"]))
    height = 34 if any("|" in row for row in rows) else 22
    axis = alt.Axis(labelExpr="split(datum.label, '|')", labelLimit=LABEL, labelOverlap=False)
    encoding = {"y": alt.Y("row:N", sort=rows, title=None, axis=axis)}
    zero = _level(level).encode(x="level:Q")
    ends = alt.X("lo:Q", title=x)
    whole = alt.Chart().transform_filter("isValid(datum.lo) && isValid(datum.hi)")
    bar = whole.mark_rule(strokeWidth=2, color=colour).encode(**encoding, x=ends, x2="hi:Q")
    dot = alt.Chart().mark_point(filled=True, size=40, opacity=1, color=colour)
    tips = [f"{name}:N" for name in ("panel", "row", "estimate")]
    panels = list(dict.fromkeys(table["panel"]))
    facet = alt.Facet("panel:N", sort=panels, title=None, header=_HEADER)
    layers = (zero, bar, dot.encode(**encoding, x=alt.X("value:Q", title=x), tooltip=tips))
    chart = (
        alt.layer(*layers)
        .properties(height=alt.Step(height))
        .facet(data=_with_intervals(table), facet=facet, columns=4)
    )
    return finish(chart, title, description, panels=len(panels), own_y=False, axis=LABEL + 20)


def incidence(table: pd.DataFrame, *, title: str, description: str) -> alt.FacetChart:
    """Panels of the share finished (value, lo, hi) within `tokens` tokens, a line for each `series`."""
    paint = _series_encodings(list(dict.fromkeys(table["series"])))
    limits = sorted(set(table["tokens"]))
    x = alt.X(
        "tokens:Q", title="tokens", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(values=limits, format="d")
    )
    scale = alt.Scale(domain=[0, 1], nice=False)
    y, color = alt.Y("value:Q", title="share finished", scale=scale), paint["color"]
    tips = [
        alt.Tooltip("series:N"),
        alt.Tooltip("tokens:Q"),
        *(alt.Tooltip(f"{c}:Q", format=".2f") for c in ("value", "lo", "hi")),
    ]
    layers = (
        alt.Chart()
        .mark_area(opacity=0.18)
        .encode(x=x, y=alt.Y("lo:Q", title="share finished", scale=scale), y2="hi:Q", color=color),
        alt.Chart().mark_line(strokeWidth=1.8).encode(x=x, y=y, color=color, strokeDash=paint["strokeDash"]),
        alt.Chart()
        .mark_point(filled=True, size=24, opacity=1)
        .encode(x=x, y=y, color=color, shape=paint["shape"], tooltip=tips),
    )
    panels = list(dict.fromkeys(table["panel"]))
    facet = alt.Facet("panel:N", sort=panels, title=None, header=_HEADER)
    kept = rounded(table[["panel", "series", "tokens", "value", "lo", "hi"]])
    chart = alt.layer(*layers).properties(height=PANEL_HEIGHT).facet(data=kept, facet=facet, columns=4)
    return finish(chart, title, description, panels=len(panels), own_y=False)


def tradeoff(
    table: pd.DataFrame, *, title: str, description: str, x: str, y: str, named: Sequence[int]
) -> alt.FacetChart:
    """Panels of a cost against a gain over checkpoints (columns panel, series, step, gain, gain_lo, gain_hi, cost, cost_lo,
    cost_hi), joined in the order of training; the checkpoints in `named` have their step beside them."""
    paint = _series_encodings(list(dict.fromkeys(table["series"])))
    kept = rounded(table.assign(name=_names_apart(table, named)))
    base = alt.Chart().encode(color=paint["color"])
    gain = alt.X("gain:Q", title=x, scale=alt.Scale(zero=True))
    cost = alt.Y("cost:Q", title=y, scale=alt.Scale(zero=True))
    tips = [
        alt.Tooltip("series:N"),
        alt.Tooltip("step:Q"),
        *(alt.Tooltip(f"{c}:Q", format=".2f") for c in ("gain", "cost")),
    ]
    layers = (
        _level(0).encode(y="level:Q"),
        base.mark_rule(opacity=0.25).encode(x=gain, y=alt.Y("cost_lo:Q", title=y), y2="cost_hi:Q"),
        base.mark_rule(opacity=0.25).encode(x=alt.X("gain_lo:Q", title=x), x2="gain_hi:Q", y=cost),
        base.mark_line(strokeWidth=1.4, opacity=0.7).encode(
            x=gain, y=cost, order="step:Q", strokeDash=paint["strokeDash"]
        ),
        base.mark_point(filled=True, size=28, opacity=1).encode(x=gain, y=cost, shape=paint["shape"], tooltip=tips),
        alt.Chart().mark_text(fontSize=10, dy=-9, color=INK).encode(x=gain, y=cost, text="name:N"),
    )
    panels = list(dict.fromkeys(table["panel"]))
    facet = alt.Facet("panel:N", sort=panels, title=None, header=_HEADER)
    chart = alt.layer(*layers).properties(height=2 * PANEL_HEIGHT).facet(data=kept, facet=facet, columns=4)
    return finish(chart, title, description, panels=len(panels), own_y=False)


def _names_apart(table: pd.DataFrame, named: Sequence[int]) -> pd.Series:
    """The names of some checkpoints' points; none where it would cover the name of another point of the panel."""
    names = pd.Series("", index=table.index)
    for _, panel in table.groupby("panel"):
        widths = [np.ptp([0.0, *panel.filter(regex=f"^{axis}").to_numpy().ravel()]) for axis in ("gain", "cost")]
        points = panel[["gain", "cost"]] / widths
        for i in sorted(panel.index[panel["step"].isin(named)], key=lambda i: named.index(panel.at[i, "step"])):
            others = points[names[panel.index] != ""]
            apart = np.abs(others.to_numpy() - points.loc[i].to_numpy()) > (0.2, 0.08)  # of the panel: a name's room
            if apart.any(axis=1).all():
                names[i] = f"step {panel.at[i, 'step']}"
    return names


def states(
    table: pd.DataFrame,
    *,
    title: str,
    description: str,
    order: Sequence[str],
    steps: Sequence[int],
    axes: pd.DataFrame | None = None,
    rules: pd.DataFrame | None = None,
) -> alt.LayerChart:
    """A verdict by checkpoint (columns step, state): a row for each state that occurs, in `order`, joined in time."""
    x, seen = step_axis(steps), [s for s in order if s in set(table["state"])]
    y = alt.Y(
        "state:N", sort=seen, title=None, scale=alt.Scale(domain=seen), axis=alt.Axis(labelLimit=LABEL, grid=True)
    )
    data = rounded(with_axes(table, axes))
    base = alt.Chart(data).encode(x=x, y=y)
    layers = [] if rules is None else _vertical(with_axes(rules, axes, at="at"), x)
    layers += [
        base.mark_line(interpolate="step-before", strokeWidth=1.2, color=BLUE, opacity=0.6),
        base.mark_point(filled=True, size=50, opacity=1, color=BLUE).encode(tooltip=["step:Q", "state:N"]),
    ]
    chart = alt.layer(*layers).properties(height=26 * len(seen) + 8, width=600)
    return finish(chart, title, description, panels=0, axis=LABEL, axes=choices(axes, steps))
