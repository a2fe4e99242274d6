"""sftscope: see what reasoning fine-tuning does to a language model, while it does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dynamics import Estimate, Finding, Measurement, Run

__version__ = "0.1.0"
__all__ = ["Estimate", "Finding", "Measurement", "Run"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # on demand: `sftscope --help` must not wait for pandas
        from . import dynamics

        return getattr(dynamics, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
