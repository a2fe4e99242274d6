"""Scores per domain: strict = finish rate x parse rate x accuracy of the parsed, exactly; lenient beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from ...dynamics.statistics import intervals
from ...dynamics.types import Measurement
from ..domains import Domain, Grade, GradesMany
from ..protocol import Answered, Given, Needs, Result, item_rows

METRICS = {
    "score_strict": "strict",
    "score_lenient": "lenient",
    "finish_rate": "finished",
    "parse_rate": "parsed",
    "accuracy_of_parsed": "correct",
}


def grades_of(answered: Answered) -> list[Grade]:
    """The grades of all responses, at once where the domain grades many at once."""
    domain = answered.domain
    if isinstance(domain, GradesMany):
        return domain.grade_all(answered.items, answered.responses)
    return [domain.grade(i, r) for i, r in zip(answered.items, answered.responses, strict=True)]


def _caveat(grades: Sequence[Grade]) -> str:
    """What is to be said beside the scores where a grader failed, which is no fault of the answers."""
    failed = sum(g.details.get("grading_failed", 0.0) for g in grades)
    return f"{failed:,.0f} of {len(grades):,} answers could not be graded and count as not parsed" if failed else ""


class Scores:
    """Strict and lenient score, finish rate, parse rate among the finished, accuracy among the parsed."""

    name = "scores"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(domains))

    def measure(self, given: Given) -> Result:
        rows, items = [], []
        for name, answered in given.answered.items():
            grades = grades_of(answered)
            graded = getattr(answered.domain, "graded", True)
            clusters = [i.cluster for i in answered.items]
            caveat = _caveat(grades)
            values = {
                "strict": [float(g.strict) for g in grades],
                "lenient": [float(g.lenient) for g in grades],
                "finished": [float(g.finished) for g in grades],
                # each factor is defined where the one before it held
                "parsed": [float(g.parsed) if g.finished else math.nan for g in grades],
                "correct": [float(g.correct) if g.finished and g.parsed else math.nan for g in grades],
            }
            if not graded:  # what is right is for a model to say (probes.scorers)
                values = {column: values[column] for column in ("finished", "parsed")}
            for metric, column in METRICS.items():
                if column not in values:
                    continue
                estimate = intervals.mean(values[column], clusters)
                rows.append(Measurement(given.step, self.name, metric, estimate, "share", name, reason=caveat))
            items += item_rows(answered, values)
        return Result(rows, pd.DataFrame(items))
