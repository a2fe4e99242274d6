"""Runs, or a table of scores, in; what differs between them, as tables and findings, out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, DataError, RecordError
from ..record import SCHEMA, Run
from ..storage import no_formula, whole_file, write_json
from ..trajectories.trajectory import PRESENCE
from ..types import Finding
from .answer import answer
from .arms import Arm, ArmScores, arm_scores, read_arms, run_names, unlike_settings
from .conditional import ConditionalTable, ItemGains, conditional_from_items, conditional_table
from .findings import conditional_findings, note_findings, pair_findings, ranked, repetition_findings
from .matching import MATCHES, Match
from .over_runs import findings_over_runs
from .pairs import PairComparison, compare_pair
from .repetition import Repetition, has_a_question, is_repetition, repetition_from_items, repetition_table
from .score_tables import ItemColumns, need_columns
from .seeds import ONE_SEED
from .settings import settings_that_differ
from .side_by_side import findings_by_run, index_by_run, scores_by_step

UNKNOWN_BASE = "base not recorded"


@dataclass(frozen=True, slots=True)
class Comparison:
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    runs: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # run, arm, seed, model, data, schedule, checkpoints, last_step
    conditional: ConditionalTable | None = None
    pairs: tuple[PairComparison, ...] = ()
    repetition: Repetition | None = None
    associations: pd.DataFrame = field(default_factory=pd.DataFrame)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)  # by arm, domain and step: `scores_by_step`
    procedure: pd.DataFrame = field(default_factory=pd.DataFrame)  # by run and search domain: `index_by_run`
    judged: pd.DataFrame = field(default_factory=pd.DataFrame)  # by run and finding: `findings_by_run`
    settings: pd.DataFrame = field(default_factory=pd.DataFrame)  # by setting and run: `settings_that_differ`
    sources: tuple[str, ...] = ()  # the runs' folders, or the tables of scores

    def answer(self) -> tuple[str, ...]:
        """What it comes to, in at most six sentences."""
        return answer(self.conditional, self.repetition, self.judged, self.scores, self.procedure, self.pairs)

    def records(self) -> list[dict[str, Any]]:
        """The findings as comparison.json holds them."""
        return [asdict(f) for f in self.findings]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by the name of its file; none that is empty."""
        found = {"runs": self.runs}
        if self.conditional is not None:
            c = self.conditional
            found |= {"gains_by_benchmark": c.cells, "gains_by_group": c.groups, "differences_by_group": c.pairs}
        if self.pairs:
            found |= {"differences_by_step": pd.concat([p.table() for p in self.pairs], ignore_index=True)}
            found |= {"differences_at_last": last_table(self.pairs)}
        if self.repetition is not None:
            found |= {"settings": self.repetition.settings, "repetition": self.repetition.pairs}
        found |= {"associations": self.associations, "scores_by_step": self.scores, "procedure_index": self.procedure}
        found |= {"findings_by_run": self.judged, "settings_that_differ": self.settings}
        return {name: t for name, t in found.items() if len(t)}

    def write(self, folder: Path | str) -> list[Path]:
        """Write `comparison.json` and every table as parquet and CSV; the paths, the first that of the findings."""
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is a file: give -o a folder")
        written = []
        for name, table in self.tables().items():
            safe = _without_formulas(table)
            for suffix, write in ((".parquet", table.to_parquet), (".csv", safe.to_csv)):
                with whole_file(folder / f"{name}{suffix}") as aside:
                    write(aside, index=False)
                written.append(folder / f"{name}{suffix}")
        main = folder / "comparison.json"
        about = {
            "schema": SCHEMA,
            "answer": list(self.answer()),
            "runs": self.runs.to_dict("records"),
            "notes": list(self.notes),
        }
        write_json(main, about | {"findings": self.records()})
        return [main, *written]


def compare(
    runs: Mapping[str, Sequence[Path | str]] | Iterable[Path | str],
    *,
    match: Match = "step",
    caliper: float | None = None,
    metric: str = PRESENCE,
    n_resamples: int = 2000,
) -> Comparison:
    """Two runs or more compared: gains over base by arm and group, every pair of arms over its matched checkpoints.

    `runs` are paths (runs that differ in the seed alone form one arm), or arms by name. All domains and checkpoints
    of a pair hold together with 95 %. Raises ConfigError for fewer than two runs or an unknown way to match,
    RecordError where there is no run, DataError where no domain has items that two arms share.
    """
    if match not in MATCHES:
        raise ConfigError(f"runs cannot be matched on {match!r}: give one of {', '.join(MATCHES)}")
    arms = read_arms(runs)
    scores, notes = _scores(arms, metric)
    notes += unlike_settings(arms)
    sources = tuple(str(r.path) for arm in arms for r in arm.runs)
    pairs, more = _pairs(arms, scores, match, caliper, metric, n_resamples)
    notes += more
    conditional, more = _conditional(arms, scores)
    notes += more
    repetition = _repetition(arms, scores)
    if not pairs and conditional is None:
        raise DataError("nothing can be compared: " + "; ".join(list(dict.fromkeys(notes))[:3]))
    together, associated, more = findings_over_runs(arms)
    procedure, unread = index_by_run(arms)
    judged, unjudged = findings_by_run(arms)
    notes = list(dict.fromkeys([*notes, *(conditional.notes if conditional else ()), *more, *unread, *unjudged]))
    findings: list[Finding] = []
    noise = (
        ONE_SEED
        if max(len(a.runs) for a in arms) == 1
        else "seeds averaged, their spread in the pairs' findings, items only"
    )
    if conditional is not None:
        findings += conditional_findings(conditional, sources, noise=noise)
    findings += repetition_findings(repetition, sources) if repetition else []
    findings += pair_findings(pairs, sources) + together + note_findings(notes)
    return Comparison(
        findings=tuple(ranked(findings)),
        notes=tuple(notes),
        runs=_runs_table(arms),
        conditional=conditional,
        pairs=tuple(pairs),
        repetition=repetition,
        associations=associated,
        scores=scores_by_step(scores),
        procedure=procedure,
        judged=judged,
        settings=settings_that_differ(arms),
        sources=sources,
    )


def compare_scores(
    scores: pd.DataFrame,
    items: pd.DataFrame,
    *,
    by: Sequence[str] = ("model",),
    condition: str = "data",
    base: str = "base",
    item_columns: ItemColumns | None = None,
    sources: Sequence[str] = (),
) -> Comparison:
    """A table of last-checkpoint scores: the conditional table, or repetition against coverage where it tells rows,
    batch and epochs.

    Raises ConfigError for unknown columns (of a table of scores by step too, which `analyze` reads), DataError for
    impossible values.
    """
    if is_repetition(scores) and condition not in scores.columns:
        name = "setting" if "setting" in scores.columns else str(scores.columns[0])
        repetition = repetition_table(scores, items, setting=name, item_columns=item_columns)
        found = repetition_findings(repetition, sources) + note_findings(repetition.notes)
        return Comparison(tuple(ranked(found)), repetition.notes, repetition=repetition, sources=tuple(sources))
    if "step" in scores.columns and condition not in scores.columns:
        raise ConfigError("this is a table of scores by step, of one run: `sftscope analyze` reads those")
    need_columns(scores, (condition,), "the table of scores (see --condition)")
    need_columns(scores, tuple(by), "the table of scores (see --by)")
    table = conditional_table(scores, items, by=by, condition=condition, base=base, item_columns=item_columns)
    findings = conditional_findings(table, sources) + note_findings(table.notes)
    return Comparison(tuple(ranked(findings)), table.notes, conditional=table, sources=tuple(sources))


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table for CSV: names of runs, domains and settings are text that others wrote."""
    text = {c: pd.Series(map(no_formula, table[c]), table.index, object) for c in table.select_dtypes(exclude="number")}
    return table.assign(**text).rename(columns=no_formula)


def last_table(pairs: Sequence[PairComparison]) -> pd.DataFrame:
    """A row per pair and domain: the difference at the last match with its interval, and the spread between seeds;
    points.
    """
    rows: list[dict[str, Any]] = []
    for p in pairs:
        e, s = p.last, p.seeds
        row = {
            "a": p.a,
            "b": p.b,
            "domain": p.domain,
            "group": p.group,
            "step_a": int(p.steps_a[-1]),
            "step_b": int(p.steps_b[-1]),
        }
        row |= {
            "difference": 100 * e.value,
            "lo": 100 * e.lo,
            "hi": 100 * e.hi,
            "n": e.n,
            "separated": bool(e.lo > 0 or e.hi < 0),
        }
        row |= {"relative_to_base": p.did is not None, "shared_base": p.shared_base}
        row |= {"seed_sd_a": 100 * float(p.spread_a[-1]), "seed_sd_b": 100 * float(p.spread_b[-1])}
        row |= {"seeds_a": s.seeds_a if s else math.nan, "seeds_b": s.seeds_b if s else math.nan, "method": e.method}
        rows.append(row)
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- parts

Scores = dict[str, dict[str, ArmScores]]  # domain -> arm -> scores


def _scores(arms: Sequence[Arm], metric: str) -> tuple[Scores, list[str]]:
    found: Scores = {}
    notes: list[str] = []
    for arm in arms:
        for domain in sorted({d for run in arm.runs for d in run.domains()}):
            try:
                found.setdefault(domain, {})[arm.name] = arm_scores(arm, domain, metric)
            except (DataError, RecordError) as error:  # one bad domain must not hide the others
                notes.append(f"{arm.name}, {domain}: {error}")
    if not found:
        raise DataError("; ".join(notes[:3]) or "none of these runs has per-item scores: probe them first")
    return found, notes


def _pairs(
    arms: Sequence[Arm], scores: Scores, match: Match, caliper: float | None, metric: str, n_resamples: int
) -> tuple[list[PairComparison], list[str]]:
    found: list[PairComparison] = []
    notes: list[str] = []
    for a, b in combinations(arms, 2):
        matched_on = None
        domains = [d for d, of in scores.items() if a.name in of and b.name in of]
        if match == "score":
            inside = [d for d in domains if scores[d][a.name].group == "id_reasoning"]
            if not inside:
                raise DataError(f"{a.name} and {b.name} share no domain of group id_reasoning to match on")
            matched_on = (scores[inside[0]][a.name], scores[inside[0]][b.name])
            notes.append(f"{a.name} and {b.name} are matched on their scores on {inside[0]}, which is not compared")
            domains = [d for d in domains if d != inside[0]]  # equal by construction
        level = 1 - 0.05 / max(1, len(domains))
        for domain in domains:
            try:
                pair = compare_pair(
                    a,
                    b,
                    domain,
                    metric=metric,
                    match=match,
                    caliper=caliper,
                    in_domain=matched_on,
                    level=level,
                    n_resamples=n_resamples,
                )
            except DataError as error:
                notes.append(f"{a.name} and {b.name}: {error}")
                continue
            found.append(pair)
            notes += pair.notes
    return found, notes


def _conditional(arms: Sequence[Arm], scores: Scores) -> tuple[ConditionalTable | None, list[str]]:
    families: dict[str, list[Arm]] = {}
    for arm in arms:
        families.setdefault(arm.weights or arm.model, []).append(arm)
    named = {key: mine[0].model or UNKNOWN_BASE for key, mine in families.items()}
    notes: list[str] = []
    parts: dict[tuple[str, ...], list[ItemGains]] = {}
    for key, mine in families.items():
        model = named[key] if list(named.values()).count(named[key]) == 1 else f"{named[key]} ({key[:8]})"
        gains = [g for d in scores for g in [_item_gains(d, mine, scores[d], notes)] if g is not None]
        if gains:
            parts[(model,)] = gains
    if not parts:
        return None, notes
    lasts = {int(s.steps[-1]) for of in scores.values() for s in of.values()}
    if len(lasts) > 1:
        ends = ", ".join(map(str, sorted(lasts)))
        notes.append(f"gains are those of each run's last checkpoint, and runs end at different steps ({ends})")
    return conditional_from_items(parts), notes


def _item_gains(domain: str, arms: Sequence[Arm], of: Mapping[str, ArmScores], notes: list[str]) -> ItemGains | None:
    """Each item's gain over its own base at the last checkpoint, on the items that all arms of a model were asked."""
    mine = {a.name: of[a.name] for a in arms if a.name in of and of[a.name].steps[0] == 0 and len(of[a.name].steps) > 1}
    without = [a.name for a in arms if a.name in of and a.name not in mine]
    if without:
        notes.append(f"{domain}: {', '.join(without)} has no base (step 0) and a later checkpoint, so no gain")
    if not mine:
        return None
    first = next(iter(mine.values()))
    common = set.intersection(*(set(s.items) for s in mine.values()))
    kept = [i for i in first.items if i in common]
    if len(kept) < 2:
        notes.append(f"{domain}: the runs were asked different items, and share {len(kept)}: no gains can be compared")
        return None
    same = {name: s.of_items(kept) for name, s in mine.items()}
    gains = {name: s.matrix[:, -1] - s.matrix[:, 0] for name, s in same.items()}
    scores = {name: float(np.nanmean(s.matrix[:, -1])) for name, s in same.items()}
    return ItemGains(domain, first.group, gains, next(iter(same.values())).clusters, scores)


def _repetition(arms: Sequence[Arm], scores: Scores) -> Repetition | None:
    """Where the runs' records tell rows, batch and epochs, and these differ at equal updates on one base; else None."""
    plan = pd.DataFrame([_plan(a) for a in arms])
    if not has_a_question(plan) or len({a.weights or a.model for a in arms}) > 1:
        return None
    values: dict[str, dict[str, np.ndarray]] = {}
    groups: dict[str, str] = {}
    clusters: dict[str, np.ndarray | None] = {}
    for domain, of in scores.items():
        common = set.intersection(*(set(s.items) for s in of.values()))
        kept = [i for i in next(iter(of.values())).items if i in common]
        if len(kept) < 2:
            continue
        same = {name: s.of_items(kept) for name, s in of.items()}
        values[domain] = {name: s.matrix[:, -1] for name, s in same.items()}
        groups[domain], clusters[domain] = next(iter(of.values())).group, next(iter(same.values())).clusters
    return repetition_from_items(plan, values, groups, clusters) if values else None


def _plan(arm: Arm) -> dict[str, Any]:
    run = arm.runs[0]
    plan, config = run.info.get("plan") or {}, run.info.get("config") or {}
    steps = run.steps()
    epochs = float(steps["epoch"].iloc[-1]) if len(steps) and "epoch" in steps else math.nan
    rows, batch = plan.get("rows", math.nan), (config.get("batch") or {}).get("size", math.nan)
    updates = float(steps["step"].iloc[-1]) if len(steps) else math.nan
    return {"setting": arm.name, "rows": rows, "batch": batch, "epochs": epochs, "updates": updates}


def _runs_table(arms: Sequence[Arm]) -> pd.DataFrame:
    names = run_names(arms)
    return pd.DataFrame([_about(arm, run, names[run.path]) for arm in arms for run in arm.runs])


def _about(arm: Arm, run: Run, name: str) -> dict[str, Any]:
    info, config = run.info, run.info.get("config") or {}
    schedule, optim, batch = (config.get(k) or {} for k in ("schedule", "optim", "batch"))
    told = [str(schedule["kind"])] if "kind" in schedule else []
    told += [f"lr {optim['lr']:g}"] if "lr" in optim else []
    told += [f"batch {batch['size']}"] if "size" in batch else []
    told += [f"{schedule['epochs']:g} epochs"] if schedule.get("epochs") else []
    measured = run.measured_steps()
    row = {
        "run": name,
        "arm": arm.name,
        "seed": config.get("seed", info.get("seed")),
        "model": arm.model or UNKNOWN_BASE,
    }
    row |= {"data": Path(str((info.get("data") or {}).get("path") or "")).stem, "schedule": ", ".join(told)}
    hashes = {
        "config_hash": str(info.get("config_hash") or ""),
        "base_weights": arm.weights or str((info.get("base") or {}).get("weights") or ""),
        "data_sha256": str((info.get("data") or {}).get("sha256") or ""),
    }
    row |= {"checkpoints": len(measured), "last_step": measured[-1] if measured else None, "path": str(run.path)}
    return row | hashes
