"""Answers in mathematics: equal in any form, and one that hangs computer algebra costs itself only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.probes.benchmarks import math_answers
from sftscope.probes.benchmarks.math_answers import MathGrade, boxed_answer, grade_math, unreadable

TOWER = r"So the answer is \boxed{9^{9^{9^9}}}."
RIGHT, WRONG = MathGrade(True, True), MathGrade(True, False)


def grades(*pairs, **named):
    return grade_math(pairs, processes=2, **named)


@pytest.mark.parametrize(
    ("text", "boxed", "cut_off"),
    [
        (r"\boxed{1} then \boxed{\frac{1}{2}}.", r"\frac{1}{2}", False),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}", False),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right.", False),  # an escaped brace opens no group
        (r"\fbox {7}", "7", False),
        (r"\boxed{1} and \boxed{\frac{1}{2", "1", True),
        (r"\boxed{", None, True),
        ("42", None, False),
    ],
)
def test_the_last_box_is_the_answer(text, boxed, cut_off):
    assert boxed_answer(text) == (boxed, cut_off)


def test_equal_in_another_form_is_right_and_unequal_is_wrong():
    right = [
        (r"\boxed{\frac12}", "0.5"),
        (r"\boxed{\frac{6}{8}}", r"\frac{3}{4}"),
        (r"\boxed{3\sqrt{2}}", r"\sqrt{18}"),
        (r"\boxed{x^2+2x+1}", "(x+1)^2"),
        (r"\boxed{\{2,1\}}", r"\{1,2\}"),
        (r"\boxed{(1,2]}", "(1,2]"),
        (r"\boxed{10 \text{ cm}}", "10"),
        (r"\boxed{90^\circ}", "90"),
        (r"\boxed{x=5}", "5"),
        (r"\boxed{1,000}", "1000"),
        (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}"),
        (r"First \boxed{1}, no: \boxed{4}", "4"),
        ("The final answer is $4$.", "4"),
    ]
    wrong = [
        (r"\boxed{\frac13}", "0.5"),
        (r"\boxed{[1,2]}", "(1,2]"),
        (r"\boxed{\{1,2,3\}}", r"\{1,2\}"),
        (r"\boxed{\text{Bob}}", r"\text{Evelyn}"),
        (r"First \boxed{4}, no: \boxed{1}", "4"),
        (r"\boxed{x^2+2x-1}", "(x+1)^2"),
    ]
    assert grades(*right, *wrong) == [RIGHT] * len(right) + [WRONG] * len(wrong)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no answer"),
        ("I cannot tell.", "it cannot be read as mathematics"),
        (r"\boxed{???}", "it cannot be read as mathematics"),
        (r"\boxed{}", "its last box is empty"),
        (r"It was \boxed{4}, no, \boxed{\frac{1}{", "its last box is not closed"),
        (rf"\boxed{{{'1+' * 4000}1}}", "its last box holds 8001 characters: at most 4000 are read"),
    ],
)
def test_what_is_no_answer_says_why(text, reason):
    assert grades((text, "4")) == [MathGrade(False, False, reason)]


def test_an_answer_that_hangs_is_cut_off_and_its_neighbours_are_graded():
    grades((r"\boxed{1}", "1"), (r"\boxed{1}", "1"))  # warm
    pairs = [
        (r"\boxed{1}", "1"),
        (TOWER, "4"),
        (r"\boxed{2}", "3"),
        (r"\boxed{4}", "4"),
        (TOWER, "9"),
        (r"\boxed{5}", "5"),
    ]
    found = grades(*pairs, timeout_s=1.0)
    hung = MathGrade(False, False, "comparing it took more than 1 s", failed=True)
    assert found == [RIGHT, hung, WRONG, RIGHT, hung, RIGHT]


def test_nothing_hung_is_left_behind():
    started = time.monotonic()
    (found,) = grades((TOWER, "4"), timeout_s=0.5)
    assert found.failed
    assert time.monotonic() - started < 15  # with the start of a worker
    busy = [w._process for w in math_answers._pool._all if w._process is not None]
    (again,) = grades((r"\boxed{2}", "2"))
    assert again == RIGHT
    time.sleep(0.2)
    before = [os.times().children_user, *(cpu_s(p.pid) for p in busy)]
    time.sleep(0.3)
    assert [os.times().children_user, *(cpu_s(p.pid) for p in busy)] == before  # nobody computes any more


HANGS = """
from sftscope.probes.benchmarks import math_answers
math_answers.grade_math([(r"\\boxed{1}", "1")])
print(math_answers._pool._all[0]._process.pid, flush=True)
math_answers.grade_math([(r"\\boxed{9^{9^{9^9}}}", "4")], timeout_s=2.0)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_whoever_asked_for_long(end):
    with subprocess.Popen([sys.executable, "-P", "-c", HANGS], stdout=subprocess.PIPE) as asking:
        worker = int(asking.stdout.readline())
        before = cpu_s(worker)
        while cpu_s(worker) < before + 0.3:  # it computes
            time.sleep(0.05)
        asking.send_signal(end)
        asking.wait()
    deadline = time.monotonic() + 60
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(worker)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_worker_that_gets_no_processor_is_waited_for():
    """The time is the processor's: what is right stays right on a loaded machine."""
    grades((r"\boxed{1}", "1"))
    pids = [w._process.pid for w in math_answers._pool._all if w._process is not None]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    threading.Timer(2.5, lambda: [os.kill(pid, signal.SIGCONT) for pid in pids]).start()
    begun = time.monotonic()
    assert grade_math([(r"\boxed{\frac12}", "0.5")], timeout_s=1.0) == [RIGHT]
    assert time.monotonic() - begun > 2


def test_what_is_right_has_to_be_readable():
    good = [
        "5",
        r"\text{Evelyn}",
        r"\left( 3, \frac{\pi}{2} \right)",
        r"\{1, 2\}",
        "11001_2",
        "3:00",
        r"\$1.50",
        "p - q",
    ]
    assert unreadable([*good, r"\frac{", "5}", r"\frac{1}{"]) == [r"\frac{", "5}", r"\frac{1}{"]


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_that_dies_costs_one_answer(monkeypatch):
    grades((r"\boxed{1}", "1"))
    monkeypatch.setattr(math_answers._Worker, "_started", dying(math_answers._Worker._started))
    found = grades((r"\boxed{1}", "1"), (r"\boxed{2}", "2"))
    assert sorted(g.failed for g in found) == [False, True]
    (failed,) = [g for g in found if g.failed]
    assert failed.reason == "comparing it ended its process (exit code -9)"


def dying(started):
    """The first process handed out is killed before it is asked."""
    done = []

    def first_dies(self):
        process = started(self)
        if not done:
            done.append(process.pid)
            process.kill()
            process.wait()
        return process

    return first_dies


def test_five_hundred_answers_keep_their_order():
    pairs = [
        (rf"Thus \boxed{{\frac{{{2 * k}}}{{{2 * k + 2}}}}}", rf"\frac{{{k}}}{{{k + 1 + k % 2}}}") for k in range(500)
    ]
    found = grades(*pairs)
    assert [g.correct for g in found] == [k % 2 == 0 or k == 0 for k in range(500)]
    assert all(g.parsed for g in found)


def test_without_math_verify_the_way_out_is_said(monkeypatch, tmp_path):
    (tmp_path / "math_verify.py").write_text("raise ImportError('No module named math_verify')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(math_answers, "_pool", math_answers._Pool())
    with pytest.raises(ConfigError, match=r"No module named math_verify.*pip install 'sftscope\[benchmarks\]'"):
        grade_math([(r"\boxed{1}", "1")])
