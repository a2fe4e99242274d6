"""Lengths that never surge, that surge and stay, that come down when the score does something else: what is claimed of them."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import ndtr

from ...trajectories.length_diagnostic import diagnose_length, swap_p
from ...trajectories.phases import judge
from ...trajectories.trajectory import Trajectory
from ..cells import Cell


def bump(u: np.ndarray, at: float, width: float = 0.12) -> np.ndarray:
    """From 0 up to 1 at `at` and back to 0."""
    return np.exp(-0.5 * ((u - at) / width) ** 2)


def responses(
    rng: np.random.Generator, n: int, length: np.ndarray, share: np.ndarray | None = None
) -> tuple[Trajectory, Trajectory | None]:
    """Log-normal lengths around `length` [T] and 0/1 scores of `share` [T], the same items at every checkpoint.

    Hard items have long responses, so that lengths and scores share their items' luck.
    """
    hard = rng.standard_normal((n, 1))
    noise = 0.4 * rng.standard_normal((n, len(length)))
    steps, items = np.arange(len(length)) * 10, tuple(map(str, range(n)))
    tokens = Trajectory("tokens", "d", "general", steps, length * np.exp(0.5 * hard + noise), items)
    if share is None:
        return tokens, None
    latent = np.sqrt(0.7) * hard + np.sqrt(0.3) * rng.standard_normal((n, len(length)))
    return tokens, Trajectory("strict", "d", "general", steps, (ndtr(latent) < share).astype(float), items)


def shape_is_wrong(draws: int, rng: np.random.Generator, *, kind: str, n: int, checkpoints: int) -> np.ndarray:
    """An error: a surge of a length that never rose, a contraction of one that stayed, a rise of one that came down."""
    u = np.linspace(0, 1, checkpoints)
    length, wrong = {
        "flat": (100 + 0 * u, ("surge", "surge-and-contraction", "rising-again", "contraction")),
        "surge that stays": (100 + 60 * (1 - np.exp(-6 * u)), ("surge-and-contraction", "rising-again", "contraction")),
        "contraction alone": (160 - 60 * (1 - np.exp(-6 * u)), ("surge", "surge-and-contraction", "rising-again")),
        "surge and contraction": (100 + 60 * bump(u, 0.35), ("rising-again", "contraction")),
    }[kind]
    found = [diagnose_length(responses(rng, n, length)[0]).shape in wrong for _ in range(draws)]
    return np.array(found, float)


def date_misses(
    draws: int, rng: np.random.Generator, *, n: int, checkpoints: int, shift: float, claim: str = "recovery"
) -> np.ndarray:
    """An error: the true difference of dates lies outside the interval; undefined where not all of it is shown."""
    u = np.linspace(0, 1, checkpoints)
    found = np.full(draws, np.nan)
    for i in range(draws):
        at = rng.uniform(0.25, 0.45)
        length, share = 100 + 80 * bump(u, at), 0.7 - 0.35 * bump(u, at - shift)
        tokens, score = responses(rng, n, length, share)
        assert score is not None
        seen = diagnose_length(tokens, score, judge(score))
        peak, trough = int(np.argmax(length)), int(np.argmin(share))
        if claim == "trough":
            truth, e = 10.0 * (peak - trough), seen.to_trough
        else:
            down = peak + int(np.argmax(length[peak:] <= (length[peak] + length[-1]) / 2))
            up = trough + int(np.argmax(share[trough:] >= (share[trough] + share[-1]) / 2))
            truth, e = 10.0 * (down - up), seen.to_recovery
        if e.defined:
            found[i] = not e.lo <= truth <= e.hi
    return found


def dating_is_claimed(
    draws: int, rng: np.random.Generator, *, runs: int, checkpoints: int, follows: bool, shared: bool = False
) -> np.ndarray:
    """Whether the swap over runs says that contractions date recoveries: they do (`follows`), or have nothing to do with them,
    though all may come early (`shared`)."""
    found = []
    for _ in range(draws):
        most = checkpoints // 3 if shared else checkpoints
        down = rng.integers(1, most, runs)
        up = np.clip(down + rng.integers(-1, 2, runs), 1, checkpoints - 1) if follows else rng.integers(1, most, runs)
        found.append(swap_p(list(zip(down, up, strict=True))) <= 0.05)
    return np.array(found, float)


def cells() -> list[Cell]:
    found = []
    for kind in ("flat", "surge that stays", "contraction alone", "surge and contraction"):
        for n, checkpoints in ((30, 8), (150, 12), (150, 24)):
            draw = partial(shape_is_wrong, kind=kind, n=n, checkpoints=checkpoints)
            found.append(Cell(f"shape: {kind}, {n} items, {checkpoints} checkpoints", draw))
    for claim in ("trough", "recovery"):
        for n, checkpoints in ((120, 8), (150, 12), (150, 24)):
            for shift in (0.0, 0.15):
                draw = partial(date_misses, n=n, checkpoints=checkpoints, shift=shift, claim=claim)
                found.append(Cell(f"{claim}: {n} items, {checkpoints} checkpoints, shift {shift}", draw))
    few = partial(date_misses, n=60, checkpoints=8, shift=0.15)
    found.append(Cell("recovery: 60 items, 8 checkpoints, shift 0.15", few))
    for runs in (5, 6, 8):
        for shared in (False, True):
            draw = partial(dating_is_claimed, runs=runs, checkpoints=24, follows=False, shared=shared)
            found.append(Cell(f"swap: {runs} runs, unrelated{', all early' * shared}", draw))
        found.append(
            Cell(
                f"swap: {runs} runs, contraction follows",
                partial(dating_is_claimed, runs=runs, checkpoints=24, follows=True),
                power=True,
            )
        )
    return found
