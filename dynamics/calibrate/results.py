"""What has been measured, kept as it comes: one file of JSON lines a study, one line a chunk of a cell's draws.

A line counts for a cell of the same name, seed, chunk and size, measured by the same code (`code.version_of`); whatever
else stands in the file is left there and ignored. A run that was killed goes on with the chunks that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError


@dataclass(frozen=True)
class Key:
    """Which draws: everything that decides what a chunk's counts are."""

    cell: str
    seed: int
    chunk: int
    size: int
    code: str


@dataclass(frozen=True)
class Chunk:
    counts: list[tuple[int, int]]  # hits and defined draws, for each question of the cell
    seconds: float


class Results:
    """The results of one study in a folder; append-only, so that a kill loses the chunk in work and no other."""

    def __init__(self, folder: Path, study: str) -> None:
        self.path = folder / f"{study}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.chunks: dict[Key, Chunk] = dict(self._read())

    def add(self, key: Key, chunk: Chunk) -> None:
        """Keep a chunk, on disk before this returns."""
        line = json.dumps(asdict(key) | asdict(chunk))
        with self.path.open("ab+") as file:
            if file.tell() and not _ends_a_line(file):
                line = "\n" + line  # what a kill tore off stays alone on its line
            file.write((line + "\n").encode())
        self.chunks[key] = chunk

    def _read(self) -> Iterator[tuple[Key, Chunk]]:
        if not self.path.exists():
            return
        lines = self.path.read_text().splitlines()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # torn by a kill: its draws are taken again
            try:
                key = Key(row["cell"], row["seed"], row["chunk"], row["size"], row["code"])
                yield key, Chunk([(int(h), int(of)) for h, of in row["counts"]], float(row["seconds"]))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{self.path}, line {number} is no result of a calibration ({error!r}): another file of that name? "
                    "Choose another --out, or move it away"
                ) from error


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, 2)
    return file.read(1) == b"\n"
