"""Choosing one of many noisy checkpoints, and what is known of the chosen one.

The best of many estimates is too good: its own interval misses the truth more often than it says. Here the interval comes from a
band that holds for all checkpoints together, hence for the chosen one, however it was chosen; and the estimate is
corrected by how much the same rule overrates its choice in resamples of the questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..statistics.joint import Blend, Draws, resamples_for
from ..types import Estimate

METHOD = "simultaneous over checkpoints (multiplier bootstrap of questions)"
UNPAIRED = "simultaneous over checkpoints (aggregates, unpaired)"
CORRECTED = ", selection-corrected"


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """A constraint as `sign * (curve - level) >= 0`; with `base` a column, the curve is the difference from it."""

    curve: Blend
    sign: int
    level: float
    base: int | None = None
    strict: bool = False  # > or <: to meet the level exactly is not enough

    def value(self) -> NDArray:
        v = self.curve.value
        return v if self.base is None else v - v[self.base]

    def bounds(self, critical: float) -> tuple[NDArray, NDArray]:
        """Of the curve [T], or of its difference from base (0 at the base itself, exactly)."""
        if self.base is None:
            return self.curve.bounds(critical)
        half = critical * self.curve.pair_se()[self.base]
        half[self.base] = 0.0
        diff = self.value()
        most = 1.0 if self.curve.share else np.inf
        return np.maximum(diff - half, -most), np.minimum(diff + half, most)

    def slack(self, value: NDArray) -> NDArray:
        """How far on the right side of the level; rounding is no reason to fail."""
        room = self.sign * (value - self.level)
        return np.where(np.abs(room) < 1e-9, 0.0, room)

    def met(self, value: NDArray) -> NDArray:
        room = self.slack(value)
        return room > 0 if self.strict else room >= 0


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Which column was chosen, and why. Columns are those of the curves, [T]."""

    column: int | None  # None: no checkpoint meets the constraints
    best: int | None  # the best estimate among those that do; the chosen one lies within one standard error of it
    feasible: NDArray  # [T]
    sure: NDArray  # [T] the bounds of all constraints meet them too
    ties: tuple[int, ...]  # feasible columns that cannot be told from the best, itself among them
    estimate: Estimate  # of the objective at the chosen column
    gain: Estimate  # its difference from the base, where there is one
    limits: tuple[tuple[Estimate, ...], ...]  # by constraint, [T]
    shortfall: NDArray  # [T] standard errors by which the worst constraint is missed; 0 where all are met
    overrated: float  # what the correction took off


def choose(
    objective: Blend,
    limits: Sequence[Limit] = (),
    *,
    direction: int = 1,
    sure: bool = False,
    base: int | None = None,
    resamples: int | None = None,
) -> Choice:
    """The earliest checkpoint within one standard error of the best among those that meet all constraints.

    One standard error of the paired difference (Breiman et al. 1984, section 3.4.3, for trees): what lies so close to the best
    is as likely to be it, and the earlier one has moved less from the base. `direction` -1 takes the least; with
    `sure`, the bounds of the constraints have to meet them, which holds for all checkpoints and constraints together.
    `base`: the column of the base model.
    """
    steps = len(objective.steps)
    draws = Draws([objective, *(x.curve for x in limits)], resamples=resamples or resamples_for(steps))
    bands = _bounds_of_limits(limits, draws)
    values = [x.value() for x in limits]
    decisive = [_decisive(x, v, b, sure) for x, v, b in zip(limits, values, bands, strict=True)]
    feasible = _all(steps, [x.met(v) for x, v in zip(limits, decisive, strict=True)])
    sure_T = _all(steps, [x.met(_worse(x, b)) for x, b in zip(limits, bands, strict=True)])
    goal, pair_se = direction * objective.value, objective.pair_se()

    lo, hi = objective.bounds(draws.critical([objective]))
    column, best = _rule(goal[None], feasible[None], pair_se)
    told = tuple(
        tuple(Estimate(float(v[t]), float(b[0][t]), float(b[1][t]), x.curve.n, _method(x.curve)) for t in range(steps))
        for x, v, b in zip(limits, values, bands, strict=True)
    )
    shortfall = _shortfall(limits, decisive, steps)
    if column[0] < 0:
        nothing = Estimate.undefined(objective.n, "none")
        return Choice(None, None, feasible, sure_T, (), nothing, nothing, told, shortfall, np.nan)
    c, b = int(column[0]), int(best[0])
    overrated = _overrated(objective, limits, decisive, draws, direction, pair_se)
    value = float(np.clip(objective.value[c] - direction * overrated, lo[c], hi[c]))
    critical = draws.pair_critical([objective])
    ties = tuple(int(t) for t in np.flatnonzero(feasible & (goal[b] - goal <= critical * pair_se[b])))
    return Choice(
        c,
        b,
        feasible,
        sure_T,
        ties,
        Estimate(value, float(lo[c]), float(hi[c]), objective.n, _method(objective) + CORRECTED),
        _gain(objective, c, base, critical, direction * overrated),
        told,
        shortfall,
        overrated,
    )


def is_paired(blend: Blend) -> bool:
    return not any("\tstep " in u for c in blend.curves for u in c.units[:1])


# ---------------------------------------------------------------- parts


def _rule(goal_BT: NDArray, feasible_BT: NDArray, pair_se: NDArray) -> tuple[NDArray, NDArray]:
    """Chosen and best columns [B]; -1 where nothing is feasible."""
    masked = np.where(feasible_BT, goal_BT, -np.inf)
    best = masked.argmax(axis=1)
    rows = np.arange(len(best))
    close = feasible_BT & (goal_BT[rows, best][:, None] - goal_BT <= pair_se[best])
    any_ = feasible_BT.any(axis=1)
    # the best itself is close to itself
    return np.where(any_, close.argmax(axis=1), -1), np.where(any_, best, -1)


def _overrated(
    objective: Blend,
    limits: Sequence[Limit],
    decisive: Sequence[NDArray],
    draws: Draws,
    direction: int,
    pair_se: NDArray,
) -> float:
    """By how much the rule overrates its choice: the mean, over resamples in which it has one."""
    dev = draws.deviations(objective)
    feasible = np.ones(dev.shape, bool)
    for limit, value in zip(limits, decisive, strict=True):
        moved = draws.deviations(limit.curve)
        if limit.base is not None:
            moved = moved - moved[:, [limit.base]]
        feasible &= limit.met(value + moved)
    column, _ = _rule(direction * (objective.value + dev), feasible, pair_se)
    rows = np.flatnonzero(column >= 0)
    return float(np.mean(direction * dev[rows, column[rows]])) if len(rows) else 0.0


def _bounds_of_limits(limits: Sequence[Limit], draws: Draws) -> list[tuple[NDArray, NDArray]]:
    """Bounds that hold for all checkpoints and constraints together."""
    if not limits:
        return []
    levels = [x.curve for x in limits if x.base is None]
    critical = draws.critical(levels, [(x.curve, x.base) for x in limits if x.base is not None])
    return [x.bounds(critical) for x in limits]


def _worse(limit: Limit, bounds: tuple[NDArray, NDArray]) -> NDArray:
    """The bound that matters."""
    return bounds[0] if limit.sign > 0 else bounds[1]


def _decisive(limit: Limit, value: NDArray, bounds: tuple[NDArray, NDArray], sure: bool) -> NDArray:
    return _worse(limit, bounds) if sure else value


def _all(steps: int, conditions: Sequence[NDArray]) -> NDArray:
    return np.logical_and.reduce([np.ones(steps, bool), *conditions])


def _shortfall(limits: Sequence[Limit], decisive: Sequence[NDArray], steps: int) -> NDArray:
    worst = np.zeros(steps)
    for limit, value in zip(limits, decisive, strict=True):
        # in one unit for all checkpoints: the usual standard error
        se = limit.curve.se if limit.base is None else np.delete(limit.curve.pair_se()[limit.base], limit.base)
        unit = max([*([float(np.median(se))] if len(se) else []), *(c.pseudo for c in limit.curve.curves)])
        worst = np.maximum(worst, np.where(limit.met(value), 0.0, np.maximum(-limit.slack(value), 1e-9) / unit))
    return worst


def _gain(objective: Blend, column: int, base: int | None, critical: float, overrated: float) -> Estimate:
    """Against the base, by bounds that hold for all pairs of checkpoints."""
    if base is None or column == base:
        return Estimate.undefined(objective.n, "none")
    diff, half = float(objective.value[column] - objective.value[base]), critical * objective.pair_se()[base, column]
    value = float(np.clip(diff - overrated, diff - half, diff + half))
    most = 1.0 if objective.share else np.inf
    return Estimate(value, max(diff - half, -most), min(diff + half, most), objective.n, _method(objective) + CORRECTED)


def _method(blend: Blend) -> str:
    return METHOD if is_paired(blend) else UNPAIRED
