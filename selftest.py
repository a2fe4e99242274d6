"""`sftscope selftest`: what measurements of a model mean before a run, printed and kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .dynamics.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from .dynamics.types import Estimate
    from .probes.selftest import Outcome

STYLES = {"ok": "green", "look": "yellow", "not checked": "cyan", "failed": "bold red"}


def run_selftest(
    model: str, out: Path | None, domains: Sequence[str], items: int, temperature: float, tokenizer: str | None
) -> bool:
    """Test a model, print what was found, and write `selftest.json` to `out`; whether anything failed.

    Raises CheckpointError for a model that cannot be read, and ConfigError for settings that cannot be used.
    """
    from rich.console import Console

    from .dynamics.storage import write_json
    from .probes.checkpoints import note_on_ends
    from .probes.finding import find_checkpoints, tokenizer_folder
    from .probes.microworld import DOMAINS
    from .probes.selftest import selftest

    if not 0 < temperature <= 10:
        raise ConfigError(f"`--temperature` is {temperature}: give one above 0, at which two seeds differ, up to 10")
    found = find_checkpoints([model], tokenizer=None if tokenizer is None else tokenizer_folder(tokenizer))
    if len(found) != 1:
        raise CheckpointError(f"{model} holds {len(found)} checkpoints, and one is tested: give {found[0].path}")
    console = Console(highlight=False)
    if note := note_on_ends(found):
        console.print(f"note: {note}", markup=False)
    with Console(stderr=True).status("") as status:
        outcome = selftest(
            found[0], domains=domains or tuple(DOMAINS), items=items, temperature=temperature, say=status.update
        )
    console.print(_lines(outcome))
    console.print()
    console.print(_floors(outcome, temperature))
    if out is not None:
        lines = {line.name: {"status": line.status, "text": line.text, **line.numbers} for line in outcome.lines}
        write_json(
            out / "selftest.json",
            {"schema": 1, "model": model, "weights": found[0].weights, "items": items, "lines": lines},
        )
        console.print(f"\nnumbers: {(out / 'selftest.json').resolve()}", soft_wrap=True)
    if outcome.failed:
        console.print(f"\nfailed: {', '.join(outcome.failed)}. What is measured on this model would be wrong there.")
    return bool(outcome.failed)


def _lines(outcome: Outcome) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for line in outcome.lines:
        table.add_row(Text(line.status, STYLES[line.status]), line.name, Text(line.text))
    return table


def _floors(outcome: Outcome, temperature: float) -> Table:
    from rich.table import Table

    title = f"noise floor: one checkpoint sampled twice at temperature {temperature:g}"
    table = Table(box=None, title=title, title_justify="left", pad_edge=False)
    table.add_column("domain")
    for name in ("scores", "by chance", "tokens", "by chance", "changed", "ended"):
        table.add_column(name, justify="right")
    for f in outcome.floors:
        table.add_row(
            f.domain,
            f"{f.score[0]:.2f} {f.score[1]:.2f}",
            _interval(f.score_difference, ".2f"),
            f"{f.tokens[0]:.0f} {f.tokens[1]:.0f}",
            _interval(f.tokens_difference, ".0f"),
            f"{f.flipped:.0%}",
            f"{f.finished:.0%}",
        )
    return table


def _interval(e: Estimate, form: str) -> str:
    """A difference with half the width of its interval."""
    half = "" if math.isnan(e.lo) else f" ±{(e.hi - e.lo) / 2:{form}}"
    return f"{e.value:+{form}}{half}"
