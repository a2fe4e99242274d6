"""Answers in mathematics compared by math-verify, in processes that are killed when one takes too long.

What counts as equal (fractions, sets, intervals, units …) is math-verify's. Ours is what is handed to it, and that an answer
which hangs or crashes computer algebra costs itself only: it is a failure with its reason, not a wrong answer.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from typing import Any

from ...dynamics.errors import ConfigError
from .markup import boxes

TIMEOUT_S = 5.0  # of the processor, so that a loaded machine makes nobody wrong
WALL = 12  # times as long by the wall: a worker that gets no processor, or waits for something
START_S = 120.0  # for a worker to load computer algebra, on a machine under load
LONGEST = 4000  # characters of a boxed answer
_WORKER = Path(__file__).with_name("math_worker.py")


@dataclass(frozen=True)
class MathGrade:
    """The verdict on one answer."""

    parsed: bool  # an answer was found and could be read
    correct: bool
    reason: str = ""  # why it was not parsed or could not be compared
    failed: bool = False  # the grading failed, not the answer: neither right nor wrong is known


def boxed_answer(text: str) -> tuple[str | None, bool]:
    r"""What stands in the last closed `\boxed{…}`, braces matched, and whether a later box was opened and cut off."""
    found = boxes(text)
    closed = [box for box in found if box is not None]
    return (closed[-1] if closed else None), bool(found) and found[-1] is None


def grade_math(
    answers: Sequence[tuple[str, str]], timeout_s: float = TIMEOUT_S, processes: int | None = None
) -> list[MathGrade]:
    """Grades of (what was answered, LaTeX of what is right) in the order given; the answer is the text after the thinking.

    An answer is what the last box holds, or what math-verify finds in the text where nothing is boxed. Each has `timeout_s`
    seconds of the processor in a process of its own pool, which stays for the next call. Raises ConfigError where math-verify is
    not there.
    """
    asked = [_question(*pair) for pair in answers]
    told = iter(_ask([question for question, _ in asked if question is not None], timeout_s, processes))
    return [without if question is None else _grade(next(told)) for question, without in asked]


def unreadable(golds: Sequence[str]) -> list[str]:
    """Those of the right answers that no answer can equal: groups left open, or nothing that math-verify can read.

    Raises ConfigError where it is not there.
    """
    told = _ask([{"gold": gold} for gold in golds], TIMEOUT_S, None)
    whole = [boxes(rf"\boxed{{{gold}}}")[0] == gold.strip() for gold in golds]
    return [gold for gold, said, w in zip(golds, told, whole, strict=True) if not w or said.get("readable") is False]


def _ask(questions: Sequence[dict[str, Any]], timeout_s: float, processes: int | None) -> list[dict[str, Any]]:
    """What the workers say to each question; `failed` with its reason where one could not say anything."""
    if not questions:
        return []
    count = min(processes or os.cpu_count() or 1, len(questions))
    workers = _pool.at_least(count)

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        worker = workers.get()
        try:
            return worker.ask(question, timeout_s)
        finally:
            workers.put(worker)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(ask, questions))


def _grade(told: dict[str, Any]) -> MathGrade:
    if "failed" in told:
        return MathGrade(False, False, told["failed"], failed=True)
    if not told["parsed"]:
        return MathGrade(False, False, "it cannot be read as mathematics")
    return MathGrade(True, told["correct"])


def _question(text: str, gold: str) -> tuple[dict[str, Any] | None, MathGrade]:
    boxed, cut_off = boxed_answer(text)
    if cut_off:
        return None, MathGrade(False, False, "its last box is not closed")
    if boxed == "" or not text.strip():
        return None, MathGrade(False, False, "its last box is empty" if boxed == "" else "there is no answer")
    if boxed is not None and len(boxed) > LONGEST:
        return None, MathGrade(False, False, f"its last box holds {len(boxed)} characters: at most {LONGEST} are read")
    asked = boxed if boxed is not None else text[-LONGEST:]
    return {"answer": asked, "gold": gold, "boxed": boxed is not None}, MathGrade(False, False)


class _Worker:
    """A process that compares; killed when an answer takes too long, and started anew for the next."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        process = self._started()
        wall_s = WALL * timeout_s
        # its own clock by the wall is for when nobody is here any more to stop it
        timed = {**question, "cpu_s": timeout_s, "wall_s": wall_s + 5}
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(timed).encode() + b"\n")
            process.stdin.flush()
            return _line(process, wall_s)
        except TimeoutError:
            self.close()
            return {"failed": f"comparing it took more than {wall_s:g} s by the wall"}
        except (OSError, EOFError):
            code = self.close(give_s=1.0)
            if code == -signal.SIGPROF:
                return {"failed": f"comparing it took more than {timeout_s:g} s"}
            return {"failed": f"comparing it ended its process (exit code {code})"}

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},  # the same grade every time
        )
        try:
            told = _line(process, START_S)
        except (TimeoutError, EOFError) as error:
            code = self.close()
            raise ConfigError(
                f"the process that compares answers in mathematics does not start (exit code {code}): "
                f"try `{sys.executable} {_WORKER}`"
            ) from error
        if "missing" in told:
            self.close()
            raise ConfigError(
                f"answers in mathematics are compared by math-verify, which cannot be loaded ({told['missing']}): "
                "pip install 'sftscope[benchmarks]'"
            )
        return process

    def close(self, give_s: float = 0.0) -> int | None:
        """Kill the process, which may have `give_s` seconds to end as it is about to, and say how it ended."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        if give_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(give_s)
        process.kill()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue  # what was still to be written has no reader any more
        return process.wait()


class _Pool:
    """Workers that stay from one call to the next."""

    def __init__(self) -> None:
        self._lock, self._owner = threading.Lock(), os.getpid()
        self._all: list[_Worker] = []
        self._free: LifoQueue[_Worker] = LifoQueue()  # the one used last is warm

    def at_least(self, count: int) -> LifoQueue[_Worker]:
        """The free workers, of which there are `count` or more when all are free."""
        with self._lock:
            if self._owner != os.getpid():  # after a fork: those are the other process's
                self._all, self._free, self._owner = [], LifoQueue(), os.getpid()
            while len(self._all) < count:
                self._all.append(_Worker())
                self._free.put(self._all[-1])
            return self._free

    def close(self) -> None:
        with self._lock:
            if self._owner == os.getpid():
                for worker in self._all:
                    worker.close()


_pool = _Pool()
atexit.register(_pool.close)


def _line(process: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any]:
    """The next line that a worker says. Raises TimeoutError, and EOFError where it has ended."""
    assert process.stdout is not None
    fd, said, deadline = process.stdout.fileno(), b"", time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise TimeoutError
            chunk = os.read(fd, 1 << 16)
            if not chunk:
                raise EOFError
            said += chunk
    return json.loads(said)
