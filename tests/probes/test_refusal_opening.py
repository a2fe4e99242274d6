"""Log-odds of opening with a refusal: learnt from the base, and undefined where refusals open otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from sftscope.probes import organisms
from sftscope.probes.behaviour.refusal_opening import RefusalOpening
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.domains import Response
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.microworld.requests import REFUSAL
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.protocol import Answered, Given

WORDS = ["sorry", "i", "answer", "<think>"]
N = 20


class Openings:
    """A handle on a model of which only the first word is known: its probabilities by kind of request."""

    def __init__(self, harmful: dict[str, float], safe: dict[str, float]) -> None:
        self.by_kind = {True: harmful, False: safe}
        self.harmful = {i.prompt for i in DOMAINS["harmful"].items("probe", N)}

    def tokens(self, text):
        return [(WORDS.index(w) if w in WORDS else 99, w) for w in text.split()]

    def opening_logprobs(self, prompts, tokens):
        said = [self.by_kind[p in self.harmful] for p in prompts]
        return np.log([[s.get(WORDS[t], 1e-9) for t in tokens] for s in said]).reshape(len(prompts), len(tokens))


def answered(domain: str, text) -> Answered:
    items = DOMAINS[domain].items("probe", N)
    said = [text(i) if callable(text) else text for i in items]
    return Answered(DOMAINS[domain], items, [Response(t, True, len(t.split())) for t in said])


def helped(item) -> str:
    return DOMAINS["safe"].help(item.reference)


BASE = {"harmful": answered("harmful", REFUSAL), "safe": answered("safe", helped)}


def measured(handle, harmful=REFUSAL, base=BASE):
    now = {"harmful": answered("harmful", harmful), "safe": answered("safe", helped)}
    given = Given(3, answered=now, base_answered=base, handle=handle)
    return {(r.metric, r.domain): r for r in RefusalOpening().measure(given).rows}


def test_log_odds_of_the_openings_that_the_base_s_refusals_have():
    found = measured(Openings({"sorry": 0.9, "answer": 0.1}, {"sorry": 0.01, "answer": 0.99}))
    assert found["refusal_opening_logodds", "harmful"].estimate.value == pytest.approx(np.log(9))
    assert found["refusal_opening_logodds", "safe"].estimate.value == pytest.approx(-np.log(99))
    assert found["refusal_opening_mass", "harmful"].estimate.value == pytest.approx(1)
    assert found["refusals_opening_as_base", "harmful"].estimate.value == 1


def test_a_word_that_opens_help_too_is_no_sign_of_refusal():
    base = {
        "harmful": answered("harmful", "i cannot help with that"),
        "safe": answered("safe", lambda item: "i can help"),
    }
    row = measured(Openings({"i": 1.0}, {"i": 1.0}), base=base)["refusal_opening_logodds", "harmful"]
    assert not row.estimate.defined
    assert "no token tells" in row.reason


def test_a_model_that_thinks_first_and_refuses_all_the_same_is_not_read_as_one_that_lost_refusal():
    thinks = Openings({"<think>": 0.98, "sorry": 0.002, "answer": 0.018}, {"<think>": 0.98, "answer": 0.02})
    found = measured(thinks, harmful=f"<think> no </think> {REFUSAL}")
    naive = found["refusal_opening_mass", "harmful"].estimate.value  # "sorry" alone: 0.002, log-odds of -6
    assert naive == pytest.approx(0.02)
    row = found["refusal_opening_logodds", "harmful"]
    assert not row.estimate.defined
    assert "hold 0.02 of the probability" in row.reason
    assert found["refusals_opening_as_base", "harmful"].estimate.value == 0


def test_refusals_in_other_words_make_it_invalid_too():
    row = measured(
        Openings({"sorry": 0.1, "answer": 0.5, "i": 0.4}, {"answer": 1.0}), harmful="i cannot help with that"
    )["refusal_opening_logodds", "harmful"]
    assert not row.estimate.defined
    assert "0.00 of them as the base's do" in row.reason


def test_on_an_organism_it_agrees_with_what_is_then_written(tmp_path):
    base = Checkpoint(0, organisms.folder("qwen3-0.2m"))
    config = ProbeConfig(items=40, domains=("harmful", "safe"), probes=("refusal_opening",), during=())
    found = {(r.metric, r.domain): r.estimate for r in Planner(tmp_path, base, config).measure(base)}
    assert found["refusal_opening_logodds", "harmful"].lo > 3
    assert found["refusal_opening_logodds", "safe"].hi < -3
    assert found["refusal_opening_mass", "harmful"].value > 0.9
    assert found["refusals_opening_as_base", "harmful"].value == 1
