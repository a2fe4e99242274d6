"""The first training rows as the model will see them, for the eye: what is masked is dim, special tokens stand out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from .data import IGNORED, Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN = 400  # tokens of a row, half of them from its end


def preview(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, n: int = 3, shown: int = SHOWN) -> Text:
    """The first `n` rows decoded: text that carries no loss is dim, special tokens are bold and never left out.

    Of a row of more than `shown` tokens the middle is left out, and said to be. `.plain` is the text without styles.
    """
    text = Text()
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    for number, example in enumerate(examples[:n], start=1):
        length = len(example.input_ids)
        cut = ", cut at `data.max_length`" if example.truncated else ""
        text.append(f"row {number}: {length:,} tokens, {example.labelled:,} carry loss{cut}\n", style="bold cyan")
        head = length if length <= shown else shown // 2
        tail = 0 if length <= shown else shown - head
        for piece, style in _pieces(example.input_ids[:head], example.labels[:head], tokenizer, special):
            text.append(piece, style=style)
        if tail:
            text.append(f"\n[… {length - head - tail:,} tokens …]\n", style="italic")
            for piece, style in _pieces(example.input_ids[-tail:], example.labels[-tail:], tokenizer, special):
                text.append(piece, style=style)
        text.append("\n\n")
    return text


def _pieces(
    ids: np.ndarray, labels: np.ndarray, tokenizer: PreTrainedTokenizerBase, special: set[int]
) -> Iterator[tuple[str, str]]:
    """Stretches of text of one style each, which together are the decoded ids."""
    keys = [(bool(label == IGNORED), int(i) in special) for i, label in zip(ids, labels, strict=True)]
    end, before = 0, ""
    for (masked, is_special), group in groupby(keys):
        end += len(list(group))
        # Decoded from the start every time: the white space between two tokens belongs to neither.
        whole = str(tokenizer.decode(ids[:end].tolist(), skip_special_tokens=False))
        yield whole[len(before) :], " ".join(["dim"] * masked + ["bold"] * is_special)
        before = whole
