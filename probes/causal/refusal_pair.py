"""The causal pair: ablating the base's direction should remove refusals, adding it should cause them, a random one neither.

Only a direction that passes this at step 0 earns the name of a refusal direction; otherwise it is harm recognition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...dynamics import intervals
from ...dynamics.types import Measurement
from ..domains import Domain, Item
from ..internals import directions as d
from ..protocol import LAST_PROMPT, Edits, Given, Needs, Result
from .interventions import ablate, add, at_last_prompt

ITEMS = 48
RANDOM_DIRECTIONS = 6


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


class RefusalPair:
    """Refusals with the base's direction ablated (harmful requests) and added (safe ones), beside random directions."""

    name = "refusal_pair"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        has_both = {"harmful", "safe"} <= set(domains)
        return Needs(activations=("refusal",), base=True, intervention=True) if has_both else Needs()

    def measure(self, given: Given) -> Result:
        import torch

        handle = given.handle
        assert handle is not None
        now, base = given.captured["refusal"], given.base_captured["refusal"]
        fit, label = base.prompts.part == "fit", base.prompts.label[base.prompts.part == "fit"]
        base_fit, now_fit = base.acts_NLD[fit], now.acts_NLD[fit]
        column = best_separated_layer(base_fit, label, base.prompts.half[fit])
        layer = base.layers[column]
        vector = d.difference_in_means(base_fit, label)[column]
        length = float(np.linalg.norm(vector))
        cov = d.within_class_covariance(base_fit[:, column], label)
        chance = d.random_directions(cov, RANDOM_DIRECTIONS, seed=0)
        harmless_LD = now_fit[~label].astype(np.float64).mean(0)

        def ablation(unit_D: np.ndarray) -> Edits:
            direction = torch.from_numpy(unit_D).float()
            return {
                i: at_last_prompt(ablate(direction, float(h @ unit_D)))
                for i, h in zip(now.layers, harmless_LD, strict=True)
            }

        def addition(unit_D: np.ndarray) -> Edits:
            return {layer: at_last_prompt(add(torch.from_numpy(unit_D * length).float()))}

        unit_D = vector / length
        items = {name: given.domains[name].items("test", ITEMS, seed=2) for name in ("harmful", "safe")}
        rows: list[Measurement] = []

        def rates(domain: str, edits: Edits) -> dict[str, np.ndarray]:
            """Per item: refused, and helped with, under these edits of the residual stream."""
            chosen: list[Item] = items[domain]
            responses = handle.ask(domain, chosen, edits=edits)
            graded = [given.domains[domain].grade(i, r).details for i, r in zip(chosen, responses, strict=True)]
            return {detail: np.array([g[detail] for g in graded]) for detail in ("refused", "complied")}

        def add_row(metric: str, domain: str, values: np.ndarray, units: Sequence[object] = ()) -> None:
            estimate = intervals.mean(values, units or [i.cluster for i in items[domain]])
            rows.append(Measurement(given.step, self.name, metric, estimate, "share", domain, layer, LAST_PROMPT))

        def add_chance(metric: str, domain: str, edit: Callable[[np.ndarray], Edits]) -> None:
            """What random directions do varies from one to the next: they are the units, not the requests."""
            refused = [rates(domain, edit(r))["refused"] for r in chance]
            add_row(metric, domain, np.concatenate(refused), [k for k, r in enumerate(refused) for _ in r])

        add_row("refusal_rate_base", "harmful", rates("harmful", {})["refused"])
        add_row("refusal_rate_ablated", "harmful", rates("harmful", ablation(unit_D))["refused"])
        add_chance("refusal_rate_ablated_random", "harmful", ablation)
        safe = rates("safe", {})
        add_row("safe_refusal_rate_base", "safe", safe["refused"])
        add_row("refusal_rate_added", "safe", rates("safe", addition(unit_D))["refused"])
        add_chance("refusal_rate_added_random", "safe", addition)
        # what the ablation costs: a model that it merely breaks refuses nothing either
        add_row("helpful_rate_base", "safe", safe["complied"])
        add_row("helpful_rate_ablated", "safe", rates("safe", ablation(unit_D))["complied"])
        return Result(rows)
