"""Adapters: trained alone, saved alone, resumed to the bit, and read back as the model that trained."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from sftscope.dynamics.errors import CheckpointError, ConfigError
from sftscope.dynamics.record import Run
from sftscope.dynamics.weights import check_folder, folder_weights_hash, read_manifest
from sftscope.probes.checkpoints import Checkpoint, load_model, load_tokenizer, verify_model
from sftscope.probes.finding import find_checkpoints

LORA = {"lora": {"rank": 4, "alpha": 8}, "optim": {"lr": 1e-2}}
IDS = torch.tensor([[5, 6, 7, 8, 9]])


class Killed(Exception):
    pass


def kill_at(step):
    def on_progress(row):
        if row["step"] == step:
            raise Killed

    return on_progress


def adapters_of(run):
    return {step: load_file(folder / "adapter_model.safetensors") for step, folder in Run(run).checkpoints().items()}


def test_a_checkpoint_is_the_adapter_and_loads_as_the_model_that_the_hooks_saw(fit, model_dir, rows_of):
    seen, kinds = {}, set()

    def hook(step, model, folder):
        kinds.add(tuple(type(m).__name__ for m in model.modules()))
        seen[step] = model(IDS).logits
        return []

    run = fit(hooks=[hook], checkpoints={"first": True, "at": [3]}, **LORA)
    assert rows_of(run)[-1]["loss"] < rows_of(run)[0]["loss"] - 0.05
    for step, folder in Run(run).checkpoints().items():
        assert {p.name for p in folder.iterdir()} >= {
            "adapter_model.safetensors",
            "adapter_config.json",
            "manifest.json",
        }
        assert not (folder / "model.safetensors").exists()
        assert read_manifest(folder)["canary"]["dtype"] == "float32"
        assert read_manifest(folder)["weights"] == folder_weights_hash(folder)
        loaded = load_model(Checkpoint(step, folder))
        with torch.no_grad():
            assert torch.equal(loaded(IDS).logits, seen[step])
        assert {tuple(type(m).__name__ for m in loaded.modules())} == kinds  # a plain model: probes find what they know
        assert load_tokenizer(Checkpoint(step, folder)).chat_template
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model_dir)
    with torch.no_grad():
        assert torch.equal(base(IDS).logits, seen[0])
    assert not torch.equal(seen[0], seen[3])
    folders = Run(run).checkpoints()
    with pytest.raises(CheckpointError, match="does not answer"):
        verify_model(load_model(Checkpoint(12, folders[12])), folders[3])


def test_the_plan_and_the_record_say_what_is_trained(config, tmp_path, capsys):
    from sftscope.train import train

    run = Run(train(config(**LORA), tmp_path / "run"))
    trained = sum(t.numel() for t in adapters_of(run.path)[12].values())
    text = " ".join(capsys.readouterr().err.split())
    assert f"model {trained:,} of " in text
    assert "adapters of rank 4 x 2 on all linear layers over float32 on cpu" in text
    assert "peft" in run.info["versions"]


def test_the_base_stays_what_it_was_whatever_hooks_do(fit, model_dir):
    """Merging for the hooks and taking it off again by arithmetic would leave rounding behind: training would differ."""
    settings = {"checkpoints": {"first": True, "every": 2}, **LORA}
    alone = fit("alone", **settings)
    watched = fit("watched", hooks=[lambda step, model, folder: [model(IDS), []][1]], **settings)
    a, b = adapters_of(alone), adapters_of(watched)
    assert list(a) == list(b) == [0, 2, 4, 6, 8, 10, 12]
    assert all(torch.equal(a[s][k], b[s][k]) for s in a for k in a[s])
    files = [(r / "checkpoints" / "step-000004" / "manifest.json").read_bytes() for r in (alone, watched)]
    assert files[0] == files[1]


@pytest.mark.parametrize("stop", [10, 13])
def test_killed_and_resumed_is_equal_to_the_bit(fit, dropout_model_dir, tmp_path, stop):
    settings = {
        "model": {"path": str(dropout_model_dir)},
        "lora": {"rank": 4, "dropout": 0.3},  # draws random numbers: a generator that is not restored shows
        "optim": {"lr": 1e-2},
        "schedule": {"epochs": None, "steps": 20},
        "checkpoints": {"every": 4, "resume_every": 5, "first": True},
        "batch": {"micro": 3},
    }
    whole = fit("whole", **settings)
    with pytest.raises(Killed):
        fit("broken", on_progress=kill_at(stop), **settings)
    state = load_file(tmp_path / "broken" / "resume" / "step-000010" / "model.safetensors")
    assert all("lora_" in name for name in state)  # what stays fixed is read from the base
    torch.rand(7)
    broken = fit("broken", resume=True, **settings)
    a, b = adapters_of(whole), adapters_of(broken)
    assert list(a) == list(b)
    assert all(torch.equal(a[s][k], b[s][k]) for s in a for k in a[s])
    losses = [Run(r).steps()["loss"].tolist() for r in (whole, broken)]
    assert losses[0] == losses[1]


def test_written_beside_waited_for_and_verified_are_the_same_files(fit):
    runs = [
        fit("beside", checkpoints={"every": 3}, **LORA),
        fit("waited", checkpoints={"every": 3, "async_write": False}, **LORA),
        fit("verified", checkpoints={"every": 3, "verify": True}, **LORA),
    ]
    files = [{p.relative_to(r): p.read_bytes() for p in (r / "checkpoints").rglob("*") if p.is_file()} for r in runs]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("name", ["embed_tokens", "lm_head"])
def test_an_adapter_of_an_embedding_that_the_head_shares_loads_as_what_was_trained(fit, name):
    logits = {}

    def hook(step, model, folder):
        logits[step] = model(input_ids=IDS).logits
        return []

    changes = {"lora": {"rank": 4, "target_modules": [name, "q_proj"]}, "optim": {"lr": 1e-2}}
    run = fit(hooks=[hook], **changes)
    for step, folder in Run(run).checkpoints().items():
        with torch.no_grad():  # the canary is compared too
            again = load_model(Checkpoint(step, folder))(input_ids=IDS).logits
        assert torch.allclose(again, logits[step], atol=1e-4), step


def test_layers_are_chosen_by_name_and_a_name_that_is_not_there_is_told(fit, tmp_path):
    run = fit("some", lora={"rank": 2, "target_modules": ["q_proj", "v_proj"]})
    names = {name.split(".")[-3] for name in adapters_of(run)[12]}
    assert names == {"q_proj", "v_proj"}
    with pytest.raises(ConfigError, match=r"`lora\.target_modules` is \['qq_proj'\]"):
        fit("none", lora={"target_modules": ["qq_proj"]})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"rank": 0}, r"`lora\.rank` is 0"),
        ({"alpha": 0}, r"`lora\.alpha` is 0"),
        ({"dropout": 1.0}, r"`lora\.dropout` is 1\.0"),
        ({"target_modules": []}, r"`lora\.target_modules` is empty"),
    ],
)
def test_mistakes_in_the_section(config, section, message):
    with pytest.raises(ConfigError, match=message):
        config(lora=section)


def test_an_adapter_of_a_new_model_has_nothing_to_go_over(tiny, config, tokenizer_dir):
    model = {"path": None, "init": tiny.fields, "tokenizer": str(tokenizer_dir)}
    with pytest.raises(ConfigError, match=r"an adapter needs a model to go over"):
        config(model=model, lora={})


def test_without_peft_both_ends_say_what_to_install(fit, tmp_path, monkeypatch):
    run = fit("run", **LORA)
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match="pip install peft"):
        fit("other", **LORA)
    with pytest.raises(CheckpointError, match="pip install peft"):
        load_model(Checkpoint(12, Run(run).checkpoints()[12]))


# ---------------------------------------------------------------- adapters of other tools


@pytest.fixture
def foreign(model_dir, tmp_path):
    """`checkpoint-5` and `checkpoint-10` as peft writes them, without a manifest or tokenizer."""
    import peft
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32),
        peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
    )
    for step in (5, 10):
        model.save_pretrained(tmp_path / "theirs" / f"checkpoint-{step}")
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data *= 1.5
    return tmp_path / "theirs"


def test_foreign_adapters_load_over_their_base(foreign, model_dir):
    from peft import AutoPeftModelForCausalLM

    found = find_checkpoints([foreign])
    assert [c.step for c in found] == [5, 10]
    assert [c.path for c in find_checkpoints([foreign / "checkpoint-10"])] == [foreign / "checkpoint-10"]
    for checkpoint in found:
        theirs = AutoPeftModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32)
        with torch.no_grad():
            torch.testing.assert_close(load_model(checkpoint)(IDS).logits, theirs(IDS).logits)
        assert load_tokenizer(checkpoint).chat_template  # the base's, as the folder has none
    assert found[0].weights != found[1].weights


def test_the_same_adapter_over_another_base_is_another_model(foreign, model_dir, dropout_model_dir, tmp_path):
    before = folder_weights_hash(foreign / "checkpoint-5")
    copied = shutil.copytree(foreign / "checkpoint-5", tmp_path / "copied")
    assert folder_weights_hash(copied) == before
    other = shutil.copytree(model_dir, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    rebased(copied, str(other))
    assert folder_weights_hash(copied) != before


def rebased(folder, base):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": base}))


def test_over_weights_in_16_bits_adapters_are_trained_in_float32(fit):
    run = fit(model={"dtype": "bfloat16"}, checkpoints={"first": True}, **LORA)
    adapters = adapters_of(run)
    assert {str(t.dtype) for t in adapters[12].values()} == {"torch.float32"}
    assert any(not torch.equal(adapters[0][k], adapters[12][k]) for k in adapters[0])
    for step, folder in Run(run).checkpoints().items():
        assert read_manifest(folder)["canary"]["dtype"] == "bfloat16"
        load_model(Checkpoint(step, folder))


def test_an_adapter_is_no_model_to_begin_from(fit, tmp_path, foreign):
    folder = foreign / "checkpoint-5"
    with pytest.raises(CheckpointError, match="is an adapter, and training begins from a model: merge"):
        fit(model={"path": str(folder)})
    assert not (tmp_path / "run").exists()
    rebased(foreign / "checkpoint-10", str(folder))
    with pytest.raises(CheckpointError, match="which is an adapter itself: merge"):
        load_model(Checkpoint(10, foreign / "checkpoint-10"))


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("/no/such/model", "is an adapter of '/no/such/model', which is not on this machine"),
        ("nobody/none-such", "hf download nobody/none-such"),
        (None, "names no base"),
    ],
)
def test_a_missing_base_is_told_with_the_way_out(foreign, base, message):
    rebased(foreign / "checkpoint-5", base)
    with pytest.raises(CheckpointError, match=message):
        load_model(Checkpoint(5, foreign / "checkpoint-5"))
    with pytest.raises(CheckpointError, match=message):
        _ = Checkpoint(5, foreign / "checkpoint-5").weights


def test_damaged_adapters_are_refused(foreign, tmp_path):
    folder = foreign / "checkpoint-5"
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    gone = weights.pop(sorted(weights)[0])
    save_file(weights, file)
    with pytest.raises(CheckpointError, match="1 tensors have no counterpart"):
        load_model(Checkpoint(5, folder))
    save_file(weights | {"base_model.model.nowhere.lora_A.weight": gone.clone(), sorted(weights)[0]: gone}, file)
    with pytest.raises(CheckpointError, match="checkpoint-5"):
        load_model(Checkpoint(5, folder))
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="truncated"):
        check_folder(folder)


# ---------------------------------------------------------------- probed


@pytest.mark.slow
def test_a_run_of_adapters_is_probed_inside_and_afterwards_alike(micro_folder, tmp_path):
    """The live model and the folder give the same measurements: the same weights, merged the same way."""
    from sftscope.dynamics.record import Run
    from sftscope.pipeline import open_probe_run, probe_run, train_run
    from sftscope.probes.planner import ProbeConfig
    from sftscope.recipes import parse_recipe

    mapping = {
        "arm": {"rows": 16},
        "train": {
            "model": {"path": str(micro_folder)},
            "data": {"max_length": 384},
            "batch": {"size": 8},
            "optim": {"lr": 1e-2},
            "lora": {"rank": 4},
            "schedule": {"epochs": 1},
            "tracking": {"to": "none"},
        },
        "probes": {"items": 6, "domains": ["countdown", "harmful", "safe"]},
    }
    run = train_run(parse_recipe(mapping, tmp_path / "run"), tmp_path / "run", quiet=True)
    config = ProbeConfig(probes=("refusal_direction",), domains=("countdown", "harmful", "safe"), items=6)
    later, found, config = open_probe_run([tmp_path / "run" / "checkpoints"], tmp_path / "later", config)
    assert [c.step for c in found] == [0, 2]
    assert probe_run(later, found, config, workers=1, quiet=True) == []
    one, two = (Run(r.path).measurements(probe="refusal_direction") for r in (run, later))
    assert len(one) == len(two) > 0
    assert one["value"].to_numpy() == pytest.approx(two["value"].to_numpy(), rel=1e-3, abs=1e-4, nan_ok=True)
