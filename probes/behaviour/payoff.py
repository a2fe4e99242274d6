"""Does going back pay? Several samples a question: those that went back at a dead end against those that did not.

The same samples give the noise floor: how far a score moves when the same checkpoint is asked twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...dynamics.procedure.payoff import METRIC, matched_payoff
from ...dynamics.statistics import intervals
from ...dynamics.types import Estimate, Measurement
from ..domains import Domain
from ..protocol import Answered, Ask, Given, Needs, Result
from ..search import SearchDomain, summarise

SAMPLES, TEMPERATURE, ITEMS = 4, 0.7, 50


def asked(domain: str) -> Ask:
    return Ask(domain, samples=SAMPLES, temperature=TEMPERATURE, items=ITEMS)


def response_table(answered: Answered) -> pd.DataFrame:
    """A row a response: item, cluster, went_back, correct, dead_end (NaN where a solver could not tell)."""
    rows = []
    for item, response, trace in zip(answered.items, answered.responses, answered.traces, strict=True):
        found = summarise(trace.moves)
        dead_end = math.nan if math.isnan(found.opportunities) else float(found.opportunities > 0)
        correct = float(answered.domain.grade(item, response).strict)
        rows.append((item.id, item.cluster, float(found.backtracks > 0), correct, dead_end))
    return pd.DataFrame(rows, columns=["item", "cluster", "went_back", "correct", "dead_end"])


def noise_floor(scores_IS: np.ndarray, clusters: list[str]) -> tuple[Estimate, Estimate]:
    """(SD of a score of one sample an item, from sampling alone; first half of the samples minus the second).

    `scores_IS` [items, samples], two samples or more. The SD is sqrt(mean within-item variance / items).
    """
    n, samples = scores_IS.shape
    spread = intervals.mean(scores_IS.var(axis=1, ddof=1), clusters)
    value, lo, hi = (math.sqrt(max(x, 0.0) / n) for x in (spread.value, spread.lo, spread.hi))
    sd = Estimate(value, lo, hi, spread.n, spread.method)
    half = samples // 2
    first, second = scores_IS[:, :half].mean(1), scores_IS[:, half : 2 * half].mean(1)
    return sd, intervals.paired_difference(first, second, clusters)


class Payoff:
    name = "payoff"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(asked(n) for n, d in domains.items() if isinstance(d, SearchDomain)))

    def measure(self, given: Given) -> Result:
        rows: list[Measurement] = []
        tables = []
        for answered in given.answered.values():
            name, table = answered.domain.name, response_table(answered)
            tables.append(table)
            rows.append(self._payoff(given.step, table, name))
            scores_IS = table["correct"].to_numpy().reshape(-1, SAMPLES)
            sd, twice = noise_floor(scores_IS, list(table["cluster"][::SAMPLES]))
            position = f"items={len(scores_IS)}"
            rows.append(Measurement(given.step, self.name, "score_noise_sd", sd, "share", name, position=position))
            rows.append(Measurement(given.step, self.name, "score_half_difference", twice, "share", name))
        if tables:
            rows.append(self._payoff(given.step, pd.concat(tables), "", "all search domains"))
        return Result(rows)

    def _payoff(self, step: int, table: pd.DataFrame, domain: str, position: str = "") -> Measurement:
        estimate = matched_payoff(table)
        reason = "" if estimate.defined else "no question has responses with and without going back at a dead end"
        return Measurement(step, self.name, METRIC, estimate, "share", domain, position=position, reason=reason)
