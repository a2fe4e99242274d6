"""How much of what was lost does a treatment bring back? The same items under three conditions: base, now, now treated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from ..statistics.intervals import LEVEL, cluster_totals, complete_rows, pseudo_unit
from ..types import Estimate

METRIC = "rescue_fraction"  # 0: nothing came back, 1: all of it
METHOD = "fieller, paired by item"


def rescue_fraction(
    base: ArrayLike, now: ArrayLike, treated: ArrayLike, clusters: Sequence[object] | NDArray | None = None
) -> Estimate:
    """(treated - now) / (base - now) of the means of three outcomes [N] (0/1, such as *refused*) on the same items.

    Undefined (NaN) where the loss, base - now, is not significantly above 0: a fraction of nothing says nothing. The
    interval is Fieller's (1954; Franz 2007), which a small denominator makes wide and one-sided as it should; covariances
    are those between clusters, with a pseudo-discordant unit in either difference, so that a treatment without any effect
    in these items is not certain to have none. May lie outside 0 and 1. Items with a NaN are left out; n counts clusters.
    """
    before, after, cured, ids = complete_rows(base, now, treated, clusters=clusters)
    totals, sizes = cluster_totals(np.stack([cured - after, before - after], axis=1), ids)
    n, size = len(sizes), sizes.sum()
    if n < 2:
        return Estimate.undefined(n, METHOD)
    rescued, lost = totals.sum(axis=0) / size
    residuals = totals - sizes[:, None] * np.array([rescued, lost])
    cov = n / (n - 1) * residuals.T @ residuals / size**2
    cov += np.diag([pseudo_unit(totals[:, k]) ** 2 for k in (0, 1)]) / size**2
    # All f with (rescued - f lost)^2 <= t^2 Var(rescued - f lost): a f^2 - 2 b f + c <= 0, bounded where the loss is sure.
    t2 = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) ** 2
    a, b, c = lost**2 - t2 * cov[1, 1], rescued * lost - t2 * cov[0, 1], rescued**2 - t2 * cov[0, 0]
    if lost <= 0 or a <= 0:
        return Estimate.undefined(n, METHOD)
    half = math.sqrt(max(b * b - a * c, 0.0))
    return Estimate(float(rescued / lost), float((b - half) / a), float((b + half) / a), n, METHOD)
