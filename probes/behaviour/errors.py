"""Why responses are wrong: unfinished, format, arithmetic, illegal, exploration. The shares sum to 1 - strict."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...dynamics.statistics import intervals
from ...dynamics.types import Measurement
from ..domains import Domain
from ..mistakes import MISTAKES, Diagnosing, mistake
from ..protocol import Given, Needs, Result, item_rows


class Errors:
    """Shares of all responses, in domains that can say what is wrong with an answer."""

    name = "errors"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(n for n, d in domains.items() if isinstance(d, Diagnosing)))

    def measure(self, given: Given) -> Result:
        rows, items = [], []
        for name, answered in given.answered.items():
            found = [mistake(answered.domain, i, r) for i, r in zip(answered.items, answered.responses, strict=True)]
            clusters = [i.cluster for i in answered.items]
            values = {f"error_{kind}": [float(f == kind) for f in found] for kind in MISTAKES}
            for metric, column in values.items():
                estimate = intervals.mean(column, clusters)
                rows.append(Measurement(given.step, self.name, metric, estimate, "share", name))
            items += item_rows(answered, values)
        return Result(rows, pd.DataFrame(items))
