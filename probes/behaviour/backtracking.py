"""Backtracking: structural (from the parsed search) with three denominators, lexical cues beside it (docs/metrics.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ...dynamics.statistics import intervals
from ...dynamics.storage import content_key
from ...dynamics.types import Estimate, Measurement
from ..domains import Domain, Response
from ..lexicon import BACKTRACKING, MICRO_WORLD, Families, families_of, find_cues
from ..protocol import Answered, Given, Needs, Result, item_rows
from ..search import Move, SearchDomain, SearchSummary, classify, summarise
from ..traces import SearchTrace


@dataclass(frozen=True)
class CueCounts:
    """Cue events (runs of cue words between two moves) against structural backtracks."""

    events: int
    followed: int  # the next move is a backtrack; equally the backtracks that a cue announces
    backtracks: int


def count_cues(words: Sequence[str], moves: Sequence[Move]) -> CueCounts:
    """Cue words of the micro-world against the structure of one trace."""
    cues = MICRO_WORLD[BACKTRACKING]
    return count_cues_at([i for i, w in enumerate(words) if w in cues], len(words), moves)


def count_cues_at(cues: Sequence[int], length: int, moves: Sequence[Move]) -> CueCounts:
    """Cues, as indices of words in a trace of `length` words, against its structure.

    Precision = followed / events, recall = followed / backtracks.
    """
    kinds = classify(moves)
    starts = [m.at for m in moves] + [length]
    followed = events = 0
    for i in range(len(moves) + 1):
        begin = 0 if i == 0 else starts[i - 1]
        has_cue = any(begin <= at < starts[i] for at in cues)
        goes_back = i < len(moves) and kinds[i] == "backtrack"
        events += has_cue
        followed += has_cue and goes_back
    return CueCounts(events, followed, kinds.count("backtrack"))


def top_share(counts: list[int], k: int = 3) -> float:
    """Share of the total that the k largest responses hold; NaN where the total is 0."""
    total = sum(counts)
    return sum(sorted(counts)[-k:]) / total if total else math.nan


def tokens_outside_backtracks(response: Response, trace: SearchTrace) -> float:
    """Tokens of a response but those of its backtracks: of each move that goes back, from its first word to the next move.

    The exposure of a rate of backtracking beyond length: without this, each backtrack would add to its own denominator. Words
    of the text stand for tokens in the proportion of the two. NaN for an empty response.
    """
    spans = pairwise([*(m.at for m in trace.moves), len(trace.words)])
    inside = sum(b - a for (a, b), kind in zip(spans, classify(trace.moves), strict=True) if kind == "backtrack")
    words = len(response.text.split())
    return response.n_tokens * (1 - inside / words) if words and response.n_tokens else math.nan


class Backtracking:
    """`cues`: families of cue words in place of the default ones, of which one is held against the structure."""

    name = "backtracking"
    version = 4

    def __init__(self, cues: Families | None = None) -> None:
        self.cues = cues or {}
        self.settings = content_key("cues", dict(self.cues)) if self.cues else ""

    @classmethod
    def configured(cls, config: Any) -> Backtracking:
        return cls(config.cues)

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(generations=tuple(n for n, d in domains.items() if isinstance(d, SearchDomain)))

    def measure(self, given: Given) -> Result:
        rows: list[Measurement] = []
        items: list[dict[str, object]] = []
        for answered in given.answered.values():
            more_rows, more_items = self._domain(given.step, answered)
            rows += more_rows
            items += more_items
        return Result(rows, pd.DataFrame(items))

    def _domain(self, step: int, answered: Answered) -> tuple[list[Measurement], list[dict[str, object]]]:
        domain, traces = answered.domain, answered.traces
        found: list[SearchSummary] = [summarise(t.moves) for t in traces]
        phrases = families_of(domain, self.cues).get(BACKTRACKING, ())
        cues = [count_cues_at(find_cues(domain, t.text, phrases), len(t.words), t.moves) for t in traces]
        tokens = np.array([r.n_tokens for r in answered.responses], float)
        clusters = [i.cluster for i in answered.items]

        def column(name: str) -> np.ndarray:
            return np.array([getattr(s, name) for s in found], float)

        def cue_column(name: str) -> np.ndarray:
            return np.array([getattr(c, name) for c in cues], float)

        backtracks, loops, moves = column("backtracks"), column("loops"), column("moves")
        opportunities, dead_ends = column("opportunities"), column("terminal_opportunities")
        inner, inner_left = opportunities - dead_ends, column("left") - column("terminal_left")
        stuck = opportunities > 0
        ratio, mean = intervals.ratio, intervals.mean
        share, per_1k = "share", "per 1k tokens"
        top = top_share([s.backtracks for s in found])
        metrics: list[tuple[str, Estimate, str]] = [
            # three denominators: a response, a thousand tokens, an opportunity
            ("backtracks_per_response", mean(backtracks, clusters), "count"),
            ("backtracks_median", intervals.median(backtracks), "count"),
            ("backtrack_prevalence", mean((backtracks > 0).astype(float), clusters), share),
            ("backtracks_per_1k_tokens", ratio(1000 * backtracks, tokens, clusters), per_1k),
            ("backtracks_per_opportunity", ratio(column("left"), opportunities, clusters), share),
            ("backtracks_per_terminal_opportunity", ratio(column("terminal_left"), dead_ends, clusters), share),
            ("backtracks_per_inner_opportunity", ratio(inner_left, inner, clusters), share),
            ("give_up_rate", mean(np.where(stuck, [float(s.gave_up) for s in found], np.nan), clusters), share),
            ("depth_returned", ratio(column("depth_returned"), backtracks, clusters), "levels"),
            ("moves_valid_share", ratio(column("valid"), moves, clusters), share),
            ("loops_per_response", mean(loops, clusters), "count"),
            ("duplicate_branch_share", ratio(loops, moves, clusters), share),
            ("solved_in_trace", mean(np.where(moves > 0, column("solved"), np.nan), clusters), share),
            ("solved_after_backtrack", ratio(column("solved_after_backtrack"), column("solved"), clusters), share),
            ("backtracks_top3_share", Estimate(top, math.nan, math.nan, len(found), "exact"), share),
            # the lexical stand-in, with what it is worth at this very checkpoint
            ("cues_per_1k_tokens", ratio(1000 * cue_column("events"), tokens, clusters), per_1k),
            ("cue_precision", ratio(cue_column("followed"), cue_column("events"), clusters), share),
            ("cue_recall", ratio(cue_column("followed"), cue_column("backtracks"), clusters), share),
        ]
        rows = [Measurement(step, self.name, m, e, unit, domain.name) for m, e, unit in metrics]
        values = {
            "backtracks": list(backtracks),
            "loops": list(loops),
            "opportunities": list(opportunities),
            "opportunities_left": list(column("left")),
            "cues": list(cue_column("events")),
            "tokens_outside_backtracks": [
                tokens_outside_backtracks(r, t) for r, t in zip(answered.responses, traces, strict=True)
            ],
        }
        return rows, item_rows(answered, values)
