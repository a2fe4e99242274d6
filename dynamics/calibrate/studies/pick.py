"""The checkpoint that is picked: does its interval hold its true score, and do constraints that are surely met hold in truth?

The hard worlds are those in which nothing tells the checkpoints apart: then the pick is luck, and whatever is not paid for it
shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.special import ndtri

from ...choice.selection import Limit, choose
from ...statistics.intervals import proportion
from ...statistics.joint import Blend, curve_of_estimates, curve_of_items
from ..cells import Cell

RESAMPLES = 400  # within each draw


def answers(
    shares: Sequence[float], n: int, rng: np.random.Generator, *, persistence: float = 0.8, per_question: int = 1
) -> np.ndarray:
    """0/1 [n, T] whose expected share at each checkpoint is `shares`; difficulty lasts, and a question's samples share it."""
    questions = -(-n // per_question)
    hard = np.repeat(rng.standard_normal((questions, 1)), per_question, axis=0)[:n]
    luck = rng.standard_normal((n, len(shares)))
    return (np.sqrt(persistence) * hard + np.sqrt(1 - persistence) * luck < ndtri(np.asarray(shares))).astype(
        np.float32
    )


def world(
    name: str,
    shares: Sequence[float],
    n: int,
    rng: np.random.Generator,
    *,
    domains: int = 1,
    persistence: float = 0.8,
    per_question: int = 1,
    items: bool = True,
) -> Blend:
    """A blend of `domains` with the same true shares; without `items`, aggregates of independent answers."""
    steps = np.arange(len(shares))
    clusters = np.arange(n) // per_question
    curves = []
    for d in range(domains):
        if items:
            x = answers(shares, n, rng, persistence=persistence, per_question=per_question)
            curves.append(curve_of_items(f"{name} {d}", steps, x, clusters))
        else:
            right = rng.binomial(n, shares)
            curves.append(curve_of_estimates(f"{name} {d}", steps, [proportion(int(k), n) for k in right], share=True))
    return Blend(name, tuple(curves))


def misses(
    draws: int, rng: np.random.Generator, *, shares: Sequence[float], n: int, limit: float | None = None, **of: object
) -> np.ndarray:
    """1 where the interval of the picked checkpoint misses its true score."""
    found = []
    for _ in range(draws):
        goal = world("goal", shares, n, rng, **of)  # type: ignore[arg-type]
        limits = [] if limit is None else [Limit(world("limit", [limit] * len(shares), n, rng), 1, limit)]
        chosen = choose(goal, limits, resamples=RESAMPLES)
        if chosen.column is None:
            found.append(np.nan)
            continue
        truth = shares[chosen.column]
        found.append(not chosen.estimate.lo <= truth <= chosen.estimate.hi)
    return np.array(found, float)


def violations(
    draws: int,
    rng: np.random.Generator,
    *,
    shares: Sequence[float],
    level: float,
    n: int,
    limits: int = 1,
    relative: bool = False,
    seen: bool = False,
) -> np.ndarray:
    """1 where a checkpoint is picked as surely meeting what it misses; with `seen`, where one is picked that is not the base.

    Every one of the `limits` has the true shares; reasoning rises, so that the latest that passes is taken.
    """
    found = []
    rising = list(np.linspace(0.3, 0.7, len(shares)))
    for _ in range(draws):
        goal = world("goal", list(rising), n, rng)
        asked = [Limit(world(f"limit {k}", shares, n, rng), 1, level, 0 if relative else None) for k in range(limits)]
        column = choose(goal, asked, sure=True, resamples=RESAMPLES).column
        if seen or column is None:
            found.append(column is not None and column > 0)
        else:
            truth = shares[column] - (shares[0] if relative else 0.0)
            found.append(truth < level)
    return np.array(found, float)


def cells() -> list[Cell]:
    found = []
    for steps in (8, 20, 60):
        for n in (30, 100, 400):
            for share in (0.5, 0.9):
                draw = partial(misses, shares=[share] * steps, n=n)
                found.append(Cell(f"{steps} equal checkpoints at {share}, {n} items: interval of the pick", draw))
    loose = partial(misses, shares=[0.5] * 20, n=100, persistence=0.2)
    found.append(Cell("20 equal checkpoints, 100 items that hardly last: interval of the pick", loose))
    grouped = partial(misses, shares=[0.4] * 20, n=60, domains=3)
    found.append(Cell("20 equal checkpoints, 3 domains of 60 items: interval of the pick", grouped))
    sampled = partial(misses, shares=[0.4] * 20, n=160, per_question=4)
    found.append(Cell("20 equal checkpoints, 40 questions x 4: interval of the pick", sampled))
    bare = partial(misses, shares=[0.4] * 20, n=100, items=False)
    found.append(Cell("20 equal checkpoints, aggregates of 100 items: interval of the pick", bare))
    rising = partial(misses, shares=list(np.linspace(0.3, 0.6, 20)), n=100)
    found.append(Cell("20 rising checkpoints, 100 items: interval of the pick", rising))
    bound = partial(misses, shares=list(np.linspace(0.3, 0.6, 20)), n=100, limit=0.9)
    found.append(Cell("20 rising checkpoints, 100 items, a constraint met by luck: interval of the pick", bound))
    for steps in (8, 60):
        for n in (30, 100, 400):
            below = partial(violations, shares=[0.899] * steps, level=0.9, n=n)
            found.append(Cell(f"{steps} checkpoints just below a level, {n} items: surely met", below))
    two = partial(violations, shares=[0.899] * 20, level=0.9, n=200, limits=2)
    found.append(Cell("20 checkpoints just below two levels, 200 items: surely met", two))
    for n in (100, 400):
        worse = partial(violations, shares=[0.6, *[0.579] * 19], level=-0.02, n=n, relative=True)
        found.append(Cell(f"20 checkpoints just below base - 0.02, {n} items: surely met", worse))
    for n in (100, 400):
        kept = partial(violations, shares=[0.99] * 20, level=0.9, n=n, seen=True)
        found.append(Cell(f"20 checkpoints at 0.99, level 0.9, {n} items: one is surely met", kept, power=True))
    return found
