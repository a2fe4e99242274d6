"""The index of procedure against style of a run: last checkpoint against the first, by search domain, as one finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..findings.evidence import estimate_at, files_of
from ..findings.wording import listing, plain_name, signed, step_list
from ..record import Run
from ..trajectories.trajectory import Trajectory
from ..types import Estimate, Finding
from .index import (
    BUDGET,
    CUES,
    LENGTH,
    LOOPS,
    PAYOFF,
    PROCEDURE,
    SUPPRESSION,
    WENT_BACK,
    Index,
    Part,
    measured_part,
    procedure_index,
)

METRIC = "procedure_index"
PER_OPPORTUNITY = "backtracks_per_opportunity"
MEASURED = {PAYOFF: "backtracking_payoff", SUPPRESSION: "suppression_loss_beyond_control", BUDGET: "budget_slope"}
ITEM_METRICS = ("opportunities", "opportunities_left", "backtracks", "cues", "tokens", "loops", "looped")
OUTSIDE = "tokens_outside_backtracks"
LABELS = {
    WENT_BACK: "opportunities gone back from",
    PAYOFF: "payoff of going back",
    SUPPRESSION: "loss when it may not go back",
    BUDGET: "answers that hang on the thinking",
    CUES: "cue words that no backtrack backs",
    LENGTH: "tokens outside backtracks",
    LOOPS: "returns to nothing new",
}
_READING = {
    "procedure": "procedure: it goes back where it has to, beyond what it gained in words and length",
    "both": "both: going back where it has to grew, and so did the look of it",
    "style": "style: the look of search grew, and going back where it has to did not, or far less",
    "neither": "neither: no going back where it has to, and no look of it, was gained",
    "undecidable": "cannot be told: the intervals leave it open",
}


def domain_index(run: Run, domain: str, first: int, last: int) -> Index | None:
    """The index of one domain between two steps; None where no trace of a search was measured."""
    known = run.item_metrics(domain)
    if PER_OPPORTUNITY not in set(run.measurements(domain=domain).get("metric", ())):
        return None
    before, after, clusters = _responses(run, domain, known, first, last)
    measured: dict[str, Part] = {}
    missing: dict[str, str] = {}
    names = dict(MEASURED)
    if "opportunities" not in before:
        names[WENT_BACK] = PER_OPPORTUNITY
    for part, metric in names.items():
        now = estimate_at(run, metric, last, domain=domain)
        if now is None:
            continue
        if not now.defined or np.isnan(now.lo):
            missing[part] = _reason(run, metric, last, domain) or "undefined at the end"
            continue
        measured[part] = measured_part(part, estimate_at(run, metric, first, domain=domain), now)
    return procedure_index(before, after, clusters, measured, missing)


def procedure_index_finding(run: Run, trajectories: Mapping[str, Trajectory]) -> Finding | None:
    """One finding for all search domains, of which the in-domain one leads; None without any."""
    found: dict[str, Index] = {}
    for domain, t in sorted(trajectories.items(), key=lambda pair: (pair[1].group, pair[0])):
        if len(t.steps) < 2:
            continue
        index = domain_index(run, domain, int(t.steps[0]), int(t.steps[-1]))
        if index is not None:
            found[domain] = index
    if not found:
        return None
    lead = next(iter(found))
    index, steps = found[lead], trajectories[lead].steps
    first, last = int(steps[0]), int(steps[-1])
    others = "; ".join(f"{plain_name(d)} {i.answer} ({_number(i)})" for d, i in found.items() if d != lead)
    sentence = (
        f"{plain_name(lead).capitalize()}, procedure against style, {step_list([first, last])}: {_READING[index.answer]}. "
        f"Index {_number(index)} (+1 nothing but procedure, -1 nothing but its look), which is half of procedure "
        f"{signed(index.procedure)} ({_parts(index, 'procedure')}) minus style {signed(index.style)} ({_parts(index, 'style')})."
    )
    if index.missing:
        sentence += " Not in it: " + "; ".join(f"{LABELS[k]} ({why})" for k, why in index.missing.items()) + "."
    if others:
        sentence += f" Elsewhere: {others}."
    metrics = ["score_strict", PER_OPPORTUNITY, *MEASURED.values(), "cues_per_1k_tokens"]
    return Finding(
        id="mechanism:procedure-index",
        kind="mechanism",
        sentence=sentence,
        domain=lead,
        metric=METRIC,
        verdict=index.answer,
        estimate=index.index,
        step=last,
        method=index.index.method,
        evidence=tuple(dict.fromkeys(f for d in found for f in files_of(run, metrics, [first, last], domain=d))),
        would_overturn=_would_overturn(index),
        exploratory=True,
        details={d: _details(i) for d, i in found.items()},
    )


# ---------------------------------------------------------------- parts


def _responses(
    run: Run, domain: str, known: list[str], first: int, last: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray | None]:
    """The columns by item at both steps, and the items' questions."""
    length = OUTSIDE if OUTSIDE in known else "tokens"
    wanted = {m: m for m in ITEM_METRICS if m in known} | ({"length": length} if length in known else {})
    tables: dict[str, pd.DataFrame] = {column: run.items(domain, metric) for column, metric in wanted.items()}
    tables = {c: t for c, t in tables.items() if {first, last} <= set(t.columns)}
    if not tables:
        return {}, {}, None
    index = next(iter(tables.values())).index
    cluster_of: Mapping[str, Any] = next(iter(tables.values())).attrs["cluster"]
    aligned = {c: t.reindex(index) for c, t in tables.items()}
    return (
        {c: t[first].to_numpy() for c, t in aligned.items()},
        {c: t[last].to_numpy() for c, t in aligned.items()},
        np.array([str(cluster_of[i]) for i in index], dtype=object),
    )


def _reason(run: Run, metric: str, step: int, domain: str) -> str:
    table = run.measurements(metric=metric, domain=domain)
    rows = table[table["step"] == step]
    return str(rows["reason"].iloc[-1]) if len(rows) else ""


def _number(index: Index) -> str:
    return signed(index.index) if index.index.defined else "no index: a side was not measured"


def _parts(index: Index, side: str) -> str:
    mine = [p for p in index.parts if (p.name in PROCEDURE) == (side == "procedure")]
    if not mine:
        return "no part of it was measured"
    return "; ".join(f"{LABELS[p.name]} {signed(p.change)}" + (f", {p.note}" if p.note else "") for p in mine)


def _would_overturn(index: Index) -> str:
    causal = [LABELS[k] for k in (SUPPRESSION, BUDGET) if k in index.missing]
    if causal:
        return f"what is not in it ({listing(causal)}: probes `suppression` and `budget`); another seed"
    return "another seed; other banned words; more questions"


def _details(index: Index) -> dict[str, Any]:
    def plain(e: Estimate) -> dict[str, float]:
        return {"value": float(e.value), "lo": float(e.lo), "hi": float(e.hi)}

    return {
        "answer": index.answer,
        "index": plain(index.index),
        "procedure": plain(index.procedure),
        "style": plain(index.style),
        "parts": {p.name: plain(p.change) | {"note": p.note} for p in index.parts},
        "missing": dict(index.missing),
    }
