"""The micro-world's tokenizer: one id a word, integers 0-99 whole, a chat template with generation markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import DOMAINS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<eos>", "<unk>", "<user>", "<assistant>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<user> {{ message['content'] }} "
    "{% elif message['role'] == 'assistant' %}<assistant> {% generation %}{{ message['content'] }} <eos>{% endgeneration %} "
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def vocabulary() -> list[str]:
    """Every word, in a fixed order: special tokens, then the domains' words."""
    return list(dict.fromkeys((*SPECIAL, *(w for d in DOMAINS.values() for w in d.words))))


def build() -> PreTrainedTokenizerFast:
    """The tokenizer; unknown words become `<unk>`, which the loaders of records refuse."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(vocabulary())}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    fast.add_special_tokens({"additional_special_tokens": ["<user>", "<assistant>"]})
    fast.chat_template = CHAT_TEMPLATE
    fast.model_max_length = 384
    return fast
