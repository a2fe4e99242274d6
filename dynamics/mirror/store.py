"""Reading back what W&B wrote to the disk: the rows of history in a run's `.wandb` file, and whether it ended.

The file is LevelDB's log format (blocks of 32 KiB; records in parts of checksum, length, type, data) after a header of 7
bytes; a record is a protocol buffer of W&B's own definition.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RecordError

HEADER, BLOCK, PART = 7, 32768, 7  # bytes: of the file, of a block, of the head of a part
WHOLE, LAST = 1, 4  # types of parts that end a record


@dataclass(frozen=True)
class Stored:
    """A W&B run as it lies on the disk."""

    rows: list[dict[str, Any]] = field(default_factory=list)  # names whose last part is nested are joined by `/`
    step_metrics: dict[str, str] = field(default_factory=dict)  # metric, or pattern -> its axis
    artifacts: list[Any] = field(default_factory=list)  # W&B's ArtifactRecord
    alerts: list[tuple[str, str]] = field(default_factory=list)  # title, text
    exit_code: int | None = None  # None: it has not ended

    def numbers(self) -> list[dict[str, float]]:
        """The rows without W&B's own columns and without what is no number."""
        return [
            {name: value for name, value in row.items() if name[0] != "_" and isinstance(value, (int, float))}
            for row in self.rows
        ]

    def local_files(self) -> list[Path]:
        """The files of its artifacts that an upload reads."""
        return [Path(e.local_path) for a in self.artifacts for e in a.manifest.contents if e.local_path]


def read_stored(folder: Path) -> Stored:
    """What one of W&B's run folders holds; what was being written when the run was killed is left out.

    Raises RecordError where the folder holds no `.wandb` file.
    """
    from wandb.proto import wandb_internal_pb2 as protocol

    files = sorted(Path(folder).glob("run-*.wandb"))
    if not files:
        raise RecordError(f"{folder} holds no `.wandb` file: it is no folder of a W&B run")
    stored, code = Stored(), None
    for data in _records(files[0].read_bytes()):
        record = protocol.Record.FromString(data)  # type: ignore[attr-defined]  # made when it is imported
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = record.history.item
            row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
            stored.rows.append(row)
        elif kind == "metric":
            stored.step_metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            stored.artifacts.append(record.artifact)
        elif kind == "alert":
            stored.alerts.append((record.alert.title, record.alert.text))
        elif kind == "exit":
            code = record.exit.exit_code
    return Stored(stored.rows, stored.step_metrics, stored.artifacts, stored.alerts, code)


def _records(data: bytes) -> Iterator[bytes]:
    at, parts = HEADER, b""
    while at + PART <= len(data):
        room = BLOCK - at % BLOCK
        if room < PART:  # no room for a head: the rest of the block is padding
            at += room
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if at + PART + length > len(data):  # torn
            return
        parts += data[at + PART : at + PART + length]
        at += PART + length
        if kind in (WHOLE, LAST):
            yield parts
            parts = b""
