"""The vLLM engine writes what the embedded engine writes, for the checkpoint that it was told to serve last."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import torch
from sftscope.dynamics.errors import CheckpointError, ConfigError
from sftscope.probes.checkpoints import Checkpoint, load_model, load_tokenizer, verify_model
from sftscope.probes.engines import Sampling, ThinkBudget
from sftscope.probes.engines.vllm import VllmConfig, VllmEngine
from sftscope.probes.internals.scoring import score
from sftscope.train.canary import take_canary
from sftscope.train.checkpoint import write_checkpoint
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM
from vllm_models import CONFIG, hf_engine, moved, serve, stored

GREEDY = Sampling(24)
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 384,
}


def logprobs_by_transformers(checkpoint, sequences):
    split = [(s[:1], s[1:]) for s in sequences]
    found, _ = score(load_model(checkpoint), [a for a, _ in split], [b for _, b in split], pad_id=0)
    return found


def assert_agrees(engine, checkpoint, prompts, sampling=GREEDY):
    wanted = hf_engine(checkpoint).generate(prompts, sampling)
    assert engine.generate(prompts, sampling) == wanted
    sequences = [p + c.token_ids for p, c in zip(prompts, wanted, strict=True) if len(p) + len(c.token_ids) > 1]
    ours = engine.score(sequences)
    for a, b in zip(ours, logprobs_by_transformers(checkpoint, sequences), strict=True):
        assert np.abs(a - b).max() < 1e-4


def test_checkpoints_with_tied_embeddings_take_turns_in_one_process(engine, organism_steps, prompts):
    done = [serve(engine, c) for c in organism_steps[:1]]
    pid = engine.pid
    texts = []
    for checkpoint in [*organism_steps[1:], organism_steps[0]]:
        done.append(serve(engine, checkpoint))
        assert_agrees(engine, checkpoint, prompts)
        texts.append(engine.generate(prompts, GREEDY))
    assert done == [["start", "canary"]] + [["swap", "canary"]] * 3
    assert engine.pid == pid
    assert texts[0] != texts[1] != texts[2] != texts[0]  # else a swap would not be seen
    assert serve(engine, organism_steps[0]) == []  # served already


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_other_models_agree_without_any_canary(tmp_path, organism_steps, prompts, kind, tied):
    tokenizer = load_tokenizer(organism_steps[0])
    ids = {"vocab_size": len(tokenizer), "eos_token_id": 1, "pad_token_id": 0, "tie_word_embeddings": tied}
    torch.manual_seed(0)
    models = {"qwen3": (Qwen3Config, Qwen3ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
    config, model = models[kind]
    first = moved(model(config(**SMALL, **ids)), 1.0, seed=5)
    one = stored(tmp_path / "one", first, tokenizer)
    two = stored(tmp_path / "two", moved(first, 0.3, seed=6), tokenizer)
    engine = VllmEngine(CONFIG)
    try:
        assert serve(engine, one) == ["start", "canary"]
        assert_agrees(engine, one, prompts)
        assert serve(engine, two) == ["swap", "canary"]
        assert_agrees(engine, two, prompts)
    finally:
        engine.close()


def test_a_stale_head_is_caught_by_the_canary_and_packed_again(engine, organism_steps, prompts, monkeypatch):
    """As `reload_weights` alone would leave it: new weights under the old packed output head."""
    serve(engine, organism_steps[0])
    ask, left_out = engine._process.ask, []

    def without_the_first_repack(do, **fields):
        if do == "repack" and not left_out:
            left_out.append(do)
            return {}
        return ask(do, **fields)

    monkeypatch.setattr(engine._process, "ask", without_the_first_repack)
    pid = engine.pid
    engine.events()
    assert serve(engine, organism_steps[2]) == ["swap", "stale", "repack", "canary"]
    assert left_out
    assert engine.pid == pid
    assert_agrees(engine, organism_steps[2], prompts)


def test_a_swap_that_did_not_happen_is_caught_and_the_process_replaced(engine, organism_steps, prompts, monkeypatch):
    serve(engine, organism_steps[0])
    ask, pid = engine._process.ask, engine.pid
    monkeypatch.setattr(engine._process, "ask", lambda do, **f: {} if do == "load" else ask(do, **f))
    done = serve(engine, organism_steps[1])
    assert [d for d in done if d in ("stale", "discard", "start")] == ["stale", "discard", "start"]
    assert engine.pid != pid
    assert_agrees(engine, organism_steps[1], prompts)


def test_in_16_bits_a_swap_that_did_not_happen_is_caught_though_its_step_is_within_the_tolerance(
    tmp_path, organism_steps
):
    """A canary in bfloat16 allows 6 % of the logits' spread: what it cannot tell, answers that are the same to the bit do."""
    tokenizer, near = load_tokenizer(organism_steps[0]), []
    for step in (1, 2):
        model = moved(load_model(organism_steps[0]), 5e-3 * (step - 1), seed=9).to(torch.bfloat16)
        folder = tmp_path / f"step-{step:06d}"
        write_checkpoint(folder, model, tokenizer, step, canary=take_canary(model))
        near.append(Checkpoint(step, folder))
    verify_model(load_model(near[1]), near[0].path)  # neighbours: the canary alone takes one for the other
    engine = VllmEngine(VllmConfig(cpu_cache_gib=0.25, dtype="bfloat16"))
    try:
        assert serve(engine, near[0]) == ["start", "canary"]
        ask = engine._process.ask
        engine._process.ask = lambda do, **f: {} if do == "load" else ask(do, **f)
        done = serve(engine, near[1])
        assert done == ["swap", "canary", "stale", "repack", "canary", "discard", "start", "canary"]
    finally:
        engine.close()


def test_what_vllm_cannot_compute_rightly_is_refused(engine, organism_steps, monkeypatch):
    """Where even a new process answers otherwise than the checkpoint's canary, nothing is written."""
    serve(engine, organism_steps[0])
    monkeypatch.setattr("sftscope.probes.engines.vllm.engine.read_manifest", lambda _: {})
    other = load_model(organism_steps[2])
    with pytest.raises(CheckpointError, match="does not answer as the model that was saved"):
        engine.serve(organism_steps[1], lambda: other, [1])
    assert engine.pid is None


def test_a_killed_process_costs_one_turn(engine, organism_steps, prompts):
    serve(engine, organism_steps[0])
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(CheckpointError, match=r"code -9.*another process"):
        engine.generate(prompts, GREEDY)
    assert "start" in serve(engine, organism_steps[1])
    assert_agrees(engine, organism_steps[1], prompts)
    os.kill(engine.pid, signal.SIGKILL)  # between two checkpoints it costs none
    time.sleep(0.1)
    assert "start" in serve(engine, organism_steps[2])
    assert_agrees(engine, organism_steps[2], prompts)


def test_samples_are_those_of_their_seeds(engine, organism_steps, prompts):
    serve(engine, organism_steps[0])
    hot = Sampling(12, temperature=1.0, n=3, seed=5)
    together = engine.generate(prompts, hot)
    assert len(together) == 3 * len(prompts)
    assert together == engine.generate(prompts, hot)
    assert together[:6] == engine.generate(prompts[:2], hot)  # whoever else is asked
    assert together[-1] != together[-2]  # two samples of one prompt
    assert together != engine.generate(prompts, Sampling(12, temperature=1.0, n=3, seed=6))


def test_banned_tokens_are_never_written(engine, organism_steps, prompts):
    serve(engine, organism_steps[0])
    plain = engine.generate(prompts, GREEDY)
    banned = tuple(sorted({t for c in plain for t in c.token_ids[:3]}))
    assert banned
    assert_agrees(engine, organism_steps[0], prompts, Sampling(24, banned=banned))
    for c in engine.generate(prompts, Sampling(24, temperature=1.5, n=2, banned=banned)):
        assert not set(c.token_ids) & set(banned)
    with pytest.raises(ValueError, match="banned"):
        engine.generate(prompts, Sampling(4, banned=(10**6,)))


def test_thinking_over_its_budget_is_closed_as_the_embedded_engine_closes_it(engine, organism_steps, prompts):
    serve(engine, organism_steps[0])
    budget = ThinkBudget(6, open=(5,), close=(6, 7))
    thinking = [[*p, 5] if k % 2 else p for k, p in enumerate(prompts)]
    sampling = Sampling(24, budget=budget)
    assert_agrees(engine, organism_steps[0], thinking, sampling)
    forced = [c.token_ids[6:8] == [6, 7] for c in engine.generate(thinking, sampling) if len(c.token_ids) > 6]
    assert any(forced)
    assert not all(forced)


def test_what_does_not_fit_is_told_before_anything_is_written(engine, organism_steps):
    serve(engine, organism_steps[0])
    with pytest.raises(ConfigError, match=r"the context of 384 \(the model's own\): ask for 4 new"):
        engine.generate([[5] * 380], Sampling(10))
    with pytest.raises(ValueError, match="empty prompt"):
        engine.generate([[]], Sampling(10))


def test_settings_that_vllm_refuses_are_told_with_its_reason(organism_steps):
    engine = VllmEngine(VllmConfig(cpu_cache_gib=1e6))
    with pytest.raises(CheckpointError, match=r"cannot serve .*step-000001.*[Mm]emory"):
        serve(engine, organism_steps[0])
    assert engine.pid is None
