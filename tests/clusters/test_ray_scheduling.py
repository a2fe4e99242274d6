"""Sweeps of light units on a cluster of three nodes: nothing is lost and nothing done twice, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from light_units import notes
from sftscope.dynamics.claims import CLAIMS, Claims
from sftscope.dynamics.errors import ConfigError
from sftscope.executor import Unit, run_units
from sftscope.ray_crew import RayConfig, RayCrew, RayWorker

WAIT_S = 90.0  # for what takes seconds, on a machine that others use


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + WAIT_S
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
    return found


def result(process: subprocess.Popen[str]) -> dict[str, str]:
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def in_hand(folder: Path) -> list[dict]:
    """Units that began and did not end."""
    ended = {note["name"] for note in notes(folder, "ended")}
    return [note for note in notes(folder, "began") if note["name"] not in ended]


def times(folder: Path, what: str) -> Counter[str]:
    return Counter(note["name"] for note in notes(folder, what))


NAMES = {f"u{i}" for i in range(10)}


def test_a_killed_worker_loses_nothing_and_repeats_its_unit_alone(sweep, tmp_path):
    running = sweep(tmp_path, 10, 1.0, 3)
    until(lambda: len(notes(tmp_path, "ended")) >= 2)
    victim = until(lambda: in_hand(tmp_path))[-1]
    os.kill(victim["pid"], signal.SIGKILL)
    assert result(running) == dict.fromkeys(NAMES, "")
    assert times(tmp_path, "ended") == Counter(NAMES)
    assert times(tmp_path, "began") == Counter(NAMES) + Counter([victim["name"]])
    began = notes(tmp_path, "began")
    engines = {(note["pid"], note["engine"]) for note in began}
    assert len(engines) == len({pid for pid, _ in engines})  # made once a worker, and kept
    assert len(engines) <= 4  # three workers, and the one that came after the dead


def test_a_killed_node_costs_what_it_had_in_hand(cluster, sweep, tmp_path):
    node = cluster.add_node(num_cpus=1)
    raylet = node.all_processes["raylet"][0].process.pid
    try:
        running = sweep(tmp_path, 10, 1.5, 4)
        there = until(lambda: [n for n in in_hand(tmp_path) if n["parent"] == raylet])[0]
        os.kill(raylet, signal.SIGKILL)
        assert result(running) == dict.fromkeys(NAMES, "")
    finally:
        cluster.remove_node(node, allow_graceful=False)
    repeated = times(tmp_path, "began") - Counter(NAMES)
    assert set(times(tmp_path, "ended")) == NAMES
    assert repeated.total() <= 1
    assert set(repeated) <= {there["name"]}


def test_sweeps_started_at_once_share_the_units(sweep, tmp_path):
    special = ["u8=" + json.dumps({"broken": True})]
    both = [
        sweep(tmp_path, 10, 0.8, 1, *special),
        sweep(tmp_path, 10, 0.8, 1, *special),
        sweep(tmp_path, 10, 0.8, "local1", *special),
    ]
    told = [result(process) for process in both]
    assert told[0] == told[1] == told[2]  # each knows of all, what others did and what failed there too
    assert set(told[0]) == NAMES
    assert {name for name, error in told[0].items() if error} == {"u8"}
    assert "as a bug would" in told[0]["u8"]
    assert times(tmp_path, "began") == Counter(NAMES)
    assert len({note["pid"] for note in notes(tmp_path, "began")}) >= 3  # on Ray and here, all had a part


def test_a_unit_that_kills_its_workers_is_given_up_and_the_others_are_done(sweep, tmp_path):
    told = result(sweep(tmp_path, 4, 0.1, 2, "u1=" + json.dumps({"deadly": True})))
    assert {name for name, error in told.items() if error} == {"u1"}
    assert "given up after 3 workers" in told["u1"]
    assert times(tmp_path, "began")["u1"] == 3
    assert times(tmp_path, "ended") == Counter(["u0", "u2", "u3"])


def test_ctrl_c_ends_the_workers_and_gives_the_units_back(sweep, tmp_path):
    running = sweep(tmp_path, 6, 5.0, 2)
    begun = until(lambda: len(in_hand(tmp_path)) == 2 and in_hand(tmp_path))
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=WAIT_S)
    assert running.returncode != 0
    until(lambda: not any(psutil.pid_exists(note["pid"]) for note in begun))
    assert not notes(tmp_path, "ended")
    claims = Claims(tmp_path / CLAIMS, "light")
    assert {claims.holder(note["name"]).state for note in begun} == {"released"}
    assert not [f for f in (tmp_path / CLAIMS).iterdir() if f.name.startswith(("visible", "clock", "."))]
    assert result(sweep(tmp_path, 6, 0.1, 2)) == {f"u{i}": "" for i in range(6)}


def test_the_claims_of_a_killed_sweep_are_picked_up(sweep, tmp_path):
    running = sweep(tmp_path, 4, 3.0, 2)
    begun = until(lambda: len(in_hand(tmp_path)) == 2 and in_hand(tmp_path))
    running.kill()
    since = time.monotonic()
    assert result(sweep(tmp_path, 4, 0.1, 1)) == {f"u{i}": "" for i in range(4)}
    assert time.monotonic() - since < 60  # not after the two minutes that a silent machine is given
    until(lambda: not any(psutil.pid_exists(note["pid"]) for note in begun))  # Ray ends the workers of a dead sweep


@pytest.fixture
def crew(cluster, tmp_path):
    """A crew in this process."""
    made = []

    def make(config=None, read=(), workers=1):
        made.append(RayCrew(2, "light_units:do", config or RayConfig(), tmp_path, read, workers))
        return made[-1]

    yield make
    import ray

    ray.shutdown()


def test_what_a_node_does_not_see_is_an_error_before_any_work(crew, tmp_path):
    units = [Unit("a", {"folder": str(tmp_path), "name": "a"})]
    with pytest.raises(ConfigError, match=r"does not see .*nowhere: checkpoints, and the files .* at the same path"):
        list(run_units(units, crew(read=[tmp_path / "nowhere"]), lambda *_: None))
    assert not notes(tmp_path, "began")


def test_a_run_folder_that_is_another_one_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    worker = RayWorker("light_units:do", 1)
    (tmp_path / CLAIMS).mkdir()
    token = tmp_path / CLAIMS / "visible-1"
    assert f"does not see the run folder {tmp_path}" in worker.look(str(token), [])
    token.write_text("visible-2")  # a folder of the same name that is not shared
    assert "does not see the run folder" in worker.look(str(token), [])
    token.write_text("visible-1")
    assert worker.look(str(token), [str(tmp_path)]) == ""


def test_more_than_any_node_has_is_refused(crew):
    with pytest.raises(ConfigError, match="no node of the Ray cluster has room for a worker of 1 CPUs and 1 GPUs"):
        crew(RayConfig(gpus_per_worker=1), workers=None)


def test_without_a_cluster_the_way_out_is_told(monkeypatch):
    with pytest.raises(ConfigError, match=r"no Ray cluster at '127.0.0.1:1'.*ray start --head"):
        RayCrew(1, "light_units:do", RayConfig("127.0.0.1:1"), Path("/nowhere"), [])
    with pytest.raises(ConfigError, match="run this on a node of the cluster"):
        RayCrew(1, "light_units:do", RayConfig("ray://head:10001"), Path("/nowhere"), [])
