"""Directions of concepts on models whose truth is known: rotated ones, planted ones, and organisms that were left alone."""

from __future__ import annotations

import numpy as np
import pytest
from known_truth import base, make
from sftscope.probes.internals import directions as d
from sftscope.probes.internals.backtracking_direction import BacktrackingDirection
from sftscope.probes.internals.capture import capture
from sftscope.probes.internals.nulls import null
from sftscope.probes.internals.refusal_direction import RefusalDirection
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.prompt_sets import PROMPT_SETS, arranged, sequences_of
from sftscope.probes.protocol import AFTER_MOVE, MOVE_END, Captured, Given
from sftscope.probes.rendering import Renderer


def captured(known, prompts) -> Captured:
    sequences, places, names = sequences_of(prompts, Renderer(known.tokenizer))
    acts, embedded = capture(known.model, sequences, places, pad_id=known.tokenizer.pad_token_id)
    return Captured(prompts, *arranged(prompts, names, acts, embedded)[:1], tuple(range(acts.shape[1])), embedded)


@pytest.fixture(scope="module")
def refusal_set():
    return PROMPT_SETS["refusal"](DOMAINS, {})


@pytest.fixture(scope="module")
def dead_ends():
    return PROMPT_SETS["backtracking"](DOMAINS, {})


def measured(probe, now: Captured, before: Captured):
    given = Given(5, captured={probe.prompt_set: now}, base_captured={probe.prompt_set: before})
    result = probe.measure(given)
    assert {m.status for m in result.rows} == {"ok"}
    return result, {(m.metric, m.layer): m.estimate for m in result.rows}


def test_rotated_readouts_fail_and_refit_ones_hold(refusal_set):
    """The direction went elsewhere with its readers: the frozen readout is chance, the refit one as good as before."""
    before = captured(base(), refusal_set)
    same, _ = measured(RefusalDirection(), before, before)
    result, of = measured(RefusalDirection(), captured(make("rotated"), refusal_set), before)
    for layer in before.layers:
        assert of["refusal_auc_refit", layer].value > 0.97
        assert of["refusal_auc_frozen", layer].value < 0.6
        assert of["refusal_tpr_frozen", layer].value < 0.1 < of["refusal_tpr_refit", layer].lo
        assert abs(of["refusal_gap_frozen", layer].value) < 0.1 * of["refusal_gap_refit", layer].value
        assert abs(of["refusal_cosine_to_base", layer].value) < 0.1
    assert of["refusal_probe_auc_refit", 2].value > 0.97
    stored, earlier = result.directions["refusal"], same.directions["refusal"]
    assert stored.unit_LD.shape == stored.positive_LD.shape == before.acts_NLD.shape[1:]
    assert np.abs(d.cosine(stored.unit_LD, earlier.unit_LD)).max() < 0.2
    assert set(result.directions) == {"refusal", "harmfulness"}


def test_projections_are_relative_to_the_bases_harmless_mean(refusal_set):
    before = captured(base(), refusal_set)
    _, of = measured(RefusalDirection(), before, before)
    for layer in before.layers:
        assert of["refusal_projection_negative", layer].value == pytest.approx(0, abs=1e-9)
        gap = of["refusal_gap_frozen", layer].value
        assert of["refusal_projection_positive", layer].value == pytest.approx(gap)
    shifted = {
        p: x + 3.0 * d.unit(d.difference_in_means(x[:256], refusal_set.label[:256])) for p, x in before.acts.items()
    }
    moved = Captured(
        refusal_set, {p: x.astype(np.float32) for p, x in shifted.items()}, before.layers, before.embedded_ND
    )
    _, later = measured(RefusalDirection(), moved, before)
    for layer in before.layers:  # everything moved along the direction: the gap is blind to it, the projections are not
        assert later["refusal_gap_frozen", layer].value == pytest.approx(
            of["refusal_gap_frozen", layer].value, rel=0.01
        )
        assert later["refusal_projection_negative", layer].lo > 0.2


def test_shuffled_labels_are_chance_everywhere(refusal_set):
    rng = np.random.default_rng(0)
    before = captured(base(), refusal_set)
    below = []
    for _ in range(4):
        names = np.unique(refusal_set.group)
        fate = dict(zip(names, rng.permutation(len(names)) % 2 == 0, strict=True))
        label = np.array([fate[g] for g in refusal_set.group])
        shuffled = Captured(
            refusal_set.__class__(**{**vars(refusal_set), "label": label}),
            before.acts,
            before.layers,
            before.embedded_ND,
        )
        _, of = measured(RefusalDirection(), shuffled, shuffled)
        below += [of["refusal_auc_refit", k].value <= of["refusal_auc_null_p99_best", -1].value for k in before.layers]
        assert of["refusal_probe_auc_refit", 2].lo < 0.5
    assert np.mean(below) > 0.8


def test_dead_ends_are_known_before_they_are_said_and_words_do_not_tell(dead_ends):
    before = captured(base("qwen3-0.9m"), dead_ends)
    _, of = measured(BacktrackingDirection(), before, before)
    last = before.layers[-1]
    words = max(of[f"dead_end_baseline_{b}_auc", -1].hi for b in ("words", "length", "last_word", "embedding"))
    assert of["dead_end_auc_refit", last].lo > words
    assert of["dead_end_probe_auc_refit", 3].lo > words
    # at the word behind the move the classes are two words: whatever reads them there reads nothing else
    assert of["backtracking_baseline_last_word_auc", -1].value == 1.0
    assert of["backtracking_auc_refit", last].value > 0.98


@pytest.mark.slow
def test_a_planted_backtracking_direction_is_recovered_where_going_back_is_decided(dead_ends):
    known = make("planted_backtracking")
    now = captured(known, dead_ends)
    fit, truth = dead_ends.part == "fit", known.put["direction"].astype(np.float64)
    chance = null(now.acts, dead_ends.label, fit, {p: np.tile(truth, (len(now.layers), 1)) for p in now.acts})
    best = chance.best_quantile(chance.cosine)
    result, _ = measured(BacktrackingDirection(), now, now)
    found = {c: np.abs(result.directions[c].unit_LD @ truth).max() for c in ("backtracking", "dead_end")}
    assert found["backtracking"] > best  # best of layers and positions on both sides
    assert found["dead_end"] < best  # one token earlier nothing of it has been read yet: why the site is the word
    untouched = captured(base(), dead_ends)
    direction = BacktrackingDirection().measure(
        Given(0, captured={"backtracking": untouched}, base_captured={"backtracking": untouched})
    )
    assert np.abs(direction.directions["backtracking"].unit_LD @ truth).max() < best
    assert {direction.directions[c].position for c in found} == {MOVE_END, AFTER_MOVE}


def test_the_refusal_probe_says_nothing_where_its_domains_are_missing():
    assert not RefusalDirection().needs({"countdown": DOMAINS["countdown"]}).activations
    assert RefusalDirection().measure(Given(0)).rows == []
