"""Warnings: what makes a score read differently from what it seems to say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..record import Run
from ..trajectories.phases import Phase
from ..trajectories.trajectory import Trajectory
from ..types import Finding
from .evidence import estimate_at, files_of
from .wording import number, plain_name, step_list, title

TOP3_LIMIT = 0.30  # beyond this share, three responses speak for a whole checkpoint
FACTORS = {"finish_rate": "finishing", "parse_rate": "parsing", "accuracy_of_parsed": "accuracy"}
_MEASURED = {
    "finish_rate": "finish rate",
    "parse_rate": "parse rate among the finished",
    "accuracy_of_parsed": "accuracy among the parsed",
}


def warnings_that_change_reading(
    run: Run, trajectories: Mapping[str, Trajectory], phases: Mapping[str, Phase]
) -> list[Finding]:
    found = failed_probes(run)
    for domain, trajectory in trajectories.items():
        phase = phases[domain]
        found += [w for w in (all_zero(run, trajectory), termination_collapse(run, trajectory, phase)) if w is not None]
    return found + top_responses(run)


def failed_probes(run: Run) -> list[Finding]:
    """One warning per probe and reason; a failure that was measured again since is not one any more."""
    table = run.measurements(failed=True)
    if table.empty:
        return []
    failed, ok = table[table["status"] == "failed"], table[table["status"] == "ok"]
    if failed.empty:
        return []
    again = ok.groupby(["probe", "step"])["created"].max()
    since = [again.get((p, s), -math.inf) for p, s in zip(failed["probe"], failed["step"], strict=True)]
    failed = failed[failed["created"].to_numpy() > np.array(since)]
    found = []
    for i, ((probe, domain, reason), rows) in enumerate(failed.groupby(["probe", "domain", "reason"])):
        where = f" on {plain_name(domain)}" if domain else ""
        why = reason or "no reason recorded"
        found.append(
            Finding(
                id=f"warning:failed:{probe}:{i}",
                kind="warning",
                sentence=f"The probe {probe}{where} failed at {step_list(rows['step'])}: {why}. "
                "What it measures is missing there, not zero.",
                domain=domain,
                verdict="failed-probe",
                step=int(rows["step"].max()),
                method="record",
                evidence=tuple(sorted(set(rows["file"]))),
                would_overturn="running the probe again at these checkpoints",
                exploratory=False,
                details={"probe": probe, "steps": sorted(int(s) for s in set(rows["step"]))},
            )
        )
    return found


def all_zero(run: Run, trajectory: Trajectory) -> Finding | None:
    """A score of exactly 0 on every item is more often a broken template or parser than a model that knows nothing."""
    if trajectory.matrix is None or not len(trajectory.items):
        return None
    zero = np.all(np.nan_to_num(trajectory.matrix) == 0, axis=0)
    if not zero.any():
        return None
    steps = [int(s) for s in trajectory.steps[zero]]
    parse = estimate_at(run, "parse_rate", steps[0], domain=trajectory.domain)
    finish = estimate_at(run, "finish_rate", steps[0], domain=trajectory.domain)
    beside = [
        f"{label} {number(e.value)}" for label, e in (("finish rate", finish), ("parse rate", parse)) if e is not None
    ]
    where = f"{step_list(steps)}" + (f" (at step {steps[0]}: {', '.join(beside)})" if beside else "")
    subject = title(trajectory.domain, trajectory.group)
    return Finding(
        id=f"warning:all-zero:{trajectory.domain}",
        kind="warning",
        sentence=f"{subject} scores exactly 0 on all {trajectory.n} items at {where}: read samples there before "
        "believing it, a broken template or parser looks the same.",
        domain=trajectory.domain,
        metric=trajectory.metric,
        verdict="all-zero",
        step=steps[0],
        method="count",
        evidence=files_of(run, ["score_strict"], steps[:3], domain=trajectory.domain),
        would_overturn="samples that are answers, and wrong",
        exploratory=False,
        details={"steps": steps},
    )


def dip_split(run: Run, domain: str, phase: Phase) -> dict[str, Any] | None:
    """Which factor of strict = finish rate x parse rate x accuracy of the parsed carries the dip at the trough.

    Shares are of the log ratio of the scores, so that they add up to 1. A factor of 0 counts as half an item. None
    where a factor was not measured.
    """
    if phase.trough_step is None:
        return None
    factors: dict[str, Any] = {}
    logs = {}
    for metric, factor in FACTORS.items():
        before, after = (estimate_at(run, metric, s, domain=domain) for s in (0, phase.trough_step))
        if before is None or after is None or not before.defined:
            return None
        floor = 1 / (2 * max(phase.n, 1))
        # Nothing parsed: its accuracy is undefined and takes no share; parsing or finishing carries it all.
        value = after.value if after.defined else before.value
        logs[factor] = math.log(max(value, floor) / max(before.value, floor))
        factors[factor] = {"metric": metric, "base": before.value, "trough": after.value}
    total = sum(logs.values())
    if total >= 0:
        return None
    for factor in factors:
        factors[factor]["share"] = logs[factor] / total
    return {"carrier": min(logs, key=lambda f: logs[f]), "step": phase.trough_step, "factors": factors}


def split_clause(split: dict[str, Any]) -> str:
    """A sentence saying which factor carries a dip."""
    factor = split["factors"][split["carrier"]]
    return (
        f"The dip is carried mostly by {split['carrier']} ({_MEASURED[factor['metric']]} "
        f"{number(factor['base'])} at step 0, {number(factor['trough'])} at step {split['step']})."
    )


def termination_collapse(run: Run, trajectory: Trajectory, phase: Phase) -> Finding | None:
    """A dip that answers which never end (or cannot be read) carry says little about ability."""
    if not (phase.depth.defined and phase.depth.lo > 0):
        return None
    split = dip_split(run, trajectory.domain, phase)
    if split is None or split["carrier"] == "accuracy" or split["factors"][split["carrier"]]["share"] <= 0.5:
        return None
    numbers = ", ".join(
        f"{_MEASURED[f['metric']]} {number(f['base'])} to {number(f['trough'])}" for f in split["factors"].values()
    )
    reading = {
        "finishing": "answers that do not end in time, rather than a loss of ability",
        "parsing": "answers that cannot be read, rather than a loss of ability",
    }[split["carrier"]]
    lenient = estimate_at(run, "score_lenient", phase.trough_step or 0, domain=trajectory.domain)
    beside = (
        f"; read leniently the score there is {number(lenient.value)}"
        if lenient is not None and lenient.defined
        else ""
    )
    subject = title(trajectory.domain, trajectory.group)
    return Finding(
        id=f"warning:dip-by-{split['carrier']}:{trajectory.domain}",
        kind="warning",
        sentence=f"The dip at step {phase.trough_step} of {subject} is mostly one of {split['carrier']}: "
        f"{numbers} (from step 0){beside}: {reading}.",
        domain=trajectory.domain,
        metric=split["factors"][split["carrier"]]["metric"],
        verdict="termination-collapse" if split["carrier"] == "finishing" else "format-collapse",
        step=phase.trough_step,
        method="shares of the log ratio of strict = finish x parse x accuracy",
        evidence=files_of(run, list(FACTORS), [0, phase.trough_step], domain=trajectory.domain),
        would_overturn="a larger token budget at the same checkpoint that leaves the score as low",
        exploratory=False,
        details=split,
    )


def top_responses(run: Run) -> list[Finding]:
    """Checkpoints at which three responses hold over 30 % of all go-backs of a domain."""
    table = run.measurements(metric="backtracks_top3_share")
    if table.empty:
        return []
    found = []
    for domain, rows in table[table["value"] > TOP3_LIMIT].groupby("domain"):
        worst = rows.loc[rows["value"].idxmax()]
        found.append(
            Finding(
                id=f"warning:top3:{domain}",
                kind="warning",
                sentence=f"In {plain_name(domain)}, three responses hold over 30 % of all go-backs at "
                f"{step_list(rows['step'])} (at most {number(worst['value'])}, step {int(worst['step'])}): read the "
                "median and the prevalence there, not the mean.",
                domain=domain,
                metric="backtracks_top3_share",
                verdict="few-responses",
                step=int(worst["step"]),
                method="share of the three largest counts",
                evidence=tuple(sorted(set(rows["file"]))[:6]),
                would_overturn="more items at these checkpoints",
                exploratory=False,
                details={"steps": sorted(int(s) for s in rows["step"])},
            )
        )
    return found


def one_seed_warning(run: Run) -> Finding:
    return Finding(
        id="warning:one-seed",
        kind="warning",
        sentence="One run, one seed: intervals cover the choice of test items, not the luck of training; no spread "
        "between seeds is known.",
        verdict="one-seed",
        method="record",
        evidence=("run.json",),
        would_overturn="the same recipe with other seeds",
        exploratory=False,
        details={"seed": run.info.get("seed")},
    )
