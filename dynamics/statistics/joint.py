"""Several curves over the same checkpoints, uncertain together: what each unit adds to each point of each curve.

A mean over items is a sum of what its clusters (questions) add. Multiplying every cluster's part by one standard normal draw,
the same for all checkpoints and all metrics of that cluster, gives the curves of other samples of questions (the multiplier
bootstrap; Chernozhukov, Chetverikov & Kato 2013), so that whatever is paired stays paired.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..types import Estimate
from .intervals import LEVEL, Z, cluster_totals, pseudo_unit

RESAMPLES = 2000
WORK = 40_000_000  # resamples x checkpoints^2 of one comparison of all pairs
FEWEST = 200  # resamples, whatever the number of checkpoints


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One domain's metric over checkpoints."""

    name: str
    steps: NDArray  # [T]
    value: NDArray  # [T]; NaN where undefined
    parts: NDArray  # [U, T] what each unit adds; the squares of a column sum to the variance of its value
    units: tuple[str, ...]  # [U] questions; of aggregates, checkpoints
    n: int  # independent units behind a value
    share: bool  # between 0 and 1
    pseudo: float  # standard error that one discordant unit gives to a difference (`intervals.pseudo_unit`)

    @property
    def se(self) -> NDArray:
        """[T]; 0 where every unit agrees, which `bounds` does not take for certainty."""
        return np.sqrt(np.square(self.parts).sum(axis=0))

    def at(self, steps: Sequence[int] | NDArray) -> Curve:
        """The same at some of its steps."""
        keep = [int(np.flatnonzero(self.steps == s)[0]) for s in steps]
        return Curve(
            self.name,
            self.steps[keep],
            self.value[keep],
            self.parts[:, keep],
            self.units,
            self.n,
            self.share,
            self.pseudo,
        )

    def bounds(self, critical: float) -> tuple[NDArray, NDArray]:
        """Value -/+ critical standard errors [T]; for shares Wilson's, on the number of units that has this error."""
        if not self.share:
            return self.value - critical * self.se, self.value + critical * self.se
        p, se = self.value, self.se
        with np.errstate(divide="ignore", invalid="ignore"):
            n = np.where(se > 0, np.minimum(p * (1 - p) / se**2, 4 * self.n), self.n)
        n = np.where((p <= 0) | (p >= 1), self.n, np.maximum(n, 1.0))
        z2 = critical**2 / n
        centre, half = (p + z2 / 2) / (1 + z2), critical / (1 + z2) * np.sqrt(p * (1 - p) / n + z2 / (4 * n))
        return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def curve_of_items(
    name: str, steps: NDArray, matrix: NDArray, clusters: Sequence[object] | NDArray, *, domain: str = ""
) -> Curve:
    """Means over items [N, T], clustered by question; NaN values are left out, checkpoint by checkpoint.

    `domain` names the units: two metrics of one domain share its questions. Raises DataError without an item.
    """
    x = np.asarray(matrix, float)
    if not len(x):
        raise DataError(f"{name} has no items")
    known = ~np.isnan(x)
    ids = np.asarray(clusters)
    totals, _ = cluster_totals(np.where(known, x, 0.0), ids)
    sizes, _ = cluster_totals(known.astype(float), ids)
    size = sizes.sum(axis=0)
    n = int(np.min(np.sum(sizes > 0, axis=0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = totals.sum(axis=0) / size
        parts = (totals - sizes * value) / size * math.sqrt(max(n, 2) / (max(n, 2) - 1))
    seen = x[known]
    changes = totals - totals[:, :1]
    return Curve(
        name,
        np.asarray(steps, int),
        value,
        parts if n > 1 else np.full_like(parts, np.nan),
        tuple(f"{domain or name}\t{c}" for c in np.unique(ids)),
        n,
        bool(len(seen) and seen.min() >= 0 and seen.max() <= 1),
        pseudo_unit(changes) / float(np.median(size)),
    )


def curve_of_estimates(
    name: str, steps: Sequence[int] | NDArray, estimates: Sequence[Estimate], *, share: bool
) -> Curve:
    """Numbers without items: every checkpoint is a unit of its own, so that nothing is paired (conservative)."""
    value = np.array([e.value for e in estimates], float)
    half = np.array([(e.hi - e.lo) / 2 for e in estimates], float)
    n = min((e.n for e in estimates), default=0)
    se = half / Z
    if share:  # Wilson's interval is wider than the share's error, most of all at 0 and 1
        of_share = np.array([math.sqrt(max(e.value * (1 - e.value), 0.0) / max(e.n, 1)) for e in estimates])
        wilson = np.array([e.method.startswith("wilson") for e in estimates])
        se = np.where(wilson & ~np.isnan(se), of_share, se)
    units = tuple(f"{name}\tstep {s}" for s in steps)
    return Curve(name, np.asarray(steps, int), value, np.diag(se), units, n, share, 1 / max(n, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """The mean of curves of different domains (often of one), taken as independent; all at the same steps."""

    name: str
    curves: tuple[Curve, ...]

    @property
    def steps(self) -> NDArray:
        return self.curves[0].steps

    @property
    def n(self) -> int:
        return min(c.n for c in self.curves)

    @property
    def value(self) -> NDArray:
        return np.mean([c.value for c in self.curves], axis=0)

    @property
    def se(self) -> NDArray:
        return np.sqrt(np.sum([c.se**2 for c in self.curves], axis=0)) / len(self.curves)

    @property
    def share(self) -> bool:
        return all(c.share for c in self.curves)

    def at(self, steps: Sequence[int] | NDArray) -> Blend:
        return Blend(self.name, tuple(c.at(steps) for c in self.curves))

    def bounds(self, critical: float) -> tuple[NDArray, NDArray]:
        """Bounds of the mean [T] from those of its domains: distances add in quadrature, side by side.

        Source: MOVER, Zou & Donner (2008).
        """
        each = [c.bounds(critical) for c in self.curves]
        down = np.sqrt(np.sum([(c.value - lo) ** 2 for c, (lo, _) in zip(self.curves, each, strict=True)], axis=0))
        up = np.sqrt(np.sum([(hi - c.value) ** 2 for c, (_, hi) in zip(self.curves, each, strict=True)], axis=0))
        k = len(self.curves)
        return self.value - down / k, self.value + up / k

    def pair_se(self) -> NDArray:
        """Standard error of the difference of each two checkpoints [T, T], with one pseudo-discordant unit a domain."""
        total = np.zeros((len(self.steps), len(self.steps)))
        for c in self.curves:
            gram = c.parts.T @ c.parts
            diagonal = np.diag(gram)
            total += np.maximum(diagonal[:, None] + diagonal - 2 * gram, 0.0) + c.pseudo**2
        return np.sqrt(total) / len(self.curves)


class Draws:
    """Joint deviations of blends from their values in other samples of questions; one draw of every unit for all of them."""

    def __init__(self, blends: Sequence[Blend], *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self._rng = rng = np.random.default_rng(seed)
        starts = np.cumsum([0, *(len(b.steps) for b in blends)])
        self._columns = {id(b): slice(*ends) for b, ends in zip(blends, pairwise(starts), strict=True)}
        parts_UK = _stacked(blends, self._columns, int(starts[-1]))
        if len(parts_UK) > parts_UK.shape[1]:  # normal sums of many units are those of fewer with the same covariance
            parts_UK = np.asarray(np.linalg.qr(parts_UK, mode="r"))
        normal_BU = rng.standard_normal((resamples, len(parts_UK)), dtype=np.float32)
        self._deviations_BK = normal_BU @ parts_UK.astype(np.float32)
        n = max(min((b.n for b in blends), default=2), 2)
        # A t of n - 1 degrees of freedom for all of them: the standard errors too are of this sample of questions.
        self.stretch_B1 = np.sqrt((n - 1) / rng.chisquare(n - 1, (resamples, 1))).astype(np.float32)

    def deviations(self, blend: Blend) -> NDArray:
        """[B, T], float32, of one of the blends given."""
        return self._deviations_BK[:, self._columns[id(blend)]]

    def critical(
        self, blends: Sequence[Blend], against: Sequence[tuple[Blend, int]] = (), level: float = LEVEL
    ) -> float:
        """Half width, in standard errors, of bounds that hold together for all points of `blends`, and for the differences of
        each of `against` from one of its own points (a column)."""
        worst = np.zeros(len(self.stretch_B1), np.float32)
        for blend in blends:
            dev, se = self.deviations(blend), blend.se
            z = np.divide(dev, se, out=self._rng.standard_normal(dev.shape, dtype=np.float32), where=se > 0)
            # where all units agree nothing says how points go together: as if they did not
            worst = np.maximum(worst, np.abs(z).max(axis=1))
        for blend, column in against:
            dev = self.deviations(blend)
            worst = np.maximum(worst, np.abs((dev - dev[:, [column]]) / blend.pair_se()[column]).max(axis=1))
        return float(np.quantile(worst * self.stretch_B1[:, 0], level, method="higher"))

    def pair_critical(self, blends: Sequence[Blend], level: float = LEVEL) -> float:
        """The same for the differences of all pairs of checkpoints."""
        worst = np.zeros(len(self.stretch_B1), np.float32)
        for blend in blends:
            dev, se = self.deviations(blend), blend.pair_se().astype(np.float32)
            for i in range(len(blend.steps) - 1):
                z = np.abs(dev[:, i + 1 :] - dev[:, [i]]) / se[i, i + 1 :]
                worst = np.maximum(worst, z.max(axis=1))
        return float(np.quantile(worst * self.stretch_B1[:, 0], level, method="higher"))


def _stacked(blends: Sequence[Blend], columns: Mapping[int, slice], width: int) -> NDArray:
    """What each unit adds to every point of all blends [U, K]."""
    row = {u: k for k, u in enumerate(sorted({u for b in blends for c in b.curves for u in c.units}))}
    parts_UK = np.zeros((len(row), width))
    for blend in blends:
        for curve in blend.curves:
            parts_UK[[row[u] for u in curve.units], columns[id(blend)]] += curve.parts / len(blend.curves)
    return parts_UK


def resamples_for(steps: int) -> int:
    """How many resamples the comparison of all pairs of so many checkpoints can afford."""
    return int(np.clip(WORK // max(steps, 1) ** 2, FEWEST, RESAMPLES))


def common_steps(blends: Sequence[Blend]) -> list[int]:
    """Steps at which every curve has a value with an interval."""
    found: set[int] | None = None
    for curve in (c for b in blends for c in b.curves):
        known = {int(s) for s, v, e in zip(curve.steps, curve.value, curve.se, strict=True) if not math.isnan(v + e)}
        found = known if found is None else found & known
    return sorted(found or ())
