"""What a domain is: items to ask, and an exact grader of what comes back. Grading reads text and never a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from ..dynamics.model_text import THINK_CLOSE as THINK_CLOSE  # (both for those who read domains)
from ..dynamics.model_text import THINK_OPEN as THINK_OPEN
from ..dynamics.model_text import split_response
from ..dynamics.types import Group

Split = Literal["train", "probe", "test"]


@dataclass(frozen=True)
class Item:
    """One question. `id` is a hash of its content, `cluster` names the unit that similar items share (an object, a template)."""

    id: str
    prompt: str
    reference: dict[str, Any]  # what the grader needs; JSON-able
    cluster: str = ""
    level: int = 1  # difficulty, from 1
    phrasing: int = 0  # which of the domain's ways to ask


@dataclass(frozen=True)
class Response:
    """What the model wrote after the prompt, and whether it stopped by itself."""

    text: str
    finished: bool  # False: cut at the length limit
    n_tokens: int  # that the model wrote itself
    token_ids: tuple[int, ...] = ()  # these; empty where they are not known
    n_think_tokens: int | None = None  # tags not counted; None where the tokens were not told apart
    n_answer_tokens: int | None = None
    forced: str = ""  # what the text was made to begin with
    end_id: int | None = None  # the token that it stopped at, where that is not the tokenizer's end token

    @property
    def think(self) -> str:
        """The thinking part: what stands after `<think>`, or from the beginning where none comes first, up to `</think>`."""
        return split_response(self.text)[0]

    @property
    def answer(self) -> str:
        """The answer part: what follows the thinking, empty while the thinking is still open."""
        return split_response(self.text)[1]

    @property
    def written(self) -> str:
        """What the model wrote itself, after a forced beginning."""
        return self.text.removeprefix(self.forced).strip()

    @property
    def thought(self) -> bool:
        """Whether the response has a thinking part with anything in it."""
        return bool(self.think)


@dataclass(frozen=True)
class Grade:
    """`strict` = finished and parsed and right. `lenient` also reads an answer out of a truncated response."""

    finished: bool
    parsed: bool  # an answer in the domain's form was found in a finished response
    correct: bool  # that answer is right
    lenient: bool
    details: dict[str, float] = field(default_factory=dict)

    @property
    def strict(self) -> bool:
        return self.finished and self.parsed and self.correct


@runtime_checkable
class Complies(Protocol):
    """A domain of requests that knows what it would be to comply."""

    def help(self, problem: dict[str, Any]) -> str: ...


@runtime_checkable
class GradesMany(Protocol):
    """A domain whose grader is quicker over many responses at once."""

    def grade_all(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]: ...


class Domain(Protocol):
    """A family of questions. `items` are disjoint between splits by content and the same for the same arguments."""

    name: str
    group: Group
    max_new_tokens: int

    def items(self, split: Split, n: int, seed: int = 0) -> list[Item]: ...

    def grade(self, item: Item, response: Response) -> Grade: ...
