"""A checkpoint out of turn: asked for by a file or a signal, written at the next step, and kept."""

import os
import signal
import time

import pytest
import torch
from sftscope.dynamics.errors import Stopped
from sftscope.dynamics.record import Run
from sftscope.train import checkpoint


class Killed(Exception):
    pass


def at(step, action):
    return lambda row: action() if row["step"] == step else None


def killed():
    raise Killed


def test_a_file_asks_and_its_removal_answers(fit, tmp_path):
    run, seen, there = tmp_path / "run", [], {}

    def on_progress(row):
        there[row["step"]] = (run / "save").exists(), (run / "checkpoints" / "step-000004").exists()
        if row["step"] == 3:
            (run / "save").touch()

    def hook(step, model, folder):
        seen.append((step, (run / "save").exists(), (folder / "manifest.json").is_file()))
        return []

    fit(hooks=[hook], on_progress=on_progress)
    assert list(Run(run).checkpoints()) == [4, 12]
    assert seen == [(4, True, True), (12, False, True)]
    assert there[4] == there[5] == (False, True)


def test_written_beside_the_training_it_is_whole_when_the_file_goes(fit, tmp_path, monkeypatch):
    run, write, asking = tmp_path / "run", checkpoint.write_checkpoint, {}

    def slow(folder, model, tokenizer, step, **options):
        time.sleep(0.2)
        asking[step] = (run / "save").exists()
        write(folder, model, tokenizer, step, **options)

    monkeypatch.setattr(checkpoint, "write_checkpoint", slow)
    fit(on_progress=at(3, (run / "save").touch))
    assert asking == {4: True, 12: False}
    assert list(Run(run).checkpoints()) == [4, 12]


def test_a_stop_that_comes_while_a_save_is_answered_is_heard(fit, tmp_path):
    run = tmp_path / "run"

    def hook(step, model, folder):
        if step == 4:
            (run / "stop").touch()
        return []

    with pytest.raises(Stopped, match="after step 5 of 12"):
        fit(hooks=[hook], on_progress=at(3, (run / "save").touch))
    assert not (run / "stop").exists()
    assert list(Run(run).checkpoints()) == [4, 5]
    fit(hooks=[hook], resume=True)
    assert list(Run(run).checkpoints()) == [4, 5, 12]


def test_a_signal_asks_too_and_its_handler_is_put_back(fit, tmp_path):
    before = signal.getsignal(signal.SIGUSR1)
    fit(on_progress=at(6, lambda: os.kill(os.getpid(), signal.SIGUSR1)))
    assert list(Run(tmp_path / "run").checkpoints()) == [7, 12]
    assert signal.getsignal(signal.SIGUSR1) is before


def test_asking_at_a_planned_step_is_answered_by_its_checkpoint(fit, tmp_path):
    seen = []
    fit(
        hooks=[lambda step, *_: seen.append(step) or []],
        checkpoints={"at": [4]},
        on_progress=at(3, (tmp_path / "run" / "save").touch),
    )
    assert seen == [4, 12]


def test_it_outlives_a_resume_and_changes_nothing(fit, rows_of, weights_of, tmp_path, dropout_model_dir):
    settings = {"model": {"path": str(dropout_model_dir)}, "checkpoints": {"at": [4], "resume_every": 10}}
    whole, broken = fit("whole", **settings), tmp_path / "broken"
    settings["checkpoints"] = {"resume_every": 10}
    asking = at(3, (broken / "save").touch)

    def ask_then_die(row):
        asking(row)
        at(6, killed)(row)

    with pytest.raises(Killed):
        fit("broken", on_progress=ask_then_die, **settings)
    seen = []
    fit("broken", resume=True, hooks=[lambda step, *_: seen.append(step) or []], **settings)
    assert seen == [4, 12]  # whether its hooks came to an end before the kill is theirs to know
    assert list(Run(broken).checkpoints()) == [4, 12]
    for step in (4, 12):
        a, b = weights_of(whole, step), weights_of(broken, step)
        assert all(torch.equal(a[k], b[k]) for k in a), step
    assert [r["loss"] for r in rows_of(whole)] == Run(broken).steps()["loss"].tolist()
