"""A run's findings as Markdown, for papers, issues and chats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..dynamics.storage import whole_file
from . import overview
from .source import Source
from .text import visible

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
# What a page of GitHub makes links and mentions of, wherever it stands: taken apart by a character that nobody sees.
_LINKING = re.compile(r"(?<=:)(?=//)|(?<=@)(?=\S)|(?<=www)(?=\.)", re.IGNORECASE)


def write_markdown(run: Path | str, out: Path | None = None) -> Path:
    """Write the findings, the table of verdicts and what to read with them to `out` (default: `report.md` in the run folder).

    Raises RecordError, with the way out, when there is no run or it has not been analysed.
    """
    source = Source(run)
    target = Path(out) if out is not None else source.run.path / "report.md"
    with whole_file(target) as aside:
        aside.write_text(markdown(source), encoding="utf-8")
    return target


def markdown(source: Source) -> str:
    findings = overview.finding_views(source)
    lines = [f"# {escaped(source.run.name)}", "", escaped(overview.title_line(source)), "", "## Findings", ""]
    for i, finding in enumerate(findings, 1):
        note = f"{finding.label}{', exploratory' if finding.exploratory and finding.kind != 'advice' else ''}"
        verdict = f"**{finding.verdict}.** " if finding.verdict else ""
        lines.append(f"{i}. {verdict}{escaped(finding.sentence)} *({escaped(note)})*")
    failed = overview.failures(source)
    if failed:
        lines += ["", "Measurements that failed:", "", *(f"- {escaped(f)}" for f in failed)]
    lines += ["", "## Verdicts", "", *_verdicts(source), "", "## Recommended reading", ""]
    lines += [f"- **{topic}**: {escaped(text)}." for topic, text in overview.READING]
    used = {f.verdict for f in findings if f.verdict}
    lines += [f"- *{verdict}*: {meaning}." for verdict, (_, _, meaning) in overview.VERDICTS.items() if verdict in used]
    for i, finding in enumerate(findings, 1):
        overturn = dict(finding.facts).get("Would overturn it")
        if overturn and finding.kind in ("advice", "phase", "tradeoff"):
            lines.append(f"- Would overturn finding {i}: {escaped(overturn)}.")
    identity = overview.identity_table(source)
    lines += ["", "## Record", "", *table(identity.columns, identity.rows), ""]
    return "\n".join(lines)


def _verdicts(source: Source) -> list[str]:
    columns = ("Domain", "Group", "Base", "Last", "Change [simultaneous band]", "Dip seen 9 times in 10", "Verdict")
    rows = [(v.domain, v.group, v.base, v.last, v.change, v.margin, v.verdict) for v in overview.verdict_rows(source)]
    return table(columns, rows)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; all cells and columns are escaped."""
    head = [f"| {' | '.join(escaped(c) for c in columns)} |", f"|{' --- |' * len(columns)}"]
    return head + [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows]


def escaped(text: str) -> str:
    """Text on one line in which nothing is Markdown, HTML, a link or a mention."""
    return _SPECIAL.sub(r"\\\1", _LINKING.sub("\u2060", visible(text).replace("\n", " ")))
