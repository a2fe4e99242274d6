"""Going back, caused: a planted direction brings it to a model without it, a random one of the same length does not."""

from __future__ import annotations

import known_truth
import pytest
import torch
from sftscope.dynamics.errors import ConfigError
from sftscope.dynamics.record import create_run
from sftscope.probes.causal import backtracking_pair
from sftscope.probes.causal.backtracking_pair import DeadEnd, read
from sftscope.probes.causal.handle import ModelHandle
from sftscope.probes.causal.interventions import add, at_last_given, at_last_prompt
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.domains import Item, Response
from sftscope.probes.engines.hf import HfEngine
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.rendering import Renderer

CONFIG = ProbeConfig(items=4, domains=("countdown",), probes=("backtracking_pair",), during=())


@pytest.fixture
def countdown_dead_end():
    item = Item("countdown-x", "make 24 from 2 4 8", {"numbers": [2, 4, 8], "target": 24}, "x")
    return DeadEnd(DOMAINS["countdown"], item, "<think> 2 + 4 = 6 left 8 6 : 8 + 6 = 14 no")


@pytest.mark.parametrize(
    ("then", "outcome"),
    [
        # no way leads on from 2 + 4 = 6 nor from what was tried there: two opportunities are open
        ("</think> answer 2 + 4 = 6 , 8 + 6 = 14", (0, 0, 2, 0)),
        ("8 + 6 = 14 no </think> answer 8", (0, 0, 3, 0)),  # the same branch again: a loop
        ("8 - 6 = 2 no 8 * 6 = 48 no </think> answer 8", (1, 2, 4, 0)),  # back twice, and given up at the third
        ("back 4 + 8 = 12 left 2 12 : 2 * 12 = 24 yes </think> answer 4 + 8 = 12 , 2 * 12 = 24", (1, 2, 2, 1)),
    ],
)
def test_what_is_read_begins_at_the_dead_end(countdown_dead_end, then, outcome):
    """(went back at once, opportunities left, opportunities, strict)."""
    text = f"{countdown_dead_end.begin} {then}"
    assert read(countdown_dead_end, Response(text, True, 10, countdown_dead_end.begin)) == outcome


def handle_of(known) -> ModelHandle:
    renderer = Renderer(known.tokenizer)

    def generate(model, prompts, sampling):
        eos = [known.tokenizer.eos_token_id]
        return HfEngine(model, eos_ids=eos, pad_id=renderer.pad_id).generate(prompts, sampling)

    return ModelHandle(known.model.eval(), renderer, DOMAINS, generate)


@pytest.fixture(scope="module")
def organism():
    return known_truth.base()


def test_the_last_given_token_is_edited_whatever_shares_the_batch(organism):
    """Beginnings of unlike length end in one column; the last prompt token does not, and nobody may take it for one."""
    handle = handle_of(organism)
    items = DOMAINS["countdown"].items("test", 6)
    begins = ["<think>", "<think> 2 + 3 = 5", "<think>", "answer", "<think> 4", "answer 2 +"]
    vector = 3 * torch.randn(64, generator=torch.Generator().manual_seed(0))
    edits = {1: at_last_given(add(vector))}
    together = [r.text for r in handle.ask("countdown", items, edits=edits, begins=begins, max_new_tokens=12)]
    alone = [
        handle.ask("countdown", [i], edits=edits, begins=[b], max_new_tokens=12)[0].text
        for i, b in zip(items, begins, strict=True)
    ]
    plain = [r.text for r in handle.ask("countdown", items, begins=begins, max_new_tokens=12)]
    assert together == alone
    assert sum(a != b for a, b in zip(together, plain, strict=True)) >= 3  # and the edit is felt
    with pytest.raises(ConfigError, match="equally many tokens"):
        handle.ask("countdown", items, edits={1: at_last_prompt(add(vector))}, begins=begins, max_new_tokens=2)


def measured(run, base: Checkpoint, checkpoint: Checkpoint) -> dict:
    """(metric, condition) -> estimate."""
    create_run(run, {"config_hash": "x"})
    rows = Planner(run, base, CONFIG).measure(checkpoint)
    assert all(r.status == "ok" for r in rows)
    return {(r.metric, r.position): r.estimate for r in rows}


RATES = "steered_back_rate", "steered_backtracks_per_opportunity"


@pytest.mark.slow
def test_a_planted_direction_brings_going_back_to_a_model_without_it(tmp_path, monkeypatch):
    """Fitted where it is planted (step 0), added where it was taken out again (step 10)."""
    monkeypatch.setattr(backtracking_pair, "DOSES", (1.0,))
    without = known_truth.without_planted(known_truth.make("planted_backtracking"))
    without.model.save_pretrained(tmp_path / "without")
    without.tokenizer.save_pretrained(tmp_path / "without")
    base = Checkpoint(0, known_truth.folder("planted_backtracking"))
    of = measured(tmp_path / "run", base, Checkpoint(10, tmp_path / "without"))
    assert of["steered_back_rate", "0"].value < 0.3
    for other in ("0", "random 1"):
        assert of["steered_back_rate", "base 1"].lo > of["steered_back_rate", other].hi
        # unsteered, hardly any response comes to a dead end: their share is not known well enough for `.hi`
        metric = "steered_backtracks_per_opportunity"
        assert of[metric, "base 1"].lo > 1.5 * of[metric, other].value
    assert of["steered_back_rate", "base 1"].value > 0.85


@pytest.mark.slow
def test_ablating_it_where_it_is_planted_ends_going_back_and_a_random_one_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(backtracking_pair, "DOSES", ())
    base = Checkpoint(0, known_truth.folder("planted_backtracking"))
    of = measured(tmp_path / "run", base, base)
    assert of["steered_back_rate", "0"].value > 0.9
    for metric in (*RATES, "steered_score"):
        assert of[metric, "ablated base"].hi < of[metric, "0"].lo
        assert of[metric, "ablated base"].hi < of[metric, "ablated random"].lo
    assert of["steered_back_rate", "ablated random"].value > 0.85
