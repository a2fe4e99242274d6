"""`sftscope compare` on runs and on tables: what it prints fits 100 columns, mistakes are one line."""

import importlib.util
import sys
from pathlib import Path

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
