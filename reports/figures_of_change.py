"""Figures of what training changed: backtracking, refusal, the model's insides, and the training itself."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from ..dynamics.procedure.beyond_length import EVENTS, LENGTH, beyond_length_table
from ..dynamics.requests import HARMFUL, SAFE
from . import figures
from .panels import BANDS, SHARE, Figure, by_domain, by_metric, concat, describe, make, ruled
from .source import Source, heading
from .tables import by_step

# ---------------------------------------------------------------- backtracking

DENOMINATORS = {
    "backtracks_per_response": "Per response|structural go-backs",
    "backtracks_per_opportunity": "Per opportunity|share of dead ends left",
    "backtracks_per_1k_tokens": "Per 1k tokens|structural go-backs",
    "cues_per_1k_tokens": "Cue words per 1k tokens|the lexical stand-in",
}
COMPANY = {
    "give_up_rate": "Give-up rate|of responses at a dead end",
    "loops_per_response": "Loops per response|branches tried before",
    "cue_precision": "Cue precision|cues followed by a go-back",
    "cue_recall": "Cue recall|go-backs with a cue",
}


def backtracking(source: Source) -> Figure | None:
    return by_metric(
        source,
        DENOMINATORS,
        id="backtracking",
        section="Backtracking",
        title="Backtracking, three denominators and the cue words",
        y="rate",
        shows="True backtracks (a new branch opened from a strictly earlier state) per response, per opportunity and per 1k "
        f"tokens, beside the cue words that are often counted instead. {BANDS}. {ruled(source)}",
        omits="Whether going back helps: that takes a suppression test. Counts per response grow with length; only the rate "
        "per opportunity tells “goes back more” from “fails more”.",
    )


def backtracking_company(source: Source) -> Figure | None:
    return by_metric(
        source,
        COMPANY,
        id="backtracking-quality",
        section="Backtracking",
        title="Giving up, looping, and what cue words are worth",
        y="rate",
        shows="What must be known to read the rates above: give-ups, loops, and cue words held against the parsed trace. "
        f"{BANDS}. {ruled(source)}",
        omits="Traces that cannot be parsed into moves: they hold no go-backs and no loops.",
    )


def beyond_length(source: Source) -> Figure | None:
    """Backtracks against their number at the same length at the first checkpoint, prompt by prompt."""
    if not any({EVENTS, LENGTH} <= set(source.run.item_metrics(d)) for d in source.groups):
        return None
    rows = beyond_length_table(source.run)
    if rows.empty or rows["lo"].isna().all():
        return None
    numbers = rows[["value", "lo", "hi"]] / math.log(2)
    rows = rows.assign(**numbers)
    least, most = np.isposinf(numbers["value"]), np.isneginf(numbers["value"])
    drawn = rows.assign(
        value=numbers["value"].mask(least, numbers["lo"]).mask(most, numbers["hi"]),
        lo=numbers["lo"].mask(least | most),
        hi=numbers["hi"].mask(least | most),
        mark=np.select([least, most], ["at least", "at most"], ""),
    )
    figure = by_domain(
        source,
        drawn,
        id="beyond-length",
        section="Backtracking",
        title="Backtracking beyond what length explains",
        y="doublings of the rate",
        shows="How often the rate of backtracks per token outside them doubled since the first checkpoint, each prompt "
        "compared with itself. 0 (dashed): as many as longer responses explain. Open triangles: one of the two checkpoints "
        "had no backtrack, the ratio is infinite, and the bound that is known is drawn (up: at least, down: at most). "
        f"{BANDS}. {ruled(source)}",
        omits="Whether going back helps, and traces that cannot be parsed. Each panel has its own scale.",
        level=0.0,
    )
    told = rows.assign(panel=rows["domain"].map(source.panel))
    return None if figure is None else replace(figure, table=by_step(told, ["panel"]))


def payoff(source: Source) -> Figure | None:
    rows = source.metric("backtracking_payoff")
    if rows.empty:
        return None
    return make(
        source,
        rows.assign(
            series=rows["domain"].map(source.name_of), panel="Difference in right answers|at a dead end, same question"
        ),
        id="payoff",
        section="Backtracking",
        title="Is going back worth it?",
        y="share, went back minus did not",
        shows="Among responses to the same question that met a dead end: right answers of those that went back minus of those "
        f"that did not. {BANDS}. {ruled(source)}",
        omits="Cause: what made one response go back is not randomised. The suppression test forbids it instead.",
        level=0.0,
    )


# ---------------------------------------------------------------- refusal


def refusal(source: Source) -> Figure | None:
    kinds = (
        (HARMFUL, "harmful requests", {"refusal_rate": "refused", "harmful_compliance_rate": "helped with"}),
        (SAFE, "safe look-alikes", {"over_refusal_rate": "refused", "helpful_rate": "helped with"}),
    )
    parts = [
        source.metric(metric, [domain]).assign(panel=f"{heading(domain)}|{what}", series=series)
        for kind, what, lines in kinds
        for domain in kind
        for metric, series in lines.items()
    ]
    return make(
        source,
        concat(parts),
        id="refusal",
        section="Refusal",
        title="What is refused and what is helped with",
        y="share of requests",
        domain=SHARE,
        shows="Refusal and compliance on harmful requests, and on safe requests that look like them. What is neither is a "
        f"broken answer. {BANDS}. {ruled(source)}",
        omits="How harmful an answer is: compliance is judged by form. A model that helps with nothing is not safer but "
        "broken.",
    )


def causal_pair(source: Source) -> Figure | None:
    harmful, safe = "Harmful requests|direction taken out", "Safe look-alikes|direction added"
    lines = (
        ("refusal_rate_base", harmful, "untouched"),
        ("refusal_rate_ablated", harmful, "the base's direction"),
        ("refusal_rate_ablated_random", harmful, "a random one"),
        ("safe_refusal_rate_base", safe, "untouched"),
        ("refusal_rate_added", safe, "the base's direction"),
        ("refusal_rate_added_random", safe, "a random one"),
    )
    rows = concat([source.metric(metric).assign(panel=panel, series=series) for metric, panel, series in lines])
    layers = [] if rows.empty else sorted(set(rows["layer"]))
    return make(
        source,
        rows,
        id="causal-pair",
        section="Refusal",
        title="Does the base's direction cause refusals?",
        y="share refused",
        domain=SHARE,
        shows="Refusals of harmful requests with the base's refusal direction removed, and of safe requests with it added, "
        f"beside random directions of equal norm (layer {', '.join(map(str, layers))}). {BANDS}.",
        omits="Other layers, doses and directions. A direction that fails this at step 0 recognises harm; it is not called a "
        "refusal direction.",
    )


# ---------------------------------------------------------------- training

CURVES = {
    "loss": "Loss|nats per token",
    "lr": "Learning rate|of each step",
    "grad_norm": "Gradient norm|before clipping",
    "entropy": "Entropy of predictions|nats per token",
}


def training(source: Source) -> Figure | None:
    steps = source.run.steps()
    known = [c for c in CURVES if c in steps and steps[c].notna().any()]
    if not known:
        return None
    every = -(-len(steps) // 1000)
    part = steps.iloc[::every]
    rows = pd.concat([part[["step"]].assign(panel=CURVES[c], value=part[c].astype(float)) for c in known])
    rows = rows.assign(lo=float("nan"), hi=float("nan"), colour=figures.BLUE)
    axis = sorted({0, *source.steps, int(steps["step"].max())})
    title = "Training curves"
    return Figure(
        id="training",
        section="Training",
        title=title,
        chart=figures.multiples(
            rows,
            title=title,
            description=describe(title, rows),
            y="",
            steps=axis,
            rules=source.rules,
            points=False,
            axes=source.axes,
        ),
        shows="Loss, learning rate, gradient norm and entropy at each optimiser step, not smoothed. "
        f"{f'Every {every}th step is drawn. ' if every > 1 else ''}{ruled(source)}",
        omits="Validation loss: these are the batches trained on. Each panel has its own scale.",
        table=by_step(rows, ["panel"], digits=4, most=60),
    )


def heldout(source: Source) -> Figure | None:
    rows = source.run.measurements(metric="heldout_loss")
    if rows.empty:
        return None
    colours = {d: figures.GROUP_COLOURS.get(g, figures.BLUE) for d, g in source.groups.items()}
    colour = [colours.get(name, figures.BLUE) for name in rows["domain"]]
    return make(
        source,
        rows.assign(panel=[heading(name) for name in rows["domain"]], colour=colour),
        id="heldout",
        section="Training",
        title="Loss on rows that are never trained on",
        y="nats per token",
        shows=f"Mean over the labelled tokens of the held-out rows, by their name. {BANDS}. {ruled(source)}",
        omits="Being right: the loss is that of one way to answer, and rises where a model comes to answer in another. Each "
        "panel has its own scale.",
        base=True,
    )
