"""vLLM behind an actor of a Ray cluster: an actor that dies takes its vLLM along, and its checkpoint is measured by another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from sftscope.dynamics.record import Run

WORKER = "sftscope.probes.engines.vllm.worker"
pytest.importorskip("ray")


@pytest.fixture
def cluster(monkeypatch):
    """One node with room for one worker."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def vllm_under_actors() -> list[psutil.Process]:
    found = [p for p in psutil.process_iter(["cmdline"]) if any(WORKER in part for part in p.info["cmdline"] or [])]
    return [p for p in found if "ray::RayWorker" in " ".join(p.parent().cmdline())]


def test_a_killed_actor_takes_its_engine_along_and_its_checkpoint_is_measured_by_another(
    cluster, organism_steps, tmp_path
):
    probes = {"probes": ["scores"], "domains": ["facts", "countdown"], "items": 24, "during": []}
    (tmp_path / "probes.yaml").write_text(yaml.safe_dump({"probes": {**probes, "vllm": {"cpu_cache_gib": 0.25}}}))
    steps, out = organism_steps[0].path.parent, tmp_path / "run"
    command = [sys.executable, "-P", "-m", "sftscope", "probe", str(steps), "-o", str(out), "--executor", "ray"]
    command += ["--config", str(tmp_path / "probes.yaml"), "--engine", "vllm"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 180
        while not (first := vllm_under_actors()):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        os.kill(first[0].parent().pid, signal.SIGKILL)
        gone, _ = psutil.wait_procs(first, 5)
        assert gone == first
        said, err = running.communicate(timeout=240)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 0, err
    assert "measured: 3 of 3 checkpoints" in said
    assert set(Run(out).measurements(probe="scores")["step"]) == {1, 2, 3}
    assert not vllm_under_actors()
