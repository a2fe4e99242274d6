"""Worker processes on this machine, of one thread each: units as JSON lines in, events as JSON lines out."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .executor import Event, Kept, Outcome, Tell, Unit, attempt, resolve
from .signals import sigterm_exits

ENDING_S = 20.0  # for a worker to let go of what it holds


def default_workers() -> int:
    """One worker a core up to four on a CPU; one on a GPU, which it has to itself."""
    import torch

    return 1 if torch.cuda.is_available() else min(4, os.cpu_count() or 1)


class Processes:
    """A crew of worker processes, started as they are needed; one that dies is replaced."""

    def __init__(self, workers: int, do: str) -> None:
        self._workers, self._do = workers, do
        self._busy: dict[subprocess.Popen[str], Unit] = {}
        self._idle: list[subprocess.Popen[str]] = []
        self._started: list[subprocess.Popen[str]] = []
        # What a worker says; None once it has ended.
        self._events: queue.Queue[tuple[subprocess.Popen[str], Event | None]] = queue.Queue()

    def free(self) -> int:
        return self._workers - len(self._busy)

    def give(self, unit: Unit) -> None:
        process = self._idle.pop() if self._idle else self._start()
        self._busy[process] = unit
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: its end is told by the thread that reads it
            process.stdin.write(json.dumps(unit.payload) + "\n")
            process.stdin.flush()

    def wait(self, tell: Tell, seconds: float) -> Outcome | None:
        until = time.monotonic() + seconds
        while True:
            try:
                process, event = self._events.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                return None
            if event is None:
                if process in self._idle:
                    self._idle.remove(process)
                if unit := self._busy.pop(process, None):
                    return Outcome(unit, f"the worker process ended with code {process.wait()}", lost=True)
            elif "stage" in event:
                tell(self._busy[process], event["stage"], event["share"])
            else:
                unit = self._busy.pop(process)
                if not event.get("broken"):
                    self._idle.append(process)
                return Outcome(unit, event.get("error", ""))

    def dismiss(self) -> None:
        for process in self._started:
            if process in self._busy:
                process.terminate()
            elif process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()
        for process in self._started:
            try:
                process.wait(ENDING_S)
            except subprocess.TimeoutExpired:  # deep in a computation, which a signal does not interrupt
                process.kill()
                process.wait()
        self._busy.clear()
        self._idle.clear()

    def _start(self) -> subprocess.Popen[str]:
        process = start_worker(self._do)
        self._started.append(process)
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        return process

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._events.put((process, json.loads(line)))
        self._events.put((process, None))


def start_worker(do: str) -> subprocess.Popen[str]:
    """A worker of one thread. `-P` keeps the user's own `train.py` or `probes/` in the current folder out of its imports."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-P", "-m", "sftscope.crews", do]
    # In a group of its own: Ctrl-C is for the command, which ends its workers.
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=env, process_group=0, **pipes)


def worker_main(do: str) -> None:
    """Units as JSON lines in, events as JSON lines out; whatever else prints goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print, from C too, must not break the protocol

    def send(event: Event) -> None:
        try:
            out.write(json.dumps(event) + "\n")
            out.flush()
        except BrokenPipeError:  # whoever gave the work is gone
            os._exit(1)

    import torch

    torch.set_num_threads(1)
    work, kept, units = resolve(do), Kept(), Units()
    try:
        with sigterm_exits():
            for line in units:
                last = attempt(
                    work, json.loads(line), lambda stage, share: send({"stage": stage, "share": share}), kept
                )
                units.done += 1
                send(last)
                if last.get("broken"):
                    break
    finally:
        kept.close()


class Units:
    """The lines of standard input; `done` counts those that are behind.

    Where it ends while one is still in hand, whoever gave it is gone, and this process is told to end: it may be at it for
    hours, and vLLM's process with it.
    """

    def __init__(self) -> None:
        self.done = self._given = 0
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def __iter__(self) -> Iterator[str]:
        while line := self._lines.get():
            yield line

    def _read(self) -> None:
        for line in iter(sys.stdin.readline, ""):
            self._given += 1
            self._lines.put(line)
        self._lines.put("")
        if self._given > self.done:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


if __name__ == "__main__":
    worker_main(sys.argv[1])
