"""Procedure or style: worlds in which nothing changed, only lengths or only cue words grew, or going back at opportunities did.

An error is an answer that the world does not bear out: that procedure grew where it did not (*procedure*, *both*), that style did
(*style*, *both*), or that one did not grow which did, by more than is small.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...procedure.index import SUPPRESSION, measured_part, procedure_index
from ...types import Estimate
from ..cells import Cell

RATE = 0.4  # opportunities gone back from, before
CUES = 0.5  # unbacked cue words a response, before
TOKENS = 60.0


def responses(
    rng: np.random.Generator,
    n: int,
    hard: np.ndarray,
    *,
    rate: float = RATE,
    cues: float = CUES,
    growth: float = 1.0,
    loops: float = 0.2,
    opportunities: float = 3.0,
) -> dict[str, np.ndarray]:
    """Responses to `n` items, harder ones longer and with more dead ends; one in fifty runs away."""
    away = np.where(rng.random(n) < 0.02, 6.0, 1.0)
    met = rng.poisson(opportunities * hard * away)
    own = np.clip(rate + 0.15 * rng.standard_normal(n), 0.0, 1.0) if 0 < rate < 1 else np.full(n, rate)
    left = rng.binomial(met, own)
    backtracks = left + rng.poisson(0.3 * left)
    length = TOKENS * growth * hard**0.5 * away * np.exp(0.3 * rng.standard_normal(n))
    return {
        "opportunities": met.astype(float),
        "opportunities_left": left.astype(float),
        "backtracks": backtracks.astype(float),
        "cues": (backtracks + rng.poisson(cues * growth, n)).astype(float),
        "loops": rng.poisson(loops, n).astype(float),
        "length": length,
        "tokens": length + 8.0 * backtracks,
    }


def answers(
    draws: int,
    rng: np.random.Generator,
    *,
    wrong: tuple[str, ...],
    n: int,
    per_question: int = 1,
    suppression: bool = False,
    before: dict[str, float] | None = None,
    **after: float,
) -> np.ndarray:
    """1 where the answer is among `wrong`."""
    found = []
    clusters = np.arange(n) // per_question
    for _ in range(draws):
        hard = rng.gamma(2.0, 0.5, clusters[-1] + 1)[clusters]
        then, now = responses(rng, n, hard, **(before or {})), responses(rng, n, hard, **after)
        measured = {}
        if suppression:  # what banning costs: nothing at either checkpoint
            se = 0.4 / np.sqrt(64)
            first, last = (Estimate(x, x - 1.998 * se, x + 1.998 * se, 64, "paired-t") for x in rng.normal(0.0, se, 2))
            measured = {SUPPRESSION: measured_part(SUPPRESSION, first, last)}
        found.append(procedure_index(then, now, clusters, measured).answer in wrong)
    return np.array(found, float)


GREW = ("procedure", "both")  # says that procedure grew
LOOKS = ("style", "both")  # says that style did


def cells() -> list[Cell]:
    found = []
    for n in (30, 100, 400):
        nothing = partial(answers, n=n, wrong=("procedure", "both", "style"))
        found.append(Cell(f"nothing changed, {n} items: procedure, style or both", nothing))
        alone: tuple[tuple[str, dict[str, Any]], ...] = (
            ("lengths doubled", {"growth": 2.0}),
            ("cues fourfold", {"cues": 4 * CUES}),
            ("loops fourfold", {"loops": 0.8}),
            ("twice as many dead ends", {"opportunities": 6.0}),
        )
        for name, after in alone:
            draw = partial(answers, n=n, wrong=GREW, **after)
            found.append(Cell(f"{name} alone, {n} items: procedure or both", draw))
        searches = partial(answers, n=n, wrong=("style", "neither"), rate=0.7)
        found.append(Cell(f"per opportunity 0.4 to 0.7, {n} items: style or neither", searches))
        looks = partial(answers, n=n, wrong=LOOKS, rate=0.7)
        found.append(Cell(f"per opportunity 0.4 to 0.7, {n} items: style or both", looks))
        slightly = partial(answers, n=n, wrong=("style", "neither"), rate=0.55, growth=1.6)
        found.append(Cell(f"per opportunity 0.4 to 0.55, lengths 1.6-fold, {n} items: style or neither", slightly))
    sampled = partial(answers, n=160, per_question=4, wrong=("procedure", "both", "style"))
    found.append(Cell("nothing changed, 40 questions x 4: procedure, style or both", sampled))
    banned = partial(answers, n=200, suppression=True, wrong=("procedure", "both", "style"))
    found.append(Cell("nothing changed, 200 items and suppression: procedure, style or both", banned))
    none = partial(answers, n=100, before={"opportunities": 0.0, "cues": 0.0}, rate=0.0, growth=2.0, wrong=GREW)
    found.append(Cell("no search at first, none gone back from, 100 items: procedure or both", none))
    for n in (100, 400):
        rose = partial(answers, n=n, wrong=("procedure",), rate=0.7)
        found.append(Cell(f"per opportunity 0.4 to 0.7, {n} items: procedure", rose, power=True))
        words = partial(answers, n=n, wrong=("style",), growth=2.0, cues=4 * CUES)
        found.append(Cell(f"lengths doubled and cues fourfold, {n} items: style", words, power=True))
    return found
