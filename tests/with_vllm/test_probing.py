"""`sftscope probe --engine vllm`: the same greedy scores, in files of their own; a crash costs one checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import yaml
from sftscope.dynamics.record import Run
from sftscope.pipeline import open_probe_run, probe_run
from sftscope.probes.engines.vllm import VllmConfig, VllmEngine
from sftscope.probes.planner import ProbeConfig

DOMAINS = ("countdown", "facts", "harmful")


@pytest.fixture(scope="session")
def steps_folder(organism_steps):
    return organism_steps[0].path.parent


def sftscope(*args, code=0):
    command = [sys.executable, "-P", "-m", "sftscope", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def measured(run):
    table = Run(run).measurements(failed=True)
    table = table[table["probe"] != "cost"]
    names = ["step", "probe", "metric", "domain", "layer", "position"]
    return table.set_index(names)[["value", "lo", "hi", "status"]].sort_index()


def test_greedy_scores_are_those_of_the_embedded_engine(steps_folder, tmp_path):
    probes = {"items": 12, "domains": list(DOMAINS), "vllm": {"cpu_cache_gib": 0.25}}
    (tmp_path / "probes.yaml").write_text(yaml.safe_dump({"probes": probes}))
    how = ("--config", tmp_path / "probes.yaml")
    sftscope("probe", steps_folder, "-o", tmp_path / "hf", *how)
    said = sftscope("probe", steps_folder, "-o", tmp_path / "vllm", *how, "--engine", "vllm").stdout
    ours, theirs = measured(tmp_path / "vllm"), measured(tmp_path / "hf")
    assert len(ours) > 100
    assert set(ours.index.get_level_values("step")) == {1, 2, 3}
    assert ours.index.equals(theirs.index)
    assert (ours["status"] == "ok").all()
    for column in ("value", "lo", "hi"):
        assert (ours[column].fillna(-1) - theirs[column].fillna(-1)).abs().max() < 1e-4
    assert Run(tmp_path / "vllm").info["probes"]["engine"] == "vllm"
    files = {name: {f.name for f in (tmp_path / name).glob("samples/*/*")} for name in ("hf", "vllm")}
    assert files["hf"]
    assert not files["hf"] & files["vllm"]  # never taken for one another
    for row in Run(tmp_path / "hf").samples("countdown", 2).to_dict("records"):
        (same,) = [
            s for s in Run(tmp_path / "vllm").samples("countdown", 2).to_dict("records") if s["item"] == row["item"]
        ]
        assert list(same["token_ids"]) == list(row["token_ids"])
    assert "vllm start" in said  # what it took is in the table of costs
    assert "vllm swap" in said


def test_a_crash_costs_one_checkpoint(steps_folder, tmp_path, monkeypatch):
    config = ProbeConfig(
        probes=("scores",), domains=("countdown",), items=6, engine="vllm", vllm=VllmConfig(cpu_cache_gib=0.25)
    )
    run, checkpoints, config = open_probe_run([steps_folder], tmp_path / "run", config)
    write, turns = VllmEngine._write, []

    def killed_at_the_second(self, requests, sampling):
        turns.append(self.pid)
        if len(turns) == 2:
            os.kill(self.pid, signal.SIGKILL)
        return write(self, requests, sampling)

    monkeypatch.setattr(VllmEngine, "_write", killed_at_the_second)
    (failure,) = probe_run(run, checkpoints, config, quiet=True)
    assert str(failure).startswith("step 3: vLLM's process ended with code -9")
    assert turns[0] == turns[1] != turns[2]
    table = run.again().measurements(failed=True)
    assert set(table[table["probe"] == "scores"]["step"]) == {1, 2}
    (told,) = table[table["status"] == "failed"].to_dict("records")
    assert (told["step"], told["probe"]) == (3, "checkpoint")  # coarse to fine: first, last, middle
    assert "code -9" in told["reason"]
    assert probe_run(run, checkpoints, config, quiet=True) == []
    table = run.again().measurements(failed=True)
    assert set(table[table["probe"] == "scores"]["step"]) == {1, 2, 3}
    assert not (table["status"] == "failed").any()
    assert len(turns) == 4
