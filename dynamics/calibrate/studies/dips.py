"""Are dips, verdicts and bands right where no checkpoint lies below base, and is a dip seen that the verdict calls
detectable?"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...statistics.bands import simultaneous_band
from ...trajectories.phases import Phase, judge, smallest_detectable_dip
from ...trajectories.trajectory import Trajectory
from ..cells import Cell, Question
from ..worlds import Curve, Items, above_base, dip, flat, rising, saturating

STORIES = {"dips-and-recovers", "under-optimised", "degrades", "overfits"}  # none is true where nothing falls
WHOLE = [(t, n) for t in (8, 20, 60) for n in (30, 100, 300, 1000)]  # checkpoints x questions
CORNERS = [(8, 30), (8, 1000), (20, 100), (20, 300), (60, 30), (60, 1000)]
MISSED = 0.07  # intervals at 100 questions and more hold the truth 93 % of the time

PLAIN = Items()
SLOW = Items(difficulty=0.3, ar=0.9)
FIXED = Items(difficulty=0.95)
SAMPLED = Items(question=0.5, difficulty=0.2, samples=4)

NULLS: dict[str, tuple[Curve, Items, list[tuple[int, int]]]] = {
    "flat": (flat(0.5), PLAIN, WHOLE),
    "flat, answers correlated over time": (flat(0.5), SLOW, WHOLE),
    "flat, answers as good as fixed": (flat(0.5), FIXED, CORNERS),
    "flat, four samples a question": (flat(0.5), SAMPLED, CORNERS),
    "flat near the floor": (flat(0.04), PLAIN, CORNERS),
    "flat near the ceiling": (flat(0.96), PLAIN, CORNERS),
    "flat near the ceiling, correlated": (flat(0.96), SLOW, CORNERS),
    "rising": (rising(0.4, 0.6), PLAIN, CORNERS),
    "rising, correlated": (rising(0.4, 0.6), SLOW, CORNERS),
    "saturating": (saturating(0.3, 0.3), PLAIN, CORNERS),
    "base its own worst point": (above_base(0.4, 0.08), PLAIN, CORNERS),
}
DIPPING = {
    "flat": PLAIN,
    "answers correlated over time": SLOW,
    "answers as good as fixed": FIXED,
    "four samples a question": SAMPLED,
}
BASE = 0.75  # from which dips are planted


def judgements(
    draws: int, rng: np.random.Generator, *, curve: Curve, items: Items, checkpoints: int, questions: int
) -> np.ndarray:
    """Per draw of a world that never falls below its base: dip claimed, wrong verdict, and from 100 questions on what
    missed: the band somewhere, the final difference, the depth."""
    truth = curve(checkpoints)
    rises = truth[-1] > truth[0]
    clusters, n = items.clusters(questions), questions * items.samples
    found = []
    for _ in range(draws):
        matrix = items.answers(truth, questions, rng)
        ids = tuple(map(str, range(n)))
        phase = judge(Trajectory("strict", "world", "general", np.arange(checkpoints), matrix, ids, clusters))
        assert phase.band is not None
        wrong = phase.verdict in STORIES or phase.verdict == ("flat" if rises else "improves")
        row = [bool(np.any(phase.band.hi[1:] < 0)), wrong]
        found.append(row + (_missed(phase, truth) if questions >= 100 else []))
    return np.array(found, float)


def _missed(phase: Phase, truth: np.ndarray) -> list[bool]:
    band, change = phase.band, truth - truth[0]
    assert band is not None
    somewhere = np.any((band.lo > change + 1e-9) | (band.hi < change - 1e-9))
    depth = -change[1:].min()
    return [
        bool(somewhere),
        not phase.final.lo <= change[-1] <= phase.final.hi,
        not phase.depth.lo - 1e-9 <= depth <= phase.depth.hi + 1e-9,
    ]


def promised_dip_seen(
    draws: int, rng: np.random.Generator, *, items: Items, checkpoints: int, questions: int
) -> np.ndarray:
    """Whether a dip at a middle checkpoint is called one, as deep as a first draw of the flat world says it must be.

    Undefined where that depth is more than there is to lose.
    """
    clusters, at = items.clusters(questions), checkpoints // 2
    found = []
    for _ in range(draws):
        first = simultaneous_band(items.answers(np.full(checkpoints, BASE), questions, rng), 0, clusters)
        depth = smallest_detectable_dip(first)
        if depth >= BASE:
            found.append(np.nan)
            continue
        band = simultaneous_band(items.answers(dip(BASE, depth, at, checkpoints), questions, rng), 0, clusters)
        found.append(float(band.hi[at] < 0))
    return np.array(found)


def cells() -> list[Cell]:
    found = []
    for name, (curve, items, sizes) in NULLS.items():
        for checkpoints, n in sizes:
            draw = partial(judgements, curve=curve, items=items, checkpoints=checkpoints, questions=n)
            asked = [Question("a dip", test="dips"), Question("a wrong verdict", test="verdicts")]
            if n >= 100:
                asked += [
                    Question("band, somewhere", test="band", most_missed=MISSED),
                    Question("final difference", test="final difference", most_missed=MISSED),
                    Question("depth", test="depth", most_missed=MISSED),
                ]
            found.append(Cell(f"{name}, {checkpoints} checkpoints x {n}", draw, questions=tuple(asked)))
    for name, items in DIPPING.items():
        for checkpoints, n in CORNERS:
            draw = partial(promised_dip_seen, items=items, checkpoints=checkpoints, questions=n)
            title = f"{name}, {checkpoints} checkpoints x {n}, dip as deep as promised"
            found.append(Cell(title, draw, power=True, test="detectable dip", at_least=0.90))
    return found
