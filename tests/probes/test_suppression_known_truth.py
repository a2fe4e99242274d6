"""Suppression where a real model's truth is known: one that searches, and one that only says "wait"."""

from __future__ import annotations

import known_truth
import numpy as np
import pytest
from known_truth import make
from sftscope.dynamics.record import create_run
from sftscope.probes import organisms
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.protocol import Ask, Needs
from sftscope.probes.work import Cost, Work

pytestmark = pytest.mark.slow
COUNTDOWN = DOMAINS["countdown"]


@pytest.fixture
def planner(tmp_path) -> Planner:
    create_run(tmp_path / "run", {"config_hash": "x"})
    config = ProbeConfig(items=64, domains=("countdown",), probes=("suppression", "budget"), during=())
    return Planner(tmp_path / "run", Checkpoint(0, organisms.folder(known_truth.BASE)), config)


def measured(planner: Planner, model) -> dict[str, object]:
    return {r.metric: r.estimate for r in planner.measure(planner.base, model=model)}


def test_going_back_buys_what_a_search_finds_and_a_naive_control_hides_it(planner):
    model = make("searches").model
    found = measured(planner, model)
    assert found["suppression_loss_beyond_control"].lo > 0.25
    assert found["suppression_backtracks_left"].hi < 0.15
    assert found["suppression_backtracks_left_control"].value > 0.6
    assert found["budget_slope"].lo > 0.25
    # naive: a word as frequent as those banned, and part of every trace. Banning it costs as much, or more
    given = Work(planner, planner.base, model, Cost(), [], None).given(
        Needs(generations=(Ask("countdown"),), intervention=True)
    )

    def accuracy(banned: list[str]) -> float:
        items = given.answered["countdown"].items
        responses = given.handle.ask("countdown", items, banned=banned)
        return float(np.mean([COUNTDOWN.grade(i, r).strict for i, r in zip(items, responses, strict=True)]))

    assert accuracy(["left"]) <= accuracy(["no", "back"]) + 0.05


def test_saying_wait_buys_nothing_beyond_what_any_ban_costs(planner):
    found = measured(planner, make("says_wait").model)
    beyond = found["suppression_loss_beyond_control"]
    assert beyond.n >= 30
    assert beyond.lo <= 0.02
    assert beyond.value <= 0.06
