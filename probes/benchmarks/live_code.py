"""LiveCodeBench (arXiv 2403.07974), code generation: programs for problems of programming contests, run against their tests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...dynamics.errors import ConfigError, DataError
from ...dynamics.types import Group
from ..domains import Grade, Item, Response
from ..sandbox import SandboxConfig, SandboxFailure, open_sandbox
from .base import Benchmark, BenchmarkConfig, Question, so_far, strict_or_late
from .code_tests import PRIVATE, PUBLIC, Tests, read_tests
from .programs import Verdict, judge
from .rows import Place, Row, Source, Unavailable

# The published prompt for chat models, its system message first.
PROMPT = (
    "You are an expert Python programmer. You will be given a question (problem specification) and will generate a correct "
    "Python program that matches the specification and passes all tests.\n\n### Question:\n{question}\n\n### Format: {format}"
    "\n\n### Answer: (use the provided format with backticks)"
)
COMPLETE = "You will use the following starter code to write the solution to the problem and enclose your code within delimiters."
WHOLE = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample inputs). "
    "Enclose your code within delimiters as follows. Ensure that when the python program runs, it reads the inputs, runs the "
    "algorithm and writes output to STDOUT."
)


class LiveCodeBench(Benchmark):
    """LiveCodeBench v2, `livecodebench/code_generation_lite`, release_v2: 511 problems of May 2023 to May 2024.

    Columns `question_content`, `starter_code`, `difficulty`, `public_test_cases`, `private_test_cases`, `metadata`. The hub's
    loading script is not run: release_v2 is its first two files. Tests unpack to gigabytes, so that an item holds their hash
    only; they are read from where they lie, one problem's at a time, when a program is graded. Right: every test is passed.
    Details: `tests_passed`, the share before the first that was not; `timed_out`, `run_error`, `grading_failed`.
    """

    name = "livecodebench"
    group: Group = "ood_reasoning"
    source = Source(
        "livecodebench/code_generation_lite",
        "test",
        "release_v2",
        revision="0fe84c3912ea0c4d4a78037083943e8f0c4dd505",
        files=("test.jsonl", "test2.jsonl"),
    )
    prompt = PROMPT
    grader = "livecodebench-1"

    def __init__(self, config: BenchmarkConfig | None = None, sandbox: SandboxConfig | None = None) -> None:
        """Raises Unavailable, before anything is fetched, where code may not or cannot be run safely."""
        self._config = sandbox or SandboxConfig()
        try:
            self._sandbox = open_sandbox(self._config)
            python = self._sandbox.run("import sys; print('%d.%d' % sys.version_info[:2])").stdout.decode().strip()
        except (ConfigError, SandboxFailure) as error:
            raise Unavailable(f"{self.name} is skipped: {' '.join(str(error).split())}") from error
        self.grader = f"{self.grader}, Python {python}, {self._config.settings()}"
        self._places: dict[str, Place | Mapping[str, Any]] = {}  # by the hash of the tests
        self._known: dict[
            tuple[str, str], Verdict
        ] = {}  # by that and the program: several probes ask for the same grades
        super().__init__(config)

    def question(self, row: Row) -> Question:
        content, starter = row.text("question_content"), row.values.get("starter_code") or ""
        tests = read_tests(row)  # of all rows at the start: a malformed one is no news for the end of a sweep
        if not isinstance(starter, str) or (tests.function and not starter.strip()):
            raise row.wrong("starter_code", "the beginning of a program, whose method the tests call")
        key = _hash_of_tests(row.values)
        own = {name: row.values.get(name) for name in (PUBLIC, PRIVATE, "metadata")}
        self._places.setdefault(key, row.place or own)
        code = f"```python\n{starter or '# YOUR CODE HERE'}\n```"
        slots = {"question": content, "format": f"{COMPLETE if starter else WHOLE}\n{code}"}
        reference = {"tests": key, "function": tests.function, "category": row.optional_text("difficulty")}
        return Question(slots, reference, (content, starter))

    def grade(self, item: Item, response: Response) -> Grade:
        return self.grade_all([item], [response])[0]

    def grade_all(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
        """Grades of many responses at once, whose programs run side by side. Raises DataError where the tests have changed."""
        texts = [r.answer if r.finished else so_far(r) for r in responses]
        pairs = [(i.reference["tests"], last_program(t)) for i, t in zip(items, texts, strict=True)]
        verdicts = self._verdicts({(tests, code): None for tests, code in pairs if code})
        found = [verdicts[tests, code] if code else None for tests, code in pairs]
        return [_grade(r, v) for r, v in zip(responses, found, strict=True)]

    def _verdicts(self, asked: Mapping[tuple[str, str], None]) -> dict[tuple[str, str], Verdict]:
        """Verdicts on (tests, program). Those on programs that could not be run are not kept."""
        by_tests: dict[str, list[str]] = {}
        for tests, code in asked:
            if (tests, code) not in self._known:
                by_tests.setdefault(tests, []).append(code)
        workers = self._config.workers or len(os.sched_getaffinity(0))
        parts = max(1, workers // max(1, len(by_tests)))
        units = [(tests, codes[k::parts]) for tests, codes in by_tests.items() for k in range(parts) if codes[k::parts]]
        verdicts = {pair: self._known[pair] for pair in asked if pair in self._known}
        with ThreadPoolExecutor(max(1, min(workers, len(units)))) as pool:
            try:
                for tests, told in zip([t for t, _ in units], pool.map(self._judged, units), strict=True):
                    verdicts |= {(tests, code): verdict for code, verdict in told.items()}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # of hours of work, what has begun is waited for
                raise
        self._known |= {pair: verdict for pair, verdict in verdicts.items() if verdict.ending != "failed"}
        return verdicts

    def _judged(self, unit: tuple[str, list[str]]) -> dict[str, Verdict]:
        """Programs for one problem, one after the other: its tests are in memory for no longer."""
        key, codes = unit
        tests = self._tests(key)
        return {code: judge(self._sandbox, code, tests, self._config) for code in codes}

    def _tests(self, key: str) -> Tests:
        place = self._places[key]
        try:
            values = place.read() if isinstance(place, Place) else place
            same = isinstance(values, dict) and _hash_of_tests(values) == key
        except (OSError, ValueError):
            same = False
        if not same:
            where = place.path if isinstance(place, Place) else self.name
            raise DataError(f"{where} is no longer what it was when it was loaded: leave it as it is during a sweep")
        return read_tests(Row(self.name, values))


def last_program(text: str) -> str:
    """The last fenced block of a text that is closed; empty where there is none, or with nothing in it.

    A fence is a line with three backticks, as the benchmark takes it; one that names a language opens a block.
    """
    last, begun = "", None
    lines = text.split("\n")
    for at, line in enumerate(lines):
        if line.count("```") != 1:  # none, or code within the line
            continue
        if begun is None or line.split("```", 1)[1].strip("` \t\r"):
            begun = at + 1
        else:
            last, begun = "\n".join(lines[begun:at]), None
    return last if last.strip() else ""


def _grade(response: Response, verdict: Verdict | None) -> Grade:
    """The grade by a verdict; None where there is no program."""
    failed = verdict is not None and verdict.ending == "failed"
    right = verdict is not None and verdict.ending == "passed"
    details = {"tests_passed": 0.0, "timed_out": 0.0, "run_error": 0.0, "grading_failed": float(failed)}
    if verdict is not None and response.finished:
        details["tests_passed"] = verdict.passed / verdict.tests
        details["timed_out"] = float(verdict.ending == "timed out")
        details["run_error"] = float(verdict.ending == "error")
    return strict_or_late(response, verdict is not None and not failed, right, right, **details)


def _hash_of_tests(values: Mapping[str, Any]) -> str:
    found = hashlib.sha256()
    for name in (PUBLIC, PRIVATE, "metadata"):
        found.update(hashlib.sha256(str(values.get(name)).encode("utf-8", "surrogatepass")).digest())
    return found.hexdigest()
