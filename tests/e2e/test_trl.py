"""A user's own train.py with TRL's SFTTrainer: three added lines give a run folder that the rest of sftscope takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from sftscope.cli import main
from sftscope.dynamics.record import Run
from sftscope.probes import organisms
from sftscope.probes.microworld.arms import FineTuningArm

PLAIN = """
import json, sys
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

base = sys.argv[1]
rows = [json.loads(line) for line in open("rows.jsonl")]
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
    args=SFTConfig(
        output_dir="out", per_device_train_batch_size={rows}, num_train_epochs=1, learning_rate=1e-3, logging_steps=1,
        save_strategy="no", report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, packing={packing},
        max_length=384, disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list(rows),
    processing_class=AutoTokenizer.from_pretrained(base),
)
trainer.train()
"""
IMPORT = "from sftscope.train import CheckpointsConfig, SftscopeCallback\n"
CALLBACK = 'watch = SftscopeCallback("run", CheckpointsConfig(log2=True), primary=["countdown.strict"])\n'
ADD = "trainer.add_callback(watch)\n"


def with_our_three_lines(script):
    before, train = script.rsplit("trainer.train()", 1)
    return f"{IMPORT}{before}{CALLBACK}{ADD}trainer.train(){train}"


@pytest.fixture(scope="module", params=[False, True], ids=["padded", "packed"])
def trained(request, tmp_path_factory):
    pytest.importorskip("trl")
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "probes").mkdir()  # a user's folders may be called as ours are
    (folder / "probes" / "__init__.py").write_text("raise RuntimeError('not yours')\n")
    rows = [
        {
            "prompt": [{"role": "user", "content": r["prompt"]}],
            "completion": [{"role": "assistant", "content": r["response"]}],
        }
        for r in FineTuningArm(128).records()
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "train.py").write_text(
        with_our_three_lines(PLAIN.format(packing=request.param, rows=4 if request.param else 16))
    )
    done = subprocess.run(
        [sys.executable, "train.py", str(organisms.folder("qwen3-0.2m"))],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "run", request.param


def test_the_script_is_the_users_but_for_three_lines():
    assert len(with_our_three_lines(PLAIN).splitlines()) == len(PLAIN.splitlines()) + 3


def test_its_run_folder_is_probed_analysed_and_reported(trained, tmp_path, capsys):
    run, packed = trained
    record = Run(run)
    steps = record.steps()
    total = int(steps["step"].iloc[-1])
    assert (4 < total < 32) if packed else (total == 8)
    assert list(record.checkpoints()) == sorted({0, 1, 2, 4, total})
    assert steps[["loss", "lr", "grad_norm", "epoch", "token_accuracy"]].notna().all().all()
    assert (steps["loss"] > 0).all()
    config = tmp_path / "probes.yaml"
    config.write_text(
        "probes: {items: 16, domains: [countdown, facts, harmful, safe], probes: [scores, backtracking, refusal, verbosity]}"
    )
    assert main(["probe", str(run), "--config", str(config), "--workers", "1"]) == 0
    assert main(["analyze", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    assert "Countdown" in (run / "report.html").read_text()
    assert {f["domain"] for f in Run(run).findings() if f["kind"] == "phase"} >= {"countdown", "facts"}
    assert [f for f in Run(run).findings() if f["domain"] == "countdown" and not f["exploratory"]]
