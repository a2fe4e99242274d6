"""`sftscope selftest`: the noise floor and the nulls of the measurements, on the user's own model, before a run."""

from .lines import Line
from .selftest import Outcome, selftest

__all__ = ["Line", "Outcome", "selftest"]
