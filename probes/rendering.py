"""Questions as token ids: chat turns, forced openings, and where in them the named positions lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jinja2

from ..dynamics.errors import ConfigError
from ..dynamics.storage import content_key
from .domains import THINK_CLOSE, THINK_OPEN, Complies, Domain, Item
from .protocol import INSTRUCTION_END, LAST_PROMPT, TEMPLATE, Ask
from .responses import ResponseReader

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EMPTY_THINKING = f"{THINK_OPEN}\n\n{THINK_CLOSE}\n\n"  # as the templates of Qwen3 write it


class Renderer:
    """Renders prompts with one tokenizer and its chat template, the same for all checkpoints."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def key(self) -> str:
        """Hash of the template and of what it makes of a word."""
        return content_key(self.tokenizer.chat_template, self.prompts(["a"]))

    @property
    def pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    @property
    def can_switch_thinking_off(self) -> bool:
        return "enable_thinking" in str(self.tokenizer.chat_template)

    def prompts(self, prompts: Sequence[str], *, thinking: bool = True) -> list[list[int]]:
        """Token ids of prompts as chat turns, up to where the assistant begins."""
        chats = [[{"role": "user", "content": p}] for p in prompts]
        switch: dict[str, Any] = {} if thinking else {"enable_thinking": False}
        ids: Any = self.tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, tokenize=True, return_dict=False, **switch
        )
        return ids

    def unreadable(self, prompts: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
        """The first prompt, with its domain, that a word-level tokenizer cannot read; None where it reads all."""
        unknown = self.tokenizer.unk_token_id
        if unknown is None or unknown in (self.tokenizer.eos_token_id, self.tokenizer.bos_token_id, self.pad_id):
            return None  # byte-level tokenizers read everything; some name their end token as "unknown" too
        for name, texts in prompts.items():
            for text, ids in zip(texts, self.prompts(texts), strict=True):
                if unknown in ids:
                    return name, text
        return None

    def words(self, text: str) -> list[int]:
        """Ids of text within a turn."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    @cached_property
    def opened(self) -> str:
        """What the template makes every turn of the assistant begin with: an open thinking part, or nothing."""
        (prompt,) = self.prompts(["a"])
        tail = str(self.tokenizer.decode(prompt[-self.after_instruction :], skip_special_tokens=False))
        _, tag, rest = tail.rpartition(THINK_OPEN)
        return tag + (rest or "\n") if tag and THINK_CLOSE not in rest else ""

    @cached_property
    def closing_id(self) -> int | None:
        """The special token that the template closes the assistant's turn with; None where it closes with none."""
        chat = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": "ANSWER"}]
        try:
            text = str(self.tokenizer.apply_chat_template(chat, tokenize=False))
        except jinja2.TemplateError:
            return None
        _, answered, rest = text.rpartition("ANSWER")
        special = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        special = (special | set(self.tokenizer.all_special_ids)) - {self.tokenizer.unk_token_id}
        return next((i for i in self.words(rest) if i in special), None) if answered else None

    def begin(self, text: str) -> list[int]:
        """Ids of what a turn is made to begin with, without the opened thinking part where the template has it already."""
        return self.words(text.removeprefix(THINK_OPEN) if self.opened else text)

    def ask(self, ask: Ask, domain: Domain, items: Sequence[Item]) -> tuple[list[list[int]], list[list[int]]]:
        """The prompts of an Ask, and what each turn is made to begin with. ConfigError where the domain has no such answer."""
        prompts = self.prompts([i.prompt for i in items], thinking=ask.thinking != "off")
        begin = self.begin((EMPTY_THINKING if ask.thinking == "empty" else "") + ask.begin)
        if not ask.prefill:
            return prompts, [begin] * len(items)
        if not isinstance(domain, Complies):
            raise ConfigError(f"{domain.name} has no answer that complies, so that none can be prefilled")
        return prompts, [begin + self.words(domain.help(i.reference))[: ask.prefill] for i in items]

    def sample(
        self,
        begun: Sequence[int],
        written: Sequence[int],
        finish: str,
        *,
        thinking: bool = True,
        end: int | None = None,
    ) -> dict[str, Any]:
        """A completion as it is stored: the whole text, and what its beginning was forced to be where it was.

        `thinking`: whether the prompt left it switched on. A thinking part that the template opened is part of the text.
        `end` is the token that it stopped at: stored where that is not the tokenizer's end token.
        """
        opened = self.opened if thinking else ""
        forced, text = self.tokenizer.batch_decode([list(begun), [*begun, *written]], skip_special_tokens=False)
        sample: dict[str, Any] = {"text": opened + text, "finish": finish, "token_ids": list(written)}
        if end is not None and end != self.tokenizer.eos_token_id:
            sample["end_id"] = end
        ids = [*self.words(opened), *begun]
        return sample | ({"forced": opened + forced, "forced_ids": ids} if ids else {})

    @cached_property
    def read(self) -> ResponseReader:
        """Makes a Response of a stored sample."""
        return ResponseReader(self.tokenizer)

    @cached_property
    def after_instruction(self) -> int:
        """How many tokens of the template follow the user's words, in front of the assistant's."""
        one, other = self.prompts(["a", "the"])
        same = 0
        while same < min(len(one), len(other)) and one[-1 - same] == other[-1 - same]:
            same += 1
        return same

    def offsets(self, positions: Sequence[str]) -> dict[str, int]:
        """Places of named positions, counted from the end of the prompt (-1: its last token). KeyError for an unknown name."""
        out: dict[str, int] = {}
        for name in positions:
            if name == TEMPLATE:
                out |= {f"{TEMPLATE}[-{k}]": -k for k in range(2, self.after_instruction + 1)}
            else:
                out[name] = {LAST_PROMPT: -1, INSTRUCTION_END: -self.after_instruction - 1}[name]
        return out

    def in_text(self, text: str, ends: Sequence[int]) -> tuple[list[int], list[int]]:
        """Ids of a text and, for each place in its characters, the index of the last token that ends there or before.

        Raises ValueError where no token does.
        """
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        stops = [stop for _, stop in encoding.offset_mapping]
        found = []
        for end in ends:
            before = [k for k, stop in enumerate(stops) if stop <= end]
            if not before:
                raise ValueError(f"no token of {text[:40]!r} ends before character {end}")
            found.append(before[-1])
        return list(encoding.input_ids), found
