"""The training rows as they are read: prompts with responses, or conversations, of JSONL, Parquet or a hub data set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..dynamics.errors import ConfigError, DataError, first_line, nearest
from ..dynamics.storage import content_key, sha256_file

HUB = "hub:"
COLUMNS = ("prompt", "response", "completion", "messages", "role", "content")
ROLES = ("system", "user", "assistant", "tool")
ALIASES = {"human": "user", "gpt": "assistant"}  # the ShareGPT format's names


@dataclass(frozen=True, slots=True)
class Record:
    """A prompt and its response; `line` counts from 1."""

    prompt: str
    response: str
    line: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages as the chat template takes them (role, content and whatever else the row has); `line` counts from 1."""

    messages: tuple[dict[str, Any], ...]
    line: int


Records = list[Record] | list[Conversation]


def is_hub(path: Path) -> bool:
    """Whether `data.path` names a data set on the hub (`hub:owner/name[/subset][:split]`) rather than a file."""
    return str(path).startswith(HUB)


def place(path: Path, line: int) -> str:
    """Where a row stands, for messages: a line of a JSONL file, a row of anything else."""
    return f"{path}, {'row' if is_hub(path) or path.suffix == '.parquet' else 'line'} {line}"


def check_columns(columns: Mapping[str, str] | None) -> None:
    """ConfigError for a field that rows do not have."""
    for name in columns or ():
        if name not in COLUMNS:
            raise ConfigError(f"unknown key `data.columns.{name}`: {nearest(name, COLUMNS)}")


def read_records(path: Path, columns: Mapping[str, str] | None = None) -> Records:
    """The rows of a JSONL or Parquet file or a hub data set: all Records, or all Conversations, as the first row is.

    `columns` gives the names under which the data keep the fields of COLUMNS, where they are others. Raises DataError
    naming the file and the line (row) of the first one that cannot be used, and for data that are not to be had.
    """
    path = path if isinstance(path, Path) else Path(path)
    name = {field: (columns or {}).get(field, field) for field in COLUMNS}
    records: list[Any] = []
    conversational = False
    for number, row in _rows(path):
        where = place(path, number)
        if not records:
            conversational = name["messages"] in row and name["prompt"] not in row
        if conversational:
            records.append(Conversation(_messages(row, name, where), number))
        else:
            response = name["response"]
            if response not in row and name["completion"] in row:
                response = name["completion"]
            records.append(Record(_text(row, name["prompt"], where), _text(row, response, where), number))
    if not records:
        raise DataError(f'{path} holds no rows: write one {{"prompt": …, "response": …}} per line')
    return records


def data_sha256(path: Path) -> str:
    """What tells data apart from other data of the same name: the file's hash, or that of a hub data set's rows."""
    return content_key([row for _, row in _rows(path)], length=64) if is_hub(path) else sha256_file(path)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number (from 1) and content of every row."""
    if is_hub(path):
        return _numbered(_hub_rows(str(path)))
    if not path.is_file():
        raise DataError(f"no data file at {path}: `data.path` is a JSONL file with a prompt and a response per line")
    return _numbered(_parquet_rows(path)) if path.suffix == ".parquet" else _jsonl_rows(path)


def _numbered(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    return enumerate(rows, start=1)


def _jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = place(path, number)
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{where} is not JSON ({error.msg} at column {error.colno}): {cut(line)}") from error
            if not isinstance(row, dict):
                raise DataError(f'{where} is not an object with "prompt" and "response": {cut(line)}')
            yield number, row


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a Parquet file ({error}): give one, or JSONL under another name") from error


def _hub_rows(path: str) -> Iterable[dict[str, Any]]:
    """The rows of `hub:owner/name[/subset][:split]`, of the split `train` where none is named."""
    found = re.fullmatch(r"hub:([^/:]+/[^/:]+)(?:/([^:/]+))?(?::(.+))?", path)
    if found is None:
        raise DataError(f"`data.path` is {path!r}: a hub data set is written hub:owner/name[/subset][:split]")
    name, subset, split = found.groups()
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{path} is read by the library `datasets`, which is not installed: pip install datasets, or give a file"
        ) from error
    _check_reachable(name)
    try:
        return datasets.load_dataset(name, subset, split=split or "train")
    except Exception as error:  # the library passes on the errors of file systems and HTTP clients
        raise DataError(f"{path} cannot be loaded ({first_line(error)}): check its name, subset and split") from error


def _check_reachable(name: str) -> None:
    """One quick question, where loading would try for minutes to reach a hub that is not there."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return  # the copy in the cache is asked for, and its absence is said at once
    try:
        HfApi().dataset_info(name, timeout=15)
    except Exception as error:  # as above
        raise DataError(
            f"the hub does not give the data set {name!r} ({first_line(error)}): log in if it is gated, set "
            "HF_HUB_OFFLINE=1 to use the copy in the cache, or give a file in `data.path`"
        ) from error


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    if key not in row:
        raise DataError(f'{where} has no "{key}" (its keys: {", ".join(map(str, row)) or "none"}): rename or add it')
    value = row[key]
    if not isinstance(value, str):
        raise DataError(f'{where}: "{key}" is {cut(repr(value))}, not a text')
    if not value.strip():
        raise DataError(f'{where}: "{key}" is empty ({value!r}): fill it in, or remove the row')
    return value


def _messages(row: Mapping[str, Any], name: Mapping[str, str], where: str) -> tuple[dict[str, Any], ...]:
    key, role_key, content_key_ = name["messages"], name["role"], name["content"]
    if key not in row:
        raise DataError(f'{where} has no "{key}" (its keys: {", ".join(map(str, row)) or "none"}): rename or add it')
    messages = row[key]
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise DataError(f'{where}: "{key}" is {cut(repr(messages))}, not a list of messages with role and content')
    found = []
    for i, message in enumerate(messages, start=1):
        here = f"{where}, message {i}"
        role = _text(message, role_key, here)
        role = ALIASES.get(role, role)
        if role not in ROLES:
            raise DataError(f"{here}: the role is {role!r}: {nearest(role, ROLES)}")
        # Parquet gives every message every other one's fields, as None.
        rest = {k: v for k, v in message.items() if k not in (role_key, content_key_) and v is not None}
        found.append({**rest, "role": role, "content": _text(message, content_key_, here)})
    if all(message["role"] != "assistant" for message in found):
        raise DataError(f'{where}: "{key}" has no assistant turn to learn: remove the row, or map `data.columns`')
    return tuple(found)


def cut(text: str, width: int = 80) -> str:
    """A text short enough for a message."""
    text = text.strip()
    return text if len(text) <= width else text[: width - 1] + "…"
