"""Length as the published diagnostic (arXiv 2604.06628): a surge that contracts is said to date the recovery of the score, a
length still moving to mean under-optimised, one that rises again over-trained. Each is tested on this run, not assumed.

Lengths are restricted means (cut at one tau). A response at the cap is an unfinished one, not a long answer: a surge that
unfinished responses carry is a termination collapse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..statistics.bands import Band, complete_clusters, simultaneous_band
from ..statistics.intervals import paired_difference, pseudo_unit, ratio
from ..types import Estimate
from .extremes import highest
from .phases import Phase, still_moving
from .threshold import crossing
from .trajectory import Trajectory

Shape = Literal[
    "surge-and-contraction", "surge", "rising-again", "termination-collapse", "contraction", "none", "undecidable"
]
Reading = Literal["done", "under-optimised", "over-trained", "none"]
_UNDEFINED = Estimate.undefined(0, "none")
# What the score's own verdict would have to be for the length's reading to be right.
AGREES: dict[str, tuple[str, ...]] = {
    "done": ("dips-and-recovers", "improves", "flat"),
    "under-optimised": ("under-optimised",),
    "over-trained": ("overfits", "degrades"),
}
MIN_SWAPS = 5  # runs: 1 / 120
MOST_EXACT = 7  # runs: 5040 orders
RANDOM_ORDERS = 4000


@dataclass(frozen=True, slots=True, eq=False)
class LengthDiagnostic:
    shape: Shape
    n: int
    reason: str = ""  # why undecidable
    surge: Estimate = _UNDEFINED  # highest checkpoint minus base, tokens, the band's bounds
    contraction: Estimate = _UNDEFINED  # highest minus last
    peak_step: int | None = None
    peak_interval: tuple[int, int] | None = None  # checkpoints that no other is shown to exceed
    unfinished_part: Estimate = _UNDEFINED  # share of the surge that responses unfinished at the peak carry
    slope: Estimate = _UNDEFINED  # tokens per step over the last third
    moving: bool = False  # the slope, and the items between there and the last checkpoint, both show a change
    reading: Reading = "none"  # what the published diagnostic says of this length
    to_trough: Estimate = _UNDEFINED  # steps by which the length's peak comes after the score's trough
    to_recovery: Estimate = _UNDEFINED  # steps by which half of the contraction comes after half of the recovery
    dates: tuple[int, int] | None = None  # checkpoints (of the run's) of half the contraction and half the recovery
    chance: float = math.nan  # share of checkpoints that lie as near to the recovery as the contraction does


def diagnose_length(
    tokens: Trajectory, score: Trajectory | None = None, phase: Phase | None = None, finished: Trajectory | None = None
) -> LengthDiagnostic:
    """What the length of a domain's responses did, and whether its contraction dates the recovery of the score.

    `score` with its `phase`, and `finished`, are of the same items and checkpoints. Surge and contraction: one checkpoint's
    simultaneous bands lie above base and above the last. Rising again: after such a fall from above base, the last is above the
    lowest, by comparisons corrected for all pairs. Dates are only compared where surge, contraction, dip and the rise since are
    all shown.
    """
    if tokens.matrix is None or len(tokens.steps) < 3 or tokens.steps[0] != 0:
        why = "no items" if tokens.matrix is None else "step 0 and two checkpoints more are needed"
        return LengthDiagnostic("undecidable", tokens.n, why)
    band = simultaneous_band(tokens.matrix, 0, tokens.clusters)
    if math.isnan(band.critical):
        return LengthDiagnostic(
            "undecidable", band.n, f"{band.n} item{'s' * (band.n != 1)} with a length at every checkpoint"
        )
    versus = simultaneous_band(tokens.matrix, len(tokens.steps) - 1, tokens.clusters)
    above_both = (band.lo > 0) & (versus.lo > 0)
    both = bool(above_both[1:-1].any())
    peak, rivals = highest(tokens.matrix, tokens.clusters, first=1)
    if both:
        peak = int(np.argmax(np.where(above_both, band.diff, -np.inf)))
    surges = bool(np.any(band.lo[1:] > 0))
    part = _unfinished_part(tokens, finished, peak) if surges else _UNDEFINED
    slope, moving = _late_movement(tokens, versus)
    shape: Shape = "none"
    if part.defined and part.value > 0.5:
        shape = "termination-collapse"
    elif surges and rises_again(tokens.matrix, tokens.clusters):
        shape = "rising-again"
    elif both:
        shape = "surge-and-contraction"
    elif surges:
        shape = "surge"
    elif band.hi[-1] < 0:
        shape = "contraction"
    found = LengthDiagnostic(
        shape=shape,
        n=band.n,
        surge=_at(band, peak),
        contraction=_at(versus, peak),
        peak_step=int(tokens.steps[peak]),
        peak_interval=(int(tokens.steps[min(rivals.min(), peak)]), int(tokens.steps[max(rivals.max(), peak)])),
        unfinished_part=part,
        slope=slope,
        moving=moving,
        reading=_reading(shape, moving),
    )
    if not both or shape == "termination-collapse" or score is None or phase is None or score.matrix is None:
        return found
    return _dated(found, tokens, score, phase, peak, rivals)


def rises_again(matrix: NDArray, clusters: NDArray | None, error: float = 0.05) -> bool:
    """Whether columns i < j exist with i above the first and j, and the last above j; paired t, Bonferroni over all pairs."""
    totals, sizes = complete_clusters(np.asarray(matrix, float), clusters)
    n, T = totals.shape
    size = sizes.sum()
    mean = totals.sum(axis=0) / size
    residuals = totals - sizes[:, None] * mean
    product = residuals.T @ residuals
    squares = np.diag(product)[:, None] + np.diag(product) - 2 * product
    se = np.sqrt(n / (n - 1) * np.maximum(squares, 0) + pseudo_unit(totals - totals[:, [0]]) ** 2) / size
    above = (mean[:, None] - mean) / se > float(stdtrit(n - 1, 1 - error / (T * (T - 1))))  # [i, j]: i above j
    i_before_j = np.triu(np.ones((T, T), bool), 1)
    return bool((above & i_before_j & above[:, [0]] & above[-1]).any())


def swap_p(dates: Sequence[tuple[int, int]], seed: int = 0) -> float:
    """Share of the pairings of runs' contraction dates with other runs' recovery dates that lie as near as the runs' own.

    `dates`: (contraction, recovery) per run, in checkpoints. What all runs share (every contraction early, say) is in every
    pairing, and is no evidence. NaN below five runs, where the smallest share is above 1/120.
    """
    R = len(dates)
    if R < MIN_SWAPS:
        return math.nan
    a, b = np.array(dates, float).T
    if R <= MOST_EXACT:
        orders = np.array(list(permutations(range(R))))
    else:
        rng = np.random.default_rng(seed)
        orders = np.stack([np.arange(R), *(rng.permutation(R) for _ in range(RANDOM_ORDERS - 1))])
    apart = np.abs(a - b[orders]).sum(axis=1)
    return float(np.mean(apart <= apart[0] + 1e-9))


# ---------------------------------------------------------------- parts


def _dated(
    found: LengthDiagnostic, tokens: Trajectory, score: Trajectory, phase: Phase, peak: int, rivals: NDArray
) -> LengthDiagnostic:
    """With the differences between the dates of the length and those of the score, where the score dips and comes back."""
    if not (phase.depth.defined and phase.depth.lo > 0) or not np.array_equal(tokens.steps, score.steps):
        return found
    assert score.matrix is not None
    steps = tokens.steps
    trough, lowest = highest(-np.asarray(score.matrix, float), score.clusters, first=1)
    rivals = np.union1d(rivals, [peak])
    to_trough = Estimate(
        float(steps[peak] - steps[trough]),
        float(steps[rivals.min()] - steps[lowest.max()]),
        float(steps[rivals.max()] - steps[lowest.min()]),
        min(found.n, phase.n),
        "checkpoints that survive comparison with the best",
    )
    found = replace(found, to_trough=to_trough)
    down, up = crossing(_from(tokens, peak)), crossing(_from(score, trough))
    if not (down.defined and up.defined and up.rising and not down.rising):
        return found
    if down.interval is None or up.interval is None or down.step is None or up.step is None:
        return found
    lo, hi = (down.interval[0] - _by(up.interval, steps), _by(down.interval, steps) - up.interval[0])
    difference = Estimate(
        float(down.step - up.step), float(lo), float(hi), min(down.n, up.n), "difference of crossing intervals"
    )
    at = int(np.searchsorted(steps, down.step)), int(np.searchsorted(steps, up.step))
    near = np.abs(np.arange(1, len(steps)) - at[1]) <= abs(at[0] - at[1])
    return replace(found, to_recovery=difference, dates=at, chance=float(near.mean()))


def _from(trajectory: Trajectory, column: int) -> Trajectory:
    assert trajectory.matrix is not None
    return replace(
        trajectory, steps=trajectory.steps[column:], matrix=trajectory.matrix[:, column:], axes=trajectory.axes.iloc[:0]
    )


def _by(interval: tuple[int, int | None], steps: NDArray) -> int:
    return int(steps[-1]) if interval[1] is None else interval[1]


def _unfinished_part(tokens: Trajectory, finished: Trajectory | None, peak: int) -> Estimate:
    """Share of the surge at `peak` that responses unfinished there carry; undefined where fewer finishing is not shown."""
    if (
        finished is None
        or finished.matrix is None
        or tokens.matrix is None
        or finished.matrix.shape != tokens.matrix.shape
    ):
        return _UNDEFINED
    if not paired_difference(finished.matrix[:, peak], finished.matrix[:, 0], finished.clusters).hi < 0:
        return _UNDEFINED
    rise = np.asarray(tokens.matrix[:, peak], float) - tokens.matrix[:, 0]
    return ratio(rise * (1 - finished.matrix[:, peak]), rise, tokens.clusters)


def _late_movement(tokens: Trajectory, versus: Band) -> tuple[Estimate, bool]:
    """Slope over the last third, and whether it and the items agree that the length still changes.

    The slope holds the scatter between checkpoints, the items the choice of questions: a movement must stand out from both.
    """
    steps = tokens.steps
    slow, slope = still_moving(steps, tokens.series())
    late = min(int(np.searchsorted(steps, steps[0] + (steps[-1] - steps[0]) * 2 / 3)), len(steps) - 3)
    shown = bool(versus.lo[late] > 0) if slope.value < 0 else bool(versus.hi[late] < 0)
    return slope, slow and shown


def _reading(shape: Shape, moving: bool) -> Reading:
    if shape == "rising-again":
        return "over-trained"
    if moving and shape in ("surge-and-contraction", "surge", "contraction"):
        return "under-optimised"
    return "done" if shape == "surge-and-contraction" else "none"


def _at(band: Band, column: int) -> Estimate:
    return Estimate(float(band.diff[column]), float(band.lo[column]), float(band.hi[column]), band.n, band.method)
