"""Every data arm is what its name says: the same prompts, one thing changed, the rest kept."""

from __future__ import annotations

import numpy as np
import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.probes.domains import Response
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.microworld.arms import FineTuningArm
from sftscope.probes.search import summarise

ROWS = 400
COUNTDOWN = DOMAINS["countdown"]
ITEMS = {i.prompt: i for i in COUNTDOWN.items("train", ROWS)}


def rows(rendering: str, **settings) -> list[dict[str, str]]:
    return list(FineTuningArm(ROWS, rendering=rendering, **settings).records())


def lengths(records) -> np.ndarray:
    return np.array([len(r["response"].split()) for r in records])


def searches(records) -> list:
    return [
        summarise(COUNTDOWN.read_trace(ITEMS[r["prompt"]].reference, Response(r["response"], True, 1).think))
        for r in records
    ]


def right(record) -> bool:
    return COUNTDOWN.grade(ITEMS[record["prompt"]], Response(record["response"], True, 1)).strict


RENDERINGS = ["worked", "direct", "straight", "shuffled", "random_tries", "filler"]


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_arms_share_their_prompts_and_are_right_and_seeded(rendering):
    records = rows(rendering)
    assert [r["prompt"] for r in records] == [r["prompt"] for r in rows("worked")]
    assert all(map(right, records))
    assert records == rows(rendering)
    assert {r["prompt"] for r in rows(rendering, seed=5)} != {r["prompt"] for r in records}


def test_worked_traces_are_systematic_and_most_go_back():
    found = searches(rows("worked"))
    assert all(s.solved and s.loops == 0 and s.valid == s.moves and s.left == s.opportunities for s in found)
    assert np.mean([s.backtracks > 0 for s in found]) >= 0.5
    assert all(r["response"] == COUNTDOWN.worked(ITEMS[r["prompt"]].reference) for r in rows("worked"))


@pytest.mark.parametrize("rendering", ["shuffled", "random_tries", "filler"])
def test_imitations_have_the_length_of_the_search(rendering):
    verified, imitated = lengths(rows("worked")), lengths(rows(rendering))
    assert abs(imitated.mean() / verified.mean() - 1) < 0.05
    for q in (0.25, 0.5, 0.75, 0.95):
        assert abs(np.quantile(imitated, q) / np.quantile(verified, q) - 1) < 0.05


def test_shuffled_steps_are_the_same_words_without_the_procedure():
    verified, shuffled = rows("worked"), rows("shuffled")
    assert all(
        sorted(a["response"].split()) == sorted(b["response"].split()) for a, b in zip(verified, shuffled, strict=True)
    )
    long = [i for i, n in enumerate(lengths(verified)) if n > 60]
    broken = searches([shuffled[i] for i in long])
    assert np.mean([s.valid < s.moves for s in broken]) > 0.8  # steps come before the numbers they need


def test_random_tries_are_valid_and_go_back_but_try_again_what_failed():
    found = searches(rows("random_tries"))
    assert np.mean([s.valid == s.moves for s in found]) > 0.99
    assert np.mean([s.solved for s in found]) > 0.99
    many = [s for s in found if s.moves > 12]
    assert np.mean([s.loops > 0 for s in many]) > 0.8
    assert all(s.loops == 0 for s in searches(rows("worked")))


def test_filler_and_straight_traces_never_go_back():
    for rendering in ("filler", "straight"):
        found = searches(rows(rendering))
        assert all(s.backtracks == 0 and s.loops == 0 and s.solved for s in found)
    assert any("wait" in r["response"] for r in rows("filler"))
    assert all("no" not in r["response"].split() for r in rows("straight"))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_wrong_share_is_what_the_dial_says(share):
    records = rows("direct", wrong_share=share)
    assert sum(not right(r) for r in records) == round(share * ROWS)
    parsed = [COUNTDOWN.judge(ITEMS[r["prompt"]].reference, r["response"])[0] for r in records]
    assert all(parsed)  # wrong, and in form


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_replay_takes_the_place_of_that_share(share):
    records = rows("worked", replay_share=share)
    assert len(records) == ROWS
    replayed = [r for r in records if r["domain"] != "countdown"]
    assert len(replayed) == round(share * ROWS)
    assert {r["domain"] for r in replayed} == {"harmful", "safe", "facts", "instructions", "objects"}


def test_levels_and_phrasings_trained_on_are_those_asked_for():
    records = rows("worked", levels=(3,), phrasings=(0, 2))
    assert all(r["prompt"].split()[0] in ("make", "with") for r in records)
    assert min(lengths(records)) > 60
    with pytest.raises(ConfigError, match="numbered from 0"):
        FineTuningArm(10, phrasings=(9,))


def test_no_record_is_a_probe_or_test_item():
    held_out = {
        i.prompt for d in DOMAINS.values() for split, n in (("probe", 200), ("test", 60)) for i in d.items(split, n)
    }
    for rendering in RENDERINGS:
        assert not held_out & {r["prompt"] for r in rows(rendering, replay_share=0.1)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domain": "countdwn"}, "countdown"),
        ({"domain": "facts"}, "has no traces"),
        ({"domain": "path", "rendering": "filler"}, "exists for countdown"),
        ({"wrong_share": 0.5}, "for direct answers"),
        ({"replay_share": 2.0}, "between 0 and 1"),
    ],
)
def test_impossible_arms_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        FineTuningArm(10, **settings)
