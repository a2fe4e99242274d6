"""Does the thinking carry the answer? The model's own thinking cut at fractions of its length, and the answer forced there.

The same questions and the same thinking at every fraction: filler does not move the curve, a procedure does. Long thinking
against short over responses would not tell, since hard questions are thought about for longer and solved less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ...dynamics.statistics import intervals
from ...dynamics.types import Estimate, Measurement
from ..domains import THINK_CLOSE, THINK_OPEN, Domain, Item, Response
from ..protocol import Answered, Ask, Given, Handle, Needs, Result

ITEMS = 64  # questions a domain, of which those count that the model thinks about
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
GROUPS = ("id_reasoning", "ood_reasoning")


def cut(thinking: str, fraction: float) -> str:
    """The first words of a text, so many as make up the fraction (rounded down)."""
    ends = [0, *(m.end() for m in re.finditer(r"\S+", thinking))]
    return thinking[: ends[int(fraction * (len(ends) - 1))]]


def closed(thinking: str) -> str:
    """A turn that begins with this thinking, at its end."""
    return f"{THINK_OPEN}\n{thinking}\n{THINK_CLOSE}\n\n"


def slopes(correct_IF: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Least-squares slope over the fractions for each question [items]: gain in share for the whole of the thinking."""
    x = np.asarray(fractions) - np.mean(fractions)
    return correct_IF @ x / (x @ x)


class Budget:
    name = "budget"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        reasoning = tuple(Ask(n, temperature=0.0) for n, d in domains.items() if d.group in GROUPS)
        return Needs(generations=reasoning, intervention=bool(reasoning))

    def measure(self, given: Given) -> Result:
        rows: list[Measurement] = []
        for answered in given.answered.values():
            assert given.handle is not None
            rows += self._domain(given.step, given.handle, answered)
        return Result(rows)

    def _domain(self, step: int, handle: Handle, answered: Answered) -> list[Measurement]:
        name = answered.domain.name
        pairs = list(zip(answered.items[:ITEMS], answered.responses[:ITEMS], strict=True))
        thought = [(i, r) for i, r in pairs if r.thought]
        items, responses = [i for i, _ in thought], [r for _, r in thought]
        clusters = [i.cluster for i in items]
        reason = "" if thought else "no response thinks"
        correct_IF = np.stack([_correct(handle, answered.domain, items, responses, f) for f in FRACTIONS], axis=1)
        rows = []
        for fraction, column in zip(FRACTIONS, correct_IF.T, strict=True):
            at = f"fraction={fraction:g}"
            estimate = intervals.mean(column, clusters)
            rows.append(
                Measurement(step, self.name, "budget_accuracy", estimate, "share", name, position=at, reason=reason)
            )
        slope = slopes(correct_IF, FRACTIONS)
        estimate = intervals.paired_difference(slope, np.zeros_like(slope), clusters)
        estimate = Estimate(estimate.value, estimate.lo, estimate.hi, estimate.n, "per-item least squares, t")
        rows.append(
            Measurement(step, self.name, "budget_slope", estimate, "share per whole thinking", name, reason=reason)
        )
        return rows


def _correct(
    handle: Handle, domain: Domain, items: Sequence[Item], responses: Sequence[Response], fraction: float
) -> np.ndarray:
    """Whether the answer is right where the thinking ends at a fraction of its length, 0/1 [items].

    With the whole of its thinking a model answers as it did, where it came to answer.
    """
    given = {k: r for k, r in enumerate(responses) if fraction == 1 and r.answer}
    open_ = [k for k in range(len(items)) if k not in given]
    longest = max((len(handle.tokens(r.answer)) for r in responses), default=0)
    forced = handle.ask(
        domain.name,
        [items[k] for k in open_],
        begins=[closed(cut(responses[k].think, fraction)) for k in open_],
        max_new_tokens=2 * longest + 8,
    )
    given |= dict(zip(open_, forced, strict=True))
    return np.array([domain.grade(i, given[k]).strict for k, i in enumerate(items)], float)
