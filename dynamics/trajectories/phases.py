"""What a score did over training: improves, dips and recovers, is under-optimised, degrades, overfits, stays flat, or
cannot be told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from ..statistics.aggregates import aggregate_band, aggregate_margin, resampled_scores
from ..statistics.bands import Band, simultaneous_bands
from ..statistics.intervals import LEVEL
from ..types import Estimate, Verdict
from .trajectory import Trajectory

FLAT = 0.03  # a band within +-3 points of base counts as no change
POWER = 0.92  # aimed at, so that a dip as deep as the margin is seen 90 % of the time in every simulated world
_UNDEFINED = Estimate.undefined(0, "none")
Moving = tuple[bool, bool]  # (length, loss) still change at the end of training


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    verdict: Verdict
    reason: str  # what decided it, as a clause
    n: int  # independent units compared
    steps: NDArray  # [T]
    base: Estimate  # score at step 0
    last: Estimate  # score at the last checkpoint
    band: Band | None = None  # differences from step 0
    band_vs_last: Band | None = None  # differences from the last checkpoint
    margin: float = math.nan  # smallest dip that these items show with 90 % power
    depth: Estimate = _UNDEFINED  # how far the lowest checkpoint lies below base; selection-corrected
    trough_step: int | None = None
    trough_interval: tuple[int, int] | None = None  # 95 % of bootstrap resamples
    recovery_step: int | None = None  # first checkpoint after the trough at or above base with no dip from there on
    recovery_interval: tuple[int | None, int | None] | None = None  # None inside: not within the run
    final: Estimate = _UNDEFINED  # last minus base, with the band's bounds
    peak_step: int | None = None
    items: int = 0  # items behind the `n` units; more than `n` where items share an object
    peak: Estimate = _UNDEFINED  # highest checkpoint minus base, with the band's bounds
    peak_vs_last: Estimate = _UNDEFINED
    single_checkpoint_dip: bool = False  # items resample questions, not training noise: one checkpoint may be luck


def judge(
    trajectory: Trajectory, *, moving: Moving | Callable[[], Moving] | None = None, correlation: float = 0.0
) -> Phase:
    """The phase verdict of a trajectory, with everything it rests on.

    Aggregates are judged unpaired, each bound of their band one-sided (`statistics/aggregates.py`); `correlation` is then
    that of a score's errors at two checkpoints, where one is assumed.

    A *dip* is a checkpoint whose simultaneous band lies below base; it is *recovered* when the last difference is at
    least 0, no dip follows the recovery, and the last lower bound is at least minus the margin. Where several verdicts
    hold:

    1. overfits: one checkpoint is significantly above both base and the last (the second by a band of its own);
    2. dips-and-recovers: a dip, recovered;
    3. under-optimised: a dip, not recovered, and the rise since the trough is significant, or the score ends below base
       while length and loss still move (`moving`, asked only when needed);
    4. degrades: the last checkpoint is significantly below base, without such a rise;
    5. improves: no dip, the last checkpoint significantly above base;
    6. flat: the whole band within +-3 points;
    7. undecidable: everything else, and whatever lacks step 0, a second checkpoint or a second item.
    """
    steps = trajectory.steps
    nothing = Estimate.undefined(trajectory.n, "none")
    base = trajectory.estimate(0) if len(steps) and steps[0] == 0 else nothing
    last = trajectory.estimate(-1) if len(steps) else nothing
    missing = _what_is_missing(trajectory)
    if missing:
        return Phase("undecidable", missing, trajectory.n, steps, base, last)
    evidence = _evidence(trajectory, correlation)
    band, versus = evidence.band, evidence.versus
    if math.isnan(band.critical):
        return Phase(
            "undecidable",
            f"{band.n} item{'s' * (band.n != 1)} with a value at every checkpoint",
            band.n,
            steps,
            base,
            last,
        )

    margin = evidence.margin
    facts = _Facts.of(band, versus, margin)
    verdict, reason = _verdict(facts, band, margin, base, moving)
    depth, trough_interval, recovery_interval = _distributions(evidence.diffs_BT, band, facts)
    peak = facts.peak
    return Phase(
        verdict=verdict,
        reason=reason,
        n=band.n,
        items=len(trajectory.items) or band.n,
        steps=steps,
        base=base,
        last=last,
        band=band,
        band_vs_last=versus,
        margin=margin,
        depth=depth,
        trough_step=int(steps[facts.trough]),
        trough_interval=(int(steps[trough_interval[0]]), int(steps[trough_interval[1]])),
        recovery_step=None if facts.recovery is None else int(steps[facts.recovery]),
        recovery_interval=_steps_or_none(steps, recovery_interval) if facts.dip else None,
        final=_at(band, len(steps) - 1),
        peak_step=int(steps[peak]),
        peak=_at(band, peak),
        peak_vs_last=_at(versus, peak),
        single_checkpoint_dip=int(np.sum(band.hi[1:] < 0)) == 1,
    )


def smallest_detectable_dip(band: Band) -> float:
    """Depth m that would be called a dip with 90 % probability: m = (critical + 1.2816) * se(m).

    se(m) is the standard error that a checkpoint m below base would have. It starts from the median over checkpoints
    and adds the discordance the dip itself makes: with 0/1 items a share m of answers turns wrong, which adds m - m^2
    to the variance of one difference. Without this, items that hardly ever change would promise a power they do not
    have.
    """
    k = band.critical + float(ndtri(POWER))
    variance = float(np.median(band.se[band.others])) ** 2  # of the mean difference
    # m^2 = k^2 (variance + (m - m^2) / n), solved for m
    a, b, c = 1 + k * k / band.n, -k * k / band.n, -k * k * variance
    return (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)


def still_moving(steps: ArrayLike, values: ArrayLike) -> tuple[bool, Estimate]:
    """Whether a series still changes over the last third of training, and its slope per step there.

    Least squares over the checkpoints of the last third of the steps (three of them at least), t-interval of the
    residuals: it holds the scatter between checkpoints, which the items of one checkpoint cannot show.
    """
    x, y = np.asarray(steps, float), np.asarray(values, float)
    keep = np.isfinite(y)
    x, y = x[keep], y[keep]
    late = x >= x[0] + (x[-1] - x[0]) * 2 / 3 if len(x) else np.zeros(0, bool)
    if late.sum() < 3:
        late[-3:] = True
    x, y = x[late], y[late]
    n = len(x)
    if n < 3:
        return False, Estimate.undefined(n, "least squares over the last third")
    dx = x - x.mean()
    slope = float(dx @ y / (dx @ dx))
    residual = y - y.mean() - slope * dx
    half = float(stdtrit(n - 2, 0.5 + LEVEL / 2)) * math.sqrt(residual @ residual / (n - 2) / (dx @ dx))
    estimate = Estimate(slope, slope - half, slope + half, n, "least squares over the last third")
    return estimate.lo > 0 or estimate.hi < 0, estimate


# ---------------------------------------------------------------- the verdict


@dataclass(frozen=True, slots=True)
class _Facts:
    trough: int  # columns
    peak: int
    recovery: int | None
    dip: bool
    recovered: bool
    rise: bool  # the last is significantly above the trough
    overfits: bool

    @classmethod
    def of(cls, band: Band, versus: Band, margin: float) -> _Facts:
        end = len(band.diff) - 1
        trough = 1 + int(np.argmin(band.diff[1:]))
        dip = bool(np.any(band.hi[1:] < 0))
        recovery = first_recovery(band.diff, band.hi, trough) if dip else None
        above_both = (band.lo > 0) & (versus.lo > 0)
        overfits = bool(above_both[1:end].any())
        peak = (
            int(np.argmax(np.where(above_both, band.diff, -np.inf))) if overfits else 1 + int(np.argmax(band.diff[1:]))
        )
        recovered = dip and recovery is not None and band.diff[end] >= 0 and band.lo[end] >= -margin
        return cls(trough, peak, recovery, dip, bool(recovered), bool(versus.hi[trough] < 0), overfits)


def first_recovery(diff: NDArray, hi: NDArray, trough: int) -> int | None:
    """First column after the trough with a difference of at least 0 and no upper bound below 0 from there on."""
    for t in range(trough + 1, len(diff)):
        if diff[t] >= 0 and np.all(hi[t:] >= 0):
            return t
    return None


def _verdict(
    facts: _Facts, band: Band, margin: float, base: Estimate, moving: Moving | Callable[[], Moving] | None
) -> tuple[Verdict, str]:
    if facts.overfits:
        return "overfits", "a checkpoint lies significantly above both the base and the last"
    if facts.dip and facts.recovered:
        return "dips-and-recovers", "a significant dip, and an end at or above base"
    if facts.dip and facts.rise:
        where = "still significantly below base" if band.hi[-1] < 0 else "not shown to be back at base"
        return "under-optimised", f"a significant dip and a significant rise since, {where}"
    if facts.dip and band.diff[-1] < 0 and moving is not None and all(moving() if callable(moving) else moving):
        return "under-optimised", "a significant dip, and length and loss still move at the end"
    if band.hi[-1] < 0:
        return (
            "degrades",
            "the last checkpoint lies significantly below base, without a significant rise since the trough",
        )
    if not facts.dip and band.lo[-1] > 0:
        return "improves", "the last checkpoint lies significantly above base, and no checkpoint significantly below"
    if np.all(band.lo >= -FLAT) and np.all(band.hi <= FLAT):
        return "flat", "the whole band lies within 3 points of base"
    if facts.dip:
        return "undecidable", "a significant dip, but neither a recovery nor a lasting loss is shown"
    if base.value < margin:
        return "undecidable", f"from a base of {base.value:.2f} these items can show no dip"
    return "undecidable", "the band holds both no change and changes beyond 3 points"


def _what_is_missing(trajectory: Trajectory) -> str:
    if len(trajectory.steps) == 0 or trajectory.steps[0] != 0:
        return "no base (step 0) to compare with"
    if len(trajectory.steps) < 2:
        return "only one checkpoint"
    if trajectory.matrix is None:
        unknown = next((e for e in trajectory.aggregates if math.isnan(e.lo)), None)
        return "" if unknown is None else unknown.method
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    band: Band  # differences from step 0
    versus: Band  # differences from the last checkpoint
    margin: float
    diffs_BT: NDArray  # differences from step 0 when the items are drawn again


def _evidence(trajectory: Trajectory, correlation: float) -> _Evidence:
    if trajectory.matrix is None:
        scores = trajectory.aggregates
        band = aggregate_band(scores, 0, correlation=correlation)
        versus = aggregate_band(scores, len(scores) - 1, correlation=correlation)
        means_BT = resampled_scores(scores)
        margin = aggregate_margin(scores[0], band, POWER, correlation=correlation)
        return _Evidence(band, versus, margin, means_BT - means_BT[:, :1])
    last = trajectory.matrix.shape[1] - 1
    (band, versus), diffs_BT = simultaneous_bands(trajectory.matrix, (0, last), trajectory.clusters)
    margin = math.nan if math.isnan(band.critical) else smallest_detectable_dip(band)
    return _Evidence(band, versus, margin, diffs_BT)


# ---------------------------------------------------------------- the numbers


def _distributions(
    diffs_BT: NDArray, band: Band, facts: _Facts
) -> tuple[Estimate, tuple[int, int], tuple[int | None, int | None]]:
    """Selection-corrected depth, and the bootstrap intervals of the trough and recovery columns.

    The lowest of T noisy differences is too low: the bootstrap shows by how much (mean of the resampled minima minus
    the observed one). The bounds are those of the band's own minimum, which hold whichever checkpoint was lowest.
    """
    d = diffs_BT[:, 1:]
    lowest = float(np.min(band.diff[1:]))
    corrected = lowest - (float(d.min(axis=1).mean()) - lowest)
    depth = Estimate(
        -corrected,
        -float(band.hi[1:].min()),
        -float(band.lo[1:].min()),
        band.n,
        "minimum less its bootstrap bias; " + band.method,
    )
    troughs = 1 + np.argmin(d, axis=1)
    trough = _middle(troughs)
    upper = diffs_BT + band.critical * band.se
    never = diffs_BT.shape[1]
    # The first column after the trough from which on no upper bound is below 0, and whose difference is at least 0.
    no_dip_from_here = np.logical_and.accumulate((upper >= 0)[:, ::-1], axis=1)[:, ::-1]
    ok = no_dip_from_here & (diffs_BT >= 0) & (np.arange(never) > troughs[:, None])
    recoveries = np.where(ok.any(axis=1), ok.argmax(axis=1), never)
    lo, hi = _middle(recoveries)
    return depth, trough, (None if lo == never else lo, None if hi == never else hi)


def _middle(columns: NDArray) -> tuple[int, int]:
    """The columns between which 95 % of the resamples lie."""
    lo, hi = np.quantile(columns, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return int(lo), int(hi)


def _at(band: Band, column: int) -> Estimate:
    return Estimate(float(band.diff[column]), float(band.lo[column]), float(band.hi[column]), band.n, band.method)


def _steps_or_none(steps: NDArray, columns: Sequence[int | None]) -> tuple[int | None, int | None]:
    lo, hi = (None if c is None else int(steps[c]) for c in columns)
    return lo, hi
