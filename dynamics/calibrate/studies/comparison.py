"""Runs compared: bands over checkpoints, differences in differences, tests over seeds, and what a conditional table
separates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from ...comparison.bands import difference_band
from ...comparison.contrasts import Block, aggregate_block, all_contrasts, item_block, mean_block
from ...comparison.seeds import seed_test
from ...statistics.intervals import paired_difference
from ..cells import Cell

RESAMPLES = 400  # of a band; the largest of fewer maxima makes a band a little wider, not narrower
REFERENCE = ((500, 30), (511, 198, 1000), (541, 30_000, 817))  # questions of the published benchmarks, by group
Curve = Sequence[float] | np.ndarray


def two_runs(
    rng: np.random.Generator, curve_a: Curve, curve_b: Curve, *, n: int, per_cluster: int = 1, ar: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """0/1 answers of two runs to the same items [2 x (n, T)] whose expected shares are the curves; clusters of items.

    Latent score = the item's difficulty (half of its variance, a part shared in its cluster), what a run makes of the
    item, and noise autocorrelated over checkpoints.
    """
    cluster = np.arange(n) // per_cluster
    shared = rng.standard_normal(cluster[-1] + 1)[cluster] if per_cluster > 1 else 0.0
    own = rng.standard_normal(n)
    difficulty = np.sqrt(0.5) * (own if per_cluster == 1 else np.sqrt(0.6) * shared + np.sqrt(0.4) * own)
    answers = []
    for curve in (curve_a, curve_b):
        noise = rng.standard_normal((n, len(curve)))
        for t in range(1, len(curve)):
            noise[:, t] = ar * noise[:, t - 1] + np.sqrt(1 - ar**2) * noise[:, t]
        latent = difficulty[:, None] + np.sqrt(0.2) * rng.standard_normal((n, 1)) + np.sqrt(0.3) * noise
        answers.append((ndtr(latent) < np.asarray(curve)).astype(float))
    return answers[0], answers[1], cluster if per_cluster > 1 else None


def curve(kind: str, steps: int) -> np.ndarray:
    x = np.linspace(0, 1, steps)
    return {
        "flat": np.full(steps, 0.5),
        "dipping": 0.6 - 0.4 * np.sin(np.pi * np.minimum(1, 1.6 * x)),
        "saturating": 0.1 + 0.8 * (1 - np.exp(-5 * x)),
        "rare": np.full(steps, 0.04),
    }[kind]


def band_misses(draws: int, rng: np.random.Generator, *, kind: str, n: int, steps: int, **world: Any) -> np.ndarray:
    """An error: two runs of one population curve that the band tells apart somewhere."""
    c = curve(kind, steps)
    found = []
    for draw in range(draws):
        a, b, cluster = two_runs(rng, c, c, n=n, **world)
        band = difference_band(a - b, cluster, n_resamples=RESAMPLES, seed=draw)
        found.append(np.any((band.lo > 0) | (band.hi < 0)))
    return np.array(found, float)


def did_misses(
    draws: int, rng: np.random.Generator, *, n: int, steps: int, gain_b: float, per_cluster: int
) -> np.ndarray:
    """An error: the band of the difference in differences leaves out the truth at some checkpoint. The bases differ."""
    a_curve, b_curve = np.linspace(0.3, 0.7, steps), np.linspace(0.5, 0.5 + gain_b, steps)
    truth = (a_curve - a_curve[0] - b_curve + b_curve[0])[1:]
    found = []
    for draw in range(draws):
        a, b, cluster = two_runs(rng, a_curve, b_curve, n=n, per_cluster=per_cluster)
        d = (a - a[:, :1] - b + b[:, :1])[:, 1:]
        band = difference_band(d, cluster, limit=2.0, n_resamples=RESAMPLES, seed=draw)
        found.append(np.any((band.lo > truth) | (band.hi < truth)))
    return np.array(found, float)


def band_sees(draws: int, rng: np.random.Generator, *, n: int, steps: int, apart: float) -> np.ndarray:
    found = []
    for draw in range(draws):
        a, b, _ = two_runs(rng, np.full(steps, 0.5 + apart), np.full(steps, 0.5), n=n)
        band = difference_band(a - b, n_resamples=RESAMPLES, seed=draw)
        found.append(band.lo[-1] > 0)
    return np.array(found, float)


def seeded_arms(
    rng: np.random.Generator, seeds: tuple[int, int], *, n: int, noise: tuple[float, float], apart: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """0/1 answers [seeds, n] of two arms to the same items; each run is shifted by training noise, `noise` on the
    probit scale.

    With noise the arms' population shares differ by `apart` on the average over runs only where the noise of both is
    equal.
    """
    difficulty = np.sqrt(0.5) * rng.standard_normal(n)
    answers = []
    for k, sd, share in zip(seeds, noise, (0.5 + apart, 0.5), strict=True):
        shift = ndtri(share) * np.sqrt(1 + sd**2) + sd * rng.standard_normal((k, 1))  # E[Phi(shift)] = share
        own = np.sqrt(0.2) * rng.standard_normal(n)  # what this arm's data make of an item
        answers.append((difficulty + own + np.sqrt(0.3) * rng.standard_normal((k, n)) < shift).astype(float))
    return answers[0], answers[1]


def seed_misses(
    draws: int,
    rng: np.random.Generator,
    *,
    seeds: tuple[int, int],
    n: int,
    noise: tuple[float, float],
    how: str,
    apart: float,
) -> np.ndarray:
    """Whether arms are told apart: by the test that is used, or by what it replaces (for comparison)."""
    found: list[float] = []
    for _ in range(draws):
        a, b = seeded_arms(rng, seeds, n=n, noise=noise, apart=apart)
        if how == "items alone":
            e = paired_difference(a.mean(axis=0), b.mean(axis=0))
        elif how == "permutation":
            found.append(_permutation_p(a.mean(axis=1), b.mean(axis=1)) <= 0.05)
            continue
        else:
            test = seed_test(a, b)
            e = test.estimate if how == "seeds and items" else test.these_items
        found.append(np.nan if np.isnan(e.lo) else e.lo > 0 or e.hi < 0)
    return np.array(found, float)


@cache
def _splits(first: int, second: int) -> np.ndarray:
    """Every way to name `first` of the runs A and the rest B: weights whose product with the runs is mean A - mean B."""
    chosen = list(combinations(range(first + second), first))
    weights = np.full((len(chosen), first + second), -1 / second)
    np.put_along_axis(weights, np.array(chosen), 1 / first, axis=1)
    return weights


def _permutation_p(a: np.ndarray, b: np.ndarray) -> float:
    every = np.abs(_splits(len(a), len(b)) @ np.concatenate([a, b]))
    return float(np.mean(every >= abs(a.mean() - b.mean()) - 1e-12))


def table_misses(
    draws: int,
    rng: np.random.Generator,
    *,
    conditions: int,
    groups: Sequence[Sequence[int]],
    share: float,
    paired: bool,
    apart: float = 0.0,
) -> np.ndarray:
    """An error (`apart` 0): conditions of equal population shares, base among them, of which some are said to be
    separated.

    Only scores are known of them, of the same items (`paired` False: the unpaired reading), or every item is. With
    `apart` the last condition is so much better everywhere, and a hit is that it is separated from the base in the
    largest group.
    """
    found = []
    for draw in range(draws):
        blocks: dict[str, Block] = {}
        for g, sizes in enumerate(groups):
            members = [_equal_conditions(rng, conditions, n, share, paired, apart) for n in sizes]
            blocks[f"group {g}"] = mean_block(f"group {g}", members)
        contrasts = all_contrasts(blocks, "", resamples=4000, seed=draw)
        if apart:
            last = [c for c in contrasts if c.a == 0 and c.b == conditions - 1]
            found.append(min(last, key=lambda c: c.estimate.hi - c.estimate.lo).estimate.hi < 0)
        else:
            found.append(any(c.separated for c in contrasts))
    return np.array(found, float)


def _equal_conditions(rng: np.random.Generator, k: int, n: int, share: float, paired: bool, apart: float) -> Block:
    shares = np.full(k, share)
    shares[-1] += apart
    if not paired and n > 2000:  # as independent as scores can be, and the normal law of so many
        return aggregate_block("", list(rng.binomial(n, shares) / n), n)
    difficulty = np.sqrt(0.3) * rng.standard_normal((n, 1)) if paired else np.zeros((n, 1))
    latent = difficulty + np.sqrt(0.7 if paired else 1.0) * rng.standard_normal((n, k))
    answers = (ndtr(latent) < shares).astype(float)
    if not paired:
        return aggregate_block("", list(answers.mean(axis=0)), n)
    return item_block("", answers - answers[:, :1])  # gains over their own base


def cells() -> list[Cell]:
    found = []
    for n, steps in ((30, 8), (30, 60), (60, 15), (99, 15), (100, 8), (100, 60), (300, 15), (1000, 8)):
        for kind in ("flat", "dipping", "saturating", "rare") if n <= 300 else ("dipping",):
            if steps == 60 and kind in ("flat", "saturating"):
                continue
            name = f"band, {kind}, {n} items, {steps} checkpoints"
            found.append(Cell(name, partial(band_misses, kind=kind, n=n, steps=steps)))
    for n in (90, 600):
        name = f"band, dipping, {n} items, three a question, 8 checkpoints"
        found.append(Cell(name, partial(band_misses, kind="dipping", n=n, steps=8, per_cluster=3)))
    for n, per_cluster in ((40, 1), (100, 1), (300, 1), (300, 3), (600, 3)):
        for gain_b in (0.4, 0.1):
            name = f"difference in differences, {n} items, {per_cluster} a question, gains 0.4 and {gain_b}"
            found.append(Cell(name, partial(did_misses, n=n, steps=9, gain_b=gain_b, per_cluster=per_cluster)))
    for n, apart in ((200, 0.15), (1000, 0.08)):
        name = f"band sees {apart} at the last of 15, {n} items"
        found.append(Cell(name, partial(band_sees, n=n, steps=15, apart=apart), power=True))
    found += _seed_cells()
    everyday = {
        "30 to 30,000 questions": REFERENCE,
        "30 questions": ((30,), (30, 30)),
        "200 questions": ((200,), (200,) * 4),
    }
    for name, groups in everyday.items():
        for share in (0.5, 0.9, 0.02):
            for paired in (False, True):
                if paired and groups is REFERENCE:
                    continue
                draw = partial(table_misses, conditions=5, groups=groups, share=share, paired=paired)
                found.append(Cell(f"table, {name}, share {share}, {'paired' if paired else 'aggregates'}", draw))
    draw = partial(table_misses, conditions=5, groups=REFERENCE, share=0.5, paired=False, apart=0.08)
    found.append(Cell("table of aggregates sees 0.08 over base", draw, power=True))
    return found


def _seed_cells() -> list[Cell]:
    found = []
    for k in (2, 3, 4, 8):
        for n, sd in ((30, 0.3), (200, 0.05), (200, 0.3), (1000, 0.15)):
            world: dict[str, Any] = {"seeds": (k, k), "n": n, "noise": (sd, sd)}
            name = f"{k} seeds an arm, {n} items, noise {sd}"
            found.append(
                Cell(f"seeds and items, {name}", partial(seed_misses, how="seeds and items", apart=0.0, **world))
            )
        world = {"seeds": (k, k), "n": 200, "noise": (0.3, 0.3)}
        for how in ("items alone", "permutation"):
            draw = partial(seed_misses, how=how, apart=0.0, **world)
            found.append(Cell(f"for comparison, {how} on equal arms of {k} seeds", draw, power=True))
        world = {"seeds": (k, k), "n": 1000, "noise": (0.1, 0.1)}
        for how in ("seeds and items", "permutation"):
            draw = partial(seed_misses, how=how, apart=0.1, **world)
            found.append(Cell(f"{how} see 0.1 with {k} seeds an arm", draw, power=True))
    for seeds, noise in (((2, 2), (0.3, 0.03)), ((2, 8), (0.3, 0.3)), ((2, 8), (0.3, 0.05)), ((3, 5), (0.05, 0.3))):
        draw = partial(seed_misses, how="seeds and items", seeds=seeds, n=200, noise=noise, apart=0.0)
        found.append(Cell(f"seeds and items, {seeds[0]} and {seeds[1]} seeds, noise {noise[0]} and {noise[1]}", draw))
    return found
