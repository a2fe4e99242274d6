"""vLLM's process ends with whoever asked it, however that went, and however long its order would have taken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
import yaml
from sftscope.probes.checkpoints import Checkpoint, load_tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM
from vllm_models import stored

SOON_S = 5.0
WORKER = "sftscope.probes.engines.vllm.worker"
ASKS_FOR_LONG = """
import sys
from pathlib import Path
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.engines import Sampling
from sftscope.probes.engines.vllm import VllmEngine
from vllm_models import CONFIG, serve

engine, other = VllmEngine(CONFIG, batch_size=1), VllmEngine(CONFIG, batch_size=1)
for e in (engine, other):
    serve(e, Checkpoint(1, Path(sys.argv[1])))
print(engine.pid, other.pid, flush=True)
engine.generate([[5, 6, 7]] * 5000, Sampling(300, temperature=1.0))
"""


@pytest.fixture(scope="module")
def endless(organism_steps, tmp_path_factory) -> list[Checkpoint]:
    """Two random models, which nearly never write the end token: every answer is as long as it may be."""
    tokenizer, root, made = load_tokenizer(organism_steps[0]), tmp_path_factory.mktemp("endless"), []
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "head_dim": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 384}
    ids = {"vocab_size": len(tokenizer), "eos_token_id": 1, "pad_token_id": 0}
    for step in (1, 2):
        torch.manual_seed(step)
        folder = root / f"step-{step}"
        stored(folder, Qwen3ForCausalLM(Qwen3Config(**shape, **heads, **ids)), tokenizer)
        made.append(Checkpoint(step, folder))
    return made


def gone(pids, seconds=SOON_S) -> bool:
    """Whether processes have ended within so many seconds; those that have not are ended for good."""
    until = time.monotonic() + seconds
    while (left := [p for p in pids if alive(p)]) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return not left


def alive(pid) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def workers_under(pid) -> list[int]:
    below = psutil.Process(pid).children(recursive=True)
    return [p.pid for p in below if any(WORKER in part for part in p.cmdline())]


def ends_in_order(pid) -> None:
    """It is at work: no order of its own would end it soon."""
    process = psutil.Process(pid)
    before = process.cpu_times().user
    time.sleep(2)
    assert process.cpu_times().user > before


def test_both_of_two_engines_end_when_their_parent_is_killed_in_a_long_order(organism_steps):
    """Two: the second is started while the first one's pipe is open, and must not hold it."""
    command = [sys.executable, "-c", ASKS_FOR_LONG, str(organism_steps[0].path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])}
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert parent.stdout is not None
        pids = [int(n) for n in parent.stdout.readline().split()]
        assert len(pids) == 2
        ends_in_order(pids[0])
    finally:
        parent.kill()
        parent.communicate()
    assert gone(pids)


@pytest.mark.parametrize(
    ("how", "workers", "code"),
    [(signal.SIGTERM, 1, 143), (signal.SIGKILL, 1, -9), (signal.SIGINT, 2, 130), (signal.SIGKILL, 2, -9)],
)
def test_a_command_that_is_ended_leaves_nobody_behind(endless, tmp_path, how, workers, code):
    probes = {"probes": ["scores"], "domains": ["facts", "countdown"], "items": 320, "batch_size": 1, "during": []}
    (tmp_path / "probes.yaml").write_text(yaml.safe_dump({"probes": {**probes, "vllm": {"cpu_cache_gib": 0.25}}}))
    steps = [str(c.path) for c in endless[:workers]]
    command = [sys.executable, "-P", "-m", "sftscope", "probe", *steps, "-o", str(tmp_path / "run")]
    command += ["--config", str(tmp_path / "probes.yaml"), "--engine", "vllm", "--workers", str(workers)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0)
    below = []
    try:
        until = time.monotonic() + 180
        while len(list((tmp_path / "run").glob("samples/*/facts-*.zst"))) < workers:  # they are at the long answers now
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        pids = workers_under(running.pid)
        assert len(pids) == workers
        below = [p.pid for p in psutil.Process(running.pid).children(recursive=True)]
        ends_in_order(pids[0])
        running.send_signal(how)
        running.wait(30)
    finally:
        running.kill()
        running.communicate()
        left = not gone(below)
    assert running.returncode == code
    assert not left
    claims = [json.loads(f.read_text()) for f in (tmp_path / "run" / ".claims").glob("step-*")]
    assert claims
    if how != signal.SIGKILL:  # else the next sweep finds that their process is gone
        assert {claim["state"] for claim in claims} == {"released"}
