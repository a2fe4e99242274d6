"""`sftscope compare`: runs, or a table of last-checkpoint scores; what differs, printed and written."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dynamics.comparison.compare import Comparison, compare, compare_scores, last_table
from .dynamics.comparison.conditional import ASSUMED, ConditionalTable
from .dynamics.comparison.matching import Match
from .dynamics.comparison.repetition import Repetition
from .dynamics.comparison.score_tables import ItemColumns, read_table
from .dynamics.errors import ConfigError, RecordError
from .dynamics.findings.wording import GROUP_LABELS, number, plain_name, signed
from .dynamics.model_text import visible
from .dynamics.record import RUN_FILE
from .dynamics.types import Estimate

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDTH = 100  # columns where the output is no terminal
MOST_PAIRS = 3  # that stand side by side in 100 columns


def compare_paths(
    paths: Sequence[str],
    out: Path | None,
    *,
    items: Path | None,
    by: Sequence[str],
    condition: str,
    base: str,
    columns: ItemColumns,
    match: Match,
    caliper: float | None,
) -> tuple[Comparison, list[Path]]:
    """What the command's arguments ask for, and the files written. Raises an SftscopeError for a user's mistake."""
    if not paths:
        raise ConfigError("nothing was named: give two runs or more, or a table of last-checkpoint scores with --items")
    if out is not None and (out / RUN_FILE).exists():
        raise ConfigError(f"{out} is a run's folder: give -o another one, for a comparison belongs to no single run")
    tables = [p for p in paths if Path(p).is_file()]
    if tables:
        if len(paths) > 1:
            raise ConfigError(
                f"{tables[0]} is a file, and {len(paths)} paths were given: compare one table of scores, or runs"
            )
        if items is None:
            raise ConfigError(
                f"{tables[0]} says nothing of its items: give --items, a table with benchmark, group, items"
            )
        found = compare_scores(
            read_table(tables[0]),
            read_table(items),
            by=tuple(by),
            condition=condition,
            base=base,
            item_columns=columns,
            sources=(tables[0], str(items)),
        )
    else:
        if items is not None:
            raise ConfigError("--items belongs to a table of scores; runs know their items")
        found = compare(_arms(paths), match=match, caliper=caliper)
    return found, found.write(out) if out is not None else []


def write_pages(found: Comparison, page: Path, command: str = "") -> list[Path]:
    """The comparison as HTML, and the same in Markdown beside it; their paths."""
    from .reports import write_comparison, write_comparison_markdown

    return [write_comparison(found, page, command), write_comparison_markdown(found, page.with_suffix(".md"))]


def command_of(function: Callable[..., Any], paths: Sequence[str], out: Path, options: Mapping[str, Any]) -> str:
    """The command that rebuilds what was written: `options` by flag; those that the command has by itself are left out."""
    defaults = {n.replace("_", "-"): p.default for n, p in inspect.signature(function).parameters.items()}
    words = ["sftscope", function.__name__, *paths]
    for flag, value in options.items():
        if value != defaults[flag]:
            words += [f"--{flag}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return shlex.join([*words, "-o", str(out)])


def runs_compared(paths: Sequence[str]) -> Comparison:
    """Several runs compared as `sftscope compare` does it by default."""
    return compare(_arms(paths))


def _arms(paths: Sequence[str]) -> Sequence[str] | Mapping[str, list[str]]:
    """Runs, or arms by name where paths are given as NAME=RUN."""
    named = ["=" in p and not Path(p).exists() for p in paths]
    if not any(named):
        for path in paths:
            if not Path(path).exists():
                raise RecordError(f"no run and no table at {path}")
        return paths
    if not all(named):
        raise ConfigError(f"{paths[named.index(False)]} has no arm: name all runs (ARM=RUN), or none")
    arms: dict[str, list[str]] = {}
    for path in paths:
        name, _, run = path.partition("=")
        if not name or not run:
            raise ConfigError(f"{path!r} names no {'run' if name else 'arm'}: write ARM=RUN")
        arms.setdefault(name, []).append(run)
    return arms


# ---------------------------------------------------------------- printing


def print_comparison(found: Comparison, console: Console | None = None) -> None:
    """Tables and findings in the terminal, readable at 100 columns."""
    from rich.console import Console
    from rich.padding import Padding

    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH, highlight=False)
    for i, sentence in enumerate(found.answer(), 1):
        console.print(_plain(f"{i}. {sentence}"))
    console.print()
    tables: list[Table] = []
    if len(found.runs):
        tables.append(_runs(found.runs))
    if found.conditional is not None:
        tables += [_gains(found.conditional, family) for family in found.conditional.families()]
    if found.repetition is not None:
        tables += [_settings(found.repetition), _repetition(found.repetition)]
    if 0 < len({(p.a, p.b) for p in found.pairs}) <= MOST_PAIRS:
        tables.append(_last(last_table(found.pairs)))
    for table in tables:
        console.print(table)
        console.print()
    for finding in found.findings:
        console.print(_plain(finding.kind, "bold yellow" if finding.kind == "warning" else "bold"))
        console.print(Padding(_plain(finding.sentence), (0, 0, 0, 2)))
        console.print(Padding(_plain(f"would overturn it: {finding.would_overturn}", "dim"), (0, 0, 1, 2)))


def _plain(value: object, style: str = "") -> Text:
    """What others named or wrote, as text and nothing else: brackets are no markup, and no character goes unseen."""
    from rich.text import Text

    return Text(visible(str(value)), style=style)


def _column(table: Table, name: object, **look: Any) -> None:
    table.add_column(_plain(name), **look)


def _row(table: Table, cells: Iterable[object], style: str = "") -> None:
    table.add_row(*map(_plain, cells), style=style)


def _table(title: str, caption: str = "") -> Table:
    from rich.table import Table

    return Table(
        title=_plain(title, "table.title"),
        title_justify="left",
        caption=_plain(caption, "table.caption") if caption else None,
        caption_justify="left",
        box=None,
        pad_edge=False,
    )


def _runs(runs: pd.DataFrame) -> Table:
    table = _table("Runs")
    for name in ("run", "arm", "model", "data", "schedule"):
        _column(table, name, overflow="fold")
    _column(table, "last step", justify="right")
    for row in runs.itertuples():
        last = "" if row.last_step is None else str(row.last_step)
        _row(table, (row.run, row.arm, row.model, row.data, row.schedule, last))
    return table


def _gains(c: ConditionalTable, family: tuple[str, ...]) -> Table:
    rows, assumed = c.of("groups", family), c.of("groups", family, sampling=ASSUMED)
    members = rows.drop_duplicates("group")
    means = [
        f"{_label(r.group)}: {r.benchmarks.replace(' ', ', ')}"
        + (f" (without {r.left_out.replace(' ', ', ')})" if r.left_out else "")
        for r in members.itertuples()
    ]
    alike = "alike: who shares a letter is not separated by these items"
    caption = "\n".join([*means, f"{alike}; intervals of one table hold together, {c.deciding}"])
    table = _table(f"{', '.join(family)}: gain over {c.base}, points", caption)
    for name in ("group", c.condition):
        _column(table, name, overflow="fold")
    _column(table, "gain", justify="right")
    _column(table, "alike")
    if len(assumed):
        _column(table, ASSUMED, justify="right", no_wrap=True)
    second = {(r.group, r.condition): r for r in assumed.itertuples()}
    before = ""
    for row in rows.itertuples():
        cells = [
            _label(row.group) if row.group != before else "",
            str(row.condition),
            _gain(row, c.base),
            str(row.letters),
        ]
        if len(assumed):
            other = second[row.group, row.condition]
            cells.append(_gain(other, c.base) + f"  {other.letters:<4}")
        _row(table, cells, "dim" if row.condition == c.base else "")
        before = row.group
    return table


def _gain(row: object, base: str) -> str:
    if getattr(row, "condition", "") == base:
        return "0"
    return _interval(row, "gain")


def _interval(row: object, value: str = "difference") -> str:
    e, lo, hi = (float(getattr(row, name)) for name in (value, "lo", "hi"))
    return signed(Estimate(e, lo, hi, 0, ""), 1)


def _last(rows: pd.DataFrame) -> Table:
    pairs = list(dict.fromkeys(zip(rows["a"], rows["b"], strict=True)))
    table = _table(
        "Differences at the last matched checkpoint, points", "* separated; all domains of a pair hold together"
    )
    _column(table, "domain")
    for a, b in pairs:
        _column(table, f"{a} - {b}", justify="right", overflow="fold")
    seeds = rows["seed_sd_a"].notna().any() or rows["seed_sd_b"].notna().any()
    if seeds:
        _column(table, "between seeds", justify="right")
    for domain, mine in rows.groupby("domain", sort=False):
        of = {(r.a, r.b): r for r in mine.itertuples()}
        cells = [_interval(of[p]) + (" *" if of[p].separated else "  ") if p in of else "" for p in pairs]
        if seeds:
            cells.append("; ".join(f"{number(r.seed_sd_a, 1)}, {number(r.seed_sd_b, 1)}" for r in of.values()))
        _row(table, (plain_name(str(domain)), *cells))
    return table


def _settings(r: Repetition) -> Table:
    table = _table("Settings")
    for name in r.settings.columns:
        _column(table, plain_name(name), justify="left" if name == "setting" else "right")
    for row in r.settings.itertuples(index=False):
        _row(table, (row[0], *(f"{v:,.6g}" for v in row[1:])))
    return table


def _repetition(r: Repetition) -> Table:
    title = "More epochs on fewer rows, against fewer epochs on more, at equal updates: points"
    table = _table(title, f"* separated; intervals hold together, {r.deciding}")
    for name in ("pair", "group"):
        _column(table, name)
    _column(table, "difference", justify="right")
    assumed = {(q.repeated, q.covered, q.group): q for q in r.pairs[r.pairs["sampling"] == ASSUMED].itertuples()}
    if assumed:
        _column(table, ASSUMED, justify="right", no_wrap=True)
    for row in r.pairs[r.pairs["sampling"] == r.deciding].itertuples():
        cells = [f"{row.repeated} - {row.covered}", _label(row.group), _starred(row)]
        if assumed:
            cells.append(_starred(assumed[row.repeated, row.covered, row.group]))
        _row(table, cells)
    return table


def _starred(row: object) -> str:
    return _interval(row) + (" *" if getattr(row, "separated", False) else "  ")


def _label(group: object) -> str:
    return GROUP_LABELS.get(str(group), plain_name(str(group)))
