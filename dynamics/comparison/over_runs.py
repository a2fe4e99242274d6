"""What several runs together can show of their metrics: associations, early warning, who moves first, recurring breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ..association.finding import association_findings
from ..association.table import associations
from ..errors import DataError
from ..prediction.first_mover import first_mover_findings
from ..prediction.of_runs import early_warning_findings
from ..trajectories.change_point_finding import change_point_findings
from ..types import Finding
from .arms import Arm


def findings_over_runs(arms: Sequence[Arm]) -> tuple[list[Finding], pd.DataFrame, list[str]]:
    """The findings, the table of associations, and a note for each question that these runs cannot be asked.

    Seeds of an arm are swapped among themselves; early warning leaves out whole arms where some have several seeds.
    """
    of = [(run, arm.name) for arm in arms for run in arm.runs]
    runs, names = [run for run, _ in of], [name for _, name in of]
    by_path = {str(run.path): name for run, name in of} if len(runs) > len(arms) > 1 else None
    paths = tuple(str(run.path) for run in runs)
    found: list[Finding] = []
    notes: list[str] = []
    table = pd.DataFrame()
    try:
        table = associations(runs, arms=names)
        found += association_findings(table)
    except DataError as error:
        notes.append(f"associations over runs: {error}")
    for what, ask in (
        ("early warning", lambda: early_warning_findings(runs, arms=by_path)),
        ("which metric moves first", lambda: first_mover_findings(runs)),
        ("recurring breaks", lambda: change_point_findings(runs)),
    ):
        try:
            found += ask()
        except DataError as error:
            notes.append(f"{what}: {error}")
    return [replace(f, evidence=paths) for f in found], table, notes
