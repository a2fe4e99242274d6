"""Verification: explicit verdicts on computed states, how many, and whether they are true (docs/metrics.md).

Nearly every state of a search misses the target, so that a model which always says "no" is nearly always right: what a "yes" is
worth, and how many hits are seen, stand beside the accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...dynamics.statistics import intervals
from ...dynamics.types import Estimate, Measurement
from ..comparisons import count_terminal
from ..domains import Domain
from ..protocol import Answered, Given, Needs, Result, item_rows
from ..search import SearchDomain


class Verification:
    name = "verification"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(n for n, d in domains.items() if isinstance(d, SearchDomain)))

    def measure(self, given: Given) -> Result:
        rows: list[Measurement] = []
        items: list[dict[str, object]] = []
        for name, answered in given.answered.items():
            metrics, values = _domain(answered)
            rows += [Measurement(given.step, self.name, m, e, unit, name) for m, e, unit in metrics]
            items += item_rows(answered, values)
        return Result(rows, pd.DataFrame(items))


def _domain(answered: Answered) -> tuple[list[tuple[str, Estimate, str]], dict[str, list[float]]]:
    """(metric, estimate, unit), and the counts of each item."""
    said = [t.comparisons for t in answered.traces]
    clusters = [i.cluster for i in answered.items]

    def count(of: str) -> np.ndarray:
        tests = {
            "all": lambda _c: True,
            "terminal": lambda c: c.terminal,
            "true": lambda c: c.yes == c.reached,
            "yes": lambda c: c.yes,
            "true yes": lambda c: c.yes and c.reached,
            "reached": lambda c: c.reached,
        }
        return np.array([sum(map(tests[of], comparisons)) for comparisons in said], float)

    terminal = np.array([count_terminal(t.moves) for t in answered.traces], float)
    tokens = np.array([r.n_tokens for r in answered.responses], float)
    ratio = intervals.ratio
    metrics = [
        ("verifications_per_response", intervals.mean(count("all"), clusters), "count"),
        ("verifications_per_1k_tokens", ratio(1000 * count("all"), tokens, clusters), "per 1k tokens"),
        ("verifications_per_terminal_state", ratio(count("terminal"), terminal, clusters), "per state"),
        ("verification_accuracy", ratio(count("true"), count("all"), clusters), "share"),
        ("verification_yes_precision", ratio(count("true yes"), count("yes"), clusters), "share"),
        ("verification_yes_recall", ratio(count("true yes"), count("reached"), clusters), "share"),
    ]
    return metrics, {"verifications": list(count("all")), "verifications_true": list(count("true"))}
