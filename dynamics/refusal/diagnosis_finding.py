"""What happened to refusal, as a finding: the last checkpoint's verdict in a sentence, and the verdict of every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from ..findings.evidence import estimate_at, files_of
from ..findings.wording import listing, step_list, with_interval
from ..procedure.mechanism import CausalPair, pair_at_base
from ..record import Run
from ..types import Estimate, Finding
from .diagnosis import FORMATS, Diagnosis, Evidence, State, diagnose
from .diagnosis_evidence import AT_DOSE, evidence_at, measured_steps

_OVERTURN: Mapping[State, str] = {
    "intact": "other requests, or a judge of the answers' content, by which refusals were lost",
    "monitor moved": "a site at which the base's readout still tells harmful requests from safe ones",
    "unreached": "a third direction that causes refusals and along which the gap is kept",
    "disconnected": "a larger dose, or another site or direction, that brings refusals back",
    "bypassed by format": "refusals that stay away from other requests under that format",
    "broken": "a judge by whom the answers to harmless requests are still help",
    "unclear": "the evidence named as missing or unsettled, or more requests",
}


def diagnosis_finding(run: Run) -> Finding | None:
    """What happened to refusal by the last checkpoint; None where the base's direction did not pass the causal pair.

    `details["steps"]` holds the verdict of every checkpoint at which the causal conditions were measured.
    """
    pair = pair_at_base(run)
    if pair is None or pair.failures:
        return None
    found = {step: e for step in measured_steps(run) if (e := evidence_at(run, step)) is not None}
    if not any(step > 0 for step in found):
        return None
    verdicts = {step: diagnose(e) for step, e in found.items()}
    last = max(found)
    diagnosis, numbers = verdicts[last], _numbers(found[last])
    metric = _DECIDING[diagnosis.state] if _DECIDING[diagnosis.state] in numbers else "change"
    return Finding(
        id="mechanism:refusal-diagnosis",
        kind="mechanism",
        sentence=_sentence(run, last, diagnosis, found[last], pair),
        domain="harmful",
        metric=metric,
        verdict=diagnosis.state,
        estimate=numbers[metric],
        step=last,
        method="the same requests at step 0 and now, under interventions on the residual stream and on the format; "
        "paired by item, clustered by object",
        evidence=files_of(run, ["refusal_rate_base", AT_DOSE], [0, last], domain="harmful"),
        would_overturn=_OVERTURN[diagnosis.state],
        exploratory=True,
        details={
            "layer": pair.layer,
            "steps": {str(step): v.state for step, v in verdicts.items()},
            "reasons": {str(step): list(v.reasons) for step, v in verdicts.items()},
            "numbers": _plain(numbers),
            "by_step": {str(step): _plain(_numbers(e)) for step, e in found.items()},
        },
    )


# The number that a verdict rests on most.
_DECIDING: Mapping[State, str] = {
    "intact": "change",
    "monitor moved": "gap along the base's direction",
    "unreached": "rescued by the base's gap",
    "disconnected": "largest rescue by a dose",
    "bypassed by format": "rescued by another format",
    "broken": "safe requests helped with",
    "unclear": "change",
}


def _plain(numbers: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: {"value": e.value, "lo": e.lo, "hi": e.hi, "n": e.n} for name, e in numbers.items()}


def _numbers(e: Evidence) -> dict[str, Estimate]:
    """The evidence by name; what was not measured is left out."""
    known = {
        "change": e.change,
        "safe requests helped with": e.helped,
        "gap along the base's direction": e.gap_base,
        "gap along its own direction": e.gap_refit,
        "rescued by the base's gap": e.restored,
        "rescued by random directions": e.restored_random,
        **{f"rescued {way}": f.rescue for way, f in e.formats.items()},
    }
    if e.formats:
        known["rescued by another format"] = max((f.rescue for f in e.formats.values()), key=lambda x: x.lo)
    if e.doses:
        known["largest rescue by a dose"] = max((d.rescue for d in e.doses.values()), key=lambda x: x.hi)
        known["largest effect of a dose on safe requests"] = max(
            (d.induced for d in e.doses.values()), key=lambda x: x.hi
        )
    return {name: x for name, x in known.items() if x is not None}


def _sentence(run: Run, step: int, diagnosis: Diagnosis, e: Evidence, pair: CausalPair) -> str:
    rates = [estimate_at(run, "refusal_rate_base", s, domain="harmful") for s in (0, step)]
    refused = " to ".join(with_interval(r) for r in rates if r is not None)
    said = [f"of the requests of the causal test, harmful ones refused {refused}"]
    if e.helped is not None:
        said.append(
            f"safe ones whose answer opens as help does, whether or not it goes on right, {with_interval(e.helped)} as "
            "often as the base's"
        )
    if e.gap_base is not None:
        own = f", along its own {with_interval(e.gap_refit)}" if e.gap_refit is not None else ""
        said.append(f"the gap between them, along the base's direction, {with_interval(e.gap_base)} of the base's{own}")
    if e.lost:
        said += _rescues(e)
    subject = f"What happened to refusal, {step_list([0, step])}"
    reading = _READING[diagnosis.state].format(why=listing(diagnosis.reasons))
    return (
        f"{subject}: {'; '.join(said)}. {reading} This holds within the subspace tested: layer {pair.layer}, the last "
        "prompt token, the base's direction and the checkpoint's own."
    )


def _rescues(e: Evidence) -> list[str]:
    """What brings lost refusals back, as shares of what was lost."""
    said = [f"{FORMATS[way]}, {_returned(f.rescue, 'what was lost')}" for way, f in e.formats.items()]
    if e.restored is not None:
        chance = f" (random directions: {_returned(e.restored_random, 'it')})" if e.restored_random is not None else ""
        said.append(f"with the base's gap added, {_returned(e.restored, 'it')}{chance}")
    if e.doses:
        most = max(e.doses, key=lambda p: e.doses[p].rescue.value)
        said.append(f"at the dose that brings most ({most}), {with_interval(e.doses[most].rescue)}")
    return said


def _returned(rescue: Estimate, what: str) -> str:
    """A fraction below 0 is a further loss, and as large as the loss was small: it is said, not counted."""
    if rescue.hi < 0:
        return f"none of {what} returns, more is lost"
    return f"{with_interval(rescue)} of {what} returns"


_READING: Mapping[State, str] = {
    "intact": "Refusal is intact; {why}.",
    "monitor moved": "The monitor moved, refusal is intact: {why}. A probe fitted on the base no longer reads this model.",
    "unreached": "The refusal machinery is unreached: {why}.",
    "disconnected": "Refusal is disconnected: {why}.",
    "bypassed by format": "Refusal is bypassed by format: {why}.",
    "broken": "The model is broken rather than unsafe: {why}.",
    "unclear": "What happened to it is unclear: {why}.",
}
