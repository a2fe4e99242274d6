"""The English round arithmetic: words that link an operation with its result, that drop it, refuse it, restart or check it."""

from __future__ import annotations

import re


def _words(text: str) -> list[str]:
    return text.split()


_STEMS = _words(
    "equal give yield leave make produce return total reach get come become bring take land hit result evaluate amount"
    " sum work add turn end put run have go"
)
_FORMS = {
    form
    for stem in _STEMS
    for e in [stem.removesuffix("e")]
    for form in (stem, stem + "s", stem + "es", e + "ing", e + e[-1] + "ing", e + "ed")
}
LINK_VERBS = frozenset(_FORMS) | set(
    _words(
        "is are was were be being would will that's it's which's gave made got left brought took came became has"
        " that'd it'll"
    )
)
LINK_FILLERS = frozenset(
    _words(
        "me us you it we i one that this which to at out up down in into only just exactly about roughly approximately around"
        " nearly almost already still even now also again then so a an the of for total sum result value product difference"
        " quotient actually going equal back really simply precisely with as and can could there thus hence therefore by whole"
        " full neat nice same"
    )
)
PREPOSED = {
    "add": ("+", {"to", "and", "with"}),
    "subtract": ("-", {"from"}),
    "take": ("-", {"from", "off"}),
    "remove": ("-", {"from"}),
    "multiply": ("*", {"by", "with", "and"}),
    "divide": ("/", {"by"}),
    "sum": ("+", {"and"}),
    "product": ("*", {"and"}),
    "difference": ("-", {"and"}),
    "quotient": ("/", {"and"}),
}  # word -> operator, what stands between its two numbers
PREPOSED_FORMS = {
    form: rule
    for stem, rule in PREPOSED.items()
    for e in [stem.removesuffix("e").removesuffix("y")]
    for form in (
        [stem]
        if stem in ("sum", "product", "difference", "quotient")
        else [stem, stem + "ing", e + "ing", stem + "s", e + "ed", stem + "ed"]
    )
}
TURNED = {"from", "off"}  # "5 from 20" takes the first away from the second

NO_LINK = frozenset(
    _words("not no isn't wasn't never than from need needs want wants without instead but or if when while")
) | {"nor"}
NOT_A_RESULT = frozenset(_words("more less short too off away above below under numbers times ways steps left-over of"))
UNKNOWN_NAMES = frozenset(_words("target goal n x y t the our my what"))

# A verdict on an operation whose result is not stated: it was begun and left.
DROPPED = re.compile(
    r"[\s$`*)\]\\(,;:?→–—-]{0,6}(?:(?:which|that|this|it|and|but|probably|also)[ ,]+)*"
    r"(?:(?:is|'s|was|would be|will be|goes|gets|looks|seems|comes out|ends up|feels"
    r"|gives (?:a number|something)|makes (?:a number|something)|would)[ ,]+)?"
    r"(?:(?:already|still|clearly|obviously|far|way|much|just|also|a bit|again|probably|simply|certainly"
    r"|well|hm+|um|uh|oh)[ ,.…]+)*"
    r"(?:too\b|no\b|nope\b|nah\b|not\b|never\b|over \d|above \d|below \d|under \d|in the (?:hundreds"
    r"|thousands)|(?:past|beyond|more than|less than|above|below|short of|greater than) |blow"
    r"|out of|gigantic|enormous|massive|larger|bigger|smaller|huge\b|hopeless"
    r"|overshoot|exceed|undershoot|doesn't|does not|won't|will not|isn't|can't|cannot|useless|impossible"
    r"|negative|scratch"
    r"|forget|skip|✗|❌|✘|nowhere|wrong)",
    re.IGNORECASE,
)
TRAILS_OFF = re.compile(
    r"[\s$`*)\]\\]*(?:\.{2,}|…|—|\\l?dots)[^0-9]{0,30}?\b(?:no|nope|nah|hmm+|not|too|scratch|wait|forget|never|won't|doesn't|skip)\b",
    re.IGNORECASE,
)
MENTIONED = re.compile(
    r"\b(?:drop|dropping|forget|discard|abandon|scrap|skip|without|instead of|rather than|remove|undo"
    r"|unlike|avoid|used"
    r"|ruled out|away from|keep|keeping|kept|the)[\s$`*(\\]*(?:the |that |my )?[\s$`*(\\]*$",
    re.IGNORECASE,
)

# Words that refuse the partial result at hand, so that the next operation starts elsewhere.
RESTART = re.compile(
    r"\binstead\b|\bstart(?:ing)? (?:over|again|afresh|anew)|\bstart from (?:the )?(?:scratch|beginning)"
    r"|\bfrom scratch\b"
    r"|\bback to (?:the )?(?:start|beginning|square|drawing|original|full)|\bsame (?:defect|problem|issue"
    r"|flaw|trouble)"
    r"|\binvalid\b|\bnot allowed\b|\bcheat|\bscrap\b|\bforget (?:that|it|about)|\bundo\b|\breset\b"
    r"|\b(?:another|different|new|other|next|fresh) (?:way|approach|idea|attempt|try|option|route|path"
    r"|strategy|angle|combination|start|plan|thought)"
    r"|\b(?:something|somewhere|anything) else\b|\bdead[ -]end\b|\b(?:drop|abandon|discard|ditch)\b"
    r"|\b(?:attempt|option|approach|candidate|idea|plan|case|route|trial|try) (?:#? ?\d+|[a-h]\b"
    r"|one|two|three|four|five)"
    r"|\bwhat if\b.*\bfirst\b|\bback up\b|\bbacktrack",
    re.IGNORECASE | re.MULTILINE,
)
REFUSED = re.compile(
    r"^[\s$`*)\]\\.,;:(–—!-]*(?:(?:which|that|this|it|and|but|so|hmm+|well|ugh|argh|oh|still|is|'s|way"
    r"|far|much|a|bit|just|already|of no|not)[ ,.…]+)*"
    r"(?:no\b(?! (?:wait|problem))|nope|nah\b|too (?:big|large|high|low|small|far|much|little)|✗|❌|✘"
    r"|×(?!\s*\d)|useless|no use|unhelpful"
    r"|helpful|doesn't (?:help|work|lead|fit)|does not (?:help|work|lead|fit)|won't (?:work|help|do)"
    r"|hopeless|silly|bad\b|pointless|no good"
    r"|doesn't look|wrong)",
    re.IGNORECASE,
)
CHECKING = re.compile(
    r"\b(?:re|double[- ]?)?check|\bverif|\bconfirm|\bre-?calculat|\brecomput|\bsanity|\bproof\b"
    r"|\bindeed\b|\byes\b|\bto be sure\b"
    r"|\bto sum(?:marise|marize| up)|\bin (?:total|summary|other words)\b|\bput(?:ting)? (?:it |them "
    r"|this |that )?(?:all )?together"
    r"|\bas (?:one|a single) (?:line|expression|equation)|\bwritten out|\bso the (?:answer|equation|expression|solution)",
    re.IGNORECASE,
)
AGAIN = re.compile(r"\bagain\b|\bretry|\bre-?try|\bonce more|\btry\b|\bback\b", re.IGNORECASE)
WANTED = re.compile(
    r"\b(?:need|want|require|looking for|look for|after|missing|find|reach|make|get|remains?"
    r"|aim(?:ing)? (?:for|at))(?:s|ed|ing)?"
    r" (?:to (?:make|get|find|reach|form|build|produce|hit) |for )?"
    r"(?:just |only |exactly |about )?(?:a |an |the |another )?(?P<n>-?\d+)\b",
    re.IGNORECASE,
)
WISHED = re.compile(
    r"\b(?:need|want|if (?:i|we)|could (?:i|we)|can (?:i|we)|so (?:i|we)'?d?"
    r"|would need|require|looking|missing|have to (?:make|build|find)|\d (?:from|out of|made (?:of|from)|using)\b)",
    re.IGNORECASE,
)
CLAIMED_ANSWER = re.compile(
    r"\b(?:(?:final|the|my|our|complete|full|resulting|one)\s+)*(?:answer|equation|expression|solution"
    r"|formula|result|final)\b"
    r"[\s*_#`:=–—-]*(?:\b(?:is|are|reads|becomes|would be|will be|was|then|therefore|thus|so)\b[\s*_`:,]*)*",
    re.IGNORECASE,
)
GAVE_UP = re.compile(
    r"\b(?:no solution|no valid|unable|cannot find|can't find|could not find|couldn't find|can(?:no"
    r"|')t (?:be|reach|make|see)|give up|giving up|gave up"
    r"|not possible|impossible|no combination|don't believe|do not believe|out of ideas|without success|leave it)",
    re.IGNORECASE,
)
