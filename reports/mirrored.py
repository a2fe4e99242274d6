"""What the W&B runs of a push hold: each function fills one that is open, and gives the rows that it logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..dynamics.alerts import loss_not_finite
from ..dynamics.mirror.artifacts import checkpoint_artifact, declare_input, named, probe_artifact, report_artifact
from ..dynamics.mirror.rows import STEP, history, training_rows
from ..dynamics.mirror.tables import LAYERS, MEASURED, SAMPLES, Rows, SampleTables, layer_rows, measured_table
from ..dynamics.record import FINDINGS_FILE, Run, step_name
from ..dynamics.watching import past_alerts
from .overview import finding_views
from .page import write_pages
from .source import Source
from .tables import interval

if TYPE_CHECKING:
    import wandb


def training(run: Run, tracked: wandb.Run) -> int:
    """Every optimiser step, what was measured inline, whether the loss went to infinity, and the checkpoints."""
    rows, diverged = 0, None
    for step, row in training_rows(run):
        tracked.log(row, step=step)
        rows += 1
        if row.get("train/step_tokens") and "train/loss" in row:
            diverged = diverged or loss_not_finite(step, row["train/loss"])
    if diverged:
        tracked.alert(**diverged.for_wandb())
    for step, folder in run.checkpoints().items():
        tracked.log_artifact(checkpoint_artifact(run, step, folder), aliases=[step_name(step)])
    return rows


def probes(source: Source, say: Callable[[str], None], tracked: wandb.Run) -> int:
    """A row for each checkpoint with its alerts and its tables of samples and of all that is measured; the layers at all of
    them; what was measured of which weights."""
    import wandb

    run, samples, checkpoints = source.run, SampleTables(source.run), source.run.checkpoints()
    layers, alerts = layer_rows(run.measurements()), past_alerts(run)
    everything = run.measurements(failed=True)
    longest = 0
    for row in history(run, source.steps):
        step = row[STEP]
        if texts := samples.rows(step):
            row["samples"] = wandb.Table(columns=list(SAMPLES), data=texts)
        if layers and step == source.steps[-1]:
            row["layers"] = _table(LAYERS, layers)
        if measured := measured_table(everything, step):
            row["measurements"] = _table(MEASURED, measured)
        longest = max(longest, len(measured))
        tracked.log(row, step=step)
        for alert in alerts:
            if alert.step == step:
                tracked.alert(**alert.for_wandb())
        inputs = []
        if step in checkpoints:
            inputs.append(declare_input(tracked, checkpoint_artifact(run, step, checkpoints[step]), step))
        tracked.log_artifact(probe_artifact(run, step, inputs), aliases=[step_name(step)])
    for name, rows in (("layers", len(layers)), ("measurements", longest)):
        if rows > wandb.Table.MAX_ROWS:
            drawn, kept = wandb.Table.MAX_ROWS, wandb.Table.MAX_ARTIFACT_ROWS
            say(f"the table `{name}` has {rows:,} rows: W&B's panel draws {drawn:,}, its artifact holds up to {kept:,}")
    return len(source.steps)


def _table(columns: dict[str, type], rows: Rows) -> wandb.Table:
    """A table of known types: given them as `data`, W&B would look at each cell, for minutes where a model is deep."""
    import wandb

    table = wandb.Table(columns=list(columns), data=[], dtype=list(columns.values()))
    table.data.extend(rows)
    return table


def report(source: Source, tracked: wandb.Run) -> int:
    """The page and the findings, and which measurements they rest on."""
    import wandb

    run, checkpoints = source.run, source.run.checkpoints()
    pages = write_pages(run.path)
    inputs = []
    for step in source.steps:
        origin = [named(checkpoint_artifact(run, step, checkpoints[step]), step)] if step in checkpoints else []
        inputs.append(declare_input(tracked, probe_artifact(run, step, origin), step))
    html = wandb.Html(pages[0].read_text(encoding="utf-8"), inject=False, data_is_not_path=True)
    last = source.steps[-1] if source.steps else 0
    tracked.log({STEP: last, "findings": _findings(source), "report": html}, step=last)
    tracked.log_artifact(report_artifact(run, [*pages, run.path / FINDINGS_FILE], inputs))
    return 1


def _findings(source: Source) -> wandb.Table:
    import wandb

    rows = []
    for view, finding in zip(finding_views(source), source.findings, strict=True):
        e = finding.get("estimate")
        estimate = interval(float(e["value"]), float(e["lo"]), float(e["hi"])) if e else ""
        rows.append([view.kind, finding.get("domain") or "", view.verdict, view.sentence, estimate, view.exploratory])
    return wandb.Table(columns=["kind", "domain", "verdict", "sentence", "estimate", "exploratory"], data=rows)
