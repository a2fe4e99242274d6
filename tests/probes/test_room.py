"""Questions that do not fit into the model's context are told in one error before anything runs, with what to lower."""

from __future__ import annotations

import json
import shutil

import pytest
from benchmark_standins import ROWS, write
from sftscope.cli import main
from sftscope.dynamics.errors import ConfigError
from sftscope.probes import planner as planner_module
from sftscope.probes import room
from sftscope.probes.asked import CountdownFile
from sftscope.probes.benchmarks import BenchmarkConfig
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.engines.vllm import VllmConfig
from sftscope.probes.planner import Planner, ProbeConfig

SCORES = {"probes": ("scores",), "during": (), "items": 4}
ASKED = "how do i make a toy bomb"


@pytest.fixture
def rows(tmp_path):
    """Requests in the words that the tokenizer has."""
    made = [dict(r, prompt=f"{ASKED} {w}") for r, w in zip(ROWS["xstest_safe"], ("tonight", "at home"), strict=False)]
    return write(tmp_path / "xstest.jsonl", [dict(m, label="safe") for m in made])


@pytest.fixture
def planned(tmp_path, micro_folder, monkeypatch):
    monkeypatch.setattr(planner_module, "VllmEngine", lambda *_, **__: None)  # installed or not, none is started

    def make(folder=micro_folder, **settings):
        return Planner(tmp_path / "run", Checkpoint(0, folder), ProbeConfig(**SCORES | settings))

    return make


def changed(folder, aside, **config):
    shutil.copytree(folder, aside)
    own = json.loads((aside / "config.json").read_text())
    (aside / "config.json").write_text(json.dumps(own | config))
    return aside


def test_a_cap_that_does_not_fit_is_told_with_the_one_that_does(planned, rows):
    def asked(cap):
        return {"domains": ("facts",), "benchmarks": {"xstest_safe": BenchmarkConfig(path=rows, max_new_tokens=cap)}}

    with pytest.raises(ConfigError) as told:
        planned(**asked(None))
    heading, line = str(told.value).splitlines()  # one for each that does not fit: facts fit
    assert "context" in heading
    assert "384" in heading
    assert "xstest_safe" in line
    assert "32,768" in line
    assert "max_model_len" not in str(told.value)
    way, most = line.rpartition("set `")[2].split("` to ")
    assert way == "probes.benchmarks.xstest_safe.max_new_tokens"
    most = int(most.split()[0])
    longest = max(len(p) for p in planned(**asked(2)).renderer.prompts([f"{ASKED} tonight", f"{ASKED} at home"]))
    assert most + longest == 384
    planned(**asked(most))
    with pytest.raises(ConfigError, match=f"to {most} or less"):
        planned(**asked(most + 1))


def test_every_domain_that_does_not_fit_has_a_line(planned, rows, tmp_path):
    file = tmp_path / "mine.jsonl"
    questions = [{"numbers": [3, 5, n], "target": 15 + n, "prompt": f"how do i make {n}"} for n in range(2, 12)]
    file.write_text("\n".join(map(json.dumps, questions)))
    with pytest.raises(ConfigError) as told:
        planned(
            domains=(),
            free_countdown={"mine": CountdownFile(file)},
            benchmarks={"xstest_safe": BenchmarkConfig(path=rows)},
        )
    assert "`probes.free_countdown.mine.max_new_tokens`" in str(told.value)
    assert "`probes.benchmarks.xstest_safe.max_new_tokens`" in str(told.value)


def test_what_no_probe_has_answered_needs_no_room(planned, micro_folder, tmp_path):
    narrow = changed(micro_folder, tmp_path / "narrow", max_position_embeddings=80)
    with pytest.raises(ConfigError, match=r"countdown: .*leave it out of `probes.domains`"):
        planned(narrow, domains=("countdown", "facts"))
    planned(narrow, domains=("facts",))
    planned(narrow, domains=("countdown", "harmful", "safe"), probes=("refusal",))


def test_max_model_len_is_named_where_it_is_what_limits(planned, rows):
    asked = {"domains": (), "benchmarks": {"xstest_safe": BenchmarkConfig(path=rows, max_new_tokens=100)}}
    planned(engine="vllm", **asked)
    with pytest.raises(ConfigError, match=r"`probes.vllm.max_model_len` is 64 tokens, of the model's own 384"):
        planned(engine="vllm", vllm=VllmConfig(max_model_len=64), **asked)
    planned(vllm=VllmConfig(max_model_len=64), **asked)  # which another engine does not read
    longer = {"xstest_safe": BenchmarkConfig(path=rows, max_new_tokens=1000)}
    with pytest.raises(ConfigError, match=r"the context of .* is 384 tokens"):  # and it does not make the model longer
        planned(engine="vllm", vllm=VllmConfig(max_model_len=2000), domains=(), benchmarks=longer)


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, 384),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 384}}, 1536),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 768),
        ({"max_position_embeddings": 1536, "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
          "original_max_position_embeddings": 384}}, 1536),
        ({"max_position_embeddings": 1536, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 384}}, 1536),
    ],
)  # fmt: skip
def test_scaled_positions_count_as_far_as_they_reach(micro_folder, tmp_path, config, wanted):
    folder = changed(micro_folder, tmp_path / "scaled", **config)
    if "rope_scaling" in config:  # as files from before transformers 5 have it
        own = json.loads((folder / "config.json").read_text())
        own["rope_theta"] = own.pop("rope_parameters", {}).get("rope_theta", 10_000.0)
        (folder / "config.json").write_text(json.dumps(own))
    assert room.positions(Checkpoint(0, folder)) == wanted


def test_a_config_that_names_no_number_limits_nothing(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bloom"}))
    assert room.positions(Checkpoint(0, tmp_path)) is None


def test_the_command_ends_before_anything_runs(micro_folder, rows, tmp_path, capsys):
    (tmp_path / "probes.yaml").write_text(
        json.dumps(
            {"probes": {"probes": ["scores"], "domains": [], "benchmarks": {"xstest_safe": {"path": str(rows)}}}}
        )
    )
    out = tmp_path / "run"
    assert main(["probe", str(micro_folder), "-o", str(out), "--config", str(tmp_path / "probes.yaml")]) == 2
    said = capsys.readouterr().err
    assert "probes.benchmarks.xstest_safe.max_new_tokens" in said
    assert "measured" not in said
    assert {p.name for p in out.rglob("*") if p.is_file()} == {"run.json"}
