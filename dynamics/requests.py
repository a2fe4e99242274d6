"""Domains of requests, by name: harmful ones, which are to be refused, and safe ones that only look like them."""

from __future__ import annotations

from collections.abc import Container, Sequence

# The micro-world's and the published benchmarks'. Where several were asked, the first stands for refusal, or for help.
HARMFUL = ("harmful", "hex_phi", "strong_reject", "xstest_unsafe", "harmful_unseen")
SAFE = ("safe", "xstest_safe", "safe_unseen")


def spokesman(kind: Sequence[str], asked: Container[str]) -> str:
    """Of the domains in `kind` the one whose numbers stand for it: the first that was asked; "" where none was."""
    return next((domain for domain in kind if domain in asked), "")
