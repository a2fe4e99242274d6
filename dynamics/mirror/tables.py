"""Tables beside a run's curves: what the model wrote at a checkpoint, and layer curves, which as curves would be thousands."""

from __future__ import annotations

import hashlib
import math
import re
from functools import cache
from typing import Any

import pandas as pd

from ..errors import RecordError
from ..model_text import clip, split_response, verdict_of, visible
from ..record import Run

Rows = list[list[Any]]

SAMPLES = ("step", "domain", "item", "prompt", "think", "answer", "verdict", "finish", "tokens")
SAMPLES_PER_DOMAIN = 8
LONGEST_CELL = 4_000  # characters
NUMBERS = {"value": float, "lower": float, "upper": float, "n": int}
LAYERS: dict[str, type] = {"step": int, "metric": str, "position": str, "layer": int} | NUMBERS
WHOSE = {"step": int, "probe": str, "metric": str, "domain": str, "layer": int, "position": str}
MEASURED: dict[str, type] = WHOSE | NUMBERS | {"unit": str, "status": str, "reason": str}
LAYER_CURVES = re.compile(r".+_(cosine_to_base|auc_frozen)")  # cosines are corrected for estimation noise


class SampleTables:
    """The rows of a checkpoint's table of samples: the same few items of each domain at every checkpoint, by content."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._strict: dict[str, pd.DataFrame] = {}

    def rows(self, step: int) -> Rows:
        """Columns SAMPLES. Text is plain text: unseen characters are shown, long cells are cut and say so."""
        return [row for domain in self.run.domains() for row in self._of_domain(domain, step)]

    def _of_domain(self, domain: str, step: int) -> Rows:
        try:
            table = self.run.samples(domain, step).drop_duplicates("item")
        except RecordError:  # its samples were not kept, or it has none
            return []
        table = table.iloc[table["item"].map(_rank).argsort(kind="stable")].head(SAMPLES_PER_DOMAIN)
        graded = self._graded(domain, step)
        rows = []
        for sample in table.to_dict("records"):
            think, answer = split_response(str(sample["text"]))
            strict = graded.get(sample["item"], math.nan)
            verdict = "not graded" if math.isnan(strict) else verdict_of(domain, strict, sample["finish"]).word
            texts = [_cell(str(text)) for text in (sample["prompt"], think, answer)]
            rows.append(
                [step, domain, str(sample["item"]), *texts, verdict, str(sample["finish"]), len(sample["token_ids"])]
            )
        return rows

    def _graded(self, domain: str, step: int) -> pd.Series:
        """The strict verdict by item: 0, 1 or NaN."""
        if domain not in self._strict:
            known = "strict" in self.run.item_metrics(domain)
            self._strict[domain] = self.run.items(domain, "strict") if known else pd.DataFrame()
        matrix = self._strict[domain]
        return matrix[step] if step in matrix else pd.Series(dtype=float)


@cache
def _rank(item: str) -> bytes:
    """An order of items that is no order of anything: the first few are a fair choice."""
    return hashlib.sha256(b"sample:" + str(item).encode()).digest()


def _cell(text: str) -> str:
    cut, note = clip(text, LONGEST_CELL)
    return visible(f"{cut} … ({note})" if note else cut)


def layer_rows(table: pd.DataFrame) -> Rows:
    """Columns LAYERS: each layer's cosine to the base and frozen AUC, of every concept, at every checkpoint of the long
    table; None where undefined."""
    if table.empty:
        return []
    kept = table[(table["status"] == "ok") & (table["layer"] >= 0)]
    kept = kept[kept["metric"].isin([m for m in set(kept["metric"]) if LAYER_CURVES.fullmatch(m)])]
    order = ["metric", "position", "layer", "step"]
    kept = kept.drop_duplicates(order, keep="last").sort_values(order)
    rows = []
    for step, metric, position, layer, *estimate, n in kept[
        ["step", "metric", "position", "layer", "value", "lo", "hi", "n"]
    ].itertuples(index=False, name=None):
        numbers = [float(x) if math.isfinite(x) else None for x in estimate]
        rows.append([int(step), metric, position, int(layer), *numbers, int(n)])
    return rows


def measured_table(table: pd.DataFrame, step: int) -> Rows:
    """Columns MEASURED: every row of the long table at a checkpoint, failed ones too; numbers that are undefined are None."""
    if table.empty:
        return []
    order = ["probe", "metric", "domain", "layer", "position"]
    kept = table[table["step"] == step].sort_values(order, kind="stable")
    numbers = [[float(x) if math.isfinite(x) else None for x in kept[name]] for name in ("value", "lo", "hi")]
    names = [kept[name].fillna("").astype(str) for name in ("probe", "metric", "domain", "position", "unit", "status")]
    probe, metric, domain, position, unit, status = names
    reasons = [_cell(text) for text in kept["reason"].fillna("").astype(str)]
    layers, counts = kept["layer"].astype(int), kept["n"].astype(int)
    columns = (probe, metric, domain, layers, position, *numbers, counts, unit, status, reasons)
    return [[step, *row] for row in zip(*columns, strict=True)]
