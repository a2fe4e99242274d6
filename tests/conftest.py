"""Shared fixtures: a tiny random model that speaks the micro-world's language, on disk in Hugging Face layout."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

# A shell's background jobs ignore Ctrl-C, and so would the commands that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Its tests run real vLLM, in an environment of their own (`.ci/run`): here they would neither pass nor fail.
collect_ignore = [] if find_spec("vllm") else ["with_vllm"]


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def micro_tokenizer():
    from sftscope.probes.microworld.tokenizer import build

    return build()


@pytest.fixture(scope="session")
def micro_folder(tmp_path_factory, micro_tokenizer) -> Path:
    """A random 2-layer Qwen3 with the micro-world's tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("model") / "tiny"
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(micro_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=384,
        tie_word_embeddings=True,
        eos_token_id=micro_tokenizer.eos_token_id,
        pad_token_id=micro_tokenizer.pad_token_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    micro_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def micro_model(micro_folder):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(micro_folder, dtype=torch.float32).eval()


@pytest.fixture(scope="session", autouse=True)
def _known_truth_models(tmp_path_factory):
    """Where known_truth.py keeps its models: one place for all test processes, so that none is made twice."""
    root = tmp_path_factory.getbasetemp()
    os.environ["SFTSCOPE_KNOWN_TRUTH"] = str(root.parent if "PYTEST_XDIST_WORKER" in os.environ else root)
