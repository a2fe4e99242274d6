"""Checkpoints are written beside the training: what is in them, what training notices of it, and how failures come out."""

import errno
import json
import resource
import threading

import pytest
import torch
from sftscope.dynamics.errors import CheckpointError, SftscopeError
from sftscope.dynamics.record import Run
from sftscope.train import checkpoint as checkpoint_module
from sftscope.train.checkpoint import CheckpointWriter, write_checkpoint

EVERY_STEP = {"every": 1, "first": True}


def no_hook(step, model, folder):
    return []


@pytest.fixture
def model(model_dir):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_dir).eval()


@pytest.fixture
def tokenizer(tokenizer_dir):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_dir)


@pytest.fixture
def gate(monkeypatch):
    """A disk that takes nothing until the gate is set."""
    opened, write = threading.Event(), write_checkpoint

    def slow(*arguments, **options):
        assert opened.wait(20)
        write(*arguments, **options)

    monkeypatch.setattr(checkpoint_module, "write_checkpoint", slow)
    return opened


def content(run):
    return {p.relative_to(run): p.read_bytes() for p in (run / "checkpoints").rglob("*") if p.is_file()}


def test_files_and_training_are_the_same_to_the_byte_however_they_are_written(
    fit, rows_of, dropout_model_dir, monkeypatch
):
    """Written beside the training or not, verified or not, with hooks or not; and without any canary, training is the same."""
    model = {"path": str(dropout_model_dir)}
    beside = fit("beside", model=model, checkpoints=EVERY_STEP)
    others = [
        fit("waited", model=model, checkpoints=EVERY_STEP | {"async_write": False}),
        fit("verified", model=model, checkpoints=EVERY_STEP | {"verify": True}),
        fit("hooked", model=model, checkpoints=EVERY_STEP, hooks=[no_hook]),
    ]
    assert len(Run(beside).checkpoints()) == 13
    for run in others:
        assert content(run) == content(beside), run.name
    monkeypatch.setattr("sftscope.train.at_checkpoint.take_canary", lambda *_: None)
    bare = fit("bare", model=model, checkpoints=EVERY_STEP)
    for key in ("loss", "grad_norm", "entropy"):
        assert [r[key] for r in rows_of(bare)] == [r[key] for r in rows_of(beside)]
    assert "canary" not in json.loads((bare / "checkpoints" / "step-000012" / "manifest.json").read_text())


def test_a_canary_that_disturbs_would_show(fit, rows_of, dropout_model_dir, monkeypatch):
    """The control of the test above."""
    model = {"path": str(dropout_model_dir)}
    a = fit("a", model=model, checkpoints=EVERY_STEP)
    monkeypatch.setattr("sftscope.train.at_checkpoint.take_canary", lambda *_: torch.manual_seed(0) and None)
    b = fit("b", model=model, checkpoints=EVERY_STEP)
    assert [r["loss"] for r in rows_of(a)] != [r["loss"] for r in rows_of(b)]


def test_what_is_written_late_is_what_was_handed_over(model, tokenizer, tmp_path, gate):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with CheckpointWriter() as writer:
        writer.write(tmp_path / "step", model, tokenizer, 1, canary=None)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)
        assert not (tmp_path / "step").exists()
        gate.set()
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "step").state_dict()
    assert loaded.keys() == before.keys()
    assert all(torch.equal(loaded[name], before[name]) for name in before)


def test_training_goes_on_while_nothing_is_on_the_disk_yet(fit, tmp_path, gate):
    seen = []

    def on_progress(row):
        seen.append(row["step"])
        if row["step"] == 3:
            assert not (tmp_path / "run" / "checkpoints" / "step-000001").exists()
            gate.set()

    fit(checkpoints={"at": [1, 6], "last": False}, on_progress=on_progress)
    assert seen == list(range(1, 13))
    assert list(Run(tmp_path / "run").checkpoints()) == [1, 6]


def test_one_copy_is_in_flight(model, tokenizer, tmp_path, gate):
    with CheckpointWriter() as writer:
        writer.write(tmp_path / "1", model, tokenizer, 1, canary=None)
        second = threading.Thread(
            target=writer.write, args=(tmp_path / "2", model, tokenizer, 2), kwargs={"canary": None}
        )
        second.start()
        second.join(0.2)
        assert second.is_alive()  # it waits for the first
        gate.set()
        second.join(20)
        assert (tmp_path / "1").exists()
    assert (tmp_path / "2").exists()


@pytest.mark.slow
def test_memory_stays_flat_over_200_checkpoints(tiny, tokenizer, tmp_path):
    """A copy of 2 MB that were made anew and kept at each would be 400 MB in all."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    fields = {k: v for k, v in tiny.fields.items() if k != "model_type"} | {"intermediate_size": 2560}
    model = Qwen3ForCausalLM(Qwen3Config(**fields, vocab_size=65))
    assert sum(p.nbytes for p in model.parameters()) > 1.9e6
    peaks, buffers = [], set()
    with CheckpointWriter() as writer:
        for step in range(200):
            writer.write(tmp_path / f"step-{step:06d}", model, tokenizer, step, canary=None)
            buffers.add(tuple(b.data_ptr() for b in writer._buffers.values()))
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # MiB
    assert len(buffers) == 1
    assert peaks[-1] - peaks[20] < 20


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failed_write_ends_the_run_at_the_next_step(fit, rows_of, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full_disk)
    with pytest.raises(SftscopeError, match=r"step-000002 could not be written.*No space left.*--resume"):
        fit(checkpoints={"at": [2]}, on_progress=lambda row: row["step"] == 2 and threading.Event().wait(0.5))
    assert len(rows_of(tmp_path / "run")) == 3
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("options", [{}, {"async_write": False}])
def test_a_failed_write_of_the_last_checkpoint_is_told(fit, monkeypatch, options):
    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full_disk)
    with pytest.raises(CheckpointError, match=r"step-000012 could not be written"):
        fit(checkpoints=options)


def test_what_ended_the_run_is_not_hidden_by_a_failed_write(model, tokenizer, tmp_path, gate, monkeypatch):
    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full_disk)

    def lose():
        with CheckpointWriter() as writer:
            writer.write(tmp_path / "1", model, tokenizer, 1, canary=None)
            gate.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as ended:
        lose()
    assert "could not be written" in ended.value.__notes__[0]


def test_an_interrupted_run_ends_with_its_checkpoint_whole(model, tokenizer, tmp_path, gate):
    def interrupt():
        with CheckpointWriter() as writer:
            writer.write(tmp_path / "1", model, tokenizer, 1, canary=None)
            gate.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert (tmp_path / "1" / "manifest.json").is_file()


def test_weights_that_do_not_come_back_are_no_checkpoint(fit, tmp_path, monkeypatch):
    """What is written differs from what was trained: the hashes of its files cannot tell, its canary does."""
    from transformers import PreTrainedModel

    save = PreTrainedModel.save_pretrained

    def spoil(self, folder, state_dict=None):
        state = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        state["model.layers.1.mlp.up_proj.weight"] *= 1.01
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
        save(self, folder, state_dict=state)

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", spoil)
    with pytest.raises(CheckpointError, match="does not answer"):
        fit("verified", checkpoints={"at": [2], "verify": True})
    assert list((tmp_path / "verified" / "checkpoints").iterdir()) == []
    fit("trusted", checkpoints={"at": [2]})
