"""How a process of ours takes the signal to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_exits() -> Iterator[None]:
    """Have SIGTERM end this process as an exit does, with code 143: workers are dismissed, vLLM's process is ended, claims
    are given back. Where somebody handles the signal already, they do."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: the way out is not interrupted
        raise SystemExit(128 + signal.SIGTERM)

    here = threading.current_thread() is threading.main_thread()  # no other may set handlers
    if not here or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
