"""A metric over the checkpoints of a run, item by item where it can be: every comparison between checkpoints is
paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import DataError
from ..record import Run, half_of
from ..statistics import aggregates, intervals
from ..types import Estimate, Group

AXES = ("epoch", "tokens", "cumulative_lr")
PRESENCE = "strict"  # every graded item has this one, so its gaps are items that were not measured


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    metric: str
    domain: str
    group: Group | str
    steps: NDArray  # [T] ascending optimiser steps
    matrix: NDArray | None = None  # [items, T]; NaN where undefined; None where only aggregates are known
    items: tuple[str, ...] = ()  # [items] ids, in the matrix's order
    clusters: NDArray | None = None  # [items] question of each item; None where every item is its own
    aggregates: tuple[Estimate, ...] = ()  # [T] where there is no matrix
    axes: pd.DataFrame = field(default_factory=pd.DataFrame)  # index: steps; epoch, tokens, cumulative_lr

    def __post_init__(self) -> None:
        shape = (len(self.items), len(self.steps)) if self.matrix is not None else (len(self.aggregates),)
        have = self.matrix.shape if self.matrix is not None else (len(self.steps),)
        if shape != have:
            raise DataError(f"{self.metric} of {self.domain!r}: {have} values for {shape} (items, checkpoints)")
        if np.any(np.diff(self.steps) <= 0):
            raise DataError(
                f"{self.metric} of {self.domain!r}: steps must ascend without repeats, not {list(self.steps)}"
            )

    @property
    def n(self) -> int:
        """Independent units: clusters of items, or the aggregates' smallest n."""
        if self.matrix is None:
            return min((e.n for e in self.aggregates), default=0)
        return len(self.items) if self.clusters is None else len(set(self.clusters))

    def estimate(self, column: int) -> Estimate:
        """The mean over items at one checkpoint with its own (unpaired) interval."""
        if self.matrix is None:
            return self.aggregates[column]
        return intervals.mean(self.matrix[:, column], self.clusters)

    def estimates(self) -> list[Estimate]:
        """Per step, the mean over items with its own (unpaired) interval."""
        return [self.estimate(column) for column in range(len(self.steps))]

    def series(self) -> pd.Series:
        """Mean over items by step; NaN where no item has a value."""
        index = pd.Index(self.steps, name="step")
        if self.matrix is None:
            return pd.Series([e.value for e in self.aggregates], index=index, dtype=float)
        return pd.DataFrame(self.matrix).mean(axis=0).set_axis(index).astype(float)

    def difference(self, column: int, reference: int = 0) -> Estimate:
        """One checkpoint minus another, each chosen beforehand: paired by item where there are items."""
        if self.matrix is None:
            return aggregates.difference(self.aggregates[column], self.aggregates[reference])
        return intervals.paired_difference(self.matrix[:, column], self.matrix[:, reference], self.clusters)

    def half(self, which: str) -> Trajectory:
        """The items of half `A` or `B`, a split fixed by the questions' ids (samples of one question stay together)."""
        if self.matrix is None:
            raise DataError(
                f"{self.metric} of {self.domain!r} has no items to split into halves: only aggregates are known"
            )
        of = self.items if self.clusters is None else self.clusters
        keep = np.array([half_of(str(i)) == which for i in of], dtype=bool)
        return replace(
            self,
            matrix=self.matrix[keep],
            items=tuple(i for i, k in zip(self.items, keep, strict=True) if k),
            clusters=None if self.clusters is None else self.clusters[keep],
        )


def from_run(run: Run, domain: str, metric: str = "strict") -> Trajectory:
    """A domain's metric over all checkpoints of a run: item by item, or its aggregates where no items were measured.

    Raises DataError naming what differs when an item is missing at a checkpoint, RecordError for an unknown domain or
    metric.
    """
    if not run.item_metrics(domain) and domain in run.domains():
        return _aggregates_of(run, domain, f"score_{metric}")
    table = run.items(domain, metric)
    known = table if metric == PRESENCE or PRESENCE not in run.item_metrics(domain) else run.items(domain, PRESENCE)
    _check_paired(known, domain)
    cluster_of = table.attrs["cluster"]
    clusters = np.array([str(cluster_of[i]) for i in table.index], dtype=object)
    steps = np.array(table.columns, dtype=int)
    order = np.argsort(steps)
    return Trajectory(
        metric=metric,
        domain=domain,
        group=run.domains()[domain],
        steps=steps[order],
        matrix=table.to_numpy()[:, order],
        items=tuple(str(i) for i in table.index),
        clusters=None if len(set(clusters)) == len(clusters) else clusters,
        axes=run.axes().reindex(steps[order]),
    )


def _aggregates_of(run: Run, domain: str, metric: str) -> Trajectory:
    table = run.series(metric, domain=domain).sort_index()
    estimates = [Estimate(r.value, r.lo, r.hi, int(r.n), r.method) for r in table.itertuples()]
    group = run.domains()[domain]
    return from_aggregates(table.index, estimates, metric=metric.removeprefix("score_"), domain=domain, group=group)


def from_aggregates(
    steps: Sequence[int], estimates: Sequence[Estimate], *, metric: str, domain: str, group: str
) -> Trajectory:
    """Scores per step without their items: nothing can be paired."""
    return Trajectory(metric, domain, group, np.asarray(steps, dtype=int), aggregates=tuple(estimates))


def _check_paired(table: pd.DataFrame, domain: str) -> None:
    missing = table.isna()
    if not missing.to_numpy().any():
        return
    counts = missing.sum()
    worst = counts[counts > 0]
    step = int(worst.index[0])
    names = ", ".join(map(str, table.index[missing[step]][:3]))
    others = f", and some at {len(worst) - 1} other checkpoints" if len(worst) > 1 else ""
    raise DataError(
        f"the items of {domain!r} differ between checkpoints: {int(worst.iloc[0])} of {len(table)} are missing at "
        f"step {step} (such as {names}){others}: probe that checkpoint again with the items of the others, or take "
        "its file out of `items/`"
    )
