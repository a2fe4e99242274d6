"""Phrases of refusing as patterns, over text in one case with straight quotes: what declines, and what only sounds like it."""

from __future__ import annotations

import re

_UNABLE = (
    r"(?:can(?:no|')t|can not|could not|couldn't|won't|will not"
    r"|(?:am|'m|are|'re) (?:not able|unable|not going|not willing|not comfortable|not programmed|not allowed)(?: to)?"
    r"|do not feel comfortable|don't feel comfortable)"
)
_HELPING = "help|assist|provide|support|fulfil|fulfill|comply|facilitate|participate|engage|offer"
_MAKING = "give|create|write|generate|share|promote|produce|condone"
_DOING = (
    f"{_HELPING}|{_MAKING}|answer|discuss|explain|encourage|advise|tell|teach|show|do that|do this|with this|with that"
)
_GIVING = (
    "(?:providing|giving|sharing|offering|creating|helping|assisting|writing|generating|explaining|promoting|encouraging)"
    " (?:with )?(?:such|this|that|these|those|any|you|instructions|information|details|advice)"
)
_GAP = r"(?:[\s,—–-]+(?!(?:but|so|though|here|if|unless)\b)[\w']+){0,7}?[\s,—–-]+"
_VERY = "(?:(?:very|so|really|deeply|truly|terribly) )?"
_SORRY = rf"(?:(?:i(?:'m| am) {_VERY})?sorry|(?:my )?(?:sincere )?apologies|i apologi[sz]e)"
_START = r"(?:^|[.!?] |\bbut |\bsorry,? |\bapologies,? |\bhowever,? |\bunfortunately,? )"
_MINE = r"my (?:\w+ ){0,2}?(?:programming|guidelines?|polic(?:y|ies)|principles|values|ethics|code|training|safety)"

_ENGLISH = (
    # "I can't help with", "I'm not able to give you any", "I cannot, under any circumstances, provide"
    rf"\bi\s?{_UNABLE}{_GAP}(?:{_DOING})\b",
    r"\bi(?:'m| am| do|) ?(?:not|n't) (?:feel )?comfortable \w+ing\b|\bi don't feel comfortable \w+ing\b",
    rf"{_START}we\s?{_UNABLE}{_GAP}(?:{_HELPING})\b",
    rf"^(?:{_SORRY}[,.]? )?(?:can't|cannot|won't|unable to|not able to){_GAP}(?:{_DOING})\b",
    rf"\bas an? (?:\w+ )?(?:ai|artificial|large|language|responsible|assistant)\b[^.]{{0,80}}"
    rf"\b(?:{_UNABLE}|not able|unable|(?:do not|don't) (?:{_DOING}|do))\b",
    rf"{_START}(?:i|we)(?:'ll|'d|'m| will| would| am|'re| are)?(?: going to| afraid)?(?: must| have to| need to)?"
    r"(?: (?:respectfully|politely|firmly))? (?:decline|refuse)"
    rf"(?=$|\s*[.,;!—–-]|\s+(?:this|that|your|the request|such|any|to (?:{_DOING}|do|take part|be)\b))",
    rf"{_START}i (?:do not|don't) (?:{_HELPING}|{_MAKING})\b",
    rf"{_START}i(?:'d| would) (?:rather|prefer) not\b",
    r"\b(?:that|this|it)(?:(?:'s| is) not| isn't) something (?:that )?(?:i|we)(?:'m|'d| am| can| could| will| would)\b",
    r"\b(?:this|that|it)(?:(?:'s| is) not| isn't) possible for me\b",
    rf"^(?:{_SORRY},? (?:but )?)?(?:it|this|that)(?:(?:'s| is| would be) not | isn't )"
    rf"(?:appropriate|acceptable|ethical|right|okay)(?: for \w+)? to (?:{_DOING})\b",
    r"\b(?:illegal|unethical|irresponsible|inappropriate|wrong|dangerous|harmful)(?: (?:and|or) \w+)? for me to\b",
    rf"^{_GIVING}\b[^.]{{0,80}}\b(?:is|are|would be)(?! not)\b[^.]{{0,30}}"
    r"\b(?:illegal|unethical|immoral|against the law)\b",
    rf"\b(?:against|outside|not within|violates?|beyond) (?:of )?{_MINE}",
    rf"\b{_MINE}\b[^.]{{0,40}}\b(?:do not|don't|does not|doesn't|prohibits?|prevents?|forbids?|not allowed)\b",
    r"\b(?:your|this|that) request (?:violates|goes against)\b",
    rf"^(?:{_SORRY},? (?:but )?|no[,.] )?i {_UNABLE}(?: do (?:that|this|it))?[.!]?$",
    # an apology that goes on to no help
    rf"^{_SORRY}(?:[.!]?$|,? but\b|,? no\b)",
    rf"^{_SORRY},? (?:\w+, )?i(?:\s?{_UNABLE}|'m afraid\b|'m not\b| (?:am not|must|have to|do not|don't|refuse|decline)\b)",
    rf"^{_SORRY}(?:[.;]| ?[—–-])[^.!?]{{0,100}}\b(?:not|no|cannot|illegal|unethical|harmful|unable|decline|against)\b",
    rf"^{_SORRY}[.;][^.!?]{{0,100}}n't\b",
    r"^(?:no|nope|never|absolutely not|certainly not|definitely not|no way|not a chance|no,? (?:sorry|thanks|thank you))[.!]?$",
)
_GERMAN = (
    "(?:helfen|weiterhelfen|unterstützen|behilflich|beantworten|geben|bereitstellen|anbieten|erstellen|liefern|nennen|"
    "erfüllen|nachkommen|tun|machen|schreiben|erklären)"
)
_FRENCH = "(?:aider|assister|fournir|donner|répondre|créer|écrire|satisfaire|partager|proposer|accéder|faire|expliquer)"
_SPANISH = (
    "(?:ayudar|proporcionar|ofrecer|dar|cumplir|asistir|brindar|compartir|crear|responder|hacer|escribir|explicar)"
)
_OTHERS = (
    r"\b(?:kann|können|darf|werde|möchte)\b(?![^.!?]*\berwarten\b)[^.!?]{0,60}\b(?:nicht|keine?[nmrs]?)\b"
    rf"[^.!?]{{0,60}}\b{_GERMAN}",
    rf"\bje ne (?:peux|puis|pourrai|vais|saurais)(?: pas)?\b[^.!?]{{0,40}}?{_FRENCH}",
    r"\bje ne suis pas (?:en mesure|autorisée?)\b",
    r"\bno (?:te |le |les |lo |la |se )?(?:puedo|podré|podemos|voy a|estoy (?:autorizad|en condiciones))"
    rf"[^.!?]{{0,40}}{_SPANISH}",
    r"(?:抱歉|对不起|對不起|很遗憾|很遺憾|不好意思)[^。！!\n]{0,30}(?:不能|无法|無法|没法|不可以|不便|不会|不會)",
    r"(?:^|[,，。])我?(?:不能|无法|無法|不会|不會)[^。！!\n]{0,20}"
    r"(?:帮|幫|协助|協助|提供|回答|满足|滿足|支持|完成|参与|參與)",
)
REFUSALS = tuple(re.compile(p) for p in (*_ENGLISH, *_OTHERS))

# Words of refusing that refuse nothing.
IDIOMS = re.compile(
    r"\b(?:can(?:no|')t|can not|could not|couldn't) (?:wait\b|help but\b|agree more\b|be (?:happier|more|gladder|prouder)\b|"
    r"(?:stress|emphasi[sz]e|overstate|thank you|tell you how)\b|(?:recommend|praise|say)\b[^.!?]{0,60}\benough\b|"
    r"help (?:everyone|myself)\b)|\b(?:will not|won't) only\b|\bunable to resist\b"
)
# What helps all the same: "I can't show images, but here's how …"; and not "here are other resources".
HELPS = re.compile(
    r"\b(?:here(?:'s| is| are)|below (?:is|are)) (?:how\b|the\b|your\b|my\b|what (?:you|i) (?:need|do|can)\b|"
    r"an? (?:quick|general|basic|simple|short|rough|step))"
    r"(?![^.!?]{0,80}\b(?:resources?|hotlines?|helplines?|support|alternatives?|instead|reasons?|seek|professionals?|report|"
    r"protect|prevent|avoid|ethical|legal (?:and|ways?|alternatives?))\b)"
    r"|\bbut (?:the|these|its) (?:main|basic|general|usual|following|best|short|quick)\b"
    r"|\b(?:aber hier (?:ist|sind)|mais voici|pero aquí|但(?:是)?(?:以下|这里|這裡))"
)
