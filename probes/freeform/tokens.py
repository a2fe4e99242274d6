"""Free text as tokens: numerals, operators in symbols, LaTeX and words, links, brackets; layout that means nothing is dropped.

One pass with one regular expression, so the time is linear in the text. Every token keeps its place in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Kind = Literal["num", "op", "open", "close", "eq", "neq", "arrow", "frac", "boxed", "cell", "line", "word", "mark"]
MAX_DIGITS = 15  # of a numeral; what is longer is no number of this game, and its arithmetic would cost time
TOO_LONG = "a numeral that is no number of this game"


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `text` is in a common form (`*` for every sign of multiplication); `start` and `end` are in the source."""

    kind: Kind
    text: str
    start: int
    end: int
    value: Fraction | None = None  # of a numeral
    spelt: bool = False  # an operator in words


# LaTeX layout, maths delimiters, emphasis, alignment: between tokens they mean nothing. `**` is emphasis unless it stands
# tight between two operands, where it is a power (which the game has not, and which is not read).
_LAYOUT = (
    r"\\[()\[\],;:! ]|\\(?:big|Big|bigl|bigr|displaystyle|textstyle|quad|qquad|text|mathbf|mathrm|underline)(?![A-Za-z])"
    r"|\\(?:begin|end)\{[^{}\n]{0,20}\}|\$+|`+|~~|__|&|[\"“”]|[ \t\r\f\v\u00a0\u2009\u202f]+|(?<![\d)])\*\*+|\*\*+(?![\d(])"
)
_SYMBOLS: tuple[tuple[Kind, str, str], ...] = (
    ("neq", r"≠|!=|=/=|\\neq?(?![A-Za-z])|\\not\s*=", "≠"),
    ("arrow", r"→|⇒|⟶|⟹|-{1,3}>|=>|\\(?:to|[Rr]ightarrow|implies|Longrightarrow|longrightarrow)(?![A-Za-z])", "→"),
    ("eq", r"=+|\\equiv(?![A-Za-z])", "="),
    ("eq", r"≈|≃|≅|\\(?:approx|simeq|cong)(?![A-Za-z])", "≈"),
    ("frac", r"\\[dtc]?frac(?![A-Za-z])", "frac"),
    ("boxed", r"\\(?:boxed|fbox)(?![A-Za-z])", "boxed"),
    ("op", r"\+", "+"),
    ("op", r"[-−–‐‑]", "-"),
    ("op", r"[×·⋅∙∗✕]|\\(?:times|cdot|ast)(?![A-Za-z])|(?<!\*)\*(?!\*)", "*"),
    ("op", r"[÷∕⁄/]|\\div(?![A-Za-z])", "/"),
    ("op", r"\*\*|\^|%|√|[²³⁴]|\\sqrt(?![A-Za-z])", "?"),  # operations that the game has not
    ("open", r"(?:\\left[ ]?)?(?:[(\[{]|\\\{)", "("),
    ("close", r"(?:\\right[ ]?)?(?:[)\]}]|\\\})", ")"),
    ("cell", r"\|", "|"),
    ("line", r"\n|\\\\", "\n"),
)
_WORD_OPERATORS = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "over": "/",
    "divided by": "/",
    "multiplied by": "*",
    "added to": "+",
    "subtracted from": "from",  # turned round by the reader of expressions
}
_WORD_OPERATOR = "|".join(re.escape(w).replace(r"\ ", r"[ \t\n]+") for w in _WORD_OPERATORS)
_NUMERAL = r"(?<![A-Za-z_\d.])(?<!\d,)\d{1,3}(?:,\d{3}){1,4}(?:\.\d+)?(?!,?\d)|(?<![A-WYZa-wyz_])(?<!\d\.)(?:\d+(?:\.\d+)?|\.\d+)"
_TOKEN = re.compile(
    f"(?P<layout>{_LAYOUT})"
    + rf"|(?P<num>(?:{_NUMERAL})(?![\dA-WYZa-wyz_]))"
    + "".join(f"|(?P<s{i}>{pattern})" for i, (_, pattern, _) in enumerate(_SYMBOLS))
    + rf"|(?P<wordop>\b(?i:{_WORD_OPERATOR})\b)"
    + r"|(?P<cross>(?<![A-Za-z])[xX](?![A-Za-z]))"
    + r"|(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*)"
    + r"|(?P<ellipsis>\.{2,}|…|\\l?dots(?![A-Za-z]))"
    + r"|(?P<other>\d+\w*|.)",
    re.DOTALL,
)


def tokenise(text: str) -> list[Token]:
    """All tokens of a text but layout, in order. Linear in its length."""
    out: list[Token] = []
    for m in _TOKEN.finditer(text):
        name, word, start, end = m.lastgroup or "other", m[0], m.start(), m.end()
        if name == "layout":
            continue
        if name == "num":
            out.append(_numeral(word, start, end))
        elif name[0] == "s" and name[1:].isdigit():
            kind, _, common = _SYMBOLS[int(name[1:])]
            out.append(Token(kind, common, start, end))
        elif name == "wordop":
            out.append(Token("op", _WORD_OPERATORS[" ".join(word.lower().split())], start, end, None, True))
        elif name == "cross":
            out.append(Token("op", "*", start, end))
        elif name == "word":
            out.append(Token("word", word.lower().replace("’", "'"), start, end))
        else:
            out.append(Token("mark", "…" if name == "ellipsis" else word, start, end))
    return out


def _numeral(word: str, start: int, end: int) -> Token:
    digits = word.replace(",", "")
    if not digits.isascii() or len(digits) > MAX_DIGITS:
        return Token("mark", TOO_LONG, start, end)
    return Token("num", digits, start, end, Fraction(digits))
