"""Answers of items over checkpoints whose population score is known exactly at every checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Curve = Callable[[int], NDArray]  # checkpoints -> population score at each


@dataclass(frozen=True)
class Items:
    """How single answers spread about the population score.

    An answer is right where a latent normal score lies below the quantile of the population score, so that the score
    is exact whatever the correlations. The latent score has parts of the question, the item (its fixed difficulty) and
    the checkpoint; the last is autocorrelated over checkpoints.
    """

    question: float = 0.0  # share of the latent variance that all samples of a question have in common at all times
    difficulty: float = 0.5  # share that is the item's own at all times
    ar: float = 0.0  # lag-one autocorrelation of the rest
    samples: int = 1  # per question

    def latent(self, questions: int, checkpoints: int, rng: np.random.Generator) -> NDArray:
        """Standard normal scores [questions * samples, checkpoints]; the samples of a question are neighbours."""
        n = questions * self.samples
        x = rng.standard_normal((n, checkpoints), dtype=np.float32)
        if self.ar:
            scale = np.float32(np.sqrt(1 - self.ar**2))
            for t in range(1, checkpoints):
                x[:, t] = self.ar * x[:, t - 1] + scale * x[:, t]
        x *= np.float32(np.sqrt(1 - self.question - self.difficulty))
        if self.difficulty:
            x += np.float32(np.sqrt(self.difficulty)) * rng.standard_normal((n, 1), dtype=np.float32)
        if self.question:
            own = rng.standard_normal((questions, 1), dtype=np.float32)
            x += np.float32(np.sqrt(self.question)) * np.repeat(own, self.samples, axis=0)
        return x

    def answers(self, score: NDArray, questions: int, rng: np.random.Generator) -> NDArray:
        """0/1 answers float32 [questions * samples, checkpoints] with expected shares `score` [checkpoints]."""
        return (self.latent(questions, len(score), rng) < ndtri(score).astype(np.float32)).astype(np.float32)

    def clusters(self, questions: int) -> NDArray | None:
        return None if self.samples == 1 else np.repeat(np.arange(questions), self.samples)


def flat(at: float) -> Curve:
    return lambda checkpoints: np.full(checkpoints, at)


def rising(start: float, end: float) -> Curve:
    return lambda checkpoints: np.linspace(start, end, checkpoints)


def saturating(start: float, gain: float, speed: float = 6.0) -> Curve:
    return lambda checkpoints: start + gain * (1 - np.exp(-speed * np.linspace(0, 1, checkpoints)))


def above_base(base: float, gain: float) -> Curve:
    """Goes up at once, then down and up again, never back to the base, which is the worst point; ends at its best."""

    def curve(checkpoints: int) -> NDArray:
        wave = 0.5 + 0.5 * np.cos(np.linspace(0, 4 * np.pi, checkpoints))
        return np.concatenate([[base], base + gain * (0.2 + 0.8 * wave[1:])])

    return curve


def dip(base: float, depth: float, at: int, checkpoints: int) -> NDArray:
    """`base` everywhere but at the checkpoint `at`, which lies `depth` below."""
    score = np.full(checkpoints, base)
    score[at] -= depth
    return score
