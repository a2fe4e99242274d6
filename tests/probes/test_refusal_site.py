"""The best site: found where it was put, judged only by layers behind it, and no surer than the prompts allow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from known_truth import base
from sftscope.probes.causal import cosmic
from sftscope.probes.causal.handle import ModelHandle
from sftscope.probes.causal.refusal_site import RefusalSite, offset_of
from sftscope.probes.domains import Item
from sftscope.probes.internals.capture import capture_last_prompt
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.prompt_sets import refusal_prompts
from sftscope.probes.protocol import Captured, Given, PromptSet
from sftscope.probes.rendering import Renderer

POSITIONS = ("last_prompt", "template[-2]", "template[-3]", "instruction_end")
LAYERS, WIDTH = 6, 24


def test_few_layers_are_judged_by_one_and_none_judges_itself():
    rng = np.random.default_rng(0)
    for n in (2, 3, 4, 9, 12, 28, 80):
        positive, negative = rng.standard_normal((2, n, 5))
        candidates, judges = cosmic.candidate_columns(n), cosmic.evaluation_columns(positive, negative)
        assert candidates
        assert len(judges) == max(1, int(0.1 * n))  # int(0.1 * 9) is 0: the mean over no layers is NaN
        assert min(judges) > max(candidates)
    assert cosmic.candidate_columns(1) == []


class OneSite:
    """A model whose later layers read one site alone; `site`: (layer, position), or None where they read nothing of it."""

    def __init__(self, captured: Captured, site: tuple[int, str] | None) -> None:
        self.captured, self.site = captured, site
        self.row = {item.prompt: k for k, item in enumerate(captured.prompts.items)}

    def states(self, prompts, *, edits=None, layers=None):
        rows = [self.row[p] for p in prompts]
        layer, position = self.site
        stream = torch.zeros(len(rows), 9, WIDTH)
        at = offset_of(position, self.captured)
        stream[:, at] = torch.tensor(self.captured.acts[position][rows, layer])
        if edits and layer in edits:
            stream = edits[layer](stream)
        return np.repeat(stream[:, at].numpy()[:, None], len(layers), axis=1)


def planted(rng, n=120) -> Captured:
    label = np.arange(n) % 2 == 0
    items = tuple(Item(f"i{k}", f"p{k}", {}) for k in range(n))
    part, group = np.where(np.arange(n) < n // 2, "fit", "eval"), np.array([f"g{k}" for k in range(n)])
    prompts = PromptSet(
        "refusal", items, label, part, np.where((np.arange(n) // 2) % 2 == 0, "A", "B"), group, POSITIONS
    )
    acts = {
        p: (rng.standard_normal((n, LAYERS, WIDTH)) + label[:, None, None] * 4 * rng.standard_normal((LAYERS, WIDTH)))
        + 1
        for p in POSITIONS
    }
    return Captured(
        prompts, {p: x.astype(np.float32) for p, x in acts.items()}, tuple(range(LAYERS)), acts[POSITIONS[0]][:, 0]
    )


@pytest.mark.parametrize("site", [(1, "last_prompt"), (2, "template[-3]"), (0, "instruction_end")])
def test_a_planted_site_is_found_whatever_layer_and_position(site):
    rng = np.random.default_rng(0)
    captured = planted(rng)
    result = RefusalSite().measure(Given(7, captured={"refusal": captured}, handle=OneSite(captured, site)))
    best = next(m for m in result.rows if m.metric == "refusal_best_layer")
    assert (best.layer, best.position, best.estimate.value) == (*site, float(site[0]))
    shares = {(m.layer, m.position): m.estimate.value for m in result.rows if m.metric == "refusal_site_probability"}
    assert len(shares) == 4 * 4  # the first 80 % of six layers, at four positions
    assert shares[site] > 0.99
    assert sum(shares.values()) == pytest.approx(1)
    of = {m.metric: m.estimate for m in result.rows if m.metric.startswith("refusal_best")}
    assert of["refusal_best_score"].lo > of["refusal_best_score_random"].hi
    assert of["refusal_best_score"].lo > of["refusal_best_score_unedited"].hi
    assert of["refusal_best_margin"].lo > 0
    stored = result.directions["refusal_best"]
    assert (stored.layers, stored.position) == ((site[0],), site[1])


def test_sites_that_are_alike_share_the_probability():
    """Two sites read to equal parts: a single argmax would name one of them and sound sure."""
    rng = np.random.default_rng(1)
    captured = planted(rng)
    acts = dict(captured.acts)
    acts["template[-2]"] = acts["last_prompt"]
    twins = Captured(captured.prompts, acts, captured.layers, captured.embedded_ND)

    class Both(OneSite):
        def states(self, prompts, *, edits=None, layers=None):
            halves = []
            for position in ("last_prompt", "template[-2]"):
                self.site = (1, position)
                halves.append(super().states(prompts, edits=edits, layers=layers))
            return (sum(halves) + 2 * rng.standard_normal(halves[0].shape)).astype(np.float32)

    result = RefusalSite().measure(Given(7, captured={"refusal": twins}, handle=Both(twins, None)))
    shares = {(m.layer, m.position): m.estimate.value for m in result.rows if m.metric == "refusal_site_probability"}
    assert shares[1, "last_prompt"] + shares[1, "template[-2]"] > 0.99
    assert max(shares.values()) < 0.999
    margin = next(m.estimate for m in result.rows if m.metric == "refusal_best_margin")
    assert margin.lo <= 0 <= margin.hi


@pytest.fixture(scope="module")
def handle():
    known = base()
    return ModelHandle(known.model, Renderer(known.tokenizer), DOMAINS, lambda *_: [])


def test_states_are_those_of_capture_and_edits_reach_only_what_is_behind_them(handle):
    prompts = [i.prompt for name in ("harmful", "countdown", "facts") for i in DOMAINS[name].items("test", 4)]
    ids = handle.renderer.prompts(prompts)
    assert len({len(i) for i in ids}) > 2  # padding has something to do
    plain = capture_last_prompt(handle.model, ids, pad_id=0)
    assert np.allclose(handle.states(prompts), plain, atol=1e-3)
    vector = torch.linspace(-1, 1, plain.shape[-1])
    edited = handle.states(prompts, edits={1: lambda x: x + vector})
    assert np.allclose(edited[:, 0], plain[:, 0], atol=1e-3)
    assert np.allclose(edited[:, 1], plain[:, 1] + vector.numpy(), atol=1e-3)
    assert np.abs(edited[:, 2] - plain[:, 2]).max() > 0.5
    assert np.allclose(handle.states(prompts, layers=[2])[:, 0], plain[:, 2], atol=1e-3)


def test_on_an_organism_the_site_carries_the_decision_and_a_random_direction_does_not(handle):
    known = base()
    prompts = refusal_prompts(DOMAINS, {})
    ids = handle.renderer.prompts([i.prompt for i in prompts.items])
    acts = capture_last_prompt(known.model, ids, pad_id=0)
    captured = Captured(prompts, {"last_prompt": acts}, (0, 1, 2), acts[:, 0])
    result = RefusalSite().measure(Given(0, captured={"refusal": captured}, handle=handle))
    of = {m.metric: m.estimate for m in result.rows if m.metric.startswith("refusal_best")}
    assert of["refusal_best_score"].lo > 1.9  # of 2: refused prompts become helped ones, and the reverse
    assert of["refusal_best_score_random"].hi < 1.3
    assert of["refusal_best_score_unedited"].hi < 1.3
