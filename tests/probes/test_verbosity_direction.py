"""Length readouts: a planted plan is found; difficulty, the choice to think, cut responses and copies are not taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from sftscope.probes.domains import Item, Response
from sftscope.probes.internals import directions as d
from sftscope.probes.internals import length_readout as lr
from sftscope.probes.internals.verbosity_direction import VerbosityDirection, lengths
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.protocol import Answered, Captured, Given, PromptSet

WIDTH, PER_LEVEL = 40, 150
LEVELS = (1, 2, 3)
BASE_LENGTH = {1: 30, 2: 80, 3: 200}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def thinking(n_tokens, finished=True):
    return Response("<think> a b </think> answer", finished, n_tokens)


def direct(n_tokens, finished=True):
    return Response("answer", finished, n_tokens)


class World:
    """Questions at three levels, states that carry what a test puts into them."""

    def __init__(self, rng, plan=None, strength=0.4):
        self.rng, self.strength = rng, strength
        n = PER_LEVEL * len(LEVELS)
        self.level = np.repeat(LEVELS, PER_LEVEL)
        self.items = tuple(
            Item(f"countdown-{k}", "w " * (10 + k % 3), {}, f"c{k}", level=int(v)) for k, v in enumerate(self.level)
        )
        self.prompts = PromptSet(
            "questions",
            self.items,
            self.level.astype(float),
            np.array(["eval"] * n),
            np.where(np.arange(n) % 2 == 0, "A", "B"),
            np.array([f"g{k}" for k in range(n)]),
        )
        self.wish = rng.standard_normal(n)  # to write much, of each question
        self.plan = d.unit(rng.standard_normal((1, WIDTH)))[0] if plan is None else plan

    def captured(self, plan=None) -> Captured:
        direction = self.plan if plan is None else plan
        acts = self.rng.standard_normal((len(self.items), WIDTH)) + 2 * self.wish[:, None] * direction
        acts[:, 0] += 5 * self.level  # difficulty is plain to see in every state
        embedded = self.rng.standard_normal((len(self.items), WIDTH)).astype(np.float32)
        return Captured(self.prompts, {"last_prompt": acts[:, None].astype(np.float32)}, (0,), embedded)

    def tokens(self) -> np.ndarray:
        base = np.array([BASE_LENGTH[v] for v in self.level])
        noise = 0.2 * self.rng.standard_normal(len(base))
        return np.maximum(1, (base * np.exp(self.strength * self.wish + noise)).round()).astype(int)

    def answered(self, responses) -> dict[str, Answered]:
        return {"countdown": Answered(DOMAINS["countdown"], list(self.items), list(responses))}


def measure(world, answers, now=None, before=None, base_answers=None):
    now = now or world.captured()
    given = Given(
        3,
        answered=world.answered(answers),
        base_answered=world.answered(base_answers or answers),
        captured={"questions": now},
        base_captured={"questions": before or now},
    )
    result = VerbosityDirection().measure(given)
    return result, {m.metric: m for m in result.rows}


def test_a_planted_plan_of_length_is_found_in_the_kind_that_has_it(rng):
    world = World(rng)
    planned = world.tokens()
    blind = np.exp(rng.normal(3, 0.4, len(planned))).astype(int) + 1
    answers = [thinking(p) if k % 3 else direct(b) for k, (p, b) in enumerate(zip(planned, blind, strict=True))]
    result, of = measure(world, answers)
    found = of["verbosity_thinking_r2_refit"].estimate
    # 0.4^2 of 0.4^2 + 0.2^2 can be planned, and the state shows the plan with a signal of 4 to 1: at most 0.8 * 0.8
    assert 0.64 > found.value > 0.5
    assert of["verbosity_thinking_cosine_to_base"].estimate.value == pytest.approx(1)
    assert of["verbosity_thinking_spearman_refit"].estimate.lo > 0.6
    assert of["verbosity_direct_r2_refit"].estimate.lo < 0.02
    assert abs(float(result.directions["verbosity_thinking"].unit_LD[0] @ world.plan)) > 0.9
    for baseline in ("length", "embedding"):
        assert of[f"verbosity_thinking_baseline_{baseline}_r2"].estimate.value < 0.1
    assert of["verbosity_thinking_baseline_difficulty_r2"].estimate.value > 0.5


def test_difficulty_is_not_a_plan_of_length(rng):
    """Longer because harder: pooled over levels the state predicts length well, within levels not at all."""
    world = World(rng, strength=0.0)
    answers = [thinking(n) for n in world.tokens()]
    now = world.captured()
    of = lengths(world.answered(answers), now, thought=True)
    same = np.zeros(len(of), int)
    naive = lr.r_squared(
        *lr.grouped_predictions(now.acts_NLD[:, 0], of.log, same, world.prompts.group), world.prompts.group
    )
    assert naive.lo > 0.8
    _, metrics = measure(world, answers, now)
    ours = metrics["verbosity_thinking_r2_refit"].estimate
    assert ours.value < 0.02


def test_whether_to_think_is_not_a_plan_of_length(rng):
    """The state says whether there will be a trace; among traces it says nothing."""
    world = World(rng)
    thinks = world.wish > 0
    answers = [
        thinking(int(100 * np.exp(0.3 * rng.standard_normal()))) if t else direct(4 + int(rng.integers(3)))
        for t in thinks
    ]
    now = world.captured()
    log = np.log([a.n_tokens for a in answers])
    stratum = world.level.astype(str)
    naive = lr.r_squared(
        *lr.grouped_predictions(now.acts_NLD[:, 0], log, stratum, world.prompts.group), world.prompts.group
    )
    assert naive.lo > 0.4
    _, of = measure(world, answers, now)
    for kind in ("thinking", "direct"):
        assert of[f"verbosity_{kind}_r2_refit"].estimate.value < 0.03


def test_cut_responses_have_no_length(rng):
    """A cap of 60 tokens: taken as lengths, the cut ones hide the plan of the hard questions."""
    world = World(rng)
    answers = [thinking(min(n, 60), finished=n < 60) for n in world.tokens()]
    of = lengths(world.answered(answers), world.captured(), thought=True)
    assert np.exp(of.log).max() < 60
    assert len(of) == sum(
        a.finished for a, i in zip(answers, world.items, strict=True) if f"countdown {i.level}" in set(of.stratum)
    )


def test_copies_of_a_question_stay_in_one_fold(rng):
    n, copies = 60, 5
    group = np.repeat([f"g{k}" for k in range(n)], copies)
    states = np.repeat(rng.standard_normal((n, 80)), copies, axis=0) + 0.1 * rng.standard_normal((n * copies, 80))
    log = np.repeat(rng.standard_normal(n), copies)
    stratum, rows = np.array(["a"] * len(log)), np.array([f"r{k}" for k in range(len(log))])
    naive = lr.r_squared(*lr.grouped_predictions(states, log, stratum, rows), rows)
    ours = lr.r_squared(*lr.grouped_predictions(states, log, stratum, group), group)
    assert naive.value > 0.8
    assert ours.value < 0.05


def test_a_plan_that_moved_fails_frozen_and_holds_refit(rng):
    world = World(rng)
    other = rng.standard_normal(WIDTH)
    other -= (other @ world.plan) * world.plan
    answers, later = [thinking(n) for n in world.tokens()], [thinking(n) for n in world.tokens()]
    before, now = world.captured(), world.captured(d.unit(other[None])[0])
    _, of = measure(world, later, now, before, answers)
    assert of["verbosity_thinking_spearman_refit"].estimate.lo > 0.6
    frozen = of["verbosity_thinking_spearman_frozen"].estimate
    assert abs(frozen.value) < 0.25
    assert abs(of["verbosity_thinking_cosine_to_base"].estimate.value) < 0.3
    _, same = measure(world, later, world.captured(), before, answers)  # new noise in states and lengths, the same plan
    assert same["verbosity_thinking_spearman_frozen"].estimate.lo > 0.6
    assert same["verbosity_thinking_cosine_to_base"].estimate.value == pytest.approx(1, abs=0.1)
    assert same["verbosity_thinking_cosine_null_p99"].estimate.value < 0.7


def test_too_few_responses_say_why_there_is_no_number(rng):
    world = World(rng)
    answers = [thinking(n) if k < 30 else direct(n) for k, n in enumerate(world.tokens())]
    result, of = measure(world, answers)
    row = of["verbosity_thinking_r2_refit"]
    assert not row.estimate.defined
    assert "30" in row.reason
    assert set(result.directions) == {"verbosity_direct"}
    _, of = measure(world, [thinking(n) for n in world.tokens()], base_answers=[direct(n) for n in world.tokens()])
    assert of["verbosity_thinking_r2_refit"].estimate.defined
    assert not of["verbosity_thinking_spearman_frozen"].estimate.defined
    assert of["verbosity_thinking_spearman_frozen"].reason.startswith("the base")
