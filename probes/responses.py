"""Stored samples as responses: their tokens of thinking and of answer told apart by where the tags stand among the ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .domains import THINK_CLOSE, THINK_OPEN, Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ResponseReader:
    """Makes a `Response` of a stored sample (text, token_ids, finish, and what was forced). Cheap: it looks for two ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.open_id, self.close_id = (_only_id(tokenizer, tag) for tag in (THINK_OPEN, THINK_CLOSE))

    def __call__(self, sample: Mapping[str, Any]) -> Response:
        forced, written = tuple(sample.get("forced_ids", ())), tuple(sample["token_ids"])
        response = Response(
            sample["text"],
            sample["finish"] == "stop",
            len(written),
            written,
            forced=sample.get("forced", ""),
            end_id=sample.get("end_id"),
        )
        think, answer = self._parts(response, (*forced, *written))
        return replace(response, n_think_tokens=think, n_answer_tokens=answer)

    def _parts(self, response: Response, ids: tuple[int, ...]) -> tuple[int, int]:
        """Tokens of thinking and of answer, split where the text is (`dynamics.model_text.parts_of`)."""
        opened, closed = response.text.find(THINK_OPEN), response.text.find(THINK_CLOSE)
        if opened < 0 and closed < 0:
            return 0, len(ids)
        by_prompt = opened < 0 or 0 <= closed < opened  # the prompt opened it
        if (not by_prompt and self.open_id not in ids) or (closed >= 0 and self.close_id not in ids):
            return self._encoded(response)  # a tag of several tokens
        began = 0 if by_prompt else ids.index(self.open_id) + 1
        ended = next((i for i in range(began, len(ids)) if ids[i] == self.close_id), None)
        return (len(ids) - began, 0) if ended is None else (ended - began, len(ids) - ended - 1)

    def _encoded(self, response: Response) -> tuple[int, int]:
        """The same by encoding the parts anew, where a tag has no id of its own: right but for merges at the tags."""
        count = [len(self.tokenizer(p, add_special_tokens=False).input_ids) for p in (response.think, response.answer)]
        return count[0], count[1]


def _only_id(tokenizer: PreTrainedTokenizerBase, tag: str) -> int | None:
    """The id that a tag is by itself, or None where it is written in several tokens or unknown."""
    ids = tokenizer(tag, add_special_tokens=False).input_ids
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None
