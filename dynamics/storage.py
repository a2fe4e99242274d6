"""Writing files that exist complete or not at all, naming things by their content, cells that no spreadsheet runs."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def fsync_path(path: Path) -> None:
    """Flush a file's (or folder's) content to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.tmp")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is flushed and renamed, on an error it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    try:
        yield aside
        fsync_path(aside)
        os.replace(aside, path)
        fsync_path(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """As `whole_file`, for a folder: it appears with all its files or not at all. Fails if `path` exists already."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    aside.mkdir()
    try:
        yield aside
        for file in sorted(aside.rglob("*")):
            if file.is_file():
                fsync_path(file)
        fsync_path(aside)
        os.rename(aside, path)
        fsync_path(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder if it is there; hidden first, so that a removal that is cut short leaves nothing that reads as whole."""
    path = Path(path)
    hidden = path.with_name(f".{path.name}.old.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    if path.is_dir():
        os.rename(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON: NaN and infinities become null, as other languages' readers know no such numbers."""
    with whole_file(path) as aside:
        aside.write_text(json.dumps(_strict(value), indent=2, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256_file(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def content_key(*parts: Any, length: int = 12) -> str:
    """A short hash of JSON-like content: the `key` by which derived files are named."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


_FORMULA = re.compile(r"^(?=[=+\-@\t\r])")


def no_formula(value: Any) -> Any:
    """A value for a cell of CSV: text that a spreadsheet would take for a formula gets a `'` before it."""
    return _FORMULA.sub("'", value) if isinstance(value, str) else value


MANIFEST = "manifest.json"


def write_manifest(folder: Path, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Record the size and sha256 of every file in `folder`. Written last, before the folder is renamed into place."""
    folder = Path(folder)
    files = {
        str(f.relative_to(folder)): {"bytes": f.stat().st_size, "sha256": sha256_file(f)}
        for f in sorted(folder.rglob("*"))
        if f.is_file() and f.name != MANIFEST
    }
    manifest = {"schema": 1, "files": files, **(extra or {})}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest
