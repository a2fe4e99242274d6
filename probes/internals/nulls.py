"""What chance gives: directions drawn from this model's own within-class covariance, and the best of them over all sites.

A site is a layer at a position. Isotropic directions are a several times too easy null, and the best of many sites is far
better by chance than a single one: whoever picks the best has to be compared with picks of the same kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from . import directions as d

DRAWS = 1000
SHRINKAGE = 0.1  # of the covariance towards its mean variance in all dimensions
Q = 0.99


@dataclass(frozen=True)
class Null:
    """Draws [draws, layers] by position: of |cos| to a reference direction, and of the AUC on held-out rows."""

    cosine: Mapping[str, np.ndarray]
    auc: Mapping[str, np.ndarray]

    def quantile(self, what: Mapping[str, np.ndarray], position: str) -> np.ndarray:
        """The 99th percentile at each layer [layers]."""
        return np.quantile(what[position], Q, axis=0)

    def best_quantile(self, what: Mapping[str, np.ndarray]) -> float:
        """The 99th percentile of the best over all layers and positions of one draw."""
        return float(np.quantile(np.max([x.max(1) for x in what.values()], axis=0), Q))


def null(
    acts: Mapping[str, np.ndarray],
    label_N: np.ndarray,
    fit_N: np.ndarray,
    reference: Mapping[str, np.ndarray],
    draws: int = DRAWS,
    seed: int = 0,
) -> Null:
    """Chance at every site: `acts` [rows, layers, width] and unit `reference` directions [layers, width], by position.

    One draw is one set of random weights on the fit rows' deviations from their class means, the same at all sites, so that
    sites hang together in the null as they do in the model; its covariance is the pooled within-class one, shrunk. Each
    direction is pointed towards the positive class of the fit rows and scored on the others.
    """
    rng = np.random.default_rng(seed)
    y_fit, y_held = label_N[fit_N], label_N[~fit_N]
    weights = rng.standard_normal((draws, int(fit_N.sum()))).astype(np.float32)
    cosine, auc = {}, {}
    for position, acts_NLD in acts.items():
        cos, areas = [], []
        for layer in range(acts_NLD.shape[1]):
            fit_ND = acts_NLD[fit_N, layer]
            random_KD = matched_directions(fit_ND, y_fit, weights, rng)
            gap_D = d.difference_in_means(fit_ND[:, None], y_fit)[0]
            toward_KD = random_KD * np.sign(random_KD @ gap_D)[:, None]
            cos.append(np.abs(random_KD @ reference[position][layer]))
            areas.append(d.auc_values(acts_NLD[~fit_N, layer] @ toward_KD.T.astype(np.float32), y_held))
        cosine[position], auc[position] = np.stack(cos, axis=1), np.stack(areas, axis=1)
    return Null(cosine, auc)


def matched_directions(
    acts_ND: np.ndarray, class_N: np.ndarray, weights_KN: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Unit directions [K, width] from N(0, within-class covariance, shrunk), without forming it.

    Standard normal weights on the deviations from class means have exactly their covariance: N x width work a direction
    where a Cholesky factor takes width^3.
    """
    acts = acts_ND.astype(np.float32)
    centred = acts.copy()
    classes = np.unique(class_N)
    for name in classes:
        centred[class_N == name] -= acts[class_N == name].mean(0)
    freedom = len(centred) - len(classes)
    mean_variance = float((centred.astype(np.float64) ** 2).sum()) / freedom / centred.shape[1]
    random_KD = weights_KN @ centred * np.sqrt((1 - SHRINKAGE) / freedom)
    isotropic_KD = rng.standard_normal(random_KD.shape, dtype=np.float32) * np.sqrt(SHRINKAGE * mean_variance)
    return d.unit(random_KD + isotropic_KD)
