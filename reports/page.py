"""A run as one HTML file: opens offline, fetches nothing, runs no script but its own, and shows model text as data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..dynamics.findings.wording import GROUP_LABELS
from ..dynamics.storage import whole_file
from . import overview
from .answers import answers
from .axes import choices
from .browsing import FILE_BYTES, FILE_STEPS, PAGE_BYTES, PAGE_STEPS, Responses, collect, notes
from .document import document, sections
from .gallery import gallery
from .source import Source, heading
from .text import embed_json
from .traces import Trace, pick_traces

AFTER_ASSOCIATIONS = ("Trade-off", "Training")  # sections: what moves together is read with what warns early
SHOWN_WARNINGS = 3  # more of them are a click away


def write_report(run: Path | str, out: Path | None = None) -> Path:
    """Write the run's page to `out` (default: `report.html` in the run folder) and return its path.

    Responses that the page cannot carry go to a second page beside it, `report-traces.html`.
    Raises RecordError, with the way out, when there is no run or it has not been analysed.
    """
    return write_pages(run, out)[0]


def write_pages(run: Path | str, out: Path | None = None) -> list[Path]:
    """As `write_report`; gives the page and, where there is one, the second."""
    source = Source(run)
    target = Path(out) if out is not None else source.run.path / "report.html"
    beside = target.with_name(f"{target.stem}-traces.html")
    responses = collect(source, PAGE_BYTES, PAGE_STEPS)
    pages = {target: render(source, responses, beside.name)}
    if responses is not None and not responses.whole:
        pages[beside] = render_responses(source, target.name)
    for file, html in pages.items():
        with whole_file(file) as aside:
            aside.write_text(html, encoding="utf-8")
    return list(pages)


def render_responses(source: Source, page: str) -> str:
    """A page of responses alone, for those that the run's own `page` cannot carry."""
    responses = collect(source, FILE_BYTES, FILE_STEPS)
    rest = "The others are in the run folder: Run.samples reads them."
    return document(
        "traces.html.j2", scripts=("traces.js",), name=source.run.name, page=page, browser=_browser(responses, rest)
    )


def _browser(responses: Responses | None, elsewhere: str, link: str = "") -> dict[str, Any] | None:
    if responses is None:
        return None
    return {"data": embed_json(responses.data), "notes": list(notes(responses, elsewhere)), "link": link}


def render(source: Source, responses: Responses | None, beside: str) -> str:
    """The page as text; `beside`: the file next to it for the responses that it cannot carry."""
    left_out = responses is not None and not responses.whole
    views = overview.finding_views(source)
    findings = [f for f in views if f.kind != "warning"]
    parts = sections(gallery(source))
    associations, undefined = overview.association_rows(source.associations)
    return document(
        "report.html.j2",
        scripts=("report.js", "traces.js"),
        name=source.run.name,
        title_line=overview.title_line(source),
        warnings=[f for f in views if f.kind == "warning"],
        shown_warnings=SHOWN_WARNINGS,
        answers=answers(source),
        anchors={str(f.get("id")): view.id for f, view in zip(source.findings, views, strict=True)},
        findings=findings,
        verdicts=overview.verdict_rows(source),
        meanings=list(overview.VERDICTS.items()),
        sections=parts,
        association_place=next((i for i, part in enumerate(parts) if part["name"] in AFTER_ASSOCIATIONS), len(parts)),
        axes=choices(source.axes, source.steps),
        associations=associations,
        association_columns=overview.ASSOCIATION_COLUMNS,
        undefined=undefined,
        null=overview.null_of(source.associations),
        traces=[_trace(t) for t in pick_traces(source)],
        browser=_browser(responses, "More of them are in a file beside this page:", beside if left_out else ""),
        identity=overview.identity_table(source),
        cost=overview.cost_table(source),
        failures=overview.failures(source),
        files=overview.file_table(source),
        commands=overview.commands(source),
        recipe=overview.recipe_text(source),
        recipe_file=overview.RECIPE,
        trained=overview.trained(source.run.info),
        record=overview.record_text(source),
    )


def _trace(trace: Trace) -> dict[str, Any]:
    names = {"domain_name": heading(trace.domain), "group_name": GROUP_LABELS.get(trace.group, trace.group)}
    return {**asdict(trace), **names}
