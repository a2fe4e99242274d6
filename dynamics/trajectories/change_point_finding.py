"""Breaks that recur: one break of one run is not a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ..errors import DataError
from ..findings.wording import number, plain_name
from ..record import Run
from ..types import Finding
from .change_point import ALPHA, MIN_CHECKPOINTS, ChangePoint, change_point, recurrence
from .trajectory import PRESENCE, from_run


def recurring_breaks(series: Mapping[str, Sequence[pd.Series]]) -> list[Finding]:
    """For each metric, whether its runs (series indexed by step) break at the same place; corrected for the metrics.

    Only checkpoints that all runs of a metric have are used. Metrics without a recurring break share one finding; none where no
    metric has two runs.
    """
    judged: dict[str, tuple[list[ChangePoint], list[float]]] = {}
    for name, runs in series.items():
        if len(runs) < 2:
            continue
        wide = pd.concat(list(runs), axis=1, join="inner").dropna().sort_index()
        judged[name] = [change_point(wide.iloc[:, i], seed=i) for i in range(len(runs))], [float(s) for s in wide.index]
    shown, quiet = [], []
    for name, (points, steps) in judged.items():
        again = recurrence(points, steps)
        p = min(1.0, again.p * len(judged))
        if again.shown and p <= ALPHA and again.between is not None:
            after, by = again.between
            shown.append(
                _finding(
                    name,
                    "break",
                    f"{_title(name)} breaks between steps {after:g} and {by:g} in {again.together} of {again.runs} runs, give or "
                    f"take a checkpoint: more than a smooth curve, a saturating one, a random walk or persistent noise makes (p "
                    f"{number(p, 3)}, corrected for {len(judged)} metrics).",
                    int(by),
                    points,
                )
            )
        else:
            quiet.append((name, points))
    if not quiet:
        return shown
    every = [c for _, points in quiet for c in points]
    told = {v: sum(c.verdict == v for c in every) for v in ("break", "no break", "cannot be told", "undefined")}
    sentence = (
        f"No break recurs over runs in {', '.join(_title(n).lower() for n, _ in quiet)}: of {len(every)} series {told['break']} "
        f"show one, {told['no break']} show none, in {told['cannot be told']} a walk or persistent noise does as well, and "
        f"{told['undefined']} cannot be judged ({MIN_CHECKPOINTS} checkpoints that vary are needed)."
    )
    return [*shown, _finding(",".join(n for n, _ in quiet), "none", sentence, None, every)]


def change_point_findings(runs: Sequence[Run]) -> list[Finding]:
    """Recurring breaks in the scores and the lengths of several runs; none for one run. Raises DataError where runs share no
    domain."""
    if len(runs) < 2:
        return []
    shared = set.intersection(*(set(run.domains()) for run in runs))
    if not shared:
        raise DataError(
            f"the runs {', '.join(r.name for r in runs)} share no domain: compare runs that measured the same"
        )
    series: dict[str, list[pd.Series]] = {}
    for domain in sorted(shared):
        for metric in (PRESENCE, "tokens"):
            if all(metric in run.item_metrics(domain) for run in runs):
                series[f"{domain}.{metric}"] = [from_run(run, domain, metric).series() for run in runs]
    return recurring_breaks(series)


def _title(name: str) -> str:
    domain, _, metric = name.partition(".")
    what = {"strict": "score", "tokens": "length"}.get(metric, plain_name(metric))
    return f"The {what} of {plain_name(domain)}" if metric else plain_name(name).capitalize()


def _finding(name: str, verdict: str, sentence: str, step: int | None, points: Sequence[ChangePoint]) -> Finding:
    return Finding(
        id=f"association:break:{name}",
        kind="association",
        sentence=sentence,
        domain=name.partition(".")[0] if "," not in name else "",
        metric=name.partition(".")[2] if "," not in name else "",
        verdict=verdict,
        step=step,
        method="left-out error with and without one break, against four worlds without; recurrence over runs",
        would_overturn="more seeds, or checkpoints beside the break, without it"
        if step is not None
        else "more seeds that break together",
        exploratory=True,
        details={
            "breaks": [
                {"verdict": c.verdict, "p": c.p, "between": None if c.between is None else list(c.between)}
                for c in points
            ]
        },
    )
