"""Figures of interventions: what happened to refusal at each checkpoint, and what the backtracking direction does."""

from __future__ import annotations

import pandas as pd

from . import figures
from .panels import BANDS, SHARE, Figure, concat, make, ruled
from .source import Source
from .tables import Table

STATES = ("intact", "monitor moved", "unreached", "disconnected", "bypassed by format", "broken", "unclear")
EVIDENCE = {
    "change": ("Refusals|now minus base", "harmful requests"),
    "safe requests helped with": ("Harmless compliance|share of the base's", "safe requests"),
    "gap along the base's direction": ("Harmful-harmless gap|share of the base's", "base's direction"),
    "gap along its own direction": ("Harmful-harmless gap|share of the base's", "its own"),
    "rescued by the base's gap": ("Lost refusals that return|share, by what is done", "base's gap added"),
    "rescued by random directions": ("Lost refusals that return|share, by what is done", "random directions"),
    "rescued thinking_empty": ("Lost refusals that return|share, by what is done", "thinking forced empty"),
    "rescued opening_as_base": ("Lost refusals that return|share, by what is done", "opened as the base does"),
}
RESCUES = "Lost refusals that return|share, by what is done"


def diagnosis_states(source: Source) -> Figure | None:
    details = _diagnosis(source)
    if details is None:
        return None
    states, reasons = details["steps"], details.get("reasons", {})
    rows = pd.DataFrame({"step": [int(s) for s in states], "state": list(states.values())}).sort_values("step")
    title = "What happened to refusal, checkpoint by checkpoint"
    told = "; ".join(f"step {s}: {state}" for s, state in rows.to_numpy())
    cells = [(str(s), state, "; ".join(reasons.get(str(s), ())).replace("`", "")) for s, state in rows.to_numpy()]
    return Figure(
        "diagnosis",
        "Refusal",
        title,
        figures.states(
            rows,
            title=title,
            description=f"{title}. {told}. The data is in the table below.",
            order=STATES,
            steps=source.steps,
            axes=source.axes,
            rules=source.rules,
        ),
        "The verdict of the causal tests at each checkpoint, against the base: whether refusals are intact, whether only the "
        "readout moved, whether the direction is no longer reached, no longer does anything, is bypassed by the format, or "
        f"the model is broken. Why is in the table. {ruled(source)}",
        f"Anything outside the subspace tested (layer {details['layer']}, the last prompt token, the base's direction and the "
        "checkpoint's own). A verdict has no interval; the evidence in the next figure has.",
        Table(("step", "verdict", "because"), tuple(cells)),
    )


def diagnosis_evidence(source: Source) -> Figure | None:
    details = _diagnosis(source)
    if details is None or not details.get("by_step"):
        return None
    rows = pd.DataFrame(
        [
            {"panel": EVIDENCE[name][0], "series": EVIDENCE[name][1], "step": int(step), **e}
            for step, known in details["by_step"].items()
            for name, e in known.items()
            if name in EVIDENCE
        ]
    )
    # A share of what was lost says nothing where the interval of the share is wider than the share can be.
    settled = (rows["panel"] != RESCUES) | ((rows["hi"] - rows["lo"]) < 4)
    order = {panel: i for i, panel in enumerate(dict.fromkeys(p for p, _ in EVIDENCE.values()))}
    rows = rows[settled].sort_values(
        ["panel", "series", "step"], key=lambda c: c.map(order) if c.name == "panel" else c
    )
    return make(
        source,
        rows,
        id="diagnosis-evidence",
        section="Refusal",
        title="The evidence for that verdict",
        y="share",
        shows="Refusals lost; how much of the base's harmless compliance and of its harmful-harmless gap is left; and what "
        f"brings lost refusals back. {BANDS}, paired by request. {ruled(source)}",
        omits="Shares of a loss too small to have a share: where the interval of a rescue is wider than 4, it is left out. "
        "Each panel has its own scale.",
        level=0.0,
    )


def _diagnosis(source: Source) -> dict | None:
    found = (f["details"] for f in source.findings if f.get("id") == "mechanism:refusal-diagnosis")
    return next((d for d in found if d.get("steps")), None)


# ---------------------------------------------------------------- backtracking

CONDITIONS = {
    "0": "untouched",
    "ablated base": "the base's",
    "ablated refit": "its own",
    "ablated random": "random ones",
    "base 1": "the base's",
    "refit 1": "its own",
    "random 1": "random ones",
}


def backtracking_pair(source: Source) -> Figure | None:
    """Going back at a dead end, with the direction taken out, and with one base difference of it added."""
    rows = source.run.measurements(metric="steered_backtracks_per_opportunity")
    if rows.empty:
        return None
    rows = rows.drop_duplicates(["position", "step"], keep="last")
    out = rows[rows["position"].isin(["0", "ablated base", "ablated refit", "ablated random"])]
    added = rows[rows["position"].isin(["0", "base 1", "refit 1", "random 1"])]
    layers = ", ".join(str(layer) for layer in sorted(set(rows["layer"])))
    parts = [
        part.assign(panel=panel, series=part["position"].map(CONDITIONS))
        for part, panel in ((out, "Direction taken out|at every layer"), (added, "Direction added|one base difference"))
    ]
    return make(
        source,
        concat(parts),
        id="backtracking-pair",
        section="Backtracking",
        title="Does the backtracking direction make it go back?",
        y="share of dead ends left",
        domain=SHARE,
        shows="Dead ends that the model goes back from, with the direction removed and with it added, beside random "
        f"directions of equal norm (layer {layers}). {BANDS}. {ruled(source)}",
        omits="Half and double doses, whether the answers stay right (`steered_score`), and other positions than the word "
        "after the move.",
    )


def suppression(source: Source) -> Figure | None:
    """What answers lose when they may not go back."""
    panels = {
        "suppression_loss": "Going back forbidden|right answers lost",
        "suppression_loss_control": "Other words forbidden|right answers lost",
        "suppression_loss_beyond_control": "Beyond the control|right answers lost",
    }
    rows = concat([source.metric(m).assign(panel=panel) for m, panel in panels.items()])
    if rows.empty:
        return None
    return make(
        source,
        rows.assign(series=rows["domain"].map(source.name_of)),
        id="suppression",
        section="Backtracking",
        title="What is lost when the model may not go back",
        y="share of answers",
        shows="Right answers lost when the tokens that begin a go-back are forbidden, beside as many other tokens of like "
        f"frequency. {BANDS}, paired by question. {ruled(source)}",
        omits="What the model would learn to do instead. Each panel has its own scale.",
        level=0.0,
    )
