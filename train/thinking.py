"""What is kept of the thinking part of a response: the text between `<think>` and `</think>`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from ..dynamics.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<think>", "</think>"
Thinking = Literal["keep", "drop", "shorten"]
# A response may begin inside the thinking part: some templates write the opening tag into the prompt.
PART = re.compile(rf"(?P<open>{OPEN})?(?P<inner>(?:(?!{OPEN}).)*?){CLOSE}(?P<gap>\s*)", re.DOTALL)


def with_thinking(
    text: str, thinking: Thinking, tokens: int | None, tokenizer: PreTrainedTokenizerBase, where: str
) -> str:
    """The response with its thinking part kept, dropped, or shortened to its first `tokens` tokens, the tag closed.

    A part whose opening tag the template writes keeps its closing tag when dropped: the prompt has opened it. Raises
    DataError for a part that is never closed, and where nothing but thinking was there to keep.
    """
    if thinking == "keep":
        return text
    parts = list(PART.finditer(text))
    if text.count(OPEN) > sum(part["open"] is not None for part in parts):
        raise DataError(
            f"{where}: a {OPEN} is not closed by {CLOSE}, so `data.thinking: {thinking}` cannot tell the answer from "
            "the thinking: close it, remove the row, or set `data.thinking: keep`"
        )

    def replace(part: re.Match[str]) -> str:
        opened, inner = part["open"] or "", part["inner"]
        if thinking == "shorten":
            assert tokens is not None
            return f"{opened}{_head(inner, tokens, tokenizer)}{CLOSE}{part['gap']}"
        return "" if opened else f"{CLOSE}{part['gap']}"

    kept = PART.sub(replace, text)
    if not kept.replace(CLOSE, "").strip():
        raise DataError(f"{where} holds thinking and no answer: `data.thinking: drop` leaves nothing; remove the row")
    return kept


def _head(inner: str, tokens: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """The first `tokens` tokens of a text, with the white space that the whole text ended in."""
    if tokenizer.is_fast:
        encoded: Any = tokenizer(inner, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ends = [end for _, end in encoded["offset_mapping"]]
        if len(ends) <= tokens:
            return inner
        head = inner[: ends[tokens - 1]]
    else:
        ids = tokenizer(inner, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) <= tokens:
            return inner
        head = str(tokenizer.decode(ids[:tokens]))
    return head + inner[len(inner.rstrip()) :]
