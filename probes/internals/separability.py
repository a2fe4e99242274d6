"""Whether classes can be read off linearly, and what that is worth: probes by grouped folds, a control task, baselines.

A probe that reads a label where a bag of words reads it as well has shown nothing of the model; one that also learns random
labels has capacity, and no concept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ...dynamics.statistics.intervals import wilson_bounds
from ...dynamics.types import Estimate
from . import directions as d

FOLDS = 5
FPR = 0.01
DRAWS = 300
STRENGTH = 0.1  # inverse of the L2 penalty on standardised features
CONTROLS = 2  # random labellings
MIN_GROUPS = 2 * FOLDS  # of either class


def readout() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=200, tol=1e-3))


def grouped_scores(
    fit_ND: np.ndarray, label_N: np.ndarray, group_N: np.ndarray, score_ND: np.ndarray | None = None
) -> np.ndarray:
    """Scores of rows by probes fitted without their groups [rows].

    Fitted on `fit_ND` and read from `score_ND`, the same rows elsewhere (by default the same place): a probe of the base
    that scores a later checkpoint has not seen the prompts either. NaN where there are too few groups for folds.
    """
    if min(d.units(label_N, group_N)) < MIN_GROUPS:
        return np.full(len(label_N), np.nan)
    read_ND = fit_ND if score_ND is None else score_ND
    scores = np.empty(len(label_N))
    for train, test in _folds(tuple(label_N.tolist()), tuple(group_N.tolist())):
        scores[test] = readout().fit(fit_ND[train], label_N[train]).decision_function(read_ND[test])
    return scores


@lru_cache(maxsize=16)
def _folds(labels: tuple[bool, ...], groups: tuple[str, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) rows; the same prompts are read at every layer and checkpoint."""
    return list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels, groups))


def control_auc(acts_ND: np.ndarray, group_N: np.ndarray) -> float:
    """AUC of the same probe on random labels, one a group, mean over labellings (Hewitt & Liang 2019).

    Folds split rows here and not groups, since what a control task measures is how much of them can be learned by heart.
    """
    names, of_row = np.unique(group_N, return_inverse=True)
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(CONTROLS):
        label_N = (rng.permutation(len(names)) % 2 == 0)[of_row]
        scores = np.empty(len(label_N))
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(acts_ND, label_N):
            scores[test] = readout().fit(acts_ND[train], label_N[train]).decision_function(acts_ND[test])
        areas.append(float(d.auc_values(scores[:, None], label_N)[0]))
    return float(np.mean(areas))


@lru_cache(maxsize=16)
def words_auc(texts: tuple[str, ...], labels: tuple[bool, ...], groups: tuple[str, ...]) -> Estimate:
    """AUC of a bag of the texts' words."""
    counts = CountVectorizer(token_pattern=r"\S+", lowercase=False).fit_transform(texts).toarray().astype(np.float64)
    return _baseline(counts, labels, groups)


@lru_cache(maxsize=16)
def length_auc(texts: tuple[str, ...], labels: tuple[bool, ...], groups: tuple[str, ...]) -> Estimate:
    """AUC of the number of words."""
    return _baseline(np.array([[float(len(t.split()))] for t in texts]), labels, groups)


def embedding_auc(embedded_ND: np.ndarray, label_N: np.ndarray, group_N: np.ndarray) -> Estimate:
    """AUC of the mean input embedding: what no block has worked on."""
    return d.auc(grouped_scores(embedded_ND, label_N, group_N), label_N, group_N)


def _baseline(features: np.ndarray, labels: Sequence[bool], groups: Sequence[str]) -> Estimate:
    label_N, group_N = np.array(labels), np.array(groups)
    return d.auc(grouped_scores(features, label_N, group_N), label_N, group_N)


def tpr_at_fpr(
    scores_N: np.ndarray, label_N: np.ndarray, group_N: np.ndarray | None = None, fpr: float = FPR, seed: int = 0
) -> Estimate:
    """Share of positives above the threshold that a share `fpr` of negatives reaches. An AUC says little of it (2604.18901).

    The threshold is the k-th largest negative, k = fpr (n + 1) rounded down, at least 1: k / (n + 1) of further negatives are
    expected above it. Positives that tie with it do not count. Interval: the hull of the percentile bootstrap over groups,
    of its reflection on the logit scale, and of Wilson's for the positives alone. With a hundred negatives the percentile
    interval alone covers 70 to 85 % of the time, since no resample's largest negative is beyond the sample's; the hull 90 %.
    """
    group = np.arange(len(label_N)) if group_N is None else np.unique(group_N, return_inverse=True)[1]
    n_groups = int(group.max()) + 1
    m, n = d.units(label_N, group_N)
    if m == 0 or n == 0 or not np.isfinite(scores_N).all():
        return Estimate.undefined(n_groups, "bootstrap hull")
    order = np.lexsort((label_N, -scores_N))  # by falling score, negatives before the positives they tie with
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=DRAWS)
    weights = np.concatenate([np.ones((1, len(label_N))), counts[:, group]])[:, order]
    y = label_N[order]
    negatives, positives = (weights * ~y).cumsum(1), (weights * y).cumsum(1)
    k = np.maximum(1, np.floor(fpr * (negatives[:, -1] + 1)))
    at = (negatives >= k[:, None]).argmax(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = positives[np.arange(len(at)), at] / positives[:, -1]
    value = float(shares[0])
    bounds = np.nanquantile(shares[1:], [0.025, 0.975])
    eps = 0.5 / m
    log_odds, value_log_odds = (np.log((x + eps) / (1 - x + eps)) for x in (bounds, value))
    reflected = (1 + 2 * eps) / (1 + np.exp(log_odds - 2 * value_log_odds)) - eps
    every = np.clip([*bounds, *reflected, *wilson_bounds(value, m)], 0.0, 1.0)
    return Estimate(value, float(every.min()), float(every.max()), n_groups, "bootstrap hull")
