"""What a running training is asked for from outside: a checkpoint, or an end that can be gone on from.

By touching the file `save` or `stop` in the run folder, by the signal SIGUSR1 (save), or by an alert.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from accelerate import Accelerator

Request = Literal["", "save", "stop"]  # the later counts for more
REQUESTS: tuple[Request, ...] = ("", "save", "stop")
SAVE_FILE = "save"


class Requests:
    """What is asked for, the same answer in every process."""

    def __init__(self, run: Path, accelerator: Accelerator) -> None:
        self.run, self.accelerator = Path(run), accelerator
        self._made: Request = ""  # in this process
        self._seen: set[str] = set()  # files that were heard and not answered yet

    def make(self, request: Request) -> None:
        """Ask for it from within; heard after the step that is next."""
        self._made = max(self._made, request, key=REQUESTS.index)

    def heard(self) -> Request:
        """Every process calls it after every step. The first looks for the files; a signal to any of them counts."""
        if self.accelerator.is_main_process:
            for request in REQUESTS[1:]:
                if (self.run / request).exists():
                    self._seen.add(request)
                    self.make(request)
        made, self._made = self._made, ""
        if self.accelerator.num_processes == 1:
            return made
        import torch

        votes = torch.zeros(len(REQUESTS), device=self.accelerator.device)
        votes[REQUESTS.index(made)] = 1
        return REQUESTS[int(self.accelerator.reduce(votes, "sum").nonzero().max())]

    def done(self) -> None:
        """Remove the files that were heard: whoever touched one sees by this that the checkpoint is whole and measured."""
        while self._seen:
            (self.run / self._seen.pop()).unlink(missing_ok=True)

    def _signal(self, *_: Any) -> None:
        self.make("save")


@contextmanager
def outside_requests(run: Path, accelerator: Accelerator) -> Iterator[Requests]:
    """Listen for requests; the handler of SIGUSR1 is put back at the end. Only the main thread can hear signals."""
    requests = Requests(run, accelerator)
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    before = signal.signal(signal.SIGUSR1, requests._signal)
    try:
        yield requests
    finally:
        signal.signal(signal.SIGUSR1, before)
