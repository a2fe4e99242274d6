"""A cell is a world whose truth is known: in an error cell an inference must not be wrong more than 5 % of the time; a power
cell says how often a true effect is seen; a coverage cell how often an interval misses the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import betaincinv

LEVEL = 0.05
POOLED = 0.055  # the most that the errors of one test may be over all its cells
CHUNK = 250  # draws that are measured, and stored, at a time
FEW = 1e-3  # the chance at which a slice of few draws may call a sound test broken
Draw = Callable[[int, np.random.Generator], np.ndarray]  # draws -> 1 for an error (power: a hit), 0, NaN for undefined
Kind = Literal["error", "power", "coverage"]
Verdict = Literal["holds", "holds within noise", "BROKEN", "no target", "nothing defined"]


@dataclass(frozen=True)
class Cell:
    """A world and what is asked of it.

    `draw` gives an array [draws], or with `questions` [draws, questions]: several things asked of the same draws, each
    a cell of its own in the results (its name is appended to this one's, its `draw` is not used).
    """

    name: str
    draw: Draw
    power: bool = False
    test: str = ""  # cells of one test are pooled; those of a study are one test by default
    at_least: float | None = None  # power: the rate that is promised
    most_missed: float | None = None  # coverage: the share of intervals that may miss; `draw` gives the misses
    questions: tuple[Question, ...] = ()

    @property
    def kind(self) -> Kind:
        return "power" if self.power else "error" if self.most_missed is None else "coverage"

    @property
    def asked(self) -> tuple[Cell, ...]:
        """The cells as they are counted: this one, or one for each of its questions."""
        if not self.questions:
            return (self,)
        return tuple(
            replace(
                self,
                name=f"{self.name}: {q.name}",
                power=q.power,
                test=q.test,
                at_least=q.at_least,
                most_missed=q.most_missed,
                questions=(),
            )
            for q in self.questions
        )


@dataclass(frozen=True)
class Question:
    name: str
    test: str = ""
    power: bool = False
    at_least: float | None = None
    most_missed: float | None = None


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
        return _lower(self.hits, self.of, LEVEL / looks)

    def upper(self, looks: int) -> float:
        """Upper Clopper-Pearson bound at 95 %, Bonferroni over `looks` cells."""
        return 1 - _lower(self.of - self.hits, self.of, LEVEL / looks)

    def verdict(self, looks: int) -> Verdict:
        """Whether the cell keeps its target; one of `looks` cells of its kind and study."""
        if not self.of:
            return "nothing defined"
        if self.cell.kind == "power":
            if self.cell.at_least is None:
                return "no target"
            kept, possible = self.value >= self.cell.at_least, self.upper(looks) >= self.cell.at_least
        else:
            most = most_wrong(self.cell)
            kept, possible = self.value <= most, self.lower(looks) <= most
        return "holds" if kept else "holds within noise" if possible else "BROKEN"


@dataclass(frozen=True)
class Pool:
    """The cells of one test and kind, taken together."""

    test: str
    kind: Kind
    hits: int
    of: int
    cells: int
    limit: float | None  # the most (power: the least) that the pooled rate may be
    kept: bool

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else float("nan")


def measure(cells: Sequence[Cell], draws: int, seed: int = 0, *, study: str = "") -> list[Rate]:
    """The rates of all cells. Each has a stream of random numbers of its own, whichever others are measured."""
    names = [c.name for c in cells]
    if len(set(names)) < len(names):
        raise ValueError(f"two cells of the same name: {max(names, key=names.count)!r}")
    rates: list[Rate] = []
    for cell in cells:
        counts = [measure_chunk(cell, k, size, seed, study=study) for k, size in enumerate(chunks(draws))]
        rates += rates_of(cell, counts, draws)
    return rates


def measure_chunk(cell: Cell, chunk: int, size: int, seed: int = 0, *, study: str = "") -> list[tuple[int, int]]:
    """(hits, defined draws) of each question of a cell, in one chunk of its draws."""
    found = np.asarray(cell.draw(size, stream(study, cell.name, seed, chunk)), float)
    columns = found.reshape(size, -1).T
    if len(columns) != len(cell.asked):
        raise ValueError(f"{cell.name!r} answers {len(columns)} questions and asks {len(cell.asked)}")
    return [(int(np.nansum(c)), int(np.sum(~np.isnan(c)))) for c in columns]


def rates_of(cell: Cell, counts: Sequence[Sequence[tuple[int, int]]], draws: int) -> list[Rate]:
    """The rates of a cell's questions from the counts of its chunks."""
    totals = np.sum(np.asarray(counts, int), axis=0)  # [questions, 2]
    return [Rate(asked, int(h), int(of), draws) for asked, (h, of) in zip(cell.asked, totals, strict=True)]


def chunks(draws: int) -> list[int]:
    """Sizes of the chunks of a cell: all but the last are full, so that more draws later go on from fewer."""
    return [CHUNK] * (draws // CHUNK) + ([draws % CHUNK] if draws % CHUNK else [])


def stream(study: str, cell: str, seed: int, chunk: int) -> np.random.Generator:
    """The random numbers of one chunk of one cell: a function of the names, not of which other cells there are."""
    name = hashlib.sha256(f"{study}\0{cell}".encode()).digest()
    return np.random.default_rng([seed, chunk, int.from_bytes(name[:16], "big")])


def most_wrong(cell: Cell) -> float:
    """The rate that an error or coverage cell may not exceed."""
    return LEVEL if cell.most_missed is None else cell.most_missed


def looks_of(rates: Sequence[Rate], kind: Kind) -> int:
    """Over how many cells the bounds of this kind are corrected."""
    return max(1, sum(r.cell.kind == kind and r.of > 0 for r in rates))


def pools(rates: Sequence[Rate], *, few: bool = False) -> list[Pool]:
    """Each test's cells taken together, by kind.

    `few`: a slice of few draws breaks the rule only where its pooled rate could not be chance (one in a thousand).
    """
    found = []
    groups = dict.fromkeys((r.cell.test, r.cell.kind) for r in rates if r.of)
    for test, kind in groups:
        own = [r for r in rates if (r.cell.test, r.cell.kind) == (test, kind) and r.of]
        hits, of = sum(r.hits for r in own), sum(r.of for r in own)
        limit = _limit(own, kind)
        if limit is None:
            kept = True
        elif kind == "power":
            kept = (1 - _lower(of - hits, of, FEW) if few else hits / of) >= limit
        else:
            kept = (_lower(hits, of, FEW) if few else hits / of) <= limit
        found.append(Pool(test, kind, hits, of, len(own), limit, kept))
    return found


def broken(rates: Sequence[Rate], *, few: bool = False) -> list[str]:
    """What breaks the rule, one line each: no cell's bound beyond its target, no test's pooled rate beyond its own."""
    lines = []
    strict = LEVEL / FEW if few else 1  # the bounds of a slice are at one in a thousand too
    for r in rates:
        if r.verdict(round(strict * looks_of(rates, r.cell.kind))) == "BROKEN":
            lines.append(f"{r.cell.name}: {r.value:.3f} of {r.of}")
    for p in pools(rates, few=few):
        if not p.kept:
            lines.append(f"{p.test or 'all cells'}, {p.kind} pooled: {p.value:.4f} against {p.limit}")
    return lines


def holds(rates: Sequence[Rate], *, few: bool = False) -> bool:
    """Whether these cells keep the rule."""
    return not broken(rates, few=few)


# ---------------------------------------------------------------- parts


def _limit(rates: Iterable[Rate], kind: Kind) -> float | None:
    """The pooled rate allowed; of cells with different targets the loosest would be no rule, so their mean by draws."""
    rates = list(rates)
    if kind == "error":
        return POOLED
    targets = [r.cell.at_least if kind == "power" else r.cell.most_missed for r in rates]
    if any(t is None for t in targets):
        return None
    return float(np.average(np.array(targets, float), weights=[r.of for r in rates]))


def _lower(hits: int, of: int, level: float) -> float:
    return float(betaincinv(hits, of - hits + 1, level)) if hits else 0.0
