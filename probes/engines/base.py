"""Engines: token ids in, token ids out. Prompts are rendered by us, so that engines agree on what was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class ThinkBudget:
    """How much of a response may be thinking: where it is still going on after `tokens`, it is closed by force."""

    tokens: int
    open: tuple[int, ...]  # the ids that begin thinking, in the prompt or in the response
    close: tuple[int, ...]  # the ids that end it; they are what is forced

    def __post_init__(self) -> None:
        if self.tokens < 1 or not self.open or not self.close:
            raise ValueError(f"{self}: give one token or more, and the ids that begin and end thinking")


@dataclass(frozen=True)
class Sampling:
    """How to decode. Greedy at temperature 0; otherwise `n` samples a prompt, each with a seed of its own."""

    max_new_tokens: int
    temperature: float = 0.0
    n: int = 1
    seed: int = 0
    banned: tuple[int, ...] = ()  # token ids that are never written
    budget: ThinkBudget | None = None  # what is forced counts as written

    def settings(self) -> dict[str, Any]:
        """What results are keyed by. `banned` and `budget` count where there are any: keys from before them stay as they were."""
        drawn = {"draws": 2} if self.temperature else {}  # how: by inversion
        return {
            name: value for name, value in asdict(self).items() if name not in ("banned", "budget") or value
        } | drawn


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated for one prompt: ids without the prompt and without the end token."""

    token_ids: list[int]
    finish: Literal["stop", "length"]
    end: int | None = None  # the token that it stopped at


@dataclass(frozen=True, slots=True)
class Request:
    """One sample of a prompt: what it draws depends on its seed and on nothing that shares its batch."""

    prompt: Sequence[int]
    seed: int


class Engine(Protocol):
    """Generates for many prompts; the order of the result is that of the prompts (n samples a prompt lie together)."""

    name: str

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[Completion]: ...
