"""Mirroring a run's measurements to W&B, as a run of its own in the group of the training run. The run folder is the truth."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ..dynamics.association.series import middle
from ..dynamics.record import FINDINGS_FILE, Run
from ..dynamics.storage import content_key, sha256_file, write_json
from .overview import finding_views
from .page import write_report
from .source import Source
from .tables import interval

if TYPE_CHECKING:
    import pandas as pd
    import wandb

STEP = "train/step"
FOLDER = "wandb"
Mode = Literal["offline", "online", "disabled"]

# W&B name -> metric, a series for each domain that has it, each with its bounds.
BY_DOMAIN = {
    "score": "score_strict",
    "finish": "finish_rate",
    "tokens": "tokens_restricted_mean",
    "backtracks_per_opportunity": "backtracks_per_opportunity",
    "cues_per_1k_tokens": "cues_per_1k_tokens",
    "refusal": "refusal_rate",
    "harmful_compliance": "harmful_compliance_rate",
    "over_refusal": "over_refusal_rate",
    "helpful": "helpful_rate",
}
LAYERED = ("refusal_cosine_to_base", "refusal_auc_frozen", "refusal_gap_frozen")  # at the middle layer only


def push(run: Path | str, *, mode: Mode | None = None) -> Path | None:
    """Write the run's measurements, findings and page to W&B; give the folder of W&B's files, None where it is disabled.

    Offline unless `mode` or the variable WANDB_MODE (which wins) says otherwise. The W&B run is named by content: pushing
    the same again adds nothing, new measurements make a new run of the same group. Raises RecordError without an analysis.
    """
    source = Source(run)
    chosen = cast(Mode, os.environ.get("WANDB_MODE") or mode or "offline")
    if chosen == "disabled":
        return None
    content = content_of(source.run)
    folder = source.run.path / FOLDER
    marker = folder / f"pushed-{chosen}-{content}.json"
    if marker.is_file():
        pushed = folder / json.loads(marker.read_text())["folder"]
        if pushed.is_dir():
            return pushed
    for left in folder.glob(f"*run-*-{content}"):  # of a push that was cut off, or whose marker was deleted
        shutil.rmtree(left)
    files = _send(source, content, chosen)
    write_json(marker, {"id": content, "mode": chosen, "folder": files.name})  # last: all of it is there
    return files


def content_of(run: Run) -> str:
    """A hash of what is pushed: the measurements' files (named by content), the findings, and what run this is."""
    files = sorted(
        (str(f.relative_to(run.path)), f.stat().st_size) for f in run.path.glob("measurements/step-*/*.parquet")
    )
    identity = [run.info.get(k) for k in ("name", "created", "config_hash")]
    return content_key("push", 1, identity, files, sha256_file(run.path / FINDINGS_FILE), length=16)


def history(run: Run, steps: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row per checkpoint: `train/step` and every number that is measured and defined there."""
    tables = dict(_series(run))
    for step in steps:
        row: dict[str, Any] = {STEP: step}
        for name, table in tables.items():
            at = table[table["step"] == step]
            if at.empty:
                continue
            numbers = {name: "value", f"{name}_lower": "lo", f"{name}_upper": "hi"}
            values = {key: float(at.iloc[-1][column]) for key, column in numbers.items()}
            row |= {key: v for key, v in values.items() if math.isfinite(v)}  # undefined is absent, never 0
        yield row


def _series(run: Run) -> Iterator[tuple[str, pd.DataFrame]]:
    for prefix, metric in BY_DOMAIN.items():
        table = run.measurements(metric=metric)
        for domain in dict.fromkeys(table["domain"]) if len(table) else ():
            yield f"{prefix}/{domain}", table[table["domain"] == domain]
    for metric in LAYERED:
        if len(table := run.measurements(metric=metric)):
            layer = middle(sorted(set(table["layer"])))
            yield f"direction/{metric}", table[table["layer"] == layer]


def start(run: Run, job: str, key: str, mode: Mode) -> wandb.Run:
    """A W&B run named `<run>-<job>` in the group of the training run, its metrics plotted against the training step."""
    import wandb

    tracking = (run.info.get("config") or {}).get("tracking") or {}
    tracked = wandb.init(
        dir=str(run.path),
        project=tracking.get("project") or "sftscope",
        group=tracking.get("group") or run.name,
        name=f"{run.name}-{job}",
        id=key,
        job_type=job,
        mode=mode,
        resume="allow" if mode == "online" else None,
        config={"run": run.name, "config_hash": run.info.get("config_hash")},
        settings=wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_machine_info=True,
        ),
    )
    tracked.define_metric(STEP)
    tracked.define_metric("*", step_metric=STEP)
    return tracked


def _send(source: Source, content: str, mode: Mode) -> Path:
    import wandb

    run = source.run
    report = write_report(run.path)
    tracked = start(run, "probes", content, mode)
    try:
        last = 0
        for row in history(run, source.steps):
            tracked.log(row)
            last = row[STEP]
        page = wandb.Html(report.read_text(encoding="utf-8"), inject=False, data_is_not_path=True)
        tracked.log({STEP: last, "findings": _findings(source), "report": page})
        files = Path(tracked.dir).parent
    except BaseException:
        tracked.finish(exit_code=1)
        raise
    tracked.finish()
    return files


def _findings(source: Source) -> wandb.Table:
    import wandb

    rows = []
    for view, finding in zip(finding_views(source), source.findings, strict=True):
        e = finding.get("estimate")
        estimate = interval(float(e["value"]), float(e["lo"]), float(e["hi"])) if e else ""
        rows.append([view.kind, finding.get("domain") or "", view.verdict, view.sentence, estimate, view.exploratory])
    return wandb.Table(columns=["kind", "domain", "verdict", "sentence", "estimate", "exploratory"], data=rows)
