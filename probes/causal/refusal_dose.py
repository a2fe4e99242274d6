"""Dose curves of refusal: so much of the base's harmful-minus-harmless gap added along a direction at the site.

On safe requests they say whether the dose works at all (at step 0 this calibrates it), on harmful ones whether it brings
back refusals that were lost.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..domains import Domain
from ..protocol import Given, Needs, Result
from .refusal_requests import BOTH, Requests, Table, Values, site_of

DOSES = (0.5, 1.0, 1.5, 2.0)  # of the base's gap
RANDOM_DIRECTIONS = 3


class RefusalDose:
    """Refusals of harmful and of safe requests at each dose, along the base's direction, the checkpoint's own and random ones."""

    name = "refusal_dose"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        return Needs(activations=("refusal",), base=True, intervention=True) if set(BOTH) <= set(domains) else Needs()

    def measure(self, given: Given) -> Result:
        site = site_of(given.captured["refusal"], given.base_captured["refusal"], RANDOM_DIRECTIONS)
        requests = Requests(given)
        table = Table(given.step, self.name, requests, site.layer)
        _add(table, "0", requests.ask())
        for dose in DOSES:
            for name, unit_D in (("base", site.base_D), ("refit", site.refit_D)):
                _add(table, f"{name} {dose:g}", requests.ask(site.addition(unit_D, dose)))
            _add_random(table, f"random {dose:g}", [requests.ask(site.addition(u, dose)) for u in site.random_KD])
        return Result(table.rows, table.items)


def _add(table: Table, position: str, found: Mapping[str, Values]) -> None:
    for name in BOTH:
        refused = found[name]["refused"]
        table.share("refusal_rate_at_dose", name, refused, position)
        values = {f"refused_dose_{position.replace(' ', '_')}": refused}
        table.by_item(table.requests.domains[name], table.requests.items[name], values)
    table.share("helpful_rate_at_dose", "safe", found["safe"]["complied"], position)


def _add_random(table: Table, position: str, found: list[dict[str, Values]]) -> None:
    for name in BOTH:
        refused = [f[name]["refused"] for f in found]
        table.chance("refusal_rate_at_dose", name, refused, position)
        values = {f"refused_dose_{position.replace(' ', '_')}": np.mean(refused, axis=0)}
        table.by_item(table.requests.domains[name], table.requests.items[name], values)
    table.chance("helpful_rate_at_dose", "safe", [f["safe"]["complied"] for f in found], position)
