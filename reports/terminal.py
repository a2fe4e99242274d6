"""A run in the terminal: the short answers, scores by checkpoint with sparklines, findings. For people on a remote machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import overview
from .answers import answers
from .source import Source, heading
from .tables import number
from .text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BLOCKS = "▁▂▃▄▅▆▇█"
STYLES = {"good": "green", "bad": "red", "open": "yellow"}


def show(run: Path | str, *, console: Console | None = None) -> None:
    """Print the answers, the strict scores by checkpoint and the findings of a run. Raises RecordError when it has not been
    analysed."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    source = Source(run)
    console = console or Console()
    console.print(Text(visible(source.run.name), style="bold"))
    console.print(Text(visible(overview.title_line(source))))
    console.print()
    for answer in answers(source):
        console.print(Text(visible(answer.question), style="dim"))
        said = Text.assemble((f"{visible(answer.short)}. ", "bold"), visible(answer.text))
        console.print(Padding(said, (0, 0, 0, 2)))
    if len(source.bands):
        console.print()
        console.print(score_table(source, console.width))
    console.print()
    for finding in overview.finding_views(source):
        line = Text()
        if finding.verdict:
            line.append(f"{finding.sign} {finding.verdict}  ", style=f"bold {STYLES[finding.tone]}")
        elif finding.kind in ("advice", "warning"):
            line.append(f"{finding.label}  ", style="bold" if finding.kind == "advice" else "bold red")
        line.append(visible(finding.sentence))
        if finding.exploratory and finding.kind not in ("advice", "warning"):
            line.append(" (exploratory)", style="dim")
        console.print(Padding(line, (0, 0, 0, 2)))
    for reason in overview.failures(source):
        console.print(Padding(Text.assemble(("failed  ", "bold red"), visible(reason)), (0, 0, 0, 2)))


def score_table(source: Source, width: int = 100) -> Table:
    """Strict scores, domains down and checkpoints across: as many checkpoints as fit, always the first and the last."""
    from rich.table import Table
    from rich.text import Text

    scores = source.bands.pivot_table(index="domain", columns="step", values="score", dropna=False)
    longest = max(len(heading(d)) for d in scores.index)
    spark = min(len(scores.columns), 32)
    room = max(2, (width - longest - spark - 24) // (2 + max(4, *(len(str(s)) for s in scores.columns))))
    columns = _some(list(scores.columns), room)
    left_out = len(scores.columns) - len(columns)
    title = "Strict score by checkpoint" + (f" ({left_out} of {len(scores.columns)} left out)" if left_out else "")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("domain")
    for step in columns:
        table.add_column(str(step), justify="right")
    table.add_column("")
    table.add_column("verdict")
    verdicts = {row.domain: row for row in overview.verdict_rows(source)}
    for domain in source.groups:
        if domain not in scores.index:
            continue
        values = scores.loc[domain]
        verdict = verdicts[heading(domain)]
        label = Text(f"{verdict.sign} {verdict.verdict}", style=STYLES[verdict.tone])
        cells = [number(float(values[s])) for s in columns]
        table.add_row(Text(visible(heading(domain))), *cells, sparkline([float(v) for v in values][-spark:]), label)
    return table


def sparkline(values: Sequence[float], low: float = 0.0, high: float = 1.0) -> str:
    """One block a value, on a fixed scale so that lines can be compared; a gap where there is none."""
    top = len(BLOCKS) - 1

    def block(value: float) -> str:
        if math.isnan(value):
            return " "
        return BLOCKS[min(top, max(0, round((value - low) / (high - low) * top)))]

    return "".join(block(v) for v in values)


def _some(steps: list[int], most: int) -> list[int]:
    """At most `most` of the steps, evenly spread, with the first and the last."""
    if len(steps) <= most:
        return steps
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
