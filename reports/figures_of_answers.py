"""Figures of how well and how long the model answers: scores and their factors, length, thinking."""

from __future__ import annotations

import math

import pandas as pd

from . import figures
from .panels import BANDS, SHARE, Figure, by_domain, concat, describe, ruled
from .source import Source, heading
from .tables import Table, by_step, number

# ---------------------------------------------------------------- scores


def scores(source: Source) -> Figure | None:
    return by_domain(
        source,
        _marked(source, {"score": "value", "score_lo": "lo", "score_hi": "hi"}),
        id="scores",
        section="Scores",
        title="Strict score by domain",
        y="strict score (share)",
        domain=SHARE,
        base=True,
        shows="The share of items that were finished, parsed and right, at each checkpoint. "
        f"{BANDS}; dashed line: the base. {TRIANGLES}. {ruled(source)}",
        omits="Whether a difference is real: the bands of two checkpoints may overlap although the paired difference is "
        "clear, which the next figure shows.",
    )


def differences(source: Source) -> Figure | None:
    span = source.bands[["diff_lo", "diff_hi"]].stack().abs().max()
    limit = math.ceil(10 * span) / 10 if span > 0 else 1.0  # of all panels, and the same up and down
    margins = source.bands.drop_duplicates("domain").set_index("domain")["margin"]
    smallest = ", ".join(f"{heading(d)} {number(margins[d])}" for d in source.groups if d in margins)
    return by_domain(
        source,
        _marked(source, {"diff": "value", "diff_lo": "lo", "diff_hi": "hi"}),
        id="differences",
        section="Scores",
        title="Strict score against the base",
        y="score minus base",
        domain=(-limit, limit),
        base=True,
        shows="The same items at each checkpoint minus at step 0. The band is simultaneous: with 95 % probability all "
        "checkpoints lie inside it together, so a dip is where the whole band lies below the dashed line. "
        f"A dip as deep as this would be seen 9 times in 10: {smallest}; a smaller one may be seen too. "
        f"{TRIANGLES}. {ruled(source)}",
        omits="The luck of training: items were resampled, training runs were not.",
    )


TRIANGLES = "Open triangles: down, the trough of a dip; up, the first checkpoint shown to be back at base"


def _marked(source: Source, names: dict[str, str]) -> pd.DataFrame:
    """The bands under these names, with the trough and the recovery of every domain that dipped."""
    rows = source.bands.rename(columns=names)
    marks = {
        (domain, phase["details"].get(key)): what
        for domain, phase in source.phases.items()
        if phase["details"].get("dip")
        for key, what in (("trough_step", "trough"), ("recovery_step", "recovered"))
    }
    return rows.assign(mark=[marks.get((d, s), "") for d, s in zip(rows["domain"], rows["step"], strict=True)])


def split(source: Source) -> Figure | None:
    names = {"finish_rate": "finished", "parse_rate": "parsed, of finished", "accuracy_of_parsed": "right, of parsed"}
    return by_domain(
        source,
        concat([source.metric(metric).assign(series=series) for metric, series in names.items()]),
        id="split",
        section="Scores",
        title="Why answers fail: finish, parse, accuracy",
        y="share",
        domain=SHARE,
        shows=f"The three factors of the strict score, whose product it is exactly. {BANDS}. {ruled(source)}",
        omits="Each share is of what the one before left over: where few finish, accuracy is that of a selected few.",
    )


# ---------------------------------------------------------------- length


def lengths(source: Source) -> Figure | None:
    rows = source.metric("tokens_restricted_mean")
    caps = {} if rows.empty else dict(zip(rows["domain"], rows["position"].str.removeprefix("tau="), strict=True))
    listed = ", ".join(f"{heading(d)} {cap}" for d, cap in caps.items() if cap)
    return by_domain(
        source,
        rows,
        id="lengths",
        section="Length",
        title="Tokens per response",
        y="tokens",
        shows="The mean of min(length, tau): a response cut at the cap counts as the cap"
        f"{f' (tau: {listed})' if listed else ''}. {BANDS}. {ruled(source)}",
        omits="The length that cut responses would have had. Each panel has its own scale.",
    )


def thinking(source: Source) -> Figure | None:
    return by_domain(
        source,
        source.metric("thinking_share"),
        id="thinking",
        section="Length",
        title="Responses that think first",
        y="share of responses",
        domain=SHARE,
        shows=f"The share of responses that open a thinking part with anything in it. {BANDS}. {ruled(source)}",
        omits="Whether the thinking helps, or is of the kind that was trained.",
    )


def incidence(source: Source) -> Figure | None:
    rows = source.metric("finished_by")
    if rows.empty:
        return None
    trained = [source.turning_step(d) for d, group in source.groups.items() if group == "id_reasoning"]
    chosen = sorted({source.steps[0], source.steps[-1], *(t for t in trained[:2] if t is not None)})
    rows = rows[rows["step"].isin(chosen)].sort_values("step", kind="stable")
    rows = rows.assign(
        tokens=rows["position"].str.removeprefix("t=").astype(int),
        series=[f"step {s}" for s in rows["step"]],
        panel=rows["domain"].map(source.panel),
    )
    rows = rows.iloc[rows["domain"].map({d: i for i, d in enumerate(source.groups)}).argsort(kind="stable")]
    title = "Finished within a number of tokens"
    chart = figures.incidence(rows, title=title, description=describe(title, rows, "tokens"))
    table = by_step(rows.drop(columns="step").rename(columns={"tokens": "step"}), ["panel", "series"])
    return Figure(
        id="incidence",
        section="Length",
        title=title,
        chart=chart,
        shows="The share of responses that ended by themselves within so many tokens, at the base, at the turning point of "
        f"the trained domain and at the last checkpoint. {BANDS}.",
        omits="Whether the finished answers are right. Responses cut at the cap never finish here.",
        table=Table(("tokens", *table.columns[1:]), table.rows, table.note),
    )
