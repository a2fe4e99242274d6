"""Whether to train on: read from the phases of in-domain and out-of-domain reasoning."""

from __future__ import annotations

from collections.abc import Mapping

from ..findings.evidence import files_of, is_declared
from ..findings.wording import GROUP_LABELS, listing, plain_name, signed
from ..record import Run
from ..trajectories.phases import Phase
from ..trajectories.trajectory import Trajectory
from ..types import Finding

REASONING = ("id_reasoning", "ood_reasoning")
# A recovered or improved in-domain score is what the training was for.
DONE = ("improves", "dips-and-recovers")
FELL = ("degrades", "overfits")


def advice_finding(run: Run, trajectories: Mapping[str, Trajectory], phases: Mapping[str, Phase]) -> Finding | None:
    """Train on, done, over-trained, no gain, no effect, or undecided; None where no reasoning domain was judged.

    In-domain verdicts decide first, then out-of-domain ones qualify: over-trained (take the peak), under-optimised
    (train on), degraded (more of the same is not shown to help), done, flat, undecided.
    """
    judged = {d: p for d, p in phases.items() if trajectories[d].group in REASONING}
    if not judged:
        return None
    by = {g: {d: p for d, p in judged.items() if trajectories[d].group == g} for g in REASONING}
    verdict, advice, deciding = _decide(by["id_reasoning"], by["ood_reasoning"])
    ends = "; ".join(
        f"{GROUP_LABELS[g]}: " + ", ".join(f"{plain_name(d)} {p.verdict} ({signed(p.final)})" for d, p in by[g].items())
        for g in REASONING
        if by[g]
    )
    fell = [d for d, p in phases.items() if p.verdict in FELL and plain_name(d) not in advice and not p.final.lo > 0]
    price = f"{_names(fell)} fell" if fell else ""
    cost = f" The price so far: {price}; more of the same is not shown to bring that back." if fell else ""
    last = max(int(p.steps[-1]) for p in judged.values())
    lead = deciding[0] if deciding else next(iter(judged))
    steps = [judged[lead].trough_step, judged[lead].peak_step, last, 0]
    return Finding(
        id="advice:training",
        kind="advice",
        sentence=f"{advice}{cost} Verdicts, and differences from base at the last checkpoint: {ends}.",
        domain=lead,
        metric="strict",
        verdict=verdict,
        estimate=judged[lead].final,
        step=judged[lead].peak_step if verdict == "over-trained" else last,
        method="rules on phase verdicts; " + (judged[lead].final.method),
        evidence=files_of(run, ["score_strict"], steps, domain=lead),
        would_overturn=_WOULD_OVERTURN[verdict],
        exploratory=not all(is_declared(run, d) for d in deciding or judged),
        details={
            "advice": advice,
            "price": price,
            "deciding": deciding,
            "verdicts": {d: p.verdict for d, p in judged.items()},
        },
    )


_WOULD_OVERTURN = {
    "over-trained": "another seed whose peak is not above its end",
    "train-on": "a longer run that does not rise further",
    "no-gain": "a longer run, or another seed, that comes back to base",
    "done": "a longer run that gains more without losing elsewhere, or another seed that ends below base",
    "no-effect": "more items, or a larger learning rate or more data",
    "undecided": "more items in the reasoning domains, or checkpoints from step 0 on",
}


def _decide(inside: Mapping[str, Phase], outside: Mapping[str, Phase]) -> tuple[str, str, list[str]]:
    """Verdict, the advice in words, and the domains that decided it."""
    if over := _which(inside, "overfits"):
        return "over-trained", f"Do not train on: {_names(over)} peaked and fell again; {_prefer(inside, over)}.", over
    if under := _which(inside, "under-optimised"):
        be = "is" if len(under) == 1 else "are"
        return "train-on", f"Train on: {_names(under)} dipped and {be} not shown to be back at base.", under
    if lost := _which(inside, "degrades"):
        said = f"More of the same is not shown to help: {_names(lost)} ended below base and did not rise."
        return "no-gain", said, lost
    if done := _which(inside, *DONE):
        return _when_done(done, outside)
    return _when_nothing_in_domain(inside, outside)


def _when_done(done: list[str], outside: Mapping[str, Phase]) -> tuple[str, str, list[str]]:
    rising, falling = _which(outside, "under-optimised"), _which(outside, "degrades", "overfits")
    over = _which(outside, "overfits")
    if rising:
        tail = f" ({_names(falling)} fell and did not rise)" if falling else ""
        said = f"Done in domain ({_names(done)}); train on for the sake of {_names(rising)}, still recovering{tail}."
        return "train-on", said, done + rising
    if falling:
        below = [d for d in falling if outside[d].final.hi < 0]
        kept = [d for d in falling if d not in below]  # fell from a peak, and is not shown to have ended below base
        said = f"Done in domain ({_names(done)})"
        if below:
            said += f", paid for out of domain: {_names(below)} fell below base, not shown to come back by training on"
        if kept:
            said += f"; {_names(kept)} fell from a peak and did not end below base"
        return "done", said + (f"; highest at {_peaks(outside, over)}." if over else "."), done + falling
    return "done", f"Done: {_names(done)} ended at or above base, and no reasoning domain is left in a dip.", done


def _when_nothing_in_domain(inside: Mapping[str, Phase], outside: Mapping[str, Phase]) -> tuple[str, str, list[str]]:
    """In-domain reasoning is flat, undecided or was not measured."""
    if over := _which(outside, "overfits"):
        said = f"No gain in domain is shown, and {_names(over)} peaked and fell again; {_prefer(outside, over)}."
        return "over-trained", said, over
    if rising := _which(outside, "under-optimised"):
        said = f"Train on: {_names(rising)} dipped, not shown to be back at base; in-domain reasoning cannot be told."
        return "train-on", said, rising
    if falling := _which(outside, "degrades"):
        said = f"More of the same is not shown to help: {_names(falling)} ended below base, no gain in domain is shown."
        return "no-gain", said, falling
    if gained := _which(outside, *DONE):
        return "done", f"No gain is shown in domain, but {_names(gained)} ended at or above base.", gained
    if not _which(inside, "undecidable") and not _which(outside, "undecidable"):
        return "no-effect", "Training changed no reasoning score by more than 3 points.", []
    return "undecided", "Whether to train on cannot be told from these items and checkpoints.", []


def _which(phases: Mapping[str, Phase], *verdicts: str) -> list[str]:
    return [d for d, p in phases.items() if p.verdict in verdicts]


def _names(domains: list[str]) -> str:
    return listing(plain_name(d) for d in domains)


def _prefer(phases: Mapping[str, Phase], domains: list[str]) -> str:
    return f"prefer the checkpoint of {_peaks(phases, domains)}"


def _peaks(phases: Mapping[str, Phase], domains: list[str]) -> str:
    return listing(f"step {phases[d].peak_step} ({plain_name(d)})" for d in domains)
