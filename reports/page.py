"""A run as one HTML file: opens offline, fetches nothing, runs no script but its own, and shows model text as data."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..dynamics.findings.wording import GROUP_LABELS
from ..dynamics.storage import whole_file
from . import overview
from .gallery import gallery
from .panels import Figure
from .source import Source, heading
from .text import embed_json, shown
from .traces import Trace, pick_traces

TEMPLATES = Path(__file__).parent / "templates"
MOST_LEADING = 6  # sentences that a reader of the first screen takes in
SHOWN_WARNINGS = 4  # more of them are a click away


def write_report(run: Path | str, out: Path | None = None) -> Path:
    """Write the run's page to `out` (default: `report.html` in the run folder) and return its path.

    Raises RecordError, with the way out, when there is no run or it has not been analysed.
    """
    source = Source(run)
    target = Path(out) if out is not None else source.run.path / "report.html"
    html = render(source)
    with whole_file(target) as aside:
        aside.write_text(html, encoding="utf-8")
    return target


def render(source: Source) -> str:
    """The page as text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=shown, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((TEMPLATES / "report.html.j2").read_text(encoding="utf-8"))
    library, drawing = _library(), _asset("report.js")
    views = overview.finding_views(source)
    findings = [f for f in views if f.kind != "warning"]
    associations, undefined = overview.association_rows(source)
    return template.render(
        name=source.run.name,
        version=__version__,
        policy=_policy(library, drawing),
        css=Markup(_asset("report.css")),
        library=Markup(library),
        drawing=Markup(drawing),
        title_line=overview.title_line(source),
        warnings=[f for f in views if f.kind == "warning"],
        shown_warnings=SHOWN_WARNINGS,
        findings=findings,
        lead=_lead(findings),
        verdicts=overview.verdict_rows(source),
        meanings=list(overview.VERDICTS.items()),
        sections=_sections(gallery(source)),
        associations=associations,
        association_columns=overview.ASSOCIATION_COLUMNS,
        undefined=undefined,
        null=overview.null_of(source),
        traces=[_trace(t) for t in pick_traces(source)],
        identity=overview.identity_table(source),
        cost=overview.cost_table(source),
        failures=overview.failures(source),
        files=overview.file_table(source),
        config=overview.config_text(source),
    )


def _lead(findings: list[overview.FindingView]) -> int:
    """How many findings are the answer: what to do, at which price, before the accounts of single domains."""
    return min(next((i for i, f in enumerate(findings) if f.kind == "phase"), len(findings)), MOST_LEADING)


def _sections(figures: list[Figure]) -> list[dict[str, Any]]:
    return [
        {"name": name, "figures": [_figure(f) for f in group]}
        for name, group in groupby(figures, key=lambda f: f.section)
    ]


def _figure(figure: Figure) -> dict[str, Any]:
    spec = figure.chart.to_dict()
    del spec["title"]  # the heading says it
    del spec["$schema"]  # an address, which nothing needs
    spec.get("config", {}).setdefault("legend", {})
    return {
        "id": figure.id,
        "title": figure.title,
        "description": spec["description"],
        "shows": figure.shows,
        "omits": figure.omits,
        "table": figure.table,
        "spec": embed_json(spec),
    }


def _trace(trace: Trace) -> dict[str, Any]:
    names = {"domain_name": heading(trace.domain), "group_name": GROUP_LABELS.get(trace.group, trace.group)}
    return {**asdict(trace), **names}


# ---------------------------------------------------------------- scripts


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, in a scope of its own."""
    import vl_convert

    bundle = (
        vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
        .replace("</script", "<\\/script")
        .replace("<!--", "<\\!--")
    )
    return f"(()=>{{{bundle}}})();"


def _policy(*scripts: str) -> str:
    """A content security policy: these scripts and no other run, nothing is loaded. (Vega compiles its expressions: eval.)"""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
