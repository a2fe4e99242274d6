"""The answer that a reader of the first screen takes away: at most six short sentences, with numbers and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..dynamics.findings.wording import listing, plain_name
from ..dynamics.refusal.refusal import BEHAVIOUR, asked_of
from .overview import signed
from .source import Source
from .tables import interval, number

TRAIN_ON = {
    "train-on": "Yes",
    "over-trained": "No",
    "no-gain": "No",
    "done": "No",
    "no-effect": "No reason to",
    "undecided": "Cannot be told",
}


@dataclass(frozen=True, slots=True)
class Answer:
    question: str
    short: str  # a few words that answer it
    text: str  # why: numbers with intervals; with `short:` before it, one sentence
    finding: str = ""  # id of the finding it rests on


def answers(source: Source) -> list[Answer]:
    """What dipped, whether to train on, what happened to refusal, which checkpoint to take, what changed by the end."""
    by_id = {str(f.get("id")): f for f in source.findings}
    found = [
        _dips(source),
        _train_on(by_id.get("advice:training")),
        _refusal(source, by_id),
        _checkpoint(by_id.get("tradeoff:checkpoint")),
        _end(by_id.get("tradeoff:last")),
    ]
    return [answer for answer in found if answer is not None]


# ---------------------------------------------------------------- the questions


def _dips(source: Source) -> Answer | None:
    if not source.phases:
        return None
    details = {d: source.phases[d]["details"] for d in source.groups if d in source.phases}
    dipped = sorted((d for d in details if details[d].get("dip")), key=lambda d: -details[d]["depth"]["value"])
    back = [d for d in dipped if details[d].get("recovery_step") is not None]
    spared = [d for d in details if d not in dipped]
    parts = []
    if dipped:
        depths = "; ".join(f"{plain_name(d)} {_depth(details[d])}" for d in dipped)
        parts.append(f"lowest, against base and corrected for picking the lowest, {depths}")
    if dipped and len(back) == len(dipped):
        parts.append("all came back" if len(back) > 1 else "it came back")
    elif back:
        parts.append(f"only {listing(map(plain_name, back))} came back")
    elif dipped:
        parts.append("none is shown to have come back")
    if spared:
        parts.append(f"no dip is shown in {listing(map(plain_name, spared))}")
    short = f"{len(dipped)} of {len(details)}" if dipped else "None is shown to have"
    return Answer("Which domains dipped?", short, f"{'; '.join(parts)}.", _first_phase(source, dipped))


def _depth(details: Mapping[str, Any]) -> str:
    depth = details["depth"]
    back = details.get("recovery_step")
    returned = f", back at step {back}" if back is not None else ""
    return f"{_minus(depth)} at step {details['trough_step']}{returned}"


def _minus(depth: Mapping[str, float]) -> str:
    """A depth as a difference from base."""
    return interval(-float(depth["value"]), -float(depth["hi"]), -float(depth["lo"]))


def _first_phase(source: Source, dipped: list[str]) -> str:
    return str(source.phases[(dipped or list(source.phases))[0]]["id"])


def _train_on(advice: Mapping[str, Any] | None) -> Answer | None:
    if advice is None:
        return None
    details = advice["details"]
    said = str(details.get("advice") or advice["sentence"]).removesuffix(".")
    for verb in ("Do not train on: ", "Train on: "):  # which the short answer has said
        said = said.removeprefix(verb)
    price = f"; the price so far: {details['price']}" if details.get("price") else ""
    short = TRAIN_ON.get(str(advice["verdict"]), str(advice["verdict"]))
    return Answer("Train on?", short, f"{said[:1].lower()}{said[1:]}{price}.", "advice:training")


def _refusal(source: Source, by_id: Mapping[str, Mapping[str, Any]]) -> Answer:
    question, finding = "What happened to refusal?", by_id.get("mechanism:refusal")
    if finding is None:
        asked = [d for d in source.phases if source.groups.get(d) == "safety"]
        why = "its verdicts stand beside" if asked else "no harmful requests were asked"
        return Answer(question, "Not measured", f"the probe for refusal has no two checkpoints here; {why}.")
    harmful, safe = asked_of(source.run)
    rates = {"refusal_rate": harmful, "helpful_rate": safe, "over_refusal_rate": safe}
    ends = [f"{BEHAVIOUR[m]} {told}" for m, domain in rates.items() if (told := _first_and_last(source, m, domain))]
    short = str(finding["details"].get("reading") or "").rstrip(".")
    diagnosis = by_id.get("mechanism:refusal-diagnosis")
    if len(ends) > 1:
        ends[0] += f" {_strictly(source, harmful)}"
    if diagnosis is not None:
        ends.append(f"cause, by interventions: {_diagnosed(diagnosis)}")
    return Answer(question, short or "Measured", _sentence(ends), "mechanism:refusal")


def _strictly(source: Source, domain: str) -> str:
    """The share refused as the table of verdicts has it, where that is another number."""
    rows = source.bands[source.bands["domain"] == domain].sort_values("step")
    if rows.empty:
        return ""
    return f"({number(float(rows['score'].iloc[-1]))} counting unfinished answers as not refused)"


def _diagnosed(diagnosis: Mapping[str, Any]) -> str:
    """The state of the last checkpoint, and how long another one held before it."""
    states = {int(step): str(state) for step, state in diagnosis["details"].get("steps", {}).items()}
    before = [s for s in sorted(states) if states[s] != diagnosis["verdict"]]
    held = f" ({states[before[-1]]} up to step {before[-1]})" if before and before[-1] > 0 else ""
    return f"{diagnosis['verdict']}{held}"


def _first_and_last(source: Source, metric: str, domain: str) -> str:
    rows = source.metric(metric, [domain])
    if rows.empty:
        return ""
    ends = rows.sort_values("step").iloc[[0, -1]][["value", "lo", "hi"]].astype(float).to_numpy()
    return " → ".join(interval(*end) for end in ends)


def _checkpoint(taken: Mapping[str, Any] | None) -> Answer | None:
    if taken is None:
        return None
    question, details = "Which checkpoint to take?", taken["details"]
    if taken.get("step") is None:
        said = str(taken["sentence"]).split(". ")[0]
        return Answer(question, "None meets the preference", f"{said[:1].lower()}{said[1:]}.", taken["id"])
    estimate, gain = details.get("estimate") or {}, details.get("above_base") or {}
    parts = [f"{details.get('objective', 'reasoning')} {_told(estimate)}"] if estimate else []
    if gain and taken["step"]:
        parts.append(f"{_signed(gain)} against base{'' if gain['lo'] > 0 else ', not shown to be better'}")
    parts += [
        f"{str(c['constraint']).replace('>=', '≥')} {'kept' if c['interval_meets'] else 'kept by the estimate alone'}: "
        f"{_signed(c['estimate'])}"
        for c in details.get("constraints", ())
    ]
    ties = [s for s in details.get("not_separable_from_the_best", ()) if s != taken["step"]]
    if ties:
        parts.append(f"not told apart from step {listing(ties)}")
    short = f"Step {taken['step']}" if taken["step"] else "The base, as no checkpoint is shown to be better"
    return Answer(question, short, _sentence(parts), str(taken["id"]))


def _end(last: Mapping[str, Any] | None) -> Answer | None:
    if last is None:
        return None
    changes = {name: e for name, e in last["details"].items() if isinstance(e, dict) and "lo" in e}
    moved = {name: "gained" if e["lo"] > 0 else "lost" for name, e in changes.items() if e["lo"] > 0 or e["hi"] < 0}
    counts = [f"{list(moved.values()).count(what)} {what}" for what in ("gained", "lost") if what in moved.values()]
    said = _sentence([f"{name} {_signed(e)}" for name, e in changes.items()])
    short = f"{' and '.join(counts)} of {len(changes)}" if counts else "Nothing shown"
    return Answer(f"Changed by step {last['step']}?", short, said, str(last["id"])) if changes else None


def _sentence(parts: list[str]) -> str:
    return f"{'; '.join(parts)}." if parts else ""


def _told(e: Mapping[str, float]) -> str:
    return interval(float(e["value"]), float(e["lo"]), float(e["hi"]))


def _signed(e: Mapping[str, float]) -> str:
    return signed(*(float(e[k]) for k in ("value", "lo", "hi")))
