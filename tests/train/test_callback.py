"""A Hugging Face Trainer with the callback: the same training, and a run folder as our own loop writes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from sftscope.dynamics.errors import ConfigError, RecordError
from sftscope.dynamics.record import Run
from sftscope.dynamics.weights import check_folder, read_manifest
from sftscope.train import CheckpointsConfig, SftscopeCallback
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments, set_seed

SCHEDULE = CheckpointsConfig(at=(2, 5))


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, i):
        ids = torch.randint(5, 60, (12,), generator=torch.Generator().manual_seed(i))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}


class Losses(TrainerCallback):
    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append({k: v for k, v in logs.items() if k in ("loss", "grad_norm", "learning_rate", "epoch")})


def trainer(folder, model_dir, callbacks=(), processing_class=True, wrap=lambda model: model, **arguments):
    """A Trainer on a model with dropout, 12 updates: what draws a random number out of turn changes every later loss."""
    set_seed(3)
    settings = {
        "output_dir": str(folder / "hf"),
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 2,
        "learning_rate": 3e-3,
        "warmup_steps": 3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "include_num_input_tokens_seen": "all",
        "seed": 3,
    } | arguments
    return Trainer(
        model=wrap(AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)),
        args=TrainingArguments(**settings),
        train_dataset=Rows(),
        processing_class=AutoTokenizer.from_pretrained(model_dir) if processing_class else None,
        callbacks=list(callbacks),
    )


def steps_of(run):
    return [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]


def draw(step, model, folder):
    """A hook that disturbs what it can."""
    torch.rand(7)
    model.train()
    return []


@pytest.mark.parametrize("hooks", [(), (draw,)], ids=["asynchronous", "hooked"])
def test_training_is_the_same_to_the_bit_and_the_record_is_what_the_trainer_says(dropout_model_dir, tmp_path, hooks):
    alone, watched = Losses(), Losses()
    plain = trainer(tmp_path / "a", dropout_model_dir, [alone])
    plain.train()
    callback = SftscopeCallback(tmp_path / "run", SCHEDULE, primary=["countdown.strict"], hooks=hooks)
    with_it = trainer(tmp_path / "b", dropout_model_dir, [watched, callback])
    with_it.train()
    assert len(alone.logs) == 13  # 12 updates and the summary
    assert watched.logs == alone.logs
    theirs, ours = plain.model.state_dict(), with_it.model.state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)

    rows = steps_of(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(1, 13))
    for row, log in zip(rows, alone.logs, strict=False):
        assert (row["loss"], row["grad_norm"], row["lr"]) == (log["loss"], log["grad_norm"], log["learning_rate"])
        assert row["tokens"] == row["step"] * 4 * 12
    assert rows[-1]["cumulative_lr"] == pytest.approx(sum(log["learning_rate"] for log in alone.logs[:12]))
    run = Run(tmp_path / "run")
    assert run.info["primaries"]["declared"] == ["countdown.strict"]
    assert run.info["plan"] == {
        "total_steps": 12,
        "warmup_steps": 3,
        "checkpoints": [0, 2, 5, 12],
        "steps_per_epoch": 6,
    }
    assert list(run.checkpoints()) == [0, 2, 5, 12]
    last = load_file(run.checkpoints()[12] / "model.safetensors")
    assert all(torch.equal(last[name], ours[name]) for name in last)


def test_checkpoints_are_whole_and_answer_as_the_model_that_trained(model_dir, tmp_path):
    from sftscope.probes.checkpoints import Checkpoint, load_model, load_tokenizer, verify_model

    trainer(tmp_path, model_dir, [SftscopeCallback(tmp_path / "run", SCHEDULE)]).train()
    folders = Run(tmp_path / "run").checkpoints()
    for step, folder in folders.items():
        check_folder(folder)
        assert read_manifest(folder)["canary"]["dtype"] == "float32"
        load_model(Checkpoint(step, folder))  # compares the canary
        load_tokenizer(Checkpoint(step, folder))
    from sftscope.dynamics.errors import CheckpointError

    with pytest.raises(CheckpointError, match="does not answer"):
        verify_model(load_model(Checkpoint(12, folders[12])), folders[2])


def test_under_mixed_precision_the_canary_is_of_the_weights(model_dir, tmp_path):
    from sftscope.probes.checkpoints import Checkpoint, load_model

    trainer(tmp_path, model_dir, [SftscopeCallback(tmp_path / "run")], bf16=True, max_steps=2).train()
    for step, folder in Run(tmp_path / "run").checkpoints().items():
        # Of the weights in float32, which tells neighbouring checkpoints apart, not of what autocast makes of them.
        assert read_manifest(folder)["canary"]["dtype"] == "float32"
        load_model(Checkpoint(step, folder))


def test_an_adapter_is_saved_and_shown_merged(model_dir, tmp_path):
    import peft
    from sftscope.probes.checkpoints import Checkpoint, load_model

    seen = {}

    def hook(step, model, folder):
        seen[step] = model(torch.tensor([[5, 6, 7]])).logits
        return []

    def wrap(model):
        return peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "up_proj"]))

    alone, watched = Losses(), Losses()
    trainer(tmp_path / "a", model_dir, [alone], wrap=wrap).train()
    callback = SftscopeCallback(tmp_path / "run", SCHEDULE, hooks=[hook])
    trainer(tmp_path / "b", model_dir, [watched, callback], wrap=wrap).train()
    assert watched.logs == alone.logs
    for step, folder in Run(tmp_path / "run").checkpoints().items():
        assert not (folder / "model.safetensors").exists()
        with torch.no_grad():
            assert torch.equal(load_model(Checkpoint(step, folder))(torch.tensor([[5, 6, 7]])).logits, seen[step])
    assert not torch.equal(seen[0], seen[12])
    assert Run(tmp_path / "run").info["base"]["path"] == model_dir.name


def test_a_row_says_over_how_many_steps_its_loss_is_a_mean(model_dir, tmp_path):
    every, fifth = Losses(), Losses()
    trainer(tmp_path / "a", model_dir, [every]).train()
    trainer(tmp_path / "b", model_dir, [fifth, SftscopeCallback(tmp_path / "run")], logging_steps=5).train()
    rows = steps_of(tmp_path / "run")
    assert {row["step"]: row["loss_steps"] for row in rows if "loss" in row} == {5: 5, 10: 5}
    mean = sum(log["loss"] for log in every.logs[5:10]) / 5
    assert rows[9]["loss"] == pytest.approx(mean, rel=1e-5)
    assert len(fifth.logs) == 3  # the user's own logs: none added
    assert len(rows) == 12
    assert all(row["lr"] == log["learning_rate"] for row, log in zip(rows, every.logs, strict=False))


def test_a_resumed_trainer_goes_on_in_the_same_record(dropout_model_dir, tmp_path):
    schedule = CheckpointsConfig(at=(2, 5, 7), async_write=False)
    whole = trainer(tmp_path / "a", dropout_model_dir, [SftscopeCallback(tmp_path / "whole", schedule)])
    whole.train()

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 7:  # after the Trainer's state of step 6
                raise KeyboardInterrupt

    run, settings = tmp_path / "run", {"save_strategy": "steps", "save_steps": 6}
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "b", dropout_model_dir, [SftscopeCallback(run, schedule), Stop()], **settings).train()
    with pytest.raises(RecordError, match="resume_from_checkpoint"):
        trainer(tmp_path / "b", dropout_model_dir, [SftscopeCallback(run, schedule)], **settings).train()
    stale = run / "checkpoints" / "step-000007" / "of a trajectory that nobody goes on with"
    stale.touch()
    resumed = trainer(tmp_path / "b", dropout_model_dir, [SftscopeCallback(run, schedule)], **settings)
    resumed.train(resume_from_checkpoint=True)
    columns = ["step", "loss", "lr", "cumulative_lr", "epoch", "tokens"]
    there, expected = Run(run).steps()[columns], Run(tmp_path / "whole").steps()[columns]
    assert there.equals(expected)
    assert list(Run(run).checkpoints()) == [0, 2, 5, 7, 12]
    assert not stale.exists()
    last, wanted = (Run(r).checkpoints()[12] / "model.safetensors" for r in (run, tmp_path / "whole"))
    assert last.read_bytes() == wanted.read_bytes()


def test_a_checkpoint_on_demand_and_one_of_a_run_stopped_early(model_dir, tmp_path):
    class Ask(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 3:
                (tmp_path / "run" / "save").touch()

        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 7

    trainer(tmp_path, model_dir, [Ask(), SftscopeCallback(tmp_path / "run", SCHEDULE)]).train()
    assert list(Run(tmp_path / "run").checkpoints()) == [0, 2, 4, 5, 7]
    assert not (tmp_path / "run" / "save").exists()


def test_what_cannot_be_recorded_is_told_before_the_first_step(model_dir, tmp_path):
    with pytest.raises(ConfigError, match="save_steps"):
        SftscopeCallback(tmp_path / "run", CheckpointsConfig(resume_every=5))
    with pytest.raises(ConfigError, match="processing_class"):
        trainer(tmp_path, model_dir, [SftscopeCallback(tmp_path / "run")], processing_class=False).train()
    with pytest.raises(ConfigError, match="holds 99 and the run has 12 steps"):
        trainer(tmp_path, model_dir, [SftscopeCallback(tmp_path / "run", CheckpointsConfig(at=(99,)))]).train()
    adapted = trainer(tmp_path, model_dir, [SftscopeCallback(tmp_path / "run")])
    adapted.callback_handler.model = torch.nn.Sequential(adapted.model)
    with pytest.raises(ConfigError, match="Sequential, neither a transformers"):
        adapted.callback_handler.on_train_begin(adapted.args, adapted.state, adapted.control)
    assert not (tmp_path / "run").exists()


USERS = """
import sys, torch
torch.set_num_threads(1)
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from sftscope.train import CheckpointsConfig, SftscopeCallback

class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 24
    def __getitem__(self, i):
        ids = torch.randint(5, 60, (12,), generator=torch.Generator().manual_seed(i))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}

model, out = sys.argv[1:]
Trainer(
    model=AutoModelForCausalLM.from_pretrained(model), processing_class=AutoTokenizer.from_pretrained(model),
    train_dataset=Rows(),
    args=TrainingArguments(output_dir=out + "-hf", per_device_train_batch_size=2, max_steps=4, logging_steps=1,
                           save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True),
    callbacks=[SftscopeCallback(out, CheckpointsConfig(every=2))],
).train()
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_users_own_train_py_writes_one_record(model_dir, tmp_path, processes):
    (tmp_path / "train.py").write_text(USERS)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"] if processes == 2 else []
    done = subprocess.run(
        [sys.executable, *launcher, "train.py", str(model_dir), "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [row["step"] for row in steps_of(tmp_path / "run")] == [1, 2, 3, 4]
    assert list(Run(tmp_path / "run").checkpoints()) == [0, 2, 4]
    assert Run(tmp_path / "run").info["config"]["batch"]["size"] == 2 * processes


@pytest.mark.slow
def test_the_run_is_probed_analysed_and_reported_as_our_own(micro_folder, tmp_path):
    from pathlib import Path

    trainer(tmp_path, micro_folder, [SftscopeCallback(tmp_path / "run", CheckpointsConfig(every=4))]).train()
    (tmp_path / "few.yaml").write_text("probes: {items: 6, domains: [countdown, harmful, safe]}")
    command = [sys.executable, "-m", "sftscope"]
    for args in (["probe", "run", "--config", "few.yaml", "--workers", "1"], ["analyze", "run"], ["report", "run"]):
        done = subprocess.run([*command, *args], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    run = Run(tmp_path / "run")
    assert set(run.measurements(metric="score_strict")["step"]) == {0, 4, 8, 12}
    assert run.axes().loc[8, "tokens"] == 8 * 4 * 12
    page = Path(run.path / "report.md").read_text()
    assert "24 records" in page
    assert "for 12 steps (2 epochs)" in page
