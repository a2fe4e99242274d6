"""What the terminal shows while training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress_bar(total: int, done: int, *, hidden: bool) -> Iterator[Callable[[dict[str, float]], None]]:
    """A bar with the remaining time, the loss and the speed; yields what to call with every row of steps.jsonl."""
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), disable=hidden, refresh_per_second=2) as progress:
        task = progress.add_task("train", total=total, completed=done, numbers="")

        def show(row: dict[str, float]) -> None:
            numbers = f"loss {row['loss']:.4f}  {row['tokens_per_s']:,.0f} tokens/s"
            progress.update(task, completed=row["step"], numbers=numbers)

        yield show


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the bars that transformers draws for every load and save, and without accelerate's word on tied weights
    (saved once, tied again on loading) at every full state: both would break ours."""
    from transformers.utils import logging

    saving = getLogger("accelerate.utils.other")
    shown, level = logging.is_progress_bar_enabled(), saving.level
    logging.disable_progress_bar()
    saving.setLevel(ERROR)
    try:
        yield
    finally:
        saving.setLevel(level)
        if shown:
            logging.enable_progress_bar()
