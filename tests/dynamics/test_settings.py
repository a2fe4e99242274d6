"""A config error names the place, the value and the way out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from sftscope.dynamics import ConfigError
from sftscope.dynamics.settings import from_mapping, read_yaml, to_mapping


@dataclass(frozen=True)
class Optim:
    learning_rate: float = 1e-4
    betas: tuple[float, ...] = (0.9, 0.999)


@dataclass(frozen=True)
class Config:
    model: str
    steps: int = 10
    resume: bool = False
    schedule: Literal["cosine", "constant"] = "cosine"
    output: Path | None = None
    optim: Optim = field(default_factory=Optim)
    domains: dict[str, int] = field(default_factory=dict)


def test_a_mapping_round_trips():
    mapping = {
        "model": "m",
        "steps": 3,
        "optim": {"learning_rate": "1e-4", "betas": [0.9, 0.95]},
        "output": "runs/x",
        "domains": {"path": 5},
    }
    config = from_mapping(Config, mapping)
    assert config.optim == Optim(1e-4, (0.9, 0.95))
    assert config.output == Path("runs/x")
    assert from_mapping(Config, to_mapping(config)) == config


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"model": "m", "stpes": 3}, r"unknown key `stpes`: did you mean 'steps'"),
        (
            {"model": "m", "optim": {"learning_rat": 1.0}},
            r"unknown key `optim.learning_rat`: did you mean 'learning_rate'",
        ),
        ({"model": "m", "zzzz": 1}, r"unknown key `zzzz`: known: .*model.*steps"),
        ({}, r"missing key `model`"),
        ({"model": 3}, r"`model` must be of type str, not 3"),
        ({"model": "m", "steps": "many"}, r"`steps` must be of type int, not 'many'"),
        ({"model": "m", "steps": True}, r"`steps` must be of type int, not True"),
        ({"model": "m", "steps": 1.5}, r"`steps` must be of type int, not 1.5"),
        ({"model": "m", "resume": 1}, r"`resume` must be of type bool, not 1"),
        (
            {"model": "m", "optim": {"learning_rate": "fast"}},
            r"`optim.learning_rate` must be of type float, not 'fast'",
        ),
        ({"model": "m", "optim": {"betas": 0.9}}, r"`optim.betas` must be a list, not 0.9"),
        ({"model": "m", "optim": {"betas": [0.9, "x"]}}, r"`optim.betas\[1\]` must be of type float"),
        ({"model": "m", "optim": 3}, r"optim must be a mapping, not 3"),
        ({"model": "m", "schedule": "cosin"}, r"`schedule` is 'cosin': did you mean 'cosine'"),
        ({"model": "m", "domains": {"path": "x"}}, r"`domains.path` must be of type int"),
        ([1], r"the config must be a mapping, not \[1\]"),
    ],
)
def test_errors_name_the_place_and_the_way_out(mapping, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(Config, mapping)


def test_files_that_hold_no_mapping(tmp_path):
    with pytest.raises(ConfigError, match="no config file at"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="holds a list"):
        read_yaml(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(tmp_path / "bad.yaml")
