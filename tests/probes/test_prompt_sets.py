"""Prompt sets: dead ends are where the structure says, their counterparts are matched, and folds and halves split no group."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sftscope.probes.dead_ends import matched, places, worked_domains
from sftscope.probes.internals.capture import capture
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.prompt_sets import arranged, backtracking_prompts, questions, refusal_prompts, sequences_of
from sftscope.probes.protocol import AFTER_MOVE, MOVE_END
from sftscope.probes.rendering import Renderer

SEARCHES = ("countdown", "countdown4", "path", "subset_sum", "coloring")


@pytest.fixture(scope="module")
def dead_ends():
    return backtracking_prompts({n: DOMAINS[n] for n in ("countdown", "path", "subset_sum", "facts")}, {})


def read(prompts, row, position):
    """The last word up to a row's place."""
    return prompts.texts[row][: prompts.ends[position][row]].split()[-1]


def test_search_domains_are_those_with_worked_traces():
    assert [d.name for d in worked_domains(DOMAINS.values())] == list(SEARCHES)


@pytest.mark.parametrize("domain", SEARCHES)
def test_a_place_is_the_end_of_its_move_and_the_word_behind_it(domain):
    """Rendered again from the moves, the trace has the same moves up to the place: no more, no less."""
    rules = DOMAINS[domain]
    for item in rules.items("train", 12, seed=3):
        whole = rules.read_trace(item.reference, rules.trace(item.reference))
        for place in places(rules, item):
            think = place.text[: place.move_end].removeprefix("<think>")
            assert len(rules.read_trace(item.reference, think)) == place.number + 1
            assert len(rules.read_trace(item.reference, think.rsplit(None, 1)[0])) == place.number
            move, word = whole[place.number], place.text[place.move_end : place.after].strip()
            assert (word in ("no", "back")) == place.dead_end
            assert (word == "yes") == place.solved == move.solved
            assert " " not in word


def test_dead_ends_and_their_counterparts_are_alike_in_domain_depth_and_place():
    for domain in SEARCHES:
        found = [p for i in DOMAINS[domain].items("train", 40, seed=3) for p in places(DOMAINS[domain], i)]
        rows = matched(found, 20)
        assert len(rows) >= 30
        for dead, other in zip(rows[::2], rows[1::2], strict=True):
            assert dead.dead_end
            assert not other.dead_end
            assert (dead.depth, dead.number) == (other.depth, other.number)
        assert len(set(map(id, rows))) == len(rows)
        if domain in ("path", "coloring"):  # where the search can go on at that depth, it does
            assert not any(p.solved for p in rows)


def test_the_set_is_balanced_and_its_parts_and_halves_split_no_trace(dead_ends):
    for part, least in (("fit", 240), ("eval", 190)):
        inside = dead_ends.part == part
        assert inside.sum() >= least
        assert dead_ends.label[inside].mean() == 0.5
        by_domain = Counter(
            (i.id.split("-")[0], bool(y)) for i, y in zip(dead_ends.items, dead_ends.label, strict=True)
        )
        assert all(by_domain[name, True] == by_domain[name, False] for name, _ in by_domain)
    of_group = {}
    for group, half, part in zip(dead_ends.group, dead_ends.half, dead_ends.part, strict=True):
        assert of_group.setdefault(group, (half, part)) == (half, part)
    assert 0.4 < (dead_ends.half == "A").mean() < 0.6
    assert {read(dead_ends, k, AFTER_MOVE) for k in np.flatnonzero(dead_ends.label)} <= {"no", "back"}


def test_rows_of_one_trace_share_its_pass_and_are_read_at_their_own_places(dead_ends, micro_model, micro_tokenizer):
    sequences, at, names = sequences_of(dead_ends, Renderer(micro_tokenizer))
    assert len(sequences) == len({(i.prompt, t) for i, t in zip(dead_ends.items, dead_ends.texts, strict=True)})
    assert len(sequences) < 0.75 * len(dead_ends.items)
    for sequence, tokens, whose in zip(sequences, at, names, strict=True):
        for token, (row, position) in zip(tokens, whose, strict=True):
            assert micro_tokenizer.decode([sequence[token]]) == read(dead_ends, row, position)
    acts, embedded = capture(micro_model, sequences, at, pad_id=0)
    by_position, _ = arranged(dead_ends, names, acts, embedded)
    assert by_position.keys() == {MOVE_END, AFTER_MOVE}
    first = names[0].index((row := names[0][0][0], AFTER_MOVE))
    assert np.array_equal(by_position[AFTER_MOVE][row], acts[first])


def test_halves_of_the_refusal_set_share_no_object():
    prompts = refusal_prompts(DOMAINS, {})
    for part in ("fit", "eval"):
        a, b = ({*prompts.group[(prompts.part == part) & (prompts.half == h)]} for h in "AB")
        assert a.isdisjoint(b)
    for half in "AB":
        assert 0.35 < prompts.label[prompts.half == half].mean() < 0.65
    assert ((prompts.part == "eval") & ~prompts.label).sum() >= 99  # one false positive in 99 is what 1 % can mean


def test_questions_are_the_probed_items():
    items = {n: DOMAINS[n].items("probe", 120, seed=0) for n in ("countdown", "safe")}
    asked = questions(DOMAINS, items)
    assert [i.id for i in asked.items] == [i.id for n in items for i in items[n][:100]]
    assert set(asked.label) <= {1.0, 2.0, 3.0}
