"""What is known of the vLLM engine without vLLM: settings, keys, and what is said where it is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from sftscope.dynamics.canary import canary_ids, record_canary, verify_canary
from sftscope.dynamics.errors import CheckpointError, ConfigError
from sftscope.dynamics.settings import from_mapping
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.checks import checks
from sftscope.probes.engines import Sampling, ThinkBudget
from sftscope.probes.engines.hf import HfEngine
from sftscope.probes.engines.vllm import VllmConfig, VllmEngine
from sftscope.probes.engines.vllm import config as vllm_config
from sftscope.probes.engines.vllm.loadable import loadable, with_adapter
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.protocol import Ask


@pytest.fixture
def without_vllm(monkeypatch):
    monkeypatch.setattr(vllm_config, "find_spec", lambda _: None)


@pytest.fixture
def with_vllm(monkeypatch):
    monkeypatch.setattr(vllm_config, "find_spec", lambda _: sys.modules[__name__].__spec__)


def test_without_vllm_one_line_says_the_way_out(without_vllm):
    with pytest.raises(ConfigError, match=r"not installed.*sftscope\[vllm\].*--engine hf"):
        VllmEngine()


def test_the_doctor_says_so_before_a_run(without_vllm):
    (engine,) = [c for c in checks(ProbeConfig(engine="vllm", items=2), None) if c.name == "engine"]
    assert engine.status == "failed"
    assert "not installed" in engine.text
    assert [c.name for c in checks(ProbeConfig(items=2), None)] == ["contamination"]


def test_the_command_says_so_too(micro_folder, tmp_path):
    hidden = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'vllm' else f(n, *a); "
    )
    arguments = ["probe", str(micro_folder), "-o", str(tmp_path / "run"), "--engine", "vllm"]
    code = f"{hidden}import sys; from sftscope.cli import main; sys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = [s for s in done.stderr.splitlines() if s.startswith("error:")]
    assert "not installed" in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [("gpu_memory_fraction", 0), ("gpu_memory_fraction", 1.2), ("cpu_cache_gib", 0), ("max_model_len", 0)],
)
def test_settings_that_cannot_be_are_refused(field, value):
    with pytest.raises(ConfigError, match=f"vllm.{field}.*{value}"):
        VllmConfig(**{field: value})


def test_samples_of_two_engines_and_dtypes_have_files_of_their_own(micro_folder, tmp_path, with_vllm):
    checkpoint = Checkpoint(0, micro_folder)

    def file(**settings):
        config = from_mapping(ProbeConfig, {"items": 4, "domains": ["facts"], **settings})
        return Planner(tmp_path, checkpoint, config).sample_file(checkpoint, Ask("facts")).name

    plain = file()
    assert plain == file(vllm={"dtype": "bfloat16"})  # not asked for: what is there already stays known
    files = {plain, file(engine="vllm"), file(engine="vllm", vllm={"dtype": "bfloat16"})}
    assert len(files) == 3
    assert file(engine="vllm") == file(
        engine="vllm", vllm={"gpu_memory_fraction": 0.5}
    )  # changes nothing that is written


def test_models_of_one_shape_take_each_other_s_place(micro_folder, tmp_path):
    config = json.loads((micro_folder / "config.json").read_text())

    def kind(**changed):
        folder = tmp_path / "-".join([*map(str, changed.values()), "x"])
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config | changed))
        return loadable(folder).kind

    assert kind(transformers_version="9") == kind(dtype="bfloat16") == loadable(micro_folder).kind
    assert len({kind(tie_word_embeddings=False), kind(rope_theta=5.0), kind()}) == 3


def test_weights_of_another_dtype_need_another_engine_where_the_dtype_is_theirs(micro_folder, with_vllm):
    plain = loadable(micro_folder)
    half = replace(plain, stored_dtype="bfloat16")

    def same(device, **config):
        engine = VllmEngine(VllmConfig(**config))
        engine.about = {"device": device}
        return engine._kind_of(plain) == engine._kind_of(half)

    assert not same("cuda")
    assert same("cuda", dtype="bfloat16")
    assert same("cpu")  # float32 whatever is stored


def test_as_many_are_decoded_together_as_is_configured(micro_folder, tmp_path, with_vllm):
    config = from_mapping(ProbeConfig, {"items": 4, "domains": ["facts"], "engine": "vllm", "batch_size": 7})
    assert Planner(tmp_path, Checkpoint(0, micro_folder), config).vllm.batch_size == 7


def test_adapters_that_vllm_does_not_know_are_not_given_to_it(micro_folder, tmp_path):
    def adapter(**fields):
        own = {"base_model_name_or_path": str(micro_folder), "peft_type": "LORA", "r": 4, **fields}
        (tmp_path / "adapter_config.json").write_text(json.dumps(own))
        return with_adapter(tmp_path)

    assert adapter().rank == 8
    assert adapter(rank_pattern={"q_proj": 40}).rank == 64
    assert adapter(r=12).kind != adapter().kind  # more room than was set aside
    for odd in ({"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"peft_type": "IA3"}, {"r": 10_000}):
        assert adapter(**odd) is None


def test_a_canary_is_known_from_log_probabilities_alone():
    import numpy as np

    rng = np.random.default_rng(0)
    table = rng.normal(size=(50, 300)).astype(np.float32)
    weights = {"canary": record_canary(lambda ids, n: table[ids[:, -n:] % 50], 300, "float32")}

    def normalised(logits):
        return lambda ids, n: (lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)))(logits[ids[:, -n:] % 50])

    assert verify_canary(weights, normalised(table), "float32", "here", normalised=True)
    with pytest.raises(CheckpointError):
        verify_canary(weights, normalised(table), "float32", "here")  # logits were promised
    other = table.copy()
    other[:, canary_ids(300)[1][0]] += 0.05  # one word likelier
    with pytest.raises(CheckpointError):
        verify_canary(weights, normalised(other), "float32", "here", normalised=True)


def test_thinking_over_its_budget_is_closed_and_the_rest_is_left_alone(micro_model):
    engine = HfEngine(micro_model, eos_ids=[], pad_id=0)
    opened, plain = [9, 5], [9, 8]
    free = [c.token_ids for c in engine.generate([opened, plain], Sampling(16))]
    seen = {t for ids in free for t in ids}
    fresh = [t for t in range(10, 100) if t not in seen][:2]
    budget = ThinkBudget(4, open=(5,), close=tuple(fresh))
    closed, other = (c.token_ids for c in engine.generate([opened, plain], Sampling(16, budget=budget)))
    assert closed[:6] == free[0][:4] + fresh
    assert len(closed) == len(other) == 16
    (rest,) = engine.generate([opened + closed[:6]], Sampling(10))
    assert closed[6:] == rest.token_ids
    assert other == free[1]  # no thinking was begun
    tight = engine.generate([opened], Sampling(5, budget=budget))[0]
    assert tight.token_ids == free[0][:4] + fresh[:1]
    assert tight.finish == "length"
    wide = engine.generate([opened], Sampling(16, budget=ThinkBudget(16, (5,), tuple(fresh))))[0]
    assert wide.token_ids == free[0]
    done = ThinkBudget(4, open=(5,), close=(free[0][1],))  # it closes its thinking itself, in time
    assert engine.generate([opened], Sampling(16, budget=done))[0].token_ids == free[0]


def test_drawn_samples_under_a_budget_repeat_and_draw_anew_after_it(micro_model):
    engine = HfEngine(micro_model, eos_ids=[], pad_id=0)
    hot = Sampling(20, temperature=1.0, n=2, seed=3, budget=ThinkBudget(8, open=(5,), close=(6,)))
    once = engine.generate([[9, 5], [9, 8]], hot)
    assert once == engine.generate([[9, 5], [9, 8]], hot)
    assert once[:2] == engine.generate([[9, 5]], hot)  # whoever else is asked
    for c in once[2:]:
        assert c.token_ids[8:16] != c.token_ids[:8]


def test_keys_from_before_budgets_stay_as_they_were():
    assert Sampling(8).settings() == {"max_new_tokens": 8, "temperature": 0.0, "n": 1, "seed": 0}
    assert Sampling(8, budget=ThinkBudget(2, (1,), (2,))).settings()["budget"]["tokens"] == 2
