"""Which checkpoints of two runs are compared: at the same step, after as many tokens, or at the same in-domain score.

Nothing is interpolated: a checkpoint is matched to the nearest one measured, how far off it is is said, and what has
no partner within the caliper is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError

Match = Literal["step", "tokens", "score"]
MATCHES: tuple[Match, ...] = ("step", "tokens", "score")
CALIPERS: dict[str, float] = {
    "step": 0.0,
    "tokens": 0.10,
    "score": 0.03,
}  # steps; share of the larger count; share of items


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Columns of A and of B that are compared, in A's order, and how far apart each pair is on the axis matched on."""

    columns_a: NDArray
    columns_b: NDArray
    gaps: NDArray  # step: 0; tokens: share of the larger count; score: share of items
    left_out: int  # checkpoints of A without a partner

    def __len__(self) -> int:
        return len(self.columns_a)


def match_checkpoints(
    steps_a: NDArray, axis_a: NDArray, steps_b: NDArray, axis_b: NDArray, how: Match, caliper: float | None = None
) -> Matched:
    """Each checkpoint of A with at most one of B, each of B used once, the sum of gaps the smallest possible.

    `axis` [T] is what is matched on. The bases (step 0) belong together and to nothing else. Raises ConfigError for
    an unknown way or a negative caliper, DataError where the axis is unknown or no trained checkpoint has a partner.
    """
    if how not in MATCHES:
        raise ConfigError(f"runs cannot be matched on {how!r}: give one of {', '.join(MATCHES)}")
    caliper = CALIPERS[how] if caliper is None else caliper
    if not caliper >= 0:
        raise ConfigError(
            f"a caliper of {caliper} matches nothing: give how far apart two checkpoints may be, 0 or more"
        )
    a, b = np.asarray(axis_a, float), np.asarray(axis_b, float)
    for name, axis in (("first", a), ("second", b)):
        if np.isnan(axis).all():
            raise DataError(f"the {name} run has no {how} to match on: its checkpoints can be matched on steps")
    gaps = _gaps(a, b, how)
    trained_a, trained_b = np.flatnonzero(np.asarray(steps_a) > 0), np.flatnonzero(np.asarray(steps_b) > 0)
    pairs = _assign(
        gaps[np.ix_(trained_a, trained_b)], caliper, np.asarray(steps_a)[trained_a], np.asarray(steps_b)[trained_b]
    )
    if not pairs:
        near = np.nanmin(gaps[np.ix_(trained_a, trained_b)], initial=np.inf)
        told = (
            f"the nearest two are {near:.3g} apart, the caliper is {caliper:.3g}"
            if np.isfinite(near)
            else "one has none"
        )
        raise DataError(f"no two trained checkpoints match on {how}: {told}")
    found = [(int(trained_a[i]), int(trained_b[j])) for i, j in pairs]
    if len(steps_a) and len(steps_b) and steps_a[0] == 0 and steps_b[0] == 0:
        found = [(0, 0), *found]
    columns_a, columns_b = (np.array(c, dtype=int) for c in zip(*sorted(found), strict=True))
    between = np.where((columns_a == 0) & (np.asarray(steps_a)[columns_a] == 0), 0.0, gaps[columns_a, columns_b])
    return Matched(columns_a, columns_b, between, len(trained_a) - len(pairs))


def _gaps(a: NDArray, b: NDArray, how: Match) -> NDArray:
    apart = np.abs(a[:, None] - b[None, :])
    if how == "tokens":
        apart = apart / np.maximum(np.maximum(a[:, None], b[None, :]), 1.0)
    return apart


def _assign(gaps: NDArray, caliper: float, steps_a: NDArray, steps_b: NDArray) -> list[tuple[int, int]]:
    """As many pairs within the caliper as can be, with the smallest gaps; between equals the nearer in training goes
    first.
    """
    from scipy.optimize import linear_sum_assignment

    if not gaps.size:
        return []
    unit = caliper or 1.0
    along = np.abs(np.log(steps_a[:, None] / steps_b[None, :]))
    cost = gaps / unit + 1e-3 * along
    allowed = gaps <= caliper + 1e-12
    rows, columns = linear_sum_assignment(np.where(allowed, cost, 1e6))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
