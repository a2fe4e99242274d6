"""Markdown and the terminal say what the record says."""

import io
import json
import math
import re

import zstandard
from rich.console import Console
from sftscope.dynamics.record import Run
from sftscope.reports import show, write_markdown, write_report
from sftscope.reports.answers import answers
from sftscope.reports.markdown import escaped
from sftscope.reports.source import Source
from sftscope.reports.terminal import sparkline


def test_markdown_has_every_sentence_and_every_verdict(run, tmp_path):
    text = write_markdown(run, tmp_path / "out" / "report.md").read_text()
    findings = Run(run).findings()
    places = [text.index(escaped(f["sentence"])) for f in findings]
    assert places == sorted(places)
    table = text[text.index("## Verdicts") : text.index("## Recommended reading")].splitlines()
    for finding in findings:
        if finding["kind"] == "phase":
            name = finding["domain"].replace("_", " ").capitalize()
            (row,) = [line for line in table if line.startswith(f"| {name} |")]
            assert row.endswith(f"| {finding['verdict']} |")


def test_markdown_escapes():
    assert escaped("a|b\n<script>[x](y)\x00") == r"a\|b \<script\>\[x\](y)␀"
    assert escaped("&lt; &#64;") == r"\&lt; \&\#64;"
    for linking in ("see http://x.example", "ask @someone", "a@b.example", "www.x.example"):
        assert not re.search(r"://|@\w|www\.", escaped(linking)), linking
        assert escaped(linking).replace("\u2060", "") == linking


def test_the_terminal_answers_first_and_says_what_is_exploratory(run):
    console = Console(file=io.StringIO(), width=160)
    show(run, console=console)
    text = console.file.getvalue()
    questions = [text.index(a.question) for a in answers(Source(run))]
    table = text.index("Strict score by checkpoint")
    assert max(questions) < table
    assert all(f["sentence"][:40] in text[table:] for f in Run(run).findings())
    words = " ".join(text.split())
    told = [f for f in Run(run).findings() if f["exploratory"] and f["kind"] not in ("advice", "warning")]
    assert told
    assert all(f"{' '.join(f['sentence'].split())} (exploratory)" in words for f in told)


def test_half_a_character_in_a_sample_is_no_end(own_run):
    """What a model writes can end in half of a character; the page could then not be written."""
    for step in Run(own_run).measured_steps():
        kept = [f"countdown-{i:04d}" for i in range(2)]
        rows = [
            {"item": i, "prompt": "p", "text": f"half \ud83d {step}", "token_ids": [1], "finish": "stop"} for i in kept
        ]
        raw = "".join(json.dumps(row) + "\n" for row in rows).encode()  # escaped
        raw += json.dumps(rows[0] | {"item": "countdown-0002"}, ensure_ascii=False).encode("utf-8", "surrogatepass")
        for old in (own_run / "samples" / f"step-{step:06d}").glob("countdown-*"):
            old.write_bytes(zstandard.ZstdCompressor().compress(raw))
    assert "half �" in write_report(own_run).read_text()


def test_the_terminal_shows_findings_scores_and_sparklines(run):
    console = Console(file=io.StringIO(), width=160)
    show(run, console=console)
    text = console.file.getvalue()
    words = " ".join(text.split())
    for finding in Run(run).findings():
        assert " ".join(finding["sentence"].split()) in words
    assert "Subset sum" in text
    assert "▼ degrades" in text


def test_the_terminal_is_no_markup_for_the_model(own_run):
    file = own_run / "findings.json"
    record = json.loads(file.read_text())
    record["findings"][0]["sentence"] = "[red]not[/red] \x1b[31mred [/nothing]"
    file.write_text(json.dumps(record))
    console = Console(file=io.StringIO(), width=160)
    show(own_run, console=console)
    assert "[red]not[/red] ␛[31mred [/nothing]" in console.file.getvalue()


def test_sparklines_share_a_scale_and_leave_gaps():
    assert sparkline([0.0, 0.5, 1.0, 2.0, math.nan]) == "▁▅██ "
