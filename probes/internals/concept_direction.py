"""A concept's direction at fixed sites (all layers, named positions): frozen at the base and refit, with its nulls and baselines.

Fitted on the fit rows of a prompt set and reported on its eval rows. Frozen asks whether the base's readout is still valid,
refit whether the classes are still told apart: two questions. Which concepts there are is said by the probes that derive
from this (refusal_direction.py, backtracking_direction.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...dynamics.statistics import intervals
from ...dynamics.types import Estimate, Measurement
from ..domains import Domain
from ..protocol import TEMPLATE, Captured, Direction, Given, Needs, PromptSet, Result
from . import directions as d
from . import separability as s
from .nulls import Null, null

PROBED = 0.5, 0.75  # of the layers: where logistic readouts are fitted too


@dataclass(frozen=True)
class Site:
    """Where a concept is read: its metrics begin with `concept`, its direction is stored under that name."""

    concept: str
    position: str
    template: bool = False  # at each other token of the template after the instruction: fewer metrics, by position


class ConceptDirection:
    """Base of the probes. Metrics are named `<concept>_<what>`; docs/metrics.md defines each."""

    name: str
    version: int
    prompt_set: str
    sites: ClassVar[tuple[Site, ...]]

    def there(self, domains: Mapping[str, Domain]) -> bool:
        """Whether the configured domains can show the concept."""
        raise NotImplementedError

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(activations=(self.prompt_set,), base=True) if self.there(domains) else Needs()

    def measure(self, given: Given) -> Result:
        if self.prompt_set not in given.captured:
            return Result([])
        now, base = given.captured[self.prompt_set], given.base_captured[self.prompt_set]
        prompts = now.prompts
        fit = prompts.part == "fit"
        unit_0 = {p: d.unit(d.difference_in_means(x[fit], prompts.label[fit])) for p, x in base.acts.items()}
        chance = null(now.acts, prompts.label, fit, unit_0)
        rows: list[Measurement] = []
        directions: dict[str, Direction] = {}
        for site in self.sites:
            for position in _positions(site, now):
                at = _At(now, base, position, fit)
                found = [*at.readouts(), *at.null(chance)]
                if not site.template:
                    found += [*at.probes(), *at.baselines(), *at.best(chance)]
                    directions[site.concept] = at.direction()
                rows += [
                    Measurement(
                        given.step, self.name, f"{site.concept}_{what}", e, unit, "", layer, position, reason=reason
                    )
                    for what, e, unit, layer, reason in found
                ]
        return Result(rows, directions=directions)


def _positions(site: Site, captured: Captured) -> list[str]:
    """The captured positions of a site: `template[-2]`, `template[-3]` … for one of the template."""
    if site.template:
        return [p for p in captured.acts if p.startswith(f"{TEMPLATE}[")]
    return [site.position]


Found = tuple[str, Estimate, str, int, str]  # what, estimate, unit, layer, caveat


class _At:
    """All that is said of one position, at the checkpoint and against the base."""

    def __init__(self, now: Captured, base: Captured, position: str, fit_N: np.ndarray) -> None:
        self.captured, self.layers, self.position = now, now.layers, position
        self.prompts: PromptSet = now.prompts
        self.fit, self.held = fit_N, ~fit_N
        self.now_NLD, self.base_NLD = now.acts[position], base.acts[position]
        self.y_fit, self.y = self.prompts.label[self.fit], self.prompts.label[self.held]
        self.group = self.prompts.group[self.held]
        self.vector_t = d.difference_in_means(self.now_NLD[self.fit], self.y_fit)
        self.vector_0 = d.difference_in_means(self.base_NLD[self.fit], self.y_fit)
        self.unit_t, self.unit_0 = d.unit(self.vector_t), d.unit(self.vector_0)

    def readouts(self) -> Iterator[Found]:
        """Separation of the eval rows along the base's direction and along the checkpoint's own, and their cosine."""
        held_t, held_0 = self.now_NLD[self.held].astype(np.float64), self.base_NLD[self.held].astype(np.float64)
        frozen_NL, refit_NL, base_NL = (
            np.einsum("nld,ld->nl", acts, unit)
            for acts, unit in ((held_t, self.unit_0), (held_t, self.unit_t), (held_0, self.unit_0))
        )
        corrected = d.corrected_cosine_estimates(
            self.now_NLD[self.fit],
            self.base_NLD[self.fit],
            self.y_fit,
            self.prompts.half[self.fit],
            self.prompts.group[self.fit],
        )
        raw = d.cosine(self.vector_t, self.vector_0)
        for column, layer in enumerate(self.layers):
            frozen, refit, of_base = frozen_NL[:, column], refit_NL[:, column], base_NL[:, column]
            sd_0, sd_t = d.within_class_sd(of_base, self.y), d.within_class_sd(refit, self.y)
            relative = (frozen - of_base[~self.y].mean()) / sd_0 if sd_0 > 0 else np.full(len(frozen), np.nan)
            yield "auc_frozen", d.auc(frozen, self.y, self.group), "auc", layer, ""
            yield "auc_refit", d.auc(refit, self.y, self.group), "auc", layer, ""
            yield "tpr_frozen", s.tpr_at_fpr(frozen, self.y, self.group), "share", layer, ""
            yield "tpr_refit", s.tpr_at_fpr(refit, self.y, self.group), "share", layer, ""
            yield "gap_frozen", d.gap_in_sd(frozen, self.y, sd_0, self.group), "sd of base", layer, ""
            yield "gap_refit", d.gap_in_sd(refit, self.y, sd_t, self.group), "sd", layer, ""
            for name, of_class in (("positive", self.y), ("negative", ~self.y)):
                estimate = intervals.mean(relative[of_class], self.group[of_class])
                yield f"projection_{name}", estimate, "sd of base", layer, ""
            weak = "" if corrected[column].defined else f"reliability below {d.MIN_RELIABILITY}"
            yield "cosine_to_base", corrected[column], "cosine", layer, weak
            yield "cosine_raw", _bare(raw[column], len(self.y_fit), "difference-in-means"), "cosine", layer, ""

    def null(self, chance: Null) -> Iterator[Found]:
        """The 99th percentiles of chance at each layer."""
        cosines, areas = (chance.quantile(x, self.position) for x in (chance.cosine, chance.auc))
        n = len(chance.auc[self.position])
        for layer, cos, area in zip(self.layers, cosines, areas, strict=True):
            yield "cosine_null_p99", _bare(cos, n, "covariance-matched"), "cosine", layer, ""
            yield "auc_null_p99", _bare(area, n, "covariance-matched"), "auc", layer, ""

    def best(self, chance: Null) -> Iterator[Found]:
        """The same for the best of all layers and positions."""
        n, method = len(chance.auc[self.position]), "covariance-matched, best of sites"
        yield "cosine_null_p99_best", _bare(chance.best_quantile(chance.cosine), n, method), "cosine", -1, ""
        yield "auc_null_p99_best", _bare(chance.best_quantile(chance.auc), n, method), "auc", -1, ""

    def probes(self) -> Iterator[Found]:
        """Logistic readouts over all rows by grouped folds, at a few layers; and what they make of random labels."""
        label, group = self.prompts.label, self.prompts.group
        for column in sorted({int(share * len(self.layers)) for share in PROBED}):
            layer, now_ND, base_ND = self.layers[column], self.now_NLD[:, column], self.base_NLD[:, column]
            for name, scores in (
                ("frozen", s.grouped_scores(base_ND, label, group, now_ND)),
                ("refit", s.grouped_scores(now_ND, label, group)),
            ):
                area = d.auc(scores, label, group)
                yield f"probe_auc_{name}", area, "auc", layer, ""
                yield f"probe_tpr_{name}", s.tpr_at_fpr(scores, label, group), "share", layer, ""
            by_heart = s.control_auc(now_ND, group)  # of the refit probe, the last one
            n = area.n
            yield "probe_control_auc", _bare(by_heart, n, "random labels by group"), "auc", layer, ""
            yield "probe_selectivity", _bare(area.value - by_heart, n, "auc less control"), "auc", layer, ""

    def baselines(self) -> Iterator[Found]:
        """How far one gets without the model: the words read so far, their number, the last one, the embeddings alone."""
        prompts = self.prompts
        label, group = tuple(prompts.label.tolist()), tuple(prompts.group.tolist())
        ends = prompts.ends.get(self.position)
        texts = prompts.texts or ("",) * len(prompts.items)
        read = tuple(
            f"{item.prompt} {text[: ends[k]] if ends else text}"
            for k, (item, text) in enumerate(zip(prompts.items, texts, strict=True))
        )
        yield "baseline_words_auc", s.words_auc(read, label, group), "auc", -1, ""
        yield "baseline_length_auc", s.length_auc(read, label, group), "auc", -1, ""
        if ends:
            last = tuple(text.split()[-1] for text in read)
            yield "baseline_last_word_auc", s.words_auc(last, label, group), "auc", -1, ""
        if self.position == prompts.positions[0]:
            embedded = s.embedding_auc(self.captured.embedded_ND, prompts.label, prompts.group)
            yield "baseline_embedding_auc", embedded, "auc", -1, ""

    def direction(self) -> Direction:
        acts, y = self.now_NLD[self.fit].astype(np.float64), self.y_fit
        return Direction(self.unit_t, self.layers, self.position, acts[y].mean(0), acts[~y].mean(0))


def _bare(value: float, n: int, method: str) -> Estimate:
    return Estimate(float(value), math.nan, math.nan, n, method)
