"""What is missing from a series of scores, said before anything is read from the rest."""

from __future__ import annotations

from collections.abc import Mapping

from ..findings.wording import listing, plain_name, step_list
from ..record import Run
from ..trajectories.trajectory import Trajectory
from ..types import Finding


def missing_scores(run: Run, trajectories: Mapping[str, Trajectory]) -> list[Finding]:
    """Warnings: no base to compare with, scores missing at some steps, what an import left out."""
    found = []
    baseless = [d for d, t in trajectories.items() if len(t.steps) and t.steps[0] != 0]
    if baseless:
        who = "every score" if len(baseless) == len(trajectories) else listing(plain_name(d) for d in baseless)
        found.append(
            _warning(
                "no-base",
                f"There is no base (step 0) for {who}: whether training lowered or raised it cannot be told from the "
                f"{step_list({int(s) for d in baseless for s in trajectories[d].steps})} alone.",
                "the base model's score, as step 0",
            )
        )
    everywhere = {int(s) for t in trajectories.values() for s in t.steps}
    gaps = {d: sorted(everywhere - {int(s) for s in t.steps} - {0}) for d, t in trajectories.items()}
    gaps = {d: g for d, g in gaps.items() if g}
    if gaps and run.info.get("benchmarks"):
        said = "; ".join(f"{plain_name(d)} at {step_list(g)}" for d, g in gaps.items())
        found.append(
            _warning(
                "missing-scores",
                f"Scores are missing: {said}. Each is judged on the steps that it has.",
                "the missing scores",
            )
        )
    for i, note in enumerate(run.info.get("notes") or []):
        found.append(_warning(f"left-out:{i}", f"Left out: {note}.", "a table that holds it"))
    return found


def _warning(name: str, sentence: str, would_overturn: str) -> Finding:
    return Finding(
        id=f"warning:{name}",
        kind="warning",
        sentence=sentence,
        verdict=name.split(":")[0],
        method="the steps that have a score",
        would_overturn=would_overturn,
        exploratory=False,
    )
