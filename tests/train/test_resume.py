"""A run that was killed and resumed is the run that was not."""

import json

import pytest
import torch
from sftscope.dynamics import storage
from sftscope.dynamics.errors import RecordError
from sftscope.dynamics.record import Run
from sftscope.train.resume import drop_resume, resume_folder


class Killed(Exception):
    pass


def kill_at(step):
    def on_progress(row):
        if row["step"] == step:
            raise Killed

    return on_progress


@pytest.fixture
def settings(dropout_model_dir):
    return {
        "model": {"path": str(dropout_model_dir)},
        "schedule": {"epochs": None, "steps": 20},
        "checkpoints": {"every": 4, "resume_every": 5, "first": True},
        "batch": {"micro": 3},
    }


CLOCKS = ("seconds", "tokens_per_s", "peak_memory_bytes")


def without_clocks(rows):
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in rows]


@pytest.mark.parametrize("stop", [10, 11, 13])
def test_killed_and_resumed_is_equal_to_the_bit(fit, rows_of, weights_of, settings, stop):
    whole = fit("whole", **settings)
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(stop), **settings)
    torch.rand(7)  # another process would not have this one's generator either
    broken = fit("broken", resume=True, **settings)
    for step in (0, 4, 8, 12, 16, 20):
        a, b = weights_of(whole, step), weights_of(broken, step)
        assert all(torch.equal(a[k], b[k]) for k in a), step
    redone = Run(broken).steps().to_dict("records")
    assert without_clocks(redone) == without_clocks(rows_of(whole))
    assert not (broken / "resume").exists()


def test_a_kill_in_the_middle_of_writing_leaves_nothing_that_hurts(fit, rows_of, settings):
    whole = fit("whole", **settings)
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(11), **settings)
    broken = whole.parent / "broken"
    with (broken / "steps.jsonl").open("a") as f:
        f.write('{"step": 12, "lo')  # a torn line
    (broken / "resume" / ".step-000015.tmp").mkdir()
    (broken / "checkpoints" / ".step-000012.1.abc.tmp").mkdir()
    fit("broken", resume=True, **settings)
    assert without_clocks(Run(broken).steps().to_dict("records")) == without_clocks(rows_of(whole))
    assert sorted(p.name for p in (broken / "checkpoints").iterdir()) == [f"step-{s:06d}" for s in range(0, 21, 4)]


def test_only_the_newest_state_is_kept(fit, tmp_path, settings):
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(17), **settings)
    assert [p.name for p in (tmp_path / "broken" / "resume").iterdir()] == ["step-000015"]


def test_a_hook_that_did_not_end_is_called_again(fit, settings):
    settings["checkpoints"] = {"every": 5, "resume_every": 5}
    seen = []

    def hook(step, model, folder):
        seen.append(step)
        if seen.count(10) == 1 and step == 10:
            raise Killed
        return []

    with pytest.raises(Killed):
        fit("broken", hooks=[hook], **settings)
    fit("broken", hooks=[hook], resume=True, **settings)
    assert seen == [5, 10, 10, 15, 20]


def test_begun_runs_are_not_trained_over(fit, settings, rows_of, tmp_path):
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(11), **settings)
    with pytest.raises(RecordError, match="--resume"):
        fit("broken", **settings)
    assert len(rows_of(tmp_path / "broken")) == 11


@pytest.mark.parametrize("stop", [1, 4])
def test_a_run_killed_before_its_first_state_begins_again(fit, rows_of, weights_of, settings, stop):
    whole = fit("whole", **settings)
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(stop), **settings)
    with pytest.raises(RecordError, match="--resume"):
        fit("broken", **settings)
    broken = fit("broken", resume=True, **settings)
    assert without_clocks(Run(broken).steps().to_dict("records")) == without_clocks(rows_of(whole))
    a, b = weights_of(whole), weights_of(broken)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_state_that_was_removed_is_missed(fit, settings, tmp_path):
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(11), **settings)
    drop_resume(tmp_path / "broken")
    with pytest.raises(RecordError, match="its state was removed"):
        fit("broken", resume=True, **settings)


def test_checkpoints_after_the_state_are_written_anew(fit, settings, tmp_path):
    """On a GPU they would differ a little: a folder must not mix two trajectories."""
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(13), **settings)
    checkpoints = tmp_path / "broken" / "checkpoints"
    for step in (8, 12):
        (checkpoints / f"step-{step:06d}" / "mark").touch()
    fit("broken", resume=True, **settings)
    assert (checkpoints / "step-000008" / "mark").exists()
    assert not (checkpoints / "step-000012" / "mark").exists()


def test_a_state_is_not_dropped_into_view(fit, settings, tmp_path, monkeypatch):
    """Killed while the state is being removed: what is left of it is hidden, and the run is complete."""
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(20), **settings)

    def killed(folder, **_):
        if folder.exists():
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(storage.shutil, "rmtree", killed)
        with pytest.raises(Killed):
            fit("broken", resume=True, **settings)
    assert resume_folder(tmp_path / "broken") is None
    assert (tmp_path / "broken" / "resume").exists()
    broken = fit("broken", resume=True, **settings)
    assert len(Run(broken).steps()) == 20
    assert not (broken / "resume").exists()


def test_nothing_to_resume(fit, settings):
    with pytest.raises(RecordError, match="nothing to resume"):
        fit("new", resume=True, **settings)
    settings["checkpoints"] = {"resume_every": None}
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(3), **settings)
    with pytest.raises(RecordError, match=r"no state to resume from.*resume_every"):
        fit("broken", resume=True, **settings)


@pytest.mark.parametrize("name", ["counters.json", "random_states_0.pkl", "optimizer.bin", "model.safetensors"])
def test_a_damaged_state_is_an_error(fit, settings, tmp_path, name):
    """Accelerate on its own would go on without a word where it cannot read the generators."""
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(11), **settings)
    state = tmp_path / "broken" / "resume" / "step-000010"
    (state / name).write_bytes((state / name).read_bytes()[:-3])
    with pytest.raises(RecordError, match="damaged"):
        fit("broken", resume=True, **settings)


def test_a_state_of_other_processes_is_an_error(fit, settings, tmp_path):
    """One generator a process: those of two cannot be given to one."""
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(11), **settings)
    manifest = tmp_path / "broken" / "resume" / "step-000010" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"processes": 2}))
    with pytest.raises(RecordError, match=r"written by 2 processes.*launch 2"):
        fit("broken", resume=True, **settings)
