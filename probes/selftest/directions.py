"""Nulls of the refusal direction on a model's own states: shuffled labels, random directions, halves of the prompts."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, rankdata

from ..internals import directions as d
from .lines import Line

SHUFFLES, RANDOM = 200, 500
NOMINAL = 0.025  # of AUC intervals that lie above chance where there is nothing
ALARM = 1e-3  # how improbable a rate must be under its nominal value before it is called wrong


def check_shuffled(acts_NLD: np.ndarray, label_N: np.ndarray, fit_N: np.ndarray, seed: int = 0) -> Line:
    """Directions fitted to shuffled labels must not tell apart shuffled labels on the other prompts."""
    aucs_SL, above_SL = shuffled_aucs(acts_NLD, label_N, fit_N, SHUFFLES, seed)
    rate, layers = float(above_SL.mean()), aucs_SL.shape[1]
    best = float(above_SL[np.arange(SHUFFLES), aucs_SL.argmax(1)].mean())
    mean, se = float(aucs_SL.mean()), float(aucs_SL.mean(1).std(ddof=1) / np.sqrt(SHUFFLES))
    improbable = min(float(binom.sf(above_SL[:, i].sum() - 1, SHUFFLES, NOMINAL)) for i in range(layers)) * layers
    failed = improbable < ALARM or abs(mean - 0.5) > 4 * se
    numbers = {"auc": mean, "separates": rate, "separates_best_layer": best, "shuffles": SHUFFLES}
    text = (
        f"labels shuffled {SHUFFLES} times: AUC {mean:.3f} on average; its interval lies above chance in {rate:.1%} of blocks "
        f"({NOMINAL:.1%} is nominal), and in {best:.1%} where the best of {layers} blocks is taken"
    )
    if failed:
        return Line("shuffled", "failed", f"{text}: prompts of one part tell those of the other part's labels", numbers)
    return Line("shuffled", "ok", text, numbers)


def check_random(acts_NLD: np.ndarray, label_N: np.ndarray, fit_N: np.ndarray, seed: int = 0) -> Line:
    """How far random directions of this model's own covariance get, against the direction that was fitted."""
    fitted_LD = d.unit(d.difference_in_means(acts_NLD[fit_N], label_N[fit_N]))
    y_N, layers = label_N[~fit_N], acts_NLD.shape[1]
    cosines, separations, own = [], [], []
    for layer in range(layers):
        covariance_DD = d.within_class_covariance(acts_NLD[fit_N, layer], label_N[fit_N])
        random_RD = d.random_directions(covariance_DD, RANDOM, seed=seed + layer)
        eval_ND = acts_NLD[~fit_N, layer].astype(np.float64)
        cosines.append(np.abs(random_RD @ fitted_LD[layer]))
        aucs_R = areas(random_RD @ eval_ND.T, np.broadcast_to(y_N, (RANDOM, len(y_N))))
        separations.append(np.maximum(aucs_R, 1 - aucs_R))
        own.append(d.auc(eval_ND @ fitted_LD[layer], y_N))
    best = int(np.nanargmax([e.value for e in own]))
    cos_p99, auc_p99 = (float(np.quantile(np.max(x, axis=0), 0.99)) for x in (cosines, separations))
    numbers = {
        "cosine_p99_best_layer": cos_p99,
        "auc_p99_best_layer": auc_p99,
        "auc_median": float(np.median(separations[best])),
        "auc": own[best].value,
        "auc_lo": own[best].lo,
        "layer": best,
    }
    text = (
        f"random directions of this model's covariance, best of {layers} blocks (99 %): |cosine| with the refusal direction "
        f"up to {cos_p99:.2f}, AUC up to {auc_p99:.2f}; the direction itself has an AUC of {own[best].value:.2f} (block {best})"
    )
    if own[best].lo > auc_p99:
        return Line("random", "ok", text, numbers)
    if not own[best].lo > 0.5:
        told = (
            "it tells harmful from harmless no better than chance, and there is nothing here that training could turn"
        )
    else:
        told = (
            "harmful and harmless prompts differ along many directions (half of the random ones reach "
            f"{numbers['auc_median']:.2f}), so that its AUC is no evidence; cosines beyond the null and the causal pair are"
        )
    return Line("random", "look", f"{text}: {told}", numbers)


def check_reliability(acts_NLD: np.ndarray, label_N: np.ndarray, half_N: np.ndarray) -> Line:
    """Whether two disjoint halves of the prompts give one direction, block by block."""
    a_LD, b_LD = d.halves(acts_NLD, label_N, half_N, np.ones(len(label_N), dtype=bool))
    per_layer = [float(x) for x in d.cosine(a_LD, b_LD)]
    weak = [layer for layer, x in enumerate(per_layer) if not x >= d.MIN_RELIABILITY]
    text = (
        f"the direction fitted to two halves of the prompts agrees with itself by a cosine of {np.nanmin(per_layer):.2f} to "
        f"{np.nanmax(per_layer):.2f} over {len(per_layer)} blocks"
    )
    numbers = {"by_layer": per_layer}
    if not weak:
        return Line("reliability", "ok", text, numbers)
    where = ", ".join(map(str, weak[:8])) + (" …" if len(weak) > 8 else "")
    text = (
        f"{text}; below {d.MIN_RELIABILITY} in {len(weak)} of them ({where}), where a cosine to the base is undefined"
    )
    return Line("reliability", "look", text, numbers)


# ---------------------------------------------------------------- parts


def shuffled_aucs(
    acts_NLD: np.ndarray, label_N: np.ndarray, fit_N: np.ndarray, shuffles: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """AUC [shuffles, layers] of directions fitted to shuffled labels of the fit prompts, for shuffled labels of the
    others; and whether its interval lies above 0.5."""
    rng = np.random.default_rng(seed)
    fit_SN = np.array([rng.permutation(label_N[fit_N]) for _ in range(shuffles)])
    eval_SN = np.array([rng.permutation(label_N[~fit_N]) for _ in range(shuffles)])
    weight_SN = np.where(fit_SN, 1 / fit_SN.sum(1, keepdims=True), -1 / (~fit_SN).sum(1, keepdims=True))
    aucs, above = [], []
    for layer in range(acts_NLD.shape[1]):
        acts_ND = acts_NLD[:, layer].astype(np.float64)
        scores_SN = weight_SN @ acts_ND[fit_N] @ acts_ND[~fit_N].T
        aucs.append(areas(scores_SN, eval_SN))
        above.append([d.auc(scores, y).lo > 0.5 for scores, y in zip(scores_SN, eval_SN, strict=True)])
    return np.array(aucs).T, np.array(above).T


def areas(scores_SN: np.ndarray, label_SN: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of every row."""
    positives = label_SN.sum(1)
    rank_sums = np.where(label_SN, rankdata(scores_SN, axis=1), 0).sum(1)
    return (rank_sums - positives * (positives + 1) / 2) / (positives * (label_SN.shape[1] - positives))
