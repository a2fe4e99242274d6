"""The best site of the refusal direction, chosen by COSMIC: which layer and position, how surely, and how well it does elsewhere.

It selects, it does not prove: the causal pair does (refusal_pair.py). Three disjoint sets of prompts: directions from half A
of the fit prompts, selection on half B, the score of the site that was chosen on the eval prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...dynamics.types import Estimate, Measurement
from ..domains import Domain
from ..internals import directions as d
from ..internals.nulls import matched_directions
from ..protocol import INSTRUCTION_END, LAST_PROMPT, TEMPLATE, Captured, Direction, Edits, Given, Handle, Needs, Result
from . import cosmic
from .interventions import ablate, add, at_last_prompt

PROMPTS = 32  # of either class, to select on; and to report on
DRAWS = 400
Site = tuple[int, str]  # column of the captured layers, position


def offset_of(position: str, captured: Captured) -> int:
    """The place of a named prompt position, counted from the prompt's end."""
    template = [p for p in captured.acts if p.startswith(f"{TEMPLATE}[")]
    if position in template:
        return int(position.removeprefix(f"{TEMPLATE}[").removesuffix("]"))
    return {LAST_PROMPT: -1, INSTRUCTION_END: -len(template) - 2}[position]


class RefusalSite:
    """Scores of all candidate sites, the probability that each is the best, and the best one's score on other prompts."""

    name = "refusal_site"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        has_both = {"harmful", "safe"} <= set(domains)
        return Needs(activations=("refusal",), intervention=True) if has_both else Needs()

    def measure(self, given: Given) -> Result:
        if "refusal" not in given.captured:
            return Result([])
        assert given.handle is not None
        selection = _Selection(given.captured["refusal"], given.handle)
        if not selection.candidates:
            return Result([])
        rows: list[Measurement] = []

        def say(metric: str, estimate: Estimate, unit: str, site: Site) -> None:
            layer = selection.captured.layers[site[0]]
            rows.append(Measurement(given.step, self.name, metric, estimate, unit, "", layer, site[1]))

        scores_CB = selection.scores()
        order = np.argsort(-scores_CB[:, 0], kind="stable")
        best = selection.candidates[order[0]]
        top = scores_CB[:, 1:] == scores_CB[:, 1:].max(0)
        wins = (top / top.sum(0)).mean(1)  # sites that tie share
        for site, score_B, share in zip(selection.candidates, scores_CB, wins, strict=True):
            say("refusal_site_score", _bootstrapped(score_B), "sum of cosines", site)
            say("refusal_site_probability", _bare(share, DRAWS, "bootstrap"), "share", site)
        layers = np.array([selection.captured.layers[column] for column, _ in selection.candidates])
        say("refusal_best_layer", _bootstrapped(layers[[order[0], *scores_CB[:, 1:].argmax(0)]]), "layer", best)
        if len(order) > 1:
            margin = scores_CB[order[0]] - scores_CB[order[1]]
            say("refusal_best_margin", _bootstrapped(margin), "sum of cosines", best)
        for metric, score_B in selection.reported(best).items():
            say(metric, _bootstrapped(score_B), "sum of cosines", best)
        return Result(rows, directions={"refusal_best": selection.direction(best)})


class _Selection:
    """The candidates of one checkpoint, fitted on half A of the fit prompts."""

    def __init__(self, captured: Captured, handle: Handle) -> None:
        self.captured, self.handle = captured, handle
        prompts = captured.prompts
        self.fit = (prompts.part == "fit") & (prompts.half == "A")
        self.candidates: list[Site] = [
            (c, p) for p in captured.acts for c in cosmic.candidate_columns(len(captured.layers))
        ]
        last_NLD, y = captured.acts[LAST_PROMPT][self.fit].astype(np.float64), prompts.label[self.fit]
        judges = cosmic.evaluation_columns(last_NLD[y].mean(0), last_NLD[~y].mean(0)) if self.candidates else []
        self.judging = [captured.layers[c] for c in judges]

    def _rows(self, part: str, half: str, positive: bool) -> np.ndarray:
        """The first so many prompts of a class in a part, of one half or of both."""
        p = self.captured.prompts
        inside = (p.part == part) & (p.label == positive) & np.isin(p.half, list(half))
        return np.flatnonzero(inside)[:PROMPTS]

    def _vector(self, site: Site) -> tuple[np.ndarray, np.ndarray]:
        """Difference-in-means and the harmless mean at a site."""
        column, position = site
        acts_ND, y = self.captured.acts[position][self.fit, column], self.captured.prompts.label[self.fit]
        return d.difference_in_means(acts_ND[:, None], y)[0], acts_ND[~y].astype(np.float64).mean(0)

    def _edits(self, site: Site, vector_D: np.ndarray, harmless_D: np.ndarray) -> tuple[Edits, Edits]:
        """(ablation, addition) at a site."""
        import torch

        layer, offset = self.captured.layers[site[0]], offset_of(site[1], self.captured)
        unit_D = vector_D / np.linalg.norm(vector_D)
        removal = ablate(torch.from_numpy(unit_D).float(), float(harmless_D @ unit_D))
        return (
            {layer: at_last_prompt(removal, offset)},
            {layer: at_last_prompt(add(torch.from_numpy(vector_D).float()), offset)},
        )

    def _states(self, rows: np.ndarray, edits: Edits | None = None) -> np.ndarray:
        prompts = [self.captured.prompts.items[k].prompt for k in rows]
        return self.handle.states(prompts, edits=edits, layers=self.judging)

    def scores(self) -> np.ndarray:
        """Of every candidate on the selection prompts [candidates, 1 + draws]: of all prompts, then of each resample."""
        harmful, harmless = (self._rows("fit", "B", positive) for positive in (True, False))
        plain = self._states(harmful), self._states(harmless)
        return np.stack([self._score(site, *self._vector(site), harmful, harmless, plain) for site in self.candidates])

    def reported(self, site: Site) -> dict[str, np.ndarray]:
        """Of a chosen site on the eval prompts; of a random direction of equal norm there; and of no edit at all."""
        harmful, harmless = (self._rows("eval", "AB", positive) for positive in (True, False))
        plain = self._states(harmful), self._states(harmless)
        vector_D, harmless_D = self._vector(site)
        acts_ND, y = self.captured.acts[site[1]][self.fit, site[0]], self.captured.prompts.label[self.fit]
        rng = np.random.default_rng(0)
        chance_D = matched_directions(acts_ND, y, rng.standard_normal((1, len(acts_ND)), dtype=np.float32), rng)[0]
        chance_D = chance_D.astype(np.float64) * np.linalg.norm(vector_D)
        untouched = cosmic.States(*plain, *plain)
        return {
            "refusal_best_score": self._score(site, vector_D, harmless_D, harmful, harmless, plain),
            "refusal_best_score_random": self._score(site, chance_D, harmless_D, harmful, harmless, plain),
            "refusal_best_score_unedited": cosmic.score(untouched, *self._weights(harmful, harmless)),
        }

    def _score(
        self,
        site: Site,
        vector_D: np.ndarray,
        harmless_D: np.ndarray,
        harmful: np.ndarray,
        harmless: np.ndarray,
        plain: tuple[np.ndarray, np.ndarray],
    ) -> np.ndarray:
        ablation, addition = self._edits(site, vector_D, harmless_D)
        edited = self._states(harmful, ablation), self._states(harmless, addition)
        return cosmic.score(cosmic.States(*plain, *edited), *self._weights(harmful, harmless))

    def _weights(self, harmful: np.ndarray, harmless: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same resamples for every candidate."""
        group = self.captured.prompts.group
        return cosmic.resamples(group[harmful], DRAWS, seed=0), cosmic.resamples(group[harmless], DRAWS, seed=1)

    def direction(self, site: Site) -> Direction:
        vector_D, harmless_D = self._vector(site)
        layers, unit_LD = (self.captured.layers[site[0]],), d.unit(vector_D[None])
        return Direction(unit_LD, layers, site[1], (harmless_D + vector_D)[None], harmless_D[None])


def _bootstrapped(values_B: np.ndarray) -> Estimate:
    """The first value with the percentiles of the others; n counts the prompts of a class."""
    lo, hi = np.quantile(values_B[1:], [0.025, 0.975])
    return Estimate(float(values_B[0]), float(lo), float(hi), PROMPTS, "bootstrap over groups")


def _bare(value: float, n: int, method: str) -> Estimate:
    return Estimate(float(value), math.nan, math.nan, n, method)
