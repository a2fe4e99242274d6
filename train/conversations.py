"""Token ids and labels of conversations: what the chat template renders, with loss on every turn of the assistant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jinja2

from ..dynamics.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]  # first character and the one after the last
MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")


class TurnEncoder:
    """Conversations to token ids, and which of them the assistant wrote, by one tokenizer's chat template.

    The template's `{% generation %}` markers say what the assistant wrote. Where it has none, a turn is what the
    rendered conversation gains between the prompt for it (generation prompt included) and its end; a template that
    rewrites earlier turns later on is found out and refused. Raises DataError for a template that cannot be used.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.is_fast:
            raise DataError(
                f"conversations need a fast tokenizer, which tells where tokens stand in the text, and this one is a "
                f"{type(tokenizer).__name__}: take the model's fast one, or rows of `prompt` and `response`"
            )
        self.tokenizer = tokenizer
        self.marked = MARKER.search(tokenizer.get_chat_template()) is not None
        end = template_end(tokenizer)
        if end is None:
            raise DataError(
                "the chat template closes the assistant's turn with no special token, so the end of an answer cannot "
                "be learnt: use rows of `prompt` and `response`, closed by the tokenizer's end token, or another template"
            )
        self.end = end

    def encode(self, messages: Sequence[dict[str, Any]], where: str) -> tuple[str, list[int], list[bool]]:
        """The rendered text, its token ids, and for each whether it carries loss (as many as tokens)."""
        text, spans = self._marked(messages, where) if self.marked else self._by_prefix(messages, where)
        encoded: Any = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        mask = [False] * len(ids)
        for begin, stop in spans:
            first, last = self._turn(text, ids, offsets, (begin, stop), where)
            mask[first : last + 1] = [True] * (last + 1 - first)
        return text, ids, mask

    def _turn(self, text: str, ids: list[int], offsets: list[Span], span: Span, where: str) -> tuple[int, int]:
        """First and last token of a turn: up to its end token, whether the span holds it or stops short of it. What
        the template writes after the end token (a line break) is never generated, and not learnt."""
        inside = [i for i, (a, b) in enumerate(offsets) if a < span[1] and b > span[0] and b > a]
        ends = [i for i in inside if ids[i] == self.end]
        if inside and ends:
            return inside[0], ends[-1]
        after = (inside[-1] + 1) if inside else len(ids)
        while after < len(ids) and not text[slice(*offsets[after])].strip():
            after += 1
        if after == len(ids) or ids[after] != self.end:
            raise DataError(
                f"{where}: the chat template does not close the assistant's turn with "
                f"{self.tokenizer.convert_ids_to_tokens(self.end)!r} here, so the end of the answer would not be learnt: "
                "let the conversation end with the assistant's turn, or mend the template"
            )
        return inside[0], after

    def _marked(self, messages: Sequence[dict[str, Any]], where: str) -> tuple[str, list[Span]]:
        """Rendered, with the spans of the template's own markers. Not `return_assistant_tokens_mask`: it loses a turn
        that begins with white space, and a last one that ends in it runs on to the end of the row."""
        from transformers.utils.chat_template_utils import render_jinja_template

        tokens: Any = self.tokenizer.special_tokens_map
        try:
            rendered: Any = render_jinja_template(  # annotated as a str; a list of texts and one of spans
                conversations=[list(messages)],
                chat_template=self.tokenizer.get_chat_template(),
                return_assistant_tokens_mask=True,
                **tokens,
            )
        except jinja2.TemplateError as error:
            raise _refused(where, error) from error
        (text,), (spans,) = rendered
        found = [(begin, stop) for begin, stop in spans if stop > begin]
        if not found:
            raise DataError(f"{where}: the chat template marks no turn of the assistant in this conversation: mend it")
        return text, found

    def _by_prefix(self, messages: Sequence[dict[str, Any]], where: str) -> tuple[str, list[Span]]:
        whole = self._render(messages, where)
        spans = []
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._render(messages[:i], where, add_generation_prompt=True)
            through = self._render(messages[: i + 1], where)
            if not (whole.startswith(through) and through.startswith(before) and len(through) > len(before)):
                raise DataError(
                    f"{where}, message {i + 1}: the chat template renders this turn otherwise within the whole "
                    "conversation than at its end, so what the assistant wrote cannot be told from the rest. Use a "
                    "template with {% generation %} markers, drop the thinking (`data.thinking: drop`; many templates "
                    "remove it from earlier turns), or make a row of each turn, as `prompt` and `response`"
                )
            spans.append((len(before), len(through)))
        return whole, spans

    def _render(self, messages: Sequence[dict[str, Any]], where: str, add_generation_prompt: bool = False) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
                )
            )
        except (jinja2.TemplateError, ValueError) as error:
            raise _refused(where, error) from error


def template_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the special token with which the chat template closes the assistant's turn; None where it has none."""
    chat = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": "ANSWER"}]
    try:
        text = str(tokenizer.apply_chat_template(chat, tokenize=False))
    except jinja2.TemplateError:
        return None
    rest = text[text.rfind("ANSWER") + len("ANSWER") :] if "ANSWER" in text else ""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | set(
        tokenizer.all_special_ids
    )
    ids: Any = tokenizer(rest, add_special_tokens=False, verbose=False)["input_ids"]
    return next((i for i in ids if i in special and i != tokenizer.unk_token_id), None)


def end_warnings(
    tokenizer: PreTrainedTokenizerBase, generation_stops: int | Sequence[int] | None, *, conversations: bool
) -> list[str]:
    """What to know of the token that closes a response in training, in plain words; none where all agree.

    `generation_stops` is the model's `generation_config.eos_token_id`. Conversations close as the template does, prompts
    with responses by the tokenizer's end token.
    """
    end, eos = template_end(tokenizer), tokenizer.eos_token_id
    name = tokenizer.convert_ids_to_tokens
    configured = [generation_stops] if isinstance(generation_stops, int) else list(generation_stops or ())
    if conversations and end is not None and end not in {eos, *configured}:
        stops = ", ".join(repr(name(i)) for i in dict.fromkeys((eos, *configured)) if i is not None)
        return [
            f"the template closes the assistant's turn with {name(end)!r}, and generation stops at {stops} only: the "
            f"model will learn to end there and run on; add {end} to `eos_token_id` in its generation_config.json"
        ]
    if not conversations and end is not None and end != eos:
        return [
            f"the chat template closes the assistant's turn with {name(end)!r}; rows of prompts and responses close with "
            f"{name(eos)!r}, which generation stops at: give `messages` for the template's own ending"
        ]
    return []


def _refused(where: str, error: Exception) -> DataError:
    return DataError(f"{where}: the chat template does not take this conversation ({error}): change the row")
