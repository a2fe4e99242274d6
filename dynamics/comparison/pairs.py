"""Two runs, or two arms of seeds, compared: paired by item and checkpoint, each also relative to its own base."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import DataError
from ..statistics.bands import Band
from ..types import Estimate
from .arms import Arm, ArmScores, arm_scores, shared_items
from .bands import difference_band
from .matching import Match, match_checkpoints
from .seeds import ONE_SEED, SeedTest, seed_test


@dataclass(frozen=True, slots=True, eq=False)
class PairComparison:
    """A minus B on one domain, in shares. Bands hold together over the matched trained checkpoints; `last` is the
    last of them.
    """

    a: str
    b: str
    domain: str
    group: str
    match: Match
    steps_a: NDArray  # [T] matched trained checkpoints
    steps_b: NDArray
    gaps: NDArray  # [T] on the axis matched on
    level: Band  # A - B, [T]
    did: Band | None  # (A - its base) - (B - its base), [T]; None where one has no base
    base_difference: Estimate  # A's base minus B's; value 0 without an interval where they share it
    shared_base: bool
    seeds: SeedTest | None  # at the last match, relative to base where there is one; None with one seed in an arm
    spread_a: NDArray  # [T] between seeds, standard deviation of run means; NaN with one seed
    spread_b: NDArray
    notes: tuple[str, ...]

    @property
    def effect(self) -> Band:
        """Relative to their bases where both have one, else the difference of levels."""
        return self.level if self.did is None else self.did

    @property
    def last(self) -> Estimate:
        """At the last matched checkpoint: over seeds and items where both arms have several, else the band over
        items.
        """
        if self.seeds is not None:
            return self.seeds.estimate
        e = self.effect
        return Estimate(float(e.diff[-1]), float(e.lo[-1]), float(e.hi[-1]), e.n, f"{e.method}; {ONE_SEED}")

    def table(self) -> pd.DataFrame:
        """A row per matched checkpoint; differences in points."""
        d = self.did
        rows = pd.DataFrame({"step_a": self.steps_a, "step_b": self.steps_b, "gap": self.gaps})
        rows = rows.assign(a=self.a, b=self.b, domain=self.domain, group=self.group, match=self.match)
        for name, band in (("difference", self.level), ("did", d)):
            nothing = np.full(len(rows), math.nan)
            values = (nothing, nothing, nothing) if band is None else (band.diff, band.lo, band.hi)
            for suffix, x in zip(("", "_lo", "_hi"), values, strict=True):
                rows[name + suffix] = 100 * x
        rows["n"] = self.level.n
        rows["seed_sd_a"], rows["seed_sd_b"] = 100 * self.spread_a, 100 * self.spread_b
        return rows.assign(shared_base=self.shared_base, method=self.effect.method, unit="points")[_COLUMNS]


_COLUMNS = [
    *("a", "b", "domain", "group", "match", "step_a", "step_b", "gap", "difference", "difference_lo", "difference_hi"),
    *("did", "did_lo", "did_hi", "n", "seed_sd_a", "seed_sd_b", "shared_base", "method", "unit"),
]


def compare_pair(
    a: Arm,
    b: Arm,
    domain: str,
    *,
    metric: str = "strict",
    match: Match = "step",
    caliper: float | None = None,
    in_domain: tuple[ArmScores, ArmScores] | None = None,
    level: float = 0.95,
    n_resamples: int = 1000,
) -> PairComparison:
    """A against B on a domain's per-item metric at matched checkpoints, clustered by question.

    `in_domain` holds the scores matched on where `match` is `score`: of other items than those compared. Several
    seeds of an arm are averaged item by item for the bands (which then are of these seeds), and tested as runs at the
    last match. `level` is that of all intervals: higher where several domains are read together. Raises DataError
    where no item or checkpoint is shared.
    """
    x, y, note = shared_items(arm_scores(a, domain, metric), arm_scores(b, domain, metric), domain)
    notes = [note] if note else []
    axes = _axes(x, y, match, in_domain)
    matched = match_checkpoints(x.steps, axes[0], y.steps, axes[1], match, caliper)
    if matched.left_out:
        notes.append(
            f"{a.name}: {matched.left_out} checkpoint{'s' * (matched.left_out > 1)} without a partner in {b.name}"
        )
    trained = x.steps[matched.columns_a] > 0
    at_a, at_b = matched.columns_a[trained], matched.columns_b[trained]
    how: dict = {"n_resamples": n_resamples, "level": level}
    of_levels = difference_band(x.matrix[:, at_a] - y.matrix[:, at_b], x.clusters, **how)
    bases = _bases(x, y)
    shared = bases is not None and bool(np.array_equal(*(np.nan_to_num(v, nan=-1) for v in bases)))
    did, base_difference = None, Estimate.undefined(0, "no base")
    if bases is not None:
        of_a, of_b = x.values_SNT - bases[0], y.values_SNT - bases[1]
        d = of_a[:, :, at_a].mean(axis=0) - of_b[:, :, at_b].mean(axis=0)
        did = of_levels if shared else difference_band(d, x.clusters, limit=2.0, **how)
        base_difference = _base_difference(bases, shared, x.clusters)
    else:
        of_a, of_b = x.values_SNT, y.values_SNT
        notes.append(f"{domain}: {a.name} or {b.name} has no base (step 0), so differences are of levels, not of gains")
    limit = 1.0 if shared or did is None else 2.0
    several = min(len(a.runs), len(b.runs)) > 1
    return PairComparison(
        a=a.name,
        b=b.name,
        domain=domain,
        group=x.group,
        match=match,
        steps_a=x.steps[at_a],
        steps_b=y.steps[at_b],
        gaps=matched.gaps[trained],
        level=of_levels,
        did=did,
        base_difference=base_difference,
        shared_base=shared,
        seeds=seed_test(of_a[:, :, at_a[-1]], of_b[:, :, at_b[-1]], x.clusters, level, limit) if several else None,
        spread_a=_spread(x, at_a),
        spread_b=_spread(y, at_b),
        notes=tuple(notes),
    )


# ---------------------------------------------------------------- parts


def _axes(
    x: ArmScores, y: ArmScores, match: Match, in_domain: tuple[ArmScores, ArmScores] | None
) -> tuple[NDArray, NDArray]:
    if match == "tokens":
        return x.tokens, y.tokens
    if match != "score":
        return x.steps.astype(float), y.steps.astype(float)
    if in_domain is None:
        raise DataError(
            "matching on the in-domain score needs a domain of group id_reasoning that both runs were measured on"
        )
    return _score_axis(in_domain[0], x), _score_axis(in_domain[1], y)


def _score_axis(scores: ArmScores, at: ArmScores) -> NDArray:
    of_step = dict(zip(map(int, scores.steps), np.nanmean(scores.matrix, axis=0), strict=True))
    return np.array([of_step.get(int(s), math.nan) for s in at.steps])


def _bases(x: ArmScores, y: ArmScores) -> tuple[NDArray, NDArray] | None:
    """Each arm's items at step 0 [1, N, 1], mean over its seeds' bases; None where one was not measured there."""
    if x.steps[0] != 0 or y.steps[0] != 0:
        return None
    return x.values_SNT[:, :, :1].mean(axis=0, keepdims=True), y.values_SNT[:, :, :1].mean(axis=0, keepdims=True)


def _base_difference(bases: tuple[NDArray, NDArray], shared: bool, clusters: NDArray | None) -> Estimate:
    from ..statistics.intervals import paired_difference

    if shared:
        return Estimate(0.0, math.nan, math.nan, bases[0].shape[1], "the same answers to every item")
    return paired_difference(bases[0].ravel(), bases[1].ravel(), clusters)


def _spread(scores: ArmScores, columns: NDArray) -> NDArray:
    means_ST = np.nanmean(scores.values_SNT[:, :, columns], axis=1)
    return means_ST.std(axis=0, ddof=1) if len(means_ST) > 1 else np.full(len(columns), math.nan)
