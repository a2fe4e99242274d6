"""Runs units of work in worker processes of one thread each, and shows how far they are.

A unit is a piece of work with JSON inputs that records its own results; a worker that dies costs its unit.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from .dynamics.errors import SftscopeError

Event = dict[str, Any]
Do = Callable[
    [dict[str, Any], Callable[[str, float], None]], None
]  # told the stage, and the share of the unit behind it


@dataclass(frozen=True)
class Unit:
    """One checkpoint to measure: what a worker needs to know, as JSON."""

    name: str
    payload: dict[str, Any]


def default_workers() -> int:
    """One worker a core up to four on a CPU; one on a GPU, which it has to itself."""
    import torch

    return 1 if torch.cuda.is_available() else min(4, os.cpu_count() or 1)


def run_units(
    units: Sequence[Unit], do: Do, workers: int, advance: Callable[[str, float], None]
) -> Iterator[tuple[Unit, str]]:
    """Run units, yielding each with its error ("" where it went well). One worker: `do` runs them in this process.

    `advance` is told what is being done and by how much of a unit the whole is further.
    """
    shares = dict.fromkeys((unit.name for unit in units), 0.0)  # behind each unit

    def tell(unit: Unit, now: str, share: float) -> None:
        gained = max(share - shares[unit.name], 0.0)
        shares[unit.name] += gained
        advance(now, gained)

    if workers == 1:
        for unit in units:
            error = ""
            try:
                do(unit.payload, lambda stage, share, unit=unit: tell(unit, f"{unit.name}: {stage}", share))  # type: ignore[misc]
            except (SftscopeError, OSError) as problem:
                error = str(problem)
            tell(unit, unit.name, 1.0)
            yield unit, error
        return
    events: queue.Queue[tuple[Unit, Event]] = queue.Queue()
    waiting: queue.SimpleQueue[Unit] = queue.SimpleQueue()
    for unit in units:
        waiting.put(unit)
    crew: list[subprocess.Popen[str]] = []
    threads = [
        threading.Thread(target=_drive_worker, args=(waiting, events, crew), daemon=True) for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    open_units = len(units)
    try:
        while open_units:
            unit, event = events.get()
            if "stage" in event:
                tell(unit, f"{unit.name}: {event['stage']}", event["share"])
                continue
            open_units -= 1
            tell(unit, unit.name, 1.0)
            yield unit, event.get("error", "")
    finally:
        if open_units:  # interrupted: the units in hand are lost, and no worker stays behind
            _dismiss(waiting, crew)
    for thread in threads:
        thread.join()


def _dismiss(waiting: queue.SimpleQueue[Unit], crew: Sequence[subprocess.Popen[str]]) -> None:
    """End the workers, and leave nothing for others to be started with."""
    with suppress(queue.Empty):
        while True:
            waiting.get_nowait()
    for process in crew:
        process.terminate()
    for process in crew:
        process.wait()


def _drive_worker(
    waiting: queue.SimpleQueue[Unit], events: queue.Queue[tuple[Unit, Event]], crew: list[subprocess.Popen[str]]
) -> None:
    """Feed one worker process from the queue until it is empty; a worker that dies costs its unit and is replaced."""
    process: subprocess.Popen[str] | None = None
    while True:
        try:
            unit = waiting.get_nowait()
        except queue.Empty:
            break
        if process is None or process.poll() is not None:
            process = start_worker()
            crew.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(unit.payload) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # told by the empty answer below
        for line in process.stdout:
            event = json.loads(line)
            events.put((unit, event))
            if "done" in event:
                break
        else:
            events.put((unit, {"done": True, "error": f"the worker process ended with code {process.wait()}"}))
    if process is not None and process.stdin is not None:
        process.stdin.close()
        process.wait()


def start_worker() -> subprocess.Popen[str]:
    """A worker of one thread. `-P` keeps the user's own `train.py` or `probes/` in the current folder out of its imports."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-P", "-m", "sftscope.executor"]
    # In a group of its own: Ctrl-C is for the command, which ends its workers.
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=env, process_group=0, **pipes)


def worker_main() -> None:
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

    from .pipeline import do_unit, quiet_libraries

    torch.set_num_threads(1)
    quiet_libraries()
    for line in sys.stdin:
        try:
            do_unit(json.loads(line), lambda stage, share: send({"stage": stage, "share": share}))
            send({"done": True})
        except (SftscopeError, OSError) as error:
            send({"done": True, "error": str(error)})


@contextmanager
def progress_bar(title: str, total: int, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar with the remaining time; the yielded function takes what is being done and how much of it is now done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[now]}"),
    )
    bar: Progress = Progress(*columns, console=Console(stderr=True), disable=quiet)
    with bar:
        task = bar.add_task(title, total=total, now="")
        yield lambda now, done: bar.update(task, advance=done, now=now)


if __name__ == "__main__":
    worker_main()
