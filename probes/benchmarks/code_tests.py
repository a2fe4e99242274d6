"""The tests of a programming problem as LiveCodeBench publishes them, read without running anything that comes with them.

Public tests are JSON. Private ones are JSON too or, as a rule, JSON in a pickled text, compressed, in base64. A pickle may name
any function and have it called while it is loaded, so none is loaded here: its operations are listed, and all that is accepted
is one text.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from dataclasses import dataclass
from typing import Any, Literal

from ...dynamics.errors import DataError, first_line
from .rows import SHOWN, Row

MOST_BYTES = 1 << 30  # of one problem's tests when they are unpacked
PUBLIC, PRIVATE = "public_test_cases", "private_test_cases"
KINDS = ("stdin", "functional")
_ONE_TEXT = {"PROTO", "FRAME", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "MEMOIZE", "BINPUT", "STOP"}


@dataclass(frozen=True)
class Case:
    """One test: what a program is given, and what is right."""

    given: str  # standard input; or the arguments of a call, one a line, in JSON
    wanted: str  # what it has to print; or the value of the call, in JSON


@dataclass(frozen=True)
class Tests:
    """The tests of one problem, public ones first."""

    function: str | None  # the method of `Solution` that is called; None: the program reads standard input
    cases: tuple[Case, ...]


def read_tests(row: Row) -> Tests:
    """The tests of a row. Raises DataError with the row, the field, the test and what is wrong with it."""
    listed = [
        (f"{row.where}, `{name}`, test {at}", values)
        for name in (PUBLIC, PRIVATE)
        for at, values in enumerate(_listed(row, name), 1)
    ]
    if not listed:
        raise DataError(f"{row.where}: `{PUBLIC}` and `{PRIVATE}` are empty: expected one or more tests")
    kinds = {_kind(where, values) for where, values in listed}
    if len(kinds) > 1:
        raise DataError(f"{row.where}: `{PRIVATE}` has tests of both kinds, {' and '.join(KINDS)}: expected one kind")
    function = _function(row) if kinds == {"functional"} else None
    return Tests(function, tuple(_case(where, values, function) for where, values in listed))


def arguments_of(case: Case) -> list[Any]:
    """What a function is called with. Raises ValueError where a line is no JSON."""
    return [json.loads(line) for line in case.given.split("\n") if line.strip()]


def text_in_pickle(data: bytes) -> str:
    """The one text that a pickle holds. Raises ValueError for a pickle that is anything else: nothing of it is ever run."""
    texts = []
    for operation, value, _ in pickletools.genops(data):
        if operation.name not in _ONE_TEXT:
            raise ValueError(f"it is pickled with {operation.name}, which is more than a text")
        if isinstance(value, str):
            texts.append(value)
    if len(texts) != 1:
        raise ValueError(f"{len(texts)} texts are pickled")
    return texts[0]


def unpacked(text: str) -> str:
    """The JSON in a pickled text that is compressed and in base64. Raises ValueError."""
    data = zlib.decompressobj()
    plain = data.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    if not data.eof:
        raise ValueError(f"it is cut off, or takes more than {MOST_BYTES >> 20:,} MiB")
    return text_in_pickle(plain)


def _listed(row: Row, name: str) -> list[Any]:
    """The tests in a field, as they stand there."""
    text = row.text(name)
    expected = "a list of tests in JSON" + (" or packed as they are published" if name == PRIVATE else "")
    try:
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            if name == PUBLIC:
                raise
            found = json.loads(unpacked(text))
    except (ValueError, binascii.Error, zlib.error, RecursionError) as error:
        raise row.wrong(name, f"{expected} ({first_line(error)})") from error
    if not isinstance(found, list):
        raise row.wrong(name, expected)
    return found


def _kind(where: str, values: Any) -> Literal["stdin", "functional"]:
    if not isinstance(values, dict):
        raise DataError(f"{where} is {str(values)[:SHOWN]!r}: expected an object")
    test = Row(where, values)
    for name in ("input", "output"):
        if not isinstance(values.get(name), str):
            raise test.wrong(name, "a text")
    return "functional" if test.one_of("testtype", KINDS) == "functional" else "stdin"


def _function(row: Row) -> str:
    """The name of the method that functional tests call."""
    try:
        metadata = json.loads(row.text("metadata"))
    except ValueError as error:
        raise row.wrong("metadata", f"an object in JSON ({first_line(error)})") from error
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name.isidentifier():
        raise row.wrong("metadata", "an object in JSON with `func_name`, the method that functional tests call")
    return name


def _case(where: str, values: dict[str, Any], function: str | None) -> Case:
    case = Case(values["input"], values["output"])
    if function is not None:
        test = Row(where, values)
        for name, read in (("input", lambda: arguments_of(case)), ("output", lambda: json.loads(case.wanted))):
            try:
                read()
            except (ValueError, RecursionError) as error:
                raise test.wrong(name, f"JSON ({first_line(error)})") from error
    return case
