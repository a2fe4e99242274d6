"""Directions as pure functions of activations: difference-in-means, held-out separation, corrected cosine, a fair null.

Arrays are [items, layers, width] (NLD); class means are accumulated in float64, since a difference of nearly equal means
is all cancellation. docs/metrics.md gives the definitions.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit
from scipy.stats import rankdata

from ...dynamics.separation import auc as auc  # one of the measures of a direction, for whoever reads them from here
from ...dynamics.statistics.intervals import cluster_totals
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
    acts_t: np.ndarray,
    acts_0: np.ndarray,
    label_N: np.ndarray,
    half_N: np.ndarray,
    group_N: np.ndarray | None = None,
    blocks: int = 16,
) -> list[Estimate]:
    """`corrected_cosine` per layer, with the interval of a delete-a-block jackknife over prompts.

    Blocks are made of whole groups (by default every row is its own) of both halves, the same at both checkpoints, which
    pairs them. n counts groups.
    """
    block_N, n = _blocks(half_N, group_N, blocks)
    b_t, b_0 = (
        _half_differences(x, label_N, half_N, block_N, blocks) for x in (acts_t, acts_0)
    )  # [1 + blocks, 2, L, D]
    every = corrected_cosine(b_t[:, 0], b_t[:, 1], b_0[:, 0], b_0[:, 1])
    value, spread = every[0], every[1:]
    se = np.sqrt((blocks - 1) / blocks * ((spread - spread.mean(0)) ** 2).sum(0))
    return [
        Estimate(float(v), float(v - Z * s), float(v + Z * s), n, "group-jackknife")
        if not math.isnan(v)
        else Estimate.undefined(n, "group-jackknife")
        for v, s in zip(value, se, strict=True)
    ]


def _blocks(half_N: np.ndarray, group_N: np.ndarray | None, blocks: int) -> tuple[np.ndarray, int]:
    """A block for every row, the groups of each half dealt out in turn; and how many groups there are."""
    group = np.arange(len(half_N)) if group_N is None else np.unique(group_N, return_inverse=True)[1]
    block_N = np.zeros(len(half_N), dtype=int)
    for h in "AB":
        inside = half_N == h
        block_N[inside] = np.unique(group[inside], return_inverse=True)[1] % blocks
    return block_N, len(np.unique(group))


def _half_differences(
    acts_NLD: np.ndarray, label_N: np.ndarray, half_N: np.ndarray, block_N: np.ndarray, blocks: int
) -> np.ndarray:
    """Difference-in-means of halves A and B, of all rows and without each block, float64 [1 + blocks, 2, layers, width].

    From sums by class, half and block: leaving a block out is then a subtraction. NaN where a class is empty.
    """
    cell_N = (label_N.astype(int) * 2 + (half_N == "B")) * blocks + block_N
    member = (np.arange(4 * blocks)[:, None] == cell_N).astype(np.float64)
    acts_ND = acts_NLD.reshape(len(cell_N), -1).astype(np.float64)
    sums = (member @ acts_ND).reshape(2, 2, blocks, *acts_NLD.shape[1:])
    counts = member.sum(1).reshape(2, 2, blocks)
    whole, n = sums.sum(2, keepdims=True), counts.sum(2, keepdims=True)
    kept = np.concatenate([whole, whole - sums], axis=2)
    n_kept = np.concatenate([n, n - counts], axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = kept / n_kept[..., None, None]
    return (means[1] - means[0]).swapaxes(0, 1)


def units(label_N: np.ndarray, group_N: np.ndarray | None) -> tuple[int, int]:
    """Independent units among the positives and among the negatives: groups where there are any, else rows."""
    if group_N is None:
        return int(label_N.sum()), int((~label_N).sum())
    return len(np.unique(group_N[label_N])), len(np.unique(group_N[~label_N]))


def auc_values(scores_NK: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    """Areas under the ROC curve of many scores at once [K]; ties count half."""
    m, n = int(label_N.sum()), int((~label_N).sum())
    return (rankdata(scores_NK, axis=0)[label_N].sum(0) - m * (m + 1) / 2) / (m * n)


def gap_in_sd(projections_N: np.ndarray, label_N: np.ndarray, sd: float, group_N: np.ndarray | None = None) -> Estimate:
    """Difference of the class means of a projection, in units of a within-class standard deviation.

    Welch interval; where rows come in groups, which may hold both classes, a cluster-robust one over groups.
    """
    a, b = projections_N[label_N], projections_N[~label_N]
    n = len(label_N) if group_N is None else len(np.unique(group_N))
    method = "welch" if group_N is None else "cluster-t"
    if len(a) < 2 or len(b) < 2 or n < 3 or not sd > 0:
        return Estimate.undefined(n, method)
    value = (a.mean() - b.mean()) / sd
    if group_N is None:
        half = Z * math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)) / sd
    else:
        pull_N = np.where(label_N, (projections_N - a.mean()) / len(a), -(projections_N - b.mean()) / len(b))
        pulls, _ = cluster_totals(pull_N[:, None], group_N)  # what each group adds to the difference
        half = float(stdtrit(n - 1, 0.975)) * math.sqrt(n / (n - 1) * float((pulls**2).sum())) / sd
    return Estimate(float(value), float(value - half), float(value + half), n, method)


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
