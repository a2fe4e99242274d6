"""Why responses grew: tokens = steps x tokens per step, so that the logs of the factors' ratios add up to that of the tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ..record import Run
from ..statistics import intervals
from ..types import Estimate


@dataclass(frozen=True)
class Growth:
    """Logs of ratios, after over before: `tokens` is the sum of the other two, exactly. 0.69 is a doubling."""

    tokens: Estimate  # per response that has steps
    steps: Estimate
    tokens_per_step: Estimate


def growth(
    tokens_before: ArrayLike,
    steps_before: ArrayLike,
    tokens_after: ArrayLike,
    steps_after: ArrayLike,
    clusters: ArrayLike | None = None,
) -> Growth:
    """The decomposition from tokens and steps by item [N], NaN where a response has no steps, with delete-one-cluster intervals.

    Means are over the responses with steps at either checkpoint: tokens per step is the ratio of their sums.
    """
    columns = [np.asarray(x, float) for x in (tokens_before, steps_before, tokens_after, steps_after)]
    ids = np.arange(len(columns[0])) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    # Per cluster: sums of tokens and steps, and how many responses have steps, before and after.
    sums_C6 = np.zeros((int(ids.max(initial=-1)) + 1, 6))
    for k, column in enumerate(columns):
        np.add.at(sums_C6[:, k], ids, np.nan_to_num(column))
    for k, column in ((4, columns[1]), (5, columns[3])):
        np.add.at(sums_C6[:, k], ids, ~np.isnan(column))
    sums_C6 = sums_C6[sums_C6[:, 4:].sum(axis=1) > 0]
    whole = sums_C6.sum(axis=0)
    without_C3 = np.array([_logs(whole - row) for row in sums_C6]).reshape(-1, 3)
    parts = [intervals.jackknife(value, without_C3[:, k]) for k, value in enumerate(_logs(whole))]
    return Growth(*parts)


def _logs(sums_6: NDArray) -> tuple[float, float, float]:
    t0, s0, t1, s1, n0, n1 = sums_6
    if min(sums_6) <= 0:
        return math.nan, math.nan, math.nan
    steps, per_step = math.log((s1 / n1) / (s0 / n0)), math.log((t1 / s1) / (t0 / s0))
    return steps + per_step, steps, per_step


def length_growth(run: Run, domain: str, first: int, last: int) -> Growth:
    """The decomposition between two checkpoints of a run.

    Raises RecordError where the domain has no steps (the verbosity probe counts them in domains with traces), KeyError for a step
    that was not measured.
    """
    tokens, steps = run.items(domain, "trace_tokens"), run.items(domain, "steps")
    clusters = pd.Series(tokens.attrs["cluster"]).reindex(tokens.index)
    steps = steps.reindex(tokens.index)
    return growth(tokens[first], steps[first], tokens[last], steps[last], clusters.astype(str))
