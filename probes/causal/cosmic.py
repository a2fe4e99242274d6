"""COSMIC (arXiv 2506.00085): how well an intervention at a site turns one class's states into the other's, without any output.

Pure functions of states. Deviations from the paper: at least one evaluation layer (a tenth of nine layers is none), all of
them behind the last candidate site, so that every candidate is judged by the same layers and none by the layer it edits;
ablation is affine (towards the harmless mean, 2411.09003) and at the candidate's own layer and position, as the addition is,
since what is sought is a site.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CANDIDATES = 0.8  # share of the layers, from the first, that compete (as in 2406.11717)
EVALUATED = 0.1  # share of the layers that judge


def candidate_columns(n_layers: int) -> list[int]:
    """The layers that compete: the first 80 %, and never the last one, behind which nothing could be judged."""
    return list(range(min(max(1, int(CANDIDATES * n_layers)), n_layers - 1)))


def evaluation_columns(positive_LD: np.ndarray, negative_LD: np.ndarray) -> list[int]:
    """The tenth of the layers (at least one) with the least cosine between the class means, of those behind all candidates."""
    n = len(positive_LD)
    behind = list(range(len(candidate_columns(n)), n))
    cosines = _cosine(positive_LD[behind], negative_LD[behind])
    wanted = np.argsort(cosines, kind="stable")[: max(1, int(EVALUATED * n))]
    return sorted(behind[k] for k in wanted)


@dataclass(frozen=True)
class States:
    """States of the evaluation prompts at the evaluation layers, last prompt token [prompts, layers, width]."""

    harmful: np.ndarray
    harmless: np.ndarray
    ablated: np.ndarray  # harmful prompts, the direction's coordinate set to the harmless mean's
    steered: np.ndarray  # harmless prompts, the difference vector added


def score(states: States, harmful_BN: np.ndarray, harmless_BN: np.ndarray) -> np.ndarray:
    """cos(mean of ablated harmful, harmless mean) + cos(mean of steered harmless, harmful mean), mean over layers [B].

    `harmful_BN`, `harmless_BN`: weights of the prompts in each of B resamples; rows sum to 1. From -2 to 2.
    """
    harmful, ablated = (_means(harmful_BN, x) for x in (states.harmful, states.ablated))
    harmless, steered = (_means(harmless_BN, x) for x in (states.harmless, states.steered))
    return (_cosine(ablated, harmless) + _cosine(steered, harmful)).mean(-1)


def resamples(group_N: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Weights of rows [1 + draws, rows]: all alike in the first, then whole groups drawn with replacement."""
    names, of_row = np.unique(group_N, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)[:, of_row]
    weights = np.concatenate([np.ones((1, len(group_N))), counts])
    return weights / weights.sum(1, keepdims=True)


def _means(weights_BN: np.ndarray, states_NLD: np.ndarray) -> np.ndarray:
    n, layers, width = states_NLD.shape
    return (weights_BN @ states_NLD.reshape(n, -1).astype(np.float64)).reshape(-1, layers, width)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
