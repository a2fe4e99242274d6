"""A tiny real model, its word-level tokenizer, and uneven rows: everything a run needs, in a second on one core."""

import functools
import json
import os
import random
from types import SimpleNamespace

import pytest

os.environ.setdefault("WANDB_MODE", "offline")

WORDS = [f"w{i}" for i in range(60)]
TEMPLATE = (
    "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
FIELDS = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
}


def make_tokenizer(words, template=TEMPLATE, **special):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {t: i for i, t in enumerate(["<pad>", "<unk>", "<eos>", "<user>", "<assistant>", *words])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<eos>"} | special
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **{k: v for k, v in special.items() if v})
    tokenizer.chat_template = template
    return tokenizer


def make_rows(n, seed=0, low=1, high=24):
    rng = random.Random(seed)
    text = lambda a, b: " ".join(rng.choices(WORDS, k=rng.randint(a, b)))  # noqa: E731
    return [{"prompt": text(1, 9), "response": text(low, high)} for _ in range(n)]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def tiny():
    """The makers above, for tests that need another tokenizer or other rows."""
    return SimpleNamespace(
        words=WORDS, fields=FIELDS, make_tokenizer=make_tokenizer, make_rows=make_rows, write_rows=write_rows
    )


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(WORDS).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory, tokenizer_dir):
    return _save_model(tmp_path_factory.mktemp("model"), tokenizer_dir, FIELDS)


@pytest.fixture(scope="session")
def dropout_model_dir(tmp_path_factory, tokenizer_dir):
    """Training draws random numbers, so that a disturbed or unrestored generator shows."""
    return _save_model(tmp_path_factory.mktemp("dropout"), tokenizer_dir, FIELDS | {"attention_dropout": 0.2})


def _save_model(path, tokenizer_dir, fields):
    from sftscope.train.model import ModelConfig, load

    model, tokenizer = load(ModelConfig(init=fields, tokenizer=str(tokenizer_dir)), seed=1)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def data_file(tmp_path_factory):
    """21 rows of very different length: windows of 8, 8 and 5."""
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl", make_rows(21))


@pytest.fixture
def mapping(model_dir, data_file):
    """A config as YAML would give it: `mapping(batch={"micro": 2}, seed=3)`."""

    def build(**changes):
        base = {
            "model": {"path": str(model_dir)},
            "data": {"path": str(data_file)},
            "batch": {"size": 8},
            "optim": {"lr": 3e-3},
            "schedule": {"epochs": 4},
            "checkpoints": {"first": False},
            "tracking": {"to": "none"},
        }
        for key, value in changes.items():
            base[key] = base.get(key, {}) | value if isinstance(value, dict) else value
        return base

    return build


@pytest.fixture
def config(mapping):
    from sftscope.dynamics.settings import from_mapping
    from sftscope.train import TrainConfig

    return lambda **changes: from_mapping(TrainConfig, mapping(**changes))


@pytest.fixture
def fit(config, tmp_path):
    """Train quietly into a fresh folder and return its path: `fit("name", hooks=…, batch={…})`."""
    from sftscope.train import train

    def run(name="run", hooks=(), resume=False, on_progress=None, **changes):
        path = tmp_path / name
        return train(config(**changes), path, hooks, resume=resume, on_progress=on_progress, quiet=True)

    return run


@pytest.fixture
def rows_of():
    return lambda run: [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]


@pytest.fixture
def weights_of():
    from safetensors.torch import load_file

    def read(run, step=None):
        folders = sorted((run / "checkpoints").glob("step-*"))
        folder = folders[-1] if step is None else run / "checkpoints" / f"step-{step:06d}"
        return load_file(folder / "model.safetensors")

    return read


@pytest.fixture
def launch(tmp_path):
    """Run a script in two processes to its end: `launch(text, mapping, folder, kind="fsdp2-8")`; returns its stderr."""
    import two_processes

    return functools.partial(two_processes.launch, tmp_path)
