"""Which checkpoint to take, by a preference: `pick(run, "ood_reasoning s.t. refusal >= 0.9")`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, DataError
from ..record import Run
from ..statistics.joint import Blend, common_steps
from ..types import Estimate
from .preference import Constraint, Preference, mistake, parse
from .quantities import Quantities
from .selection import Choice, Limit, choose


@dataclass(frozen=True, slots=True)
class Miss:
    """A constraint where it is missed: what was asked, and what the checkpoint has."""

    constraint: Constraint
    estimate: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    run: str
    preference: Preference
    sure: bool  # the constraints' bounds had to meet them, not their estimates alone
    steps: tuple[int, ...]  # candidates
    choice: Choice
    step: int | None  # None: no checkpoint meets the constraints
    path: Path | None  # None: measured, and its folder is not there
    domains: tuple[str, ...]  # behind the objective
    left_out: tuple[int, ...]  # checkpoints measured, of which something in the preference is not known
    nearest: tuple[int, tuple[Miss, ...]] | None  # where none meets them: the nearest step, and what it misses

    @property
    def constraints(self) -> tuple[tuple[Constraint, Estimate, bool], ...]:
        """Of the step picked: each constraint, what it has, and whether the interval meets it too."""
        column = self.choice.column
        if column is None:
            return ()
        told = [limits[column] for limits in self.choice.limits]
        return tuple((c, e, interval_meets(c, e)) for c, e in zip(self.preference.constraints, told, strict=True))

    @property
    def ties(self) -> tuple[int, ...]:
        """Steps that cannot be told from the best of those that meet the constraints."""
        return tuple(self.steps[t] for t in self.choice.ties)


def pick(
    run: Run | Path | str,
    prefer: str,
    *,
    sure: bool = False,
    folders: Mapping[int, Path] | None = None,
    quantities: Quantities | None = None,
) -> Pick:
    """The checkpoint that a preference takes (`choose` says how), among those at which all of it was measured.

    A constraint is met when the estimate meets it; with `sure`, when its bound does. `folders` by step stand in for the
    run's own checkpoints. Raises ConfigError for a preference that cannot be read or does not fit the run, DataError where no
    checkpoint has all that it names.
    """
    run = run if isinstance(run, Run) else Run(run)
    preference = parse(prefer)
    known = quantities or Quantities.of(run)
    direction = _direction(preference, known)
    blends = [known.blend(n, prefer) for n in (preference.objective, *(c.name for c in preference.constraints))]
    steps = common_steps(blends)
    if not steps:
        raise DataError(
            f"no checkpoint of {run.path} has all of {', '.join(dict.fromkeys(b.name for b in blends))} with an interval: "
            "measure them at the same checkpoints"
        )
    objective, *curves = (b.at(steps) for b in blends)
    base = steps.index(0) if 0 in steps else None
    limits = [_limit(c, b, base, preference) for c, b in zip(preference.constraints, curves, strict=True)]
    choice = choose(objective, limits, direction=direction, sure=sure, base=base)
    step = None if choice.column is None else steps[choice.column]
    there = folders if folders is not None else run.checkpoints()
    measured = {int(s) for b in blends for s in b.steps}
    return Pick(
        run.name,
        preference,
        sure,
        tuple(steps),
        choice,
        step,
        None if step is None else there.get(step),
        tuple(known.domains_of(preference.objective)),
        tuple(sorted(measured - set(steps))),
        _nearest(preference, choice, steps, sure) if step is None else None,
    )


def interval_meets(constraint: Constraint, e: Estimate) -> bool:
    """Whether the bound that matters meets a constraint."""
    return _compares(constraint, e.lo if constraint.operator in (">=", ">") else e.hi)


# ---------------------------------------------------------------- parts


def _compares(constraint: Constraint, value: float) -> bool:
    gap = value - constraint.level
    if abs(gap) < 1e-9:
        return constraint.operator in (">=", "<=")
    return gap > 0 if constraint.operator in (">=", ">") else gap < 0


def _direction(preference: Preference, known: Quantities) -> int:
    if preference.direction is None:
        name = preference.objective
        known.blend(name, preference.text)  # an unknown name is the first thing to say
        if not known.is_score(name):
            mistake(
                preference.text,
                name.at,
                f"{str(name)!r} is no score: say `min {name}` or `max {name}`, which of the two is better",
            )
        return 1
    return 1 if preference.direction == "max" else -1


def _limit(constraint: Constraint, curve: Blend, base: int | None, preference: Preference) -> Limit:
    if constraint.to_base and base is None:
        raise ConfigError(
            f"`{constraint}` compares with the base, and step 0 was not measured: give a level, or measure the base"
        )
    if curve.share and not constraint.to_base and not 0 <= constraint.level <= 1:
        mistake(
            preference.text,
            constraint.name.at,
            f"{str(constraint.name)!r} is a share between 0 and 1, and {constraint.level:g} is not: write "
            f"{constraint.level / 100:g} or {constraint.level:g}%",
        )
    if curve.share and constraint.to_base and abs(constraint.level) > 1:
        mistake(
            preference.text,
            constraint.name.at,
            f"shares differ by 1 at most, not by {abs(constraint.level):g}: write {abs(constraint.level) / 100:g}",
        )
    return Limit(
        curve,
        1 if constraint.operator in (">=", ">") else -1,
        constraint.level,
        base if constraint.to_base else None,
        strict=constraint.operator in (">", "<"),
    )


def _nearest(
    preference: Preference, choice: Choice, steps: list[int], sure: bool
) -> tuple[int, tuple[Miss, ...]] | None:
    """The checkpoint that misses its worst constraint by the fewest standard errors."""
    column = int(choice.shortfall.argmin())
    found = [Miss(c, e[column]) for c, e in zip(preference.constraints, choice.limits, strict=True)]
    missed = [
        m
        for m in found
        if not (interval_meets(m.constraint, m.estimate) if sure else _compares(m.constraint, m.estimate.value))
    ]
    return steps[column], tuple(missed)
