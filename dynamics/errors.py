"""Errors that a user can act on: what was wrong, the value, and the way out.

The command line prints them without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SftscopeError(Exception):
    """Base of every error that is the user's to mend."""


class ConfigError(SftscopeError):
    """A setting that cannot be used."""


class DataError(SftscopeError):
    """A data file, record or table that cannot be used."""


class CheckpointError(SftscopeError):
    """A checkpoint that is missing, damaged, or not what it says it is."""


class Stopped(SftscopeError):
    """A run that ended early because it was asked to; it can be gone on from."""


class RecordError(SftscopeError):
    """A run folder that is missing, damaged, or belongs to another run."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for an unknown name, or the whole list where nothing is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(known)


def first_line(error: BaseException) -> str:
    """What a library's error says, short enough to stand in a message of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
