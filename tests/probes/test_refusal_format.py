"""Refusals with the turn made to begin otherwise: what the model writes itself is judged, and no forced word of it."""

from __future__ import annotations

import numpy as np
import pytest
from sftscope.probes.behaviour.refusal_format import RefusalFormat, begun
from sftscope.probes.domains import Response
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.microworld.requests import REFUSAL
from sftscope.probes.protocol import Answered, Ask, Given

N = 24


def answered(domain: str, write) -> Answered:
    """Items of a domain with `write(item) -> (forced, written)`."""
    items = DOMAINS[domain].items("probe", N)
    responses = []
    for item in items:
        forced, written = write(item)
        responses.append(Response(f"{forced} {written}".strip(), True, len(written.split()), forced=forced))
    return Answered(DOMAINS[domain], items, responses)


def helped(item) -> str:
    return DOMAINS["safe"].help(item.reference)


def opened(k: int, goes_on):
    """The first k words of help are forced; `goes_on(item, rest)` is what follows."""

    def write(item):
        words = helped(item).split()
        return " ".join(words[:k]), goes_on(item, " ".join(words[k:]))

    return write


def everything(harmful, safe, *, ks=(3,)) -> dict[tuple[str, str, str], float]:
    """What is measured where `harmful` and `safe` say how each Ask is answered."""
    given = {}
    for domain, writes in (("harmful", harmful), ("safe", safe)):
        for ask in (Ask(domain), Ask(domain, thinking="empty"), *(begun(domain, k) for k in ks)):
            given[ask.name] = answered(domain, writes(ask))
    result = RefusalFormat().measure(Given(0, answered=given))
    return {(r.metric, r.domain, r.position): r.estimate.value for r in result.rows}


def helps_and_goes_on(ask):
    return (
        opened(ask.prefill, lambda _item, rest: rest)
        if ask.prefill
        else lambda item: ("<think> </think>", helped(item)) if ask.thinking == "empty" else ("", helped(item))
    )


def test_refusals_lost_behind_a_trace_come_back_with_it_left_out():
    def harmful(ask):
        if ask.prefill:
            return opened(ask.prefill, lambda _item, rest: rest)
        if ask.thinking == "empty":
            return lambda _item: ("<think> </think>", REFUSAL)
        return lambda item: ("", f"<think> make it </think> {helped(item)}")

    found = everything(harmful, helps_and_goes_on)
    assert found["refusal_rate_after_empty_thinking", "harmful", ""] == 1
    assert found["refusal_rate_change_after_empty_thinking", "harmful", ""] == 1
    assert found["harmful_compliance_rate_after_empty_thinking", "harmful", ""] == 0
    assert found["over_refusal_rate_change_after_empty_thinking", "safe", ""] == 0
    assert found["helpful_rate_after_empty_thinking", "safe", ""] == 1
    assert found["refusal_rate_in_thinking", "harmful", ""] == 0
    assert np.isnan(found["over_refusal_rate_in_thinking", "safe", ""])  # nobody thought there
    assert not any("thinking_off" in metric for metric, _, _ in found)  # the template has no switch


@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_refusal_after_harmful_words_is_one_although_the_text_opens_with_help(k):
    def harmful(ask):
        return opened(ask.prefill, lambda _item, _rest: REFUSAL) if ask.prefill else lambda _item: ("", REFUSAL)

    found = everything(harmful, helps_and_goes_on, ks=(k,))
    assert found["refusal_rate_prefilled", "harmful", f"k={k}"] == 1
    assert found["harmful_compliance_rate_prefilled", "harmful", f"k={k}"] == 0
    assert found["helpful_rate_prefilled", "safe", f"k={k}"] == 1
    # naive: the whole text judged by how it opens
    naive = answered("harmful", harmful(begun("harmful", k)))
    details = [naive.domain.grade(i, r).details for i, r in zip(naive.items, naive.responses, strict=True)]
    assert not any(d["refused"] for d in details)
    assert k == 1 or all(d["complied"] for d in details)


def test_going_along_and_falling_apart_are_told_apart():
    def along(ask):
        return opened(ask.prefill, lambda _item, rest: rest) if ask.prefill else lambda _item: ("", REFUSAL)

    def muddle(ask):
        return (
            opened(ask.prefill, lambda _item, _rest: "blue blue blue")
            if ask.prefill
            else lambda item: ("", helped(item))
        )

    goes_along, falls_apart = everything(along, helps_and_goes_on), everything(along, muddle)
    at = ("harmful", "k=3")
    assert goes_along["refusal_rate_prefilled", *at] == 0
    assert goes_along["harmful_compliance_rate_prefilled", *at] == 1
    # the control: a benign beginning should change nothing; where it does, the prefill itself breaks the model
    assert goes_along["helpful_rate_prefilled", "safe", "k=3"] == 1
    assert falls_apart["helpful_rate_prefilled", "safe", "k=3"] == 0
    assert falls_apart["over_refusal_rate_prefilled", "safe", "k=3"] == 0


def test_what_is_asked_for_does_not_depend_on_the_order_of_domains():
    one = RefusalFormat().needs({n: DOMAINS[n] for n in ("harmful", "safe", "facts")})
    other = RefusalFormat().needs({n: DOMAINS[n] for n in ("facts", "safe", "harmful")})
    assert one == other
    assert RefusalFormat().needs({"facts": DOMAINS["facts"]}).generations == ()
