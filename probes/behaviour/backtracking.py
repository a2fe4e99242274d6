"""Backtracking: structural (from the parsed search) with three denominators, lexical cues beside it (docs/metrics.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from ...dynamics import intervals
from ...dynamics.types import Estimate, Measurement
from ..domains import Domain, Response
from ..protocol import Answered, Given, Needs, Result, item_rows
from ..search import Move, SearchSummary, classify, summarise

CUES = ("no", "back", "wait")  # the words with which a micro-world trace turns round
PUNCTUATION = ".,;:!?…()*_`\"'"  # round the words of free text


@runtime_checkable
class SearchDomain(Protocol):
    """A domain whose traces can be read as moves between states."""

    def read_trace(self, reference: dict, think: str) -> list[Move]: ...


@runtime_checkable
class FreeText(Protocol):
    """A search domain in free text: it says where the search stands, and which words are cues there."""

    cues: tuple[str, ...]

    def thinking(self, response: Response) -> str: ...


@dataclass(frozen=True)
class CueCounts:
    """Cue events (runs of cue words between two moves) against structural backtracks."""

    events: int
    followed: int  # the next move is a backtrack; equally the backtracks that a cue announces
    backtracks: int


def count_cues(words: list[str], moves: list[Move], cues: tuple[str, ...] = CUES) -> CueCounts:
    """Cue words against the structure of one trace: precision = followed / events, recall = followed / backtracks."""
    kinds = classify(moves)
    starts = [m.at for m in moves] + [len(words)]
    followed = events = 0
    for i in range(len(moves) + 1):
        begin = 0 if i == 0 else starts[i - 1]
        has_cue = any(w in cues for w in words[begin : starts[i]])
        goes_back = i < len(moves) and kinds[i] == "backtrack"
        events += has_cue
        followed += has_cue and goes_back
    return CueCounts(events, followed, kinds.count("backtrack"))


def top_share(counts: list[int], k: int = 3) -> float:
    """Share of the total that the k largest responses hold; NaN where the total is 0."""
    total = sum(counts)
    return sum(sorted(counts)[-k:]) / total if total else math.nan


class Backtracking:
    name = "backtracking"
    version = 3

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
        domain = answered.domain
        assert isinstance(domain, SearchDomain)
        free = domain if isinstance(domain, FreeText) else None
        thinking = [free.thinking(r) if free else r.think for r in answered.responses]
        traces = [domain.read_trace(i.reference, t) for i, t in zip(answered.items, thinking, strict=True)]
        found: list[SearchSummary] = [summarise(t) for t in traces]
        words = [[w.strip(PUNCTUATION).lower() for w in t.split()] if free else t.split() for t in thinking]
        cues = [count_cues(w, t, free.cues if free else CUES) for w, t in zip(words, traces, strict=True)]
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
        }
        return rows, item_rows(answered, values)
