"""Where refusal is intervened on and what is asked there: one site, its directions, and requests that are always the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...dynamics.statistics import intervals
from ...dynamics.types import Estimate, Measurement
from ..domains import Domain, Item, Response
from ..internals import directions as d
from ..protocol import LAST_PROMPT, Answered, Captured, Edits, Given, Handle, item_rows
from .interventions import ablate, add, at_last_prompt

ITEMS = 48  # of either sort
BOTH = ("harmful", "safe")
Values = Mapping[str, np.ndarray]  # of the requests, by detail of their grade


@dataclass(frozen=True)
class Site:
    """A block at the last prompt token: the base's direction there, the checkpoint's own, and random ones of the same norm."""

    layer: int
    column: int  # of that layer in what was captured
    layers: tuple[int, ...]  # all that were
    gap: float  # length of the base's difference in means: dose 1
    base_D: np.ndarray  # unit vectors, float64
    refit_D: np.ndarray
    random_KD: np.ndarray
    harmless_LD: np.ndarray  # the mean of safe requests at this checkpoint

    def ablation(self, unit_D: np.ndarray) -> Edits:
        """The coordinate along a unit vector set to the harmless mean's own, after every block."""
        import torch

        direction = torch.from_numpy(unit_D).float()
        return {
            layer: at_last_prompt(ablate(direction, float(mean_D @ unit_D)))
            for layer, mean_D in zip(self.layers, self.harmless_LD, strict=True)
        }

    def addition(self, unit_D: np.ndarray, dose: float = 1.0) -> Edits:
        """`dose` times the base's gap added along a unit vector, after the site's block."""
        import torch

        return {self.layer: at_last_prompt(add(torch.from_numpy(dose * self.gap * unit_D).float()))}


def best_separated_layer(acts_NLD: np.ndarray, label_N: np.ndarray, half_N: np.ndarray) -> int:
    """The layer whose direction from half A separates half B most (gap in SD): chosen on fit prompts of the base alone.

    Only the first 80 % of the layers compete (as in arXiv 2406.11717): the last ones hold the next token itself.
    """
    a, b = half_N == "A", half_N == "B"
    direction = d.unit(d.difference_in_means(acts_NLD[a], label_N[a]))
    gaps = []
    for layer in range(max(1, int(0.8 * acts_NLD.shape[1]))):
        projections = acts_NLD[b, layer].astype(np.float64) @ direction[layer]
        gaps.append(d.gap_in_sd(projections, label_N[b], d.within_class_sd(projections, label_N[b])).value)
    return int(np.nanargmax(gaps))


def site_of(now: Captured, base: Captured, n_random: int) -> Site:
    """The site that the base's fit prompts choose, the same at every checkpoint.

    Random directions are drawn from this checkpoint's own pooled within-class covariance.
    """
    prompts = base.prompts
    fit = prompts.part == "fit"
    label, base_fit, now_fit = prompts.label[fit], base.acts_NLD[fit], now.acts_NLD[fit]
    column = best_separated_layer(base_fit, label, prompts.half[fit])
    vector_D = d.difference_in_means(base_fit, label)[column]
    return Site(
        layer=base.layers[column],
        column=column,
        layers=now.layers,
        gap=float(np.linalg.norm(vector_D)),
        base_D=d.unit(vector_D),
        refit_D=d.unit(d.difference_in_means(now_fit, label)[column]),
        random_KD=d.random_directions(d.within_class_covariance(now_fit[:, column], label), n_random, seed=0),
        harmless_LD=now_fit[~label].astype(np.float64).mean(0),
    )


def readouts(site: Site, now: Captured, base: Captured) -> dict[str, tuple[Estimate, str]]:
    """Gap and AUC along either direction on the eval prompts: metric -> (estimate, unit).

    Both gaps are lengths in one unit, the base's within-class SD along its own direction, so that they can be compared.
    """
    held_out = base.prompts.part == "eval"
    label, group = base.prompts.label[held_out], base.prompts.group[held_out]
    acts_ND = now.acts_NLD[held_out, site.column].astype(np.float64)
    sd = d.within_class_sd(base.acts_NLD[held_out, site.column].astype(np.float64) @ site.base_D, label)
    found: dict[str, tuple[Estimate, str]] = {}
    for name, unit_D in (("frozen", site.base_D), ("refit", site.refit_D)):
        projections = acts_ND @ unit_D
        found[f"pair_gap_{name}"] = (d.gap_in_sd(projections, label, sd, group), "sd of base")
        found[f"pair_auc_{name}"] = (d.auc(projections, label, group), "auc")
    return found


class Requests:
    """Harmful and safe requests of the `test` split, put under conditions and graded.

    They are the same for all causal probes and at all checkpoints, so that everything about them is paired by item.
    """

    def __init__(self, given: Given) -> None:
        assert given.handle is not None
        self.handle: Handle = given.handle
        self.domains: dict[str, Domain] = {name: given.domains[name] for name in BOTH}
        self.items: dict[str, list[Item]] = {n: dom.items("test", ITEMS, seed=2) for n, dom in self.domains.items()}

    def ask(
        self, edits: Edits | None = None, *, of: Sequence[str] = BOTH, begin: str = "", banned: Sequence[str] = ()
    ) -> dict[str, Values]:
        """What became of the requests of these domains, in one pass: domain -> detail -> float64 [items]."""
        items = [i for name in of for i in self.items[name]]
        begins = [begin] * len(items) if begin else ()
        responses = iter(self.handle.ask(of[0], items, edits=edits, begins=begins, banned=banned))
        found: dict[str, Values] = {}
        for name in of:
            graded = [self._grade(name, i, next(responses)) for i in self.items[name]]
            found[name] = {detail: np.array([g[detail] for g in graded]) for detail in graded[0]}
        return found

    def _grade(self, name: str, item: Item, response: Response) -> dict[str, float]:
        """`refused`; `complied`: helped with, and a safe request with the right content; `helped`: in form, whatever it says.

        Help with wrong content is a loss of knowledge; an answer to something else is no help at all.
        """
        details = self.domains[name].grade(item, response).details
        refused, broken = details["refused"], details["incoherent"]
        return {"refused": refused, "complied": details["complied"], "helped": float(not refused and not broken)}


class Table:
    """The rows of a causal probe: rates with their intervals for the long table, and what they are made of, by item."""

    def __init__(self, step: int, probe: str, requests: Requests, layer: int) -> None:
        self.step, self.probe, self.requests, self.layer = step, probe, requests, layer
        self.rows: list[Measurement] = []
        self._items: list[dict[str, object]] = []

    @property
    def items(self) -> pd.DataFrame:
        return pd.DataFrame(self._items)

    def add(
        self,
        metric: str,
        estimate: Estimate,
        unit: str,
        domain: str = "",
        position: str = LAST_PROMPT,
        reason: str = "",
    ) -> None:
        where = (domain, self.layer, position)
        self.rows.append(Measurement(self.step, self.probe, metric, estimate, unit, *where, reason=reason))

    def share(self, metric: str, domain: str, values: np.ndarray, position: str = LAST_PROMPT) -> None:
        """A rate over the requests of a domain, clustered by object."""
        clusters = [i.cluster for i in self.requests.items[domain]]
        self.add(metric, intervals.mean(values, clusters), "share", domain, position)

    def chance(self, metric: str, domain: str, of_each: Sequence[np.ndarray], position: str = LAST_PROMPT) -> None:
        """What random directions do varies from one to the next: they are the units of its interval, not the requests."""
        units = [k for k, values in enumerate(of_each) for _ in values]
        self.add(metric, intervals.mean(np.concatenate(of_each), units), "share", domain, position)

    def by_item(self, domain: Domain, items: Sequence[Item], values: Mapping[str, np.ndarray]) -> None:
        """Per-item values, under metric names that say the condition."""
        self._items += item_rows(Answered(domain, list(items), []), {m: list(v) for m, v in values.items()})
