"""Units in worker processes: every unit is answered once, and a worker that dies costs its unit alone."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from sftscope import executor
from sftscope.executor import Unit, run_units

WORKER = """
import json, os, sys, time
for line in sys.stdin:
    unit = json.loads(line)
    print(json.dumps({"stage": "begun", "share": 0.25}), flush=True)
    if unit.get("die"):
        os._exit(9)
    if unit.get("long"):
        time.sleep(600)
    print(json.dumps({"done": True, **({"error": unit["error"]} if "error" in unit else {})}), flush=True)
"""


@pytest.fixture
def fake_workers(monkeypatch):
    started = []

    def start():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-c", WORKER], **pipes))
        return started[-1]

    monkeypatch.setattr(executor, "start_worker", start)
    return started


def test_dead_workers_cost_their_units_and_are_replaced(fake_workers):
    deadly = {"1", "2", "3", "4"}
    units = [
        Unit(str(i), {"die": str(i) in deadly, **({"error": "no such thing"} if i == 6 else {})}) for i in range(12)
    ]
    seen: list[tuple[str, float]] = []
    done = {u.name: e for u, e in run_units(units, lambda *_: None, 2, lambda now, n: seen.append((now, n)))}
    assert set(done) == {str(i) for i in range(12)}
    assert all("ended with code 9" in done[name] for name in deadly)
    assert done["6"] == "no such thing"
    assert {e for name, e in done.items() if name not in {*deadly, "6"}} == {""}
    assert sum(n for _, n in seen) == 12
    assert seen.count(("0: begun", 0.25)) == 1
    assert 5 <= len(fake_workers) <= 6  # a process dies once; the last units need one that lives
    assert all(p.wait(timeout=5) is not None for p in fake_workers)


def test_an_interruption_ends_the_workers_and_starts_no_others(fake_workers):
    units = [Unit(str(i), {"long": i >= 2}) for i in range(8)]
    running = run_units(units, lambda *_: None, 2, lambda *_: None)
    assert {next(running)[0].name, next(running)[0].name} == {"0", "1"}
    since = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt)  # as Ctrl-C while it waits
    assert time.monotonic() - since < 10
    assert all(p.wait(timeout=5) is not None for p in fake_workers)
    assert len(fake_workers) == 2


def test_one_worker_runs_here():
    done = []

    def do(payload, say):
        say("begun", 0.5)
        done.append(payload["i"])

    results = list(run_units([Unit(str(i), {"i": i}) for i in range(3)], do, 1, lambda *_: None))
    assert done == [0, 1, 2]
    assert all(not error for _, error in results)
