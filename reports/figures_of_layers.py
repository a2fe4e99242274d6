"""Figures of the model's insides: layers by checkpoints with their nulls, and which checkpoint's direction reads which."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ..dynamics.errors import DataError, RecordError
from ..dynamics.findings.wording import plain_name
from ..dynamics.transfer import transfer_matrix
from .axes import ticks
from .layer_maps import digits_of, heat_map
from .panels import Figure, describe
from .source import Source, heading
from .tables import by_step, interval, number, thinned
from .text import visible

SECTION = "Inside the model"
COSINE, AUC, SPEARMAN = "_cosine_to_base", "_auc_frozen", "_spearman_frozen"
FIRST = ("refusal", "harmfulness", "backtracking", "dead_end")  # other concepts follow by name
WITHIN = (
    "Cells whose {what} does not exceed it are in parentheses, or struck through where there is no room for numbers"
)
POSITIONS = {
    "last_prompt": "the last token of the prompt",
    "instruction_end": "the last word of the request",
    "move_end": "the last word of a step of the search",
    "after_move": "the first word after a step of the search",
}
PAIR = "pair"  # how the causal pair's own readouts are named
MOST_READ = 12  # checkpoints of a transfer matrix
TRANSFERRED = ("refusal", "backtracking")


def cosine_maps(source: Source) -> list[Figure]:
    """Of every concept: each checkpoint's direction against the base's. The null is one of raw cosines."""
    return [f for c in _concepts(source, COSINE) if (f := _cosine_map(source, c)) is not None]


def auc_maps(source: Source) -> list[Figure]:
    """Of every concept of two classes: how well the base's direction still tells them apart."""
    return [f for c in _concepts(source, AUC) if (f := _auc_map(source, c)) is not None]


def spearman_maps(source: Source) -> list[Figure]:
    """Of every concept that is a quantity: how well the base's direction still orders prompts by it."""
    return [f for c in _concepts(source, SPEARMAN) if (f := _spearman_map(source, c)) is not None]


def _concepts(source: Source, ending: str) -> list[str]:
    table = source.run.measurements()
    named = table[(table["layer"] >= 0) & table["metric"].str.endswith(ending)] if len(table) else table
    found = {str(m).removesuffix(ending) for m in named["metric"]} if len(named) else set()
    found = {c for c in found if not c.endswith("_probe")}  # readouts fitted otherwise, of the same concept
    return [c for c in FIRST if c in found] + sorted(found - set(FIRST))


def _cosine_map(source: Source, concept: str) -> Figure | None:
    rows = _cells(source, concept + COSINE)
    if _says_nothing(rows):
        return None
    null, raw = (_cells(source, concept + m) for m in ("_cosine_null_p99", "_cosine_raw"))
    against = raw if len(raw) else rows
    rows = _with_null(rows, null, against, lambda value, p99: value.abs() <= p99)
    lowest = -1.0 if rows["value"].min() < -0.1 else 0.0
    return _map(
        source,
        rows,
        id=_id("cosine", concept),
        title=f"{_direction(concept)}: cosine to the base",
        unit="corrected cosine",
        domain=(lowest, 1.0),
        shows=f"How far each layer's direction of {_named(concept)}, fitted anew at each checkpoint, still points where the "
        f"base's does, corrected for estimation noise (values above 1 are possible). "
        f"{_null(rows, 'raw |cosine| to the base’s', 'raw |cosine|' if len(raw) else '|cosine|')} Grey with ?: unreliable, "
        "as the two halves of the prompts do not agree on a direction.",
        omits=f"Whether the direction causes anything. Intervals are in the table. One position only: {_at(rows)}.",
    )


def _auc_map(source: Source, concept: str) -> Figure | None:
    rows = _cells(source, concept + AUC)
    if _says_nothing(rows):
        return None
    rows = _with_null(rows, _cells(source, concept + "_auc_null_p99"), rows, lambda value, p99: value <= p99)
    refit = f"{concept}_auc_refit"
    return _map(
        source,
        rows,
        id=_id("auc", concept),
        title=f"{_direction(concept)}: the base's as a detector",
        unit="AUC, frozen direction",
        domain=(0.5, 1.0),
        shows=f"How well the base's direction of {_named(concept)}, carried along unchanged, still tells the two kinds of "
        "held-out "
        f"text apart. 0.5 is chance, and drawn as what lies below it. {_null(rows, 'AUC', 'AUC')}",
        omits="Behaviour: what is told apart need not be acted on. Whether a direction fitted anew would do better is "
        f"another metric, {refit}.",
    )


def _spearman_map(source: Source, concept: str) -> Figure | None:
    rows = _cells(source, concept + SPEARMAN)
    if _says_nothing(rows):
        return None
    rows = _with_null(rows, _cells(source, concept + "_spearman_null_p99"), rows, lambda value, p99: value.abs() <= p99)
    return _map(
        source,
        rows,
        id=_id("spearman", concept),
        title=f"{_direction(concept)}: the base's as a forecast",
        unit="rank correlation",
        domain=(-1.0 if rows["value"].min() < -0.1 else 0.0, 1.0),
        shows=f"How well the base's direction of {_named(concept)}, carried along unchanged, still orders held-out prompts "
        f"by it. {_null(rows, 'rank correlation', 'rank correlation')}",
        omits="What prompts say by their words and length alone: compare the baselines of the same probe.",
    )


# ---------------------------------------------------------------- readouts between checkpoints


def transfer_maps(source: Source) -> list[Figure]:
    """Direction of one checkpoint on the states of another, where the run folder holds both."""
    return [f for c in TRANSFERRED if (f := _transfer(source, c)) is not None]


def _transfer(source: Source, concept: str) -> Figure | None:
    run = source.run
    try:
        stored, states = run.direction_files(concept), run.activation_files(concept)
    except RecordError:  # not measured, or the files were not kept
        return None
    steps = [int(s) for s in ticks(sorted(set(stored) & set(states)), MOST_READ)][: MOST_READ + 1]
    if len(steps) < 2:
        return None
    layer = _layer_of(source, concept)
    try:
        table = transfer_matrix(run, concept, layers=[layer], steps=steps)
    except (DataError, RecordError):  # stored by another layout or of replaced weights: `analyze` and `probe` say so
        return None
    rows = table.rename(columns={"read_at": "step", "auc": "value"})
    null = _cells(source, f"{concept}_auc_null_p99")
    p99 = null[null["layer"] == layer].set_index("step")["value"] if len(null) else pd.Series(dtype=float)
    rows = rows.assign(null=rows["step"].map(p99).astype(float))
    rows = rows.assign(within=rows["value"] <= rows["null"])
    title = f"{_direction(concept)}: which checkpoint's reads which"
    low = number(float(rows["value"].min()))
    description = (
        f"{title}, at layer {layer}, {len(steps)} checkpoints; lowest AUC {low}. The data is in the table below."
    )
    chart = heat_map(
        rows, title=title, description=description, unit="AUC", domain=(0.5, 1.0), axes=source.axes, row="fitted_at"
    )
    cells = rows.assign(
        text=[interval(v, lo, hi) for v, lo, hi in rows[["value", "lo", "hi"]].astype(float).to_numpy()]
    )
    wide = cells.pivot(index="fitted_at", columns="step", values="text").fillna("–").reset_index()
    wide.columns = ["fitted at step", *(f"read at step {s}" for s in wide.columns[1:])]
    some = f" {len(steps)} of {len(stored)} checkpoints are drawn." if len(steps) < len(stored) else ""
    return Figure(
        _id("transfer", concept),
        SECTION,
        title,
        chart,
        f"Rows: the checkpoint whose direction of {_named(concept)} it is; columns: the checkpoint whose held-out states it "
        f"reads, at layer {layer}. The diagonal is refit (is it still decodable?), the bottom row frozen (does the base's "
        f"readout still hold?). {_null(rows, 'AUC', 'AUC')}{some}",
        "Other layers, and whether what is read is used: intervals are in the table.",
        thinned(wide),
    )


def _layer_of(source: Source, concept: str) -> int:
    """The layer of the causal pair where it was measured for this concept, else the middle one."""
    pair = source.run.measurements(metric="refusal_rate_ablated") if concept == "refusal" else pd.DataFrame()
    if len(pair):
        return int(pair["layer"].iloc[0])
    stored = source.run.direction(concept, min(source.run.direction_files(concept)))
    return int(stored.layers[len(stored.layers) // 2])


# ---------------------------------------------------------------- drift

PROMPTS = {"questions": "the questions of all domains", "refusal": "requests to refuse and to help with"}


def drift_maps(source: Source) -> list[Figure]:
    """How far states and weights have come from the base's, layer by layer."""
    return [*_likeness_maps(source), *_update_maps(source)]


def _likeness_maps(source: Source) -> list[Figure]:
    every = source.run.measurements(metric="cka_to_base")
    maps = []
    for position, prompts in PROMPTS.items() if len(every) else ():
        rows = every[every["position"] == position].drop_duplicates(["layer", "step"], keep="last")
        rows = rows.sort_values(["layer", "step"], ignore_index=True)
        if _says_nothing(rows):
            continue
        found = _map(
            source,
            rows,
            id=f"likeness-{position}",
            title=f"Likeness of states to the base's: {position}",
            unit="debiased CKA",
            domain=(0.0, 1.0),
            shows=f"How alike the states at the ends of {prompts} are to the base's of the same prompts: 1 up to rotation and "
            "scale, 0 in the mean of independent ones.",
            omits="A change of what the model does: states may turn while their readers turn with them. Its null is not "
            "independence but a run with another seed, which one run cannot show. Intervals are in the table.",
        )
        maps.append(found)
    return maps


def _update_maps(source: Source) -> list[Figure]:
    rows = _cells(source, "weights_relative_change")
    if rows.empty or not rows["value"].max() > 0:
        return []
    found = _map(
        source,
        rows,
        id="weight-change",
        title="Change of the weights",
        unit="update / weights",
        domain=(0.0, float(rows["value"].max())),
        shows="How far the weights of each block have moved from the base's: the length of the update, divided by that of the "
        "base's weights.",
        omits="Harm: the length of an update foretells neither dips nor lost refusals, and any other metric has to beat it. "
        "How many directions it has is in `update_stable_rank`.",
    )
    return [found]


# ---------------------------------------------------------------- parts


def _says_nothing(rows: pd.DataFrame) -> bool:
    """No cell has a number: a map would be grey from end to end."""
    return rows.empty or bool(rows["value"].isna().all())


def _cells(source: Source, metric: str) -> pd.DataFrame:
    """One row a layer and checkpoint."""
    rows = source.run.measurements(metric=metric)
    if rows.empty:
        return rows
    rows = rows[rows["layer"] >= 0]
    return rows.drop_duplicates(["layer", "step"], keep="last").sort_values(["layer", "step"], ignore_index=True)


def _with_null(
    rows: pd.DataFrame,
    null: pd.DataFrame,
    against: pd.DataFrame,
    within: Callable[[pd.Series, pd.Series], pd.Series],
) -> pd.DataFrame:
    """The rows with the null's 99th percentile of their cell, and whether what it is a null of lies within."""
    if null.empty:
        return rows
    at = ["layer", "step"]
    p99, value = (t.set_index(at)["value"].reindex(pd.MultiIndex.from_frame(rows[at])) for t in (null, against))
    inside = within(value, p99).to_numpy(bool) & np.isfinite(p99.to_numpy(float))
    return rows.assign(null=p99.to_numpy(float), within=inside)


def _null(rows: pd.DataFrame, of: str, what: str) -> str:
    """What the null is, how high it lies, and how many cells it explains."""
    if "null" not in rows or not np.isfinite(rows["null"]).any():
        return "Its null was not measured."
    least, most = (number(float(v)) for v in (rows["null"].min(), rows["null"].max()))
    span = least if least == most else f"{least} (where this is least, over layers and checkpoints) to {most}"
    known = rows["value"].notna() & rows["null"].notna()
    return (
        f"Null: 1 in 100 random directions of the activations' own covariance has a {of} above {span}. "
        f"{WITHIN.format(what=what)}: {int(rows.loc[known, 'within'].sum())} of {int(known.sum())}."
    )


def _map(
    source: Source,
    rows: pd.DataFrame,
    *,
    id: str,
    title: str,
    unit: str,
    domain: tuple[float, float],
    shows: str,
    omits: str,
) -> Figure:
    rows = rows.assign(panel=[f"layer {layer}" for layer in rows["layer"]])
    chart = heat_map(rows, title=title, description=describe(title, rows), unit=unit, domain=domain, axes=source.axes)
    of = by_step(rows, ["panel"], digits=digits_of(domain))
    return Figure(id, SECTION, title, chart, shows, omits, of)


def _id(kind: str, concept: str) -> str:
    return kind if concept == "refusal" else f"{kind}-{concept.replace('_', '-')}"


def _direction(concept: str) -> str:
    if concept == PAIR:
        return "Refusal direction of the causal pair"
    return f"{heading(concept)} direction"


def _named(concept: str) -> str:
    return "refusal that the causal pair takes out and adds" if concept == PAIR else visible(plain_name(concept))


def _at(rows: pd.DataFrame) -> str:
    position = str(rows["position"].iloc[0]) if "position" in rows else ""
    return POSITIONS.get(position, visible(plain_name(position)) or "that of the probe")
