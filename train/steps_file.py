"""steps.jsonl, to which training adds a row per optimiser step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..dynamics.record import STEPS_FILE


@contextmanager
def open_steps(run: Path) -> Iterator[TextIO]:
    """steps.jsonl for appending; a last line torn by a kill is cut off first, so that it does not spoil the next."""
    file = run / STEPS_FILE
    if file.exists():
        content = file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with file.open("r+b") as f:
                f.truncate(whole)
    with file.open("a", encoding="utf-8") as f:
        yield f
