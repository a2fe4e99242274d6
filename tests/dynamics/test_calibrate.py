"""The calibration catches an inference that is wrong, goes on where it was killed, and finds ours right."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sftscope.dynamics import DataError
from sftscope.dynamics.calibrate.__main__ import main
from sftscope.dynamics.calibrate.cells import CHUNK, Cell, Question, Rate, broken, chunks, measure, pools, stream
from sftscope.dynamics.calibrate.code import version_of
from sftscope.dynamics.calibrate.page import END, START
from sftscope.dynamics.calibrate.results import Chunk, Key, Results
from sftscope.dynamics.calibrate.running import a_slice_of, cells_of, code_of, known_studies, run
from sftscope.dynamics.calibrate.worlds import Items, flat, rising
from sftscope.dynamics.statistics.bands import simultaneous_bands
from sftscope.dynamics.trajectories import phases

QUICK = "payoff"  # a study that takes seconds
DRAWS = 2 * CHUNK + 40


def counts(rates):
    return [(r.cell.name, r.hits, r.of) for r in rates]


def test_a_slice_of_every_study_keeps_the_rule(capsys):
    """`python -m sftscope.dynamics.calibrate --slice`."""
    assert main(["--slice"]) == 0
    told = capsys.readouterr().out
    assert all(f"\n{study}, " in told for study in known_studies())
    assert "BROKEN" not in told


def test_a_broken_inference_is_caught(monkeypatch, capsys):
    """Bands that hold 60 % of the time: what a band is for, and what only looking at many cells shows."""
    monkeypatch.setattr(phases, "simultaneous_bands", partial(simultaneous_bands, level=0.6))
    assert main(["dips", "--slice"]) == 1
    assert "the rule is BROKEN" in capsys.readouterr().out


def test_a_band_checkpoint_by_checkpoint_is_caught():
    def naive(draws, rng):
        found = []
        for _ in range(draws):
            x = Items().answers(flat(0.5)(20), 100, rng)
            d = x[:, 1:] - x[:, :1]
            found.append(np.any(d.mean(0) + 1.96 * d.std(0, ddof=1) / 10 < 0))
        return np.array(found, float)

    assert broken(measure([Cell("looks one at a time", naive)], 200), few=True)


def test_killed_on_two_processes_and_resumed_on_one_gives_the_same_numbers(tmp_path, capsys):
    command = [sys.executable, "-P", "-m", "sftscope.dynamics.calibrate", QUICK, "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--draws", str(DRAWS), "--out", str(tmp_path)], stdout=subprocess.DEVNULL, start_new_session=True
    )
    file = tmp_path / f"{QUICK}.jsonl"
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_bytes().count(b"\n") >= 7):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    lines = file.read_text().splitlines()
    assert 7 <= len(lines) < len(chunks(DRAWS)) * len(cells_of(QUICK))  # it was not done
    file.write_text("\n".join(lines)[:-20])  # and the last line is torn
    kept = set(file.read_text().splitlines()[:-1])

    resumed = run([QUICK], DRAWS, tmp_path, workers=1)[QUICK]
    assert f"of {len(cells_of(QUICK))} cells are done already" in capsys.readouterr().out
    whole = measure(list(cells_of(QUICK).values()), DRAWS, study=QUICK)
    assert counts(resumed) == counts(whole)
    assert kept <= set(file.read_text().splitlines())
    before = file.read_bytes()
    assert counts(run([QUICK], DRAWS, tmp_path)[QUICK]) == counts(whole)
    assert file.read_bytes() == before  # nothing was left to measure


def test_more_draws_go_on_from_fewer(tmp_path):
    run([QUICK], CHUNK, tmp_path, say=lambda line: None)
    few = (tmp_path / f"{QUICK}.jsonl").read_text().splitlines()
    more = run([QUICK], 2 * CHUNK, tmp_path, say=lambda line: None)[QUICK]
    assert (tmp_path / f"{QUICK}.jsonl").read_text().splitlines()[: len(few)] == few
    assert counts(more) == counts(measure(list(cells_of(QUICK).values()), 2 * CHUNK, study=QUICK))


def test_results_of_other_code_or_another_seed_do_not_count(tmp_path):
    name = next(iter(cells_of(QUICK)))
    results = Results(tmp_path, QUICK)
    for seed, code in ((0, "another"), (1, code_of(QUICK))):
        results.add(Key(name, seed, 0, CHUNK, code), Chunk([(CHUNK, CHUNK)], 1.0))  # wrong in every draw
    rates = run([QUICK], CHUNK, tmp_path, say=lambda line: None)[QUICK]
    assert rates[0].value < 0.1


def test_a_cell_draws_the_same_whatever_else_is_measured():
    cells = a_slice_of(list(cells_of(QUICK).values()), 4)
    together = counts(measure(cells, 300, study=QUICK))
    alone = [c for cell in cells for c in counts(measure([cell], 300, study=QUICK))]
    assert together == alone
    assert counts(measure(cells[::-1], 300, study=QUICK)) == together[::-1]


def test_streams_are_independent():
    asked = [("a", "x", 0, 0), ("a", "y", 0, 0), ("b", "x", 0, 0), ("a", "x", 1, 0), ("a", "x", 0, 1)]
    x = np.array([stream(*names).standard_normal(4000) for names in asked])
    correlation = np.corrcoef(x)[np.triu_indices(len(x), 1)]
    assert np.abs(correlation).max() < 4 / np.sqrt(4000)
    assert np.array_equal(x[0], stream(*asked[0]).standard_normal(4000))


def test_cells_of_one_name_are_refused():
    same = Cell("twice", lambda draws, rng: np.zeros(draws))
    with pytest.raises(ValueError, match="twice"):
        measure([same, same], 10)
    for study in known_studies():
        assert cells_of(study)


def rate(hits, of=2000, **cell):
    return Rate(Cell("", lambda draws, rng: np.zeros(draws), **cell), hits, of, of)


def test_the_rule_by_kind():
    assert not broken([rate(104), rate(96)])
    assert broken([rate(160), rate(60)])  # one cell
    assert len(broken([rate(115, test="a")] * 5 + [rate(20, test="b")] * 20)) == 1  # one test among others that hold
    power = {"power": True, "at_least": 0.9}
    assert not broken([rate(1790, **power), rate(1830, **power)])  # below by chance, above when pooled
    assert broken([rate(1700, **power), rate(1990, **power)])
    assert not broken([rate(10, power=True)])  # nothing was promised
    assert not broken([rate(135, most_missed=0.07)])
    assert broken([rate(185, most_missed=0.07)])
    assert not broken([rate(0, of=0), rate(100)])  # a cell without a defined draw decides nothing
    assert not broken([rate(7, of=100)], few=True)
    assert broken([rate(7, of=100)])
    assert broken([rate(25, of=100)], few=True)


def test_several_questions_of_the_same_draws_are_cells_of_their_own():
    def draw(draws, rng):
        x = rng.random(draws)
        return np.stack([x < 0.04, x > 0.2, np.where(x < 0.5, np.nan, 0)], axis=1)

    asked = (Question("a", test="a"), Question("b", power=True, at_least=0.7), Question("c", most_missed=0.07))
    a, b, c = measure([Cell("world", draw, questions=asked)], 1000)
    assert [r.cell.name for r in (a, b, c)] == ["world: a", "world: b", "world: c"]
    assert (a.cell.kind, b.cell.kind, c.cell.kind) == ("error", "power", "coverage")
    assert a.value == pytest.approx(0.04, abs=0.03)
    assert b.value == pytest.approx(0.8, abs=0.06)
    assert (c.hits, c.of) == (0, pytest.approx(500, abs=80))
    assert [p.test for p in pools([a, b, c])] == ["a", "", ""]
    with pytest.raises(ValueError, match="answers 3 questions"):
        measure([Cell("world", draw, questions=asked[:2])], 10)


@pytest.mark.parametrize("items", [Items(), Items(difficulty=0.3, ar=0.9), Items(question=0.5, samples=4)])
def test_the_worlds_have_the_scores_they_claim(items):
    truth = rising(0.1, 0.8)(6)
    rng = np.random.default_rng(0)
    means = np.array([items.answers(truth, 100, rng).mean(axis=0) for _ in range(400)])
    assert np.all(np.abs(means.mean(axis=0) - truth) < 4 * means.std(axis=0) / 20)
    x = items.latent(4000, 3, rng)
    assert x.std() == pytest.approx(1, abs=0.03)
    lasting = items.question + items.difficulty
    assert np.corrcoef(x[:, 0], x[:, 1])[0, 1] == pytest.approx(lasting + (1 - lasting) * items.ar, abs=0.05)


def study_of(folder: Path, used: str, unused: str = "return 1", comment: str = "", whole: bool = False) -> str:
    folder.mkdir()
    (folder / "maths.py").write_text(
        f'"""Words."""\nLIMIT = 3\n\n\ndef helper(x):\n    {comment}\n    {used}\n\n\ndef f(x):\n    return helper(x) + LIMIT\n'
        f"\n\ndef g():\n    {unused}\n"
    )
    how = "from .maths import f\n\n\ndef cells():\n    return [f]\n"
    if whole:
        how = "from . import maths\n\n\ndef cells():\n    return [maths.f]\n"
    (folder / "study.py").write_text(how)
    return version_of(folder / "study.py")


@pytest.mark.parametrize("whole", [False, True])
def test_results_outlive_edits_that_cannot_matter_and_no_others(tmp_path, whole):
    once = study_of(tmp_path / "a", "return x", whole=whole)
    assert study_of(tmp_path / "b", "return x", comment='"""Says more."""', whole=whole) == once
    assert study_of(tmp_path / "c", "return x", unused="return 2", whole=whole) == once
    assert study_of(tmp_path / "d", "return 2 * x", whole=whole) != once


def test_the_page_keeps_what_is_written_by_hand(tmp_path, capsys):
    page = tmp_path / "validity.md"
    page.write_text(f"before\n\n{START}\nwhat stood here\n{END}\n\nafter\n")
    arguments = [QUICK, "--draws", "200", "--workers", "1", "--out", str(tmp_path), "--page", str(page)]
    assert main(arguments) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "what stood here" not in text
    for cell in cells_of(QUICK):
        assert f"| {cell}, " in text
    assert main([*arguments, "--stored"]) == 0
    assert page.read_text() == text
    page.write_text("no marks")
    assert main(arguments) == 2
    assert "add them" in capsys.readouterr().err


def test_what_cannot_be_done_says_why(tmp_path, capsys):
    assert main(["dip"]) == 2
    assert "did you mean 'dips'" in capsys.readouterr().err
    assert main(["--draws", "0"]) == 2
    assert main([QUICK, "--stored", "--out", str(tmp_path)]) == 2
    assert "no finished cell" in capsys.readouterr().err
    (tmp_path / "dips.jsonl").write_text(json.dumps({"other": 1}) + "\n")
    with pytest.raises(DataError, match="line 1 is no result"):
        Results(tmp_path, "dips")
