"""Measures checkpoints as they appear in a folder that another process, or machine, is still filling."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .dynamics.errors import CheckpointError, ConfigError
from .dynamics.record import Run
from .dynamics.storage import MANIFEST
from .dynamics.watching import News, checkpoint_alerts
from .failures import Failure, told
from .pipeline import open_probe_run, probe_run
from .probes.checkpoints import Checkpoint, note_on_ends
from .probes.finding import NoCheckpoints, find_checkpoints
from .probes.planner import ProbeConfig
from .reports.live import LiveMirror

Listing = tuple[tuple[str, int, int], ...]  # name, bytes and time of every file of a folder
OnAlert = Literal["warn", "save", "stop"]


@dataclass
class Arrivals:
    """Checkpoints that have come, each once: not before its files have stayed as they are from one look to the next, and
    again when they change later."""

    paths: Sequence[Path]
    steps: Mapping[str, int] | None = None
    tokenizer: Path | None = None
    _last: dict[Path, Listing] = field(default_factory=dict)
    _given: dict[Path, Listing] = field(default_factory=dict)

    def look(self) -> list[Checkpoint]:
        """What is new and whole by now, in order."""
        try:
            there = find_checkpoints(self.paths, steps=self.steps, tokenizer=self.tokenizer, filling=True)
        except NoCheckpoints:
            return []  # as yet
        now = {c.path: _listing(c.path) for c in there}
        # Our own checkpoints appear whole; of others nobody says when they are.
        settled = {path: files for path, files in now.items() if self._last.get(path) == files or _is_ours(path)}
        new = [c for c in there if c.path in settled and self._given.get(c.path) != settled[c.path]]
        self._given |= {c.path: settled[c.path] for c in new}
        self._last = now
        return new


def watch_run(
    paths: Sequence[Path],
    out: Path | None,
    config: ProbeConfig | None,
    *,
    steps: Mapping[str, int] | None = None,
    tokenizer: Path | None = None,
    every: float = 10.0,
    idle: float | None = None,
    on_alert: OnAlert | None = None,
    say: Callable[[str], None] = print,
    quiet: bool = False,
) -> tuple[Run, list[Failure]]:
    """Measure each checkpoint of a run folder, or of a foreign folder into `out`, as it comes; gives run and failures.

    Looks `every` so many seconds. Ends when a run's training is complete and measured, or when nothing new has come for
    `idle` seconds. Alerts are told; `on_alert` (by default the run's own setting) may ask a training run to save or to
    stop. `steps` and `tokenizer` are those of `find_checkpoints`. The measurements are those of `probe_run` on the full
    folder. Raises ConfigError and CheckpointError.
    """
    if not every > 0:
        raise ConfigError(f"`--every` is {every}: give the seconds between two looks, above 0")
    arrivals = Arrivals(paths, steps, tokenizer)
    news = News()
    failures: dict[int, list[Failure]] = {}
    since = time.monotonic()
    while not (new := arrivals.look()):  # a run folder without `out` may still be without checkpoints
        if idle is not None and _is_idle(since, idle):
            raise CheckpointError(
                f"no checkpoint came to {paths[0]} in {idle:g} s: is it the folder that is being filled?"
            )
        time.sleep(every)
    run, _, settings = open_probe_run(paths, out, config, steps=steps, tokenizer=tokenizer, filling=True)
    if note := note_on_ends(new):
        say(f"note          {note}")
    settings_of_run = run.info.get("config") or {}
    asks = on_alert or settings_of_run.get("on_alert") or "warn"
    deaf = out is not None or (asks == "stop" and "trainer" in settings_of_run)  # the callback hears `save` alone
    if asks != "warn" and deaf:
        raise ConfigError(f"`--on-alert {asks}` asks a training run of ours, and {paths[0]} is none: give `warn`")
    base = new[0]
    news.know(run := run.again())
    with LiveMirror(run.path) as mirror:
        if mirror.note:
            say(f"note          {mirror.note}")
        while True:
            for checkpoint in new:
                base = min(base, checkpoint, key=lambda c: c.step)
                failed = probe_run(run, [checkpoint], settings, base=base, workers=1, quiet=quiet, stay_warm=True)
                failures[checkpoint.step] = failed
                said = f"failed: {'; '.join(told(failed))}" if failed else "measured"
                say(f"step {checkpoint.step:<8} {said}")
                mirror.log(checkpoint.step)
                run = run.again()
                for alert in news.of(checkpoint_alerts(run, checkpoint.step)):
                    say(f"alert         {alert.sentence}")
                    mirror.alert(alert)
                    _ask(run.path, asks)
                since = time.monotonic()
            if not new and (_is_complete(run.path, set(failures)) or _is_idle(since, idle)):
                return run.again(), [failure for found in failures.values() for failure in found]
            if not new:
                time.sleep(every)
            new = arrivals.look()


def _ask(run: Path, what: str) -> None:
    """Ask the training process, by the file that it looks for after every step."""
    if what != "warn":
        (run / what).touch()


def _is_idle(since: float, idle: float | None) -> bool:
    return idle is not None and time.monotonic() - since > idle


def _is_complete(run: Path, measured: set[int]) -> bool:
    """Whether a training run has taken its last step, and every checkpoint of it has been seen to."""
    record = Run(run)
    plan, steps = record.info.get("plan") or {}, record.steps()
    if not plan or not len(steps) or int(steps["step"].iloc[-1]) < plan["total_steps"]:
        return False
    return set(plan["checkpoints"]) <= set(record.checkpoints()) <= measured


def _listing(folder: Path) -> Listing:
    found = []
    for file in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):  # a file written aside, and renamed between the two calls
            s = file.stat()
            found.append((str(file.relative_to(folder)), s.st_size, s.st_mtime_ns))
    return tuple(found)


def _is_ours(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()
