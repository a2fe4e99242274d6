"""Is going back worth it? Right answers with and without it, among responses that reached a dead end, prompt by prompt.

Hard prompts are gone back on more and solved less, so that a comparison over all responses can read a gain as a loss.
Here responses to the same prompt are compared with each other. What made one of them go back is not randomised: whether
backtracking *buys* accuracy is for the suppression test to say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from ..statistics.intervals import cluster_totals, linearised_variance, pseudo_unit, t_estimate
from ..types import Estimate

METRIC = "backtracking_payoff"  # difference of shares
METHOD = "mantel-haenszel, clustered by prompt"
COLUMNS = ("item", "went_back", "correct", "dead_end")


def matched_payoff(responses: pd.DataFrame) -> Estimate:
    """P(right | went back) - P(right | did not), among responses with a dead end, matched on the prompt.

    `responses` has a row a response: `item`, `went_back`, `correct`, `dead_end` (bool or 0/1), and `cluster` where several
    items share one. Rows with a missing value are left out. Raises DataError for a missing column or a value that is neither
    0 nor 1. See `matched_difference`.
    """
    missing = [c for c in COLUMNS if c not in responses]
    if missing:
        raise DataError(f"the responses have no column {', '.join(missing)}: give {', '.join(COLUMNS)}")
    values = np.stack([_yes_or_no(responses[c]) for c in COLUMNS[1:]])
    stuck = (values[2] == 1) & ~np.isnan(values).any(axis=0) & responses["item"].notna().to_numpy()
    went_back, correct, _ = values[:, stuck]
    rows = responses[stuck]
    return matched_difference(
        correct, went_back, rows["item"].to_numpy(), rows["cluster"].to_numpy() if "cluster" in rows else None
    )


def matched_difference(
    outcome: ArrayLike,
    exposed: ArrayLike,
    stratum: Sequence[object] | NDArray,
    clusters: Sequence[object] | NDArray | None = None,
) -> Estimate:
    """Difference of a share between responses with and without something, within strata (prompts); 0/1 arrays [N].

    Only strata with responses of both kinds tell anything; n counts them, or their clusters. Undefined without one.
    Mantel-Haenszel weights n1 n0 / (n1 + n0) (Greenland & Robins 1985); variance between strata, with one
    pseudo-discordant unit.
    """
    codes, names = pd.factorize(np.asarray(stratum))
    y, x = np.asarray(outcome, float), np.asarray(exposed, float)

    def count(weights: NDArray) -> NDArray:
        return np.bincount(codes, weights, minlength=len(names))

    n1, n0 = count(x), count(1 - x)
    both = (n1 > 0) & (n0 > 0)
    if not both.any():
        return Estimate.undefined(0, METHOD)
    n1, n0 = n1[both], n0[both]
    difference = count(x * y)[both] / n1 - count((1 - x) * y)[both] / n0
    weight = n1 * n0 / (n1 + n0)
    first = np.unique(codes, return_index=True)[1]  # a row of each stratum
    ids = None if clusters is None else np.asarray(clusters)[first][both]
    totals, _ = cluster_totals(np.stack([weight * difference, weight], axis=1), ids)
    size = weight.sum()
    value = float(totals[:, 0].sum() / size)
    variance = linearised_variance(totals[:, 0] - value * totals[:, 1], size) + (pseudo_unit(totals[:, 0]) / size) ** 2
    e = t_estimate(value, variance, len(totals), METHOD)
    return Estimate(e.value, max(e.lo, -1.0), min(e.hi, 1.0), e.n, e.method)


def _yes_or_no(column: pd.Series) -> NDArray:
    """A column as float64 [N], NaN for what is missing."""
    numbers = pd.to_numeric(column, errors="coerce")
    if (column.notna() & ~numbers.isin([0, 1])).any():
        raise DataError(f"`{column.name}` says yes or no of a response: give bools, or 0 and 1")
    return numbers.to_numpy(dtype=float, na_value=np.nan)
