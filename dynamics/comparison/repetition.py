"""Repetition against coverage at equal updates: more epochs on fewer rows beside fewer epochs on more rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd

from ..errors import DataError
from ..types import Estimate
from .conditional import ASSUMED, PAIRED, POINTS, UNPAIRED, group_order
from .contrasts import ASSUMED_CORRELATION, Block, Contrast, aggregate_block, all_contrasts, item_block, mean_block
from .score_tables import ItemColumns, to_shares

COLUMNS = ("rows", "batch", "epochs")
SAME_UPDATES = 0.01  # numbers of updates that differ by less are equal: a last batch may be short


@dataclass(frozen=True, slots=True)
class Repetition:
    """Differences in points, of settings with equal updates; all of one number of updates hold together with 95 %."""

    settings: pd.DataFrame  # setting, rows, batch, epochs, updates, samples_seen
    # updates, group, repeated, covered, same_batch, same_rows, difference, lo, hi, n, separated, sampling, benchmarks
    pairs: pd.DataFrame
    notes: tuple[str, ...] = field(default=())

    @property
    def deciding(self) -> str:
        return PAIRED if (self.pairs["sampling"] == PAIRED).any() else UNPAIRED

    def setting(self, name: str) -> pd.Series:
        return self.settings.set_index("setting").loc[name]


def repetition_table(
    scores: pd.DataFrame,
    items: pd.DataFrame,
    *,
    setting: str = "setting",
    columns: Sequence[str] = COLUMNS,
    item_columns: ItemColumns | None = None,
) -> Repetition:
    """What repeating fewer rows gave against covering more, from scores of which only aggregates are known.

    `scores` has a row per setting: its name, the columns that hold unique rows, batch and epochs, and a column per
    benchmark. Updates are rows x epochs / batch. Unpaired intervals decide; those that assume a paired correlation
    stand beside them, labelled. Raises ConfigError for unknown columns, DataError for values that cannot be, or where
    no two settings have equal updates.
    """
    read = to_shares(scores, items, (setting, *columns), item_columns)
    plan = read.shares[[setting, *columns]].set_axis(["setting", *COLUMNS], axis=1)
    plan = _checked(plan)
    values = read.shares.set_index(read.shares[setting].astype(str))
    notes = list(read.notes)
    blocks: dict[str, dict[str, list[Block]]] = {UNPAIRED: {}, ASSUMED: {}}
    for benchmark in read.benchmarks:
        column = values[benchmark.name].reindex(plan["setting"])
        if column.isna().any():
            absent = ", ".join(column.index[column.isna()])
            notes.append(f"{benchmark.name} is missing for {absent}, and left out of the mean of {benchmark.group}")
            continue
        for sampling, correlation in ((UNPAIRED, 0.0), (ASSUMED, ASSUMED_CORRELATION)):
            block = aggregate_block(benchmark.name, list(column), benchmark.items, correlation)
            blocks[sampling].setdefault(benchmark.group, []).append(block)
    return _table(plan, blocks, notes)


def repetition_from_items(
    plan: pd.DataFrame,
    values: Mapping[str, Mapping[str, np.ndarray]],
    groups: Mapping[str, str],
    clusters: Mapping[str, np.ndarray | None],
) -> Repetition:
    """As `repetition_table`, where every item is known: paired by item.

    `plan` has setting, rows, batch, epochs and optionally updates; `values` holds, by domain and setting, each item's
    value [items].
    """
    plan = _checked(plan)
    blocks: dict[str, list[Block]] = {}
    notes = []
    for domain, of in values.items():
        absent = [s for s in plan["setting"] if s not in of]
        if absent:
            notes.append(f"{domain} is missing for {', '.join(absent)}, and left out of the mean of {groups[domain]}")
            continue
        matrix = np.stack([of[s] for s in plan["setting"]], axis=1)
        blocks.setdefault(groups[domain], []).append(item_block(domain, matrix, clusters.get(domain)))
    return _table(plan, {PAIRED: blocks}, notes)


# ---------------------------------------------------------------- parts


def _checked(plan: pd.DataFrame) -> pd.DataFrame:
    plan = plan.assign(setting=plan["setting"].astype(str)).reset_index(drop=True)
    twice = plan["setting"][plan["setting"].duplicated()]
    if len(twice):
        raise DataError(f"two rows for the setting {twice.iloc[0]!r}: give each one row")
    for name in COLUMNS:
        numbers = pd.to_numeric(plan[name], errors="coerce")
        if not (numbers > 0).all():
            raise DataError(
                f"`{name}` of {plan['setting'][~(numbers > 0)].iloc[0]} is no number above 0: it is needed to count updates"
            )
        plan[name] = numbers
    seen = plan["rows"] * plan["epochs"]
    updates = plan["updates"] if "updates" in plan else seen / plan["batch"]
    return plan.assign(updates=updates.astype(float), samples_seen=seen)[
        ["setting", *COLUMNS, "updates", "samples_seen"]
    ]


def _table(plan: pd.DataFrame, blocks: Mapping[str, Mapping[str, Sequence[Block]]], notes: list[str]) -> Repetition:
    rows = []
    updates = plan["updates"].to_numpy(float)
    for family in _families(updates):
        if len(family) < 2:
            notes.append(
                f"{plan['setting'][family[0]]}: no other setting has {updates[family[0]]:,.0f} updates to be compared at"
            )
            continue
        for sampling, by_group in blocks.items():
            of = {g: _of(mean_block(g, by_group[g]), family) for g in sorted(by_group, key=group_order)}
            for c in all_contrasts(of, sampling):
                rows.append(_row(c, plan.iloc[family].reset_index(drop=True)) | {"sampling": sampling})
                rows[-1]["benchmarks"] = " ".join(b.benchmark for b in by_group[c.group])
    if not rows:
        told = ", ".join(f"{s} {u:,.0f}" for s, u in zip(plan["setting"], updates, strict=True))
        raise DataError(
            f"no two settings have equal updates ({told}), so repetition and coverage cannot be compared at equal updates"
        )
    return Repetition(plan, pd.DataFrame(rows), tuple(dict.fromkeys(notes)))


def _of(block: Block, columns: Sequence[int]) -> Block:
    at = np.ix_(columns, columns)
    c = list(columns)
    return replace(block, mean_K=block.mean_K[c], covariance_KK=block.covariance_KK[at], extra_KK=block.extra_KK[at])


def _row(c: Contrast, plan: pd.DataFrame) -> dict:
    """Oriented: the setting that sees its rows more often, minus the one that sees more of them (or the same fewer
    times).
    """
    a, b, e = plan.loc[c.a], plan.loc[c.b], c.estimate
    if (b["epochs"], -b["rows"]) > (a["epochs"], -a["rows"]):
        a, b = b, a
        e = Estimate(-e.value, -e.hi, -e.lo, e.n, e.method)
    row = {"updates": float(a["updates"]), "group": c.group, "repeated": a["setting"], "covered": b["setting"]}
    row |= {"same_batch": bool(a["batch"] == b["batch"]), "same_rows": bool(a["rows"] == b["rows"])}
    row |= {"difference": e.value * POINTS, "lo": e.lo * POINTS, "hi": e.hi * POINTS}
    return row | {"n": e.n, "separated": c.separated}


def is_repetition(scores: pd.DataFrame) -> bool:
    """Whether a table of scores tells rows, batch and epochs of each setting."""
    return set(COLUMNS) <= set(scores.columns)


def has_a_question(plan: pd.DataFrame) -> bool:
    """Whether two settings of equal updates repeat and cover differently; a plan that is not known asks nothing."""
    if plan[[*COLUMNS, "updates"]].isna().any(axis=None):
        return False
    of = plan[list(COLUMNS)].to_numpy(float)
    families = _families(plan["updates"].to_numpy(float))
    return any(not np.allclose(of[i], of[j]) for family in families for i, j in combinations(family, 2))


def _families(updates: np.ndarray) -> list[list[int]]:
    """Rows with equal numbers of updates."""
    families: list[list[int]] = []
    left = list(range(len(updates)))
    while left:
        family = [i for i in left if abs(updates[i] - updates[left[0]]) <= SAME_UPDATES * updates[left[0]]]
        left = [i for i in left if i not in family]
        families.append(family)
    return families
