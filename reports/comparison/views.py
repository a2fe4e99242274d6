"""What a comparison page says in tables: each combination at a glance, verdicts by run, findings that differ, settings, files."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ...dynamics.comparison.compare import UNKNOWN_BASE, Comparison
from ...dynamics.comparison.conditional import ASSUMED, ConditionalTable, group_order
from ...dynamics.comparison.side_by_side import differing
from ...dynamics.findings.wording import GROUP_LABELS, SCORE_LABELS, listing, plain_name
from ..overview import VERDICTS, signed
from ..source import heading
from ..tables import Table, interval, number

ANSWERS = {"procedure": "procedure", "style": "its look", "both": "both", "neither": "neither", "undecidable": "open"}
_TONES = {"up": ("▲", "good"), "down": ("▼", "bad"), "open": ("?", "open")}


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell: a sign that reads without colour, its tone (good, bad or open), and words."""

    sign: str
    tone: str
    text: str
    letters: str = ""  # who shares a letter is not separated


@dataclass(frozen=True, slots=True)
class Grid:
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]  # name, a cell per further column
    note: str = ""


def title_line(found: Comparison) -> str:
    """One sentence: what is compared, on what."""
    if not len(found.runs):
        return (
            f"Scores read from {listing(found.sources)}; no run's record stands behind them." if found.sources else ""
        )
    arms = found.runs["arm"].nunique()
    bases = sorted(set(found.runs["model"].astype(str)))
    told = f"{len(found.runs)} runs in {arms} arms" if arms < len(found.runs) else f"{len(found.runs)} runs, one an arm"
    text = (
        f"{told}, fine-tuned from {listing('a base that was not recorded' if b == UNKNOWN_BASE else b for b in bases)}"
    )
    if found.pairs:
        steps = sorted({int(p.steps_a[-1]) for p in found.pairs})
        how = {"step": "by step", "tokens": "by tokens trained on", "score": "by in-domain score"}[found.pairs[0].match]
        text += f"; checkpoints matched {how}, the last at step {listing(steps)}"
        items = sorted({p.level.n for p in found.pairs})
        text += f"; {items[0]}{f' to {items[-1]}' if len(items) > 1 else ''} questions a domain"
    return f"{text}."


def title(found: Comparison, most: int = 4) -> str:
    if found.conditional is not None:
        names = [str(n) for n in dict.fromkeys(found.conditional.groups["condition"]) if n != found.conditional.base]
    elif found.repetition is not None:
        names = [str(s) for s in found.repetition.settings["setting"]]
    else:
        names = [str(a) for a in dict.fromkeys(found.runs["arm"])]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}, compared" if more else f"{listing(names)}, compared"


def reading(found: Comparison) -> str:
    """What the intervals of the answer cover, in a line."""
    c = found.conditional
    if c is None:
        return "Intervals hold together over all settings and groups; one run each, so training noise is not in them."
    seeds = found.runs.groupby("arm", sort=False).size() if len(found.runs) else None
    if seeds is None or seeds.max() == 1:
        luck = "one run each, so the luck of training is not in them"
    else:
        luck = "the seeds of an arm are averaged, and their spread stands in the differences below"
    return f"Intervals: 95 %, {c.deciding}, all gains of a model together; {luck}."


# ---------------------------------------------------------------- at a glance


def glance(found: Comparison) -> Grid | None:
    """A row per model and data (or arm): gain over base by group with letters, domains that dipped, procedure or its look."""
    c = found.conditional
    if c is None:
        return None
    groups = sorted(set(c.groups["group"]), key=group_order)
    columns = [_label(g) for g in groups]
    dips = _dips(found)
    index = _procedure(found)
    columns += ["Dips below base"] * bool(dips) + ["Procedure or its look"] * bool(index)
    rows = []
    several = len(c.families()) > 1
    for family in c.families():
        mine = c.of("groups", family)
        for condition in _conditions(c, mine):
            cells = [_gain(c, mine, g, condition) for g in groups]
            cells += [dips.get(condition, Cell("", "open", "–"))] * bool(dips)
            cells += [index.get(condition, Cell("", "open", "–"))] * bool(index)
            name = f"{condition} on {', '.join(family)}" if several else condition
            rows.append((name, tuple(cells)))
    first = c.condition if not several else f"{c.condition} on {', '.join(c.by)}"
    note = (
        f"Gain over {c.base} in points: ▲ above it, ▼ below it, ? not told apart from it; within a model and column, those that "
        "share a letter are not separated by these items."
    )
    return Grid((heading(first), *columns), tuple(rows), note)


def _conditions(c: ConditionalTable, rows: pd.DataFrame) -> list[str]:
    """The base too, where there is one; best out-of-domain gain first."""
    rank = {group: i for i, group in enumerate(("ood_reasoning", "id_reasoning", "general", "safety"))}
    lead = min(set(rows["group"]), key=lambda g: rank.get(g, len(rank)))
    return [str(x) for x in rows[rows["group"] == lead].sort_values("rank")["condition"]]


def _gain(c: ConditionalTable, rows: pd.DataFrame, group: str, condition: str) -> Cell:
    mine = rows[(rows["group"] == group) & (rows["condition"] == condition)]
    if mine.empty:
        return Cell("", "open", "–")
    r = mine.iloc[0]
    if condition == c.base:
        return Cell("", "open", "0", str(r["letters"]))
    value, lo, hi = (float(r[k]) for k in ("gain", "lo", "hi"))
    kind = "up" if lo > 0 else "down" if hi < 0 else "open"
    sign, tone = _TONES[kind] if value == value else ("", "open")
    return Cell(sign, tone, points(value, lo, hi), str(r["letters"]))


def points(value: float, lo: float, hi: float) -> str:
    text = interval(value, lo, hi, 1)
    return f"+{text}" if value > 0 and not text.startswith("0.0 ") else text


def _dips(found: Comparison) -> dict[str, Cell]:
    """By arm: on how many domains its runs dip, and on which."""
    if found.judged.empty:
        return {}
    phases = found.judged[found.judged["kind"] == "phase"]
    cells = {}
    for arm, mine in phases.groupby("arm", sort=False):
        dips = mine[mine["dip"]]
        runs = mine["run"].nunique()
        of = mine["domain"].nunique()
        names = list(dict.fromkeys(plain_name(str(d)) for d in dips["domain"]))
        text = (
            f"{len(names)} of {of}"
            + (f": {', '.join(names)}" if names else "")
            + (" (in any seed)" if runs > 1 else "")
        )
        cells[str(arm)] = Cell("▼" if names else "", "bad" if names else "open", text)
    return cells


def _procedure(found: Comparison) -> dict[str, Cell]:
    table = found.procedure
    if table.empty:
        return {}
    inside = table[table["group"] == "id_reasoning"]
    table = inside if len(inside) else table
    table = table[table["domain"] == table["domain"].iloc[0]]
    return {
        str(arm): Cell("", "open", ", ".join(ANSWERS.get(str(a), str(a)) for a in dict.fromkeys(mine["answer"])))
        for arm, mine in table.groupby("arm", sort=False)
    }


# ---------------------------------------------------------------- behind the gains


def benchmark_table(found: Comparison) -> Table | None:
    """Every score behind the gains: by model, benchmark and condition, each interval by itself."""
    c = found.conditional
    if c is None or c.cells.empty:
        return None
    assumed = {
        (*(str(r[b]) for b in c.by), r["benchmark"], r["condition"]): r
        for r in c.cells[c.cells["sampling"] == ASSUMED].to_dict("records")
    }
    rows = []
    for r in c.cells[c.cells["sampling"] != ASSUMED].to_dict("records"):
        own = r["unit"] != "points"
        key = (*(str(r[b]) for b in c.by), r["benchmark"], r["condition"])
        gain = signed(r["gain"], r["lo"], r["hi"]) if own else points(r["gain"], r["lo"], r["hi"])
        row = [
            *key[:-2],
            heading(str(r["benchmark"])),
            _label(r["group"]) if r["group"] else "its own unit",
            str(r["condition"]),
        ]
        row += [number(r["score"], 2 if own else 1), gain]
        if assumed:
            other = assumed.get(key)
            row.append(points(other["gain"], other["lo"], other["hi"]) if other else "–")
        rows.append(tuple(row))
    columns = (*map(heading, c.by), "Benchmark", "Group", heading(c.condition), "Score", "Gain")
    return Table((*columns, *([heading(ASSUMED)] if assumed else [])), tuple(rows))


def procedure_table(found: Comparison) -> Table | None:
    if found.procedure.empty:
        return None
    rows = []
    for r in found.procedure.to_dict("records"):
        of = [signed(r[f"{k}_value"], r[f"{k}_lo"], r[f"{k}_hi"]) for k in ("index", "procedure", "style")]
        rows.append(
            (str(r["run"]), heading(str(r["domain"])), ANSWERS.get(r["answer"], r["answer"]), *of, str(r["missing"]))
        )
    return Table(("Run", "Domain", "Gained", "Index", "Procedure", "Its look", "Not measured"), tuple(rows))


def settings_table(found: Comparison) -> Table | None:
    """Rows, batch, epochs of settings compared at equal updates."""
    if found.repetition is None:
        return None
    table = found.repetition.settings
    rows = tuple(
        tuple(f"{v:,.6g}" if isinstance(v, int | float) else str(v) for v in row)
        for row in table.itertuples(index=False)
    )
    return Table(tuple(heading(str(c)) for c in table.columns), rows)


# ---------------------------------------------------------------- findings of the runs


def verdict_grid(found: Comparison) -> Grid | None:
    """The verdict of every domain, by run."""
    if found.judged.empty:
        return None
    phases = found.judged[found.judged["kind"] == "phase"]
    if phases.empty:
        return None
    groups = {str(d): str(g) for d, g in zip(found.scores["domain"], found.scores["group"], strict=True)}
    domains = sorted(set(phases["domain"]), key=lambda d: (group_order(groups.get(d, "")), d))
    runs = list(dict.fromkeys(found.judged["run"]))
    of = {(r["domain"], r["run"]): str(r["verdict"]) for r in phases.to_dict("records")}
    rows = []
    for domain in domains:
        what = SCORE_LABELS.get(domain) or GROUP_LABELS.get(groups.get(domain, ""), "")
        verdicts = [of.get((domain, run), "") for run in runs]
        name = ("≠ " if len(set(verdicts)) > 1 else "") + heading(domain) + (f" ({what})" if what else "")
        rows.append((name, tuple(map(_verdict, verdicts))))
    differ = any(name.startswith("≠") for name, _ in rows)
    return Grid(("Domain", *runs), tuple(rows), "≠ : the runs have different verdicts." if differ else "")


def differing_grid(found: Comparison) -> Grid | None:
    """Other findings (mechanisms, lengths, warnings) of which the runs have different verdicts."""
    if found.judged.empty:
        return None
    other = differing(found.judged[found.judged["kind"] != "phase"])
    if other.empty:
        return None
    runs = list(dict.fromkeys(found.judged["run"]))
    rows = []
    for finding, mine in other.groupby("id", sort=False):
        of = {str(r["run"]): str(r["verdict"]) or "numbers alone" for r in mine.to_dict("records")}
        name = str(finding).removeprefix(f"{mine['kind'].iloc[0]}:").replace(":", ", ").replace("-", " ")
        rows.append((heading(name), tuple(_verdict(of.get(run, "")) for run in runs)))
    return Grid(
        ("Finding", *runs),
        tuple(rows),
        "– : the run does not have this finding, or it was not measured. Numbers alone: it has it, without a verdict.",
    )


def differing_sentences(found: Comparison) -> list[tuple[str, list[tuple[str, bool, str]]]]:
    """By run: what its differing findings say (kind, whether exploratory, sentence)."""
    if found.judged.empty:
        return []
    table = differing(found.judged)
    return [
        (str(run), [(str(r["kind"]), bool(r["exploratory"]), str(r["sentence"])) for r in mine.to_dict("records")])
        for run, mine in table.groupby("run", sort=False)
    ]


def _verdict(verdict: str) -> Cell:
    if not verdict:
        return Cell("", "open", "–")
    sign, tone, _ = VERDICTS.get(verdict, ("", "open", ""))
    return Cell(sign, tone, verdict.replace("-", " ") if verdict not in VERDICTS else verdict)


# ---------------------------------------------------------------- appendix


def runs_table(found: Comparison) -> Table | None:
    if not len(found.runs):
        return None
    rows = []
    for r in found.runs.to_dict("records"):
        last = "" if pd.isna(r["last_step"]) else str(int(r["last_step"]))
        cells = (r["run"], r["arm"], r["seed"], r["model"], r["data"], r["schedule"], r["checkpoints"])
        rows.append((*("" if c is None else str(c) for c in cells), last))
    return Table(("Run", "Arm", "Seed", "Model", "Data", "Schedule", "Checkpoints", "Last step"), tuple(rows))


def hash_table(found: Comparison) -> Table | None:
    if not len(found.runs):
        return None
    columns = {
        "run": "Run",
        "path": "Folder",
        "config_hash": "Config",
        "base_weights": "Base weights",
        "data_sha256": "Data",
    }
    rows = tuple(tuple(str(r[c]) or "–" for c in columns) for r in found.runs.to_dict("records"))
    return Table(tuple(columns.values()), rows)


def differing_settings(found: Comparison) -> Table | None:
    """Settings down, runs across; only what is not the same in all."""
    table = found.settings
    if table.empty:
        return None
    runs, settings = list(dict.fromkeys(table["run"])), list(dict.fromkeys(table["setting"]))
    of = {(r["setting"], r["run"]): str(r["value"]) for r in table.to_dict("records")}
    rows = tuple((s, *(of.get((s, run)) or "–" for run in runs)) for s in settings)
    return Table(("Setting", *map(str, runs)), rows)


def file_table(found: Comparison) -> Table:
    rows = [("comparison.json", "the answer, the findings, the runs, what was left out")]
    rows += [
        (f"{name}.csv, .parquet", f"{len(t):,} rows: {', '.join(map(str, t.columns[:6]))}…")
        for name, t in found.tables().items()
    ]
    return Table(("File", "What is in it"), tuple(rows))


def _label(group: object) -> str:
    return heading(GROUP_LABELS.get(str(group), str(group)))
