"""Kill a push at five moments, and run two at once, and see that nothing shows: `python kill_pushes.py RUN FOLDER`.

One process imports everything and forks a child for every push of a copy of RUN in FOLDER. A child is killed (SIGKILL) when
a W&B run is being begun, when it is half written, and between two of them. After every kill each W&B run that stands in the
folder must be whole, and the last push, which is not killed, must leave what an undisturbed one leaves. So must two pushes
of one folder at the same time. Prints a summary as JSON; any difference is an AssertionError.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

JOBS = ("training", "probes", "report")


def child_of(run: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        from sftscope.reports import push

        push(run, mode="offline")
        code = 0
    except BaseException:  # noqa: BLE001  a child never returns to the code of its parent
        traceback.print_exc()
    os._exit(code)


def done(run: Path) -> int:
    """W&B runs that stand in the folder."""
    return len(list((run / "wandb").glob("offline-run-*")))


def being_written(run: Path) -> int:
    """Bytes of the W&B run that is being made; -1 where there is none."""
    sizes = [-1]
    for file in (run / "wandb").glob(".push-*/wandb/offline-run-*/run-*.wandb"):
        with suppress(FileNotFoundError):  # moved into place between the two looks
            sizes.append(file.stat().st_size)
    return max(sizes)


Moment = Callable[[Path], bool]


def moments(halves: list[float]) -> dict[str, Moment]:
    """`halves` are half the bytes of each W&B run."""
    return {
        "the first is begun": lambda run: done(run) == 0 and being_written(run) >= 0,
        "the first is half written": lambda run: done(run) == 0 and being_written(run) > halves[0],
        "the first is done": lambda run: done(run) == 1,
        "the second is half written": lambda run: done(run) == 1 and being_written(run) > halves[1],
        "the second is done": lambda run: done(run) == 2,
    }


def kill_at(run: Path, moment: Moment) -> bool:
    """Push, and kill at the moment; False where the push ended before it came."""
    child = child_of(run)
    while not moment(run):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert status == 0, "a push failed: its traceback is above"
            return False
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def content(run: Path) -> list[tuple]:
    """What stands in the folder, by W&B run in the order in which they were made: its id, every number, its artifacts."""
    from sftscope.dynamics.mirror.store import read_stored

    found = []
    for folder in sorted((run / "wandb").glob("offline-run-*"), key=lambda f: f.stat().st_ctime_ns):
        stored = read_stored(folder)
        assert stored.exit_code == 0, f"{folder} is not whole"
        local = [entry.local_path for a in stored.artifacts for entry in a.manifest.contents if entry.local_path]
        assert all(Path(path).is_file() for path in local), f"{folder} lacks files of its artifacts"
        artifacts = sorted((a.type, a.name.rpartition("-")[2], a.metadata) for a in stored.artifacts)
        media = sorted((f.suffix, f.stat().st_size) for f in folder.glob("files/media/*/*"))
        # Of a table W&B notes the size of a file that names the run's own folder: no number of ours.
        rows = [{k: v for k, v in row.items() if not k.endswith("/size")} for row in stored.numbers()]
        found.append((folder.name.split("-", 3)[3], rows, artifacts, media))
    return found


def half_sizes(run: Path) -> list[float]:
    files = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda f: f.parent.stat().st_ctime_ns)
    return [file.stat().st_size / 2 for file in files]


def main() -> None:
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    import sftscope.reports.tracking  # noqa: F401  imported once, for all children

    # Children do not share an import of W&B, whose folder for temporary files is one process's: another one reads.
    with get_context("fork").Pool(1) as reader:
        print(json.dumps(push_and_kill(run, folder, lambda there: reader.apply(content, (there,)))))


def push_and_kill(run: Path, folder: Path, content: Callable[[Path], list[tuple]]) -> dict:
    reference = shutil.copytree(run, folder / "reference" / run.name)
    assert os.waitpid(child_of(reference), 0)[1] == 0
    whole = content(reference)
    assert len(whole) == len(JOBS)
    broken = shutil.copytree(run, folder / "broken" / run.name)
    killed = []
    for name, moment in moments(half_sizes(reference)).items():
        if kill_at(broken, moment):
            killed.append(name)
        there = content(broken)
        assert [c[:2] for c in there] == [c[:2] for c in whole[: len(there)]], name
    for _ in range(2):  # the second adds nothing
        assert os.waitpid(child_of(broken), 0)[1] == 0
        check(broken, content, whole)
    for i in range(3):
        both = shutil.copytree(run, folder / f"both-{i}" / run.name)
        children = [child_of(both), child_of(both)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0], "a push beside another failed"
        check(both, content, whole)
    return {"killed": killed, "rows": [len(c[1]) for c in whole], "pairs": i + 1}


def check(run: Path, content: Callable[[Path], list[tuple]], whole: list[tuple]) -> None:
    """AssertionError unless the folder holds what an undisturbed push leaves, and nothing else."""
    there = content(run)
    assert [c[:2] for c in there] == [c[:2] for c in whole]
    assert [len(c[2]) for c in there] == [len(c[2]) for c in whole]
    assert [len(c[3]) for c in there] == [len(c[3]) for c in whole]
    left = [f.name for f in (run / "wandb").iterdir() if not f.name.startswith("offline-run-")]
    assert left == ["staged"], left


if __name__ == "__main__":
    main()
