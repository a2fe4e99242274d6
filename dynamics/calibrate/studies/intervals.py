"""How often the intervals of shares, means, paired differences, ratios and medians miss the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
from scipy.special import ndtr

from ...statistics import intervals
from ...types import Estimate
from ..cells import Cell
from ..worlds import Items

MISSED = 0.07  # from 100 units on, intervals hold the truth at least 93 % of the time
SHARES_AT_30 = 0.06  # and those of shares at 30, in the mean over shares, 94 %
GRID = np.arange(1, 100) / 100  # shares at 30 items
DIFFERENCES = ((0.5, 0.5, 0.5), (0.5, 0.6, 0.5), (0.95, 0.97, 0.5), (0.02, 0.01, 0.5), (0.6, 0.62, 0.68))  # difficulty
Draws = Callable[[np.random.Generator], tuple[Estimate, float]]  # an estimate and the truth


def missed(draws: int, rng: np.random.Generator, *, world: Draws) -> np.ndarray:
    """1 where the interval does not hold the truth, NaN where there is no interval."""
    found = []
    for _ in range(draws):
        e, truth = world(rng)
        found.append(math.nan if math.isnan(e.lo) else not e.lo <= truth <= e.hi)
    return np.array(found, float)


def share(rng: np.random.Generator, *, p: float, n: int) -> tuple[Estimate, float]:
    return intervals.mean(rng.random(n) < p), p


def share_of_the_grid(rng: np.random.Generator, *, n: int) -> tuple[Estimate, float]:
    """A share with the true one drawn evenly from 0.01 to 0.99: the mean over p."""
    return share(rng, p=float(rng.choice(GRID)), n=n)


def clustered_share(rng: np.random.Generator, *, p: float, questions: int, together: bool) -> tuple[Estimate, float]:
    """Four samples a question, of which `together` hardly ever differ."""
    items = Items(question=0.95 if together else 0.6, difficulty=0.02, samples=4)
    return intervals.mean(items.answers(np.array([p]), questions, rng)[:, 0], items.clusters(questions)), p


def skewed_mean(rng: np.random.Generator, *, n: int) -> tuple[Estimate, float]:
    """Tokens of responses: gamma of shape 2."""
    return intervals.mean(100 * rng.gamma(2.0, size=n)), 200.0


def difference(
    rng: np.random.Generator, *, n: int, before: float, after: float, difficulty: float, samples: int
) -> tuple[Estimate, float]:
    items = Items(question=0.3 if samples > 1 else 0.0, difficulty=difficulty, samples=samples)
    x = items.answers(np.array([before, after]), n, rng)
    return intervals.paired_difference(x[:, 1], x[:, 0], items.clusters(n)), after - before


def rate(rng: np.random.Generator, *, n: int, burst: bool) -> tuple[Estimate, float]:
    """Events per token, `n` responses; in bursts a few responses have most of them."""
    tokens = rng.gamma(3.0, 50.0, n)
    mean = 0.05 * tokens * (rng.gamma(0.5, 2.0, n) if burst else 1.0)
    return intervals.ratio(rng.poisson(mean), tokens), 0.05


def uneven_share(rng: np.random.Generator, *, n: int, p: float, bursts: bool) -> tuple[Estimate, float]:
    """Backtracks out of opportunities: responses have 1 to 100 of them, and differ in how often they go back."""
    chances = rng.geometric(0.05, n)
    alike = 3 if bursts else 30
    return intervals.ratio(rng.binomial(chances, rng.beta(p * alike, (1 - p) * alike, n)), chances), p


def clustered_accuracy(rng: np.random.Generator, *, questions: int, ability: float) -> tuple[Estimate, float]:
    """Accuracy of those that were read: both counts differ between questions, and harder ones are read less often."""
    hard = rng.standard_normal(questions)
    shown = np.repeat(hard, 4)
    read = rng.random(4 * questions) < ndtr(1 - 0.5 * shown)
    right = read & (rng.random(4 * questions) < ndtr(ability - shown))
    return intervals.ratio(right, read, np.repeat(np.arange(questions), 4)), _accuracy(ability)


@cache
def _accuracy(ability: float) -> float:
    """P(right | read) of `clustered_accuracy`, by quadrature over the difficulty of questions."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    read = ndtr(1 - 0.5 * x)
    return float(np.sum(w * read * ndtr(ability - x)) / np.sum(w * read))


def middle(rng: np.random.Generator, *, n: int, skewed: bool) -> tuple[Estimate, float]:
    return (intervals.median(rng.lognormal(size=n)), 1.0) if skewed else (intervals.median(rng.standard_normal(n)), 0.0)


def cells() -> list[Cell]:
    found: list[Cell] = []

    def add(name: str, test: str, world: Draws, most: float = MISSED) -> None:
        found.append(Cell(name, partial(missed, world=world), test=test, most_missed=most))

    add("share over 0.01 to 0.99, 30 items", "share, 30 items", partial(share_of_the_grid, n=30), SHARES_AT_30)
    for n in (100, 300, 1000):
        for p in (0.02, 0.1, 0.5, 0.9):
            add(f"share {p}, {n} items", "share", partial(share, p=p, n=n))
            for together in (False, True):
                world = partial(clustered_share, p=p, questions=n, together=together)
                add(f"share {p}, {n} questions x 4{', answered as one' * together}", "clustered share", world)
        add(f"mean of skewed lengths, {n} responses", "mean", partial(skewed_mean, n=n))
        for before, after, difficulty in DIFFERENCES:
            for samples in (1, 4):
                world = partial(difference, n=n, before=before, after=after, difficulty=difficulty, samples=samples)
                name = (
                    f"{before} to {after}, {'fixed' if difficulty > 0.6 else 'usual'} items, {n} questions x {samples}"
                )
                add(name, "paired difference", world)
        for burst in (False, True):
            world = partial(rate, n=n, burst=burst)
            add(f"events per token{', in bursts' * burst}, {n} responses", "ratio", world)
        for p in (0.05, 0.25):
            for bursts in (False, True):
                world = partial(uneven_share, n=n, p=p, bursts=bursts)
                add(f"share {p} of uneven counts{', in bursts' * bursts}, {n} responses", "ratio", world)
        for ability in (-2.5, 0.3, 3.5):
            world = partial(clustered_accuracy, questions=n, ability=ability)
            add(f"accuracy of those read, {_accuracy(ability):.3f}, {n} questions x 4", "ratio", world)
        for skewed in (False, True):
            world = partial(middle, n=n, skewed=skewed)
            add(f"median, {'log-normal' if skewed else 'normal'}, {n} responses", "median", world)
    return found
