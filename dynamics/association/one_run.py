"""Do two series of one run move together? A description, labelled exploratory: one run is one draw of its shared clock.

Two trends always correlate, and first differences do not cure it: of independent saturating curves measured with
little noise, the ESS-corrected t on first differences still rejects 40-97 %, because the differences of both die out
from the same start. So each differenced series is first reduced to its innovations (prewhitening), and no series
counts for more independent values than its own changes support. On random walks, AR(0.9), saturating curves and dips
this rejects <= 4 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from ..record import Run
from ..statistics.intervals import LEVEL
from ..trajectories.trajectory import Trajectory, from_run

LAGS = (-2, -1, 0, 1, 2)  # in checkpoints; positive: x leads
NULL = "ESS-corrected t on prewhitened first differences"
MIN_DIFFERENCES = 6
MIN_PAIRS = 5  # per lag, after prewhitening
INTERNAL = ("refusal_cosine_to_base", "refusal_gap_frozen", "refusal_auc_frozen")
BEHAVIOURS = ("tokens", "thought", "backtracks")
REFUSAL_DOMAIN = "harmful"  # its strict score is the share refused: a behaviour as well


@dataclass(frozen=True, slots=True)
class Association:
    lag: int | None  # checkpoints by which x leads
    estimate: float  # correlation of the innovations
    lo: float  # Fisher z with n_eff, at the level that allows for the lags tried
    hi: float
    p: float
    n: int  # pairs of differences compared
    n_eff: float
    reason: str = ""  # why undefined, or what weakens it
    n_seeds: int = 1  # runs
    n_items: int = 0  # prompts, where they are the units

    @classmethod
    def undefined(cls, n: int, reason: str, *, n_seeds: int = 1, n_items: int = 0) -> Association:
        return cls(None, math.nan, math.nan, math.nan, math.nan, n, math.nan, reason, n_seeds, n_items)


def associate(x: pd.Series, y: pd.Series, lags: Sequence[int] = LAGS) -> Association:
    """The lag with the smallest p between two series indexed by step, its p multiplied by the number of lags tried.

    Undefined, with the reason, for fewer than 6 differences at common steps or a series that does not move.
    """
    rows = lagged(x, y, lags)
    if isinstance(rows, Association):
        return rows
    best = min(rows, key=lambda row: (row.p, abs(row.lag or 0)))
    return Association(
        best.lag, best.estimate, best.lo, best.hi, min(1.0, best.p * len(rows)), best.n, best.n_eff, best.reason
    )


def lagged(x: pd.Series, y: pd.Series, lags: Sequence[int] = LAGS) -> list[Association] | Association:
    """Correlations of the innovations of two series at each lag, p-values uncorrected; or why there are none.

    Prewhitening: Haugh (1976). Effective sample size: Bartlett (1935), n / (1 + 2 sum (1 - k/n) r_x(k) r_y(k)), with
    negative terms dropped (a gain in sample size is never claimed) and at most twice the participation ratio of either
    series' changes.
    """
    joined = pd.concat([x.rename("x"), y.rename("y")], axis=1, join="inner").dropna().sort_index()
    differences = np.diff(joined.to_numpy(float), axis=0).T
    n = differences.shape[1]
    if n < MIN_DIFFERENCES:
        return Association.undefined(n, f"{n} differences at common checkpoints, {MIN_DIFFERENCES} are needed")
    innovations = []
    for name, d in zip("xy", differences, strict=True):
        if np.ptp(joined[name].to_numpy(float)) == 0:
            return Association.undefined(n, f"{name} is constant")
        e = prewhitened(d)
        if np.ptp(e) <= 1e-9 * np.ptp(d):
            return Association.undefined(n, f"{name} is a smooth curve: nothing is left but its trend")
        innovations.append(e)
    ex, ey = innovations
    rows = []
    for lag in lags:
        a, b = (ex[: len(ex) - lag], ey[lag:]) if lag >= 0 else (ex[-lag:], ey[:lag])
        if len(a) >= MIN_PAIRS and np.ptp(a) > 0 and np.ptp(b) > 0:
            rows.append(_correlation(a, b, lag, len(lags)))
    return rows or Association.undefined(n, "too few differences at every lag")


def prewhitened(d: NDArray) -> NDArray:
    """Residuals of an autoregression through the origin: a decaying transient obeys one exactly, so it leaves nothing.

    Its order grows with the series (1, from 16 differences 2, from 30 on 3): measurement noise hides a transient from
    a short one.
    """
    order = 1 if len(d) < 16 else 2 if len(d) < 30 else 3
    past = np.stack([d[order - k - 1 : len(d) - k - 1] for k in range(order)], axis=1)
    return d[order:] - past @ np.linalg.lstsq(past, d[order:], rcond=None)[0]


def effective_size(a: NDArray, b: NDArray) -> float:
    """Independent pairs that the correlation of two series [n] is worth, at most n (see `lagged`)."""
    n = len(a)
    k = np.arange(1, n // 2 + 1)
    products = np.maximum(_autocorrelation(a)[k] * _autocorrelation(b)[k], 0)
    bartlett = n / (1 + 2 * float(np.sum((1 - k / n) * products)))
    return min(float(n), bartlett, 2 * _participation(a), 2 * _participation(b))


def association_table(run: Run, trajectories: Mapping[str, Trajectory], *, layer: int | None = None) -> pd.DataFrame:
    """Internal and behavioural metrics against every domain's score: one row per pair, with q-values by kind of x.

    Internal metrics are read at `layer`, by default the middle one of those measured: fixed in advance, not the best.
    Behaviours x are those of the score's own domain, of the in-domain reasoning domains, and the refusal rate. Where x
    and y would come from the same generations, x is computed from the items of half A and y from half B. What is
    absent is skipped.
    """
    rows: list[dict[str, Any]] = []
    internal = _internal_series(run, layer)
    behaviours = {(d, m): from_run(run, d, m) for d in trajectories for m in BEHAVIOURS if m in run.item_metrics(d)}
    for domain, target in trajectories.items():
        whole, half_b = target.series(), _half_series(target, "B")
        for x, series, split in internal + _behaviour_series(behaviours, trajectories, domain):
            found = associate(series, half_b if split == "A/B" else whole)
            y = {"y": "score_strict", "y_domain": domain, "y_group": target.group}
            rows.append(x | y | asdict(found) | {"null": NULL, "exploratory": True, "split": split})
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"lag": "Int64"})
    table["q"] = q_values(table["p"], table["x_kind"])
    return table.sort_values(["q", "p"], na_position="last", kind="stable").reset_index(drop=True)


COLUMNS = [
    *(
        "x",
        "x_kind",
        "x_domain",
        "x_layer",
        "y",
        "y_domain",
        "y_group",
        "lag",
        "estimate",
        "lo",
        "hi",
        "p",
        "q",
        "n",
        "n_eff",
    ),
    *("null", "exploratory", "split", "reason"),
]


def q_values(p: pd.Series, family: pd.Series) -> pd.Series:
    """Benjamini-Hochberg q-values within each family; NaN where p is."""
    from scipy.stats import false_discovery_control  # slow to import

    q = pd.Series(np.nan, index=p.index, dtype=float)
    for _, group in p.dropna().groupby(family):
        q[group.index] = false_discovery_control(group.to_numpy(float))
    return q


# ---------------------------------------------------------------- parts

_X = tuple[dict[str, Any], pd.Series, str]  # description, series by step, split


def _correlation(a: NDArray, b: NDArray, lag: int, n_lags: int) -> Association:
    n, n_eff = len(a), effective_size(a, b)
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    if n_eff <= 3:
        return Association(lag, r, math.nan, math.nan, 1.0, n, n_eff, f"rests on about {n_eff:.0f} independent changes")
    t = abs(r) * math.sqrt((n_eff - 2) / max(1 - r * r, 1e-12))
    z = float(ndtri(1 - (1 - LEVEL) / 2 / n_lags)) / math.sqrt(n_eff - 3)
    centre = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12))
    return Association(lag, r, math.tanh(centre - z), math.tanh(centre + z), float(2 * stdtr(n_eff - 2, -t)), n, n_eff)


def _autocorrelation(a: NDArray) -> NDArray:
    a = a - a.mean()
    full = np.correlate(a, a, "full")[len(a) - 1 :]
    return full / full[0]


def _participation(a: NDArray) -> float:
    """(sum a^2)^2 / sum a^4: how many values carry the variance; about n/3 for normal ones, 1 for a single jump."""
    a = a - a.mean()
    return float(np.sum(a**2) ** 2 / np.sum(a**4))


def _internal_series(run: Run, layer: int | None) -> list[_X]:
    found = []
    for metric in INTERNAL:
        table = run.measurements(metric=metric)
        if table.empty:
            continue
        at = layer if layer is not None else middle(sorted(set(table["layer"])))
        rows = table[table["layer"] == at].drop_duplicates("step", keep="last")
        found.append((_describe(metric, "internal", "", at), rows.set_index("step")["value"], "none"))
    return found


def _behaviour_series(
    behaviours: Mapping[tuple[str, str], Trajectory], trajectories: Mapping[str, Trajectory], y_domain: str
) -> list[_X]:
    trained = [d for d, t in trajectories.items() if t.group == "id_reasoning"]
    found: list[_X] = []
    for domain in dict.fromkeys([y_domain, *trained]):
        for metric in BEHAVIOURS:
            if (domain, metric) in behaviours:
                x, same = behaviours[domain, metric], domain == y_domain
                series = _half_series(x, "A") if same else x.series()
                found.append((_describe(metric, "behaviour", domain, -1), series, "A/B" if same else "none"))
    if REFUSAL_DOMAIN in trajectories and y_domain != REFUSAL_DOMAIN:  # a score is no explanation of itself
        refusal = trajectories[REFUSAL_DOMAIN].series()
        found.append((_describe("strict", "behaviour", REFUSAL_DOMAIN, -1), refusal, "none"))
    return found


def _describe(x: str, kind: str, domain: str, layer: int) -> dict[str, Any]:
    return {"x": x, "x_kind": kind, "x_domain": domain, "x_layer": layer}


def _half_series(trajectory: Trajectory, which: str) -> pd.Series:
    if trajectory.matrix is None:
        return pd.Series(dtype=float)
    return trajectory.half(which).series()


def middle(layers: Sequence[int]) -> int:
    """The middle one of some layers (the upper of two): a choice that does not look at the data."""
    return sorted(layers)[len(layers) // 2]
