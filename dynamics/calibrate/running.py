"""Measuring many cells: chunk by chunk, on several processes, going on where an earlier run stopped."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from threadpoolctl import threadpool_limits

from . import studies
from .cells import Cell, Rate, chunks, measure_chunk, rates_of
from .code import version_of
from .results import Chunk, Key, Results

Job = tuple[str, Key]  # study, what to measure
Say = Callable[[str], None]


def known_studies() -> list[str]:
    return sorted(m.name for m in iter_modules(studies.__path__))


@cache
def cells_of(study: str) -> dict[str, Cell]:
    """A study's cells by name."""
    cells = import_module(f"{studies.__name__}.{study}").cells()
    found = {c.name: c for c in cells}
    if len(found) < len(cells):
        raise ValueError(f"{study}: two cells of the same name")
    return found


def code_of(study: str) -> str:
    """The version of the code that a study's numbers come from."""
    return version_of(Path(str(import_module(f"{studies.__name__}.{study}").__file__)))


def run(
    asked: Sequence[str], draws: int, out: Path, *, seed: int = 0, workers: int = 1, say: Say = print
) -> dict[str, list[Rate]]:
    """The rates of every cell of these studies; what `out` holds already is not measured again, and said so."""
    stored = {study: Results(out, study) for study in asked}
    keys = {study: _keys(study, draws, seed) for study in asked}
    todo = [(s, k) for s in asked for group in keys[s].values() for k in group if k not in stored[s].chunks]
    for study in asked:
        done = sum(all(k in stored[study].chunks for k in group) for group in keys[study].values())
        if done:
            say(f"{study}: {done} of {len(keys[study])} cells are done already ({stored[study].path})")
    clock = _Clock(todo, stored, workers)
    with _pool(workers) as each:
        for (study, key), chunk in each(todo):
            stored[study].add(key, chunk)
            clock.tick(study, chunk)
            group = keys[study][key.cell]
            if all(k in stored[study].chunks for k in group):
                for rate in _rates(study, key.cell, group, stored[study], draws):
                    say(f"{study}: {rate.value:.3f} of {rate.of:5d}  {rate.cell.name}   [{clock.left()}]")
    return {
        study: [r for name, group in keys[study].items() for r in _rates(study, name, group, stored[study], draws)]
        for study in asked
    }


def stored_rates(asked: Sequence[str], draws: int, out: Path, *, seed: int = 0) -> dict[str, list[Rate]]:
    """The rates of the cells that are done; nothing is measured."""
    found: dict[str, list[Rate]] = {}
    for study in asked:
        stored = Results(out, study)
        for name, group in _keys(study, draws, seed).items():
            if all(k in stored.chunks for k in group):
                found.setdefault(study, []).extend(_rates(study, name, group, stored, draws))
    return found


def a_slice_of(cells: Sequence[Cell], most: int = 8) -> list[Cell]:
    """Up to `most` cells in the order of their names' hashes: always the same ones, and of every sort."""
    return sorted(cells, key=lambda c: hashlib.sha256(c.name.encode()).digest())[:most]


# ---------------------------------------------------------------- parts


def _keys(study: str, draws: int, seed: int) -> dict[str, list[Key]]:
    code = code_of(study)
    sizes = list(enumerate(chunks(draws)))
    return {name: [Key(name, seed, k, size, code) for k, size in sizes] for name in cells_of(study)}


def _rates(study: str, cell: str, group: Sequence[Key], stored: Results, draws: int) -> list[Rate]:
    return rates_of(cells_of(study)[cell], [stored.chunks[k].counts for k in group], draws)


def _work(job: Job) -> tuple[Job, Chunk]:
    study, key = job
    start = time.perf_counter()
    counts = measure_chunk(cells_of(study)[key.cell], key.chunk, key.size, key.seed, study=study)
    return job, Chunk(counts, round(time.perf_counter() - start, 3))


@contextmanager
def _pool(workers: int) -> Iterator[Callable[[Sequence[Job]], Iterator[tuple[Job, Chunk]]]]:
    """Jobs in, results out as they come. One BLAS thread each: several would wait for each other."""
    if workers == 1:
        with threadpool_limits(1):
            yield partial(map, _work)
        return
    with multiprocessing.get_context("spawn").Pool(workers, threadpool_limits, (1,)) as pool:
        yield partial(pool.imap_unordered, _work)


class _Clock:
    """How long the rest takes, from the seconds that chunks of the same study took, in this run and before it."""

    def __init__(self, todo: Sequence[Job], stored: dict[str, Results], workers: int) -> None:
        self.workers = workers
        self.left_of = {s: sum(study == s for study, _ in todo) for s in stored}
        self.took = {s: [c.seconds for c in r.chunks.values()] for s, r in stored.items()}

    def tick(self, study: str, chunk: Chunk) -> None:
        self.left_of[study] -= 1
        self.took[study].append(chunk.seconds)

    def left(self) -> str:
        known = [t for took in self.took.values() for t in took]
        overall = sum(known) / len(known)
        means = {s: sum(took) / len(took) if took else overall for s, took in self.took.items()}
        seconds = sum(self.left_of[s] * means[s] for s in means) / self.workers
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
