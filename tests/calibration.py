"""Error rates of what compares checkpoints, by simulation: `python -P tests/calibration.py [--draws 2000] [STUDY …]`.

A cell is a world whose truth is known. In an error cell an interval must not leave the truth out more than 5 % of the time;
a power cell says how often a true effect is seen. The rule (all error cells of a study): no cell's lower (Bonferroni 95 %)
bound above 5 %, pooled rate <= 5.5 %. Prints a table a study and ends with 1 where a rule is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import betaincinv, ndtr
from sftscope.dynamics.beyond_length import log_rate_ratios
from sftscope.dynamics.payoff import matched_difference
from sftscope.dynamics.rescue import rescue_fraction

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


# ---------------------------------------------------------------- change beyond length

PER_TOKEN = 0.04  # backtracks, in the mean over items
TOKENS = 50.0  # before
Search = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # counts, lengths [draws, items]; clusters


def searches(
    draws: int,
    rng: np.random.Generator,
    *,
    n: int = 100,
    growth: float = 1.0,
    log_ratio: float = 0.0,
    noise: str = "poisson",
    per_token: float = PER_TOKEN,
    tokens: float = TOKENS,
    per_cluster: int = 1,
) -> Search:
    """Backtracks and lengths of `n` items before and after: lengths change `growth`-fold, the rate per token exp(log_ratio).

    Items differ in rate (gamma) and length; `noise` says how the counts of responses spread about their means.
    """
    shape = (draws, n)
    clusters = np.arange(n) // per_cluster
    rate = per_token * rng.gamma(1.0, 1.0, shape)
    hard = 0.4 * rng.standard_normal(shape)
    lengths = [tokens * g * np.exp(hard + 0.4 * rng.standard_normal(shape)) for g in (1.0, growth)]
    counts = []
    for length, ratio in zip(lengths, (0.0, log_ratio), strict=True):
        mean = rate * length * np.exp(ratio)
        if noise == "regular":  # systematic search: as near to its mean as a count can be
            counts.append(np.floor(mean + rng.random(shape)))
            continue
        if noise == "bursty":  # most responses have none, some many; shared by the items of a cluster
            mean = mean * rng.gamma(0.5, 2.0, (draws, clusters[-1] + 1))[:, clusters]
        elif noise == "loops":  # one response in fifty runs away
            mean = mean * np.where(rng.random(shape) < 0.02, 20.0, 1.0)
        counts.append(rng.poisson(mean).astype(float))
    return counts[0], counts[1], lengths[0], lengths[1], clusters


def ratio_rejects(draws: int, rng: np.random.Generator, **world: object) -> np.ndarray:
    *data, clusters = searches(draws, rng, **world)  # type: ignore[arg-type]
    _, lo, hi, _ = log_rate_ratios(*data, clusters)
    return np.where(np.isnan(lo), np.nan, (lo > 0) | (hi < 0))


def beyond_length_cells() -> list[Cell]:
    cells = []
    for n in (40, 100, 200):
        for name, growth in (("lengths stay", 1.0), ("surge", 3.0), ("contract", 0.4)):
            for noise in ("poisson", "bursty", "loops", "regular"):
                draw = partial(ratio_rejects, n=n, growth=growth, noise=noise)
                cells.append(Cell(f"{n} items, {name}, {noise}", draw))
        rare = partial(ratio_rejects, n=n, growth=5.0, noise="bursty", tokens=10.0, per_token=0.01)
        cells.append(Cell(f"{n} items, surge from almost none, bursty", rare))
        shared = partial(ratio_rejects, n=n, growth=3.0, noise="bursty", per_cluster=4)
        cells.append(Cell(f"{n} items, four a cluster, surge, bursty", shared))
        for noise in ("poisson", "bursty"):
            doubled = partial(ratio_rejects, n=n, growth=3.0, noise=noise, log_ratio=np.log(2))
            cells.append(Cell(f"{n} items, rate doubles, surge, {noise}", doubled, power=True))
    return cells


# ---------------------------------------------------------------- payoff

Responses = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # correct, went back, item, cluster [responses]


def stuck_responses(
    rng: np.random.Generator,
    *,
    n: int = 60,
    samples: int = 4,
    payoff: float = 0.1,
    spread: float = 0.0,
    per_cluster: int = 1,
    ceiling: float = 0.9,
) -> Responses:
    """Responses at a dead end: harder prompts go back more and are solved less, and going back helps by `payoff`.

    `spread` is the half range of the payoff over clusters of prompts.
    """
    item = np.repeat(np.arange(n), samples)
    cluster = item // per_cluster
    hard = rng.random(n)[item]
    gain = payoff + spread * rng.uniform(-1, 1, n)[cluster]
    back = rng.random(len(item)) < 0.1 + 0.8 * hard
    right = rng.random(len(item)) < spread + (ceiling - payoff - 2 * spread) * (1 - hard) + gain * back
    return right.astype(float), back.astype(float), item, cluster


def payoff_misses(draws: int, rng: np.random.Generator, *, seen: bool = False, **world: object) -> np.ndarray:
    found = []
    for _ in range(draws):
        correct, back, item, cluster = stuck_responses(rng, **world)  # type: ignore[arg-type]
        e = matched_difference(correct, back, item, cluster)
        truth = world.get("payoff", 0.1)
        found.append(np.nan if np.isnan(e.lo) else e.lo > 0 if seen else not e.lo <= truth <= e.hi)
    return np.array(found, float)


def payoff_cells() -> list[Cell]:
    cells = []
    for n in (20, 60, 200):
        for samples in (2, 4, 8):
            for payoff in (0.0, 0.1):
                draw = partial(payoff_misses, n=n, samples=samples, payoff=payoff)
                cells.append(Cell(f"{n} prompts x {samples}, payoff {payoff}", draw))
        hardly = partial(payoff_misses, n=n, payoff=0.0, ceiling=0.05)
        cells.append(Cell(f"{n} prompts x 4, hardly ever solved, payoff 0", hardly))
        shared = partial(payoff_misses, n=n, payoff=0.2, spread=0.2, per_cluster=2)
        cells.append(Cell(f"{n} prompts x 4, two a cluster, payoffs 0 to 0.4", shared))
        cells.append(
            Cell(f"{n} prompts x 4, payoff 0.2", partial(payoff_misses, n=n, payoff=0.2, seen=True), power=True)
        )
    return cells


# ---------------------------------------------------------------- rescue


def outcomes(
    rng: np.random.Generator, shares: Sequence[float], *, n: int = 48, per_cluster: int = 1, persistence: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """0/1 outcomes of the same items under conditions with these shares [conditions, n], and the items' clusters.

    Latent score = cluster and item in equal parts (`persistence` of its variance, over conditions) + noise.
    """
    cluster = np.arange(n) // per_cluster
    own = np.sqrt(0.5) * (rng.standard_normal(cluster[-1] + 1)[cluster] + rng.standard_normal(n))
    noise = rng.standard_normal((len(shares), n))
    latent = np.sqrt(persistence) * own + np.sqrt(1 - persistence) * noise
    return (ndtr(latent) < np.asarray(shares)[:, None]).astype(float), cluster


def rescue_misses(
    draws: int, rng: np.random.Generator, *, base: float, now: float, fraction: float, per_cluster: int
) -> np.ndarray:
    found = []
    for _ in range(draws):
        x, cluster = outcomes(rng, (base, now, now + fraction * (base - now)), per_cluster=per_cluster)
        e = rescue_fraction(*x, cluster)
        found.append(np.nan if not e.defined else not e.lo <= fraction <= e.hi)
    return np.array(found, float)


def rescue_of_nothing(draws: int, rng: np.random.Generator, *, share: float, per_cluster: int) -> np.ndarray:
    """An error: a fraction of a loss that is none."""
    return np.array(
        [
            rescue_fraction(*x, cluster).defined
            for x, cluster in (outcomes(rng, (share,) * 3, per_cluster=per_cluster) for _ in range(draws))
        ],
        float,
    )


def rescue_cells() -> list[Cell]:
    cells = []
    for per_cluster in (1, 2, 4):
        for base, now in ((0.97, 0.02), (0.97, 0.3), (0.97, 0.7), (0.9, 0.75), (0.9, 0.5)):
            for fraction in (0.0, 0.5, 1.0):
                draw = partial(rescue_misses, base=base, now=now, fraction=fraction, per_cluster=per_cluster)
                cells.append(Cell(f"{per_cluster} a cluster, {base} to {now}, {fraction} comes back", draw))
        for share in (0.5, 0.95):
            nothing = partial(rescue_of_nothing, share=share, per_cluster=per_cluster)
            cells.append(Cell(f"{per_cluster} a cluster, {share} and nothing lost", nothing))
    return cells


STUDIES: dict[str, Callable[[], list[Cell]]] = {
    "beyond_length": beyond_length_cells,
    "payoff": payoff_cells,
    "rescue": rescue_cells,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, []], default=list(STUDIES))
    parser.add_argument("--draws", type=int, default=2000)
    asked = parser.parse_args()
    kept = True
    for name in asked.studies:
        rates = measure(STUDIES[name](), asked.draws)
        errors = [r for r in rates if not r.cell.power and r.of]
        print(f"{name}, {asked.draws} draws a cell")
        for r in rates:
            told = "seen " if r.cell.power else "error"
            print(f"  {told} {r.value:.3f}  of {r.of:5d}  lower bound {r.lower(len(errors)):.3f}  {r.cell.name}")
        pooled = sum(r.hits for r in errors) / sum(r.of for r in errors)
        kept &= holds(rates)
        print(f"  pooled error {pooled:.4f}; the rule {'holds' if holds(rates) else 'is BROKEN'}")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
