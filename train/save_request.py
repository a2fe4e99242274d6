"""A checkpoint on demand: by touching the file `save` in the run folder, or by the signal SIGUSR1."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator

SAVE_FILE = "save"


class SaveRequest:
    """Whether a checkpoint is asked for, the same answer in every process."""

    def __init__(self, run: Path, accelerator: Accelerator) -> None:
        self.file, self.accelerator = Path(run) / SAVE_FILE, accelerator
        self._signalled = False

    def asked(self) -> bool:
        """Every process calls it after every step. The first looks for the file; a signal to any of them counts."""
        here = self._signalled or (self.accelerator.is_main_process and self.file.exists())
        self._signalled = False
        if self.accelerator.num_processes == 1:
            return here
        import torch

        votes = torch.tensor([int(here)], device=self.accelerator.device)
        return int(self.accelerator.reduce(votes, "sum")) > 0

    def done(self) -> None:
        """Remove the file: whoever touched it sees by this that the checkpoint is whole and measured."""
        if self.accelerator.is_main_process:
            self.file.unlink(missing_ok=True)

    def _signal(self, *_: Any) -> None:
        self._signalled = True


@contextmanager
def save_requests(run: Path, accelerator: Accelerator) -> Iterator[SaveRequest]:
    """Listen for requests; the handler of SIGUSR1 is put back at the end. Only the main thread can hear signals."""
    request = SaveRequest(run, accelerator)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGUSR1, request._signal)
    try:
        yield request
    finally:
        signal.signal(signal.SIGUSR1, before)
