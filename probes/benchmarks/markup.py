"""What dresses up an answer and says nothing: Markdown, LaTeX's fonts, tags, brackets and colons of another width."""

from __future__ import annotations

import re

_WIDE = str.maketrans({"：": ":", "（": "(", "）": ")", "＝": "=", "’": "'", "‘": "'", "“": '"', "”": '"'})
_ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]*(?:\s[^<>\n]*)?/?>|<\|[a-z_]{1,40}\|>")
_FONT = re.compile(r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mathsf|mathit|bf|rm|it|displaystyle|mbox)\b")
_BLANK = re.compile(r"\\\\|\\(?:[ ,;:!]|quad\b|qquad\b)|~(?=[\\A-Za-z0-9])")
_MARKUP = re.compile(r"[*_`$#]|\\[(\[)\]]|[{}]")
_BOX = re.compile(r"\\(?:boxed|fbox)\b\s*")
_BRACE = re.compile(
    r"(?P<box>\\(?:boxed|fbox)\s*\{)|(?P<short>\\(?:boxed|fbox)\s*(?P<held>[A-Z]\b|[0-9]+))|(?P<brace>[{}])|\\(?:[{}]|\\(?!boxed|fbox))"
)


def plain(text: str) -> str:
    """A text without its markup; `<answer>…</answer>` reads "answer: …" on a line of its own, a box as what it holds."""
    text = _ANSWER_TAG.sub(r"\nanswer: \1\n", text.translate(_WIDE))
    text = _BOX.sub(" ", _TAG.sub("", text))
    return _MARKUP.sub("", _BLANK.sub(" ", _FONT.sub("", text))).strip()


def boxes(text: str, *, short: bool = False) -> list[str | None]:
    r"""What stands in each `\boxed{…}` and `\fbox{…}`, braces matched, as they open; None where one is cut off.

    `short`: also what follows `\boxed25` and `\boxed B`. One pass, however many are opened and never closed.
    """
    found: dict[int, str | None] = {}
    open_: list[
        tuple[int, int] | None
    ] = []  # of boxes where they begin and where their content does; None: another group
    for match in _BRACE.finditer(text):
        if match["box"]:
            found[match.start()] = None
            open_.append((match.start(), match.end()))
        elif match["short"]:
            if short:
                found[match.start()] = match["held"]
        elif match["brace"] == "{":
            open_.append(None)
        elif match["brace"] and open_ and (box := open_.pop()) is not None:
            found[box[0]] = text[box[1] : match.start()].strip()
    return [found[at] for at in sorted(found)]
