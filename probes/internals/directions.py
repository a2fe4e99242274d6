"""Directions as pure functions of activations: difference-in-means, held-out separation, corrected cosine, a fair null.

Arrays are [items, layers, width] (NLD); class means are accumulated in float64, since a difference of nearly equal means
is all cancellation. docs/metrics.md gives the definitions.
"""

from __future__ import annotations

import math

import numpy as np

from ...dynamics.separation import auc as auc  # one of the measures of a direction, for whoever reads them from here
from ...dynamics.types import Estimate

MIN_RELIABILITY = 0.2
Z = 1.959963984540054


def difference_in_means(acts_NLD: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    """mean(positive) - mean(negative), float64 [layers, width]. Raises ValueError where a class is empty."""
    if not label_N.any() or label_N.all():
        raise ValueError("a difference in means needs prompts of both classes")
    acts = acts_NLD.astype(np.float64)
    return acts[label_N].mean(0) - acts[~label_N].mean(0)


def unit(x_LD: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; rows of length 0 become NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return x_LD / np.linalg.norm(x_LD, axis=-1, keepdims=True)


def cosine(a_LD: np.ndarray, b_LD: np.ndarray) -> np.ndarray:
    """Cosine per layer [layers]."""
    return (unit(a_LD) * unit(b_LD)).sum(-1)


def corrected_cosine(a_t: np.ndarray, b_t: np.ndarray, a_0: np.ndarray, b_0: np.ndarray) -> np.ndarray:
    """Cosine between the directions of two checkpoints, freed of estimation noise, per layer [layers].

    1/2 [c(A_t, B_0) + c(B_t, A_0)] / sqrt(c(A_t, B_t) c(A_0, B_0)), with A and B fitted on disjoint halves of the prompts
    (shared prompts share noise). NaN where a reliability c(A, B) is below 0.2; never clipped.
    """
    own, base = cosine(a_t, b_t), cosine(a_0, b_0)
    across = 0.5 * (cosine(a_t, b_0) + cosine(b_t, a_0))
    usable = (own >= MIN_RELIABILITY) & (base >= MIN_RELIABILITY)
    return np.where(usable, across / np.sqrt(np.where(usable, own * base, 1.0)), np.nan)


def halves(
    acts_NLD: np.ndarray, label_N: np.ndarray, half_N: np.ndarray, keep_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Difference-in-means of half A and of half B, among the kept prompts."""
    a, b = (keep_N & (half_N == h) for h in "AB")
    return difference_in_means(acts_NLD[a], label_N[a]), difference_in_means(acts_NLD[b], label_N[b])


def corrected_cosine_estimates(
    acts_t: np.ndarray, acts_0: np.ndarray, label_N: np.ndarray, half_N: np.ndarray, groups: int = 16
) -> list[Estimate]:
    """`corrected_cosine` per layer, with the interval of a delete-a-group jackknife over prompts.

    Groups take the same share of every class and half, the same prompts from both checkpoints, which pairs them.
    """
    everything = np.ones(len(label_N), dtype=bool)
    value = corrected_cosine(*halves(acts_t, label_N, half_N, everything), *halves(acts_0, label_N, half_N, everything))
    group = np.zeros(len(label_N), dtype=int)
    for positive in (True, False):
        for h in "AB":
            cell = np.flatnonzero((label_N == positive) & (half_N == h))
            group[cell] = np.arange(len(cell)) % groups
    left_out = []
    for g in range(groups):
        keep = group != g
        left_out.append(
            corrected_cosine(*halves(acts_t, label_N, half_N, keep), *halves(acts_0, label_N, half_N, keep))
        )
    spread = np.stack(left_out)
    se = np.sqrt((groups - 1) / groups * ((spread - spread.mean(0)) ** 2).sum(0))
    n = len(label_N)
    return [
        Estimate(float(v), float(v - Z * s), float(v + Z * s), n, "group-jackknife")
        if not math.isnan(v)
        else Estimate.undefined(n, "group-jackknife")
        for v, s in zip(value, se, strict=True)
    ]


def gap_in_sd(projections_N: np.ndarray, label_N: np.ndarray, sd: float) -> Estimate:
    """Difference of the class means of a projection, in units of a within-class standard deviation; Welch interval."""
    a, b = projections_N[label_N], projections_N[~label_N]
    if len(a) < 2 or len(b) < 2 or not sd > 0:
        return Estimate.undefined(len(a) + len(b), "welch")
    value = (a.mean() - b.mean()) / sd
    half = Z * math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)) / sd
    return Estimate(float(value), float(value - half), float(value + half), len(a) + len(b), "welch")


def within_class_sd(projections_N: np.ndarray, label_N: np.ndarray) -> float:
    a, b = projections_N[label_N], projections_N[~label_N]
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
    return float(math.sqrt(pooled))


def within_class_covariance(acts_ND: np.ndarray, label_N: np.ndarray, shrinkage: float = 0.1) -> np.ndarray:
    """Pooled within-class covariance of one layer, shrunk towards its diagonal mean, float64 [width, width]."""
    acts = acts_ND.astype(np.float64)
    centred = np.concatenate([acts[label_N] - acts[label_N].mean(0), acts[~label_N] - acts[~label_N].mean(0)])
    cov = centred.T @ centred / (len(centred) - 2)
    return (1 - shrinkage) * cov + shrinkage * np.trace(cov) / len(cov) * np.eye(len(cov))


def random_directions(covariance_DD: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Unit directions drawn from N(0, covariance) [n, width]: chance as this model's own variance makes it.

    Isotropic directions are a five times too easy null (docs/metrics.md).
    """
    root = np.linalg.cholesky(covariance_DD)
    return unit(np.random.default_rng(seed).standard_normal((n, len(root))) @ root.T)
