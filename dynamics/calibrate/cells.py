"""A cell is a world whose truth is known: in an error cell an inference must not be wrong more than 5 % of the time; a power
cell says how often a true effect is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

LEVEL = 0.05
Draw = Callable[[int, np.random.Generator], np.ndarray]  # draws -> 1 for an error (power: a hit), 0, NaN for undefined


@dataclass(frozen=True)
class Cell:
    name: str
    draw: Draw
    power: bool = False


@dataclass(frozen=True)
class Rate:
    cell: Cell
    hits: int
    of: int  # draws in which the estimate was defined
    draws: int

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else float("nan")

    def lower(self, looks: int) -> float:
        """Lower Clopper-Pearson bound at 95 %, Bonferroni over `looks` cells."""
        return float(betaincinv(self.hits, self.of - self.hits + 1, LEVEL / looks)) if self.hits else 0.0


def measure(cells: Sequence[Cell], draws: int, seed: int = 0) -> list[Rate]:
    rates = []
    for k, cell in enumerate(cells):
        hits = cell.draw(draws, np.random.default_rng([seed, k]))
        rates.append(Rate(cell, int(np.nansum(hits)), int(np.sum(~np.isnan(hits))), draws))
    return rates


def holds(rates: Sequence[Rate]) -> bool:
    """Whether the error cells among these keep the rule."""
    errors = [r for r in rates if not r.cell.power and r.of]
    pooled = sum(r.hits for r in errors) / sum(r.of for r in errors)
    return pooled <= 0.055 and all(r.lower(len(errors)) <= LEVEL for r in errors)
