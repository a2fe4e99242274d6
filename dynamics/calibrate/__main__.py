"""The error rates, power and coverage of every inference, by simulation; exit status 1 where a rule is broken.

`python -m sftscope.dynamics.calibrate [STUDY …] [--draws 2000] [--out DIR] [--workers 2] [--slice] [--page FILE]`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError, SftscopeError, nearest
from .cells import CHUNK, Rate, broken, looks_of, measure, pools
from .page import rewrite
from .running import a_slice_of, cells_of, known_studies, run, stored_rates

SLICE_DRAWS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    known = known_studies()
    parser = argparse.ArgumentParser(prog="python -m sftscope.dynamics.calibrate", description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"all of them by default: {', '.join(known)}")
    parser.add_argument("--draws", type=int, default=2000, help=f"simulated data sets a cell, {CHUNK} at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("calibration"), help="results as they come; a rerun goes on")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument(
        "--slice", action="store_true", help=f"eight cells a study at {SLICE_DRAWS} draws; nothing kept"
    )
    parser.add_argument("--page", type=Path, help="write the tables into the marked part of this Markdown file")
    parser.add_argument("--stored", action="store_true", help="measure nothing: report the cells that --out holds")
    asked = parser.parse_args(arguments)
    try:
        for study in asked.studies:
            if study not in known:
                raise ConfigError(f"no study is called {study!r}: {nearest(study, known)}")
        for name in ("draws", "workers"):
            if getattr(asked, name) < 1:
                raise ConfigError(f"--{name} {getattr(asked, name)}: at least 1 is needed")
        chosen = list(dict.fromkeys(asked.studies)) or known
        if asked.slice:
            found = {
                s: measure(a_slice_of(list(cells_of(s).values())), SLICE_DRAWS, asked.seed, study=s) for s in chosen
            }
        elif asked.stored:
            found = stored_rates(chosen, asked.draws, asked.out, seed=asked.seed)
            if not found:
                raise ConfigError(
                    f"{asked.out} holds no finished cell of this code, {asked.draws} draws and seed {asked.seed}"
                )
        else:
            found = run(chosen, asked.draws, asked.out, seed=asked.seed, workers=asked.workers, say=_say)
        if asked.page:
            rewrite(asked.page, found)
    except SftscopeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    kept = [_report(study, rates, few=asked.slice) for study, rates in found.items()]
    return 0 if all(kept) else 1


def _report(study: str, rates: Sequence[Rate], *, few: bool) -> bool:
    _say(f"\n{study}, {rates[0].draws} draws a cell")
    for r in rates:
        looks = looks_of(rates, r.cell.kind)
        _say(
            f"  {r.cell.kind:8s} {r.value:.3f} of {r.of:5d}  [{r.lower(looks):.3f}, {r.upper(looks):.3f}]  {r.cell.name}"
        )
    for p in pools(rates, few=few):
        limit = "" if p.limit is None else f", {'at least' if p.kind == 'power' else 'at most'} {p.limit:.3f}"
        _say(f"  {p.test or 'all cells'}, {p.kind} pooled over {p.cells} cells: {p.value:.4f}{limit}")
    lines = broken(rates, few=few)
    _say("  the rule " + ("is BROKEN: " + "; ".join(lines) if lines else "holds"))
    return not lines


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
