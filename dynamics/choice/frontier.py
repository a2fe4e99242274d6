"""What is traded over checkpoints: reasoning against refusal, harmless compliance and general ability, and who is undominated.

A checkpoint is dominated by another that is at least as good in every part and better in one (Pareto). Estimates alone call
nearly every checkpoint of noise undominated. So beside the share of resamples of the questions in which it is so, two
verdicts are given with certainty, by bounds that hold for all parts and all pairs of checkpoints together: *dominated* (another
is better in every part) and *undominated* (against every other it is better in some part). The rest is *open*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..errors import DataError
from ..findings.wording import listing, step_list
from ..statistics.intervals import LEVEL
from ..statistics.joint import Blend, Draws, common_steps, resamples_for
from ..trajectories.trajectory import Trajectory
from .quantities import curve_of
from .tradeoff import members_of

PARTS = ("id_reasoning", "ood_reasoning", "refusal", "helpful", "general")
COLUMNS = ["step", "part", "domains", "value", "lo", "hi", "change", "change_lo", "change_hi", "n"]
STATUS = ["undominated", "p_undominated", "certainty", "not_separated_from"]


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    steps: NDArray  # [T]
    parts: tuple[Blend, ...]  # more is better in each
    undominated: NDArray  # [T] by the estimates
    probability: NDArray  # [T] share of resamples in which it is undominated
    surely_undominated: NDArray  # [T]
    surely_dominated: NDArray  # [T]
    separated: NDArray  # [T, T] some part tells the two apart
    critical: float  # in standard errors of a difference

    def certainty(self, column: int) -> str:
        if self.surely_undominated[column]:
            return "undominated"
        return "dominated" if self.surely_dominated[column] else "open"

    def mingled(self, column: int) -> list[int]:
        """Steps that no part tells from this one."""
        other = np.arange(len(self.steps)) != column
        return [int(s) for s in self.steps[other & ~self.separated[column]]]


def frontier_of(trajectories: Mapping[str, Trajectory]) -> Frontier | None:
    """The frontier of a run's strict scores, at the checkpoints where all parts were measured; None with fewer than two parts
    or two such checkpoints."""
    parts = part_blends(trajectories)
    steps = common_steps(parts)
    if len(parts) < 2 or len(steps) < 2:
        return None
    return frontier([p.at(steps) for p in parts])


def part_blends(trajectories: Mapping[str, Trajectory]) -> list[Blend]:
    """Means over the domains of each part that was measured; of domains that share no checkpoint none."""
    found = []
    for part in PARTS:
        curves = [curve_of(trajectories[d]) for d in members_of(part, trajectories) if len(trajectories[d].steps)]
        if curves and (steps := sorted(set.intersection(*({int(s) for s in c.steps} for c in curves)))):
            found.append(Blend(part, tuple(c.at(steps) for c in curves)))
    return found


def frontier(parts: Sequence[Blend], *, resamples: int | None = None, seed: int = 0) -> Frontier:
    """Who is undominated, from curves [T] at the same checkpoints, more is better. Raises DataError where steps differ."""
    steps = parts[0].steps
    if any(list(p.steps) != list(steps) for p in parts):
        raise DataError("the parts of a trade-off were measured at different checkpoints: take those that all have")
    draws = Draws(parts, resamples=resamples or resamples_for(len(steps)), seed=seed)
    values_KT = np.array([p.value for p in parts])
    drawn_BKT = np.stack([p.value + draws.deviations(p) for p in parts], axis=1)
    critical = draws.pair_critical(parts)
    gaps_KTT = values_KT[:, :, None] - values_KT[:, None, :]
    better = gaps_KTT > critical * np.array([p.pair_se() for p in parts])  # [K, T, T]: row surely better than column
    some, every = better.any(axis=0), better.all(axis=0)
    itself = np.eye(len(steps), dtype=bool)
    return Frontier(
        steps,
        tuple(parts),
        undominated(values_KT[None])[0],
        undominated(drawn_BKT).mean(axis=0),
        (some | itself).all(axis=1),
        every.any(axis=0),
        some | some.T,
        critical,
    )


def undominated(values_BKT: NDArray) -> NDArray:
    """Whether no other checkpoint is at least as good in every part and better in one, [B, T] bool."""
    dominated = np.zeros(values_BKT[:, 0].shape, bool)
    for j in range(values_BKT.shape[2]):
        other = values_BKT[:, :, [j]]
        dominated |= (other >= values_BKT).all(axis=1) & (other > values_BKT).any(axis=1)
    return ~dominated


def tradeoff_table(found: Frontier | None) -> pd.DataFrame:
    """A row per checkpoint and part: level, change from base (both with intervals of their own), and where it stands."""
    rows: list[dict[str, Any]] = []
    for part in found.parts if found is not None else ():
        assert found is not None
        single = float(stdtrit(max(part.n - 1, 1), 0.5 + LEVEL / 2))  # one checkpoint looked at alone
        lo, hi = part.bounds(single)
        base = 0 if found.steps[0] == 0 else None
        change = part.value - part.value[0]
        half = single * part.pair_se()[0]
        half[0] = 0.0
        for t, step in enumerate(found.steps):
            rows.append(
                {"step": int(step), "part": part.name, "domains": ", ".join(c.name for c in part.curves)}
                | {"value": part.value[t], "lo": lo[t], "hi": hi[t]}
                | dict(
                    zip(
                        ("change", "change_lo", "change_hi"),
                        (np.nan,) * 3 if base is None else (change[t], change[t] - half[t], change[t] + half[t]),
                        strict=True,
                    )
                )
                | {"n": part.n, "undominated": bool(found.undominated[t]), "p_undominated": found.probability[t]}
                | {"certainty": found.certainty(t), "not_separated_from": found.mingled(t)}
            )
    return pd.DataFrame(rows, columns=[*COLUMNS, *STATUS])


def frontier_sentence(found: Frontier) -> str:
    """Which checkpoints are undominated, surely so, surely not, and which cannot be told apart."""
    parts = listing(p.name.replace("_", " ") for p in found.parts)
    by = [int(s) for s in found.steps[found.undominated]]
    text = f"Of {len(found.steps)} checkpoints, {len(by)} are undominated in {parts} by the estimates ({step_list(by)})"
    surely, not_ = ([int(s) for s in found.steps[mask]] for mask in (found.surely_undominated, found.surely_dominated))
    text += f"; surely undominated: {step_list(surely) if surely else 'none'}"
    text += f"; surely dominated: {step_list(not_) if not_ else 'none'}"
    columns = np.flatnonzero(found.undominated)
    pairs = len(columns) * (len(columns) - 1) // 2
    apart = int(found.separated[np.ix_(columns, columns)].sum()) // 2
    if pairs:
        text += f"; of the {pairs} pairs of undominated ones {pairs - apart} cannot be told apart in any part"
    return text + "."
