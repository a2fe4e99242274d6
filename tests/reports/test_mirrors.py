"""Markdown, terminal and W&B say what the record says; pushing twice adds nothing."""

import io
import json
import math
import shutil

import pytest
from rich.console import Console
from sftscope.dynamics.errors import RecordError
from sftscope.dynamics.record import Run
from sftscope.reports import push, show, write_markdown
from sftscope.reports.markdown import escaped
from sftscope.reports.source import Source
from sftscope.reports.terminal import sparkline
from sftscope.reports.tracking import STEP, history


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


def stored_records(file):
    """The protocol buffers of a W&B offline file: LevelDB's log format in blocks of 32 KiB, after a header of 7 bytes."""
    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for a header: the rest of the block is padding
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def stored_rows(folder):
    """The history rows of a W&B offline run."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("run-*.wandb")
    rows = []
    for data in stored_records(file):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item})
    return rows


@pytest.fixture(scope="module")
def pushed(run, tmp_path_factory):
    path = shutil.copytree(run, tmp_path_factory.mktemp("pushed") / "planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        return path, push(path)


def test_what_is_pushed_is_what_the_record_says(pushed):
    path, folder = pushed
    rows = stored_rows(folder)
    source = Source(path)
    expected = list(history(source.run, source.steps))
    assert len(rows) == len(expected) + 1  # the findings and the page
    for row, wanted in zip(rows, expected, strict=False):
        assert {k: v for k, v in row.items() if not k.startswith("_")} == pytest.approx(wanted)
    series = Run(path).series("score_strict", domain="path")
    last = rows[-2]
    assert last[STEP] == 256
    assert (last["score/path"], last["score/path_lower"], last["score/path_upper"]) == pytest.approx(
        tuple(series.loc[256, ["value", "lo", "hi"]])
    )
    assert {"findings", "report"} <= {name.split("/")[0] for name in rows[-1]}
    assert list(folder.rglob("report*.html"))


def test_few_names_and_layers_as_one_number(pushed):
    names = {name for row in stored_rows(pushed[1]) for name in row if not name.startswith("_")}
    assert len({n.removesuffix("_lower").removesuffix("_upper") for n in names}) < 60
    assert "direction/refusal_cosine_to_base" in names


def test_pushing_twice_adds_nothing(pushed, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    path, folder = pushed

    def files():
        return {f: f.stat().st_mtime_ns for f in path.rglob("*")}

    before = files()
    assert push(path) == folder
    assert files() == before


def test_a_push_that_was_cut_off_is_made_whole(pushed, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = shutil.copytree(pushed[0], tmp_path / "planted", symlinks=True)
    (marker,) = path.glob("wandb/pushed-*.json")
    marker.unlink()  # it is written last
    before = stored_rows(pushed[1])
    folder = push(path)
    assert len(list(path.glob("wandb/offline-run-*"))) == 1
    assert len(stored_rows(folder)) == len(before)


def test_disabled_pushes_nothing_and_a_run_without_findings_is_an_error(own_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert push(own_run) is None
    assert not (own_run / "wandb").exists()
    (own_run / "findings.json").unlink()
    with pytest.raises(RecordError, match="sftscope analyze"):
        push(own_run)
