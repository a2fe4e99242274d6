"""How well a score tells two classes apart: the area under the ROC curve, whose interval perfect separation does not close."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import rankdata

from .statistics.intervals import Z, cluster_totals
from .types import Estimate


def auc(scores_N: NDArray, label_N: NDArray, clusters: Sequence[object] | NDArray | None = None) -> Estimate:
    """Area under the ROC curve of a score for a binary label, with Newcombe's (2006, method 5) score-like interval.

    Hanley and McNeil's variance is taken at the bound rather than at the estimate, so that perfect separation of few
    prompts does not claim certainty. With `clusters` [N] (prompts that share an object) both classes count for as many
    independent prompts as their design effect leaves (Obuchowski 1997), and n is the number of clusters. Undefined where a
    class is empty or a score is not finite.
    """
    n = len(label_N) if clusters is None else len(np.unique(np.asarray(clusters)))
    positives, negatives = scores_N[label_N], scores_N[~label_N]
    if not len(positives) or not len(negatives) or not np.isfinite(scores_N).all():
        return Estimate.undefined(n, "newcombe")
    theta = _area(positives, negatives)
    if clusters is None:
        return Estimate(theta, *_newcombe(theta, len(positives), len(negatives)), n, "newcombe")
    sizes = _effective_sizes(scores_N, label_N, np.asarray(clusters), theta)
    return Estimate(theta, *_newcombe(theta, *sizes), n, "newcombe, clustered")


# ---------------------------------------------------------------- parts


def _area(positives: NDArray, negatives: NDArray) -> float:
    m, n = len(positives), len(negatives)
    ranks = rankdata(np.concatenate([positives, negatives]))
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))


@lru_cache(maxsize=1 << 16)  # over a run, layers and checkpoints have the same few areas
def _newcombe(theta: float, m: float, n: float) -> tuple[float, float]:
    """Bounds for an area seen on `m` positives and `n` negatives (which may be effective numbers)."""
    extra = (m + n) / 2 - 1

    def gap(t: float) -> float:
        variance = t * (1 - t) * (1 + extra * (1 - t) / (2 - t) + extra * t / (1 + t)) / (m * n)
        return abs(theta - t) - Z * math.sqrt(max(variance, 0.0))

    # At an estimate of exactly 0 or 1 the variance there is 0 too, and the wanted root lies next to a trivial one.
    inside = min(max(theta, 1e-9), 1 - 1e-9)
    lo = brentq(gap, 0.0, inside) if theta > 0 else 0.0
    hi = brentq(gap, inside, 1.0) if theta < 1 else 1.0
    return float(lo), float(hi)


def _effective_sizes(scores: NDArray, label: NDArray, clusters: NDArray, theta: float) -> tuple[float, float]:
    """Positives and negatives over the design effect: the variance between clusters against the one of separate prompts.

    Where classes are separated without an error nothing varies: then each cluster counts once for each class it has.
    """
    m, n = int(label.sum()), int((~label).sum())
    share = np.where(label, _placements(scores, scores[~label]) / n, 1 - _placements(scores, scores[label]) / m)
    deviation = share - theta  # of each prompt: how much of the other class it is on the right side of
    parts = np.stack([deviation * label / m, deviation * ~label / n, label, ~label], axis=1)
    totals, _ = cluster_totals(parts, clusters)
    with_positive, with_negative = (int(np.sum(totals[:, k] > 0)) for k in (2, 3))
    separate = sum(float(np.var(deviation[c], ddof=1)) / c.sum() for c in (label, ~label) if c.sum() > 1)
    if separate == 0 or min(with_positive, with_negative, m - 1, n - 1) < 2:
        return float(with_positive), float(with_negative)
    of_positive, of_negative = totals[:, 0], totals[:, 1]
    together = (
        with_positive / (with_positive - 1) * np.sum(of_positive**2)
        + with_negative / (with_negative - 1) * np.sum(of_negative**2)
        + 2 * len(totals) / (len(totals) - 1) * np.sum(of_positive * of_negative)
    )
    effect = max(1.0, float(together) / separate)
    return m / effect, n / effect


def _placements(scores: NDArray, others: NDArray) -> NDArray:
    """How many of the others each score exceeds; a tie counts half."""
    others = np.sort(others)
    return (np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")) / 2
