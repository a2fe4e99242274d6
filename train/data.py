"""Token ids and labels of the training rows, by the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..dynamics.errors import ConfigError, DataError
from .records import Conversation, Record, Records, check_columns, cut, place, read_records
from .thinking import Thinking, with_thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .conversations import TurnEncoder

IGNORED = -100  # the label of a token that carries no loss: PyTorch's convention
BLOCK = 8192  # rows tokenised at a time: Python's lists of ids take ten times the room of the arrays they become


@dataclass(frozen=True)
class DataConfig:
    """The training rows: `prompt` with `response` or `completion`, or `messages`, and what is learnt of them."""

    path: Path  # JSONL, Parquet (*.parquet), or a data set on the hub: hub:owner/name[/subset][:split]
    columns: dict[str, str] | None = None  # the data's names of prompt, response, completion, messages, role, content
    heldout: dict[str, Path] = field(default_factory=dict)  # name -> rows never trained on: their loss at checkpoints
    rows: int | None = None  # the first so many of the data, which must have them; null: all
    loss_on: Literal["response", "all"] = "response"  # `all`: prompt tokens are learnt too, as in pretraining
    thinking: Thinking = "keep"  # what stands between <think> and </think>: kept, dropped, or cut to `thinking_tokens`
    thinking_tokens: int | None = None  # of the head that `shorten` keeps
    max_length: int = 2048  # tokens of prompt and response together
    over_length: Literal["error", "drop", "truncate"] = "error"  # longer rows; a truncated one teaches no ending
    order: Literal["shuffled", "fixed"] = "shuffled"  # `fixed`: as in the file, every epoch
    bucket: bool = False  # batch rows of similar length: less padding, slightly less random batches

    def __post_init__(self) -> None:
        check_columns(self.columns)
        if self.rows is not None and self.rows < 1:
            raise ConfigError(f"`data.rows` is {self.rows}: give 1 or more, or leave it out for all")
        if self.max_length < 2:
            raise ConfigError(f"`data.max_length` is {self.max_length}: give 2 or more tokens")
        if self.bucket and self.order == "fixed":
            raise ConfigError("`data.bucket` is true and `data.order` is 'fixed': bucketing reorders rows; drop one")
        if (self.thinking == "shorten") != (self.thinking_tokens is not None):
            raise ConfigError(
                f"`data.thinking` is {self.thinking!r} and `data.thinking_tokens` {self.thinking_tokens}: "
                "`shorten` needs the number of tokens to keep, and nothing else takes one"
            )
        if self.thinking_tokens is not None and self.thinking_tokens < 1:
            raise ConfigError(f"`data.thinking_tokens` is {self.thinking_tokens}: give 1 or more, or drop the thinking")


@dataclass(frozen=True, slots=True)
class Example:
    """One training sequence, int32 [tokens] each: `labels` repeats the ids that carry loss and is -100 elsewhere."""

    input_ids: np.ndarray
    labels: np.ndarray
    truncated: bool = False  # cut at `max_length`: the answer does not end

    @property
    def labelled(self) -> int:
        """Tokens that carry loss. The first token is predicted by nothing and never counts."""
        return int((self.labels[1:] != IGNORED).sum())


def first_rows(records: Records, config: DataConfig) -> Records:
    """The rows that `data.rows` asks for, from the start. Raises DataError where there are fewer."""
    if config.rows is None:
        return records
    if config.rows > len(records):
        raise DataError(
            f"{config.path} has {len(records):,} rows and `data.rows` is {config.rows}: "
            f"give all the rows, set `data.rows: {len(records)}`, or null to take what there is"
        )
    return records[: config.rows]


def encode(records: Records, tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> tuple[list[Example], int]:
    """Token ids and labels of every record, and how many records were dropped for their length.

    A prompt is rendered by the tokenizer's chat template up to where the assistant begins; the response is tokenised
    on its own and closed by the end-of-sequence token, so that the ids before it are exactly those seen at inference.
    A conversation is what the template renders, its assistant turns closed as the template closes them.
    Raises DataError for a row longer than `max_length` (unless dropped or truncated), with a word the tokenizer does
    not know, or that cannot be rendered.
    """
    encoder = None
    if records and isinstance(records[0], Conversation):
        from .conversations import TurnEncoder

        encoder = TurnEncoder(tokenizer)
    examples, dropped = [], 0
    for start in range(0, len(records), BLOCK):
        block: Any = records[start : start + BLOCK]
        if encoder is None:
            encoded = _encode_pairs(block, tokenizer, config)
        else:
            encoded = [_encode_conversation(conversation, encoder, config) for conversation in block]
        for record, (ids, labels) in zip(block, encoded, strict=True):
            example = _fitted(ids, labels, record.line, config)
            if example is None:
                dropped += 1
            else:
                examples.append(example)
    if not examples:
        raise DataError(
            f"all {dropped} rows of {config.path} are longer than `data.max_length` {config.max_length}: raise it"
        )
    return examples, dropped


def read_heldout(tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> dict[str, list[Example]]:
    """The rows of `data.heldout` by name, encoded as the training rows are. Raises DataError as for those."""
    return {
        name: encode(read_records(path, config.columns), tokenizer, replace(config, path=path))[0]
        for name, path in config.heldout.items()
    }


def data_warnings(
    records: Records,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    generation_stops: int | Sequence[int] | None,
    config: DataConfig,
) -> list[str]:
    """What of the data may spoil the training without being wrong, in plain lines: rows cut, and ends that do not stop
    generation (`generation_stops`: the model's `generation_config.eos_token_id`)."""
    from .conversations import end_warnings

    lines = end_warnings(tokenizer, generation_stops, conversations=isinstance(records[0], Conversation))
    if truncated := sum(example.truncated for example in examples):
        lines.append(
            f"{truncated:,} of {len(examples):,} rows are cut to {config.max_length:,} tokens: "
            "their answers break off, and no end token is learnt from them"
        )
    return lines


Encoded = tuple[np.ndarray, np.ndarray]  # ids and labels, int32 [tokens] each


def _encode_pairs(block: Sequence[Record], tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> list[Encoded]:
    if config.thinking != "keep":
        block = [replace(r, response=_thought(r.response, r.line, tokenizer, config)) for r in block]
    chats = [[{"role": "user", "content": record.prompt}] for record in block]
    prompts: Any = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    prompt_ids = _tokenise(tokenizer, prompts)
    response_ids = _tokenise(tokenizer, [record.response for record in block])
    unk, found = unknown_id(tokenizer), []
    for record, prompt, head, tail in zip(block, prompts, prompt_ids, response_ids, strict=True):
        for what, text, ids in (("prompt", prompt, head), ("response", record.response, tail)):
            if unk is not None and unk in ids:
                raise _unknown_error(tokenizer, text, unk, what, place(config.path, record.line))
        whole = np.array([*head, *tail, tokenizer.eos_token_id], dtype=np.int32)
        found.append((whole, _labels(whole, np.arange(len(whole)) >= len(head), config)))
    return found


def _encode_conversation(conversation: Conversation, encoder: TurnEncoder, config: DataConfig) -> Encoded:
    where, messages = place(config.path, conversation.line), list(conversation.messages)
    if config.thinking != "keep":
        messages = [_thought_message(message, conversation.line, encoder.tokenizer, config) for message in messages]
    text, ids, mask = encoder.encode(messages, where)
    unk = unknown_id(encoder.tokenizer)
    if unk is not None and unk in ids:
        raise _unknown_error(encoder.tokenizer, text, unk, "conversation", where)
    if config.loss_on == "response":  # what follows the last answer is neither learnt nor seen by what is
        ids = ids[: len(mask) - mask[::-1].index(True)]
    whole = np.array(ids, dtype=np.int32)
    return whole, _labels(whole, np.array(mask[: len(ids)]), config)


def _labels(ids: np.ndarray, answer: np.ndarray, config: DataConfig) -> np.ndarray:
    """The ids with -100 where no loss is taken; `answer` is true on what the assistant wrote."""
    labels = ids.copy()
    if config.loss_on == "all":
        labels[:1] = IGNORED
    else:
        labels[~answer] = IGNORED
    return labels


def _fitted(ids: np.ndarray, labels: np.ndarray, line: int, config: DataConfig) -> Example | None:
    """A sequence within `max_length`: as it is, or cut; None for one that is to be dropped, or that nothing is left of
    to learn. The end token stands last among the labels, so a cut takes it away: an answer broken off ends nowhere."""
    length, limit = len(ids), config.max_length
    if length <= limit:
        return Example(ids, labels)
    if config.over_length == "error":
        raise DataError(
            f"{place(config.path, line)} has {length} tokens and `data.max_length` is {limit}: "
            "raise it, shorten the row, or set `data.over_length: drop`"
        )
    if config.over_length == "drop" or (labels[1:limit] == IGNORED).all():
        return None
    return Example(ids[:limit].copy(), labels[:limit].copy(), truncated=True)


def _thought(text: str, line: int, tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> str:
    return with_thinking(text, config.thinking, config.thinking_tokens, tokenizer, place(config.path, line))


def _thought_message(
    message: dict[str, Any], line: int, tokenizer: PreTrainedTokenizerBase, config: DataConfig
) -> dict[str, Any]:
    if message["role"] != "assistant":
        return message
    if "reasoning_content" in message:
        raise DataError(
            f"{place(config.path, line)} keeps its thinking in `reasoning_content`, and `data.thinking: "
            f"{config.thinking}` looks between <think> and </think>: move it into the content, or set `keep`"
        )
    return {**message, "content": _thought(message["content"], line, tokenizer, config)}


def _tokenise(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    # Special tokens are the template's business: adding them here would put a second BOS before the response.
    # verbose=False: lengths are checked against `max_length`, not against what the tokenizer was made for.
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return encoded["input_ids"]


def unknown_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id that stands for words the tokenizer does not know; None where every text can be told."""
    unk = tokenizer.unk_token_id
    # Byte-level tokenizers name their end token as "unknown" too: there it stands in templates and means no gap.
    known = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return None if unk in known else unk


def _unknown_error(tokenizer: PreTrainedTokenizerBase, text: str, unk: int, what: str, where: str) -> DataError:
    return DataError(
        f"{where}: the tokenizer does not know {_unknown(tokenizer, text, unk)!r} "
        f"in the {what}: {cut(text)}; train with the tokenizer that fits the data, or change the row"
    )


def _unknown(tokenizer: PreTrainedTokenizerBase, text: str, unk: int) -> str:
    """The first stretch of `text` that the tokenizer maps to its unknown token."""
    if not tokenizer.is_fast:
        return tokenizer.unk_token
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start, end = encoded["offset_mapping"][encoded["input_ids"].index(unk)]
    return text[start:end] or tokenizer.unk_token
