"""A base organism is rebuilt from its recipe alone: to the bit, with a card of what it can do as exported."""

from __future__ import annotations

import json

import pytest
import yaml
from sftscope import pretraining
from sftscope.dynamics.errors import ConfigError
from sftscope.probes import organisms
from sftscope.probes.microworld import DOMAINS

TINY = {
    "corpus": {"documents": 240, "trace_share": 0.35, "seed": 3},
    "train": {
        "model": {
            "init": {
                "model_type": "qwen3",
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "max_position_embeddings": 384,
                "tie_word_embeddings": True,
            }
        },
        "data": {"loss_on": "all", "max_length": 384, "bucket": True},
        "batch": {"size": 24},
        "optim": {"lr": 2e-3},
        "schedule": {"epochs": 1},
        "checkpoints": {"first": False, "resume_every": 5},
        "tracking": {"to": "none"},
        "threads": 1,
    },
}


def test_building_twice_gives_the_same_weights_and_an_honest_card(tmp_path, monkeypatch):
    (tmp_path / "configs" / "organisms").mkdir(parents=True)
    (tmp_path / "configs" / "organisms" / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.setattr(pretraining, "CONFIGS", tmp_path / "configs")
    built = [pretraining.build_organism("tiny", tmp_path / name, items=6) for name in ("one", "two")]
    assert built[0].joinpath("model.safetensors").read_bytes() == built[1].joinpath("model.safetensors").read_bytes()
    card = json.loads((built[0] / "card.json").read_text())
    assert card["pretraining_steps"] == 10
    assert set(card["scores"]) == set(DOMAINS)
    lo, hi = card["scores"]["countdown"]["thinking_share_sampled"][1:]
    assert 0 <= lo <= hi <= 1
    assert 0 < card["scores"]["harmful"]["chance"] < 1
    assert json.loads((built[0] / "config.json").read_text())["dtype"] == "bfloat16"
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        pretraining.build_organism("tinny", tmp_path / "x")
    other_seed = pretraining.organism_recipe("tiny-s2")
    assert other_seed == TINY | {"train": TINY["train"] | {"seed": 2}}
    with pytest.raises(ConfigError, match="no recipe"):
        pretraining.organism_recipe("tiny-small")


def test_the_organisms_that_ship_carry_the_hash_of_their_recipe():
    from sftscope.dynamics.storage import content_key
    from sftscope.dynamics.weights import folder_weights_hash

    for name in organisms.names():
        card = json.loads((organisms.folder(name) / "card.json").read_text())
        assert card["recipe"] == content_key(pretraining.organism_recipe(name), length=16)
        assert card["weights"] == folder_weights_hash(organisms.folder(name))
    total = sum(f.stat().st_size for n in organisms.names() for f in organisms.folder(n).glob("*.safetensors"))
    assert total < 15e6
