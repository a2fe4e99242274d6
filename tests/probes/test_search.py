"""Structural backtracking: systematic search goes back at every opportunity, loops are loops, filler is nothing."""

from __future__ import annotations

import random
import time

import pytest
from sftscope.probes.behaviour.backtracking import count_cues, top_share
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.search import Move, classify, summarise

SEARCHES = ["countdown", "countdown4", "path", "subset_sum", "coloring"]
TASK = {"numbers": [3, 5, 7], "target": 56}


def read(text: str, name: str = "countdown", task: dict = TASK):
    return DOMAINS[name].read_trace(task, text)


@pytest.mark.parametrize("name", SEARCHES)
def test_systematic_traces_go_back_at_every_opportunity_and_never_loop(name):
    domain = DOMAINS[name]
    with_dead_ends = 0
    for item in domain.items("probe", 150):
        found = summarise(domain.read_trace(item.reference, domain.trace(item.reference)))
        assert found.solved
        assert found.loops == 0
        assert found.valid == found.moves
        assert found.left == found.opportunities
        assert found.terminal_left == found.terminal_opportunities
        with_dead_ends += found.opportunities > 0
    assert with_dead_ends > 40


FAILS_THEN_SOLVES = "3 + 5 = 8 left 7 8 : 7 + 8 = 15 no 8 - 7 = 1 no 7 * 8 = 56 yes"


def test_a_backtrack_is_a_new_branch_from_an_earlier_state():
    moves = read(FAILS_THEN_SOLVES)
    assert classify(moves) == ["forward", "forward", "backtrack", "backtrack"]
    found = summarise(moves)
    assert (found.backtracks, found.terminal_opportunities, found.solved_after_backtrack) == (2, 2, True)
    to_the_root = summarise(read("3 + 5 = 8 left 7 8 : 7 + 8 = 15 no back 3 * 5 = 15 left 7 15 :"))
    assert (to_the_root.backtracks, to_the_root.depth_returned) == (1, 2)


def test_a_looping_trace_loops_and_does_not_backtrack():
    once = "3 + 5 = 8 left 7 8 : 7 + 8 = 15 no back "
    found = summarise(read(once * 6))
    assert found.backtracks == 0
    assert found.loops == 10  # both branches, five times again
    assert not found.solved
    assert found.gave_up


@pytest.mark.parametrize("filler", ["wait", "wait no", "back back wait", "no no no"])
def test_filler_between_moves_does_not_move_the_structural_count(filler):
    straight = "3 + 5 = 8 left 7 8 : 7 * 8 = 56 yes"
    padded = f"{filler} 3 + 5 = 8 left 7 8 : {filler if 'back' not in filler else 'wait'} 7 * 8 = 56 yes {filler}"
    assert summarise(read(padded)).backtracks == summarise(read(straight)).backtracks == 0
    cues = count_cues(padded.split(), read(padded))
    assert cues.events >= 2
    assert cues.followed == 0  # every cue is a false alarm


def test_cues_of_a_true_trace_have_full_recall():
    cues = count_cues(FAILS_THEN_SOLVES.split(), read(FAILS_THEN_SOLVES))
    assert (cues.events, cues.followed, cues.backtracks) == (2, 2, 2)
    silent = FAILS_THEN_SOLVES.replace(" no", "")
    assert count_cues(silent.split(), read(silent)).events == 0
    assert summarise(read(silent)).backtracks == 2  # the structure needs no cue


def test_going_on_after_a_solution_is_no_backtrack():
    found = summarise(read("3 + 5 = 8 left 7 8 : 7 * 8 = 56 yes 8 - 7 = 1"))
    assert found.backtracks == 0


def test_illegal_moves_are_invalid_and_solve_nothing():
    reuse = summarise(read("7 * 7 = 49 left 7 49 : 49 + 7 = 56 yes"))
    assert not reuse.solved
    assert reuse.valid < reuse.moves
    assert not summarise(read("3 + 5 = 9 left 7 9 : 7 * 8 = 56 yes")).solved


@pytest.mark.parametrize(
    ("name", "task", "text"),
    [
        ("countdown", TASK, "3 + 5 = 8 left 7 8 : 9 + 9 = 18 11 * 2 = 22 no"),
        ("path", {"start": "a", "goal": "d", "edges": ["ab", "bc", "ad"]}, "a to b b to c e to f f to d"),
        ("subset_sum", {"numbers": [3, 9, 14, 20], "target": 23}, "take 3 3 + 9 = 12 19 + 14 = 33"),
    ],
)
def test_steps_from_states_that_were_never_reached_are_invalid_and_no_backtracks(name, task, text):
    found = summarise(read(text, name, task))
    assert found.backtracks == 0
    assert found.valid < found.moves


@pytest.mark.parametrize("name", SEARCHES)
def test_any_words_at_all_are_read_without_an_error(name):
    """A model half-way through training says anything: words of every domain, in any order, none or one or many."""
    rng = random.Random(4)
    words = [w for d in SEARCHES for i in DOMAINS[d].items("probe", 3) for w in DOMAINS[d].trace(i.reference).split()]
    item = DOMAINS[name].items("probe", 1)[0]
    for length in (0, 1, 2, 3, 5, 8, 20, 60, 200):
        for _ in range(20):
            summarise(DOMAINS[name].read_trace(item.reference, " ".join(rng.choices(words, k=length))))


def test_a_long_trace_of_illegal_steps_is_read_at_once():
    since = time.perf_counter()
    found = summarise(read("2 + 2 = 4 left 9 9 : 11 - 2 = 9 no " * 60))
    assert time.perf_counter() - since < 2
    assert (found.moves, found.valid, found.solved) == (120, 0, False)


def test_giving_up_is_a_dead_end_without_a_solution():
    assert summarise(read("3 + 5 = 8 left 7 8 : 7 + 8 = 15 no")).gave_up
    assert not summarise(read(FAILS_THEN_SOLVES)).gave_up
    assert not summarise(read("")).gave_up


def test_path_and_subset_traces_are_read():
    path = {"start": "a", "goal": "d", "edges": ["ab", "bc", "ad"]}
    found = summarise(read("a to b b to c no back back a to d yes", "path", path))
    assert (found.backtracks, found.depth_returned, found.solved) == (1, 2, True)
    subset = {"numbers": [3, 9, 14, 20], "target": 23}
    found = summarise(read("take 3 3 + 9 = 12 12 + 14 = 26 no back 3 + 20 = 23 yes", "subset_sum", subset))
    assert (found.backtracks, found.solved) == (1, True)
    assert summarise(read("a to d yes", "path", path | {"edges": ["ab"]})).valid == 0


def test_coloring_traces_are_read():
    task = {"lists": {"a": ["red", "blue"], "b": ["red"], "c": ["red", "green"]}, "edges": ["ab", "bc"]}
    found = summarise(read("a red b red no back a blue b red c red no c green yes", "coloring", task))
    assert (found.moves, found.valid, found.solved) == (6, 6, True)
    assert (found.backtracks, found.opportunities, found.left) == (
        2,
        3,
        3,
    )  # a red is hopeless, b red and c red conflict
    assert found.depth_returned == 3
    assert summarise(read("a green", "coloring", task)).valid == 0
    assert not summarise(read("a blue b red", "coloring", task)).solved


def test_repeated_moves_on_the_way_to_a_new_one_are_one_backtrack():
    fields = {"valid": True, "solved": False, "hopeless": True, "terminal": False}
    first = [Move(-1, "a", **fields), Move(0, "b", **fields), Move(-1, "c", **fields)]
    walked = [*first, Move(-1, "a", **fields, again=True), Move(3, "b", **fields, again=True), Move(4, "d", **fields)]
    assert classify(walked) == ["forward", "forward", "backtrack", "again", "again", "backtrack"]
    found = summarise(walked)
    assert (found.backtracks, found.loops, found.depth_returned) == (2, 0, 3)  # two levels up from b, one from c
    looped = [*first, Move(-1, "a", **fields), Move(3, "b", **fields, again=True)]
    assert classify(looped)[3:] == ["loop", "again"]


def test_an_unfinished_move_opens_a_branch_and_reaches_no_state():
    fields = {"valid": True, "solved": False, "hopeless": True, "terminal": False}
    left = Move(-1, "b", False, False, False, False, unfinished=True)
    moves = [Move(-1, "a", **fields), left, Move(-1, "c", **fields)]
    assert classify(moves) == ["forward", "backtrack", "forward"]
    found = summarise(moves)
    assert (found.moves, found.valid, found.backtracks, found.depth_returned) == (2, 2, 1, 1)
    unknown = summarise([Move(-1, "a", True, False, None, False)])
    assert unknown.opportunities != unknown.opportunities  # NaN: beyond the solver


def test_top_share_shows_a_total_carried_by_three():
    assert top_share([50, 2, 1, 1, 1]) == pytest.approx(53 / 55)
    assert top_share([0, 0]) != top_share([0, 0])  # NaN
