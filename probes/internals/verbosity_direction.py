"""The verbosity direction: what the state at the prompt's end says of the length of the response, at all layers.

Thinking and direct responses are fitted apart (the choice between them would pass for a plan of length), each on the
checkpoint's own responses that ended by themselves: a cut response has no known length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...dynamics.types import Estimate, Measurement
from ..domains import Domain, Response
from ..protocol import LAST_PROMPT, Answered, Captured, Direction, Given, Needs, Result
from . import directions as d
from . import length_readout as lr
from .nulls import DRAWS, Q, matched_directions

KINDS = {"thinking": True, "direct": False}
Found = tuple[str, Estimate, str, int, str]  # what, estimate, unit, layer, caveat


@dataclass(frozen=True)
class Lengths:
    """Responses of one kind that ended by themselves: their rows in the prompt set, log tokens, strata."""

    row: np.ndarray
    log: np.ndarray
    stratum: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    @property
    def why_not(self) -> str:
        """Why no readout can be fitted; empty where one can."""
        if len(self) < lr.MIN_ROWS:
            return f"fewer than {lr.MIN_ROWS} such responses of known length at levels where it varies: {len(self)}"
        return ""

    @property
    def usable(self) -> bool:
        return not self.why_not


def lengths(answered: Mapping[str, Answered], captured: Captured, thought: bool) -> Lengths:
    """Finished responses of one kind to the questions of the set, in strata that have enough of them, of unlike lengths."""
    by_item: dict[str, tuple[str, Response]] = {
        item.id: (f"{name} {item.level}", response)
        for name, a in answered.items()
        for item, response in zip(a.items, a.responses, strict=True)
    }
    found = [
        (row, math.log(max(response.n_tokens, 1)), stratum)
        for row, item in enumerate(captured.prompts.items)
        if item.id in by_item
        for stratum, response in (by_item[item.id],)
        if response.finished and response.thought == thought
    ]
    row, log, stratum = (np.array(column) for column in zip(*found, strict=True)) if found else [np.empty(0)] * 3
    kept = lr.telling(log, stratum)
    return Lengths(row[kept].astype(int), log[kept].astype(float), stratum[kept])


class VerbosityDirection:
    """Ridge from the prompt-end state to log tokens, within domain and level; frozen at the base and refit."""

    name = "verbosity_direction"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(domains), activations=("questions",), base=True, base_answers=True)

    def measure(self, given: Given) -> Result:
        now, base = given.captured["questions"], given.base_captured["questions"]
        rows: list[Measurement] = []
        directions: dict[str, Direction] = {}
        for kind, thought in KINDS.items():
            of_now, of_base = lengths(given.answered, now, thought), lengths(given.base_answered, base, thought)
            concept = f"verbosity_{kind}"
            rows += [
                Measurement(given.step, self.name, f"{concept}_{what}", e, unit, "", layer, LAST_PROMPT, reason=reason)
                for what, e, unit, layer, reason in _Kind(now, base, of_now, of_base).found()
            ]
            if of_now.usable:
                vectors = [readout(now, of_now, column).vector for column in range(len(now.layers))]
                directions[concept] = Direction(d.unit(np.stack(vectors)), now.layers, LAST_PROMPT)
        return Result(rows, directions=directions)


def readout(captured: Captured, of: Lengths, column: int) -> lr.Readout:
    prompts, acts = captured.prompts, captured.acts_NLD[of.row, column]
    return lr.Readout(acts, of.log, of.stratum, prompts.half[of.row], prompts.group[of.row])


class _Kind:
    """All that is said of one kind of response, at the checkpoint and against the base."""

    def __init__(self, now: Captured, base: Captured, of_now: Lengths, of_base: Lengths) -> None:
        self.now, self.base, self.of_now, self.of_base = now, base, of_now, of_base
        self.group, self.base_group = now.prompts.group[of_now.row], base.prompts.group[of_base.row]

    def found(self) -> Iterator[Found]:
        for column, layer in enumerate(self.now.layers):
            for what, (estimate, reason) in self._at(column).items():
                unit = "cosine" if what.startswith("cosine") else what.partition("_")[0]
                yield what, estimate, unit, layer, reason
        for what, estimate in self._baselines().items():
            yield what, estimate, "r2", -1, self.of_now.why_not

    def _at(self, column: int) -> dict[str, tuple[Estimate, str]]:
        one, other = self.of_now, self.of_base
        nothing = Estimate.undefined(len(one), "none")
        names = ("r2_refit", "spearman_refit", "spearman_frozen", "cosine_to_base", "cosine_null_p99")
        if not one.usable:
            return dict.fromkeys(names, (nothing, one.why_not))
        at_now = self.now.acts_NLD[one.row, column]
        refit = lr.grouped_predictions(at_now, one.log, one.stratum, self.group)
        out = {
            "r2_refit": (lr.r_squared(*refit, self.group), ""),
            "spearman_refit": (lr.rank_correlation(*refit, self.group), ""),
        }
        if not other.usable:
            return out | dict.fromkeys(names[2:], (nothing, f"the base: {other.why_not}"))
        at_base, read = self.base.acts_NLD[other.row, column], (at_now, one.log, one.stratum, self.group)
        frozen = lr.grouped_predictions(at_base, other.log, other.stratum, self.base_group, read)
        of_now, of_base = readout(self.now, one, column), readout(self.base, other, column)
        cosine = lr.corrected_cosine(of_now, of_base)
        rng = np.random.default_rng(0)
        weights = rng.standard_normal((DRAWS, len(one))).astype(np.float32)
        by_chance = np.abs(matched_directions(at_now, one.stratum, weights, rng) @ d.unit(of_base.vector))
        p99 = Estimate(float(np.quantile(by_chance, Q)), math.nan, math.nan, DRAWS, "covariance-matched")
        return out | {
            "spearman_frozen": (lr.rank_correlation(*frozen, self.group), ""),
            "cosine_to_base": (cosine, "" if cosine.defined else f"reliability below {d.MIN_RELIABILITY}"),
            "cosine_null_p99": (p99, ""),
        }

    def _baselines(self) -> dict[str, Estimate]:
        """What difficulty explains, and what prompt length and input embeddings explain within it."""
        of, prompts = self.of_now, self.now.prompts
        if not of.usable:
            names = ("baseline_difficulty_r2", "baseline_length_r2", "baseline_embedding_r2")
            return dict.fromkeys(names, Estimate.undefined(len(of), "none"))
        words = np.log([[len(prompts.items[row].prompt.split())] for row in of.row])
        same = np.zeros(len(of), int)
        by_level, by_length, by_embedding = (
            lr.r_squared(*lr.grouped_predictions(x, of.log, stratum, self.group), self.group)
            for x, stratum in (
                (lr.indicators(of.stratum), same),
                (words, of.stratum),
                (self.now.embedded_ND[of.row], of.stratum),
            )
        )
        return {
            "baseline_difficulty_r2": by_level,
            "baseline_length_r2": by_length,
            "baseline_embedding_r2": by_embedding,
        }
