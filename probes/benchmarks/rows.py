"""The rows of a published benchmark, from a local file or the hub. What is wrong with a row is said with its number."""

from __future__ import annotations

import csv
import json
import re
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...dynamics.errors import DataError, first_line, nearest

SHOWN = 80  # characters of a value in a message
KINDS = (".jsonl", ".json", ".parquet", ".csv")


class Unavailable(DataError):
    """A benchmark that cannot be had here: gated, not found, no network, or a package that is not installed."""


@dataclass(frozen=True)
class Source:
    """Where a benchmark is published."""

    hub: str  # the data set's name on the Hugging Face hub
    split: str
    subset: str | None = None  # the hub's "config"
    revision: str | None = None  # a commit; None: whatever is newest
    files: tuple[
        str, ...
    ] = ()  # where `datasets` reads no table: headless CSV files of one column, JSONL or JSON files
    gated: bool = False
    options: tuple[tuple[str, Any], ...] = ()  # further arguments to `datasets.load_dataset`, by name

    @property
    def in_json(self) -> bool:
        """Whether it is published as JSONL or JSON files, which are read from where they lie."""
        return bool(self.files) and all(file.endswith((".jsonl", ".json")) for file in self.files)

    @property
    def page(self) -> str:
        return f"https://huggingface.co/datasets/{self.hub}"

    @property
    def address(self) -> str:
        """The data set at its commit, and the part of it."""
        return f"{self.hub}@{self.revision or 'newest'}, {self.subset + '/' if self.subset else ''}{self.split}"


@dataclass(frozen=True)
class Place:
    """Where a row lies in a JSONL file: what is too large to keep is read again when it is needed."""

    path: Path
    start: int  # bytes
    length: int

    def read(self) -> Any:
        """The row's values. Raises OSError and ValueError where the file is no longer what it was."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return json.loads(file.read(self.length).decode("utf-8"))


@dataclass(frozen=True)
class Row:
    """One row, and where it stands. Every method raises DataError with the place, the field, the value and what is expected."""

    where: str  # "questions.jsonl, line 3"
    values: Mapping[str, Any]
    place: Place | None = None  # None: it can be had once only

    def text(self, *names: str) -> str:
        """A text with something in it, in the first of these fields that the row has."""
        name = self._first(names)
        value = self.values[name]
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "a text")
        return value.strip()

    def optional_text(self, name: str) -> str:
        """A text, or nothing where the field is missing or empty."""
        return self.text(name) if self.values.get(name) else ""

    def integer(self, *names: str) -> int:
        """A whole number, also where it is written as a text."""
        name = self._first(names)
        value = self.values[name]
        if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,12}\s*", value):
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, "a whole number")
        return value

    def one_of(self, name: str, known: Collection[str]) -> str:
        value = self.text(name)
        if value not in known:
            raise self.wrong(name, nearest(value, known).removesuffix("?"))
        return value

    def texts(self, name: str, least: int = 1, most: int | None = None, *, empty: bool = False) -> list[str]:
        """A list of texts; `empty`: empty ones may stand among them, and are left out."""
        value = self.values[self._first((name,))]
        if empty and isinstance(value, list):
            value = [v for v in value if not (isinstance(v, str) and not v.strip())]
        listed = isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)
        if not listed or len(value) < least or (most is not None and len(value) > most):
            count = f"{least} or more" if most is None else f"{least} to {most}"
            raise self.wrong(name, f"a list of {count} texts")
        return [v.strip() for v in value]

    def part(self, name: str) -> Row:
        """A field that holds fields of its own."""
        value = self.values[self._first((name,))]
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Row(f"{self.where}, `{name}`", value)

    def wrong(self, name: str, expected: str) -> DataError:
        """The error for a field whose value cannot be used."""
        value = repr(self.values.get(name))
        shown = value if len(value) <= SHOWN else value[:SHOWN] + "…"
        return DataError(f"{self.where}: `{name}` is {shown}: expected {expected}")

    def _first(self, names: tuple[str, ...]) -> str:
        found = next((n for n in names if n in self.values), None)
        if found is None:
            there = ", ".join(map(str, self.values)) or "nothing"
            raise DataError(f"{self.where}: there is no `{names[0]}`: expected it beside {there}")
        return found


# ---------------------------------------------------------------- local files


def read_file(path: Path, said: str | None = None) -> Iterator[Row]:
    """The rows of a JSONL, JSON, Parquet or CSV file in its order, JSONL one at a time; `said` is what messages call the file.

    Raises DataError, with the line, where it cannot be read.
    """
    kind, said, count = path.suffix.lower(), said or str(path), 0
    if kind not in KINDS:
        raise DataError(f"{said} is of no kind that is read: give {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    try:
        for row in {".parquet": _parquet, ".csv": _csv}.get(kind, _json)(path, said):
            count += 1
            yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{said} cannot be read ({first_line(error)}): give the benchmark as it is published"
        ) from error
    if not count:
        raise DataError(f"{said} has no rows: give the benchmark as it is published")


def _csv(path: Path, said: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for at, values in enumerate(csv.DictReader(file), 1):
            yield Row(f"{said}, row {at}", dict(values))


def _parquet(path: Path, said: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise DataError(f"{said} is no Parquet file ({first_line(error)}): fetch it again") from error
    for at, values in enumerate(table.to_pylist(), 1):
        yield Row(f"{said}, row {at}", values)


def _json(path: Path, said: str) -> Iterator[Row]:
    """JSON lines, or one list of objects."""
    with path.open("rb") as file:
        listed = file.read(1 << 16).removeprefix(BOM_UTF8).lstrip().startswith(b"[")
    if not listed:
        yield from _json_lines(path, said)
        return
    rows = enumerate(_parsed(path.read_text(encoding="utf-8-sig"), said), 1)
    yield from [Row(f"{said}, row {at}", _object(values, f"{said}, row {at}")) for at, values in rows]


def _json_lines(path: Path, said: str) -> Iterator[Row]:
    """Lines that end in a line feed only: texts may hold other ends of lines, which JSON lets stand."""
    with path.open("rb") as file:
        start = 0
        for at, line in enumerate(file, 1):
            where, mark = f"{said}, line {at}", len(BOM_UTF8) if at == 1 and line.startswith(BOM_UTF8) else 0
            if text := line[mark:].decode("utf-8").strip():
                place = Place(path, start + mark, len(line) - mark)
                yield Row(where, _object(_parsed(text, where), where), place)
            start += len(line)


def _object(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise DataError(f"{where} is {str(values)[:SHOWN]!r}: expected a JSON object")
    return values


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataError(f"{where}: {text[:SHOWN]!r} nests too deeply: expected one JSON object a line") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: {error.msg} in {text[:SHOWN]!r}: expected one JSON object a line") from error


# ---------------------------------------------------------------- the hub


def fetch_rows(name: str, source: Source) -> Iterator[Row]:
    """The rows of a data set on the hub, or in its cache on this machine. Raises Unavailable with the one line that helps."""
    own_file = f"give a local file in `probes.benchmarks.{name}.path`"
    files, listed = [], []
    try:
        if source.in_json:
            files = files_from_hub(source)
        else:
            listed = load_from_hub(source)
    except ImportError as error:
        raise Unavailable(
            f"{name} is skipped: {source.hub} is read with `datasets`, which is not here: "
            f"pip install 'sftscope[benchmarks]', or {own_file}"
        ) from error
    except Exception as error:  # the hub's client passes on the errors of whatever HTTP library it uses
        gated = source.gated or "gated" in str(error).lower()
        way = f"accept its terms at {source.page} and run `hf auth login`" if gated else f"see {source.page}"
        raise Unavailable(
            f"{name} is skipped: {source.address} could not be had ({first_line(error)}): {way}, or {own_file}"
        ) from error
    for file in files:
        yield from read_file(file, f"{source.address}, {file.name}")
    for at, values in enumerate(listed, 1):
        yield Row(f"{source.address}, row {at}", values)


def load_from_hub(source: Source) -> list[dict[str, Any]]:
    """What `datasets` reads. Beside `files_from_hub`, the only function here that touches the hub."""
    import datasets

    if not source.files:
        options = dict(source.options)
        return datasets.load_dataset(
            source.hub, source.subset, split=source.split, revision=source.revision, **options
        ).to_list()
    revision = f"@{source.revision}" if source.revision else ""
    rows = []
    for file in source.files:
        address = f"hf://datasets/{source.hub}{revision}/{file}"
        data = datasets.load_dataset("csv", data_files=address, split="train", column_names=["prompt"], header=None)
        rows += [{**row, "category": Path(file).stem} for row in data.to_list()]
    return rows


def files_from_hub(source: Source) -> list[Path]:
    """The set's files in the hub's cache, fetched where they are not there; of a folder laid out as a repository, its own."""
    if Path(source.hub).is_dir():
        found = [Path(source.hub) / file for file in source.files]
        if missing := [file.name for file in found if not file.is_file()]:
            raise FileNotFoundError(f"there is no {missing[0]}")
        return found
    from huggingface_hub import hf_hub_download

    return [
        Path(hf_hub_download(source.hub, file, repo_type="dataset", revision=source.revision)) for file in source.files
    ]
