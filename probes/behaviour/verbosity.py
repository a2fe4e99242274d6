"""How much is written: restricted means, cumulative incidence of finishing, thinking share, repetition (docs/metrics.md).

A response cut at the cap has no known length: lengths enter as min(length, tau), with tau the domain's cap, never as
"mean length"; a median is given only where more than half finish.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from ...dynamics import intervals
from ...dynamics.types import Estimate, Measurement
from ..domains import Domain
from ..protocol import Given, Needs, Result, item_rows

INCIDENCE_AT = (8, 16, 32, 64, 128, 256)


def repeated_share(words: Sequence[str], n: int = 4) -> float:
    """Share of n-grams that were written before in the same response; NaN below n + 1 words."""
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else math.nan


class Verbosity:
    name = "verbosity"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(domains))

    def measure(self, given: Given) -> Result:
        rows, items = [], []
        for name, answered in given.answered.items():
            tau = answered.domain.max_new_tokens
            responses = answered.responses
            clusters = [i.cluster for i in answered.items]
            tokens = [float(min(r.n_tokens, tau)) for r in responses]
            finished = [r.finished for r in responses]

            def add(metric: str, estimate: Estimate, unit: str, position: str = "", domain: str = name) -> None:
                rows.append(Measurement(given.step, self.name, metric, estimate, unit, domain, position=position))

            add("tokens_restricted_mean", intervals.mean(tokens, clusters), "tokens", f"tau={tau}")
            known = sum(finished) > len(finished) / 2  # else the median lies among the cut responses
            median = (
                intervals.median([t if f else math.inf for t, f in zip(tokens, finished, strict=True)])
                if known
                else None
            )
            add("tokens_median", median or Estimate.undefined(len(tokens), "order-statistic"), "tokens")
            for t in INCIDENCE_AT:
                if t <= tau:
                    by_t = [float(f and n <= t) for f, n in zip(finished, tokens, strict=True)]
                    add("finished_by", intervals.mean(by_t, clusters), "share", f"t={t}")
            thought = [float(r.thought) for r in responses]
            think = [float(len(r.think.split())) for r in responses]
            answer = [float(len(r.answer.split())) for r in responses]
            repeated = [repeated_share(r.text.split()) for r in responses]
            add("thinking_share", intervals.mean(thought, clusters), "share")
            add("think_tokens_restricted_mean", intervals.mean(think, clusters), "words")
            add("answer_tokens_restricted_mean", intervals.mean(answer, clusters), "words")
            add("repeated_4gram_share", intervals.mean(repeated, clusters), "share")
            items += item_rows(answered, {"tokens": tokens, "thought": thought, "repeated": repeated})
        return Result(rows, pd.DataFrame(items))
