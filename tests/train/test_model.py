import json
import shutil

import pytest
import torch
from sftscope.dynamics.errors import CheckpointError, ConfigError
from sftscope.dynamics.storage import write_manifest
from sftscope.train.model import ModelConfig, base_identity, load
from transformers import AutoTokenizer


@pytest.fixture
def copy(model_dir, tmp_path):
    return shutil.copytree(model_dir, tmp_path / "copy")


def test_a_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match="no model folder at"):
        load(ModelConfig(path=str(tmp_path / "gone")), 0)


def test_a_folder_that_is_no_model(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(CheckpointError, match=r"no config\.json \(it holds notes\.txt\)"):
        load(ModelConfig(path=str(tmp_path)), 0)


def test_truncated_weights(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors .* is truncated or damaged"):
        load(ModelConfig(path=str(copy)), 0)


def test_weights_that_are_not_there(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds no \*\.safetensors"):
        load(ModelConfig(path=str(copy)), 0)


def test_a_missing_shard(copy):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"lacks model-00002\.safetensors"):
        load(ModelConfig(path=str(copy)), 0)


def test_a_manifest_is_held_against_the_files(copy):
    write_manifest(copy)
    load(ModelConfig(path=str(copy)), 0)
    file = copy / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # of the right size and readable: only the hash can tell
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256"):
        load(ModelConfig(path=str(copy)), 0)


def test_a_config_of_another_size(copy):
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3, "layer_types": None}))
    with pytest.raises(CheckpointError, match="tensors"):
        load(ModelConfig(path=str(copy)), 0)


def _tokenizer(tiny, path, *args, **kwargs):
    tiny.make_tokenizer(*args, **kwargs).save_pretrained(path)
    return str(path)


def test_tokenizers_that_do_not_fit(tiny, model_dir, tmp_path):
    model = str(model_dir)
    larger = _tokenizer(tiny, tmp_path / "larger", [*tiny.words, "zebra"])
    with pytest.raises(CheckpointError, match=r"ids up to 65 .*65 embedding rows"):
        load(ModelConfig(path=model, tokenizer=larger), 0)
    other = _tokenizer(tiny, tmp_path / "other", tiny.words[::-1])
    with pytest.raises(CheckpointError, match="numbers 60 tokens otherwise"):
        load(ModelConfig(path=model, tokenizer=other), 0)
    endless = _tokenizer(tiny, tmp_path / "endless", tiny.words, eos_token=None)
    with pytest.raises(CheckpointError, match="no end-of-sequence token"):
        load(ModelConfig(path=model, tokenizer=endless), 0)
    plain = _tokenizer(tiny, tmp_path / "plain", tiny.words, template=None)
    with pytest.raises(CheckpointError, match="no chat template"):
        load(ModelConfig(path=model, tokenizer=plain), 0)
    with pytest.raises(CheckpointError, match="no tokenizer at"):
        load(ModelConfig(path=model, tokenizer=str(tmp_path)), 0)


def test_a_new_model_is_its_seeds(tiny, tokenizer_dir):
    config = ModelConfig(init=tiny.fields, tokenizer=str(tokenizer_dir))
    first, again, other = (load(config, seed)[0] for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    assert first.config.vocab_size == len(tokenizer)
    assert first.config.eos_token_id == tokenizer.eos_token_id


def test_mistakes_in_a_new_models_fields(tiny, tokenizer_dir):
    tokenizer = str(tokenizer_dir)
    with pytest.raises(ConfigError, match=r"unknown key `model\.init\.hidden_sise`.*'hidden_size'"):
        load(ModelConfig(init={"model_type": "qwen3", "hidden_sise": 8}, tokenizer=tokenizer), 0)
    with pytest.raises(ConfigError, match="'qwen33', which transformers does not know"):
        load(ModelConfig(init={"model_type": "qwen33"}, tokenizer=tokenizer), 0)
    with pytest.raises(ConfigError, match="no `model_type`"):
        ModelConfig(init={"hidden_size": 8}, tokenizer=tokenizer)
    with pytest.raises(ConfigError, match=r"without `model\.tokenizer`"):
        ModelConfig(init=tiny.fields)


@pytest.mark.parametrize("both", [{}, {"path": "x", "init": {"model_type": "qwen3"}, "tokenizer": "t"}])
def test_exactly_one_source(both):
    with pytest.raises(ConfigError, match="exactly one"):
        ModelConfig(**both)


def test_the_base_is_known_by_its_weights_not_its_place(model_dir, copy):
    here, there = base_identity(ModelConfig(path=str(model_dir))), base_identity(ModelConfig(path=str(copy)))
    assert here["weights"] == there["weights"]
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes() + b"\0")
    assert base_identity(ModelConfig(path=str(copy)))["weights"] != here["weights"]
