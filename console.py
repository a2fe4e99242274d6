"""What commands print on the way: a sign of life, settings, costs, failures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .dynamics.model_text import visible

if TYPE_CHECKING:
    from rich.table import Table

# Heavy imports happen inside: `sftscope --help` answers at once.


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """A sign of life, with the time passed, for stages of a few seconds that cannot tell how far they are."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn(doing), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task("")
        yield


def print_settings(mapping: dict) -> None:
    import yaml

    print(yaml.safe_dump(mapping, sort_keys=False).rstrip())


def print_costs(run: Path, stages: dict[str, float] | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    from .dynamics.record import Run

    console = Console()
    costs = Run(run).costs()
    if len(costs):
        table = Table("stage", title="cost of probing, summed over checkpoints and processes", title_justify="left")
        for name in ("seconds", "tokens", "MB written"):
            table.add_column(name, justify="right")
        for stage, row in costs.iterrows():
            table.add_row(str(stage), f"{row['seconds']:.1f}", f"{row['tokens']:,.0f}", f"{row['bytes'] / 1e6:.2f}")
        console.print(table)
    if stages is not None:
        table = Table("stage", title="time", title_justify="left")
        table.add_column("seconds", justify="right")
        for name, seconds in stages.items():
            table.add_row(name, f"{seconds:.1f}")
        table.add_row("all", f"{sum(stages.values()):.1f}", style="bold")
        console.print(table)


def print_failures(failures: list[str]) -> None:
    for failure in failures:
        print(visible(f"failed: {failure}"), file=sys.stderr)


def organism_table() -> Table:
    from rich.table import Table

    from .probes import organisms
    from .probes.microworld import DOMAINS

    cards = {name: organisms.card(name) for name in organisms.names()}
    table = Table("domain", *cards, box=None, title="strict scores, greedy", title_justify="left")
    table.add_row("(parameters)", *(f"{c['parameters']:,}" for c in cards.values()))
    for name, domain in DOMAINS.items():
        near = " (near)" if domain.distance == "near" else ""
        table.add_row(name + near, *(f"{c['scores'][name]['score_strict'][0]:.2f}" for c in cards.values()))
    return table
