"""Is the refusal direction one of refusal, and did the model learn a procedure or a style?"""

from __future__ import annotations

from collections.abc import Mapping

from .association import middle
from .evidence import estimate_at, files_of, row_estimate
from .record import Run
from .trajectories import Trajectory
from .types import Estimate, Finding
from .wording import listing, plain_name, step_list, with_interval

CAUSAL = (
    "refusal_rate_base",
    "refusal_rate_ablated",
    "refusal_rate_ablated_random",
    "refusal_rate_added",
    "refusal_rate_added_random",
)


def mechanism_findings(run: Run) -> list[Finding]:
    """Is the direction one of refusal? Only if, at step 0, ablating it removes refusals and adding it causes them,
    each beyond an equal-norm random direction (intervals apart); otherwise it recognises harm and is called so."""
    tables = {metric: run.measurements(metric=metric) for metric in CAUSAL}
    tables = {metric: t[t["step"] == 0] if len(t) else t for metric, t in tables.items()}
    if any(t.empty for metric, t in tables.items() if metric != "refusal_rate_base"):
        return []
    layers = set.intersection(*(set(t["layer"]) for m, t in tables.items() if m != "refusal_rate_base"))
    if not layers:
        return []
    layer = middle(sorted(layers))  # fixed, not the best one
    e = {m: row_estimate(t[t["layer"] == layer].iloc[-1]) for m, t in tables.items() if m != "refusal_rate_base"}
    base_rows = tables["refusal_rate_base"]
    base = row_estimate(base_rows.iloc[-1]) if len(base_rows) else None
    removes = e["refusal_rate_ablated"].hi < e["refusal_rate_ablated_random"].lo
    causes = e["refusal_rate_added"].lo > e["refusal_rate_added_random"].hi
    passes = removes and causes
    untouched = f" ({with_interval(base)} untouched)" if base is not None and base.defined else ""
    numbers = (
        f"refusals with it ablated {with_interval(e['refusal_rate_ablated'])}, with a random direction ablated "
        f"{with_interval(e['refusal_rate_ablated_random'])}{untouched}; refusals of harmless requests with it added "
        f"{with_interval(e['refusal_rate_added'])}, with a random one of equal norm "
        f"{with_interval(e['refusal_rate_added_random'])}"
    )
    fails = ["remove refusals"] * (not removes) + ["cause them"] * (not causes)
    reading = (
        "It passes both at step 0 and is called the refusal direction."
        if passes
        else f"It does not {' or '.join(fails)} beyond a random direction: it is called harm recognition here, and no "
        "diagnosis of refusal is read from it."
    )
    overturn = (
        "other prompts or random directions under which the intervals overlap"
        if passes
        else "more prompts, or another layer fixed in advance, at which both intervals come apart"
    )
    files = tuple(dict.fromkeys(f for t in tables.values() if len(t) for f in t["file"]))
    return [
        Finding(
            id="mechanism:refusal-direction",
            kind="mechanism",
            sentence=f"The base's harmful-minus-harmless direction at layer {layer}: {numbers}. {reading}",
            metric="refusal_rate_ablated",
            verdict="refusal direction" if passes else "harm recognition",
            estimate=e["refusal_rate_ablated"],
            step=0,
            method="ablation and addition against an equal-norm random direction, intervals apart",
            evidence=files,
            would_overturn=overturn,
            exploratory=True,
            details={"layer": layer, "removes": removes, "causes": causes}
            | {m: {"value": v.value, "lo": v.lo, "hi": v.hi} for m, v in e.items()},
        )
    ]


# ---------------------------------------------------------------- procedure or style

_PROCEDURE = {
    "backtracks_per_opportunity": "go-backs per opportunity",
    "backtracks_per_1k_tokens": "go-backs per 1k tokens",
    "cues_per_1k_tokens": "verbal cues per 1k tokens",
    "tokens_restricted_mean": "tokens per response",
}


def procedure_findings(run: Run, trajectories: Mapping[str, Trajectory]) -> list[Finding]:
    """Per search domain: did going back rise where it was called for, or only its words and the length?"""
    found = []
    for domain, trajectory in sorted(trajectories.items(), key=lambda pair: (pair[1].group, pair[0])):
        first, last = int(trajectory.steps[0]), int(trajectory.steps[-1])
        pairs = {
            m: (estimate_at(run, m, first, domain=domain), estimate_at(run, m, last, domain=domain)) for m in _PROCEDURE
        }
        known = {m: (a, b) for m, (a, b) in pairs.items() if a is not None and b is not None}
        if first == last or "backtracks_per_opportunity" not in known:
            continue
        numbers = "; ".join(f"{_PROCEDURE[m]} {with_interval(a)} to {with_interval(b)}" for m, (a, b) in known.items())
        verdict, reading = _procedure_reading(known)
        subject = f"{plain_name(domain).capitalize()}, procedure or style, {step_list([first, last])}"
        found.append(
            Finding(
                id=f"mechanism:procedure:{domain}",
                kind="mechanism",
                sentence=f"{subject}: {numbers}. {reading}",
                domain=domain,
                metric="backtracks_per_opportunity",
                verdict=verdict,
                estimate=known["backtracks_per_opportunity"][1],
                step=last,
                method="structural parse against lexical cues; intervals apart",
                evidence=files_of(run, list(known), [first, last], domain=domain),
                would_overturn="a suppression test: banning go-backs costs no more than banning other frequent words",
                exploratory=True,
                details={m: {"first": a.value, "last": b.value} for m, (a, b) in known.items()},
            )
        )
    return found


def _procedure_reading(known: Mapping[str, tuple[Estimate, Estimate]]) -> tuple[str, str]:
    before, after = known["backtracks_per_opportunity"]
    words = [
        m for m in ("cues_per_1k_tokens", "tokens_restricted_mean") if m in known and known[m][1].lo > known[m][0].hi
    ]
    grown = {"cues_per_1k_tokens": "cues", "tokens_restricted_mean": "length"}
    if not after.defined:
        return "undecidable", "At the end no dead end was visited from which going back could be counted."
    if not before.defined:
        return "undecidable", "At the base no dead end was visited, so there is nothing to compare with."
    if after.lo > before.hi:
        also = f", beside more {listing(grown[m] for m in words)}" if words else ""
        return "procedure", f"The model goes back more often where it has to: a change of procedure{also}."
    if after.hi < before.lo:
        return "less-procedure", "The model goes back less often where it has to."
    if words:
        more = listing(grown[m] for m in words)
        return "style", f"More {more} without more going back where it has to: style, as far as this shows."
    return "undecidable", "Neither going back where it has to nor its words or length changed beyond the intervals."
