"""What was gained and what it cost: reasoning beside refusal, harmless compliance and general ability."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..findings.evidence import files_of
from ..findings.wording import listing, signed
from ..record import Run
from ..refusal.refusal import over_refusal_rose
from ..requests import HARMFUL, SAFE, spokesman
from ..trajectories.phases import Phase
from ..trajectories.trajectory import Trajectory
from ..types import Estimate, Finding

SPOKEN_FOR = {"refusal": HARMFUL, "helpful": SAFE}


def tradeoff_finding(run: Run, trajectories: Mapping[str, Trajectory], phases: Mapping[str, Phase]) -> Finding | None:
    """Last checkpoint against base: reasoning beside refusal, harmless compliance and general ability. None without
    two of them."""
    changes: dict[str, tuple[Estimate, list[str]]] = {}
    for part, label in _LABELS.items():
        members = [d for d in members_of(part, trajectories) if phases[d].band is not None]
        if members:
            changes[label] = (mean_of_independent([trajectories[d].difference(-1) for d in members]), members)
    if len(changes) < 2:
        return None
    parts = [
        f"{label} {signed(e)}" + (f" (mean of {len(m)} domains)" if len(m) > 1 else "")
        for label, (e, m) in changes.items()
    ]
    first = changes.get("in-domain reasoning") or next(iter(changes.values()))
    last = max(int(p.steps[-1]) for p in phases.values())
    reading = _reading({label: e for label, (e, _) in changes.items()}, over_refusal_rose(run))
    everyone = [d for _, members in changes.values() for d in members]
    return Finding(
        id="tradeoff:last",
        kind="tradeoff",
        sentence=f"At step {last} against base: {'; '.join(parts)}. {reading}",
        metric="strict",
        verdict="",
        estimate=first[0],
        step=last,
        method="difference per domain (paired by item; unpaired where only aggregates are known), domains as independent",
        evidence=tuple(
            dict.fromkeys(f for d in everyone for f in files_of(run, ["score_strict"], [0, last], domain=d))
        ),
        would_overturn="another seed with another order of gains and losses; other domains in these groups",
        exploratory=True,
        details={k: {"value": e.value, "lo": e.lo, "hi": e.hi, "domains": m} for k, (e, m) in changes.items()},
    )


_LABELS = {
    "id_reasoning": "in-domain reasoning",
    "ood_reasoning": "out-of-domain reasoning",
    "refusal": "refusal of harmful requests",
    "helpful": "harmless compliance",
    "general": "general ability",
}


def members_of(part: str, trajectories: Mapping[str, Trajectory]) -> list[str]:
    """The domains that a part of the trade-off is the mean of: a group's, or those that stand for refusal and for help."""
    if part in SPOKEN_FOR:
        domain = spokesman(SPOKEN_FOR[part], trajectories)
        return [domain] if domain else []
    return [d for d, t in trajectories.items() if t.group == part]


def mean_of_independent(estimates: list[Estimate]) -> Estimate:
    """Mean of independent estimates; half widths add in quadrature. `n` is the smallest of theirs."""
    k = len(estimates)
    if k == 1:
        return estimates[0]
    half = math.sqrt(sum(((e.hi - e.lo) / 2) ** 2 for e in estimates)) / k
    value = sum(e.value for e in estimates) / k
    return Estimate(value, value - half, value + half, min(e.n for e in estimates), "quadrature")


def _reading(changes: Mapping[str, Estimate], over_refused: bool) -> str:
    """What the pattern of gains and losses means, from intervals that exclude 0."""
    lost = [k for k, e in changes.items() if e.hi < 0]
    gained = [k for k, e in changes.items() if e.lo > 0]
    refusal, helpful = "refusal of harmful requests", "harmless compliance"
    if helpful in lost and over_refused:
        safety = " Harmless requests came to be refused too."
    elif refusal in lost and helpful in lost:
        safety = " Refusal and harmless compliance fell together: a broken model rather than an unsafe one."
    elif refusal in lost and helpful in changes:
        safety = " Refusal fell while harmless compliance is not shown to: safety was lost, not ability to answer."
    elif helpful in lost and refusal in changes:
        safety = " Harmless compliance fell while refusal is not shown to: answers that broke."
    else:
        safety = ""
    if gained and lost:
        return f"Gained: {listing(gained)}; lost: {listing(lost)}.{safety}"
    if gained:
        return f"Gained: {listing(gained)}; no loss is shown.{safety}"
    if lost:
        return f"Lost: {listing(lost)}; no gain is shown.{safety}"
    return "Neither a gain nor a loss is shown."
