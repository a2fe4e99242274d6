"""The figures of a comparison, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from ...dynamics.comparison.compare import Comparison, last_table
from ...dynamics.findings.wording import GROUP_LABELS, SCORE_LABELS, plain_name
from ...dynamics.types import GROUPS
from .. import figures
from ..panels import SHARE, Figure, describe
from ..source import heading, label
from ..tables import Table, by_step, interval
from ..text import visible

GAINS, TRAINING, DIFFERENCES = "Conditional generalisation", "Scores over training", "Differences between runs"
PROCEDURE, REPETITION = "Internalised or imitated", "Repetition against coverage"
MOST_LINES = 8  # in one panel; of more arms, further figures are drawn
MOST_PAIRS = 3  # bands of more are not told apart
MOST_FIGURES = 4  # of pairs; of more pairs, those with the first arm are drawn
POINTS = "points (hundredths of a share)"


def gallery(found: Comparison) -> list[Figure]:
    """Every figure for which the comparison has data, each with what it shows and does not, and its data as a table."""
    builders: tuple[Callable[[Comparison], Iterator[Figure]], ...] = (
        gains,
        repetition,
        trajectories,
        differences,
        at_last,
        procedure,
    )
    return [figure for build in builders for figure in build(found)]


# ---------------------------------------------------------------- gains


def gains(found: Comparison) -> Iterator[Figure]:
    """The gain of every condition over the base, by group of domains."""
    c = found.conditional
    if c is None:
        return
    rows = c.groups[(c.groups["sampling"] == c.deciding) & (c.groups["condition"] != c.base) & c.groups["gain"].notna()]
    if rows.empty:
        return
    several = len(c.families()) > 1
    names = [
        label(str(r["condition"])) + (f"|on {label(', '.join(str(r[by]) for by in c.by))}" if several else "")
        for r in rows.to_dict("records")
    ]
    rows = _dots(rows, panel=[_label(g) for g in rows["group"]], row=names, value="gain")
    yield _of_dots(
        rows,
        id="gains",
        section=GAINS,
        title="Gain over the base, by group of domains",
        x=f"gain, {POINTS}",
        digits=1,
        shows=(
            f"Each {'model and its data' if several else c.condition}: the mean gain over {c.base} of the group's domains at "
            f"the last checkpoint, with 95 % intervals ({c.deciding}) that hold together within a model."
        ),
        omits=(
            "Which conditions differ from each other: two intervals may overlap and their difference be separated; the letters "
            "in the table say it. Another seed of the same training is not in the intervals."
        ),
    )


def repetition(found: Comparison) -> Iterator[Figure]:
    r = found.repetition
    if r is None:
        return
    rows = r.pairs[r.pairs["sampling"] == r.deciding]
    pairs = [f"{label(str(q['repeated']))}|− {label(str(q['covered']))}" for q in rows.to_dict("records")]
    rows = _dots(rows, panel=[_label(g) for g in rows["group"]], row=pairs, value="difference")
    yield _of_dots(
        rows,
        id="repetition",
        section=REPETITION,
        title="More epochs on fewer rows, against fewer epochs on more",
        x=f"difference, {POINTS}",
        digits=1,
        shows=f"Differences of settings with equal updates, with 95 % intervals ({r.deciding}) that hold together.",
        omits="What else differs between two settings (batch size, samples seen: the table of settings tells), and other seeds.",
    )


# ---------------------------------------------------------------- over training


def trajectories(found: Comparison) -> Iterator[Figure]:
    """A line per arm and a panel per domain; arms beyond what a panel can hold are in further figures."""
    if found.scores.empty:
        return
    rows = _by_domain(found.scores).assign(series=lambda t: t["arm"].map(visible))
    steps = sorted({int(s) for s in rows["step"]})
    seeds = int(rows["seeds"].max())
    parts = _parts(list(dict.fromkeys(rows["series"])), MOST_LINES)
    for i, arms in enumerate(parts, 1):
        title = "Scores by domain" + (f", {i} of {len(parts)}" if len(parts) > 1 else "")
        mine = rows[rows["series"].isin(arms)]
        chart = figures.multiples(
            mine[["panel", "series", "step", "value", "lo", "hi", "n"]],
            title=title,
            description=describe(title, mine),
            y="strict score (share)",
            steps=steps,
            domain=SHARE,
        )
        yield Figure(
            f"scores-{i}",
            TRAINING,
            title,
            chart,
            "A line per arm: the share of items answered right (for safety: refused, or helped), with 95 % intervals of each "
            "checkpoint alone" + ("; several seeds of an arm are averaged item by item." if seeds > 1 else "."),
            "Whether two arms differ: they answered the same items, so the paired differences below see more than two "
            "intervals that overlap. "
            + ("How far seeds lie apart." if seeds > 1 else "Another seed of the same training."),
            by_step(mine, ["panel", "series"]),
        )


def differences(found: Comparison) -> Iterator[Figure]:
    """Paired differences over the matched checkpoints, with simultaneous bands."""
    if not found.pairs:
        return
    table = pd.concat([p.table() for p in found.pairs], ignore_index=True)
    gained = table["did"].notna()
    for end, suffix in (("value", ""), ("lo", "_lo"), ("hi", "_hi")):
        table[end] = table[f"did{suffix}"].where(gained, table[f"difference{suffix}"])
    rows = _by_domain(table.rename(columns={"step_a": "step"}))
    rows = rows.assign(series=[visible(f"{a} − {b}") for a, b in zip(rows["a"], rows["b"], strict=True)])
    rest = ""
    if len(set(rows["series"])) > MOST_PAIRS * MOST_FIGURES:
        first = found.pairs[0].a
        rows, rest = (
            rows[rows["a"] == first],
            f" Other pairs than those with {visible(first)} are in differences_by_step.csv.",
        )
    steps = sorted({int(s) for s in rows["step"]})
    parts = _parts(list(dict.fromkeys(rows["series"])), MOST_PAIRS)
    for i, pairs in enumerate(parts, 1):
        title = "Differences at matched checkpoints" + (f", {i} of {len(parts)}" if len(parts) > 1 else "")
        mine = rows[rows["series"].isin(pairs)]
        chart = figures.multiples(
            mine[["panel", "series", "step", "value", "lo", "hi", "n"]],
            title=title,
            description=describe(title, mine),
            y="difference, points",
            steps=steps,
            level=0.0,
            least=(-10.0, 10.0),  # the band of two runs that are alike would fill its panel
        )
        shown = _paired(found) + rest
        of = by_step(mine, ["panel", "series"], digits=1)
        yield Figure(f"differences-{i}", DIFFERENCES, title, chart, shown, _UNSEEN, of)


def at_last(found: Comparison) -> Iterator[Figure]:
    """The differences at the last matched checkpoint, over seeds where both arms have several."""
    if not found.pairs:
        return
    table = _by_domain(last_table(found.pairs))
    pairs = [f"{label(str(a))}|− {label(str(b))}" for a, b in zip(table["a"], table["b"], strict=True)]
    rows = _dots(table, panel=list(table["panel"]), row=pairs, value="difference")
    seeds = any(p.seeds is not None for p in found.pairs)
    yield _of_dots(
        rows,
        id="differences-last",
        section=DIFFERENCES,
        title="Differences at the last matched checkpoint",
        x=f"difference, {POINTS}",
        digits=1,
        shows=(
            "The end of the way above; all domains of a pair hold together with 95 %. "
            + ("Arms with several seeds are compared over seeds and items. " if seeds else "")
            + "Right of the dashed line the first of the pair is ahead."
        ),
        omits="The way there, and " + ("what other data would do." if seeds else _ONE_SEED),
    )


_ONE_SEED = "the luck of training: with one seed each, an interval covers the choice of items alone."
_UNSEEN = (
    "Why two runs differ: everything in which their settings differ (appendix) is in it, and so is the luck of a seed."
)


def _paired(found: Comparison) -> str:
    first = found.pairs[0]
    over = "of gains over their bases" if first.did is not None and not first.shared_base else "of scores"
    how = {
        "step": "at the same step",
        "tokens": "after as many tokens (the step is that of the first)",
        "score": "at the same in-domain score (the step is that of the first)",
    }
    return (
        f"Paired by item, {over}, {how[first.match]}: above the dashed line the first of the pair is ahead. Bands are "
        "simultaneous: all checkpoints of a line, and all domains of a pair, hold together with 95 %"
        + (", for these seeds." if any(p.seeds is not None for p in found.pairs) else ".")
        + " Each panel has its own scale."
    )


# ---------------------------------------------------------------- procedure


def procedure(found: Comparison) -> Iterator[Figure]:
    """The index of procedure against style of every run, by search domain."""
    table = found.procedure
    if table.empty or table["index_value"].isna().all():
        return
    table = table[table["index_value"].notna()].rename(columns={"index_lo": "lo", "index_hi": "hi"})
    table = _by_domain(table)
    rows = _dots(table, panel=list(table["panel"]), row=[label(str(run)) for run in table["run"]], value="index_value")
    yield _of_dots(
        rows,
        id="procedure-index",
        section=PROCEDURE,
        title="Procedure against its look",
        x="index: −1 its look, +1 procedure",
        digits=2,
        shows=(
            "By run and search domain, last checkpoint against the first: going back where it has to and what that buys, minus "
            "the look of search (words, length, empty returns), halved; 95 % intervals."
        ),
        omits=(
            "The parts it is made of, and which of them were not measured (table below): without interventions it describes what "
            "is written, not what the answer hangs on. An index near 0 may be neither or both."
        ),
    )


# ---------------------------------------------------------------- parts


def _by_domain(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in the groups' order, with the panel's heading."""
    rank = {group: i for i, group in enumerate(GROUPS)}
    order = sorted(
        range(len(rows)), key=lambda i: (rank.get(rows["group"].iloc[i], len(rank)), str(rows["domain"].iloc[i]))
    )
    rows = rows.iloc[order]
    panels = [panel(d, g) for d, g in zip(rows["domain"], rows["group"], strict=True)]
    return rows.assign(panel=panels)


def panel(domain: str, group: str) -> str:
    note = SCORE_LABELS.get(domain) or GROUP_LABELS.get(group) or label(plain_name(group))
    return f"{heading(domain)}|{note}"


def _label(group: object) -> str:
    return heading(GROUP_LABELS.get(str(group), str(group)))


def _parts(names: Sequence[str], most: int) -> list[Sequence[str]]:
    """The names in as few parts of at most `most` as there must be, of about equal size."""
    size = -(-len(names) // -(-len(names) // most)) if names else 1
    return [names[i : i + size] for i in range(0, len(names), size)]


def _dots(rows: pd.DataFrame, *, panel: Sequence[str], row: Sequence[str], value: str) -> pd.DataFrame:
    named = rows.assign(panel=[visible(p) for p in panel], row=[visible(r) for r in row])
    return named.rename(columns={value: "value"})[["panel", "row", "value", "lo", "hi", "n"]]


def _of_dots(
    rows: pd.DataFrame, *, id: str, section: str, title: str, x: str, digits: int, shows: str, omits: str
) -> Figure:
    cells = [interval(v, lo, hi, digits) for v, lo, hi in rows[["value", "lo", "hi"]].astype(float).to_numpy()]
    plain = [str(p).split("|")[0] for p in rows["panel"]]
    names = [str(r).replace("|", " ") for r in rows["row"]]
    told = "; ".join(f"{p}, {r}: {cell}" for p, r, cell in zip(plain, names, cells, strict=True))
    chart = figures.dots(rows, title=title, description=f"{title}. {told}. The data is in the table below.", x=x)
    table = pd.DataFrame({"panel": plain, "row": names, "cell": cells})
    wide = table.drop_duplicates(["panel", "row"]).pivot(index="row", columns="panel", values="cell")
    wide = wide.loc[list(dict.fromkeys(table["row"])), list(dict.fromkeys(plain))].fillna("–")
    of = Table(
        ("", *map(str, wide.columns)),
        tuple((str(name), *map(str, line)) for name, line in zip(wide.index, wide.to_numpy(), strict=True)),
    )
    return Figure(id, section, title, chart, shows, omits, of)
