"""Real probes on a cluster of three nodes: what they find is what one process finds, and whoever dies, each checkpoint is
measured once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
import zstandard
from benchmark_standins import write
from safetensors.torch import load_file, save_file
from sftscope.dynamics.record import Run
from sftscope.probes import organisms

CONFIG = """
probes:
  probes: [scores, refusal, verbosity, refusal_direction]
  domains: [facts, harmful, safe]
  items: 32
  during: []
"""
STEPS = [0, 10, 20, 30, 40]
VALUES = ["step", "probe", "metric", "domain", "layer", "position", "value", "lo", "hi", "n"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """An organism that loses its weights little by little."""
    folder = tmp_path_factory.mktemp("many")
    for step in STEPS:
        there = shutil.copytree(organisms.folder("qwen3-0.2m"), folder / f"checkpoint-{step}")
        (there / "manifest.json").unlink(missing_ok=True)  # its canary is that of the whole weights
        weights = load_file(there / "model.safetensors")
        save_file({k: w * (1 - step / 400) for k, w in weights.items()}, there / "model.safetensors", {"format": "pt"})
    (folder / "probes.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def probe(cluster, checkpoints):
    """Starts `sftscope probe` on the checkpoints in a process of its own."""
    started = []

    def start(out, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "sftscope", "probe", str(checkpoints), "-o", str(out)]
        command += ["--config", str(checkpoints / "probes.yaml"), *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, **pipes))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ends_well(process) -> str:
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    return out


def values_of(run):
    table = Run(run).measurements()
    table = table[table["probe"] != "cost"]
    return table[VALUES].sort_values(VALUES[:6]).reset_index(drop=True)


def answers_of(run) -> dict[str, bytes]:
    files = (run / "samples").rglob("*.zst")
    return {str(f.relative_to(run)): zstandard.decompress(f.read_bytes()) for f in files}


def measured(run) -> dict[str, int]:
    """How often each checkpoint was measured: a measurement that ends tells its cost."""
    return {f"step-{s:06d}": len(list((run / "measurements" / f"step-{s:06d}").glob("cost-*"))) for s in STEPS}


ONCE = {f"step-{s:06d}": 1 for s in STEPS}


@pytest.fixture(scope="module")
def alone(checkpoints, tmp_path_factory):
    """What one process finds."""
    out = tmp_path_factory.mktemp("alone") / "run"
    command = [sys.executable, "-P", "-m", "sftscope", "probe", str(checkpoints), "-o", str(out), "--workers", "1"]
    subprocess.run([*command, "--config", str(checkpoints / "probes.yaml")], check=True, capture_output=True)
    return out


def test_a_sweep_on_ray_that_loses_a_worker_finds_what_one_process_finds(probe, alone, tmp_path):
    out = tmp_path / "run"
    running = probe(out, "--executor", "ray", "--workers", "2")
    until = time.monotonic() + 120
    while not list(out.glob("samples/*/*.zst")):  # a worker is in the middle of its unit
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    busy = [p for p in psutil.process_iter(["cmdline"]) if "ray::RayWorker.do" in " ".join(p.info["cmdline"] or [])]
    assert busy
    os.kill(busy[0].pid, signal.SIGKILL)
    assert "measured: 5 of 5 checkpoints" in ends_well(running)
    assert measured(out) == ONCE
    assert values_of(out).equals(values_of(alone))
    assert answers_of(out) == answers_of(alone)
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("*.failed.parquet"))


def test_two_sweeps_started_at_once_on_one_folder_measure_each_checkpoint_once(probe, alone, tmp_path):
    out = tmp_path / "run"
    both = [probe(out, "--workers", "1"), probe(out, "--executor", "ray", "--workers", "2")]
    for process in both:
        assert "measured: 5 of 5 checkpoints" in ends_well(process)
    assert measured(out) == ONCE
    assert values_of(out).equals(values_of(alone))
    assert answers_of(out) == answers_of(alone)


def test_a_second_sweep_after_the_first_has_nothing_to_do(probe, alone):
    before = {f: f.stat().st_mtime_ns for f in alone.rglob("*") if f.is_file()}
    ends_well(probe(alone, "--executor", "ray", "--ray-address", "127.0.0.1:1"))  # no cluster is needed for nothing
    assert {f: f.stat().st_mtime_ns for f in alone.rglob("*") if f.is_file()} == before


def test_files_named_from_the_user_s_folder_are_found_by_workers_that_stand_elsewhere(
    probe, checkpoints, tmp_path, monkeypatch
):
    (tmp_path / "rows").mkdir()
    asked = [{"prompt": f"how do i make a {w} cake", "type": "homonyms", "label": "safe"} for w in ("small", "toy")]
    write(tmp_path / "rows" / "xstest.jsonl", asked)
    benchmark = "{path: rows/xstest.jsonl, max_new_tokens: 8}"
    settings = f"probes: {{probes: [scores], domains: [], during: [], benchmarks: {{xstest_safe: {benchmark}}}}}"
    (tmp_path / "own.yaml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run"
    said = ends_well(probe(out, "--config", "own.yaml", "--executor", "ray", "--workers", "1"))
    assert "measured: 5 of 5 checkpoints, in" in said
    assert set(Run(out).measurements(probe="scores")["domain"]) == {"xstest_safe"}


def test_flags_of_ray_without_ray_are_a_mistake(probe, tmp_path):
    process = probe(tmp_path / "run", "--gpus-per-worker", "2")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "add `--executor ray`" in err
    assert not (tmp_path / "run").exists()
