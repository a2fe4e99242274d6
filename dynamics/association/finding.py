"""What an association table amounts to: a finding for each level of the ladder, with what that level cannot show."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ..findings.wording import listing, number, plain_name, with_interval
from ..types import Estimate, Finding
from .table import ITEMS, MIXED, ONE_RUN, TRIAL_SWAP

ALPHA = 0.05
EVIDENCE = ("analysis/association.parquet",)


@dataclass(frozen=True)
class _Level:
    of: str  # what the correlation is of
    limit: str  # what the level leaves open, as a sentence
    would_overturn: str


_LEVELS = {
    ONE_RUN: _Level(
        "changes",
        "One run can only explore.",
        "the same pair in other seeds, without it (five or more seeds allow a test)",
    ),
    TRIAL_SWAP: _Level(
        "deviations from the other seeds",
        "This tests how single seeds deviate and says nothing of the trend they share; seeds that learn faster deviate in all "
        "metrics at once.",
        "further seeds of these arms without it, or an intervention on the metric that leaves the score where it was",
    ),
    MIXED: _Level(
        "changes less what the runs of an arm share",
        "This says nothing of the trend that the runs share, nor which of the two acts on the other.",
        "further runs without it, or an intervention on the metric that leaves the score where it was",
    ),
    ITEMS: _Level(
        "changes from base by prompt",
        "Prompts that are learnt sooner change in all metrics sooner: no sign yet that one acts on the other.",
        "the same pair within prompts of equal difficulty, without it, or an intervention on the metric that leaves these "
        "prompts' scores where they were",
    ),
}


def association_findings(table: pd.DataFrame) -> list[Finding]:
    """For every level with a pair that could be tested: the strongest that survives correction, or that none does.

    Declared pairs come first and are told apart from the exploratory ones. Where nothing could be tested at any level, one
    finding says why.
    """
    found = [_of_level(level, rows[rows["p"].notna()]) for level, rows in table.groupby("level", sort=False)]
    tested = [f for f in found if f is not None]
    if tested or table.empty:
        return sorted(tested, key=lambda f: [TRIAL_SWAP, MIXED, ITEMS, ONE_RUN].index(f.details["level"]))
    first = table[table["level"] != ITEMS] if (table["level"] != ITEMS).any() else table
    why = first["reason"].value_counts().index[0]
    level = str(first["level"].iloc[0])
    sentence = f"No association could be computed for any of {len(first)} pairs ({why})."
    return [_finding(level, sentence, "undecidable", str(first["null"].iloc[0]), True, {"pairs": 0, "level": level})]


# ---------------------------------------------------------------- parts


def _of_level(level: object, tested: pd.DataFrame) -> Finding | None:
    if tested.empty:
        return None
    kept = tested[tested["q"] < ALPHA]
    declared, others = tested[tested["primary"].astype(bool)], tested[~tested["primary"].astype(bool)]
    told = [_declared(declared, str(level))] if len(declared) else []
    if len(others):
        told.append(_explored(others, str(level)))
    pool = kept if len(kept) else tested
    best = (pool[pool["primary"].astype(bool)] if pool["primary"].any() else pool).sort_values(["q", "p"]).iloc[0]
    shown = len(kept) and not best["exploratory"]
    verdict = "shown" if shown else "exploratory" if len(kept) else "none"
    details = {
        "level": str(level),
        "pairs": len(tested),
        "surviving": len(kept),
        "declared": len(declared),
        "declared_surviving": int((declared["q"] < ALPHA).sum()),
        "smallest_q": float(tested["q"].min()),
        "lag": int(best["lag"]),
        "seeds": int(best["n_seeds"]),
        "items": int(best["n_items"]),
        "x_domain": str(best["x_domain"]),
    }
    sentence = " ".join([*told, _LEVELS[str(level)].limit])
    return _finding(str(level), sentence, verdict, str(best["null"]), bool(best["exploratory"]), details, best)


def _declared(rows: pd.DataFrame, level: str) -> str:
    known = [_pair(row, level) for _, row in rows.sort_values(["q", "p"]).head(3).iterrows()]
    kept = int((rows["q"] < ALPHA).sum())
    more = f", and {len(rows) - 3} more" if len(rows) > 3 else ""
    many = f"{kept} of {len(rows)} declared pair{'s' * (len(rows) > 1)} survive{'s' * (len(rows) == 1)} correction"
    return f"{many}: {'; '.join(known)}{more}."


def _explored(rows: pd.DataFrame, level: str) -> str:
    kept = rows[rows["q"] < ALPHA]
    best = rows.sort_values(["q", "p"]).iloc[0]
    if kept.empty:
        on = {
            ONE_RUN: f"on at most {int(rows['n'].max())} differences between checkpoints",
            ITEMS: f"on at most {int(rows['n_items'].max())} prompts",
        }.get(level, f"on {int(rows['n_seeds'].max())} seeds")
        return (
            "No association between internal or behavioural metrics and scores survives correction: "
            f"{len(rows)} pairs tested {on}, smallest q {number(float(best['q']))}."
        )
    return (
        f"{len(kept)} of {len(rows)} pairs survive correction, exploratory{' in one run' * (level == ONE_RUN)}; the strongest "
        f"is {_pair(best, level)}."
    )


def _pair(row: pd.Series, level: str) -> str:
    """`tokens of path and the score of path: correlation of changes 0.62 [0.30, 0.81] (it leads …), q 0.01, …`."""
    r = with_interval(_estimate(row))
    when = "" if level == ITEMS else f" ({_lead(int(row['lag']))})"
    units = {
        ONE_RUN: f"{int(row['n'])} differences worth {number(float(row['n_eff']), 1)}",
        ITEMS: listing(
            [f"{int(row['n_items'])} prompts", *([f"{int(row['n_seeds'])} seeds"] if row["n_seeds"] > 1 else [])]
        ),
    }.get(level, f"{int(row['n_seeds'])} seeds")
    return (
        f"{_x_name(row)} and the score of {plain_name(row['y_domain'])}: correlation of {_LEVELS[level].of} {r}{when}, "
        f"q {number(float(row['q']), 3)}, {units}"
    )


def _finding(
    level: str,
    sentence: str,
    verdict: str,
    null: str,
    exploratory: bool,
    details: dict[str, object],
    best: pd.Series | None = None,
) -> Finding:
    return Finding(
        id=f"association:{level.replace(' ', '-')}",
        kind="association",
        sentence=sentence,
        domain="" if best is None else str(best["y_domain"]),
        metric="" if best is None else str(best["x"]),
        verdict=verdict,
        estimate=None if best is None else _estimate(best),
        method=f"{null}; Benjamini-Hochberg over families of layers by kind of metric",
        evidence=EVIDENCE,
        would_overturn=_LEVELS[level].would_overturn,
        exploratory=exploratory,
        details=details,
    )


def _estimate(row: pd.Series) -> Estimate:
    n = int(row["n"]) if row["level"] == ONE_RUN else int(row["n_items"] or row["n_seeds"])
    return Estimate(float(row["estimate"]), float(row["lo"]), float(row["hi"]), n, str(row["null"]))


def _x_name(row: pd.Series) -> str:
    where = f" of {plain_name(row['x_domain'])}" if row["x_domain"] else ""
    where += f" at layer {int(row['x_layer'])}" if int(row["x_layer"]) >= 0 else ""
    return f"{plain_name(row['x'])}{where}"


def _lead(lag: int) -> str:
    if lag == 0:
        return "at the same checkpoint"
    checkpoints = f"{abs(lag)} checkpoint{'s' * (abs(lag) > 1)}"
    return f"it leads by {checkpoints}" if lag > 0 else f"it follows by {checkpoints}"
