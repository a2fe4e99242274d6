"""Text that others wrote, made safe and visible: a model's output, names from a config, anything that a page repeats."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from markupsafe import Markup

LONGEST = 20_000  # characters of one text that a page shows

# Control characters (but tab and newline), line and paragraph separators, marks that turn the writing direction, the
# byte-order mark, lone surrogates: what a reader would not see, or what would change how its neighbours are read.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with every unseen character shown: control characters as their symbols (␀, ␛), others as [U+202E]."""
    return _UNSEEN.sub(_symbol, text.replace("\r\n", "\n"))


def _symbol(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"[U+{code:04X}]"


def clip(text: str, longest: int = LONGEST) -> tuple[str, str]:
    """The text cut at `longest` characters, and a note that says so ("" where nothing was cut)."""
    if len(text) <= longest:
        return text, ""
    return text[:longest], f"cut here: {longest:,} of {len(text):,} characters are shown"


def shown(value: Any) -> Any:
    """What a template writes for a value: text made visible; markup of our own is left as it is."""
    return value if isinstance(value, Markup) else visible(str(value))


def embed_json(value: Any) -> Markup:
    """JSON that can stand inside <script>: nothing in it can close the element, NaN is null, all else is escaped ASCII."""
    text = json.dumps(_no_nan(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _no_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _no_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_no_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
