"""What the names in a preference stand for: groups, domains and measured metrics of a run, as curves over its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import DataError, RecordError, nearest
from ..findings.evidence import row_estimate
from ..record import Run
from ..requests import HARMFUL, SAFE, spokesman
from ..statistics.joint import Blend, Curve, curve_of_estimates, curve_of_items
from ..trajectories.trajectory import PRESENCE, Trajectory, from_aggregates, from_run
from ..types import GROUPS
from .preference import Name, mistake

REASONING = "reasoning"  # both groups of reasoning domains together
REFUSED = "refused"  # per item: the answer is a refusal
OVER_REFUSAL = "over_refusal_rate"
ALIASES = {"refusal": HARMFUL, "helpful": SAFE, "over_refusal": SAFE}
SCORES = ("strict", "lenient", "correct", "score_strict", "score_lenient")  # more is better; of others nobody can say
SCORE = "score_strict"


@dataclass
class Quantities:
    """A run's curves by name; `trajectories` are the strict scores by domain, with their items where these are known."""

    run: Run
    trajectories: Mapping[str, Trajectory]
    _known: dict[str, Blend] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> Quantities:
        """Raises DataError where items of a domain differ between checkpoints."""
        return cls(run, scores_of(run))

    @property
    def names(self) -> list[str]:
        """Names that this run can be asked for, without those of metrics."""
        groups = [g for g in (*GROUPS, REASONING) if self._members(g)]
        aliases = [a for a in ALIASES if self._named(a) in self.trajectories]
        return [*groups, *aliases, *self.trajectories]

    def blend(self, name: Name, text: str) -> Blend:
        """The curve of a name in the preference `text`. Raises ConfigError with its place and near names for an unknown one."""
        key = str(name)
        if key not in self._known:
            self._known[key] = self._made(name, text)
        return self._known[key]

    def group(self, group: str) -> Blend | None:
        """Mean strict score of a group's domains, or None without one."""
        members = self._members(group)
        return Blend(group, self._aligned([self._score(d) for d in members])) if members else None

    def is_score(self, name: Name) -> bool:
        """Whether more is better."""
        return name.of != "over_refusal" and (not name.metric or name.metric in SCORES)

    def domains_of(self, name: Name) -> list[str]:
        return self._members(name.of) or [self._named(name.of)]

    # ------------------------------------------------------------ parts

    def _made(self, name: Name, text: str) -> Blend:
        if not name.metric and (blend := self.group(name.of)) is not None:
            return blend
        if name.of in GROUPS or name.of == REASONING:
            if not self._members(name.of):
                mistake(text, name.at, f"this run measured no domain of the group {name.of!r}; {self._near(name.of)}")
            return Blend(str(name), self._aligned([self._metric(d, name, text) for d in self._members(name.of)]))
        domain = self._named(name.of)
        if domain not in self.trajectories:
            stands = f" (the domain {domain!r})" if domain != name.of else ""
            mistake(text, name.at, f"this run measured no {name.of!r}{stands}; {self._near(name.of)}")
        if name.of == "over_refusal" and not name.metric:
            metric = REFUSED if REFUSED in self.run.item_metrics(domain) else OVER_REFUSAL
            return Blend(str(name), (self._metric(domain, Name(domain, metric, name.at), text),))
        if not name.metric or name.metric in (PRESENCE, SCORE):
            return Blend(str(name), (self._score(domain),))
        return Blend(str(name), (self._metric(domain, name, text),))

    def _named(self, name: str) -> str:
        """The domain that a name stands for, whether it was asked or not."""
        kind = ALIASES.get(name)
        return name if kind is None else spokesman(kind, self.trajectories) or kind[0]

    def _members(self, group: str) -> list[str]:
        groups = ("id_reasoning", "ood_reasoning") if group == REASONING else (group,)
        return [d for d, t in self.trajectories.items() if t.group in groups]

    def _near(self, name: str) -> str:
        return nearest(name, self.names) if self.names else "no domain of it has scores"

    def _score(self, domain: str) -> Curve:
        return curve_of(self.trajectories[domain])

    def _metric(self, domain: str, name: Name, text: str) -> Curve:
        """A metric of the items, or one that was measured as a number."""
        if name.metric in self.run.item_metrics(domain):
            return curve_of(from_run(self.run, domain, name.metric))
        table = self.run.measurements(metric=name.metric, domain=domain)
        if len(table):
            table = table[table["layer"] == -1]
        if table.empty:
            known = {*self.run.item_metrics(domain), *_measured(self.run, domain)}
            mistake(text, name.at, f"{domain!r} has no metric {name.metric!r}; {nearest(name.metric, known)}")
        if table["step"].duplicated().any():
            places = ", ".join(sorted(map(str, set(table["position"])))[:6])
            mistake(text, name.at, f"{str(name)!r} is measured at several positions ({places}), and a curve needs one")
        return curve_of_estimates(
            f"{domain}.{name.metric}",
            table["step"].to_numpy(),
            [row_estimate(row) for _, row in table.iterrows()],
            share=bool((table["unit"] == "share").all()) and bool(table["value"].dropna().between(0, 1).all()),
        )

    def _aligned(self, curves: list[Curve]) -> tuple[Curve, ...]:
        """A mean of domains is one of the checkpoints at which all of them were measured."""
        common = sorted(set.intersection(*({int(s) for s in c.steps} for c in curves)))
        if not common:
            raise DataError(
                f"no checkpoint has all of {', '.join(c.name for c in curves)}: probe them on the same ones"
            )
        return tuple(c.at(common) for c in curves)


def curve_of(trajectory: Trajectory) -> Curve:
    """The mean over items of a trajectory, clustered by question; unpaired where only aggregates are known."""
    name = trajectory.domain if trajectory.metric in SCORES else f"{trajectory.domain}.{trajectory.metric}"
    if trajectory.matrix is None:
        values = np.array([e.value for e in trajectory.aggregates], float)
        share = bool(np.all((values >= 0) & (values <= 1) | np.isnan(values)))
        return curve_of_estimates(name, trajectory.steps, trajectory.aggregates, share=share)
    clusters = trajectory.items if trajectory.clusters is None else trajectory.clusters
    return curve_of_items(name, trajectory.steps, trajectory.matrix, clusters, domain=trajectory.domain)


def scores_of(run: Run) -> dict[str, Trajectory]:
    """Strict scores by domain: item by item where items are stored, else the numbers alone."""
    found = {d: from_run(run, d) for d in run.domains() if PRESENCE in run.item_metrics(d)}
    table = run.measurements(metric=SCORE)
    for domain, rows in table.groupby("domain") if len(table) else ():
        if domain and domain not in found:
            rows = rows.drop_duplicates("step", keep="last").sort_values("step")
            group = run.domains().get(str(domain), "")
            found[str(domain)] = from_aggregates(
                rows["step"].to_list(),
                [row_estimate(row) for _, row in rows.iterrows()],
                metric=PRESENCE,
                domain=str(domain),
                group=group,
            )
    if not found:
        raise RecordError(f"{run.path} has no scores to choose by: probe its checkpoints, or import their scores")
    return found


def _measured(run: Run, domain: str) -> set[str]:
    table = run.measurements(domain=domain)
    return set(table["metric"]) if len(table) else set()
