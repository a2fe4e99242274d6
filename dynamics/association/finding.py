"""What the association table of one run amounts to, in a sentence."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..findings.wording import number, plain_name, with_interval
from ..types import Estimate, Finding
from .one_run import NULL


def association_finding(table: pd.DataFrame) -> Finding | None:
    """The strongest pair that survives correction, or that none does."""
    if table.empty:
        return None
    tested = table[table["p"].notna()]
    if tested.empty:
        why = table["reason"].value_counts().index[0]
        return _finding(f"No association could be computed for any of {len(table)} pairs ({why}).", "undecidable")
    best = tested.loc[tested["q"].idxmin()]
    estimate = Estimate(float(best["estimate"]), float(best["lo"]), float(best["hi"]), int(best["n"]), NULL)
    kept = tested[tested["q"] < 0.05]
    n = int(tested["n"].max())
    if kept.empty:
        sentence = (
            "No association between internal or behavioural metrics and scores survives correction: "
            f"{len(tested)} pairs tested on at most {n} differences between checkpoints, smallest q "
            f"{number(float(best['q']))}. One run can only explore."
        )
    else:
        r, lag, worth = with_interval(estimate), _lead(int(best["lag"])), number(float(best["n_eff"]), 1)
        sentence = (
            f"{len(kept)} of {len(tested)} pairs survive correction, exploratory in one run; the strongest is "
            f"{_x_name(best)} and the score of {plain_name(best['y_domain'])}: correlation of changes {r} ({lag}), "
            f"q {number(float(best['q']), 3)}, {int(best['n'])} differences worth {worth}."
        )
    return _finding(
        sentence,
        "exploratory" if len(kept) else "none",
        domain=str(best["y_domain"]),
        metric=str(best["x"]),
        estimate=estimate,
        details={
            "pairs": len(tested),
            "surviving": len(kept),
            "smallest_q": float(best["q"]),
            "lag": int(best["lag"]),
            "x_domain": str(best["x_domain"]),
        },
    )


def _finding(sentence: str, verdict: str, **rest: Any) -> Finding:
    return Finding(
        id="association:one-run",
        kind="association",
        sentence=sentence,
        verdict=verdict,
        method=f"{NULL}; Benjamini-Hochberg by kind of metric",
        evidence=("analysis/association.parquet",),
        would_overturn="the same pair in other seeds, without it (five or more seeds allow a test)",
        **rest,
    )


def _x_name(row: pd.Series) -> str:
    where = f" of {plain_name(row['x_domain'])}" if row["x_domain"] else f" at layer {int(row['x_layer'])}"
    return f"{plain_name(row['x'])}{where}"


def _lead(lag: int) -> str:
    if lag == 0:
        return "at the same checkpoint"
    checkpoints = f"{abs(lag)} checkpoint{'s' * (abs(lag) > 1)}"
    return f"it leads by {checkpoints}" if lag > 0 else f"it follows by {checkpoints}"
