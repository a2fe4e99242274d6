"""Does the model know when it is right? Confidence in its answers against their correctness; entropy of what it writes.

At few items even a perfectly calibrated model has a calibration error well above 0: the error stands beside what perfect
calibration would give with these very confidences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...dynamics.separation import auc
from ...dynamics.statistics import intervals
from ...dynamics.types import Estimate, Measurement
from ..domains import Domain, Response
from ..protocol import Answered, Given, Needs, Result, Scored, item_rows

BINS, PER_BIN = 10, 20  # at most so many bins, of at least so many answers
NULL_DRAWS = 1000
OPENING = 4  # tokens of an answer
GROUPS = ("id_reasoning", "ood_reasoning", "general")


def calibration_error(
    confidence_N: NDArray, correct_N: NDArray, clusters: Sequence[object], *, bins: int | None = None
) -> Estimate:
    """Expected calibration error: mean over equal-mass bins of |mean confidence - share right| (Naeini et al. 2015).

    Jackknife over clusters with the bins held fixed. The estimate is biased upwards, more so the fewer the answers:
    `calibration_null` says how much.
    """
    n = len(confidence_N)
    if n == 0:
        return Estimate.undefined(0, "jackknife-t")
    excess_NB = _by_bin(confidence_N, bins) * (confidence_N - correct_N)[:, None]
    value = float(np.abs(excess_NB.sum(0)).sum() / n)
    totals_CB, sizes = intervals.cluster_totals(excess_NB, clusters)
    units = len(sizes)
    if units < 2:
        return Estimate(value, math.nan, math.nan, units, "jackknife-t")
    without = np.abs(excess_NB.sum(0) - totals_CB).sum(1) / (n - sizes)
    e = intervals.mean(units * value - (units - 1) * without)  # pseudo-values
    shift = value - e.value
    return Estimate(value, max(e.lo + shift, 0.0), min(e.hi + shift, 1.0), units, "jackknife-t")


def calibration_null(
    confidence_N: NDArray, clusters: Sequence[object], *, bins: int | None = None, seed: int = 0
) -> NDArray:
    """Calibration errors of answers that are right exactly as often as the confidence says [draws].

    Answers of one cluster are right together as far as their confidences allow, which makes the null wide, not narrow.
    """
    _, unit = np.unique(np.asarray(clusters), return_inverse=True)
    luck_RN = np.random.default_rng(seed).random((NULL_DRAWS, int(unit.max(initial=-1)) + 1))[:, unit]
    excess_RN = confidence_N - (luck_RN < confidence_N)
    n = len(confidence_N)
    return np.abs(excess_RN @ _by_bin(confidence_N, bins)).sum(1) / n if n else np.full(NULL_DRAWS, np.nan)


def _by_bin(confidence_N: NDArray, bins: int | None) -> NDArray:
    """Membership of equal-mass bins, 0/1 [answers, bins]."""
    n = len(confidence_N)
    bins = bins or max(1, min(BINS, n // PER_BIN))
    member = np.zeros((n, bins))
    for b, rows in enumerate(np.array_split(np.argsort(confidence_N, kind="stable"), bins)):
        member[rows, b] = 1
    return member


def answer_from(response: Response) -> int:
    """The first of the tokens written that belongs to the answer part; their number where no answer was begun."""
    return max(0, response.n_tokens - (response.n_answer_tokens or 0))


class Calibration:
    name = "calibration"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        graded = tuple(n for n, d in domains.items() if d.group in GROUPS)
        return Needs(generations=graded, scores=graded)

    def measure(self, given: Given) -> Result:
        rows: list[Measurement] = []
        items: list[dict[str, object]] = []
        for name, scored in given.scored.items():
            more_rows, more_items = self._domain(given.step, given.answered[name], scored)
            rows += more_rows
            items += more_items
        return Result(rows, pd.DataFrame(items))

    def _domain(
        self, step: int, answered: Answered, scored: Scored
    ) -> tuple[list[Measurement], list[dict[str, object]]]:
        rows: list[Measurement] = []
        graded = zip(answered.items, answered.responses, strict=True)
        correct = np.array([float(answered.domain.grade(i, r).strict) for i, r in graded])
        clusters = np.array([i.cluster for i in answered.items])

        def add(metric: str, estimate: Estimate, unit: str, position: str = "") -> None:
            rows.append(Measurement(step, self.name, metric, estimate, unit, answered.domain.name, position=position))

        # of finished responses: one that is cut off has given no answer, or none that is whole
        starts = [answer_from(r) for r in answered.responses]
        answers = [
            lp[at:].astype(np.float64) if r.finished and at < r.n_tokens else np.empty(0)
            for lp, at, r in zip(scored.logprobs, starts, answered.responses, strict=True)
        ]
        given = np.array([len(a) > 0 for a in answers])
        values: dict[str, list[float]] = {}
        for position, of in (("whole answer", np.sum), ("per token", np.mean)):
            confidence = np.exp(np.array([float(of(a)) if len(a) else np.nan for a in answers]))
            values["confidence_" + position.replace(" ", "_")] = list(confidence)
            c, y, ids = confidence[given], correct[given], clusters[given]
            null = calibration_null(c, ids)
            p95 = Estimate(float(np.quantile(null, 0.95)), math.nan, math.nan, len(set(ids)), "simulation")
            add("answer_confidence", intervals.mean(c, ids), "share", position)
            add("answer_overconfidence", intervals.paired_difference(c, y, ids), "share", position)
            add("calibration_error", calibration_error(c, y, ids), "share", position)
            add("calibration_error_null_p95", p95, "share", position)
            add("brier_score", intervals.mean((c - y) ** 2, ids), "squared share", position)
            add("confidence_auc", auc(c, y == 1, ids), "auc", position)

        def entropy(metric: str, parts: Sequence[NDArray]) -> None:
            """Mean over tokens, as a ratio of sums."""
            sums, counts = [float(p.sum(dtype=np.float64)) for p in parts], [len(p) for p in parts]
            add(metric, intervals.ratio(sums, counts, clusters), "nats per token")

        of_answer = []
        for h, at, r in zip(scored.entropies, starts, answered.responses, strict=True):
            of_answer.append(h[at:] if at < r.n_tokens else h[:0])
        entropy("thinking_entropy", [h[:at] for h, at in zip(scored.entropies, starts, strict=True)])
        entropy("answer_entropy", of_answer)
        entropy("answer_opening_entropy", [h[:OPENING] for h in of_answer])
        return rows, item_rows(answered, values)
