"""Rows as the documents of a task of lm-evaluation-harness: its own table, its own processing, its own reading of each.

What cannot be read is said with the row, as for every benchmark.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

from ...dynamics.errors import DataError, first_line
from .harness import PREFIX, Settings, quietly
from .rows import Row, Unavailable

ASKED = "asked"  # the one split of the table that the task is given


def documents(task: str, settings: Settings, rows: Sequence[Row]) -> tuple[Any, list[Row]]:
    """The harness's table of what a task asks, and each document with where it stands.

    A row of the file and a document are the same where the task makes one of each. Raises DataError that names the row.
    """
    table = _table(rows)
    process = settings.get("process_docs")
    if process is not None:
        try:
            with quietly():
                processed = process(table)
        except ImportError as error:
            raise _needs(task, error) from error
        except Exception as error:
            raise _unprocessed(task, process, table, rows, error) from error
        table = processed
    found = [dict(doc) for doc in table]
    if len(found) == len(rows):
        return table, [Row(row.where, doc) for row, doc in zip(rows, found, strict=True)]
    return table, [Row(f"document {at} that {task} makes of {len(rows)} rows", doc) for at, doc in enumerate(found, 1)]


def made(task: str, settings: Settings, table: Any, found: Sequence[Row], *, fewshot: bool) -> Any:
    """The harness's own task over a table. Raises DataError that names the first row where the task cannot read it."""
    if not found:
        raise DataError(f"{PREFIX}{task} makes no document of these rows: give the data set's own columns")
    reached: list[bool] = []  # whether it got to the table: what fails before is no row's fault

    def asked(**_: Any) -> dict[str, Any]:
        reached.append(True)
        return {ASKED: table}

    given = {k: v for k, v in settings.items() if k not in ("tag", "group", "task_list", "dataset_kwargs")}
    given |= {
        "custom_dataset": asked,
        "process_docs": None,  # done
        "test_split": ASKED,
        "validation_split": None,
        "training_split": None,
        "fewshot_split": None,
        "fewshot_config": settings.get("fewshot_config") if fewshot else None,
        "num_fewshot": None,
        "should_decontaminate": False,
    }
    try:
        with quietly():
            from lm_eval.api.task import ConfigurableTask

            return ConfigurableTask(config=given)
    except ImportError as error:
        raise _needs(task, error) from error
    except Exception as error:
        if not reached:
            raise Unavailable(
                f"{PREFIX}{task} is skipped: its scorer cannot be had here ({first_line(error)})"
            ) from error
        raise unreadable(found[0], task, error) from error


def unreadable(row: Row, task: str, error: Exception) -> DataError:
    """The error for a document that the task's own templates trip over."""
    there = ", ".join(map(str, row.values)) or "nothing"
    what = f"{type(error).__name__}: {first_line(error)}"
    return DataError(f"{row.where}: {task} cannot read it ({what}): expected its data set's columns, not {there}")


def _needs(task: str, error: ImportError) -> Unavailable:
    return Unavailable(f"{PREFIX}{task} is skipped: the task needs a package that is not here ({first_line(error)})")


def _table(rows: Sequence[Row]) -> Any:
    """`datasets.Dataset`, as the harness has it. Raises DataError that names the row whose values are of other types."""
    import pyarrow as pa
    from datasets import Dataset

    columns = list(dict.fromkeys(name for row in rows for name in row.values))

    def table(n: int) -> Any:
        return Dataset.from_dict({c: [row.values.get(c) for row in rows[:n]] for c in columns})

    def fails(n: int) -> bool:
        try:
            table(n)
        except (pa.ArrowException, TypeError, ValueError):
            return True
        return False

    try:
        return table(len(rows))
    except (pa.ArrowException, TypeError, ValueError) as error:
        at = bisect.bisect_left(range(1, len(rows) + 1), True, key=fails)
        raise DataError(
            f"{rows[at].where}: its values are not of the types of the rows before ({first_line(error)})"
        ) from error


def _unprocessed(task: str, process: Any, table: Any, rows: Sequence[Row], error: Exception) -> DataError:
    """The error for a table that the task cannot process: of the first row that it cannot process alone."""
    for at, row in enumerate(rows):
        try:
            with quietly():
                process(table.select([at]))
        except Exception as own:  # noqa: BLE001  (whatever it is, this row is to be named)
            return unreadable(row, task, own)
    place = rows[0].where.rpartition(",")[0]
    return DataError(
        f"{place}: {task} cannot process its {len(rows)} rows ({type(error).__name__}: {first_line(error)})"
    )
