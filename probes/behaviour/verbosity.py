"""How much is written: restricted means, incidence of finishing and of looping, thinking and answer, repetition, steps.

A response cut at the cap has no known length: lengths enter as min(length, tau), one tau for all that are compared, never as
"mean length"; a median is given only where more than half finish (docs/metrics.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from ...dynamics.statistics import intervals
from ...dynamics.storage import content_key
from ...dynamics.types import Estimate, Measurement
from ..domains import Domain, Response
from ..protocol import Answered, Given, Needs, Result, item_rows
from ..repetition import WINDOW, distinct_in_windows, distinct_share, loop_start
from ..search import SearchDomain

INCIDENCE_AT = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
KEPT = (
    "tokens",
    "thought",
    "think_tokens",
    "answer_tokens",
    "looped",
    "repeated",
    "steps",
    "trace_tokens",
)  # item by item
Values = dict[str, list[float]]


@runtime_checkable
class Stepwise(Protocol):
    """A domain without search whose traces go in steps."""

    def count_steps(self, reference: dict[str, Any], think: str) -> int: ...


class Verbosity:
    """`tau`: by domain, the length at which all that is compared is cut; its cap where none is given."""

    name = "verbosity"
    version = 2

    def __init__(self, tau: Mapping[str, int] | None = None) -> None:
        self.tau = tau or {}
        self.settings = content_key("tau", dict(self.tau)) if self.tau else ""

    @classmethod
    def configured(cls, config: Any) -> Verbosity:
        return cls(config.tau)

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(domains))

    def measure(self, given: Given) -> Result:
        rows, items = [], []
        for name, answered in given.answered.items():
            tau = min(self.tau.get(name, answered.domain.max_new_tokens), answered.domain.max_new_tokens)
            clusters = [i.cluster for i in answered.items]
            values = {**_lengths(answered.responses, tau), **_repetition(answered.responses), **_steps(answered, tau)}
            metrics = [*_length_metrics(values, clusters, tau), *_other_metrics(values, clusters, tau)]
            rows += [Measurement(given.step, self.name, m, e, unit, name, position=at) for m, e, unit, at in metrics]
            items += item_rows(answered, {k: v for k, v in values.items() if k in KEPT})
        return Result(rows, pd.DataFrame(items))


# ---------------------------------------------------------------- a value an item


def _lengths(responses: list[Response], tau: int) -> Values:
    """Lengths cut at tau; `looped_at`: tokens before the loop in which a cut response ends, infinite where there is none."""
    looped = [_looped_at(r) for r in responses]
    return {
        "tokens": [float(min(r.n_tokens, tau)) for r in responses],
        "finished_by_tau": [float(r.finished and r.n_tokens <= tau) for r in responses],
        "thought": [float(r.thought) for r in responses],
        "think_tokens": [_cut(r.n_think_tokens, tau) for r in responses],
        "answer_tokens": [_cut(r.n_answer_tokens, tau) for r in responses],
        "looped": [float(at < tau) for at in looped],
        "looped_at": looped,
    }


def _cut(n: int | None, tau: int) -> float:
    return math.nan if n is None else float(min(n, tau))


def _looped_at(response: Response) -> float:
    """A response that stopped by itself is no loop, whatever it repeats at its end."""
    if response.finished:
        return math.inf
    units = response.token_ids or response.text.split()
    start = loop_start(units)
    return math.inf if start is None else start * response.n_tokens / len(units)


def _repetition(responses: list[Response]) -> Values:
    words = [r.text.split() for r in responses]
    return {
        "repeated": [1 - distinct_share(w, 4) for w in words],
        **{f"distinct_{n}": [distinct_share(w, n) for w in words] for n in (1, 2, 3)},
        "distinct_2_windowed": [distinct_in_windows(w, 2) for w in words],
    }


def _steps(answered: Answered, tau: int) -> Values:
    """Steps of each response, NaN where it has none, and tokens of those that have; nothing for domains without traces."""
    domain = answered.domain
    if isinstance(domain, SearchDomain):
        steps = [sum(not m.unfinished and not m.again for m in t.moves) for t in answered.traces]
    elif isinstance(domain, Stepwise):
        pairs = zip(answered.items, answered.responses, strict=True)
        steps = [domain.count_steps(i.reference, r.think) for i, r in pairs]
    else:
        return {}
    tokens = [min(r.n_tokens, tau) for r in answered.responses]
    return {
        "steps": [float(s) if s else math.nan for s in steps],
        "trace_tokens": [float(t) if s else math.nan for s, t in zip(steps, tokens, strict=True)],
    }


# ---------------------------------------------------------------- metrics: (name, estimate, unit, position)

Metric = tuple[str, Estimate, str, str]


def _length_metrics(values: Values, clusters: list[str], tau: int) -> list[Metric]:
    tokens, finished = values["tokens"], values["finished_by_tau"]
    known = sum(finished) > len(finished) / 2  # else the median lies among the cut responses
    ordered = [t if f else math.inf for t, f in zip(tokens, finished, strict=True)]
    median = intervals.median(ordered) if known else Estimate.undefined(len(tokens), "order-statistic")
    found: list[Metric] = [
        ("tokens_restricted_mean", intervals.mean(tokens, clusters), "tokens", f"tau={tau}"),
        ("tokens_median", median, "tokens", ""),
        ("think_tokens_restricted_mean", intervals.mean(values["think_tokens"], clusters), "tokens", f"tau={tau}"),
        ("answer_tokens_restricted_mean", intervals.mean(values["answer_tokens"], clusters), "tokens", f"tau={tau}"),
        ("thinking_share", intervals.mean(values["thought"], clusters), "share", ""),
        ("loop_share", intervals.mean(values["looped"], clusters), "share", ""),
    ]
    # Ends that compete: a response that loops will not finish. All others are cut at one length, so shares are incidences.
    for t in (t for t in INCIDENCE_AT if t <= tau):
        finished_by = [float(f and n <= t) for f, n in zip(finished, tokens, strict=True)]
        looped_by = [float(at <= t) for at in values["looped_at"]]
        found.append(("finished_by", intervals.mean(finished_by, clusters), "share", f"t={t}"))
        found.append(("looped_by", intervals.mean(looped_by, clusters), "share", f"t={t}"))
    return found


def _other_metrics(values: Values, clusters: list[str], tau: int) -> list[Metric]:
    def mean(column: str) -> Estimate:
        return intervals.mean(values[column], clusters)

    found: list[Metric] = [("repeated_4gram_share", mean("repeated"), "share", "")]
    found += [("distinct_share", mean(f"distinct_{n}"), "share", f"n={n}") for n in (1, 2, 3)]
    found.append(("distinct_share_windowed", mean("distinct_2_windowed"), "share", f"n=2, words={WINDOW}"))
    if "steps" in values:
        traced = [float(not math.isnan(s)) for s in values["steps"]]
        per_step = intervals.ratio(values["trace_tokens"], values["steps"], clusters)
        found += [
            ("trace_share", intervals.mean(traced, clusters), "share", ""),
            ("trace_tokens_restricted_mean", mean("trace_tokens"), "tokens", f"tau={tau}"),
            ("steps_per_trace", mean("steps"), "steps", ""),
            ("tokens_per_step", per_step, "tokens", ""),
        ]
    return found
