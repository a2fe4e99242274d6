"""Results of EleutherAI's evaluation harness: a folder with `results_<date>.json` of several checkpoints, and where
`--log_samples` was on, the answers beside them.

Read as lm-eval 0.4 writes them: `results[task]["<metric>,<filter>"]`, `n-samples`, `groups`, `model_name`; in
`samples_<task>_<date>.jsonl` a row per question and filter with `doc_id`, `filter` and the metric's value.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError, nearest
from ..steps import step_of, step_of_revision
from .forms import from_answers
from .tables import Benchmark, Scores, read_benchmarks


def read_results(folder: Path, items: Path | None) -> Scores:
    """Scores of all checkpoints whose results lie in a folder, item by item where every one of them has its answers.

    The step is read from the model's path or the names of the folders (`checkpoint-40`, `step640`); of several results
    of one step the newest counts. The metric is the first that a task reports, or the one named in the items table.
    """
    files = sorted(folder.rglob("results_*.json"), key=lambda f: f.name)  # the name ends with the date
    if not files:
        raise DataError(f"{folder} holds no results of lm-eval (results_*.json)")
    known = read_benchmarks(items) if items is not None else {}
    found: dict[tuple[int, str], tuple[float, Path, str]] = {}
    benchmarks: dict[str, Benchmark] = {}
    notes: dict[str, None] = {}
    for file in files:
        told = _read(file)
        step = _step(told, file, folder)
        for task, values in told["results"].items():
            if task in told.get("groups", {}):
                continue  # a mean over tasks that are there themselves
            metric = _metric(task, values, known.get(task), str(file))
            if metric is None:
                notes[f"{task!r} reports no number that is a score"] = None
                continue
            counted = (told.get("n-samples") or {}).get(task, {}).get("effective")
            earlier = benchmarks.get(task)
            if earlier is not None and earlier.metric != metric:
                raise DataError(f"{file} scores {task!r} by {metric}, earlier results by {earlier.metric}: name one")
            if earlier is not None and earlier.items != counted:
                raise DataError(f"{file}: {task!r} has {counted} questions, earlier results have {earlier.items}")
            group = known[task].group if task in known else Benchmark().group
            benchmarks[task] = Benchmark(group, counted, 1, "share", metric)
            found[step, task] = (float(values[metric]), file, metric)
    if not found:
        raise DataError(f"{folder}: the results hold no score")
    _check_shares(found)
    answers = {key: _answers(file, key[1], metric) for key, (_, file, metric) in found.items()}
    whole = {t for t in benchmarks if all(a is not None for (_, task), a in answers.items() if task == t)}
    single = [a.assign(step=step, benchmark=t) for (step, t), a in answers.items() if t in whole and a is not None]
    rows = [
        {"step": step, "benchmark": t, "value": value} for (step, t), (value, *_) in found.items() if t not in whole
    ]
    items_of = from_answers(pd.concat(single), {t: benchmarks[t] for t in whole}, str(folder)) if single else None
    if items_of is None:
        return Scores(benchmarks, pd.DataFrame(rows), notes=tuple(notes))
    means = pd.concat([items_of.aggregates, pd.DataFrame(rows)]) if rows else items_of.aggregates
    return Scores(benchmarks | items_of.benchmarks, means, items_of.items, tuple(notes))


def _read(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise DataError(f"{file} is not JSON: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("results"), dict):
        raise DataError(f"{file} holds no `results`: it is not one of lm-eval's")
    return told


def _step(told: dict[str, Any], file: Path, folder: Path) -> int:
    model = str(told.get("model_name") or "")
    inside = file.relative_to(folder).parent.parts
    for name in [*reversed(Path(model).parts), *reversed(inside), *(part.replace("__", "/") for part in inside)]:
        step = step_of(name)
        step = step if step is not None else step_of_revision(name)
        if step is not None:
            return step
    raise DataError(
        f"{file}: neither the model ({model or 'unnamed'}) nor the folder says which step it is: put it into a folder "
        "named after its step, such as `step-0` for the base"
    )


def _metric(task: str, values: dict[str, Any], known: Benchmark | None, where: str) -> str | None:
    scores = [k for k, v in values.items() if isinstance(v, int | float) and "," in k and "_stderr," not in k]
    if known is None or not known.metric:
        return scores[0] if scores else None
    wanted = known.metric if "," in known.metric else f"{known.metric},none"
    if wanted not in scores:
        raise DataError(f"{where}: {task!r} has no metric {known.metric!r}: {nearest(wanted, scores)}")
    return wanted


def _check_shares(found: dict[tuple[int, str], tuple[float, Path, str]]) -> None:
    for (_, task), (value, file, metric) in found.items():
        if not 0 <= value <= 1:
            raise DataError(
                f"{file}: {metric} of {task!r} is {value:g} and no share: name another `metric` of the task"
            )


def _answers(file: Path, task: str, metric: str) -> pd.DataFrame | None:
    """The metric of each question; None where the answers were not logged or the metric is not one number each."""
    date = file.stem.removeprefix("results_")
    samples = file.with_name(f"samples_{task}_{date}.jsonl")
    if not samples.is_file():
        return None
    name, wanted = metric.split(",", 1)
    rows = []
    for number, line in enumerate(samples.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{samples}, line {number} is not JSON: {error}") from error
        if row.get("filter", wanted) != wanted:
            continue
        if not isinstance(row.get(name), int | float):
            return None
        rows.append({"cluster": str(row["doc_id"]), "value": float(row[name])})
    return pd.DataFrame(rows) if rows else None
