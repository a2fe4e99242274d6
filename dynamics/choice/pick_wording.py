"""What is said of a pick: for people, and as JSON."""

from __future__ import annotations

import math
from typing import Any

from ..findings.wording import bounds, listing, number, plain_name, signed, step_list, with_interval
from ..types import Estimate
from .pick import Constraint, Pick, interval_meets


def pick_lines(pick: Pick) -> list[str]:
    """The path (or the step, where there is no folder) on a line of its own, then why."""
    if pick.step is None:
        return ["none", *_why_none(pick)]
    return [str(pick.path) if pick.path is not None else f"step {pick.step}", *_why(pick)]


def pick_sentence(pick: Pick) -> str:
    """The same in one paragraph, without the path."""
    if pick.step is None:
        return " ".join(_why_none(pick))
    return " ".join(_why(pick))


def pick_json(pick: Pick) -> dict[str, Any]:
    """Plain JSON; what is undefined is null."""
    return {
        "run": pick.run,
        "preference": pick.preference.text,
        "sure": pick.sure,
        "step": pick.step,
        "path": None if pick.path is None else str(pick.path),
        "objective": str(pick.preference.objective),
        "domains": list(pick.domains),
        "estimate": _plain(pick.choice.estimate),
        "above_base": _plain(pick.choice.gain),
        "constraints": [
            {"constraint": str(c), "estimate": _plain(e), "interval_meets": meets} for c, e, meets in pick.constraints
        ],
        "not_separable_from_the_best": list(pick.ties),
        "candidates": list(pick.steps),
        "left_out": list(pick.left_out),
        "nearest": None
        if pick.nearest is None
        else {
            "step": pick.nearest[0],
            "missed": [{"constraint": str(m.constraint), "estimate": _plain(m.estimate)} for m in pick.nearest[1]],
        },
    }


# ---------------------------------------------------------------- parts


def _why(pick: Pick) -> list[str]:
    choice, digits = pick.choice, _digits(pick)
    assert pick.step is not None
    lines = [
        f"Step {pick.step}: {_called(pick)} {with_interval(choice.estimate, digits)}{_against_base(pick, digits)}. "
        f"The interval holds for {_all_candidates(pick)}, so for whichever is picked{_correction(pick, digits)}."
    ]
    for c, e, meets in pick.constraints:
        lines.append(
            f"{c}: {_has(c, e)}; its interval {'meets it too' if meets else 'does not: it may be missed in truth'}."
        )
    lines.append(_tie_line(pick))
    if pick.left_out:
        lines.append(f"Not considered, since not all of this was measured there: {step_list(pick.left_out)}.")
    if pick.path is None:
        lines.append("It was measured, and its folder is not there: only what was measured of it is left.")
    return lines


def _correction(pick: Pick, digits: int) -> str:
    off = number(abs(pick.choice.overrated), digits + 1)
    if float(off) == 0:
        return ""
    return f"; the estimate is {off} less good than measured, which is by how much picking the best overrates"


def _all_candidates(pick: Pick) -> str:
    return f"all {len(pick.steps)} checkpoints at once" if len(pick.steps) > 1 else "the one checkpoint there is"


def _called(pick: Pick) -> str:
    name = str(pick.preference.objective)
    if len(pick.domains) > 1:
        return f"{name} (mean of {listing(plain_name(d) for d in pick.domains)})"
    return f"{name} ({plain_name(pick.domains[0])})" if pick.domains[0] != name.split(".")[0] else name


def _against_base(pick: Pick, digits: int) -> str:
    if pick.step == 0:
        return ", the base itself"
    gain = pick.choice.gain
    if not gain.defined:
        return ""
    better = gain.hi < 0 if pick.preference.direction == "min" else gain.lo > 0
    return f", {signed(gain, digits)} against base" + ("" if better else ", not shown to be better than it")


def _has(constraint: Constraint, e: Estimate) -> str:
    digits = 2 if abs(e.value) <= 1 else 1
    return signed(e, digits) + " against base" if constraint.to_base else with_interval(e, digits)


def _tie_line(pick: Pick) -> str:
    choice = pick.choice
    best = pick.steps[choice.best] if choice.best is not None else None
    others = [s for s in pick.ties if s != best]
    how = "it is the best estimate"
    if best != pick.step:
        how = (
            f"the best estimate is that of step {best}; this is the earliest within one standard error of it, as likely "
            "to be the best and less far from the base"
        )
    meeting = "those that meet the constraints" if pick.preference.constraints else "all"
    if not others:
        return f"Among {meeting} {how}, and can be told from every other."
    return f"Among {meeting} {how}; not to be told from the best: {step_list(others, most=12)}."


def _why_none(pick: Pick) -> list[str]:
    assert pick.nearest is not None
    step, missed = pick.nearest
    what = "bound" if pick.sure else "estimate"
    lines = [f"No checkpoint of {len(pick.steps)} meets {listing(pick.preference.constraints)} by its {what}."]
    told = listing(f"{m.constraint} (it has {_has(m.constraint, m.estimate)})" for m in missed)
    lines.append(f"Nearest: step {step}, which misses {told}.")
    for c, limits in zip(pick.preference.constraints, pick.choice.limits, strict=True):
        up = c.operator in (">=", ">")
        end = (max if up else min)(range(len(limits)), key=[e.value for e in limits].__getitem__)
        e = limits[end]
        lines.append(f"{c.name}: {number(e.value)} {bounds(e.lo, e.hi)} at best (step {pick.steps[end]}).")
    if pick.sure and any(_met_by_estimates(pick)):
        lines.append("Without --sure, by the estimates alone, there is one that meets them.")
    return lines


def _met_by_estimates(pick: Pick) -> list[bool]:
    columns = range(len(pick.steps))
    pairs = list(zip(pick.preference.constraints, pick.choice.limits, strict=True))
    return [
        all(interval_meets(c, Estimate(e[t].value, e[t].value, e[t].value, e[t].n, "")) for c, e in pairs)
        for t in columns
    ]


def _digits(pick: Pick) -> int:
    value = abs(pick.choice.estimate.value)
    return 2 if math.isnan(value) or value <= 1 else 1


def _plain(e: Estimate) -> dict[str, Any] | None:
    if not e.defined:
        return None
    return {"value": e.value, "lo": e.lo, "hi": e.hi, "n": e.n, "method": e.method}
