"""What the length of responses did, in a sentence; and over several runs, how often its contraction dates the recovery."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..findings.evidence import files_of
from ..findings.wording import number, plain_name, signed
from ..record import Run
from ..statistics.intervals import proportion
from ..types import Estimate, Finding
from .length_diagnostic import AGREES, MIN_SWAPS, LengthDiagnostic, diagnose_length, swap_p
from .phases import Phase, judge
from .trajectory import PRESENCE, Trajectory, from_run

REASONING = ("id_reasoning", "ood_reasoning")
_SAID = {
    "surge-and-contraction": "surges and contracts",
    "surge": "surges and is not shown to contract",
    "rising-again": "surges, contracts, and rises again",
    "termination-collapse": "grows because responses do not end: a termination collapse, not longer answers",
    "contraction": "contracts without a surge",
    "none": "shows no surge",
}


def diagnose_run(run: Run, domain: str, score: Trajectory, phase: Phase) -> LengthDiagnostic | None:
    """The length diagnostic of a domain; None where lengths were not measured."""
    metrics = run.item_metrics(domain)
    if "tokens" not in metrics:
        return None
    finished = from_run(run, domain, "finished") if "finished" in metrics else None
    return diagnose_length(from_run(run, domain, "tokens"), score, phase, finished)


def length_finding(run: Run, score: Trajectory, phase: Phase) -> Finding | None:
    """The published diagnostic held against this run, one domain; None where lengths were not measured."""
    found = diagnose_run(run, score.domain, score, phase)
    if found is None:
        return None
    steps = [0, found.peak_step, int(score.steps[-1])]
    estimate = found.to_recovery if found.to_recovery.defined else found.surge
    return Finding(
        id=f"length:{score.domain}",
        kind="mechanism",
        sentence=length_sentence(plain_name(score.domain), found, phase),
        domain=score.domain,
        metric="tokens",
        verdict="undecidable" if found.shape == "undecidable" else found.shape,
        estimate=estimate if estimate.defined else None,
        step=found.peak_step,
        method="paired simultaneous bands; checkpoints that survive comparison; slope over the last third",
        evidence=files_of(run, ["tokens_restricted_mean", "finish_rate"], steps, domain=score.domain),
        would_overturn="other seeds in which length and score date each other otherwise",
        exploratory=True,
        details={
            "n": found.n,
            "reading": found.reading,
            "agrees": agreement(found, phase),
            "moving": found.moving,
            "peak_step": found.peak_step,
            "peak_interval": None if found.peak_interval is None else list(found.peak_interval),
            **{
                name: {"value": float(e.value), "lo": float(e.lo), "hi": float(e.hi)}
                for name, e in (
                    ("surge", found.surge),
                    ("contraction", found.contraction),
                    ("unfinished_part", found.unfinished_part),
                    ("slope", found.slope),
                    ("to_trough", found.to_trough),
                    ("to_recovery", found.to_recovery),
                )
            },
        },
    )


def length_sentence(name: str, found: LengthDiagnostic, phase: Phase) -> str:
    if found.shape == "undecidable":
        return f"What the length of responses in {name} did cannot be said: {found.reason}."
    parts = [f"The length of responses in {name} {_SAID[found.shape]}: "]
    at = f"{signed(found.surge, 0)} tokens against base at step {found.peak_step}"
    assert found.peak_interval is not None
    lo, hi = found.peak_interval
    highest = (
        f"the highest checkpoint, which lies between steps {lo} and {hi}" if lo != hi else "the highest checkpoint"
    )
    parts.append(f"{at}, {highest}")
    if found.shape == "termination-collapse":
        parts.append(f"; unfinished responses carry {number(100 * found.unfinished_part.value, 0)} % of it")
    elif found.shape in ("surge-and-contraction", "rising-again"):
        parts.append(f", and {signed(_negative(found.contraction), 0)} from there to the end")
    parts.append("." + _dating(found) + _reading(found, phase))
    return "".join(parts)


def agreement(found: LengthDiagnostic, phase: Phase) -> bool | None:
    """Whether the published reading of the length is the score's own verdict; None where either says nothing."""
    if found.reading == "none" or phase.verdict == "undecidable":
        return None
    return phase.verdict in AGREES[found.reading]


def length_findings(runs: Sequence[Run], domains: Mapping[str, str] | None = None) -> list[Finding]:
    """Over runs: does the contraction of the length date the recovery of the score, and is the published reading right?

    One finding per reasoning domain (`domains`: name to group, by default those of the runs). Intervals count runs; the swap
    over runs needs five in which surge, contraction, dip and recovery are all shown. None where no run has lengths.
    """
    known = (
        domains if domains is not None else {d: g for run in runs for d, g in run.domains().items() if g in REASONING}
    )
    found = [_over_runs(runs, domain) for domain in sorted(known)]
    return [f for f in found if f is not None]


# ---------------------------------------------------------------- parts


def _over_runs(runs: Sequence[Run], domain: str) -> Finding | None:
    seen: list[tuple[LengthDiagnostic, Phase]] = []
    for run in runs:
        if {"tokens", PRESENCE} <= set(run.item_metrics(domain)):
            score = from_run(run, domain)
            phase = judge(score)
            diagnostic = diagnose_run(run, domain, score, phase)
            assert diagnostic is not None
            seen.append((diagnostic, phase))
    if not seen:
        return None
    surged = proportion(sum(d.shape in ("surge-and-contraction", "rising-again") for d, _ in seen), len(seen))
    dated = [d for d, _ in seen if d.to_recovery.defined]
    apart = [d for d in dated if d.to_recovery.lo > 0 or d.to_recovery.hi < 0]
    told = [a for a in (agreement(d, p) for d, p in seen) if a is not None]
    p = swap_p([d.dates for d in dated if d.dates is not None])
    if math.isnan(p):
        verdict, said = (
            "undecidable",
            f"whether it dates the recovery cannot be said of {len(dated)} (at least {MIN_SWAPS} needed)",
        )
    else:
        verdict = "dates" if p <= 0.05 else "none"
        does = (
            "dates the recovery better than other runs' contractions do"
            if p <= 0.05
            else "is not shown to date the recovery"
        )
        said = f"it {does} (swap over runs, p {number(p, 3)}; what all runs share is no evidence)"
    right = proportion(sum(told), len(told))
    agree = (
        f" The published reading of the length is the score's own verdict in {sum(told)} of {len(told)} ({_percent(right)})."
        if told
        else ""
    )
    count = f"{round(surged.value * len(seen))} of {len(seen)} run{'s' * (len(seen) != 1)}"
    return Finding(
        id=f"length:runs:{domain}",
        kind="association",
        sentence=f"The length of responses in {plain_name(domain)} surges and contracts in {count} ({_percent(surged)}); of the "
        f"{len(dated)} in which the score dips and comes back as well, contraction and recovery are shown to lie apart in "
        f"{len(apart)}; {said}.{agree}",
        domain=domain,
        metric="tokens",
        verdict=verdict,
        estimate=right if told else surged,
        method="Wilson's interval over runs; contraction dates swapped between runs",
        would_overturn="more runs, with other schedules, in which the two come apart",
        exploratory=True,
        details={
            "runs": len(seen),
            "dated": len(dated),
            "apart": len(apart),
            "agree": sum(told),
            "told": len(told),
            "p": p,
        },
    )


def _dating(found: LengthDiagnostic) -> str:
    e = found.to_recovery
    if not e.defined:
        return ""
    order = "before" if e.value < 0 else "after"
    half = f"half of it comes {_steps(_negative(e) if e.value < 0 else e)} {order} half of the score's"
    if e.lo > 0 or e.hi < 0:
        return f" It does not date the recovery: {half}."
    return (
        f" It is not shown to lie apart from the recovery: {half}; {number(100 * found.chance, 0)} % of the checkpoints lie as "
        "near, so one run proves nothing."
    )


def _reading(found: LengthDiagnostic, phase: Phase) -> str:
    agrees = agreement(found, phase)
    if found.reading == "none":
        return ""
    state = "still moving" if found.moving else "at rest"
    right = {True: "agrees", False: "disagrees", None: "cannot confirm it"}[agrees]
    return (
        f" At the end it is {state}, by the published diagnostic {found.reading}; the score ({phase.verdict}) {right}."
    )


def _steps(e: Estimate) -> str:
    return f"{number(e.value, 0)} steps [{number(e.lo, 0)}, {number(e.hi, 0)}]"


def _negative(e: Estimate) -> Estimate:
    return Estimate(-e.value, -e.hi, -e.lo, e.n, e.method)


def _percent(e: Estimate) -> str:
    if math.isnan(e.lo):
        return "no interval"
    return f"{number(100 * e.value, 0)} % [{number(100 * e.lo, 0)}, {number(100 * e.hi, 0)}]"
