"""Precision, recomputed activations and compiled layers: what they change, and what hooks and checkpoints see of them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from sftscope.dynamics.errors import ConfigError, RecordError
from sftscope.dynamics.record import Run
from sftscope.dynamics.settings import from_mapping
from sftscope.probes.checkpoints import Checkpoint, load_model
from sftscope.probes.engines import Sampling
from sftscope.probes.engines.hf import HfEngine
from sftscope.train import TrainConfig
from sftscope.train.run_info import identity

IDS = torch.tensor([[5, 6, 7, 8, 9]])


class Watch:
    """What a hook sees of the model: its logits, those of a hook on its first layer, and what it generates."""

    def __init__(self):
        self.logits, self.inside, self.tokens = {}, {}, {}

    def __call__(self, step, model, folder):
        caught = []
        handle = model.model.layers[0].register_forward_hook(lambda _m, _i, out: caught.append(out))
        self.logits[step] = model(IDS).logits
        handle.remove()
        self.inside[step] = caught[0]
        engine = HfEngine(model, eos_ids=[2], pad_id=0)
        self.tokens[step] = engine.generate([[5, 6, 7]], Sampling(max_new_tokens=4))[0].token_ids
        return []


def check_seen(watch, run):
    """A hook saw the model that the checkpoint holds, computed as anybody computes it, and nothing of what makes it fast."""
    for step, folder in Run(run).checkpoints().items():
        model = load_model(Checkpoint(step, folder))
        with torch.no_grad():
            out = model.model(IDS, output_hidden_states=True)
            assert torch.equal(model(IDS).logits, watch.logits[step])
            assert torch.equal(out.hidden_states[1], watch.inside[step])
        engine = HfEngine(model, eos_ids=[2], pad_id=0)
        assert engine.generate([[5, 6, 7]], Sampling(max_new_tokens=4))[0].token_ids == watch.tokens[step]


def dtypes_of(folder):
    with safe_open(folder / "model.safetensors", "pt") as f:
        return {str(f.get_tensor(name).dtype) for name in f.keys()}  # noqa: SIM118


# ---------------------------------------------------------------- precision


def test_bf16_compute_keeps_the_weights_in_float32(fit, rows_of, weights_of):
    watch = Watch()
    settings = {"checkpoints": {"first": True, "at": [6]}}
    full = fit("full", **settings)
    mixed = fit("mixed", hooks=[watch], model={"compute": "bfloat16"}, **settings)
    losses = [[row["loss"] for row in rows_of(run)] for run in (full, mixed)]
    assert losses[0] != losses[1]  # it did compute in 16 bits
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    for folder in Run(mixed).checkpoints().values():
        assert dtypes_of(folder) == {"torch.float32"}
        assert json.loads((folder / "manifest.json").read_text())["canary"]["dtype"] == "float32"
    check_seen(watch, mixed)
    a, b = weights_of(full, 0), weights_of(mixed, 0)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_small_updates_survive_bf16_compute_and_not_bf16_weights(fit, weights_of):
    """Why the weights stay in float32: an update of 1e-5 of a weight is less than the last bit of its 16."""
    moved = {}
    for name, model in {"mixed": {"compute": "bfloat16"}, "pure": {"dtype": "bfloat16"}}.items():
        run = fit(name, model=model, optim={"lr": 1e-6, "weight_decay": 0.0}, checkpoints={"first": True})
        before, after = (weights_of(run, step)["model.layers.0.mlp.up_proj.weight"] for step in (0, 12))
        moved[name] = (before != after).float().mean()
    assert moved["mixed"] > 0.99
    assert moved["pure"] < 0.5


def test_bf16_compute_resumes_to_the_bit(fit, weights_of, dropout_model_dir):
    settings = {
        "model": {"path": str(dropout_model_dir), "compute": "bfloat16"},
        "checkpoints": {"every": 4, "resume_every": 5},
        "batch": {"micro": 3, "gradient_checkpointing": True},
    }
    whole = fit("whole", **settings)

    def kill(row):
        if row["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit("broken", on_progress=kill, **settings)
    broken = fit("broken", resume=True, **settings)
    a, b = weights_of(whole), weights_of(broken)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_what_decides_the_result_is_not_set_behind_the_recipes_back(fit, monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(ConfigError, match=r"sets `mixed_precision` to 'bf16'.*`model\.compute`"):
        fit("a")
    fit("b", model={"compute": "bfloat16"})
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    with pytest.raises(ConfigError, match=r"sets `dynamo_backend` to 'inductor'.*`model\.compile`"):
        fit("c")
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "c").exists()


def test_weights_in_16_bits_are_computed_in_as_they_are(config):
    with pytest.raises(ConfigError, match=r"`model\.compute` is bfloat16 over weights in bfloat16"):
        config(model={"dtype": "bfloat16", "compute": "bfloat16"})


# ---------------------------------------------------------------- recomputed activations


@pytest.mark.parametrize("batch", [{"micro": 3}, {"pack": 48, "logits_chunk": 9}], ids=["padded", "packed"])
def test_recomputed_activations_change_nothing(fit, rows_of, weights_of, dropout_model_dir, batch):
    """Equal to the bit on one CPU, dropout included: it draws the same numbers again."""
    model, watch = {"path": str(dropout_model_dir)}, Watch()
    kept = fit("kept", model=model, batch=batch)
    again = fit("again", hooks=[watch], model=model, batch=batch | {"gradient_checkpointing": True})
    for key in ("loss", "grad_norm", "entropy"):
        assert [r[key] for r in rows_of(kept)] == [r[key] for r in rows_of(again)], key
    a, b = weights_of(kept), weights_of(again)
    assert all(torch.equal(a[k], b[k]) for k in a)
    check_seen(watch, again)


def test_layers_are_computed_twice(fit, monkeypatch):
    """The control of the test above: it is not that nothing was switched on."""
    from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

    calls, forward = [], Qwen3MLP.forward
    monkeypatch.setattr(Qwen3MLP, "forward", lambda self, x: calls.append(x.requires_grad) or forward(self, x))
    counts = {}
    for name, on in {"kept": False, "again": True}.items():
        calls.clear()
        fit(name, batch={"gradient_checkpointing": on}, schedule={"epochs": 1}, checkpoints={"last": False})
        counts[name] = len(calls)
    assert counts["again"] == 2 * counts["kept"] > 0


def test_a_model_that_cannot_recompute_is_told(fit, tmp_path, monkeypatch):
    from transformers import Qwen3ForCausalLM

    monkeypatch.setattr(Qwen3ForCausalLM, "supports_gradient_checkpointing", False)
    with pytest.raises(
        ConfigError, match=r"`batch\.gradient_checkpointing` is true: Qwen3ForCausalLM does not support"
    ):
        fit(batch={"gradient_checkpointing": True})
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- identity


def test_runs_begun_before_these_settings_are_still_known(config, fit, mapping):
    """The hash of a recipe that leaves them as they are is that of a recipe which could not name them."""
    told = identity(config())
    assert "lora" not in told
    assert not {"compute", "compile", "architecture"} & set(told["model"])
    assert "gradient_checkpointing" not in told["batch"]
    run = fit("run")
    file = run / "run.json"
    info = json.loads(file.read_text())
    del info["config"]["lora"], info["config"]["model"]["compute"], info["config"]["model"]["compile"]
    file.write_text(json.dumps(info))
    assert fit("run") == run
    with pytest.raises(RecordError, match=r"`model\.compute` was None and is 'bfloat16'"):
        fit("run", model={"compute": "bfloat16"})
    with pytest.raises(RecordError, match=r"`lora` was None and is \{'rank': 2"):
        fit("run", lora={"rank": 2})


def test_identity_knows_what_changes_the_result_and_nothing_else(mapping):
    same = {"batch": {"gradient_checkpointing": True}}
    others = [{"model": {"compute": "bfloat16"}}, {"model": {"compile": True}}, {"lora": {}}, {"lora": {"rank": 3}}]
    told = [identity(from_mapping(TrainConfig, mapping(**c))) for c in ({}, same, *others)]
    assert told[0] == told[1]
    assert all(told[i] != told[j] for i in range(2, 6) for j in range(i))


# ---------------------------------------------------------------- compiled layers


def test_a_machine_that_cannot_compile_is_told_before_the_run_begins(fit, tmp_path, monkeypatch):
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))  # another's compiled code would do
    without = inductor.patch({"cpp.cxx": ("/no/such/compiler",)})
    with without, pytest.raises(ConfigError, match=r"nothing can be compiled on cpu.*no/such/compiler.*g\+\+"):
        fit(model={"compile": True})
    assert not (tmp_path / "run").exists()
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"batch": {"micro": 3}},
        {"batch": {"pack": 48, "logits_chunk": 9, "gradient_checkpointing": True}, "lora": {"rank": 4}},
    ],
    ids=["padded", "packed, recomputed, with adapters"],
)
def test_compiled_layers_are_hidden_from_hooks_and_checkpoints(fit, changes):
    watch = Watch()
    settings = {"model": {"compile": True}, "schedule": {"epochs": 1}, "checkpoints": {"first": True, "every": 1}}
    run = fit("compiled", hooks=[watch], **settings, **changes)
    assert list(watch.logits) == [0, 1, 2, 3]
    check_seen(watch, run)
    for folder in Run(run).checkpoints().values():
        with safe_open(next(folder.glob("*.safetensors")), "pt") as f:
            assert not [name for name in f.keys() if "_orig_mod" in name]  # noqa: SIM118
