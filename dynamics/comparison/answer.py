"""The answer of a comparison in at most six sentences: what generalised, what cannot be separated, what dipped, what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ..findings.wording import GROUP_LABELS, listing, number, plain_name, signed, with_interval
from ..requests import HARMFUL, SAFE, spokesman
from ..types import Estimate
from .conditional import ConditionalTable
from .pairs import PairComparison
from .repetition import Repetition

MOST_SENTENCES = 6
MOST_NAMED = 4  # of a list in a sentence; how many more there are is said
_SAFETY = {"R": HARMFUL, "H": SAFE}
_ANSWERS = {
    "procedure": "procedure",
    "style": "its look alone",
    "both": "both procedure and its look",
    "neither": "neither",
    "undecidable": "cannot be told",
}


def answer(
    conditional: ConditionalTable | None,
    repetition: Repetition | None,
    findings: pd.DataFrame,
    scores: pd.DataFrame,
    procedure: pd.DataFrame,
    pairs: Sequence[PairComparison] = (),
) -> tuple[str, ...]:
    """At most six sentences, the most decision-worthy first. `findings`, `scores` and `procedure` are those of
    `side_by_side`, and empty where only a table of scores was given.
    """
    said: list[str] = []
    if conditional is not None:
        said += [_generalised(conditional), *_separated(conditional, pairs)]
    if repetition is not None:
        said += _repeated(repetition)
    if conditional is not None:
        said += _beside(conditional)
    said += _dips(findings)
    said += _refusal(scores, findings) or (_safety(conditional) if conditional is not None else [])
    said += _procedure(procedure)
    return tuple(said[:MOST_SENTENCES])


# ---------------------------------------------------------------- gains


def _generalised(c: ConditionalTable) -> str:
    told = _changes(c, "ood_reasoning", "generalised")
    if not told:
        return "Whether anything generalised cannot be said: no out-of-domain domain has a base and a later score."
    return f"Out-of-domain reasoning, points over {c.base}: {told}."


def _beside(c: ConditionalTable) -> list[str]:
    """What was gained in domain, and what became of general ability."""
    most = MOST_NAMED if len(c.families()) == 1 else 2  # of several models the table tells the rest
    told = {GROUP_LABELS[group]: _changes(c, group, "gained", most) for group in ("id_reasoning", "general")}
    parts = [f"{label}: {text}" for label, text in told.items() if text]
    return [f"{_capital('; and '.join(parts))}."] if parts else []


def _safety(c: ConditionalTable) -> list[str]:
    told = _changes(c, "safety", "gained")
    return [f"Safety, points over {c.base}: {told}."] if told else ["Nothing here measures refusal or safety."]


def _changes(c: ConditionalTable, group: str, up: str, most: int = MOST_NAMED) -> str:
    """The conditions whose mean of the group is above the base, below it, or cannot be told from it; the largest first."""
    rows = c.groups[(c.groups["sampling"] == c.deciding) & (c.groups["group"] == group)]
    rows = rows[(rows["condition"] != c.base) & rows["lo"].notna()].sort_values("gain", ascending=False)
    several = len(c.families()) > 1
    kinds: dict[str, list[str]] = {up: [], "lost": [], "no change shown": []}
    for r in rows.to_dict("records"):
        kind = up if r["lo"] > 0 else "lost" if r["hi"] < 0 else "no change shown"
        name = f"{r['condition']} on {', '.join(str(r[by]) for by in c.by)}" if several else str(r["condition"])
        kinds[kind].append(name if kind == "no change shown" else f"{name} {signed(_estimate(r, 'gain'), 1)}")
    kinds["lost"].reverse()
    return "; ".join(f"{kind} with {_some(named, most=most)}" for kind, named in kinds.items() if named)


def _separated(c: ConditionalTable, pairs: Sequence[PairComparison]) -> list[str]:
    """Which conditions these items cannot tell apart out of domain, within each model."""
    near: list[str] = []
    families, separated = 0, False
    for family in c.families():
        if c.of("groups", family, "ood_reasoning").empty:
            continue
        families += 1
        separated |= bool(c.of("pairs", family, "ood_reasoning")["separated"].any())
        sets = [listing(s) for s in c.inseparable(family, "ood_reasoning") if len(s) > 1]
        if sets:
            near.append((f"{', '.join(family)}: " if len(c.families()) > 1 else "") + "; ".join(sets))
    if not families:
        return []
    if not near:
        return [f"Out of domain these items separate every pair{_over_seeds(pairs)}."]
    told = _some([f"({n})" if len(near) > 1 else n for n in near])
    rest = "every other pair is separated" if separated else "no pair is separated"
    return [f"Out of domain these items cannot separate {told}; {rest}{_over_seeds(pairs)}."]


def _over_seeds(pairs: Sequence[PairComparison]) -> str:
    """What is separated out of domain where seeds are the units, for items alone say nothing of the luck of training."""
    tested = [p for p in pairs if p.seeds is not None and p.group == "ood_reasoning"]
    if not tested:
        return ""
    apart = [
        f"{p.a if p.last.lo > 0 else p.b} above {p.b if p.last.lo > 0 else p.a} on {plain_name(p.domain)}"
        for p in tested
        if p.last.lo > 0 or p.last.hi < 0
    ]
    return f"; over seeds too, {_some(apart) if apart else 'no domain'} is separated"


def _repeated(r: Repetition) -> list[str]:
    rows = r.pairs[r.pairs["sampling"] == r.deciding]
    found = []
    for (repeated, covered), mine in rows.groupby(["repeated", "covered"], sort=False):
        parts = {
            word: [
                f"{_label(q['group'])} {signed(_estimate(q, 'difference'), 1)}" for q in mine[chosen].to_dict("records")
            ]
            for word, chosen in (("separated on", mine["separated"]), ("not separated on", ~mine["separated"]))
        }
        a, b = r.setting(str(repeated)), r.setting(str(covered))
        text = ", ".join(f"{word} {listing(named)}" for word, named in parts.items() if named)
        found.append(
            f"{repeated} ({_plan(a)}) against {covered} ({_plan(b)}) at {a['updates']:,.0f} updates, points: {text}."
        )
    return found


def _plan(s: pd.Series) -> str:
    return f"{s['rows']:,.0f} rows x {s['epochs']:g}, batch {s['batch']:,.0f}"


# ---------------------------------------------------------------- runs


def _dips(findings: pd.DataFrame) -> list[str]:
    if findings.empty:
        return []
    phases = findings[findings["kind"] == "phase"]
    if phases.empty:
        return []
    told, without = [], []
    for run, mine in phases.groupby("run", sort=False):
        dips = mine[mine["dip"]]
        back = dips.loc[dips["verdict"] == "dips-and-recovers", "domain"]
        if dips.empty:
            without.append(str(run))
            continue
        named = _names(dips["domain"]) if len(dips) <= 2 else f"{len(dips)} of {len(mine)} domains"
        end = (
            "back at the end"
            if len(back) == len(dips)
            else f"back at the end: {_names(back)}"
            if len(back)
            else "none back"
        )
        told.append(f"{run} on {named} ({end})")
    if not told:
        return [f"No significant dip below base is shown in {_some(without)}."]
    none = f"; none is shown in {_some(without)}" if without else ""
    return [f"Dips below base: {_some(told, '; ')}{none}."]


def _refusal(scores: pd.DataFrame, findings: pd.DataFrame) -> list[str]:
    if scores.empty:
        return []
    told = []
    known = scores[scores["group"] == "safety"]
    for arm, mine in known.groupby("arm", sort=False):
        parts = []
        for words, kind in _SAFETY.items():
            rows = mine[mine["domain"] == spokesman(kind, set(mine["domain"]))].sort_values("step")
            if len(rows) > 1:
                first, last = (_estimate(r, "value", "method") for r in (rows.iloc[0], rows.iloc[-1]))
                parts.append(f"{words} {number(first.value)} to {with_interval(last)}")
        if parts:
            told.append(f"{arm} {', '.join(parts)}{_diagnosed(findings, str(arm))}")
    head = "Harmful requests refused (R) and harmless ones helped with (H), first to last checkpoint"
    return [f"{head}: {_some(told, '; ')}."] if told else []


def _diagnosed(findings: pd.DataFrame, arm: str) -> str:
    """What the diagnosis says became of refusal in the runs of an arm."""
    if findings.empty:
        return ""
    mine = findings[(findings["arm"] == arm) & (findings["id"] == "mechanism:refusal-diagnosis")]
    said = [str(v) for v in dict.fromkeys(mine["verdict"]) if v]
    return f" (diagnosis: {' or '.join(said)})" if said else ""


def _procedure(procedure: pd.DataFrame) -> list[str]:
    if procedure.empty:
        return []
    inside = procedure[procedure["group"] == "id_reasoning"]
    domain = (inside if len(inside) else procedure)["domain"].iloc[0]
    rows = procedure[procedure["domain"] == domain]
    told = []
    for r in rows.itertuples():
        e = Estimate(float(r.index_value), float(r.index_lo), float(r.index_hi), int(r.n), str(r.method))
        value = f" ({signed(e)})" if e.defined else ""
        told.append(f"{r.run} {_ANSWERS.get(str(r.answer), str(r.answer))}{value}")
    return [
        f"What was learnt on {plain_name(str(domain))}, procedure or its look (index from -1, its look, to +1): {_some(told)}."
    ]


# ---------------------------------------------------------------- words


def _some(named: Sequence[str], between: str = ", ", most: int = MOST_NAMED) -> str:
    if len(named) > most:
        return between.join(named[:most]) + f"{between}and {len(named) - most} more"
    return listing(named) if between == ", " else between.join(named)


def _names(domains: Iterable[object]) -> str:
    return listing(plain_name(str(d)) for d in domains)


def _estimate(row: Mapping[Any, Any] | pd.Series, value: str, method: str = "sampling") -> Estimate:
    return Estimate(float(row[value]), float(row["lo"]), float(row["hi"]), int(row["n"]), str(row[method]))


def _label(group: object) -> str:
    return GROUP_LABELS.get(str(group), plain_name(str(group)))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
