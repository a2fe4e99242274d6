"""Findings of one run: every domain's phase as a sentence, and all findings in the order in which a reader decides by
them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..association.finding import association_findings
from ..choice.advice import advice_finding
from ..choice.frontier import Frontier
from ..choice.recommendation import recommendation_finding
from ..choice.tradeoff import tradeoff_finding
from ..prediction.first_mover import threshold_finding
from ..procedure.index_finding import procedure_index_finding
from ..procedure.mechanism import mechanism_findings, procedure_findings
from ..record import Run
from ..refusal.diagnosis_finding import diagnosis_finding
from ..refusal.refusal import refusal_finding
from ..scores.finding import missing_scores
from ..statistics.aggregates import ASSUMED_CORRELATION
from ..trajectories.length_finding import REASONING, length_finding
from ..trajectories.phases import FLAT, Phase, judge
from ..trajectories.trajectory import Trajectory
from ..types import GROUPS, Estimate, Finding
from .cautions import dip_split, one_seed_warning, split_clause, warnings_that_change_reading
from .evidence import files_of, is_declared
from .wording import against_base, bounds, number, plain_name, title, with_interval


def build_findings(
    run: Run,
    trajectories: Mapping[str, Trajectory],
    phases: Mapping[str, Phase],
    associations: pd.DataFrame,
    troubles: Mapping[str, str],
    traded: Frontier | None = None,
) -> list[Finding]:
    """All findings: what to do, at which price, warnings that change how scores read, phases by group, then the accounts
    behind them.

    `troubles` holds, by domain, why it has no trajectory.
    """
    domains = run.domains()
    ordered = sorted(domains, key=lambda d: (GROUPS.index(domains[d]) if domains[d] in GROUPS else len(GROUPS), d))
    findings: list[Finding | None] = [advice_finding(run, trajectories, phases)]
    findings.append(recommendation_finding(run, trajectories, traded))
    findings.append(tradeoff_finding(run, trajectories, phases))
    findings.append(refusal_finding(run))
    findings += missing_scores(run, trajectories)
    findings += warnings_that_change_reading(run, trajectories, phases)
    for domain in ordered:
        if domain in phases:
            findings.append(phase_finding(run, trajectories[domain], phases[domain]))
        else:
            findings.append(_unjudged(domain, domains[domain], troubles.get(domain, "no trajectory"), run))
    findings += mechanism_findings(run)
    findings.append(diagnosis_finding(run))
    findings.append(procedure_index_finding(run, trajectories))
    findings += procedure_findings(run, trajectories)
    findings += association_findings(associations)
    findings += [
        length_finding(run, trajectories[d], phases[d]) for d in ordered if d in phases and domains[d] in REASONING
    ]
    findings.append(threshold_finding(run, trajectories))
    findings.append(one_seed_warning(run))
    return [f for f in findings if f is not None]


def phase_finding(run: Run, trajectory: Trajectory, phase: Phase) -> Finding:
    domain, group = trajectory.domain, trajectory.group
    split = dip_split(run, domain, phase) if phase.depth.defined and phase.depth.lo > 0 else None
    sentence = phase_sentence(title(domain, group), phase)
    if split is not None:
        sentence += " " + split_clause(split)
    details = _details(phase, group) | ({"split": split} if split is not None else {})
    if trajectory.matrix is None and phase.band is not None:
        clause, assumed = _if_paired(trajectory)
        sentence, details = f"{sentence} {clause}", details | {"assuming_paired": assumed}
    first, last = int(phase.steps[0]), int(phase.steps[-1])
    return Finding(
        id=f"phase:{domain}",
        kind="phase",
        sentence=sentence,
        domain=domain,
        metric=trajectory.metric,
        verdict=phase.verdict,
        estimate=phase.final,
        step=last,
        method=phase.band.method if phase.band else "none",
        evidence=files_of(run, ["score_strict"], [first, phase.trough_step, phase.peak_step, last], domain=domain),
        would_overturn=_would_overturn(phase),
        exploratory=not is_declared(run, domain, trajectory.metric),
        details=details,
    )


def _if_paired(trajectory: Trajectory) -> tuple[str, dict[str, Any]]:
    """The verdict if scores at two checkpoints were as correlated as is often seen: labelled, as nothing here shows it."""
    r = ASSUMED_CORRELATION
    phase = judge(trajectory, correlation=r)
    numbers = {
        "correlation": r,
        "verdict": phase.verdict,
        "depth": interval(phase.depth),
        "final": interval(phase.final),
    }
    return (
        f"Aggregates only, unpaired; assuming (nothing here shows it) that errors at two checkpoints correlate by {r}: "
        f"{phase.verdict}, {_trough(phase)}, {against_base(phase.final)} at the end.",
        numbers,
    )


def phase_sentence(subject: str, phase: Phase) -> str:
    """One sentence: the verdict, the scores and differences it rests on with their intervals, and the smallest
    detectable dip."""
    if phase.band is None:
        seen = ", ".join(f"{with_interval(e)} at step {s}" for s, e in _seen(phase))
        return (
            f"{subject} is undecidable: {phase.reason}{'; ' * bool(seen)}{seen}; no dip is detectable (n = {phase.n})."
        )
    start = f"{number(phase.base.value)} at step 0"
    end = f"{against_base(phase.final)} at step {int(phase.steps[-1])}"
    trough = _trough(phase)
    before_end = "" if phase.trough_step == phase.steps[-1] else f"{trough}, "
    dip, late = phase.depth.lo > 0, (phase.trough_step or 0) > (phase.peak_step or 0)
    then, below = "dips, then " * (dip and not late), ", to below base" * (dip and late)
    first = f"{trough}, " if then else ""
    body = {
        "dips-and-recovers": f"dips and recovers: {start}, {trough}, {end}",
        "under-optimised": f"is under-optimised: {start}, {trough}, {end} ({phase.reason})",
        "degrades": f"degrades: {start}, {before_end}{end}, with no significant rise",
        "improves": f"improves: {start}, {end}, and never significantly below base",
        "overfits": f"{then}overfits{below}: {start}, {first}{_peak(phase)}, {before_end * bool(below)}{end}",
        "flat": f"stays flat: {start}, within 3 points of it at every checkpoint {_widest(phase)}, {end}",
        "undecidable": f"is undecidable: {start}, {trough}, {end}; {phase.reason}",
    }[phase.verdict]
    flag = "; the dip rests on a single checkpoint" if phase.single_checkpoint_dip else ""
    return f"{subject} {body}{flag}; {_margin(phase)}."


def _trough(phase: Phase) -> str:
    if phase.depth.value <= 0:
        return "no checkpoint shown lower"
    depth = f"{number(phase.depth.value)} lower {bounds(phase.depth.lo, phase.depth.hi)}"
    return f"{depth} at step {phase.trough_step} (selection-corrected)"


def _peak(phase: Phase) -> str:
    above_last = (
        f"{number(phase.peak_vs_last.value)} above the last {bounds(phase.peak_vs_last.lo, phase.peak_vs_last.hi)}"
    )
    return f"{against_base(phase.peak)} at step {phase.peak_step}, which is {above_last}"


def _widest(phase: Phase) -> str:
    assert phase.band is not None
    return f"(band {bounds(float(phase.band.lo.min()), float(phase.band.hi.max()))}, limit {FLAT:.2f})"


def _margin(phase: Phase) -> str:
    more = ", more than the base has to lose" if phase.margin > phase.base.value else ""
    units = f"n = {phase.n}" + (f" objects, {phase.items} items" if phase.items > phase.n else "")
    return f"smallest detectable dip {number(phase.margin)}{more} (seen 9 times in 10; {units})"


def _seen(phase: Phase) -> list[tuple[int, Estimate]]:
    ends = {int(phase.steps[0]): phase.base, int(phase.steps[-1]): phase.last} if len(phase.steps) else {}
    return [(s, e) for s, e in ends.items() if e.defined]


def _would_overturn(phase: Phase) -> str:
    if phase.band is None:
        return "checkpoints from step 0 on, with the same items at each"
    items = math.ceil(phase.n * (phase.margin / 0.05) ** 2 / 50) * 50
    return {
        "dips-and-recovers": f"another seed, or checkpoints beside step {phase.trough_step}, without the dip",
        "under-optimised": "a longer run on the same schedule shape that does not rise further",
        "degrades": "a longer run, or another seed, that comes back to base",
        "improves": "another seed that ends at or below base",
        "overfits": f"another seed, or checkpoints beside step {phase.peak_step}, without the peak",
        "flat": "more items: a change of less than 3 points is beyond these",
        "undecidable": f"more items: about {items} would show a dip of 0.05",
    }[phase.verdict]


def _details(phase: Phase, group: str) -> dict[str, Any]:
    """Plain JSON values only, so that what is read back equals what was written."""
    band = phase.band
    return {
        "group": group,
        "n": phase.n,
        "items": phase.items,
        "reason": phase.reason,
        "score_base": interval(phase.base),
        "score_last": interval(phase.last),
        "dip": bool(phase.depth.lo > 0),  # beyond what so many looks at noise give, whatever came after it
        "depth": interval(phase.depth),
        "smallest_detectable_dip": float(phase.margin),
        "trough_step": phase.trough_step,
        "trough_interval": _list(phase.trough_interval),
        "recovery_step": phase.recovery_step,
        "recovery_interval": _list(phase.recovery_interval),
        "peak_step": phase.peak_step,
        "peak": interval(phase.peak),
        "peak_vs_last": interval(phase.peak_vs_last),
        "single_checkpoint_dip": phase.single_checkpoint_dip,
        "band_critical": math.nan if band is None else band.critical,
        "band_method": "none" if band is None else band.method,
    }


def interval(e: Estimate) -> dict[str, float]:
    return {"value": float(e.value), "lo": float(e.lo), "hi": float(e.hi)}


def _list(pair: tuple[int | None, int | None] | None) -> list[int | None] | None:
    return None if pair is None else list(pair)


def _unjudged(domain: str, group: str, why: str, run: Run) -> Finding:
    return Finding(
        id=f"phase:{domain}",
        kind="phase",
        sentence=f"{title(domain, group)} is undecidable: {why}.",
        domain=domain,
        metric="strict",
        verdict="undecidable",
        would_overturn=f"measuring the same items of {plain_name(domain)} at every checkpoint",
        exploratory=not is_declared(run, domain),
        details={"group": group, "reason": why},
    )
