"""Which checkpoint to take where nobody has said what they prefer: reasoning, at no shown cost to refusal and general ability."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import ndtri

from ..findings.evidence import files_of
from ..findings.wording import listing, plain_name, signed, step_list, with_interval
from ..record import Run
from ..statistics.joint import Blend, Draws, common_steps, resamples_for
from ..trajectories.phases import POWER
from ..trajectories.trajectory import Trajectory
from ..types import Finding
from .frontier import Frontier, frontier_sentence
from .pick import Pick, pick
from .pick_wording import pick_json
from .preference import Name
from .quantities import REASONING, Quantities

KEPT = ("refusal", "general")  # not below base by more than the smallest dip that their items show


def default_preference(known: Quantities) -> str | None:
    """`reasoning s.t. refusal >= base - 0.05 and general >= base - 0.04`, as far as these were measured; None without any
    reasoning, or without a base."""
    goal = known.group(REASONING)
    if goal is None or 0 not in common_steps([goal]) or len(common_steps([goal])) < 2:
        return None
    margins = {name: m for name in KEPT if name in known.names and not math.isnan(m := _margin(known, name))}
    told = [f"{name} >= base - {margin:g}" for name, margin in margins.items()]
    return REASONING + (" s.t. " + " and ".join(told) if told else "")


def smallest_dip(blend: Blend) -> float:
    """How far below base (column 0) a checkpoint must be to be seen as below with 90 % power, whichever it is [share].

    (critical + 1.28) standard errors of a difference, the critical value that of all differences from base together.
    """
    draws = Draws([blend], resamples=resamples_for(len(blend.steps)))
    critical = draws.critical([], [(blend, 0)])
    return (critical + float(ndtri(POWER))) * float(np.median(blend.pair_se()[0][1:]))


def recommendation_finding(
    run: Run, trajectories: Mapping[str, Trajectory], found: Frontier | None = None
) -> Finding | None:
    """The checkpoint that the default preference takes, and which ones are undominated. None where nothing can be preferred."""
    known = Quantities(run, trajectories)
    prefer = default_preference(known)
    if prefer is None:
        return None
    taken = pick(run, prefer, quantities=known)
    missing = [name for name in KEPT if f"{name} >=" not in prefer]
    said = _taken(taken) if taken.step is not None else _none(taken)
    if missing:
        said += f" Not kept in view, since not measured: {listing(missing)}."
    if found is not None:
        said += " " + frontier_sentence(found)
    domains = [d for name in (REASONING, *KEPT) for d in known.domains_of(Name(name)) if d in trajectories]
    return Finding(
        id="tradeoff:checkpoint",
        kind="tradeoff",
        sentence=said,
        metric="strict",
        verdict="none" if taken.step is None else "base" if taken.step == 0 else "take",
        estimate=taken.choice.gain if taken.choice.gain.defined else taken.choice.estimate,
        step=taken.step,
        method=taken.choice.estimate.method,
        evidence=tuple(
            dict.fromkeys(f for d in domains for f in files_of(run, ["score_strict"], [0, taken.step], domain=d))
        ),
        would_overturn=_would_overturn(taken),
        exploratory=True,
        details={"preference": prefer} | pick_json(taken) | {"path": _path(taken, run)},
    )


# ---------------------------------------------------------------- parts


def _margin(known: Quantities, name: str) -> float:
    blend = known.blend(Name(name), name)
    steps = common_steps([blend])
    if 0 not in steps or len(steps) < 2:
        return math.nan
    return math.ceil(1000 * smallest_dip(blend.at(steps))) / 1000  # three digits, as it is printed and can be typed


def _taken(taken: Pick) -> str:
    choice = taken.choice
    where = f" ({taken.path.name})" if taken.path is not None else " (its folder is not there)"
    what = f"{REASONING} (mean of {listing(plain_name(d) for d in taken.domains)})"
    if taken.step == 0:
        better = "no checkpoint that keeps them is shown to reason better, so the base is as good a choice"
        gained = f"{what} {with_interval(choice.estimate)}; {better}"
    else:
        gained = f"{what} {with_interval(choice.estimate)}, {signed(choice.gain)} against base"
        if not choice.gain.lo > 0:
            gained += ", not shown to be better than it"
    costs = "; ".join(
        f"{c.name} {signed(e)} against base" + ("" if meets else " (its interval reaches below the margin)")
        for c, e, meets in taken.constraints
    )
    others = [s for s in taken.ties if s != taken.step]
    ties = f" Not told from the best: {step_list(others)}." if others else ""
    return (
        f"The checkpoint to take is step {taken.step}{where}, by the preference `{taken.preference.text}` (margins: the "
        f"smallest dip that these items show): {gained}{'; ' if costs else ''}{costs}. The intervals hold for all "
        f"{len(taken.steps)} checkpoints at once.{ties}"
    )


def _none(taken: Pick) -> str:
    assert taken.nearest is not None
    step, missed = taken.nearest
    return (
        f"No checkpoint meets `{taken.preference.text}`; the nearest is step {step}, which misses "
        f"{listing(f'{m.constraint} ({signed(m.estimate)} against base)' for m in missed)}."
    )


def _would_overturn(taken: Pick) -> str:
    if taken.step is None:
        return "a wider margin, or more items"
    others = [s for s in taken.ties if s != taken.step]
    apart = f"; more items, which would tell it from {step_list(others)}" if others else ""
    return f"another preference; another seed whose best checkpoint is another one{apart}"


def _path(taken: Pick, run: Run) -> str | None:
    """Relative to the run folder, which may be moved."""
    return None if taken.path is None else str(taken.path.relative_to(run.path))
