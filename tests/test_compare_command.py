"""`sftscope compare` on runs and on tables: what it prints fits 100 columns, mistakes are one line."""

import csv
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from sftscope.cli import main

if "synthetic" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("synthetic", Path(__file__).parent / "synthetic.py")
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules["synthetic"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["synthetic"])
make_run = sys.modules["synthetic"].make_run

SCORES = """model,data,MATH500,LCB,GPQA,Reward
8B,base,76.8,29.1,39.7,-0.13
8B,Math-CoT,90.1,31.0,48.5,0.92
8B,Math-NoCoT,77.4,31.8,45.1,
8B,NuminaMath,72.5,7.9,37.2,-0.70
"""
ITEMS = """benchmark,group,items,samples_per_item
MATH500,id_reasoning,500,3
LCB,ood_reasoning,511,3
GPQA,ood_reasoning,198,3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.csv").write_text(SCORES)
    (tmp_path / "items.csv").write_text(ITEMS)
    (tmp_path / "notes.csv").write_text("this is\nno, table, at all\n,,,,,\n")
    return tmp_path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    few = {d: None for d in ("subset_sum", "calculation", "facts", "instructions", "harmful")}
    return [
        str(make_run(folder / name, seed=i, steps=(0, 4, 16), n=60, layers=1, curves=few | {"path": curve}))
        for i, (name, curve) in enumerate((("up", (0.3, 0.9)), ("down", (0.3, 0.1))))
    ]


def test_a_table_of_scores_is_ordered_with_what_cannot_be_told(here, capsys):
    assert main(["compare", "scores.csv", "--items", "items.csv", "-o", "out"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines()[:-1])) <= 100  # the last line is a path
    assert "8B: gain over base, points" in printed
    assert "assumed paired, r = 0.5" in printed
    assert "Not separated by these items" in printed
    assert (here / "out" / "comparison.json").is_file()
    assert (here / "out" / "gains_by_group.csv").is_file()


def test_runs_are_compared_and_arms_can_be_named(runs, tmp_path, capsys):
    assert main(["compare", *runs, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "up gains more on path" in " ".join(printed.split())
    assert max(map(len, printed.splitlines()[:-1])) <= 100
    assert main(["compare", f"first={runs[0]}", f"second={runs[1]}"]) == 0
    printed = capsys.readouterr().out
    assert "first - second" in printed
    assert "nothing was written" in printed


HOSTILE = "=lora[/r=16]\x1b[31m\u202e[bold"


def test_a_name_is_text_and_no_markup_no_escape_and_no_formula(runs, tmp_path, capsys):
    """A name with brackets ended in rich's MarkupError; escapes reached the terminal, `=` a spreadsheet."""
    hostile = Path(shutil.copytree(runs[0], tmp_path / "hostile"))
    info = json.loads((hostile / "run.json").read_text())
    (hostile / "run.json").write_text(json.dumps(info | {"name": HOSTILE}))
    assert main(["compare", str(hostile), runs[1], "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "=lora[/r=16]␛[31m[U+202E][bold" in "".join(printed.split())
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    cells = [c for f in (tmp_path / "out").glob("*.csv") for row in csv.reader(f.open(newline="")) for c in row]
    assert f"'{HOSTILE}" in cells
    assert not [c for c in cells if c.startswith("=")]
    assert HOSTILE in set(pd.read_parquet(tmp_path / "out" / "runs.parquet")["run"])


def test_analyze_and_errors_show_what_a_terminal_would_obey(tmp_path, capsys):
    path = make_run(tmp_path / "a", steps=(0, 4), n=20, layers=1, curves={"bad\x1b[2J\u202ename": (0.9, 0.1)})
    assert main(["analyze", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "␛[2J[U+202E]name" in printed
    assert main(["report", str(tmp_path / "\x1b[31m")]) == 2
    printed += capsys.readouterr().err
    assert "\x1b" not in printed
    assert "\u202e" not in printed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["UP"], "needs two runs or more, and 1 was given"),
        (["nowhere", "UP"], "no run and no table at nowhere"),
        (["scores.csv"], "give --items"),
        (["scores.csv", "UP"], "compare one table of scores, or runs"),
        (["scores.csv", "--items", "gone.csv"], "no file at gone.csv"),
        (["notes.csv", "--items", "items.csv"], "notes.csv is not a table"),
        (["scores.csv", "--items", "items.csv", "--condition", "mix"], "no column 'mix'"),
        (["scores.csv", "--items", "items.csv", "--base", "Base"], "did you mean 'base'"),
        (["scores.csv", "--items", "items.csv", "--items-column", "n"], "the items table has no column 'n'"),
        (["UP", "DOWN", "--items", "items.csv"], "--items belongs to a table"),
        (["UP", "DOWN", "-o", "UP"], "is a run's folder"),
        (["UP", "second=DOWN"], "name all runs (ARM=RUN), or none"),
    ],
)
def test_mistakes_are_one_line(here, runs, capsys, args, message):
    args = [a.replace("UP", runs[0]).replace("DOWN", runs[1]) for a in args]
    assert main(["compare", *args]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
