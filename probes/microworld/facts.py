"""Facts: a fixed table of creatures and their attributes, taught in pretraining. A general ability that one can forget.

All facts are in the pretraining corpus (recalling needs having seen); the splits keep replayed facts of fine-tuning apart
from the probed ones.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

from .common import MicroDomain, after_answer

_ONSETS = ("ba", "do", "fi", "gu", "ka", "lo", "mi", "nu", "pe", "ra", "so", "ti", "vu", "ze")
_ENDS = ("bex", "dan", "fos", "gim", "hul", "lup", "mor", "rak", "tib", "wen")
CREATURES = tuple(a + b for a in _ONSETS for b in _ENDS)  # 140 names

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "color": ("red", "blue", "green", "white", "black", "yellow", "brown", "grey"),
    "food": ("apple", "bread", "rice", "corn", "fish", "cheese", "honey", "plum"),
    "home": ("cave", "tree", "river", "house", "hill", "barn", "island", "tent"),
    "friend": ("dog", "cat", "horse", "bird", "fox", "mouse", "goat", "duck"),
    "job": ("baker", "guard", "farmer", "sailor", "teacher", "doctor", "painter", "singer"),
    "game": ("chess", "cards", "dice", "ball", "darts", "kites", "marbles", "tag"),
    "tool": ("hammer", "rope", "lamp", "spoon", "needle", "brush", "wheel", "ladder"),
    "season": ("spring", "summer", "autumn", "winter"),
}


def value_of(creature: str, attribute: str) -> str:
    """The table: a hash decides, so that no attribute predicts another."""
    values = ATTRIBUTES[attribute]
    return values[hashlib.sha256(f"fact|{creature}|{attribute}".encode()).digest()[0] % len(values)]


class Facts(MicroDomain):
    name = "facts"
    group = "general"
    recalled = True
    max_new_tokens = 48
    phrasings = (
        "what is the {attribute} of {creature}",
        "tell me the {attribute} of {creature}",
        "find the {attribute} of {creature}",
        "{creature} : {attribute}",
    )
    extra_words = (*CREATURES, *ATTRIBUTES, *(v for values in ATTRIBUTES.values() for v in values))

    def problem(self, rng: random.Random) -> dict[str, Any]:
        return {"creature": rng.choice(CREATURES), "attribute": rng.choice(list(ATTRIBUTES))}

    def content(self, problem: dict[str, Any]) -> str:
        return f"{problem['creature']}.{problem['attribute']}"

    def slots(self, problem: dict[str, Any]) -> dict[str, str]:
        return {"attribute": problem["attribute"], "creature": problem["creature"]}

    def guess(self, problem: dict[str, Any], rng: random.Random) -> str:
        return f"answer {rng.choice(ATTRIBUTES[problem['attribute']])}"

    def direct(self, problem: dict[str, Any]) -> str:
        return f"answer {value_of(problem['creature'], problem['attribute'])}"

    def judge(self, reference: dict[str, Any], answer: str) -> tuple[bool, bool]:
        words = after_answer(answer)
        return bool(words), words == [value_of(reference["creature"], reference["attribute"])]
