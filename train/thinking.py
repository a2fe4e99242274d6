"""What is kept of the thinking part of a response: the text between `<think>` and `</think>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ..dynamics.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<think>", "</think>"
Thinking = Literal["keep", "drop", "shorten"]


def with_thinking(
    text: str, thinking: Thinking, tokens: int | None, tokenizer: PreTrainedTokenizerBase, where: str
) -> str:
    """The response with its thinking part kept, dropped, or shortened to its first `tokens` tokens, the tag closed.

    A part whose opening tag the template writes keeps its closing tag when dropped: the prompt has opened it. Raises
    DataError for a part that is never closed, and where nothing but thinking was there to keep.
    """
    if thinking == "keep":
        return text
    kept, at = [], 0
    while (close := text.find(CLOSE, at)) >= 0:
        begin = text.find(OPEN, at, close)
        inner = begin + len(OPEN) if begin >= 0 else at
        if (begin < 0 and at > 0) or OPEN in text[inner:close]:
            raise _unbalanced(thinking, where)
        after = close + len(CLOSE)
        gap = after + len(text[after:]) - len(text[after:].lstrip())
        kept.append(text[at:begin] if begin >= 0 else "")
        if thinking == "shorten":
            assert tokens is not None
            head = _head(text[inner:close], tokens, tokenizer)
            kept.append(f"{OPEN if begin >= 0 else ''}{head}{text[close:gap]}")
        elif begin < 0:
            kept.append(text[close:gap])
        at = gap
    if OPEN in text[at:]:
        raise _unbalanced(thinking, where)
    kept.append(text[at:])
    result = "".join(kept)
    if not result.replace(CLOSE, "").strip():
        raise DataError(f"{where} holds thinking and no answer: `data.thinking: drop` leaves nothing; remove the row")
    return result


def _unbalanced(thinking: Thinking, where: str) -> DataError:
    return DataError(
        f"{where}: a {OPEN} is not closed by a {CLOSE} of its own, so `data.thinking: {thinking}` cannot tell the answer "
        "from the thinking: mend the tags, remove the row, or set `data.thinking: keep`"
    )


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
