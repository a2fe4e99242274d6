"""The undominated checkpoints: is a dominated one called surely undominated, or an undominated one surely dominated?

At the edge between the two: another checkpoint that is as good in all parts and hardly better in one; one that is hardly better
in one part and far behind in all others. An error is one such call for any checkpoint of a run.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...choice.frontier import frontier, undominated
from ..cells import Cell
from .pick import world

RESAMPLES = 400  # within each draw
HARDLY = 1e-4


def calls(
    draws: int, rng: np.random.Generator, *, shares: np.ndarray, n: int, seen: str = "", **of: object
) -> np.ndarray:
    """1 where a checkpoint is surely called what it is not, true shares [K, T]; with `seen`, where the last one is surely called
    so."""
    truly = undominated(shares[None])[0]
    found = []
    for _ in range(draws):
        parts = [world(f"part {k}", list(row), n, rng, **of) for k, row in enumerate(shares)]  # type: ignore[arg-type]
        told = frontier(parts, resamples=RESAMPLES)
        if seen:
            found.append(bool((told.surely_dominated if seen == "dominated" else told.surely_undominated)[-1]))
        else:
            found.append(bool((told.surely_undominated & ~truly).any() or (told.surely_dominated & truly).any()))
    return np.array(found, float)


def twins(parts: int, steps: int) -> np.ndarray:
    """The last two lead in one part, alike, and the first of them is hardly better: the last is dominated by it alone."""
    shares = np.full((parts, steps), 0.5)
    shares[0, -2:] = 0.9
    shares[0, -2] += HARDLY
    return shares


def cornered(parts: int, steps: int) -> np.ndarray:
    """The last is hardly better in one part than all the others, and far behind in the rest."""
    shares = np.full((parts, steps), 0.8)
    shares[0] = 0.5
    shares[1:, -1] = 0.4
    shares[0, -1] += HARDLY
    return shares


def apart(parts: int, steps: int, by: float) -> np.ndarray:
    """The last differs from the others by so much: in one part if above, in all if below."""
    shares = np.full((parts, steps), 0.6)
    shares[: 1 if by > 0 else parts, -1] += by
    return shares


def cells() -> list[Cell]:
    found = []
    for steps in (2, 8, 20):
        for n in (30, 100, 400):
            for name, shares in (("twins", twins(4, steps)), ("one part hardly ahead", cornered(4, steps))):
                for persistence in (0.8,) if n == 400 else (0.8, 0.2):
                    draw = partial(calls, shares=shares, n=n, persistence=persistence)
                    lasting = "items last" if persistence > 0.5 else "items hardly last"
                    found.append(Cell(f"{name}, 4 parts, {steps} checkpoints, {n} items, {lasting}", draw))
    many = partial(calls, shares=cornered(2, 60), n=100)
    found.append(Cell("one part hardly ahead, 2 parts, 60 checkpoints, 100 items", many))
    bare = partial(calls, shares=cornered(3, 20), n=100, items=False)
    found.append(Cell("one part hardly ahead, 3 parts, 20 checkpoints, aggregates of 100 items", bare))
    grouped = partial(calls, shares=cornered(3, 8), n=60, domains=3)
    found.append(Cell("one part hardly ahead, 3 parts of 3 domains, 8 checkpoints, 60 items", grouped))
    for n in (100, 400):
        above = partial(calls, shares=apart(4, 8, 0.3), n=n, seen="undominated")
        found.append(Cell(f"0.3 ahead in one of 4 parts, {n} items: surely undominated", above, power=True))
        below = partial(calls, shares=apart(4, 8, -0.3), n=n, seen="dominated")
        found.append(Cell(f"0.3 behind in all of 4 parts, {n} items: surely dominated", below, power=True))
    return found
