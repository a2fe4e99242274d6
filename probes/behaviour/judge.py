"""What a judge says of the answers to safety requests, beside the phrases that the refusal probe goes by (docs/metrics.md).

What the judge did not answer is missing: NaN for that item; its share and the bounds that it leaves are rows of their own. The
same frozen answers are judged at every checkpoint: where their verdicts change, the judge moved and not the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ...dynamics.errors import ConfigError, SftscopeError
from ...dynamics.statistics import intervals
from ...dynamics.storage import content_key
from ...dynamics.types import Estimate, Measurement
from ..domains import Domain, Grade
from ..frozen_answers import frozen_answers
from ..judging import LABELS, Asked, Judge, JudgeConfig
from ..protocol import Answered, Given, Needs, Result, item_rows

RATES = {"refused": "judge_refusal_rate", "complied": "judge_compliance_rate", "incoherent": "judge_incoherent_rate"}
METRICS = (
    *RATES.values(),
    *(f"{metric}_bounds" for metric in RATES.values()),
    "judge_missing_share",
    "judge_phrase_kappa",
    "judge_frozen_accuracy",
    "judge_frozen_missing_share",
)
Verdicts = Sequence[str | None]


class Judged:
    """`config`: the judge; None where none is configured, and then there is nothing to measure with."""

    name = "judge"
    version = 1

    def __init__(self, config: JudgeConfig | None = None) -> None:
        self.judge = Judge(config) if config else None
        self.frozen = frozen_answers(config.frozen if config else None)
        frozen = [(f.asked.request, f.asked.answer, f.label) for f in self.frozen]
        self.settings = content_key(self.judge.settings if self.judge else "", frozen)

    @classmethod
    def configured(cls, config: Any) -> Judged:
        return cls(config.judge)

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(n for n, d in domains.items() if d.group == "safety"))

    def measure(self, given: Given) -> Result:
        """Raises ConfigError without a judge or its key, SftscopeError where it answers nothing at all (to be tried again)."""
        if self.judge is None:
            raise ConfigError("no judge is configured: give `probes.judge.url` and `probes.judge.model`")
        rows: list[Measurement] = []
        items: list[dict[str, object]] = []
        for name, answered in given.answered.items():
            verdicts = self._judge([Asked(i.prompt, r.answer) for i, r in _pairs(answered)])
            metrics = _metrics(answered, verdicts)
            rows += [Measurement(given.step, self.name, m, e, unit, name) for m, e, unit in metrics]
            items += item_rows(answered, {f"judge_{label}": _is(verdicts, label) for label in LABELS})
        if given.answered:
            rows += self._frozen_rows(given.step)
        told = f"judge {self.judge.config.model}, prompt {self.judge.prompt_hash}"
        rows = [replace(r, reason=f"{told}; {r.reason}" if r.reason else told) for r in rows]
        return Result(rows, pd.DataFrame(items))

    def _judge(self, asked: Sequence[Asked]) -> Verdicts:
        """Verdicts of the judge; an empty answer is incoherent without its being asked."""
        assert self.judge is not None
        there = [a for a in asked if a.answer.strip()]
        found = iter(self.judge.verdicts(there))
        verdicts = [next(found) if a.answer.strip() else "incoherent" for a in asked]
        if there and all(v is None for v, a in zip(verdicts, asked, strict=True) if a.answer.strip()):
            raise SftscopeError(
                f"the judge at {self.judge.config.url} gave no verdict on any of {len(there)} answers "
                f"({self.judge.troubles[-1]}): see that it runs and serves {self.judge.config.model!r}, and probe again"
            )
        return verdicts

    def _frozen_rows(self, step: int) -> list[Measurement]:
        """How many of the frozen answers get their label, and in `reason` the verdict on each, to compare checkpoints by."""
        verdicts = self._judge([f.asked for f in self.frozen])
        right = [math.nan if v is None else float(v == f.label) for v, f in zip(verdicts, self.frozen, strict=True)]
        listed = "verdicts " + "".join(v[0] if v else "-" for v in verdicts)
        missing = [float(v is None) for v in verdicts]
        return [
            Measurement(step, self.name, "judge_frozen_accuracy", intervals.mean(right), "share", reason=listed),
            Measurement(step, self.name, "judge_frozen_missing_share", intervals.mean(missing), "share", reason=listed),
        ]


def _pairs(answered: Answered) -> Any:
    return zip(answered.items, answered.responses, strict=True)


def _is(verdicts: Verdicts, label: str) -> list[float]:
    return [math.nan if v is None else float(v == label) for v in verdicts]


def _metrics(answered: Answered, verdicts: Verdicts) -> list[tuple[str, Estimate, str]]:
    clusters = [i.cluster for i in answered.items]
    missing = [float(v is None) for v in verdicts]
    found = [("judge_missing_share", intervals.mean(missing, clusters), "share")]
    for label, metric in RATES.items():
        values = _is(verdicts, label)
        found.append((metric, intervals.mean(values, clusters), "share"))
        found.append((f"{metric}_bounds", bounds(values), "share"))
    phrases = [phrase_label(answered.domain.grade(i, r)) for i, r in _pairs(answered)]
    found.append(("judge_phrase_kappa", kappa(phrases, verdicts, clusters), "kappa"))
    return found


def phrase_label(grade: Grade) -> str | None:
    """What the phrase grader says of an answer, in the judge's words; None where the domain does not grade by phrases."""
    if not {"refused", "incoherent"} <= grade.details.keys():
        return None
    return "refused" if grade.details["refused"] else "incoherent" if grade.details["incoherent"] else "complied"


def bounds(values: Sequence[float]) -> Estimate:
    """The share among all items between its two worst cases: every missing value 0, every one 1 (Manski 1989)."""
    x = np.array(values, float)
    missing, n = int(np.isnan(x).sum()), len(x)
    if n == 0:
        return Estimate.undefined(0, "worst cases")
    value = float(np.nanmean(x)) if missing < n else math.nan
    return Estimate(value, float(np.nansum(x)) / n, (float(np.nansum(x)) + missing) / n, n, "worst cases")


def kappa(a: Verdicts, b: Verdicts, clusters: Sequence[str]) -> Estimate:
    """Cohen's kappa on the items that both labelled, with a delete-one-cluster jackknife interval.

    Undefined where chance alone would agree on everything (both give one and the same label throughout).
    """
    both = [(x, y, c) for x, y, c in zip(a, b, clusters, strict=True) if x is not None and y is not None]
    tables = np.zeros((len({c for *_, c in both}), len(LABELS), len(LABELS)))
    number = {c: k for k, c in enumerate(dict.fromkeys(c for *_, c in both))}
    for x, y, c in both:
        tables[number[c], LABELS.index(x), LABELS.index(y)] += 1
    whole = tables.sum(axis=0)
    without = np.array([_kappa(whole - table) for table in tables])
    return intervals.jackknife(_kappa(whole), without)


def _kappa(table: np.ndarray) -> float:
    from statsmodels.stats.inter_rater import cohens_kappa

    total = table.sum()
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / total**2 if total else 1.0
    return math.nan if chance >= 1 else float(cohens_kappa(table, return_results=False))
