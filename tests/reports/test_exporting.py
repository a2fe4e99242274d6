"""Figures as files: what a paper takes, without a browser."""

from __future__ import annotations

import csv
import io
import re

import pandas as pd
import pytest
import vl_convert
from PIL import Image
from sftscope.cli import main
from sftscope.dynamics.errors import ConfigError
from sftscope.dynamics.record import Run, write_measurements
from sftscope.reports.exporting import csv_text, export_figures, static_spec
from sftscope.reports.gallery import gallery
from sftscope.reports.source import Source


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    assert main(["report", str(run), "-o", str(out / "page.html"), "--figures", str(out / "figures")]) == 0
    return out / "figures"


def test_every_figure_is_there_in_three_kinds(folder, run):
    ids = {f.id for f in gallery(Source(run))}
    assert len(ids) > 10
    assert {f.name for f in folder.iterdir()} == {f"{i}.{kind}" for i in ids for kind in ("svg", "png", "csv")} | {
        "verdicts.csv"
    }
    for name in ids:
        svg = (folder / f"{name}.svg").read_text()
        assert svg.startswith("<svg")
        assert not re.search(r"(?:href|src)\s*=|url\(http|<script", svg)  # nothing is fetched or run
        with Image.open(folder / f"{name}.png") as image:
            assert 1000 < image.width < 2600, name  # twice what was asked for, legends and labels aside
            colours = image.convert("RGB").getcolors(1 << 24)
            assert max(colours)[1] == (255, 255, 255), name
            assert len(colours) > 20, name


def test_the_numbers_of_a_figure_are_those_of_the_record(folder, run):
    table = pd.read_csv(folder / "scores.csv")
    truth = Run(run).measurements(metric="score_strict").set_index(["domain", "step"])
    assert len(table) == len(truth)
    for row in table.to_dict("records"):
        wanted = truth.loc[(row["domain"], row["step"])]
        for name in ("value", "lo", "hi"):
            assert row[name] == pytest.approx(wanted[name], rel=1e-4)


def test_tables_name_their_rows_in_plain_words(folder):
    tables = {f.stem: pd.read_csv(f) for f in folder.glob("*.csv")}
    assert "domain" in tables["scores"]
    assert set(tables["scores"]["panel"]) >= {"Countdown, in-domain reasoning", "Harmful unseen, share refused"}
    for name, table in tables.items():
        assert "name" not in table, name
        assert not [cell for cell in table.to_numpy().ravel() if isinstance(cell, str) and "|" in cell], name


def test_verdicts_are_those_of_the_findings(folder, run):
    table = pd.read_csv(folder / "verdicts.csv").set_index("domain")
    phases = {f["domain"]: f for f in Run(run).findings() if f["kind"] == "phase"}
    assert dict(table["verdict"]) == {d: f["verdict"] for d, f in phases.items()}
    for domain, phase in phases.items():
        if phase["verdict"] == "improves":
            assert table.loc[domain, "change"] == pytest.approx(phase["estimate"]["value"])
            assert table.loc[domain, "lo"] == pytest.approx(phase["estimate"]["lo"])


def test_another_axis_is_drawn_and_one_that_is_not_known_is_told(own_run, tmp_path):
    write_measurements(own_run, 0, "spans", key="k", settings="s", rows=[])  # a probe without numbers
    source = Source(own_run)
    assert "epoch" in source.axes
    figures = {f.id: f for f in gallery(source)}
    drawn = static_spec(figures["scores"], "epoch")
    fields = {layer["encoding"]["x"]["field"] for layer in drawn["spec"]["layer"] if "x" in layer.get("encoding", {})}
    assert fields == {"epoch"}
    labels = re.findall(r">([^<>]+)</text>", vl_convert.vegalite_to_svg(static_spec(figures["cosine"], "epoch")))
    assert "epoch (checkpoints, evenly spaced)" in labels
    assert not [label for label in labels if "NaN" in label or "undefined" in label]
    (own_run / "steps.jsonl").unlink(missing_ok=True)
    with pytest.raises(
        ConfigError, match=r"`--x-axis cumulative_lr`: the record does not place every checkpoint on it"
    ):
        export_figures(own_run, tmp_path / "out", "cumulative_lr")


def test_no_text_becomes_a_formula():
    text = csv_text(["name", "value"], [["=HYPERLINK(1)", -0.5], ["+1", float("nan")], ['a,"b"\nc', None]])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[1:] == [["'=HYPERLINK(1)", "-0.5"], ["'+1", ""], ['a,"b"\nc', ""]]


def test_an_axis_without_files_is_a_mistake(run, capsys):
    assert main(["report", str(run), "--x-axis", "epoch"]) == 2
    assert "add --figures FOLDER" in capsys.readouterr().err
