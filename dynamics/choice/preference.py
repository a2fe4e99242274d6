"""What a user prefers: `ood_reasoning s.t. refusal >= 0.9 and general >= base - 0.02`, read into an objective and constraints.

preference  =  ["max" | "min"] name ["s.t." constraint {("and" | ",") constraint}]
constraint  =  name (">=" | "<=" | ">" | "<") level
level       =  number ["%"]  |  "base" [("+" | "-") number ["%"]]
name        =  word ["." word]          a group, a domain, domain.metric; in quotes where it holds other signs
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NoReturn, cast

from ..errors import ConfigError

Operator = Literal[">=", "<=", ">", "<"]
_TOKEN = re.compile(
    r"""(?P<such>s\.t\.?(?!\w)|subject\s+to\b|st\b)
    |(?P<op>>=|<=|≥|≤|>|<)
    |(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
    |(?P<name>[^\W\d](?:\w|-(?=[^\W\d]))*)
    |(?P<quoted>"[^"]*"|'[^']*'|`[^`]*`)
    |(?P<sign>[-+−])|(?P<dot>\.)|(?P<comma>,)|(?P<percent>%)""",
    re.VERBOSE,
)
_SIGNS: dict[str, Operator] = {"≥": ">=", "≤": "<="}
_HELP = 'such as "ood_reasoning s.t. refusal >= 0.9 and general >= base - 0.02"'


@dataclass(frozen=True, slots=True)
class Name:
    """A group or domain, and a metric of it where one is named."""

    of: str
    metric: str = ""
    at: int = 0  # character in the preference, from 0

    def __str__(self) -> str:
        return f"{self.of}.{self.metric}" if self.metric else self.of


@dataclass(frozen=True, slots=True)
class Constraint:
    name: Name
    operator: Operator
    level: float  # or, where `to_base`, what is added to the base's own value
    to_base: bool = False

    def __str__(self) -> str:
        if not self.to_base:
            return f"{self.name} {self.operator} {self.level:g}"
        plus = f" {'-' if self.level < 0 else '+'} {abs(self.level):g}" if self.level else ""
        return f"{self.name} {self.operator} base{plus}"


@dataclass(frozen=True, slots=True)
class Preference:
    text: str
    objective: Name
    direction: Literal["max", "min"] | None  # None: not said
    constraints: tuple[Constraint, ...]


def parse(text: str) -> Preference:
    """Read a preference; its names are looked up by who knows the run. Raises ConfigError with the place of a mistake."""
    return _Parser(text).preference()


def mistake(text: str, at: int, what: str) -> NoReturn:
    """Raises the ConfigError of a preference, with a mark under the character where it went wrong."""
    raise ConfigError(f"the preference cannot be used: {what} (character {at + 1})\n  {text}\n  {' ' * at}^")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.next = 0

    def _tokens(self) -> list[_Token]:
        found: list[_Token] = []
        at = 0
        while at < len(self.text):
            if self.text[at].isspace():
                at += 1
                continue
            match = _TOKEN.match(self.text, at)
            if match is None:
                signs = "`==` and `!=` are no constraints on a measured share: " if self.text[at] in "=!" else ""
                mistake(self.text, at, f"{self.text[at]!r} has no meaning here; {signs}write it {_HELP}")
            found.append(_Token(str(match.lastgroup), match.group(), at))
            at = match.end()
        return [*found, _Token("end", "", len(self.text))]

    def preference(self) -> Preference:
        if self.tokens[0].kind == "end":
            raise ConfigError(f"the preference is empty: say what to prefer, {_HELP}")
        direction = None
        if self._is_word("max", "min") and self._peek(1).kind in ("name", "quoted"):
            direction = cast(Literal["max", "min"], self._take().text.lower())
        objective = self._name("what to prefer: a group, a domain or domain.metric")
        constraints: list[Constraint] = []
        if self._peek().kind != "end":
            if self._peek().kind != "such":
                self._expected("`s.t.` before the constraints, or the end")
            self._take()
            constraints.append(self._constraint())
            while self._peek().kind == "comma" or self._is_word("and"):
                self._take()
                constraints.append(self._constraint())
            if self._peek().kind != "end":
                self._expected("`and`, a comma, or the end")
        return Preference(self.text, objective, direction, tuple(constraints))

    def _constraint(self) -> Constraint:
        name = self._name("a constraint: a group, a domain or domain.metric")
        if self._peek().kind != "op":
            self._expected(f"one of >= <= > < after {str(name)!r}")
        sign = self._take().text
        operator = _SIGNS.get(sign, cast(Operator, sign))
        if self._is_word("base"):
            self._take()
            shift = 0.0
            if self._peek().kind == "sign":
                minus = self._take().text != "+"
                shift = -self._number() if minus else self._number()
            return Constraint(name, operator, shift, to_base=True)
        negative = self._peek().kind == "sign" and self._take().text != "+"
        level = self._number()
        return Constraint(name, operator, -level if negative else level)

    def _name(self, what: str) -> Name:
        first = self._peek()
        if first.kind not in ("name", "quoted"):
            self._expected(what)
        of = self._word()
        if self._peek().kind != "dot":
            return Name(of, at=first.at)
        self._take()
        if self._peek().kind not in ("name", "quoted"):
            self._expected(f"a metric after {of + '.'!r}")
        return Name(of, self._word(), first.at)

    def _word(self) -> str:
        token = self._take()
        return token.text[1:-1] if token.kind == "quoted" else token.text

    def _number(self) -> float:
        if self._peek().kind != "number":
            self._expected("a number" if self._peek(-1).kind == "sign" else "a number or `base`")
        value = float(self._take().text)
        if self._peek().kind == "percent":
            self._take()
            value /= 100
        return value

    def _peek(self, ahead: int = 0) -> _Token:
        return self.tokens[min(self.next + ahead, len(self.tokens) - 1)]

    def _take(self) -> _Token:
        token = self._peek()
        self.next += 1
        return token

    def _is_word(self, *words: str) -> bool:
        return self._peek().kind == "name" and self._peek().text.lower() in words

    def _expected(self, what: str) -> NoReturn:
        token = self._peek()
        seen = repr(token.text) if token.kind != "end" else "its end"
        mistake(self.text, token.at, f"expected {what}, not {seen}")
