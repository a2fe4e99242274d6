"""A crew of actors on an existing Ray cluster: one a GPU (or CPU slot), each keeping its planner and engine from unit to unit.

Ray places the actors and tells of their deaths; who does what, and what becomes of a lost unit, is `run_units`' business.
Results go to the run folder, which every node sees at the same path.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .dynamics.claims import CLAIMS
from .dynamics.errors import ConfigError, first_line
from .dynamics.storage import whole_file
from .executor import Event, Kept, Outcome, Tell, Unit, attempt, resolve

STARTS = 3  # deaths in a row of workers that had not begun, after which something is wrong with the cluster


@dataclass(frozen=True)
class RayConfig:
    """Which cluster, and what of it one worker takes."""

    address: str | None = None  # host:port of its head; null: RAY_ADDRESS, or the cluster this machine belongs to
    gpus_per_worker: float | None = None  # null: 1 where the cluster has GPUs, else 0
    cpus_per_worker: float = 1

    def __post_init__(self) -> None:
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise ConfigError(f"`--gpus-per-worker` is {self.gpus_per_worker}: give 0 or more")
        if self.cpus_per_worker < 0 or (self.cpus_per_worker == 0 and not self.gpus_per_worker):
            raise ConfigError(f"`--cpus-per-worker` is {self.cpus_per_worker}: give a share of a CPU above 0")


class RayCrew:
    """Actors that do units. Raises ConfigError where there is no cluster, or its nodes do not see the run folder.

    `most` actors at most (one a unit); `workers` by default as many as the cluster has room for. `read` are folders and
    files that every worker has to see, at the same path.
    """

    def __init__(
        self, most: int, do: str, config: RayConfig, folder: Path, read: Sequence[Path], workers: int | None = None
    ) -> None:
        self._ray, self._ours = _connect(config)
        self._do, self._read = do, [str(p) for p in read]
        self._token = folder / CLAIMS / f"visible-{uuid.uuid4().hex}"
        gpus = config.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if self._ray.cluster_resources().get("GPU", 0) else 0.0
        self._options = {"num_cpus": config.cpus_per_worker, "num_gpus": gpus, "max_restarts": 0}
        self._size = max(min(most, workers or self._slots()), 1)
        self._starting: dict[Any, Any] = {}  # what a worker says of the folder -> the worker
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Unit]] = {}  # the stream of its events -> the worker and what it does
        self._dead_at_start = 0
        with whole_file(self._token) as aside:
            aside.write_text(self._token.name)
        for _ in range(self._size):
            self._start()

    def free(self) -> int:
        return len(self._idle)

    def give(self, unit: Unit) -> None:
        worker = self._idle.pop()
        self._busy[worker.do.remote(unit.payload)] = (worker, unit)

    def wait(self, tell: Tell, seconds: float) -> Outcome | None:
        until = time.monotonic() + seconds
        while True:
            left = max(until - time.monotonic(), 0)
            if not (self._starting or self._busy):
                time.sleep(left)
                return None
            ready, _ = self._ray.wait([*self._busy, *self._starting], num_returns=1, timeout=left, fetch_local=False)
            if not ready:
                return None
            if ready[0] in self._starting:
                if self._greet(ready[0]):
                    return None
            elif outcome := self._hear(ready[0], tell):
                return outcome

    def dismiss(self) -> None:
        closing = [worker.close.remote() for worker in self._idle]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=10)
        for worker in [*self._starting.values(), *self._idle, *(w for w, _ in self._busy.values())]:
            self._ray.kill(worker)
        self._starting, self._idle, self._busy = {}, [], {}
        self._token.unlink(missing_ok=True)
        if self._ours:
            self._ray.shutdown()

    def _slots(self) -> int:
        """How many workers the cluster has room for, node by node."""
        asked = {"CPU": self._options["num_cpus"], "GPU": self._options["num_gpus"]}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        slots = sum(min(int(node.get(kind, 0) / n) for kind, n in asked.items() if n) for node in nodes)
        if not slots:
            has = {kind: sum(node.get(kind, 0) for node in nodes) for kind in asked}
            raise ConfigError(
                f"no node of the Ray cluster has room for a worker of {asked['CPU']:g} CPUs and {asked['GPU']:g} GPUs "
                f"(its {len(nodes)} nodes have {has['CPU']:g} and {has['GPU']:g}): ask less by `--cpus-per-worker` and "
                "`--gpus-per-worker`, or name `--workers` where nodes are added on demand"
            )
        return slots

    def _start(self) -> None:
        worker = self._ray.remote(RayWorker).options(**self._options).remote(self._do, self._options["num_cpus"])
        self._starting[worker.look.remote(str(self._token), self._read)] = worker

    def _greet(self, said: Any) -> bool:
        """Take up a worker that has started; True where it may be given work."""
        worker = self._starting.pop(said)
        try:
            wrong = self._ray.get(said)
        except self._ray.exceptions.RayActorError as error:
            self._dead_at_start += 1
            if self._dead_at_start >= STARTS or "ModuleNotFoundError" in str(error):
                raise ConfigError(f"the Ray workers do not start: {_cause(error)}") from error
            self._start()
            return False
        if wrong:
            self._ray.kill(worker)
            raise ConfigError(wrong)
        self._dead_at_start = 0
        self._idle.append(worker)
        return True

    def _hear(self, stream: Any, tell: Tell) -> Outcome | None:
        """The next event of a worker; an outcome where it is the last."""
        worker, unit = self._busy[stream]
        try:
            event: Event = self._ray.get(next(stream))
        except (self._ray.exceptions.RayError, StopIteration) as error:
            del self._busy[stream]
            self._ray.kill(worker)  # where it is only out of reach: it must not go on beside its successor
            self._start()
            return Outcome(unit, f"its Ray worker died ({_cause(error)})", lost=True)
        if "stage" in event:
            tell(unit, event["stage"], event["share"])
            return None
        del self._busy[stream]
        if event.get("broken"):
            self._ray.kill(worker)
            self._start()
        else:
            self._idle.append(worker)
        return Outcome(unit, event.get("error", ""))


class RayWorker:
    """The actor: one unit at a time, its events as they come. What it keeps, units share."""

    def __init__(self, do: str, cpus: float) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._name, self._cpus = do, cpus
        self._kept = Kept()

    def look(self, token: str, read: Sequence[str]) -> str:
        """What is wrong with this node's view of the run: "" where nothing is."""
        here = socket.gethostname()
        if not _sees(Path(token)):
            return (
                f"the Ray node {here} does not see the run folder {Path(token).parent.parent}: it has to be on storage that "
                "all nodes share, at the same path (give `-o` such a folder)"
            )
        if missing := [path for path in read if not Path(path).exists()]:
            return (
                f"the Ray node {here} does not see {missing[0]}: checkpoints, and the files that the settings name, have to be "
                "at the same path on all nodes"
            )
        import torch

        torch.set_num_threads(max(int(self._cpus), 1))
        self._do = resolve(self._name)
        return ""

    def do(self, payload: dict[str, Any]) -> Iterator[Event]:
        """One unit, event by event. The work is done in a thread, so that its events can leave before it ends."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()

        def say(stage: str, share: float) -> None:
            events.put({"stage": stage, "share": share})

        def work() -> None:
            last: Event = {"done": True, "error": "the worker was told to exit", "broken": True}
            try:
                last = attempt(self._do, payload, say, self._kept)
            finally:
                events.put(last)

        threading.Thread(target=work, daemon=True).start()
        while "done" not in (event := events.get()):
            yield event
        yield event

    def close(self) -> None:
        self._kept.close()


def _connect(config: RayConfig) -> tuple[Any, bool]:
    """Ray, connected to the cluster, and whether the connection is ours to close."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError('`--executor ray` needs Ray: pip install "sftscope[ray]"') from error
    if ray.is_initialized():
        return ray, False
    address = config.address or os.environ.get("RAY_ADDRESS") or "auto"
    if address.startswith("ray://"):
        raise ConfigError(f"{address} is a Ray Client's address: run this on a node of the cluster, and give host:port")
    try:
        if ":" in address:  # Ray itself tries for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        # Workers look for modules in the folder that Ray is started in: not in the user's, with its `train.py` or `probes/`.
        with contextlib.chdir("/"):
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:  # a ConnectionError is an OSError
        raise ConfigError(
            f"no Ray cluster at {address!r} ({first_line(error)}): start one (`ray start --head`, on the other machines `ray "
            "start --address=HOST:6379`), give `--ray-address`, or leave `--executor ray` out"
        ) from error
    return ray, True


def _sees(token: Path) -> bool:
    """Whether a file just written elsewhere is here too; a network file system may take a moment."""
    for _ in range(10):
        with contextlib.suppress(OSError):
            if token.read_text() == token.name:
                return True
        time.sleep(0.5)
    return False


def _cause(error: Exception) -> str:
    """What happened, of Ray's long message: the error of a worker that did not start, else how its process or node ended."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if getattr(error, "actor_init_failed", False):
        return lines[-1]
    told = [
        line for line in lines if line.partition(":")[0] not in _LABELS and not line.endswith("finishing this task.")
    ]
    return " ".join(told).partition(" Some common causes")[0][:300] or type(error).__name__


_LABELS = {"class_name", "actor_id", "pid", "name", "namespace", "ip"}  # lines that name the actor
