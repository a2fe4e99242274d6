"""A few of the kills of kill_and_resume.py, which `.ci/run` runs at full length."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_and_resume.py")


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits():
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", str(SCRIPT), "--kills", "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    assert summary["kills"] == 6
    assert summary["in a checkpoint"] >= 1
    assert summary["in a state"] >= 1
