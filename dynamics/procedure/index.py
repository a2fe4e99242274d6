"""Procedure or style: an index of internalisation against imitation, two checkpoints compared, with the parts it is made of.

Every part is a change on a scale from -1 to 1, so that parts can be averaged:

procedure   *went back*: share of opportunities left by going back, now minus then (a systematic search: 1; a model that met none
            then went back from none; where none is met now, the share of responses that go back)
            *payoff*, *suppression*, *budget*: right answers that going back, or the thinking, buys (shares), now minus then
style       *cues*: unbacked cue words (beyond one a backtrack) per 100 tokens, (now - then) / (now + then + 1)
            *length*: tokens outside backtracks, (now - then) / (now + then): a third is a doubling
            *loops*: mean share of a response's returns that open nothing new (1 where it ends in a loop), now minus then

Words and tokens that a search needs to be written down are not held against it, hence *beyond* and *outside*. Each side is the
mean of its parts; the index is half of procedure minus style: +1 nothing but procedure, -1 nothing but its look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from ..errors import DataError
from ..statistics.intervals import LEVEL, cluster_totals
from ..types import Estimate

Answer = Literal["procedure", "style", "both", "neither", "undecidable"]
SMALL = 0.10  # a side whose upper bound is below it has not grown
FEWEST = 5  # questions with an opportunity, from which on a share of them is estimated
WENT_BACK, CUES, LENGTH, LOOPS = "went back", "cues", "length", "loops"
PAYOFF, SUPPRESSION, BUDGET = "payoff", "suppression", "budget"
PROCEDURE = (WENT_BACK, PAYOFF, SUPPRESSION, BUDGET)
STYLE = (CUES, LENGTH, LOOPS)
METHOD = "jackknife over questions, all item parts together"
ADDED = "; standard errors of the other parts added, as if all moved together"
# What the item parts are read from, by response; `looped`, `cues` and `loops` may be missing.
COLUMNS = ("opportunities", "opportunities_left", "backtracks", "cues", "tokens", "length", "loops", "looped")
Responses = Mapping[str, ArrayLike]  # column -> [N], the same items before and after


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    change: Estimate  # on the part's own side: positive is more procedure, or more style
    note: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    parts: tuple[Part, ...]
    missing: Mapping[str, str]  # part -> why it was not measured
    procedure: Estimate  # means of the parts of a side; undefined without any
    style: Estimate
    index: Estimate
    answer: Answer

    def part(self, name: str) -> Part | None:
        return next((p for p in self.parts if p.name == name), None)


def procedure_index(
    before: Responses,
    after: Responses,
    clusters: Sequence[object] | NDArray | None = None,
    measured: Mapping[str, Part] | None = None,
    missing: Mapping[str, str] | None = None,
) -> Index:
    """The index from the columns of `COLUMNS` by item, and from parts `measured` in other ways.

    One delete-one-question jackknife gives all item parts, both sides and the index, so that their dependence is in the
    intervals (Shao & Tu 1995). How measured parts depend on these is not known: their standard errors are added, which is the
    most that they can make together. Every standard error counts one pseudo-discordant response. The intervals of the two
    sides hold together (Bonferroni), since an answer looks at both. Raises DataError for columns of different lengths.
    """
    measured, why = dict(measured or {}), dict(missing or {})
    sums = _Sums.of(before, after, clusters)
    theta, without, notes = sums.parts(why)
    usable = [name for name in theta if name not in measured]
    n = sums.n
    parts = [
        Part(k, _interval(theta[k], _se(without[k], n[k]), n[k], METHOD), notes.get(k, "")) for k in usable
    ] + list(measured.values())
    order = (*PROCEDURE, *STYLE)
    parts.sort(key=lambda p: order.index(p.name))
    weights = {
        "procedure": _weights(parts, PROCEDURE),
        "style": _weights(parts, STYLE),
    }
    weights["index"] = {k: w / 2 for k, w in weights["procedure"].items()} | {
        k: -w / 2 for k, w in weights["style"].items()
    }
    by_name = {p.name: p.change for p in parts}
    sides = {
        side: _combined(w, by_name, {k: without[k] for k in usable}, n, measured, looks=1 if side == "index" else 2)
        if (weights["procedure"] and weights["style"] if side == "index" else w)
        else Estimate.undefined(0, METHOD)
        for side, w in weights.items()
    }
    for name in order:
        if name not in by_name:
            why.setdefault(name, "not measured")
    return Index(
        tuple(parts),
        {k: v for k, v in why.items() if k not in by_name},
        sides["procedure"],
        sides["style"],
        sides["index"],
        answer(sides["procedure"], sides["style"], sides["index"]),
    )


def answer(procedure: Estimate, style: Estimate, index: Estimate) -> Answer:
    """Procedure, style, both, neither, or undecidable, from intervals.

    A side *grew* if its lower bound is above 0, and *did not* if its upper bound is below `SMALL`: not to see a growth is no
    proof that there was none. Procedure: it grew, and either beyond style (the index's lower bound is above 0) or style did
    not. Style: it grew, and procedure did not, or less than half as much (its upper bound against style's lower). Both: both
    grew otherwise. Neither: neither did.
    """
    if procedure.lo > 0 and (index.lo > 0 or style.hi < SMALL):
        return "procedure"
    if style.lo > 0 and procedure.hi < max(SMALL, style.lo / 2):
        return "style"
    if procedure.lo > 0 and style.lo > 0:
        return "both"
    if procedure.hi < SMALL and style.hi < SMALL:
        return "neither"
    return "undecidable"


def measured_part(name: str, before: Estimate | None, after: Estimate, why_no_base: str = "") -> Part:
    """A part from numbers measured at both checkpoints; where the first has none, the later one as it stands.

    The two are of the same questions in an unknown way: their half widths are added.
    """
    if before is None or not before.defined:
        note = why_no_base or "as it stands at the end: the first checkpoint has none"
        return Part(name, after, note)
    value, half = after.value - before.value, (after.hi - after.lo + before.hi - before.lo) / 2
    n = min(after.n, before.n)
    return Part(
        name, Estimate(value, max(value - half, -1.0), min(value + half, 1.0), n, f"{after.method}; half widths added")
    )


# ---------------------------------------------------------------- parts


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums over the responses of each question, before and after: [C] each."""

    columns: Mapping[str, tuple[NDArray, NDArray]]
    size: NDArray  # [C] responses

    @classmethod
    def of(cls, before: Responses, after: Responses, clusters: Sequence[object] | NDArray | None) -> _Sums:
        names = [c for c in COLUMNS if c in before and c in after]
        arrays = {c: (np.asarray(before[c], float), np.asarray(after[c], float)) for c in names}
        lengths = {len(x) for pair in arrays.values() for x in pair}
        if len(lengths) > 1 or (clusters is not None and lengths and len(clusters) not in lengths):
            raise DataError(
                f"columns of different lengths {sorted(lengths)}: give the same responses in each, in order"
            )
        count = lengths.pop() if lengths else 0
        ids = np.arange(count) if clusters is None else np.asarray(clusters)
        derived = {k: (_derived(k, arrays, 0), _derived(k, arrays, 1)) for k in _SUMMED if _needs(k) <= set(arrays)}
        totals = {
            k: (cluster_totals(a[:, None], ids)[0][:, 0], cluster_totals(b[:, None], ids)[0][:, 0])
            for k, (a, b) in derived.items()
        }
        return cls(totals, cluster_totals(np.ones((count, 1)), ids)[0][:, 0] if count else np.zeros(0))

    @property
    def n(self) -> dict[str, int]:
        """Questions behind each part: with opportunities, at the checkpoint that has fewer of them (but none)."""
        every = len(self.size)
        met = [int((x > 0).sum()) for x in self.columns.get("met", (np.zeros(0),) * 2)]
        back = min([m for m in met if m]) if len(met) == 2 and met[1] else every
        return {WENT_BACK: back, CUES: every, LENGTH: every, LOOPS: every}

    def parts(self, why: dict[str, str]) -> tuple[dict[str, float], dict[str, NDArray], dict[str, str]]:
        """Values, values without each question [C], and notes; `why` gets what could not be had."""
        theta: dict[str, float] = {}
        without: dict[str, NDArray] = {}
        notes: dict[str, str] = {}
        if len(self.size) < 2:
            return theta, without, notes
        if "met" in self.columns:
            then, now = (int((x > 0).sum()) for x in self.columns["met"])
            if now == 0 and "went" in self.columns:
                self._add(WENT_BACK, theta, without, how=ANY)
                notes[WENT_BACK] = "no dead end was met at the end: share of responses that go back at all"
            elif now < FEWEST or 0 < then < FEWEST:
                few, at = (now, "at the end") if now < FEWEST else (then, "at first")
                why[WENT_BACK] = f"only {few} questions met a dead end {at}"
            else:
                self._add(WENT_BACK, theta, without)
                if then == 0:
                    notes[WENT_BACK] = "the first checkpoint met no dead end"
        for name, column in ((CUES, "unbacked"), (LENGTH, "length"), (LOOPS, "idle")):
            if column in self.columns:
                self._add(name, theta, without)
        return theta, without, notes

    def _add(self, name: str, theta: dict[str, float], without: dict[str, NDArray], how: str = "") -> None:
        whole = {k: (np.array([a.sum()]), np.array([b.sum()])) for k, (a, b) in self.columns.items()}
        left = {k: (whole[k][0] - a, whole[k][1] - b) for k, (a, b) in self.columns.items()}
        size = np.array([self.size.sum()])
        theta[name] = float(_value(how or name, whole, size)[0])
        without[name] = _value(how or name, left, size - self.size)


_SUMMED = ("met", "left", "went", "unbacked", "tokens", "length", "idle")
ANY = "goes back at all"


def _needs(column: str) -> set[str]:
    return {
        "met": {"opportunities", "opportunities_left"},
        "left": {"opportunities", "opportunities_left"},
        "went": {"backtracks"},
        "unbacked": {"cues", "backtracks", "tokens"},
        "tokens": {"tokens"},
        "length": {"length"},
        "idle": {"loops", "backtracks"},
    }[column]


def _derived(column: str, arrays: Mapping[str, tuple[NDArray, NDArray]], k: int) -> NDArray:
    """[N] of one checkpoint; responses in which something is unknown add nothing."""
    get = {name: pair[k] for name, pair in arrays.items()}
    if column in ("met", "left"):
        known = ~np.isnan(get["opportunities"] + get["opportunities_left"])
        return np.where(known, get["opportunities" if column == "met" else "opportunities_left"], 0.0)
    if column == "went":
        return (get["backtracks"] > 0).astype(float)
    if column == "unbacked":
        return np.nan_to_num(np.maximum(get["cues"] - get["backtracks"], 0.0))
    if column == "idle":
        returns = get["loops"] + get["backtracks"]
        share = np.where(returns > 0, get["loops"] / np.maximum(returns, 1.0), 0.0)
        return np.nan_to_num(np.maximum(share, get["looped"]) if "looped" in get else share)
    return np.nan_to_num(get[column])


def _value(name: str, sums: Mapping[str, tuple[NDArray, NDArray]], size: NDArray) -> NDArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == WENT_BACK:
            (met0, met1), (left0, left1) = sums["met"], sums["left"]
            return left1 / met1 - np.where(met0 > 0, left0 / np.where(met0 > 0, met0, 1.0), 0.0)
        if name == CUES:
            then, now = (100 * u / t for u, t in zip(sums["unbacked"], sums["tokens"], strict=True))
            return (now - then) / (now + then + 1)
        if name == LENGTH:
            then, now = sums["length"]
            return (now - then) / (now + then)
        then, now = sums["went" if name == ANY else "idle"]
        return (now - then) / size


def _weights(parts: Sequence[Part], side: Sequence[str]) -> dict[str, float]:
    mine = [p.name for p in parts if p.name in side]
    return {name: 1 / len(mine) for name in mine}


def _se(without: NDArray, n: int, pseudo: float = 1.0) -> float:
    """Jackknife standard error, with one pseudo-discordant response among n."""
    c = len(without)
    return math.sqrt((c - 1) / c * float(np.sum((without - without.mean()) ** 2)) + (pseudo / max(n, 1)) ** 2)


def _combined(
    weights: Mapping[str, float],
    changes: Mapping[str, Estimate],
    without: Mapping[str, NDArray],
    n: Mapping[str, int],
    measured: Mapping[str, Part],
    looks: int,
) -> Estimate:
    value = sum(w * changes[k].value for k, w in weights.items())
    items = [k for k in weights if k in without]
    others = [k for k in weights if k in measured]
    units = min([n[k] for k in items] + [changes[k].n for k in others])
    se = 0.0
    if items:
        together = np.sum([weights[k] * without[k] for k in items], axis=0)
        se = _se(together, 1, sum(abs(weights[k]) / n[k] for k in items))
    for k in others:
        t = float(stdtrit(max(changes[k].n - 1, 1), 0.5 + LEVEL / 2))
        se += abs(weights[k]) * (changes[k].hi - changes[k].lo) / 2 / t
    return _interval(value, se, units, METHOD + ADDED * bool(others and len(weights) > 1), looks)


def _interval(value: float, se: float, n: int, method: str, looks: int = 1) -> Estimate:
    if math.isnan(value) or math.isnan(se) or n < 2:
        return Estimate(value, math.nan, math.nan, n, method)
    half = float(stdtrit(n - 1, 1 - (1 - LEVEL) / 2 / looks)) * se
    return Estimate(value, max(value - half, -1.0), min(value + half, 1.0), n, method)
