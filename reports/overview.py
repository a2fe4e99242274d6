"""What a page says in words: what the run was, what was found, how to read it, and what is needed to reproduce it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..dynamics.findings.wording import GROUP_LABELS
from ..dynamics.types import GROUPS
from .source import Source, heading
from .tables import Table, interval, number
from .text import clip

# Verdict -> a sign that reads without colour, whether it is good, bad or neither, and what it means.
VERDICTS: dict[str, tuple[str, str, str]] = {
    "improves": ("▲", "good", "no dip, and the last checkpoint is significantly above the base"),
    "dips-and-recovers": ("∪", "good", "a significant dip, and an end at or above the base"),
    "under-optimised": ("◣", "open", "a significant dip that is still being made good: train on before judging"),
    "overfits": ("∩", "bad", "a checkpoint significantly above both the base and the last: take the earlier one"),
    "degrades": ("▼", "bad", "the last checkpoint is significantly below the base, and not rising"),
    "flat": ("=", "open", "the whole band lies within 3 points of the base"),
    "undecidable": ("?", "open", "these items cannot tell: the band holds both no change and a change that matters"),
}
KIND_LABELS = {
    "phase": "phase", "association": "association", "comparison": "comparison", "mechanism": "mechanism",
    "tradeoff": "trade-off", "advice": "advice", "warning": "warning",
}  # fmt: skip
READING = (
    ("Phases and bands", "a dip counts where the simultaneous band of paired differences lies below the base"),
    ("Associations", "of one run they describe and do not prove; five seeds or more allow a test"),
    ("Scores", "strict counts an unfinished answer as wrong; finish, parse and accuracy are its factors"),
)


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding as a page shows it."""

    id: str
    kind: str
    label: str
    sentence: str
    verdict: str
    sign: str
    tone: str  # good, bad or open
    exploratory: bool
    facts: tuple[tuple[str, str], ...]  # name, value: what it rests on


@dataclass(frozen=True, slots=True)
class VerdictRow:
    domain: str
    group: str
    base: str
    last: str
    change: str
    margin: str
    verdict: str
    sign: str
    tone: str


def title_line(source: Source) -> str:
    """One sentence: which model, fine-tuned on what, for how long, measured at how many checkpoints."""
    info = source.run.info
    config, plan, data = (info.get(k) or {} for k in ("config", "plan", "data"))
    base = (info.get("base") or {}).get("path") or (config.get("model") or {}).get("path")
    parts = [f"Scores read from {info['source']}" if info.get("source") else f"{base or 'A model'}"]
    if data:
        parts.append(f"fine-tuned on {data.get('rows', '?'):,} records of {data.get('path')}")
    if plan.get("total_steps"):
        epochs = plan["total_steps"] / plan["steps_per_epoch"] if plan.get("steps_per_epoch") else None
        parts.append(f"for {plan['total_steps']:,} steps" + (f" ({epochs:.3g} epochs)" if epochs else ""))
    lr, batch = (config.get("optim") or {}).get("lr"), (config.get("batch") or {}).get("size")
    settings = [
        text for known, text in ((batch, f"batch {batch}"), (lr, f"peak learning rate {lr:g}" if lr else "")) if known
    ]
    if settings:
        parts.append("with " + " and ".join(settings))
    steps = source.steps
    measured = f"measured at {len(steps)} checkpoint{'s' * (len(steps) != 1)}"
    if steps:
        measured += f" (step {steps[0]} to {steps[-1]})" if len(steps) > 1 else f" (step {steps[0]})"
    items = sorted({f["details"]["items"] for f in source.phases.values() if f["details"].get("items")})
    per = f" on {items[0]}" + (f" to {items[-1]}" if len(items) > 1 else "") + " items a domain" if items else ""
    return f"{', '.join([*parts, measured])}{per}."


def finding_views(source: Source) -> list[FindingView]:
    """Every finding, in the order of findings.json: the most decision-worthy first."""
    return [finding_view(f, i) for i, f in enumerate(source.findings)]


def finding_view(finding: Mapping[str, Any], index: int) -> FindingView:
    """A finding (as findings.json holds it) as a page shows it; `index` numbers its place on the page."""
    kind, verdict = str(finding.get("kind", "")), str(finding.get("verdict") or "")
    sign, tone, _ = VERDICTS.get(verdict, ("", "open", ""))
    return FindingView(
        id=f"finding-{index + 1}",
        kind=kind,
        label=KIND_LABELS.get(kind, kind),
        sentence=str(finding.get("sentence", "")),
        verdict=verdict if verdict in VERDICTS else "",
        sign=sign,
        tone=tone,
        exploratory=bool(finding.get("exploratory")),
        facts=tuple(_facts(finding)),
    )


def _facts(finding: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    estimate = finding.get("estimate")
    if estimate:
        value = interval(float(estimate["value"]), float(estimate["lo"]), float(estimate["hi"]))
        metric = f"{finding.get('metric')}: " if finding.get("metric") else ""
        yield "Estimate", f"{metric}{value}, n = {estimate['n']} ({estimate['method']})"
    if finding.get("method"):
        yield "Method", str(finding["method"])
    if finding.get("would_overturn"):
        yield "Would overturn it", str(finding["would_overturn"])
    if finding.get("evidence"):
        yield "Evidence", clip(", ".join(map(str, finding["evidence"])), 1000)[0]


def verdict_rows(source: Source) -> list[VerdictRow]:
    """A row per domain, in the groups' order: base and last score, their paired difference, the verdict."""
    rows = []
    for domain, group in source.groups.items():
        bands = source.bands[source.bands["domain"] == domain].sort_values("step")
        phase = source.phases.get(domain, {})
        verdict = str(phase.get("verdict") or (bands["verdict"].iloc[-1] if len(bands) else "undecidable"))
        sign, tone, _ = VERDICTS.get(verdict, ("", "open", ""))
        base, last, change, margin = "–", "–", "–", "–"
        if len(bands):
            first, end = bands.iloc[0], bands.iloc[-1]
            base = number(float(first["score"])) if int(first["step"]) == 0 else "–"
            last, margin = number(float(end["score"])), number(float(end["margin"]))
            change = signed(*(float(end[k]) for k in ("diff", "diff_lo", "diff_hi")))
        label = GROUP_LABELS.get(group, group) if group in GROUPS else group
        rows.append(VerdictRow(heading(domain), label, base, last, change, margin, verdict, sign, tone))
    return rows


def signed(value: float, lo: float, hi: float) -> str:
    text = interval(value, lo, hi)
    return f"+{text}" if value > 0 and text[0] != "–" else text


# ---------------------------------------------------------------- associations

ASSOCIATION_COLUMNS = ("Metric", "Score of", "Level", "Lag", "Correlation", "p", "q", "n", "n eff.", "Standing")


def association_rows(table: pd.DataFrame) -> tuple[list[tuple[bool, tuple[str, ...]]], int]:
    """Rows (exploratory, cells) by q, and how many pairs could not be computed. The null is said once, by `null_of`."""
    known = table[table["p"].notna()] if len(table) else table
    rows = []
    for r in known.to_dict("records"):
        where = f" ({heading(r['x_domain'])})" if r["x_domain"] else ""
        where += f", layer {int(r['x_layer'])}" if int(r["x_layer"]) >= 0 else ""
        lag = "–" if pd.isna(r["lag"]) else f"{int(r['lag']):+d}" if r["lag"] else "0"
        estimate = interval(float(r["estimate"]), float(r["lo"]), float(r["hi"]))
        numbers = [number(float(r["p"]), 3), number(float(r["q"]), 3), str(int(r["n"])), number(float(r["n_eff"]), 1)]
        standing = "exploratory" if r["exploratory"] else "declared"
        standing += f"; {r['reason']}" if r["reason"] else ""
        rows.append(
            (
                bool(r["exploratory"]),
                (str(r["x"]) + where, heading(r["y_domain"]), str(r["level"]), lag, estimate, *numbers, standing),
            )
        )
    return rows, len(table) - len(known)


def null_of(table: pd.DataFrame) -> str:
    """The tests that the association table's p-values come from, by level."""
    used = table[table["p"].notna()][["level", "null"]].drop_duplicates() if len(table) else table
    return "; ".join(f"{r['level']}: {r['null']}" for r in used.to_dict("records"))


# ---------------------------------------------------------------- appendix

MIRRORS = (
    "report.html",
    "report.md",
    "wandb",
)  # rebuilt from the rest; listing them would change the page that lists them


def record_text(source: Source) -> str:
    """What run.json holds, as YAML: nothing in it is hidden, and it can be read."""
    return clip(_yaml(source.run.info))[0]


RECIPE = "recipe.yaml"


def recipe_text(source: Source) -> str:
    """What the run was asked for, as the file that `sftscope train` and `sftscope probe --config` take; "" where the record
    does not hold it."""
    info = source.run.info
    parts: dict[str, Any] = {"train": info["config"]} if _trained(info) else {}
    parts |= {name: info[name] for name in ("probes", "arm") if info.get(name)}
    if "arm" in parts and "train" in parts:
        made = [_HELDOUT.fullmatch(Path(str(p)).name) for p in (info["config"]["data"].get("heldout") or {}).values()]
        parts["heldout_rows"] = max((int(m[1]) for m in made if m), default=0)
    return _yaml(parts) if parts else ""


def commands(source: Source) -> str:
    """What makes the run again, from the first command to this page, ready for a shell."""
    info, run = source.run.info, str(source.run.path)
    lines: list[list[str]] = []
    if info.get("source"):  # scores from elsewhere
        return "\n".join(map(shlex.join, [["sftscope", "analyze", str(info["source"]), "-o", run], [*_REPORT, run]]))
    if _trained(info):
        lines = [["sftscope", "train", RECIPE, "-o", run], ["sftscope", "probe", run]]
    elif info.get("sources"):
        settings = ["--config", RECIPE] * bool(info.get("probes"))
        lines = [["sftscope", "probe", *map(str, info["sources"]), "-o", run, *settings]]
    return "\n".join(map(shlex.join, [*lines, ["sftscope", "analyze", run], [*_REPORT, run]]))


_REPORT = ("sftscope", "report")
_HELDOUT = re.compile(r"heldout-.+-(\d+)-[0-9a-f]{6}\.jsonl")  # rows made beside an arm


def _trained(info: Mapping[str, Any]) -> bool:
    config = info.get("config")
    return isinstance(config, dict) and {"model", "data"} <= set(config)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False, width=110).rstrip()


def identity_table(source: Source) -> Table:
    """Hashes and versions: what tells this run from another."""
    info = source.run.info
    rows = [(f"{name} hash", str(info[key])) for name, key in (("Config", "config_hash"),) if key in info]
    for name in ("base", "data", "primaries"):
        section = info.get(name)
        if isinstance(section, dict):
            rows += [(f"{name}: {k}", ", ".join(v) if isinstance(v, list) else str(v)) for k, v in section.items()]
    versions = info.get("versions")
    rows += [(f"version: {k}", str(v)) for k, v in versions.items()] if isinstance(versions, dict) else []
    return Table(("What", "Value"), tuple((k, clip(v, 400)[0]) for k, v in rows))


def cost_table(source: Source) -> Table | None:
    """What measuring took, by stage and summed over checkpoints: seconds, tokens generated or scored, bytes written."""
    cost = source.run.costs()
    if cost.empty:
        return None
    rows = [
        (
            str(stage),
            f"{r['seconds']:,.1f} s",
            f"{r['tokens']:,.0f}",
            f"{r['bytes'] / 2**20:,.2f} MiB",
            f"{r['times']:.0f}",
        )
        for stage, r in cost.iterrows()
    ]
    return Table(("Stage", "Time", "Tokens", "Written", "Times"), tuple(rows))


def file_table(source: Source) -> Table:
    """What the run folder holds, by kind, without its mirrors."""
    rows = []
    for entry in sorted(source.run.path.iterdir()):
        if entry.name.startswith(".") or entry.name in MIRRORS:
            continue
        files = [f for f in entry.rglob("*") if f.is_file()] if entry.is_dir() else [entry]
        mib = sum(f.stat().st_size for f in files) / 2**20
        rows.append((entry.name + "/" * entry.is_dir(), str(len(files)), f"{mib:.2f} MiB"))
    return Table(("Name", "Files", "Size"), tuple(rows))


def failures(source: Source) -> list[str]:
    """Measurements that failed, each a sentence."""
    table = source.run.measurements(failed=True)
    if table.empty:
        return []
    return [
        f"{r['probe']} at step {r['step']}{' on ' + r['domain'] if r['domain'] else ''}: {clip(str(r['reason']), 500)[0]}"
        for r in table[table["status"] == "failed"].to_dict("records")
    ]
