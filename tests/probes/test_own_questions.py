"""Question files of the user's own, named in the config: asked, keyed by what they say, looked for among the training rows."""

from __future__ import annotations

import json

import pytest
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.dynamics.record import Run, create_run
from sftscope.dynamics.settings import from_mapping, to_mapping
from sftscope.probes.asked import CountdownFile, domains_of, items_of
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.checks import checks
from sftscope.probes.planner import Planner, ProbeConfig

ROWS = [
    {"numbers": [3, 5, 7], "target": 56, "prompt": "make 56 from 3 5 7"},
    {"numbers": [2, 9, 4], "target": 22, "prompt": "make 22 from 2 9 4"},
    {"numbers": [8, 6, 1], "target": 49, "prompt": "make 49 from 8 6 1"},
]
PROBES = ("scores", "errors", "backtracking", "verification", "verbosity", "cues")


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def config_of(path, **settings):
    asked = {"free_countdown": {"mine": CountdownFile(path, max_new_tokens=24)}, "domains": ("countdown",), "items": 4}
    return ProbeConfig(**{"probes": PROBES, "during": (), **asked, **settings})


def test_they_are_asked_beside_the_micro_world_and_measured_by_every_probe(tmp_path, micro_folder):
    run, checkpoint = tmp_path / "run", Checkpoint(0, micro_folder)
    create_run(run, {"config_hash": "x"})
    config = config_of(write(tmp_path / "q.jsonl", ROWS))
    rows = Planner(run, checkpoint, config).measure(checkpoint)
    assert all(r.status == "ok" for r in rows)
    assert {r.probe for r in rows if r.domain == "mine"} == set(PROBES)
    table = Run(run).measurements(metric="score_strict")
    assert dict(zip(table["domain"], table["n"], strict=True)) == {"countdown": 4, "mine": 3}  # all that the file has
    assert len(Run(run).samples("mine", 0)) == 3
    assert Run(run).samples("mine", 0)["token_ids"].map(len).max() <= 24


def test_results_are_keyed_by_what_the_file_says(tmp_path, micro_folder):
    """Other words for the same numbers are another question, though their ids (numbers and target) are the same."""
    run, checkpoint = tmp_path / "run", Checkpoint(0, micro_folder)
    create_run(run, {"config_hash": "x"})
    file = write(tmp_path / "q.jsonl", ROWS)
    first = Planner(run, checkpoint, config_of(file))
    first.measure(checkpoint)
    moved = write(tmp_path / "elsewhere.jsonl", ROWS)
    assert Planner(run, checkpoint, config_of(moved)).missing(checkpoint) == []  # the path is nothing
    write(file, [{**ROWS[0], "prompt": "use 3 5 7 to get 56"}, *ROWS[1:]])
    again = Planner(run, checkpoint, config_of(file))
    assert {i.id for i in again.items["mine"]} == {i.id for i in first.items["mine"]}
    assert {p.name for p in again.missing(checkpoint)} == set(PROBES)
    write(file, [{**ROWS[0], "use_all": False}, *ROWS[1:]])  # graded otherwise
    assert Planner(run, checkpoint, config_of(file)).missing(checkpoint)


def test_settings_survive_the_record(tmp_path):
    config = config_of(write(tmp_path / "q.jsonl", ROWS), tau={"mine": 20}, cues={"doubt": ("hmm", "let me see")})
    assert from_mapping(ProbeConfig, json.loads(json.dumps(to_mapping(config)))) == config


def test_names_are_checked(tmp_path):
    file = CountdownFile(tmp_path / "q.jsonl")
    with pytest.raises(ConfigError, match="did you mean 'countdown'"):
        ProbeConfig(domains=("countdwon",), free_countdown={"mine": file})
    with pytest.raises(ConfigError, match="is a domain of the micro-world"):
        ProbeConfig(free_countdown={"path": file})
    with pytest.raises(ConfigError, match="is asked already"):
        ProbeConfig(domains=("mine",), free_countdown={"mine": file})
    with pytest.raises(ConfigError, match="is no name"):
        ProbeConfig(free_countdown={"a/b": file})


def test_a_file_that_is_not_there_or_has_one_question_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jsonl cannot be read"):
        domains_of(config_of(tmp_path / "gone.jsonl"))
    config = config_of(write(tmp_path / "one.jsonl", ROWS[:1]))
    with pytest.raises(ConfigError, match=r"one\.jsonl has only 1 distinct questions"):
        items_of(config, domains_of(config))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Make 56 from 3 5 7", "failed"),  # the prompt itself
        ("Using the numbers [7, 3, 5], create an equation that equals 56.", "failed"),  # in other words and order
        ("Reach 56 with 5, 7 and 3", "failed"),
        ("Using the numbers [7, 3, 5], create an equation that equals 57.", "ok"),
        ("Using the numbers [7, 3, 5, 2], create an equation that equals 56.", "ok"),
        ("3 + 5 = 8, 7 * 8 = 56", "ok"),  # a solution lists no numbers
    ],
)
def test_training_rows_that_ask_them_are_found(tmp_path, text, status):
    config = config_of(write(tmp_path / "q.jsonl", ROWS), domains=())
    (check,) = checks(config, [(1, ["how are you", "fine"]), (2, [text, "<think> 3 </think>"])])
    assert check.status == status
    assert "3 probe items" in check.text or "mine" in check.text
