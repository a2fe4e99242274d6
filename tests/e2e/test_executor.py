"""Units in worker processes: every unit is answered once, and a worker that dies costs its unit alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sftscope import executor
from sftscope.executor import Unit, run_units

WORKER = """
import json, os, sys
for line in sys.stdin:
    unit = json.loads(line)
    print(json.dumps({"stage": "begun"}), flush=True)
    if unit.get("die"):
        os._exit(9)
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


def test_a_dead_worker_costs_its_unit_and_is_replaced(fake_workers):
    units = [Unit(str(i), {"die": i == 3, **({"error": "no such thing"} if i == 5 else {})}) for i in range(9)]
    seen: list[tuple[str, float]] = []
    done = {u.name: e for u, e in run_units(units, lambda *_: None, 2, lambda now, n: seen.append((now, n)))}
    assert set(done) == {str(i) for i in range(9)}
    assert "ended with code 9" in done["3"]
    assert done["5"] == "no such thing"
    assert {e for name, e in done.items() if name not in "35"} == {""}
    assert sum(n for _, n in seen) == 9
    assert len(fake_workers) == 3
    assert all(p.wait(timeout=5) is not None for p in fake_workers)


def test_one_worker_runs_here():
    done = []

    def do(payload, say):
        say("begun")
        done.append(payload["i"])

    results = list(run_units([Unit(str(i), {"i": i}) for i in range(3)], do, 1, lambda *_: None))
    assert done == [0, 1, 2]
    assert all(not error for _, error in results)
