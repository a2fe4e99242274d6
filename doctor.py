"""`sftscope doctor`: everything that can be known of a run before a GPU hour is spent, from what is on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .dynamics.checks import Check
from .recipes import Recipe, make_records

STYLES = {"ok": "green", "note": "yellow", "not checked": "cyan", "failed": "bold red"}


def examine(recipe: Recipe, out: Path) -> list[Check]:
    """The checks of training and of probing, for a run that would be written to `out`. Writes nothing there.

    Raises an SftscopeError for what training would stop at.
    """
    from .probes.checks import checks as probe_checks
    from .train.checks import checks as train_checks

    with TemporaryDirectory() as aside:
        outlook = train_checks(_made_aside(recipe, Path(aside)).train, out)
    rows = None if outlook.records is None else _texts(outlook.records)
    return [*outlook.checks, *probe_checks(recipe.probes, rows), _primaries(recipe)]


def _made_aside(recipe: Recipe, aside: Path) -> Recipe:
    """The recipe with the rows that it makes in another folder, and those rows made there."""
    if recipe.arm is None:
        return recipe
    data = recipe.train.data
    elsewhere = {name: aside / path.name for name, path in data.heldout.items() if not path.exists()}
    path = data.path if data.path.exists() else aside / data.path.name
    data = replace(data, path=path, heldout={**data.heldout, **elsewhere})
    recipe = replace(recipe, train=replace(recipe.train, data=data))
    make_records(recipe)
    return recipe


def show_checks(checks: Sequence[Check]) -> None:
    """Print them, a line each, with what they have to show below."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        console.print(f"[{STYLES[check.status]}]{check.status:<12}[/]", end="")
        console.print(f"{check.name:<14}{check.text}", markup=False)
        if check.detail is not None:
            console.print()
            console.print(check.detail)


def _texts(records: Sequence[Any]) -> Iterator[tuple[int, list[str]]]:
    """Line and texts of every row: prompt and response, or each message."""
    for record in records:
        if hasattr(record, "messages"):
            yield record.line, [str(message["content"]) for message in record.messages]
        else:
            yield record.line, [record.prompt, record.response]


def _primaries(recipe: Recipe) -> Check:
    declared = recipe.train.analysis.primary
    if declared:
        return Check("primaries", "ok", f"{', '.join(declared)}: declared before the run, all others are exploratory")
    return Check("primaries", "note", "none declared in `train.analysis.primary`: every finding will be exploratory")
