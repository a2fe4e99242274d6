"""Prompt and response records, and the token ids and labels made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..dynamics.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that carries no loss: PyTorch's convention
BLOCK = 8192  # rows tokenised at a time: Python's lists of ids take ten times the room of the arrays they become


@dataclass(frozen=True)
class DataConfig:
    """The training rows: JSONL with `{"prompt": …, "response": …}` on every line."""

    path: Path
    loss_on: Literal["response", "all"] = "response"  # `all`: prompt tokens are learnt too, as in pretraining
    max_length: int = 2048  # tokens of prompt and response together
    over_length: Literal["error", "drop"] = "error"  # longer rows; they are never cut: the answer stands at the end
    order: Literal["shuffled", "fixed"] = "shuffled"  # `fixed`: as in the file, every epoch
    bucket: bool = False  # batch rows of similar length: less padding, slightly less random batches

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ConfigError(f"`data.max_length` is {self.max_length}: give 2 or more tokens")
        if self.bucket and self.order == "fixed":
            raise ConfigError("`data.bucket` is true and `data.order` is 'fixed': bucketing reorders rows; drop one")


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the file; `line` counts from 1."""

    prompt: str
    response: str
    line: int


@dataclass(frozen=True, slots=True)
class Example:
    """One training sequence, int32 [tokens] each: `labels` repeats the ids that carry loss and is -100 elsewhere."""

    input_ids: np.ndarray
    labels: np.ndarray

    @property
    def labelled(self) -> int:
        """Tokens that carry loss. The first token is predicted by nothing and never counts."""
        return int((self.labels[1:] != IGNORED).sum())


def read_records(path: Path) -> list[Record]:
    """The rows of a JSONL file. Raises DataError naming the file and the line of the first row that cannot be used."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no data file at {path}: `data.path` is a JSONL file with a prompt and a response per line")
    records = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{where} is not JSON ({error.msg} at column {error.colno}): {_cut(line)}") from error
            if not isinstance(row, dict):
                raise DataError(f'{where} is not an object with "prompt" and "response": {_cut(line)}')
            records.append(Record(_text(row, "prompt", where), _text(row, "response", where), number))
    if not records:
        raise DataError(f'{path} holds no rows: write one {{"prompt": …, "response": …}} per line')
    return records


def _text(row: dict[str, Any], key: str, where: str) -> str:
    if key not in row:
        raise DataError(f'{where} has no "{key}" (its keys: {", ".join(map(str, row)) or "none"}): rename or add it')
    value = row[key]
    if not isinstance(value, str):
        raise DataError(f'{where}: "{key}" is {_cut(repr(value))}, not a text')
    if not value.strip():
        raise DataError(f'{where}: "{key}" is empty ({value!r}): fill it in, or remove the row')
    return value


def _cut(text: str, width: int = 80) -> str:
    text = text.strip()
    return text if len(text) <= width else text[: width - 1] + "…"


def encode(
    records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, config: DataConfig
) -> tuple[list[Example], int]:
    """Token ids and labels of every record, and how many records were dropped for their length.

    The prompt is rendered by the tokenizer's chat template up to where the assistant begins; the response is tokenised
    on its own and closed by the end-of-sequence token, so that the ids before it are exactly those seen at inference.
    Raises DataError for a row longer than `max_length` (unless dropped) or with a word the tokenizer does not know.
    """
    eos, examples, dropped = tokenizer.eos_token_id, [], 0
    for start in range(0, len(records), BLOCK):
        block = records[start : start + BLOCK]
        chats = [[{"role": "user", "content": record.prompt}] for record in block]
        prompts: Any = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
        prompt_ids = _tokenise(tokenizer, prompts)
        response_ids = _tokenise(tokenizer, [record.response for record in block])
        _check_known(block, prompts, prompt_ids, response_ids, tokenizer, config.path)
        for record, head, tail in zip(block, prompt_ids, response_ids, strict=True):
            example = _example(record, head, [*tail, eos], config)
            if example is None:
                dropped += 1
            else:
                examples.append(example)
    if not examples:
        raise DataError(
            f"all {dropped} rows of {config.path} are longer than `data.max_length` {config.max_length}: raise it"
        )
    return examples, dropped


def _example(record: Record, head: list[int], tail: list[int], config: DataConfig) -> Example | None:
    """Prompt ids and response ids as one sequence; None for a row over length that is to be dropped."""
    length = len(head) + len(tail)
    if length > config.max_length:
        if config.over_length == "drop":
            return None
        raise DataError(
            f"{config.path}, line {record.line} has {length} tokens and `data.max_length` is {config.max_length}: "
            "raise it, shorten the row, or set `data.over_length: drop`"
        )
    ids = np.array([*head, *tail], dtype=np.int32)
    labels = ids.copy()
    labels[: 1 if config.loss_on == "all" else len(head)] = IGNORED
    return Example(ids, labels)


def _tokenise(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    # Special tokens are the template's business: adding them here would put a second BOS before the response.
    # verbose=False: lengths are checked against `max_length`, not against what the tokenizer was made for.
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return encoded["input_ids"]


def _check_known(
    records: Sequence[Record],
    prompts: list[str],
    prompt_ids: list[list[int]],
    response_ids: list[list[int]],
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
) -> None:
    unk = tokenizer.unk_token_id
    # Byte-level tokenizers name their end token as "unknown" too: there it stands in templates and means no gap.
    if unk is None or unk in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id):
        return
    for record, prompt, head, tail in zip(records, prompts, prompt_ids, response_ids, strict=True):
        for what, text, ids in (("prompt", prompt, head), ("response", record.response, tail)):
            if unk in ids:
                raise DataError(
                    f"{path}, line {record.line}: the tokenizer does not know {_unknown(tokenizer, text, unk)!r} "
                    f"in the {what}: {_cut(text)}; train with the tokenizer that fits the data, or change the row"
                )


def _unknown(tokenizer: PreTrainedTokenizerBase, text: str, unk: int) -> str:
    """The first stretch of `text` that the tokenizer maps to its unknown token."""
    if not tokenizer.is_fast:
        return tokenizer.unk_token
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start, end = encoded["offset_mapping"][encoded["input_ids"].index(unk)]
    return text[start:end] or tokenizer.unk_token
