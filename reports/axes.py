"""The x-axis of a figure over training: optimiser steps, and the same checkpoints by epoch, tokens or learning rate spent.

A page draws steps and switches to the others without being written again: `choices` is what its script exchanges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import pandas as pd

# Column -> what stands under the axis, what the reader chooses, the format of its numbers.
NAMES = {
    "step": ("optimiser step", "step", "d"),
    "epoch": ("epoch", "epoch", ".3~g"),
    "tokens": ("tokens trained on", "tokens", ".3~s"),
    "cumulative_lr": ("cumulative learning rate", "cumulative learning rate", ".2~g"),
}


def known_axes(axes: pd.DataFrame, steps: Sequence[int]) -> pd.DataFrame:
    """Of a table of axes (index: step) the columns that place every one of these steps, and not all at one point."""
    table = axes.reindex(sorted({*axes.index, *steps}))
    placed = table.reindex(sorted(set(steps)))
    kept = [c for c in NAMES if c in table and len(placed) and placed[c].notna().all() and placed[c].nunique() > 1]
    return table[kept]


def with_axes(table: pd.DataFrame, axes: pd.DataFrame | None, at: str = "step") -> pd.DataFrame:
    """The frame with a column for each axis, read at its steps; whole numbers stay whole."""
    if axes is None:
        return table
    columns = {name: table[at].map(axes[name]) for name in axes}
    whole = {n: c.notna().all() and bool((c == c.round()).all()) for n, c in columns.items()}
    return table.assign(**{n: c.astype("int64") if whole[n] else c for n, c in columns.items()})


def _encoded(channel: Any) -> dict[str, Any]:
    return channel.to_dict()


def choices(axes: pd.DataFrame | None, steps: Sequence[int]) -> list[dict[str, Any]]:
    """Name, label and Vega-Lite x-channel of every axis, steps first; nothing where there are steps alone."""
    if axes is None or not len(axes.columns):
        return []
    placed = axes.reindex(sorted(set(steps))).dropna()
    return [
        {"name": name, "label": NAMES[name][1], "x": {"field": name, **_encoded(_channel(name, values))}}
        for name, values in {"step": sorted(set(steps)), **{n: list(placed[n]) for n in axes}}.items()
    ]


def step_labels(axes: pd.DataFrame | None, steps: Sequence[int]) -> list[dict[str, Any]]:
    """`choices` for an axis of evenly spaced checkpoints: their places stay, what stands under them changes.

    Of every axis: name, label, title, the format of its numbers, and `at`: the number of each step.
    """
    if axes is None or not len(axes.columns):
        return []
    found = []
    for name in ("step", *axes):
        title, label, form = NAMES[name]
        at = {str(s): float(f"{s if name == 'step' else axes.at[s, name]:.8g}") for s in sorted(set(steps))}
        found.append({"name": name, "label": label, "title": even(title), "format": form, "at": at})
    return found


def even(title: str) -> str:
    """The title of an axis on which checkpoints stand at even distances."""
    return f"{title} (checkpoints, evenly spaced)"


# ---------------------------------------------------------------- the axis of steps


ROADS = {"symlog": "log scale", "sqrt": "square-root scale"}  # what a reader has to know of it


def step_scale(steps: Sequence[float]) -> tuple[alt.Scale, Callable[[float], float]]:
    """A scale with step 0 on it and room for early steps, and where it puts a step.

    Symmetric log or square root, whichever keeps the closest two checkpoints further apart: the first suits checkpoints at
    powers of two, the second those at even distances.
    """
    unit = min((s for s in steps if s > 0), default=1)
    roads = [
        (alt.Scale(type="symlog", constant=unit, nice=False), lambda s: math.log1p(s / unit)),
        (alt.Scale(type="sqrt", nice=False), math.sqrt),
    ]

    def closest(place: Callable[[float], float]) -> float:
        at = [place(s) for s in sorted(set(steps))]
        return min((b - a for a, b in pairwise(at)), default=1.0) / max(at[-1] - at[0], 1e-9) if at else 0.0

    return max(roads, key=lambda road: closest(road[1]))


def ticks(steps: Sequence[float], most: int = 6) -> list[float]:
    """Some of the steps, with the first and the last, about evenly apart on the axis that `step_axis` draws."""
    steps = sorted(set(steps))
    if len(steps) <= 2:
        return steps
    place = step_scale(steps)[1]
    first, last = place(steps[0]), place(steps[-1])
    apart = (last - first) / most
    chosen = [steps[0]]
    for step in steps[1:-1]:
        if place(step) - place(chosen[-1]) >= apart and last - place(step) >= apart:
            chosen.append(step)
    return [*chosen, steps[-1]]


def step_axis(steps: Sequence[int]) -> alt.X:
    return _channel("step", steps)


def _channel(name: str, values: Sequence[float]) -> alt.X:
    title, _, form = NAMES[name]
    axis = alt.Axis(values=ticks(values), format=form, labelFlush=False)
    scale = step_scale(values)[0]
    return alt.X(f"{name}:Q", title=[title, f"({ROADS[scale.type]})"], scale=scale, axis=axis)
