"""What a page reads of a run, once: the judged scores, the long table, names and order of domains, marks on the step axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..dynamics.errors import RecordError
from ..dynamics.findings.wording import GROUP_LABELS, SCORE_LABELS, plain_name
from ..dynamics.record import Run
from ..dynamics.types import GROUPS
from .axes import known_axes
from .text import visible

MOST_EPOCHS = 12  # more ends of epochs than this are not ruled in


class Source:
    """A run and its analysis. Raises RecordError, with the way out, where there is no run or no analysis of it."""

    def __init__(self, path: Path | str) -> None:
        self.run = Run(path)
        self.findings: list[dict[str, Any]] = self.run.findings()
        self.bands = self._analysis("bands")
        self.associations = self._analysis("association")

    def _analysis(self, name: str) -> pd.DataFrame:
        file = self.run.path / "analysis" / f"{name}.parquet"
        if not file.is_file():
            raise RecordError(f"{file} is missing: run `sftscope analyze {self.run.path}` again")
        return pd.read_parquet(file)

    @cached_property
    def tradeoff(self) -> pd.DataFrame | None:
        """Gains and costs by checkpoint; None where the analysis found nothing to set against each other."""
        file = self.run.path / "analysis" / "tradeoff.parquet"
        return pd.read_parquet(file) if file.is_file() else None

    @cached_property
    def groups(self) -> dict[str, str]:
        """Domain -> group, in the order of the groups."""
        found = {**dict(zip(self.bands["domain"], self.bands["group"], strict=True)), **self.run.domains()}
        rank = {group: i for i, group in enumerate(GROUPS)}
        return dict(sorted(found.items(), key=lambda pair: (rank.get(pair[1], len(rank)), pair[0])))

    @cached_property
    def steps(self) -> list[int]:
        """Steps of the checkpoints that were measured."""
        return sorted({*self.run.measured_steps(), *(int(s) for s in self.bands["step"])})

    @cached_property
    def axes(self) -> pd.DataFrame:
        """What can stand in the place of steps (index: step): the columns of `Run.axes` that place every checkpoint."""
        return known_axes(self.run.axes(), self.steps)

    @cached_property
    def recommended(self) -> int | None:
        """The step of the checkpoint to take, where the analysis names one."""
        found = (
            f["step"] for f in self.findings if f.get("id") == "tradeoff:checkpoint" and f.get("verdict") == "take"
        )
        return next((int(step) for step in found if step is not None), None)

    @cached_property
    def rules(self) -> pd.DataFrame:
        """Columns at, what: the ends of warm-up and of epochs, as far as the run's plan tells them; the checkpoint to take."""
        plan = self.run.info.get("plan") or {}
        total, warmup, epoch = (plan.get(k) or 0 for k in ("total_steps", "warmup_steps", "steps_per_epoch"))
        rows = [(warmup, "end of warm-up")] if warmup else []
        ends = range(epoch, total + 1, epoch) if epoch else range(0)
        if len(ends) <= MOST_EPOCHS:
            rows += [(end, "end of epoch") for end in ends]
        rows += [(self.recommended, "checkpoint to take")] if self.recommended is not None else []
        return pd.DataFrame(rows, columns=["at", "what"])

    @cached_property
    def phases(self) -> dict[str, dict[str, Any]]:
        """Domain -> its phase finding."""
        return {f["domain"]: f for f in self.findings if f.get("kind") == "phase" and f.get("domain")}

    def panel(self, domain: str) -> str:
        """A panel's heading: the domain, and below it its group (for safety: what the score is a share of)."""
        group = self.groups.get(domain, "")
        note = SCORE_LABELS.get(domain) or GROUP_LABELS.get(group) or label(group)
        return f"{self.name_of(domain)}|{note}"

    def name_of(self, domain: str) -> str:
        """A domain's heading, apart from that of every other domain (`a_b` and `a b` would share one)."""
        return self._names.get(domain) or heading(domain)

    @cached_property
    def _names(self) -> dict[str, str]:
        plain = {d: heading(d) for d in self.groups}
        shared = Counter(plain.values())
        return {d: name if shared[name] == 1 else f"{name} ({label(d)})" for d, name in plain.items()}

    def metric(self, name: str, domains: Sequence[str] | None = None) -> pd.DataFrame:
        """Rows of one metric without a layer, by domain in the groups' order: domain, step, value, lo, hi, n, position."""
        table = self.run.measurements(metric=name)
        if table.empty:
            return table
        order = {d: i for i, d in enumerate(domains or self.groups)}
        table = table[table["domain"].isin(order)].drop_duplicates(["domain", "step", "position"], keep="last")
        return table.sort_values(["domain", "step"], key=lambda c: c.map(order) if c.name == "domain" else c)

    def turning_step(self, domain: str) -> int | None:
        """The checkpoint to set against the base: the trough where the score dipped, else the last. None without a base."""
        rows = self.bands[self.bands["domain"] == domain].sort_values("step")
        if rows.empty or int(rows["step"].iloc[0]) != 0 or len(rows) < 2:
            return None
        below = rows[rows["diff_hi"] < 0]
        return int(below.loc[below["diff"].idxmin(), "step"] if len(below) else rows["step"].iloc[-1])


def label(name: str) -> str:
    """A name that others gave, as a figure can hold it: nothing in it unseen, and no `|`, which begins a second line."""
    return visible(name).replace("|", "¦")


def heading(name: str) -> str:
    """`subset_sum` -> `Subset sum`; in figures, as `label` has it."""
    plain = label(plain_name(name))
    return plain[:1].upper() + plain[1:]
