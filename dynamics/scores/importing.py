"""Scores from elsewhere become a run folder, which everything that reads run folders can then read."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ..errors import ConfigError, RecordError
from ..record import FINDINGS_FILE, RUN_FILE, SCHEMA, STEPS_FILE, Run, write_measurements
from ..statistics.aggregates import share_of_items
from ..statistics.intervals import mean
from ..storage import content_key, remove_folder, whole_file, write_json
from ..types import Estimate, Measurement
from .forms import read_scores
from .lm_eval import read_results
from .tables import ENDINGS, PER_ONE, Benchmark, Scores

KIND, PROBE, METRIC = "scores", "imported", "score_strict"


def run_of(path: Path, items: Path | None, out: Path | None) -> Path:
    """The run folder itself, or the one made of scores from elsewhere. Raises ConfigError for options that do not fit."""
    a_run = (path / RUN_FILE).is_file()
    elsewhere = any(path.rglob("results_*.json")) if path.is_dir() else path.is_file() or path.suffix in ENDINGS
    if a_run or not elsewhere:
        if items is not None or out is not None:
            raise ConfigError(f"--items and -o belong to scores from elsewhere, and {path} holds none")
        return path
    if out is None:
        raise ConfigError(f"{path} holds scores: say with -o DIR where their findings go")
    return import_scores(path, out, items)


def import_scores(source: Path, out: Path, items: Path | None = None) -> Path:
    """Make `out` the run folder of a table of scores, or of a folder of lm-eval's results.

    What an earlier import left there is replaced, being derived from its source; another run's folder is an error.
    Raises DataError for what cannot be read (see `scores/tables.py`).
    """
    scores = read_results(source, items) if source.is_dir() else read_scores(source, items)
    info = {
        "schema": SCHEMA,
        "name": out.name,
        "kind": KIND,
        "source": str(source),
        "benchmarks": {name: asdict(b) for name, b in scores.benchmarks.items()},
        "notes": list(scores.notes),
    }
    settings = content_key(info, scores.aggregates.to_csv(index=False), scores.items.to_csv(index=False))
    _make_room(out)
    for step in sorted(set(scores.aggregates["step"]) | set(scores.items["step"])):
        _write(out, int(step), scores, settings)
    if len(scores.axes):
        with whole_file(out / STEPS_FILE) as aside:
            scores.axes.to_json(aside, orient="records", lines=True)
    write_json(out / RUN_FILE, info | {"settings": settings})
    return out


def _make_room(out: Path) -> None:
    if (out / RUN_FILE).is_file():
        if Run(out).info.get("kind") != KIND:
            raise RecordError(f"{out} is the folder of a run: give another for the scores")
        for folder in ("measurements", "items", "analysis"):
            remove_folder(out / folder)
        for file in (FINDINGS_FILE, STEPS_FILE):
            (out / file).unlink(missing_ok=True)
    elif out.exists() and any(p for p in out.iterdir() if not p.name.startswith(".")):
        raise RecordError(f"{out} is not empty and holds no {RUN_FILE}: give a new folder")


def _write(out: Path, step: int, scores: Scores, settings: str) -> None:
    rows = []
    at = scores.aggregates[scores.aggregates["step"] == step]
    answers = scores.items[scores.items["step"] == step]
    for name, value in zip(at["benchmark"], at["value"], strict=True):
        benchmark = scores.benchmarks[name]
        mine = answers[answers["benchmark"] == name]
        unit = "share" if benchmark.unit in PER_ONE else benchmark.unit
        estimate = mean(mine["value"], mine["cluster"].to_numpy()) if len(mine) else _aggregate(value, benchmark)
        rows.append(Measurement(step, PROBE, METRIC, estimate, unit, domain=name))
    groups = answers["benchmark"].map(lambda name: scores.benchmarks[name].group)
    table = answers.assign(group=groups, metric="strict", domain=answers["benchmark"])
    columns = ["domain", "group", "item", "cluster", "metric", "value"]
    key = content_key(settings, step)
    write_measurements(out, step, PROBE, key=key, settings=settings, rows=rows, items=_or_none(table[columns]))


def _aggregate(value: float, benchmark: Benchmark) -> Estimate:
    if benchmark.unit not in PER_ONE:
        unit = benchmark.unit or "unknown"
        why = f"how far its scores (unit: {unit}) spread over items is not known" if benchmark.items else _UNCOUNTED
        return Estimate(value, math.nan, math.nan, benchmark.items or 0, why)
    if benchmark.items is None:
        return Estimate(value, math.nan, math.nan, 0, _UNCOUNTED)
    return share_of_items(value, benchmark.items)


_UNCOUNTED = "how many items stand behind its scores is not known"


def _or_none(table: pd.DataFrame) -> pd.DataFrame | None:
    return table if len(table) else None
