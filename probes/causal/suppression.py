"""What going back buys: questions answered again with the words for it banned, beside other words banned as often.

A ban costs accuracy in any case, since the model is made to write what it would not. How much is learnt from a control, and
most words are none: without a word that the answer needs nothing right can be said; without one that every trace is built
from (`left`, `=`) the search falls apart, and its going back with it. See `controls`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...dynamics.statistics import intervals
from ...dynamics.storage import content_key
from ...dynamics.types import Estimate, Measurement
from ..domains import THINK_CLOSE, THINK_OPEN, Domain, Item, Response
from ..lexicon import BACKTRACKING, Families, families_of
from ..protocol import Ask, Given, Handle, Needs, Result
from ..search import SearchDomain, summarise
from ..traces import read_traces

ITEMS = 64  # questions a domain
DRAWS = 4  # of words banned as a control
VERDICTS = ("yes",)  # part of the procedure too: never a control
FORM = 0.9  # a word in so many of the thinking parts belongs to their form
FEWEST = 8  # questions for which words have to be a control
FACTOR = 2.0  # within which a control matches how often the words for going back stand in a response
INTACT = 0.5  # of the backtracks: a control under which fewer are left is none

Tokens = frozenset[int]


@dataclass(frozen=True)
class Written:
    """The tokens of some responses, each a Counter or a set a response."""

    thinking: list[Counter[int]]
    answer: list[Tokens]
    anywhere: list[Tokens]

    def count(self, tokens: Tokens) -> np.ndarray:
        """How often the thinking of each response holds these tokens [responses]."""
        return np.array([sum(held[t] for t in tokens & held.keys()) for held in self.thinking], float)


def controls(
    written: Written, banned: Tokens, never: Tokens, draws: int = DRAWS, seed: int = 0
) -> list[tuple[Tokens, list[int]]]:
    """Sets of words drawn at random, none twice, each with the responses [indices] for which it is a control.

    Those are the ones whose own answer can do without the set, and whose thinking holds it as often as the banned words,
    within a factor of two. Words in 90 % of the thinking parts or more are its form, and in no set.
    """
    back_N = written.count(banned)
    going_N = back_N > 0
    held_by = Counter(t for k in np.flatnonzero(going_N) for t in written.thinking[k])
    usable = sorted(t for t, n in held_by.items() if t not in banned | never and n < FORM * going_N.sum())
    count_NT = np.array([[held[t] for t in usable] for held in written.thinking], float).reshape(len(back_N), -1)
    needed_NT = np.array([[t in answer for t in usable] for answer in written.answer]).reshape(len(back_N), -1)

    def share_matched(chosen: list[int]) -> np.ndarray:
        """Of what is banned in each response, how much the chosen tokens match: 0 where the answer needs them."""
        held_N = count_NT[:, chosen].sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            share_N = np.minimum(held_N / back_N, back_N / held_N)
        return np.where(going_N & (held_N > 0) & ~needed_NT[:, chosen].any(1), share_N, 0)

    found: list[tuple[Tokens, list[int]]] = []
    rng = random.Random(seed)
    for _ in range(3 * draws):
        chosen: list[int] = []
        best = 0.0
        for t in rng.sample(range(len(usable)), len(usable)):
            if (score := float(share_matched([*chosen, t]).sum())) > best:
                chosen, best = [*chosen, t], score
        tokens = frozenset(usable[t] for t in chosen)
        matched = np.flatnonzero(share_matched(chosen) >= 1 / FACTOR).tolist()
        if len(matched) >= FEWEST and all(tokens != other for other, _ in found):
            found.append((tokens, matched))
        if len(found) == draws:
            break
    return found


class Suppression:
    """`cues`: families of cue words in place of the default ones, of which the one for backtracking is banned."""

    name = "suppression"
    version = 1

    def __init__(self, cues: Families | None = None) -> None:
        self.cues = cues or {}
        self.settings = content_key("cues", dict(self.cues)) if self.cues else ""

    @classmethod
    def configured(cls, config: Any) -> Suppression:
        return cls(config.cues)

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        searches = tuple(Ask(n, temperature=0.0) for n, d in domains.items() if isinstance(d, SearchDomain))
        return Needs(generations=searches, intervention=bool(searches))

    def measure(self, given: Given) -> Result:
        rows: list[Measurement] = []
        for answered in given.answered.values():
            assert given.handle is not None
            items, responses = answered.items[:ITEMS], answered.responses[:ITEMS]
            words = families_of(answered.domain, self.cues).get(BACKTRACKING, ())
            rows += _Domain(given.step, given.handle, answered.domain, items, responses).rows(words)
        return Result(rows)


class _Domain:
    """One domain's questions at one checkpoint, decoded greedily as they come and under bans."""

    def __init__(
        self, step: int, handle: Handle, domain: Domain, items: Sequence[Item], responses: Sequence[Response]
    ) -> None:
        self.step, self.handle, self.domain, self.items, self.plain = step, handle, domain, items, responses
        self.clusters = [i.cluster for i in items]
        self.text_of: dict[int, str] = {}
        self.written = Written(
            [Counter(self._tokens(t.text)) for t in read_traces(domain, items, responses)],
            [frozenset(self._tokens(r.answer)) for r in responses],
            [frozenset(self._tokens(r.text)) for r in responses],
        )

    def rows(self, cues: Sequence[str]) -> list[Measurement]:
        going_back = self._single_tokens(cues)
        never = self._single_tokens((*VERDICTS, THINK_OPEN, THINK_CLOSE))
        going = [k for k, c in enumerate(self.written.thinking) if going_back & c.keys()]
        drawn = controls(self.written, going_back, never)

        plain_N, before_N = self._graded(self.plain)
        (strict_N, after_N) = self._under([(going_back, going)])
        (chance_N, chance_after_N) = self._under(drawn)
        lost_control = intervals.paired_difference(plain_N, chance_N, self.clusters)
        left_control = self._left(before_N, chance_after_N)

        why = ""
        if not going:
            why = "no response goes back by a word that could be banned"
        elif not drawn:
            why = "no other words come as often without being part of the form or of the answers"
        elif left_control.hi < INTACT:
            why = f"banning other words as often stops the going back too ({left_control.value:.2f} of it left)"
        beyond = intervals.paired_difference(chance_N, strict_N, self.clusters)
        if why:
            beyond = Estimate.undefined(beyond.n, beyond.method)

        def row(metric: str, estimate: Estimate, unit: str = "share", reason: str = "") -> Measurement:
            return Measurement(self.step, Suppression.name, metric, estimate, unit, self.domain.name, reason=reason)

        used = Counter(t for k in going for t in (going_back & self.written.thinking[k].keys()))
        sets = " | ".join(self._words(tokens) for tokens, _ in drawn)
        lost = intervals.paired_difference(plain_N, strict_N, self.clusters)
        return [
            row("suppression_loss", lost, reason=f"banned: {self._words(used)}" if used else why),
            row("suppression_loss_control", lost_control, reason=f"banned: {sets}" if sets else why),
            row("suppression_loss_beyond_control", beyond, reason=why),
            row("suppression_control_frequency", self._frequency(going_back, drawn), "ratio"),
            row("suppression_backtracks_left", self._left(before_N, after_N), "ratio"),
            row("suppression_backtracks_left_control", left_control, "ratio"),
        ]

    def _under(self, bans: Sequence[tuple[Tokens, list[int]]]) -> tuple[np.ndarray, np.ndarray]:
        """Right or not, and backtracks, with tokens banned for some of the questions: means over bans, NaN without any."""
        correct_BN, backtracks_BN = np.full((2, max(len(bans), 1), len(self.items)), np.nan)
        for b, (tokens, responses) in enumerate(bans):
            # decoded greedily, a response that holds none of them stays as it is
            hit = [k for k in responses if tokens & self.written.anywhere[k]]
            again = self.handle.ask(self.domain.name, [self.items[k] for k in hit], banned=sorted(tokens))
            under = list(self.plain)
            for k, response in zip(hit, again, strict=True):
                under[k] = response
            correct_N, back_N = self._graded(under)
            correct_BN[b, responses], backtracks_BN[b, responses] = correct_N[responses], back_N[responses]
        return _mean_of_known(correct_BN), _mean_of_known(backtracks_BN)

    def _graded(self, responses: Sequence[Response]) -> tuple[np.ndarray, np.ndarray]:
        correct = [self.domain.grade(i, r).strict for i, r in zip(self.items, responses, strict=True)]
        backtracks = [summarise(t.moves).backtracks for t in read_traces(self.domain, self.items, responses)]
        return np.array(correct, float), np.array(backtracks, float)

    def _left(self, before_N: np.ndarray, after_N: np.ndarray) -> Estimate:
        """Structural backtracks under bans over those without, on the questions that were banned something."""
        return intervals.ratio(after_N, before_N, self.clusters)

    def _frequency(self, banned: Tokens, drawn: Sequence[tuple[Tokens, list[int]]]) -> Estimate:
        """How often controls' words stand where they are banned, over how often the words for going back do."""
        if not drawn:
            return Estimate.undefined(0, "exact")
        held = sum(self.written.count(tokens)[responses].sum() for tokens, responses in drawn)
        wanted = sum(self.written.count(banned)[responses].sum() for _, responses in drawn)
        return Estimate(float(held / wanted), np.nan, np.nan, len(drawn), "exact")

    def _tokens(self, text: str) -> list[int]:
        found = self.handle.tokens(text)
        self.text_of |= dict(found)
        return [number for number, _ in found]

    def _words(self, tokens: Sequence[int] | Tokens | Counter[int]) -> str:
        return " ".join(sorted(self.text_of[t].strip() for t in tokens))

    def _single_tokens(self, words: Sequence[str]) -> Tokens:
        """The tokens that stand for a word alone, at the beginning of a sentence or within one."""
        out = set()
        for form in (f for w in words for f in (w, w.capitalize(), f" {w}", f" {w.capitalize()}")):
            found = self.handle.tokens(form)
            if len(found) == 1 and found[0][1].strip() == form.strip():
                self.text_of |= dict(found)
                out.add(found[0][0])
        return frozenset(out)


def _mean_of_known(values_BN: np.ndarray) -> np.ndarray:
    """Column means without the NaNs; NaN where there is nothing else."""
    known = ~np.isnan(values_BN)
    return np.where(known.any(0), np.nansum(values_BN, axis=0) / np.maximum(known.sum(0), 1), np.nan)
