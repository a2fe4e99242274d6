"""The tables of `docs/validity-rates.md`, written between two marks; the words around them are by hand."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy

from ..errors import DataError
from .cells import Rate, looks_of, most_wrong, pools

START, END = "<!-- calibration: written by the command -->", "<!-- /calibration -->"


def rewrite(page: Path, found: Mapping[str, Sequence[Rate]]) -> None:
    """Put the tables of these studies in place of what stands between the marks of a page.

    Raises DataError for a page that does not exist or lacks the marks.
    """
    text = page.read_text() if page.is_file() else ""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise DataError(f"{page} has no lines {START!r} and {END!r}: add them where the tables are to stand")
    aside = page.with_name(page.name + ".part")
    aside.write_text(f"{before}{START}\n\n{tables(found)}\n{END}{after}")
    os.replace(aside, page)


def tables(found: Mapping[str, Sequence[Rate]]) -> str:
    """A summary over all tests, then every cell of every study, in Markdown."""
    parts = [_versions(found), _summary(found)]
    parts += [f"### {study}\n\n{_cells(rates)}" for study, rates in found.items()]
    return "\n".join(parts)


# ---------------------------------------------------------------- parts


def _versions(found: Mapping[str, Sequence[Rate]]) -> str:
    draws = sorted({r.draws for rates in found.values() for r in rates})
    counts = " or ".join(f"{d:,}" for d in draws)
    cells = sum(len(rates) for rates in found.values())
    return (
        f"{cells} cells, {counts} draws each; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}.\n"
    )


def _summary(found: Mapping[str, Sequence[Rate]]) -> str:
    rows = [
        "| study | test | cells | pooled | limit | worst cell | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for study, rates in found.items():
        for p in pools(rates):
            own = [r for r in rates if (r.cell.test, r.cell.kind) == (p.test, p.kind) and r.of]
            pick = min if p.kind == "power" else max
            worst = pick(own, key=lambda r: r.value)
            cells_kept = all(r.verdict(looks_of(rates, p.kind)) != "BROKEN" for r in own)
            verdict = "seen" if p.limit is None else "holds" if p.kept and cells_kept else "**BROKEN**"
            limit = "" if p.limit is None else f"{'≥' if p.kind == 'power' else '≤'} {_percent(p.limit)}"
            name = f"{p.test or 'all'}: {_KIND[p.kind]}"
            rows.append(
                f"| {study} | {name} | {p.cells} | {_percent(p.value, 2)} | {limit} | {_percent(worst.value)} | {verdict} |"
            )
    return "\n".join(rows) + "\n"


def _cells(rates: Sequence[Rate]) -> str:
    rows = ["| cell | of | rate | bound | target | verdict |", "| --- | --- | --- | --- | --- | --- |"]
    for r in rates:
        looks = looks_of(rates, r.cell.kind)
        verdict = r.verdict(looks)
        if r.cell.kind == "power":
            bound = f"≤ {_percent(r.upper(looks))}" if r.of else ""
            target = "" if r.cell.at_least is None else f"≥ {_percent(r.cell.at_least)}"
        else:
            bound = f"≥ {_percent(r.lower(looks))}" if r.of else ""
            target = f"≤ {_percent(most_wrong(r.cell))}"
        told = {"no target": "seen", "BROKEN": "**BROKEN**"}.get(verdict, verdict)
        rows.append(
            f"| {r.cell.name}, {_KIND[r.cell.kind]} | {r.of:,} | {_percent(r.value)} | {bound} | {target} | {told} |"
        )
    return "\n".join(rows) + "\n"


_KIND = {"error": "error", "power": "power", "coverage": "missed"}


def _percent(share: float, digits: int = 1) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.{digits}f} %"
