"""Early warning of the out-of-domain score over several run folders, and what it amounts to in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..association.arms import check_distinct
from ..association.series import INTERNAL, middle
from ..errors import DataError
from ..findings.wording import bounds, listing, number, plain_name
from ..record import Run
from ..requests import HARMFUL, spokesman
from ..trajectories.trajectory import PRESENCE, from_run
from ..types import Estimate, Finding
from .early_warning import COLUMNS, LEADS, NULL, early_warning

TARGET = "ood_score"
BASELINES = ("loss", "id_score", "length", "l2_drift")
DRIFT = ("weights_l2_to_base", "weight_l2_drift", "l2_drift")  # whichever the runs have measured


def warning_table(runs: Sequence[Run], *, layer: int | None = None) -> pd.DataFrame:
    """A row per run (its path) and measured step: the out-of-domain score, baselines, and metrics that may foretell it.

    Scores and lengths are means over the domains of a group. Backtracks are those of the in-domain responses: a metric of the
    scored responses themselves would share their noise. Internal metrics are read at `layer`, by default the middle one measured.
    Columns that no run has are left out. Raises DataError where a run is given twice, or the
    items of a domain differ between a run's checkpoints.
    """
    check_distinct(runs)
    tables = [_table(run, layer).assign(run=str(run.path)) for run in runs]
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["run", "step"])
    return whole.dropna(axis=1, how="all")


def early_warning_findings(
    runs: Sequence[Run], *, arms: Mapping[str, str] | None = None, leads: Sequence[int] = LEADS
) -> list[Finding]:
    """Which internal or behavioural metric foretells the out-of-domain score of other runs; none where nothing was measured.

    `arms` maps a run's path to its arm: whole arms are then left out.
    """
    table = warning_table(runs)
    if TARGET not in table:
        return []
    baselines = [b for b in BASELINES if b in table]
    metrics = [c for c in table.columns if c not in ("run", "step", TARGET, *BASELINES)]
    if not metrics:
        return []
    if arms is not None:
        missing = sorted(set(table["run"]) - set(arms))
        if missing:
            raise DataError(f"no arm given for run {missing[0]!r}: name one for each run, or none at all")
        table = table.assign(arm=table["run"].map(arms))
    found = early_warning(
        table, target=TARGET, metrics=metrics, baselines=baselines, leads=leads, arm="arm" if arms else None
    )
    return [warning_finding(found, baselines=baselines, unit="arm" if arms else "run")]


def warning_finding(found: pd.DataFrame, *, baselines: Sequence[str], unit: str = "run") -> Finding:
    """The sentence of a table of `early_warning`."""
    best = found.iloc[0]
    estimate = Estimate(float(best["skill"]), float(best["lo"]), float(best["hi"]), int(best["n"]), "jackknife-t")
    metrics, absent = found["metric"].nunique(), [b for b in BASELINES if b not in baselines]
    known = listing([plain_name(b) for b in baselines]) or "no baseline"
    beyond = f"beyond {known}, no change, and the mean of the other {unit}s"
    beyond += f" ({listing([plain_name(b) for b in absent])} not measured)" if absent else ""
    looks = f"{metrics} metric{'s' * (metrics != 1)} at leads of {listing(sorted(set(found['lead'])))} checkpoints"
    kept = found[found["verdict"] == "skill"]
    if best["verdict"] == "undefined":
        sentence = f"Whether a metric foretells the out-of-domain score cannot be said: {best['reason']}."
    elif kept.empty:
        sentence = (
            f"No skill: of {looks}, none foretells the out-of-domain score of {unit}s not used to fit it {beyond}; the nearest, "
            f"{plain_name(best['metric'])} at a lead of {best['lead']}, takes {number(100 * best['skill'], 0)} % "
            f"{bounds(100 * best['lo'], 100 * best['hi'], 0)} off the squared error (corrected p {number(best['p'], 3)}, "
            f"{int(best['n'])} {unit}s)."
        )
    else:
        others = [plain_name(m) for m in dict.fromkeys(kept["metric"]) if m != best["metric"]]
        sentence = (
            f"{plain_name(best['metric']).capitalize()} foretells the out-of-domain score {best['lead']} "
            f"checkpoint{'' if best['lead'] == 1 else 's'} ahead on {unit}s not used to fit it: it takes "
            f"{number(100 * best['skill'], 0)} % {bounds(100 * best['lo'], 100 * best['hi'], 0)} off the squared error {beyond} "
            f"(p {number(best['p'], 3)}, corrected for {looks}; {int(best['n'])} {unit}s)"
            + (f"; so {'do' if len(others) > 1 else 'does'} {listing(others)}." if others else ".")
        )
    return Finding(
        id="association:early-warning",
        kind="association",
        sentence=sentence,
        metric=str(best["metric"]) if len(kept) else "",
        verdict={"undefined": "undecidable", "no skill": "none", "skill": "skill"}[str(best["verdict"])],
        estimate=estimate if estimate.defined else None,
        method=f"leave-one-{unit}-out ridge; {NULL}",
        would_overturn=f"more {unit}s" if kept.empty else f"other {unit}s whose score it does not foretell",
        exploratory=True,
        details={
            "unit": unit,
            "baselines": list(baselines),
            "not_measured": absent,
            "table": found[COLUMNS].replace({np.nan: None}).to_dict("records"),
        },
    )


# ---------------------------------------------------------------- one run's columns


def _table(run: Run, layer: int | None) -> pd.DataFrame:
    groups = {d: g for d, g in run.domains().items() if PRESENCE in run.item_metrics(d)}
    inside, outside = ([d for d, g in groups.items() if g == wanted] for wanted in ("id_reasoning", "ood_reasoning"))
    columns = {
        TARGET: _mean_series(run, outside, PRESENCE),
        "id_score": _mean_series(run, inside, PRESENCE),
        "length": _mean_series(run, outside, "tokens"),
        "backtracks": _mean_series(run, inside, "backtracks"),
        "refusals": _mean_series(run, [d for d in groups if d == spokesman(HARMFUL, groups)], PRESENCE),
    }
    drift = (measured_series(run, name) for name in DRIFT)
    columns["l2_drift"] = next((d for d in drift if len(d)), pd.Series(dtype=float))
    columns |= {name: measured_series(run, name, layer) for name in INTERNAL}
    table = pd.DataFrame(columns)
    table["loss"] = _loss_before(run.steps(), table.index.to_numpy())
    return table.rename_axis("step").reset_index()


def _mean_series(run: Run, domains: Sequence[str], metric: str) -> pd.Series:
    series = [from_run(run, d, metric).series() for d in domains if metric in run.item_metrics(d)]
    return pd.concat(series, axis=1).mean(axis=1, skipna=False) if series else pd.Series(dtype=float)


def measured_series(run: Run, metric: str, layer: int | None = None) -> pd.Series:
    """A metric by step at `layer`, by default the middle one measured; empty where it was not measured."""
    table = run.measurements(metric=metric)
    if table.empty:
        return pd.Series(dtype=float)
    at = layer if layer is not None else middle(sorted(set(table["layer"])))
    return table[table["layer"] == at].drop_duplicates("step", keep="last").set_index("step")["value"]


def _loss_before(steps: pd.DataFrame, measured: np.ndarray) -> np.ndarray:
    """Mean training loss since the checkpoint before; at step 0 that of the first batch, which the base's weights made."""
    if steps.empty or "loss" not in steps:
        return np.full(len(measured), np.nan)
    at, loss = steps["step"].to_numpy(int), steps["loss"].to_numpy(float)
    found = []
    for before, now in zip([-1, *measured[:-1]], measured, strict=True):
        inside = loss[(at > before) & (at <= now)] if now > 0 else loss[at == 1]
        found.append(float(inside.mean()) if len(inside) else np.nan)
    return np.array(found)
