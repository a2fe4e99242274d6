"""`python -m sftscope.dynamics.calibrate [STUDY …] [--draws 2000]`: the error rates, printed; 1 where a rule is broken."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pkgutil import iter_modules

from . import studies
from .cells import Cell, holds, measure


def cells_of(study: str) -> list[Cell]:
    return import_module(f"{studies.__name__}.{study}").cells()


def main() -> None:
    known = sorted(m.name for m in iter_modules(studies.__path__))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", choices=[*known, []], default=known)
    parser.add_argument("--draws", type=int, default=2000)
    asked = parser.parse_args()
    kept = True
    for name in asked.studies:
        rates = measure(cells_of(name), asked.draws)
        errors = [r for r in rates if not r.cell.power and r.of]
        print(f"{name}, {asked.draws} draws a cell")
        for r in rates:
            told = "seen " if r.cell.power else "error"
            print(f"  {told} {r.value:.3f}  of {r.of:5d}  lower bound {r.lower(len(errors)):.3f}  {r.cell.name}")
        pooled = sum(r.hits for r in errors) / sum(r.of for r in errors)
        kept &= holds(rates)
        print(f"  pooled error {pooled:.4f}; the rule {'holds' if holds(rates) else 'is BROKEN'}")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
