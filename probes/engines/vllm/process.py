"""The other end of the worker's pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....dynamics.errors import SftscopeError


def environment() -> dict[str, str]:
    """What has to be set before vLLM is imported. One thread unless more are asked for: it shares a CPU with others."""
    import torch

    # vLLM compiles small parts of its sampler, which on a CPU takes seconds and gains nothing.
    uncompiled = {} if torch.cuda.is_available() else {"TORCHDYNAMO_DISABLE": "1"}
    return (
        uncompiled
        | {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in that process itself: seconds to start, not most of a minute
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else every engine of a machine takes the same core
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # as in transformers, where positions go on
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "HF_HUB_OFFLINE": "1",  # weights are folders
            "TOKENIZERS_PARALLELISM": "false",
        }
    )


class WorkerDied(SftscopeError):
    """The process ended before it answered."""


class WorkerFailed(SftscopeError):
    """The process lives, and could not do what it was asked."""


class WorkerProcess:
    """A process that runs vLLM; it ends with this object, or with this process."""

    def __init__(self) -> None:
        # `-P` keeps the user's own folder out of its imports; a group of its own leaves Ctrl-C to the command.
        command = [sys.executable, "-P", "-m", "sftscope.probes.engines.vllm.worker"]
        handle, name = tempfile.mkstemp(prefix="sftscope-vllm-", suffix=".log")
        self._log = Path(name)
        with os.fdopen(handle, "wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment()},
                stdin=subprocess.PIPE,  # the worker ends with it: no other process may hold our end
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                close_fds=True,
                process_group=0,
            )
        self._end = weakref.finalize(self, _end, self._process, self._log)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **fields: Any) -> Mapping[str, Any]:
        """Give an order and wait for its answer. Raises WorkerFailed and WorkerDied, with what it said last."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            line = ""
        else:
            line = self._process.stdout.readline()
        if not line:
            raise WorkerDied(f"vLLM's process ended with code {self._process.wait()}{self._last_words()}")
        event = json.loads(line)
        if "error" in event:
            raise WorkerFailed(event["error"])
        return event["done"]

    def close(self) -> None:
        """End the process at once; it holds nothing that is not elsewhere."""
        self._end()

    def _last_words(self) -> str:
        lines = [s for s in self._log.read_text(errors="replace").splitlines() if "Error" in s]
        return f" ({lines[-1].strip()[:300]})" if lines else ""


def _end(process: subprocess.Popen[str], log: Path) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:  # an order that it never read
                continue
    log.unlink(missing_ok=True)
