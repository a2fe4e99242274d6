"""What a comparison says, in sentences: orders within a model, what cannot be told apart, pairs, repetition; ranked
by decision value.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..findings.wording import GROUP_LABELS, listing, number, plain_name, signed
from ..types import Estimate, Finding
from .conditional import ASSUMED, PAIRED, ConditionalTable
from .pairs import PairComparison
from .repetition import Repetition
from .seeds import ONE_SEED

MOST_ITEMS = 20  # times the items: more is no plan
_FIRST = (
    "ood_reasoning",
    "safety",
    "id_reasoning",
    "general",
)  # what a choice of data is made for, then what it may cost


def conditional_findings(table: ConditionalTable, sources: Sequence[str], *, noise: str = ONE_SEED) -> list[Finding]:
    """One finding per model and group: the conditions in order, what is separated and what is not."""
    found = []
    for family in table.families():
        for group in sorted(set(table.of("groups", family)["group"]), key=_rank):
            found.append(_order_finding(table, family, group, sources, noise))
    return found


def pair_findings(pairs: Sequence[PairComparison], sources: Sequence[str]) -> list[Finding]:
    """One finding per pair of arms: the domains on which one is ahead at the last match, and those that cannot be
    told.
    """
    found = []
    for a, b in dict.fromkeys((p.a, p.b) for p in pairs):
        mine = sorted((p for p in pairs if (p.a, p.b) == (a, b)), key=lambda p: (_rank(p.group), p.domain))
        found.append(_pair_finding(a, b, mine, sources))
    return found


def repetition_findings(table: Repetition, sources: Sequence[str]) -> list[Finding]:
    """One finding per pair of settings at equal updates; pairs of one batch size first: nothing else differs there."""
    rows = table.pairs[table.pairs["sampling"] == table.deciding]
    found = []
    for (repeated, covered), mine in rows.groupby(["repeated", "covered"], sort=False):
        found.append(
            (bool(mine["same_batch"].iloc[0]), _repetition_finding(table, str(repeated), str(covered), mine, sources))
        )
    return [f for _, f in sorted(found, key=lambda x: not x[0])]


def note_findings(notes: Sequence[str]) -> list[Finding]:
    """What was left out and why: one warning for all of it."""
    if not notes:
        return []
    return [
        Finding(
            id="warning:comparison-gaps",
            kind="warning",
            sentence="What this comparison leaves out: " + "; ".join(notes) + ".",
            verdict="gaps",
            method="record",
            would_overturn="the missing scores, or items for the columns without",
            exploratory=False,
            details={"notes": list(notes)},
        )
    ]


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Those that separate something first, in the order given; then the undecided; warnings last."""
    place = {"separated": 0, "": 1, "not-separated": 1}
    return sorted(findings, key=lambda f: (f.kind == "warning", place.get(f.verdict, 1)))


# ---------------------------------------------------------------- orders


def _order_finding(
    table: ConditionalTable, family: tuple[str, ...], group: str, sources: Sequence[str], noise: str
) -> Finding:
    rows = table.of("groups", family, group).sort_values("rank")
    trained = rows[rows["condition"] != table.base]
    pairs = table.of("pairs", family, group)
    best = trained.iloc[0]
    gains = pd.notna(trained["lo"]).any()
    what = f"{', '.join(family)}, {_label(group)} ({_benchmarks(best)}), points over {table.base}"
    listed = [f"{r.condition} {signed(_estimate(r), 1)}" if gains else str(r.condition) for r in trained.itertuples()]
    sentence = (
        f"{what if gains else what.removesuffix(f', points over {table.base}') + ', best first'}: {', '.join(listed)}. "
    )
    sentence += _separations(pairs, [str(c) for c in rows["condition"]], table.inseparable(family, group))
    sentence += f" Intervals ({table.deciding}) hold together within {', '.join(family)}; {noise}."
    assumed = table.of("pairs", family, group, ASSUMED)
    more = [] if assumed.empty else _more_if_assumed(pairs, assumed)
    if more:
        sentence += f" Only if scores on the same items go together with r = 0.5, which is assumed and not seen: {listing(more)}."
    any_separated = bool(pairs["separated"].any())
    return Finding(
        id=f"comparison:{'/'.join(family)}:{group}",
        kind="comparison",
        sentence=sentence,
        domain=group,
        metric="gain_points",
        verdict="separated" if any_separated else "not-separated",
        estimate=_estimate(best),
        method=f"{table.deciding}; max-t over all pairs and groups of {', '.join(family)}",
        evidence=tuple(sources),
        would_overturn=_overturn(pairs),
        exploratory=True,
        details={
            "order": [str(c) for c in rows["condition"]],
            "letters": {str(r.condition): str(r.letters) for r in rows.itertuples()},
            "not_separated": [list(s) for s in table.inseparable(family, group) if len(s) > 1],
            "benchmarks": str(best["benchmarks"]).split(),
            "left_out": str(best["left_out"]).split(),
        },
    )


def _separations(pairs: pd.DataFrame, order: Sequence[str], sets: Sequence[tuple[str, ...]]) -> str:
    """`Separated: A above B and C. Not separated by these items: B and C.`"""
    above: dict[str, list[str]] = {}
    for name in order:
        lower = pairs[(pairs["higher"] == name) & pairs["separated"]]["lower"]
        if len(lower):
            above[name] = [x for x in order if x in set(lower)]
    parts = [f"{name} above {listing(lower)}" for name, lower in above.items()]
    text = f"Separated: {'; '.join(parts)}." if parts else "Nothing is separated."
    near = [listing(s) for s in sets if len(s) > 1]
    return text + (f" Not separated by these items: {'; '.join(near)}." if near else "")


def _more_if_assumed(pairs: pd.DataFrame, assumed: pd.DataFrame) -> list[str]:
    known = {(r.higher, r.lower) for r in pairs[pairs["separated"]].itertuples()}
    return [
        f"{r.higher} above {r.lower}"
        for r in assumed[assumed["separated"]].itertuples()
        if (r.higher, r.lower) not in known
    ]


def _overturn(pairs: pd.DataFrame) -> str:
    text = "another seed of a run that changes the order; item-level scores, which can be paired"
    if (pairs["sampling"] == PAIRED).all():
        text = "another seed of a run that changes the order"
    near = pairs[~pairs["separated"] & (pairs["difference"] > 0)]
    if len(near):
        half = (near["hi"] - near["lo"]) / 2
        times = ((half / near["difference"]) ** 2).round(0)
        least = near.loc[times.idxmin()]
        if times.min() > MOST_ITEMS:
            return text
        text += (
            f"; about {max(2, int(times.min()))} times the items would separate {least['higher']} and {least['lower']}"
        )
        text += ", were the difference as seen"
    return text


# ---------------------------------------------------------------- pairs


def _pair_finding(a: str, b: str, pairs: Sequence[PairComparison], sources: Sequence[str]) -> Finding:
    ahead: list[str] = []
    behind: list[str] = []
    level: list[str] = []
    for p in pairs:
        e = _points(p.last)
        named = f"{plain_name(p.domain)} {signed(e, 1)}{_spread(p)}"
        (ahead if e.lo > 0 else behind if e.hi < 0 else level).append(named)
    first = pairs[0]
    gained = first.did is not None
    relative = "" if not gained else ", over their shared base" if first.shared_base else ", each over its own base"
    parts = [f"gains more on {'; '.join(ahead)}" if gained else f"is higher on {'; '.join(ahead)}"] if ahead else []
    parts += [f"{'gains less' if gained else 'is lower'} on {'; '.join(behind)}"] if behind else []
    parts += [f"cannot be told apart on {'; '.join(level)}"] if level else []
    one = any(p.seeds is None for p in pairs)
    over = (
        ONE_SEED
        if one
        else f"over {first.seeds.seeds_a} and {first.seeds.seeds_b} seeds and items"
        if first.seeds
        else ""
    )
    sentence = f"{a} against {b} {_where(first)} (points{relative}): {a} {', and '.join(parts)}; {over}."
    sentence += _earlier(pairs)
    return Finding(
        id=f"comparison:{a}:{b}",
        kind="comparison",
        sentence=sentence,
        metric="difference_points",
        verdict="separated" if ahead or behind else "not-separated",
        estimate=_points(first.last),
        domain=first.domain,
        step=int(first.steps_a[-1]),
        method=f"{first.last.method}; joint over {len(pairs)} domain{'s' * (len(pairs) > 1)}",
        evidence=tuple(sources),
        would_overturn=f"another seed of {a} or {b}" + (" (there is one of each)" if one else ", or other items"),
        exploratory=True,
        details={
            "ahead": ahead,
            "behind": behind,
            "not_separated": level,
            "match": first.match,
            "largest_gap": float(first.gaps.max()),
        },
    )


def _where(p: PairComparison) -> str:
    a, b = int(p.steps_a[-1]), int(p.steps_b[-1])
    if p.match == "step":
        return f"at step {a}"
    if p.match == "tokens":
        return (
            f"at equal tokens (steps {a} and {b}, {100 * p.gaps[-1]:.1f} % apart; at most {100 * p.gaps.max():.1f} %)"
        )
    apart = f"{100 * p.gaps[-1]:.1f} points apart; at most {100 * p.gaps.max():.1f}"
    return f"at equal in-domain scores (last match: steps {a} and {b}, {apart})"


def _earlier(pairs: Sequence[PairComparison]) -> str:
    """Domains that differ somewhere on the way though not at the end: a transient, or exposure rather than outcome."""
    told = []
    for p in pairs:
        band = p.effect
        apart = (band.lo > 0) | (band.hi < 0)
        if apart[:-1].any() and not (p.last.lo > 0 or p.last.hi < 0):
            steps = p.steps_a[apart]
            told.append(
                f"{plain_name(p.domain)} (at {len(steps)} of {len(apart)} checkpoints, first at step {int(steps[0])})"
            )
    return f" On the way they differed on {listing(told)}, not shown at the end." if told else ""


def _spread(p: PairComparison) -> str:
    if p.seeds is None:
        return ""
    return f" (between seeds {number(100 * p.seeds.spread_a, 1)} and {number(100 * p.seeds.spread_b, 1)})"


# ---------------------------------------------------------------- repetition


def _repetition_finding(
    table: Repetition, repeated: str, covered: str, rows: pd.DataFrame, sources: Sequence[str]
) -> Finding:
    a, b = table.setting(repeated), table.setting(covered)
    batch = (
        f"batches of {a['batch']:,.0f}"
        if a["batch"] == b["batch"]
        else f"batches of {a['batch']:,.0f} and {b['batch']:,.0f}"
    )
    start = (
        f"At {a['updates']:,.0f} updates in {batch}, {_passes(a)} ({repeated}) against {_passes(b)} ({covered}) "
        f"{'give' if a['epochs'] != 1 else 'gives'}, in points: "
    )
    parts = [f"{_label(r.group)} {signed(_estimate(r, 'difference'), 1)}" for r in rows.itertuples()]
    apart = [_label(str(r.group)) for r in rows.itertuples() if r.separated]
    near = [_label(str(r.group)) for r in rows.itertuples() if not r.separated]
    sentence = start + ", ".join(parts) + "."
    sentence += f" Separated on {listing(apart)}." if apart else " Nothing is separated."
    sentence += f" Not separated by these items: {listing(near)}." if apart and near else ""
    if a["samples_seen"] != b["samples_seen"]:
        more_seen, fewer = (a, b) if a["samples_seen"] > b["samples_seen"] else (b, a)
        times = number(more_seen["samples_seen"] / fewer["samples_seen"], 1).removesuffix(".0")
        sentence += f" {more_seen.name} sees {times} times as many samples, so this is not repetition alone."
    assumed = table.pairs[(table.pairs["sampling"] == ASSUMED) & table.pairs["separated"]]
    assumed = assumed[(assumed["repeated"] == repeated) & (assumed["covered"] == covered)]
    more = [_label(str(g)) for g in assumed["group"] if _label(str(g)) in near]
    if more:
        sentence += f" Only if scores on the same items go together with r = 0.5, which is assumed and not seen: {listing(more)}."
    sentence += f" Intervals ({table.deciding}) hold together over all settings and groups; {ONE_SEED}."
    first = min(rows.itertuples(), key=lambda r: _rank(str(r.group)))
    return Finding(
        id=f"comparison:repetition:{repeated}:{covered}",
        kind="comparison",
        sentence=sentence,
        domain=str(first.group),
        metric="difference_points",
        verdict="separated" if apart else "not-separated",
        estimate=_estimate(first, "difference"),
        method=f"{table.deciding}; max-t over all settings and groups",
        evidence=tuple(sources),
        would_overturn=f"another seed of {repeated} or {covered}, or another draw of the fewer rows",
        exploratory=True,
        details={"same_batch": bool(a["batch"] == b["batch"]), "updates": float(a["updates"])},
    )


def _passes(s: pd.Series) -> str:
    return f"{s['epochs']:g} epoch{'' if s['epochs'] == 1 else 's'} on {s['rows']:,.0f} rows"


# ---------------------------------------------------------------- words


def _rank(group: str) -> int:
    return _FIRST.index(group) if group in _FIRST else len(_FIRST)


def _label(group: str) -> str:
    return GROUP_LABELS.get(group, plain_name(group))


def _benchmarks(row: pd.Series) -> str:
    text = listing(str(row["benchmarks"]).split())
    return text + (f"; without {listing(str(row['left_out']).split())}" if row["left_out"] else "")


def _estimate(row: object, value: str = "gain") -> Estimate:
    get = row.__getitem__ if isinstance(row, pd.Series) else lambda k: getattr(row, k)
    return Estimate(float(get(value)), float(get("lo")), float(get("hi")), int(get("n")), str(get("sampling")))


def _points(e: Estimate) -> Estimate:
    return Estimate(100 * e.value, 100 * e.lo, 100 * e.hi, e.n, e.method)
