"""Free-form Countdown: English reasoning traces of large models, read as searches (docs/metrics.md)."""

from __future__ import annotations

from .answer import Answer, find_answer, is_right
from .domain import FreeCountdown
from .reading import Equation, Trace, read

__all__ = ["Answer", "Equation", "FreeCountdown", "Trace", "find_answer", "is_right", "read"]
