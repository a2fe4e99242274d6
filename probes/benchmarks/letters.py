"""The letter of a lettered option that a text settles on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .base import LETTERS
from .markup import boxes, plain

_SEVERAL = "several"  # more letters than one where one is to stand
_OPTION = r"(?:option|choice|letter)"
# What names the answer, as against an option that is merely spoken of.
_NAMES = rf"(?:answer(?:\s+to\s+(?:the|this)\s+(?:question|problem))?|(?:correct|right|best|final|chosen)\s+(?:{_OPTION}|one))"
_IS = (
    r"(?:is|was|would\s+be|must\s+be|should\s+be|has\s+to\s+be|will\s+be|seems\s+to\s+be|appears\s+to\s+be|'s)\b"
    r"(?:[\s,]+(?:therefore|thus|then|hence|so|clearly|indeed|simply|definitely|certainly|most\s+likely|likely|probably|actually)\b)?"
)
_SIGN = r"(?:[:=]|[-–—]+(?=\s))"
_BEFORE = rf"(?:(?:the\s+)?{_OPTION}\b\s*)?[\"'(\[<]{{0,3}}"
# What may follow a letter that is an answer, and not the article of "the answer: A car" or the beginning of a name.
_AFTER = (
    r"(?:[\"']?[)\]]|[\"'>]*(?=\s*(?:$|[\n.,;:!?/(&+]|(?:because|since|as|which|and|or|but)\b|[-–—]+\s)))"
    r"|(?<![AI])[\"'>]*(?=[ \t]+[A-Z0-9])"  # "Answer: B Paris"
)
_STATED = re.compile(
    rf"(?i:\b{_NAMES})(?P<said>(?i:\s*{_IS})?\s*{_SIGN}?)\s*(?i:{_BEFORE})(?P<letter>[A-Z])(?![A-Za-z0-9_])(?:{_AFTER})"
)
_SMALL = re.compile(
    rf"(?i:\b{_NAMES}(?:\s+{_IS})?)\s*[:=]\s*[\"'(\[]{{0,2}}([a-z])[\"')\]]{{0,2}}\.?(?=[ \t]*(?:$|\n))"
)
_BRACKETED = re.compile(  # "Answer: 42 (B)"
    rf"(?i:\b{_NAMES}(?:\s+{_IS})?)\s*[:=]?[ \t]*(?P<gap>(?:(?!\([A-Z]\))[^\n]){{1,80}})"
    r"\((?P<letter>[A-Z])\)\.?(?=[ \t]*(?:$|\n))"
)
_IS_RIGHT = re.compile(
    rf"(?:^|[.!?\n][ \t]*|(?i:\b(?:so|thus|hence|therefore),?\s+|\b{_OPTION}\s+))"
    r"[\"'(\[]{0,2}(?P<letter>[A-Z])[\"')\]]{0,2}\s+is\s+(?:(?:clearly|indeed|therefore|thus)\s+)?(?P<the>the\s+)?(?:only\s+)?"
    rf"(?:(?:correct|right|best)(?:\s+(?:{_NAMES}|{_OPTION}|one))?|(?<=\bthe\s)answer)(?=\s*(?:$|[.,;:!\n]|because\b|since\b|as\b))"
)
_MENTIONED = re.compile(
    rf"(?i:(?P<verb>^|[\n.,:]\s*|\b(?:is|be|so|thus|hence|therefore|choose|chose|pick|select|for|with|on)\s+(?:the\s+)?)"
    rf"{_OPTION}(?P<said>\s+{_IS}|\s*{_SIGN})?)\s*[\"'(\[]{{0,2}}(?P<letter>[A-Z])[\"')\]]{{0,2}}"
    r"(?=\s*(?:$|\n|[.!?](?:\s|$)|because\b|since\b))"
)
_CHOSEN = re.compile(
    r"\bI(?:\s+(?:would|will)|'d|'ll)?\s+(?:choose|pick|select|go\s+with)\s+[\"'(\[]{0,2}(?P<letter>[A-Z])[\"')\]]{0,2}"
    r"(?=\s*(?:$|[.,;!\n]))"
)
# In front of a name of the answer: what is said not to be one, or not yet.
_NOT = re.compile(
    r"(?i)(?:\bnot|n't|\bcannot\s+be|\bnever|\bwrong|\bincorrect|\bunlike|\beliminat\w+|\bdiscard\w*|\breject\w*|\brul\w+\s+out|"
    r"\bneither|\bnor|\bexcept|\bif|\bwhether|\bsuppos\w+|\bassum\w+|\binstead\s+of|\brather\s+than)"
    r"(?:\s+(?:be|that|the|an?|for|both|other|any|correct|right|best|final)){0,3}\s*$"
)
_NEGATED = re.compile(r"(?i)\b(?:not|neither|nor|except|wrong|incorrect|unlike|cannot)\b|n't\b")
_OTHER = re.compile(
    r"[\"'.]?[)\]\"']{0,2}(?:[ \t]*(?:,|/|&|\+|\band\b|\bor\b)[ \t]*(?:\b(?:and|or)\b[ \t]*)?|[ \t]+)"
    r"[\"'(\[]{0,2}([A-Z])[\"')\]]{0,2}(?=[ \t]*(?:$|[\n.,;!?/&+]|and\b|or\b))"
)
_ALONE = re.compile(
    rf"(?i:(?:{_NAMES}|{_OPTION})\s*{_SIGN}?\s*)?[\"'(\[]{{0,2}}([A-Za-z])(?P<rest>[\"')\]]{{0,2}}(?:[.:)].*|\s+\(.*)?)$"
)
_BARE = re.compile(r"[\"'(\[]{0,2}([A-Z])[\"')\]]{0,2}[.:)]?$")
_LISTED = re.compile(rf"(?i:{_OPTION}\s+)?\(?([A-Z])(?:\)|(?P<mark>[.:]))\s*(?P<text>.*)$")


def stated_letter(text: str, count: int) -> str | None:
    """The option that a text settles on; None where it names none, or several, of the first `count` letters.

    The first of these that there is decides, by its last: a box; what is called the answer ("Answer: C", "the answer is (C)", "C
    is the correct answer"); an option that is chosen ("I go for option C", "(C) is correct"); a letter alone on the last or the
    first line, or a last line "C) Paris" that ends no list. What is said not to be the answer is none, a letter somewhere in a
    sentence is none, and an "A" before another word is taken for the article.
    """
    said = plain(text)
    for read in (_boxed(text, count), _answers(said), _options(said)):
        if found := list(read):
            return _one(found[-1], count)
    return _one(_line(text) or "", count)


def _one(letter: str, count: int) -> str | None:
    return letter if letter and letter in list(LETTERS[:count]) else None


def _boxed(text: str, count: int) -> Iterator[str]:
    for box in boxes(text, short=True):
        content = plain(box or "")
        if (match := _ALONE.match(content)) is None:
            several = re.fullmatch(r"\(?[A-Z]\)?(?:\s*(?:,|and|or|/)\s*\(?[A-Z]\)?)+", content)
            if several:
                yield _SEVERAL
            continue
        letter = match[1]
        if letter.isupper() or letter.upper() in LETTERS[:count]:  # of small letters, those of variables are none
            yield letter.upper()


def _answers(said: str) -> Iterator[str]:
    found: list[tuple[int, str]] = []
    for match in _STATED.finditer(said):
        if not _dropped(said, match) and (match["said"].strip() or _is_heading(said, match.start())):
            found.append((match.end("letter"), _alone_or_several(said, match)))
    read = {at for at, _ in found}
    found += [(m.end(1), m[1].upper()) for m in _SMALL.finditer(said) if not _dropped(said, m)]
    for match in _BRACKETED.finditer(said):
        if not _dropped(said, match) and not _NEGATED.search(match["gap"]) and match.end("letter") not in read:
            found.append((match.end("letter"), match["letter"]))
    found += [(m.end("letter"), m["letter"]) for m in _IS_RIGHT.finditer(said) if m["the"]]
    yield from [letter for _, letter in sorted(found)]


def _options(said: str) -> Iterator[str]:
    found = [(m.end("letter"), m["letter"]) for m in _IS_RIGHT.finditer(said) if not m["the"]]
    found += [(m.end("letter"), m["letter"]) for m in _MENTIONED.finditer(said) if not _dropped(said, m, "verb")]
    found += [(m.end("letter"), m["letter"]) for m in _CHOSEN.finditer(said)]
    yield from [letter for _, letter in sorted(found)]


def _dropped(said: str, match: re.Match[str], begin: int | str = 0) -> bool:
    """Whether what stands in front says that this is not the answer."""
    at = match.start() if begin == 0 else match.end(begin)
    return _NOT.search(said, max(0, at - 80), at) is not None


def _is_heading(said: str, at: int) -> bool:
    """Without "is" or a colon, the word has to open its line or to be qualified: "is the answer C?" states nothing."""
    before = said[:at].rpartition("\n")[2]
    return not before.strip(" \t#>-") or re.search(r"(?i)\b(?:final|correct|right|best|my)\s*$", before) is not None


def _alone_or_several(said: str, match: re.Match[str]) -> str:
    other = _OTHER.match(said, match.end("letter"))
    return _SEVERAL if other is not None and other[1] != match["letter"] else match["letter"]


def _line(text: str) -> str | None:
    """A letter on the last line or, where there is none, alone on the first."""
    raw = [line.strip() for line in text.splitlines() if plain(line)]
    lines = [plain(line) for line in raw]
    if not lines:
        return None
    if bare := _BARE.match(lines[-1]):
        return bare[1]
    if listed := _LISTED.match(lines[-1]):
        before = [m[1] for line in lines[:-1] if (m := _LISTED.match(line)) is not None]
        of_a_list = bool(before) and before[-1] < listed[1]
        bold = raw[-1].startswith("**") and raw[-1].endswith("**")
        initial = listed["mark"] is not None and (not bold or listed[1] in "AI")  # "E. coli", "A: yes"
        if not of_a_list and not initial and not _NEGATED.search(listed["text"]):
            return listed[1]
    bare = _BARE.match(lines[0])
    return bare[1] if bare else None
