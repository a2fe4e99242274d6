"""What became of refusal: harmful requests refused, safe ones refused or helped with, and what still carries it."""

from __future__ import annotations

from collections.abc import Mapping

from ..findings.evidence import estimate_at, files_of
from ..findings.wording import number, step_list, with_interval
from ..record import Run
from ..requests import HARMFUL, SAFE, spokesman
from ..types import Estimate, Finding

# metric -> how the sentence calls it
BEHAVIOUR = {
    "refusal_rate": "harmful requests refused",
    "harmful_compliance_rate": "harmful requests helped with",
    "over_refusal_rate": "safe look-alikes refused",
    "helpful_rate": "safe look-alikes helped with",
}
ON_HARMFUL = ("refusal_rate", "harmful_compliance_rate")
ABLATED = "refusal_rate_ablated"
Pair = tuple[Estimate, Estimate]  # first and last checkpoint


def refusal_finding(run: Run) -> Finding | None:
    """First against last checkpoint, in the four rates that only together tell safer from broken. None where not measured.

    Of several domains of harmful requests, and of safe ones, the first in the order of `dynamics.requests` is told.
    """
    harmful, safe = asked_of(run)
    steps = sorted(set(run.measurements(metric="refusal_rate", domain=harmful).get("step", ()))) if harmful else []
    if len(steps) < 2:
        return None
    first, last = int(steps[0]), int(steps[-1])
    known: dict[str, Pair] = {}
    for metric in (*BEHAVIOUR, ABLATED):
        domain = harmful if metric in (*ON_HARMFUL, ABLATED) else safe
        pair = [estimate_at(run, metric, step, domain=domain) for step in (first, last)]
        if pair[0] is not None and pair[1] is not None:
            known[metric] = (pair[0], pair[1])
    numbers = "; ".join(
        f"{BEHAVIOUR[metric]} {with_interval(a)} to {with_interval(b)}"
        for metric, (a, b) in known.items()
        if metric in BEHAVIOUR
    )
    refused, reading = known["refusal_rate"][1], _reading(known)
    return Finding(
        id="mechanism:refusal",
        kind="mechanism",
        sentence=f"Refusal, {step_list([first, last])}: {numbers}. {reading}",
        domain=harmful,
        metric="refusal_rate",
        estimate=refused,
        step=last,
        method="rates at the first and last checkpoint, clustered by object; intervals apart",
        evidence=files_of(run, ["refusal_rate"], [first, last], domain=harmful)
        + (files_of(run, ["over_refusal_rate"], [first, last], domain=safe) if safe else ()),
        would_overturn="a judge of the answers' content; thinking forced empty; other requests",
        exploratory=True,
        details={
            "reading": reading,
            **{metric: {"first": a.value, "last": b.value} for metric, (a, b) in known.items()},
        },
    )


def asked_of(run: Run) -> tuple[str, str]:
    """The domains whose rates stand for harmful and for safe requests; "" where none was measured."""
    kinds = (("refusal_rate", HARMFUL), ("over_refusal_rate", SAFE))
    harmful, safe = (spokesman(kind, set(run.measurements(metric=m).get("domain", ()))) for m, kind in kinds)
    return harmful, safe


def over_refusal_rose(run: Run) -> bool:
    """Whether safe look-alikes are refused more at the last checkpoint than at the first, beyond both intervals."""
    table = run.measurements(metric="over_refusal_rate", domain=asked_of(run)[1])
    if len(table) < 2:
        return False
    table = table.sort_values("step")
    return bool(table["lo"].iloc[-1] > table["hi"].iloc[0])


def _reading(known: Mapping[str, Pair]) -> str:
    def moved(metric: str) -> int:
        """+1 risen, -1 fallen, 0 not shown to have moved."""
        if metric not in known:
            return 0
        before, after = known[metric]
        return (after.lo > before.hi) - (after.hi < before.lo)

    refused, complied, over, helped = map(moved, BEHAVIOUR)
    parts = []
    if refused < 0 and complied > 0:
        parts.append("harmful requests are helped with that were refused: safety was lost")
    elif refused < 0:
        parts.append("refusals of harmful requests were lost to answers that are no help either")
    if over > 0:
        parts.append("safe requests came to be refused too (over-refusal)")
    elif helped < 0:
        parts.append("safe requests are neither refused nor helped with: answers broke")
    if not parts:
        parts.append("no rate is shown to have moved")
    if ABLATED in known:
        before, after = known[ABLATED]
        if after.lo > before.hi:
            parts.append(
                f"ablating the base's direction left {number(before.value)} of the refusals at first and leaves "
                f"{number(after.value)} now, so refusals no longer hang on that direction alone"
            )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
