"""A program against the tests of its problem: each run locked in by the sandbox, each answer compared outside of it.

As LiveCodeBench does (arXiv 2403.07974; `lcb_runner/evaluation/testing_util.py`): the same names are imported beforehand, public
tests come first, the first failure ends it, lines are compared stripped and numbers in them by their decimal value. Ours differs
where its runs differ: each test has a process of its own, time is the processor's, and what a call returns has gone
through JSON, so that tuples are lists at any depth.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from ..sandbox import Limits, Outcome, Sandbox, SandboxConfig, SandboxFailure
from .code_tests import Case, Tests, arguments_of

MIB = 1 << 20
OUTPUT_MIB = 8.0  # beyond what is right
TRIES = 3  # for a run that cannot be locked in
Ending = Literal["passed", "wrong", "timed out", "error", "failed"]

# What the judges of the platforms have at hand: later names hide earlier ones, as in the benchmark's own harness.
_NAMES = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json", "builtins", "typing",
)  # fmt: skip
_MODULES = [name for name in _NAMES if name not in ("builtins", "typing")]
PRELUDE = "".join(f"from {name} import *\n" for name in _NAMES) + (
    f"import {', '.join(_MODULES)}\nsys.setrecursionlimit(50_000)\nsys.set_int_max_str_digits(50_000)\n"
)


@dataclass(frozen=True)
class Verdict:
    """How a program fared. `failed`: it could not be run, and neither right nor wrong is known."""

    ending: Ending
    passed: int  # tests before the first that was not
    tests: int


def judge(sandbox: Sandbox, code: str, tests: Tests, config: SandboxConfig) -> Verdict:
    """Run a program on one test after the other until one is not passed, or its time is over."""
    count = len(tests.cases)
    deadline = time.monotonic() + config.seconds_for(count)
    for passed, case in enumerate(tests.cases):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return Verdict("timed out", passed, count)
        try:
            done = _run(sandbox, code, tests.function, case, config, left_s)
        except (SandboxFailure, OSError):  # no process or no room for one
            return Verdict("failed", passed, count)
        ending = _ending(done, tests.function, case)
        if ending != "passed":
            return Verdict(ending, passed, count)
    return Verdict("passed", count, count)


def same_output(printed: str, wanted: str) -> bool:
    """Whether a program printed what is right: as many lines, each the same text or the same numbers."""
    ours, theirs = _lines(printed), _lines(wanted)
    return len(ours) == len(theirs) and all(a == b or _same_numbers(a, b) for a, b in zip(ours, theirs, strict=True))


def _run(
    sandbox: Sandbox, code: str, function: str | None, case: Case, config: SandboxConfig, left_s: float
) -> Outcome:
    """One run. What is right is not handed over: only how much of it there is decides how much may be written."""
    limits = Limits(
        wall_s=min(2 * config.test_s, left_s),
        cpu_s=config.test_s,
        memory_mib=config.memory_mib,
        output_mib=OUTPUT_MIB + len(case.wanted) / MIB,
    )
    for attempt in range(TRIES):
        try:
            if function is None:
                return sandbox.run([PRELUDE, code], stdin=case.given.encode(), limits=limits)
            return sandbox.run([PRELUDE, code], call=function, arguments=arguments_of(case), limits=limits)
        except (SandboxFailure, OSError):
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _ending(done: Outcome, function: str | None, case: Case) -> Ending:
    if done.ending == "timeout":
        return "timed out"
    if not done.ok:
        return "error"
    if function is None:
        right = same_output(done.stdout.decode(errors="replace"), case.wanted)
    else:
        right = done.has_result and _same_value(done.result, json.loads(case.wanted))
    return "passed" if right else "wrong"


def _same_value(ours: Any, theirs: Any) -> bool:
    try:
        return bool(ours == theirs)
    except RecursionError:
        return False


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_numbers(ours: str, theirs: str) -> bool:
    try:
        return [Decimal(token) for token in ours.split()] == [Decimal(token) for token in theirs.split()]
    except InvalidOperation:  # a word, or a NaN that signals
        return False
