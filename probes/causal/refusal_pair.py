"""The causal pair: ablating a refusal direction should remove refusals, adding it should cause them, a random one neither.

Only a base's direction that passes this at step 0 earns the name of a refusal direction; otherwise it is harm recognition.
At later checkpoints the same conditions, the checkpoint's own direction beside the base's, are the evidence for what
happened to refusal (dynamics/refusal/diagnosis.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy.special import logsumexp

from ...dynamics.statistics import intervals
from ..behaviour.refusal_opening import openings, parted, told_apart
from ..domains import Domain, Item
from ..microworld import DOMAINS
from ..protocol import Edits, Given, Needs, Result
from ..rendering import EMPTY_THINKING
from .refusal_requests import BOTH, Requests, Site, Table, Values, readouts, site_of

RANDOM_DIRECTIONS = 6
GENERAL_ITEMS = 16  # of each domain on which the cost of ablation is seen


@runtime_checkable
class Answers(Protocol):
    """A domain that knows the right response."""

    def direct(self, problem: dict) -> str: ...


class RefusalPair:
    """Refusals with a direction ablated and added, beside random ones; with the format forced; and what ablation costs."""

    name = "refusal_pair"
    version = 3

    def __init__(self, cost_on: Iterable[Domain] = ()) -> None:
        self.settings = " ".join(d.name for d in general(cost_on))

    @classmethod
    def configured(cls, config: Any) -> RefusalPair:
        """Other general domains, other costs: they are part of the result's key."""
        return cls(DOMAINS[name] for name in config.domains if name in DOMAINS)

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        if not set(BOTH) <= set(domains):
            return Needs()
        return Needs(generations=BOTH, base_answers=True, activations=("refusal",), base=True, intervention=True)

    def measure(self, given: Given) -> Result:
        now, base = given.captured["refusal"], given.base_captured["refusal"]
        site = site_of(now, base, RANDOM_DIRECTIONS)
        requests = Requests(given)
        table = Table(given.step, self.name, requests, site.layer)
        for metric, (estimate, unit) in readouts(site, now, base).items():
            table.add(metric, estimate, unit)
        _untouched(table, requests)
        _format(table, requests, given)
        _interventions(table, requests, site)
        _cost(table, given, site)
        return Result(table.rows, table.items)


def general(domains: Iterable[Domain]) -> list[Domain]:
    """Those on which the cost of ablation is seen."""
    return [d for d in domains if d.group == "general" or d.name == "calculation"]


def _keep(table: Table, found: Mapping[str, Values], condition: str) -> None:
    for name, values in found.items():
        named = {f"{detail}_{condition}": x for detail, x in values.items()}
        table.by_item(table.requests.domains[name], table.requests.items[name], named)


def _untouched(table: Table, requests: Requests) -> None:
    plain = requests.ask()
    table.share("refusal_rate_base", "harmful", plain["harmful"]["refused"])
    table.share("safe_refusal_rate_base", "safe", plain["safe"]["refused"])
    table.share("helpful_rate_base", "safe", plain["safe"]["complied"])
    table.share("help_in_form_rate_base", "safe", plain["safe"]["helped"])
    _keep(table, plain, "plain")


def _format(table: Table, requests: Requests, given: Given) -> None:
    """Both sorts of requests again: with the thinking part forced empty, and with a turn that opens as the base's answers do.

    The second is a choice between the first tokens of the base's refusals and those of its help, learnt from its answers.
    """
    found: dict[str, Mapping[str, Mapping[str, np.ndarray]]] = {
        "thinking_empty": requests.ask(begin=EMPTY_THINKING),
        "opening_as_base": _openings(requests, given),
    }
    for way, of in found.items():
        table.share(f"refusal_rate_{way}", "harmful", of["harmful"]["refused"])
        table.share(f"safe_refusal_rate_{way}", "safe", of["safe"]["refused"])
        _keep(table, of, way)


def _openings(requests: Requests, given: Given) -> dict[str, dict[str, np.ndarray]]:
    """Whether each request's turn, if it opens as the base's do, opens with a refusal; NaN where nothing tells the two."""
    refusals, helps = parted(given.base_answered["harmful"])[0], parted(given.base_answered["safe"])[1]
    refusing, helping = told_apart(openings(requests.handle, refusals), openings(requests.handle, helps))
    refused: dict[str, dict[str, np.ndarray]] = {}
    for name, items in requests.items.items():
        values = np.full(len(items), np.nan)
        if refusing and helping:
            log_NK = requests.handle.opening_logprobs([i.prompt for i in items], [*refusing, *helping])
            yes, no = (logsumexp(x, axis=1) for x in np.split(log_NK, [len(refusing)], axis=1))
            values = (yes > no).astype(float)
        refused[name] = {"refused": values}
    return refused


def _interventions(table: Table, requests: Requests, site: Site) -> None:
    """The 2 x 2 of ablation and addition on either sort of request, for the base's direction and the checkpoint's own."""
    for name, unit_D in (("", site.base_D), ("_refit", site.refit_D)):
        ablated = requests.ask(site.ablation(unit_D))
        table.share(f"refusal_rate_ablated{name}", "harmful", ablated["harmful"]["refused"])
        # what the ablation costs: a model that it merely breaks refuses nothing either
        table.share(f"helpful_rate_ablated{name}", "safe", ablated["safe"]["complied"])
        _keep(table, ablated, f"ablated{name}")
        added = requests.ask(site.addition(unit_D))
        table.share(f"refusal_rate_added{name}", "safe", added["safe"]["refused"])
        table.share(f"refusal_rate_restored{name}", "harmful", added["harmful"]["refused"])
        _keep(table, added, f"added{name}")
    ablated_random = [requests.ask(site.ablation(unit_D), of=("harmful",)) for unit_D in site.random_KD]
    added_random = [requests.ask(site.addition(unit_D)) for unit_D in site.random_KD]
    for metric, domain, condition, found in (
        ("refusal_rate_ablated_random", "harmful", "ablated_random", ablated_random),
        ("refusal_rate_added_random", "safe", "added_random", added_random),
        ("refusal_rate_restored_random", "harmful", "added_random", added_random),
    ):
        refused = [f[domain]["refused"] for f in found]
        table.chance(metric, domain, refused)
        values = {f"refused_{condition}": np.mean(refused, axis=0)}
        table.by_item(requests.domains[domain], requests.items[domain], values)


def _cost(table: Table, given: Given, site: Site) -> None:
    """What the same ablations do to general abilities: strict scores, and the loss of right answers in nats per token."""
    handle = given.handle
    assert handle is not None
    domains = general(given.domains.values())
    asked: list[tuple[Domain, Item]] = [(d, i) for d in domains for i in d.items("test", GENERAL_ITEMS, seed=2)]
    if not asked:
        return
    conditions: dict[str, Edits] = {
        "base": {},
        "ablated": site.ablation(site.base_D),
        "ablated_refit": site.ablation(site.refit_D),
    }
    longest = max(d.max_new_tokens for d in domains)
    for name, edits in conditions.items():
        responses = handle.ask(domains[0].name, [i for _, i in asked], edits=edits, max_new_tokens=longest)
        strict = np.array([float(d.grade(i, r).strict) for (d, i), r in zip(asked, responses, strict=True)])
        table.add(f"general_score_{name}", intervals.mean(strict, [i.cluster for _, i in asked]), "share")
        for domain in domains:
            own = [d is domain for d, _ in asked]
            items = [i for d, i in asked if d is domain]
            score = intervals.mean(strict[own], [i.cluster for i in items])
            table.add(f"general_score_{name}", score, "share", domain.name)
            table.by_item(domain, items, {f"general_score_{name}": strict[own]})
    answered = [(d, i) for d, i in asked if isinstance(d, Answers)]
    if not answered:
        return
    prompts, texts = [i.prompt for _, i in answered], [d.direct(i.reference) for d, i in answered]
    for name, edits in conditions.items():
        losses = handle.losses(prompts, texts, edits=edits)
        table.add(f"loss_{name}", intervals.mean(losses, [i.cluster for _, i in answered]), "nats per token")
    at_random = [handle.losses(prompts, texts, edits=site.ablation(unit_D)) for unit_D in site.random_KD]
    units = [k for k, losses in enumerate(at_random) for _ in losses]
    table.add("loss_ablated_random", intervals.mean(np.concatenate(at_random), units), "nats per token")
