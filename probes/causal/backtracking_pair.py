"""Is the direction of dead ends one of going back? Searches are led to a dead end, edited there, and left to themselves.

The turn begins with a worked trace up to the word that ends a dead end (`AFTER_MOVE`, where going back is decided), the
residual stream is edited at that word alone, and the model goes on by itself. Edits of every generated position were tried
and broke the search itself (valid moves fell from 0.99 to under 0.4 at half the gap in an organism), so that its backtracks
could not be told from noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...dynamics.statistics import intervals
from ...dynamics.types import Estimate, Measurement
from ..dead_ends import Worked, worked_domains
from ..domains import Domain, Item, Response
from ..internals import directions as d
from ..protocol import AFTER_MOVE, Answered, Captured, Edits, Given, Handle, Needs, Result, item_rows
from ..search import classify, summarise
from .interventions import ablate, add, at_last_given

ITEMS = 32
DOSES = (0.5, 1.0, 2.0)  # of the base's difference between dead ends and other moves
RANDOM_DIRECTIONS = 6
WINDOW = 128  # tokens that a search is gone on with: an answer that has not come by then is wrong, under all conditions alike


@dataclass(frozen=True)
class DeadEnd:
    """A question and the beginning of a search that has just met a dead end."""

    domain: Domain
    item: Item
    begin: str


@dataclass(frozen=True)
class Outcome:
    """What became of the searches [dead ends], from the dead end on."""

    back: np.ndarray  # 1 where the next move opens a new branch from an earlier state
    left: np.ndarray  # opportunities left by going back, the first one among them
    opportunities: np.ndarray
    strict: np.ndarray


class BacktrackingPair:
    """Going back, and the score, under doses and ablation of the base's direction, the checkpoint's own and random ones."""

    name = "backtracking_pair"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        there = worked_domains(domains.values())
        return Needs(activations=("backtracking",), base=True, intervention=True) if there else Needs()

    def measure(self, given: Given) -> Result:
        if "backtracking" not in given.captured:
            return Result([])
        assert given.handle is not None
        now, base = given.captured["backtracking"], given.base_captured["backtracking"]
        site = Site(now, base)
        searches = Searches(given.handle, dead_ends(now, given.domains))
        rows: list[Measurement] = []
        items: list[dict[str, object]] = []

        def say(condition: str, found: Sequence[Outcome]) -> None:
            """Of one direction: the searches are the units. Of random ones: the directions are, as they vary most."""
            for metric, estimate in _estimates(found, searches.clusters).items():
                row = Measurement(given.step, self.name, metric, estimate, "share", "", site.layer, condition)
                rows.append(row)
            items.extend(searches.by_item(condition, found))

        say("0", [searches.run({})])
        for name, directions in site.directions.items():
            say(f"ablated {name}", [searches.run(site.ablation(u)) for u in directions])
            for dose in DOSES:
                say(f"{name} {dose:g}", [searches.run(site.addition(u, dose)) for u in directions])
        return Result(rows, pd.DataFrame(items))


def dead_ends(captured: Captured, domains: Mapping[str, Domain]) -> list[DeadEnd]:
    """A dead end of each trace among the eval rows, from early in it to late in turn; so many, of all domains alike."""
    prompts = captured.prompts
    of_trace: dict[str, list[int]] = {}
    for k in np.flatnonzero((prompts.part == "eval") & prompts.label):
        of_trace.setdefault(prompts.items[k].id, []).append(int(k))
    one_each = [rows[turn % len(rows)] for turn, rows in enumerate(of_trace.values())]
    spread = np.unique(np.linspace(0, len(one_each) - 1, min(ITEMS, len(one_each))).astype(int))
    ends = prompts.ends[AFTER_MOVE]
    return [
        DeadEnd(domains[item.id.rpartition("-")[0]], item, prompts.texts[k][: ends[k]])
        for k in (one_each[n] for n in spread)
        for item in (prompts.items[k],)
    ]


class Site:
    """The word after the move, at the middle layer (fixed: dead ends are told apart there by that word at every layer)."""

    def __init__(self, now: Captured, base: Captured) -> None:
        fit = base.prompts.part == "fit"
        label = base.prompts.label[fit]
        now_fit, base_fit = (x.acts[AFTER_MOVE][fit] for x in (now, base))
        column = len(base.layers) // 2
        self.layers, self.layer = now.layers, base.layers[column]
        vector_D = d.difference_in_means(base_fit, label)[column]
        self.gap = float(np.linalg.norm(vector_D))
        self.elsewhere_LD = now_fit[~label].astype(np.float64).mean(0)
        covariance = d.within_class_covariance(now_fit[:, column], label)
        self.directions = {
            "base": d.unit(vector_D)[None],
            "refit": d.unit(d.difference_in_means(now_fit, label)[column])[None],
            "random": d.random_directions(covariance, RANDOM_DIRECTIONS, seed=0),
        }

    def ablation(self, unit_D: np.ndarray) -> Edits:
        """The coordinate set to the mean of moves that are no dead ends, after every block."""
        import torch

        direction = torch.from_numpy(unit_D).float()
        return {
            layer: at_last_given(ablate(direction, float(mean_D @ unit_D)))
            for layer, mean_D in zip(self.layers, self.elsewhere_LD, strict=True)
        }

    def addition(self, unit_D: np.ndarray, dose: float) -> Edits:
        import torch

        return {self.layer: at_last_given(add(torch.from_numpy(dose * self.gap * unit_D).float()))}


class Searches:
    """The searches that were led to a dead end, to be gone on with."""

    def __init__(self, handle: Handle, found: Sequence[DeadEnd]) -> None:
        self.handle, self.found = handle, list(found)
        self.clusters = [f.item.cluster for f in self.found]
        self.cap = min(WINDOW, max(f.domain.max_new_tokens for f in self.found))

    def run(self, edits: Edits) -> Outcome:
        items, begins = [f.item for f in self.found], [f.begin for f in self.found]
        responses = self.handle.ask(
            self.found[0].domain.name, items, edits=edits, begins=begins, max_new_tokens=self.cap
        )
        told = [read(f, r) for f, r in zip(self.found, responses, strict=True)]
        return Outcome(*(np.array(column, float) for column in zip(*told, strict=True)))

    def by_item(self, condition: str, found: Sequence[Outcome]) -> list[dict[str, object]]:
        name = condition.replace(" ", "_")
        back, strict = (np.mean([getattr(o, what) for o in found], axis=0) for what in ("back", "strict"))
        rows: list[dict[str, object]] = []
        for domain in {f.domain.name: f.domain for f in self.found}.values():
            own = [k for k, f in enumerate(self.found) if f.domain is domain]
            answered = Answered(domain, [self.found[k].item for k in own], [])
            rows += item_rows(answered, {f"back_{name}": list(back[own]), f"strict_{name}": list(strict[own])})
        return rows


def read(dead_end: DeadEnd, response: Response) -> tuple[float, float, float, float]:
    """(went back at once, opportunities left from there on, opportunities from there on, strict score) of one response."""
    domain, item = dead_end.domain, dead_end.item
    assert isinstance(domain, Worked)
    before = domain.read_trace(item.reference, Response(dead_end.begin, False, 0).think)
    moves = domain.read_trace(item.reference, response.think)
    kinds, first = classify(moves), len(before)
    then, so_far = summarise(moves), summarise(before)
    return (
        float(first < len(kinds) and kinds[first] == "backtrack"),
        then.left - so_far.left,
        then.opportunities - so_far.left,  # those that were still open, and those met later
        float(domain.grade(item, response).strict),
    )


def _estimates(found: Sequence[Outcome], clusters: Sequence[str]) -> dict[str, Estimate]:
    if len(found) > 1:
        units: list[object] = [k for k, o in enumerate(found) for _ in o.back]
    else:
        units = list(clusters)
    back, left, opportunities, strict = (
        np.concatenate([getattr(o, what) for o in found]) for what in ("back", "left", "opportunities", "strict")
    )
    return {
        "steered_back_rate": intervals.mean(back, units),
        "steered_backtracks_per_opportunity": intervals.ratio(left, opportunities, units),
        "steered_score": intervals.mean(strict, units),
    }
