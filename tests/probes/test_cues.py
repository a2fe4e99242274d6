"""Cue words where they direct a thought, by family; their words alone do not move the structure, nor the exposure beside it."""

from __future__ import annotations

import json
import random

import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.dynamics.record import Run, create_run
from sftscope.probes.behaviour.backtracking import Backtracking
from sftscope.probes.behaviour.cues import Cues
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.domains import Response
from sftscope.probes.freeform import FreeCountdown
from sftscope.probes.lexicon import BACKTRACKING, FREE_TEXT, find_cues
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.protocol import Answered, Given


@pytest.fixture
def free(tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps({"numbers": [19, 36, 55, 7], "target": 65}))
    return FreeCountdown(file)


def count(free, text, family=BACKTRACKING):
    return len(find_cues(free, text, FREE_TEXT[family]))


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("Wait, 36 * 7 is 252. Hmm. Alternatively, 55 + 36.", 3),
        ("But wait: no. Actually, let me try again.", 3),
        ("- Hmm, hold on\n- **Wait**, what", 2),
        ("Let me reconsider. Hmmmm. Let’s try another way", 3),
        ("You wait and no one hmms; I actually alternatively know", 0),
        ("Waiting is no virtue. Nothing is noted. Backtrack.", 0),
        ("55 + 36 = 91 wait no 36 * 7", 0),  # inside a sentence: the structure has to say
    ],
)
def test_cues_count_where_a_sentence_begins(free, text, n):
    assert count(free, text) == n
    naive = sum(text.lower().count(w) for w in ("wait", "hmm", "no", "actually", "alternatively"))
    assert n > 0 or naive > 0  # the naive count of words anywhere finds some in each


def test_families_are_apart(free):
    text = "Let me check that. Maybe 36? Perhaps not. I think so. Wait."
    assert [count(free, text, family) for family in ("verification", "uncertainty", BACKTRACKING)] == [1, 3, 1]


def rates(probe, domain, texts):
    items = (
        domain.items("probe", len(texts)) if domain.name != "free_countdown" else domain.items("probe", 1) * len(texts)
    )
    answered = Answered(domain, items, [Response(t, True, len(t.split())) for t in texts])
    rows = probe.measure(Given(step=0, answered={domain.name: answered})).rows
    return {(r.metric, r.position): r.estimate.value for r in rows}


def test_every_domain_has_a_rate_for_each_family_and_the_micro_world_its_own_words():
    domain = DOMAINS["countdown"]
    found = rates(Cues(), domain, ["<think> 3 + 5 = 8 no back 3 * 5 = 15 no wait </think> answer 8 maybe"] * 2)
    assert found["cue_rate", BACKTRACKING] == pytest.approx(1000 * 2 / 19)  # two runs of cue words
    assert found["cue_rate", "uncertainty"] == pytest.approx(1000 / 19)
    facts = rates(Cues(), DOMAINS["facts"], ["answer red", "answer wait wait"])
    assert facts["cue_rate", BACKTRACKING] == pytest.approx(1000 / 5)


def test_filler_raises_the_rate_and_not_what_it_stands_for(free):
    plain = "<think>55 + 36 = 91. 91 - 19 = 72. 72 - 7 = 65.</think>"
    filled = plain.replace(". ", ". Wait. Hmm. ")
    assert rates(Cues(), free, [filled] * 2)["cue_rate", BACKTRACKING] > 0
    assert rates(Cues(), free, [plain] * 2)["cue_rate", BACKTRACKING] == 0
    for text in (plain, filled):
        assert rates(Backtracking(), free, [text] * 2)["backtracks_per_response", ""] == 0
    assert rates(Backtracking(), free, [filled] * 2)["cue_precision", ""] == 0


def test_a_lexicon_of_ones_own_replaces_the_default_one(free):
    mine = Cues({"doubt": ("scratch that", "oops")})
    found = rates(mine, free, ["<think>Oops. Scratch that. Wait.</think>"] * 2)
    assert set(found) == {("cue_rate", "doubt")}
    assert found["cue_rate", "doubt"] == pytest.approx(1000 * 2 / 4)
    micro = rates(mine, DOMAINS["countdown"], ["<think> oops 3 scratch that </think>"] * 2)
    assert micro["cue_rate", "doubt"] == pytest.approx(1000 * 2 / 6)
    german = Backtracking({BACKTRACKING: ("moment",)})
    text = "<think>36 * 7 = 252. Moment, 55 + 36 = 91.</think>"
    assert rates(german, free, [text] * 2)["cue_recall", ""] == 1
    assert rates(Backtracking(), free, [text] * 2)["cue_recall", ""] == 0


def test_a_changed_lexicon_is_measured_anew_from_the_same_samples(micro_folder, tmp_path):
    create_run(tmp_path / "run", {"config_hash": "x"})
    checkpoint = Checkpoint(0, micro_folder)

    def probe(**settings):
        config = ProbeConfig(
            items=6, domains=("countdown",), probes=("cues", "backtracking", "scores"), during=(), **settings
        )
        return {r.probe for r in Planner(tmp_path / "run", checkpoint, config).measure(checkpoint)}

    assert probe() == {"cues", "backtracking", "scores"}
    assert probe(cues={"doubt": ("hmm",)}) == {"cues", "backtracking"}
    assert len(list((tmp_path / "run" / "samples").rglob("*.zst"))) == 1
    assert set(Run(tmp_path / "run").measurements(metric="cue_rate")["position"]) == {"doubt"}


def test_a_lexicon_that_cannot_be_used_is_refused():
    with pytest.raises(ConfigError, match=r"`probes\.cues\.doubt` is"):
        ProbeConfig(cues={"doubt": ()})
    with pytest.raises(ConfigError, match="none of them empty"):
        ProbeConfig(cues={"doubt": ("wait", " ")})


# -- the exposure of a rate of backtracking beyond length


def exposure(think: str, answer: str = "answer 8") -> tuple[float, float]:
    """(backtracks, tokens outside them) as the item table has them, of one micro-world response."""
    domain = DOMAINS["countdown"]
    item = domain.items("probe", 2)[0]
    item = type(item)(item.id, item.prompt, {"numbers": [3, 5, 7], "target": 56}, item.id)
    text = f"<think> {think} </think> {answer}"
    answered = Answered(domain, [item] * 2, [Response(text, True, len(text.split()))] * 2)
    table = Backtracking().measure(Given(step=0, answered={"countdown": answered})).items
    at = {m: float(v.iloc[0]) for m, v in table.groupby("metric")["value"]}
    return at["backtracks"], at["tokens_outside_backtracks"]


def test_backtracks_do_not_add_to_their_own_exposure():
    straight = "3 + 5 = 8 left 7 8 : 7 + 8 = 15 no"
    assert exposure(straight) == (0, 19)  # every word, the tags and the answer
    assert exposure(f"{straight} 8 - 7 = 1 no 7 * 8 = 56 yes") == (2, 19)  # two returns of six words each
    assert exposure(f"{straight} 8 - 7 = 1 no 7 * 8 = 56 yes", "answer " + "8 , " * 10) == (2, 38)


def test_padding_moves_the_exposure_and_not_the_count():
    back = "3 + 5 = 8 left 7 8 : 7 + 8 = 15 no 8 - 7 = 1 no"
    rng = random.Random(0)
    padded = " ".join(w if rng.random() < 0.5 or w != "no" else "wait hmm no" for w in back.split())
    assert exposure(padded)[0] == exposure(back)[0] == 1
    assert exposure("wait hmm maybe " + back)[1] == exposure(back)[1] + 3
