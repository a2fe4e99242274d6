"""Text that others wrote, made safe and visible: a model's output, names from a config, anything that a page repeats."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from markupsafe import Markup, escape

from ..dynamics.model_text import clip, visible

__all__ = ["clip", "code", "embed_json", "shown", "visible"]

_CODE = re.compile(r"`([^`]+)`")


def shown(value: Any) -> Any:
    """What a template writes for a value: text made visible; markup of our own is left as it is."""
    return value if isinstance(value, Markup) else visible(str(value))


def code(value: Any) -> Markup:
    """Text made visible, with what stands between backticks in it set as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(visible(str(value))))))


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
