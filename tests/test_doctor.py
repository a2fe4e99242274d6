"""What `sftscope doctor` says before a run, on recipes whose models and data are elsewhere, and on some that are here."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from sftscope.doctor import examine
from sftscope.dynamics.errors import SftscopeError
from sftscope.dynamics.settings import from_mapping
from sftscope.probes.checks import checks as probe_checks
from sftscope.probes.contamination import contaminated
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.microworld.arms import FineTuningArm
from sftscope.probes.planner import ProbeConfig
from sftscope.recipes import CONFIGS, parse_recipe, read_recipe, shipped
from sftscope.train.footprint import read_shape

PUBLISHED = [name for name in shipped() if name.startswith("published/")]
SIZES = {"1.7b": 1.72e9, "4b": 4.02e9, "8b": 8.19e9, "14b": 14.77e9}  # parameters, by the models' cards
KINDS = ("math-cot", "math-nocot", "countdown-cot", "numinamath")
VARIANTS = {"epochs-1": 640, "epochs-16": 1280, "constant": 640, "lr-1e-4": 640, "lr-1e-5": 640, "rows-2560": 640}


def doctor(*args, cwd, code=0):
    command = [sys.executable, "-P", "-m", "sftscope", "doctor", *map(str, args)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def by_name(checks, name):
    return [c for c in checks if c.name == name]


# ---------------------------------------------------------------- published recipes


def test_every_size_has_every_kind_of_data():
    assert {f"published/qwen3-{size}-{kind}" for size in SIZES for kind in KINDS} <= set(PUBLISHED)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_variants_fit_every_model_and_data(tmp_path, size, kind):
    """Also those combinations that ship as no file of their own: two lines make them."""
    for variant, steps in VARIANTS.items():
        mine = tmp_path / f"{variant}.yaml"
        mine.write_text(f"extends: [published/qwen3-{size}-{kind}, parts/{variant}]\n")
        plain, changed = (read_recipe(n, tmp_path / "run") for n in (f"published/qwen3-{size}-{kind}", mine))
        assert plain != changed
        schedule, batch, rows = changed.train.schedule, changed.train.batch.size, changed.train.data.rows
        assert schedule.epochs * rows / batch == steps
        assert plain.train.data.order == changed.train.data.order == "fixed"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_pass_without_model_data_or_hub(name, tmp_path, monkeypatch):
    import socket

    def no_network(*args, **kwargs):
        raise AssertionError("doctor asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    recipe = read_recipe(name, tmp_path / "run")
    checks = examine(recipe, tmp_path / "run")
    assert not [c for c in checks if c.status == "failed"]
    assert {c.name for c in checks if c.status == "not checked"} == {"model", "data", "contamination"}
    (steps,) = by_name(checks, "steps")
    total = 1280 if "epochs-16" in name else 640
    assert f"{total:,} in all" in steps.text
    assert f"{total // 10} of warm-up" in steps.text
    assert "fixed order" in steps.text
    assert "0, 10, 20, 40, 80, 160, 320, 480" in steps.text
    parameters = int(by_name(checks, "model")[0].text.split("; ")[1].split()[0].replace(",", ""))
    assert parameters == pytest.approx(SIZES[re.search(r"qwen3-([\d.]+b)", name)[1]], rel=0.002)
    assert not (tmp_path / "run").exists()


def test_it_is_quick_and_loads_no_torch(tmp_path):
    code = (
        "import sys; from sftscope.cli import main; "
        "code = main(['doctor', 'published/qwen3-14b-math-cot']); print('torch' in sys.modules, code)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # its own seconds: the machine may be busy with others
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    assert done.stdout.splitlines()[-1] == "False 0"
    assert len(done.stdout.splitlines()) < 24
    for part in ("GiB of state", "GPU hours", "989 TFLOP/s", "40%", "yours to provide"):
        assert part in done.stdout, part
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- what is reckoned


SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 211,
}


@pytest.mark.parametrize("kind", ["qwen3", "llama", "mistral"])
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_and_arithmetic_are_those_of_the_model(kind, tied):
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = SHAPE | {"model_type": kind, "tie_word_embeddings": tied}
    config = AutoConfig.for_model(**fields)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    shape = read_shape(fields)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    length = 32
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros(1, length, dtype=torch.long), use_cache=False)
    # Eager attention computes the masked half too; rotary angles are the few operations more.
    masked = 2 * shape.layers * shape.heads * shape.head_dim * length**2
    assert counter.get_total_flops() == pytest.approx(
        length * shape.train_flops_per_token(length) / 3 + masked, rel=0.01
    )


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("adapters", [False, True])
def test_arithmetic_of_a_whole_step_is_counted(recomputed, adapters):
    """Forward and backward; with adapters the weights are fixed, and gradients flow through them all the same."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = SHAPE | {"model_type": "qwen3", "tie_word_embeddings": False}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields), attn_implementation="eager").train()
    shape, length = read_shape(fields), 32
    model.requires_grad_(not adapters)
    model.get_input_embeddings().requires_grad_(True)  # looked up, not multiplied
    if recomputed:
        model.gradient_checkpointing_enable()
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros(1, length, dtype=torch.long), use_cache=False).logits.sum().backward()
    masked = 2 * (3 + recomputed) * shape.layers * shape.heads * shape.head_dim * length**2
    told = length * shape.train_flops_per_token(length, recomputed=recomputed, adapters=adapters)
    # Nobody needs the last product of a layer a second time, and PyTorch stops before it.
    assert counter.get_total_flops() == pytest.approx(told + masked, rel=0.05 if recomputed else 0.01)


@pytest.mark.parametrize("kind", ["qwen3", "llama", "mistral"])
@pytest.mark.parametrize("names", [None, ("q_proj", "down_proj")])
def test_parameters_of_adapters_are_those_that_peft_trains(kind, names):
    from sftscope.train.lora import LoraConfig, add_lora
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = SHAPE | {"model_type": kind}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields))
    adapted = add_lora(model, LoraConfig(rank=5, target_modules=names), seed=0)
    shape, trained = read_shape(fields), sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert shape.adapter_parameters(5, names) == trained
    assert shape.state_bytes("bfloat16", trained) == 2 * shape.parameters + 16 * trained


def test_what_saves_memory_is_told_in_memory_and_hours(tmp_path):
    def told(**train):
        (tmp_path / "mine.yaml").write_text(
            yaml.safe_dump({"extends": "published/qwen3-4b-math-cot", "train": train}, sort_keys=False)
        )
        checks = examine(read_recipe(tmp_path / "mine.yaml", tmp_path / "run"), tmp_path / "run")
        return {c.name: c.text for c in checks}

    full, lean = (
        told(),
        told(batch={"gradient_checkpointing": True}, lora={}, model={"dtype": "bfloat16", "compute": None}),
    )
    assert "59.9 GiB of weights, gradients and AdamW in float32" in told(model={"compute": None})["memory"]
    mixed = full["memory"]
    assert "7.5 GiB of weights in bfloat16" in mixed
    assert "33,030,144 parameters are trained, 0.82% of the model's" in lean["adapters"]
    assert "8.0 GiB of weights in bfloat16 and of adapters in training" in lean["memory"]
    assert "all but layers’ inputs recomputed" in lean["memory"]
    assert "MiB" in lean["disk"].split("=")[0]
    assert lean["hours"] != full["hours"]
    other = told(lora={"target_modules": ["router"]})
    assert "reckoned for the linear layers" in other["adapters"]
    assert "memory" not in other


@pytest.mark.parametrize("size", SIZES)
def test_the_published_shapes_are_models_that_transformers_builds(size):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = yaml.safe_load((CONFIGS / "parts" / f"qwen3-{size}.yaml").read_text())["train"]["model"]["architecture"]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields))
    assert read_shape(fields).parameters == sum(p.numel() for p in model.parameters())


def test_what_a_model_is_not_known_for_is_said(tmp_path):
    assert read_shape({"model_type": "mamba", "hidden_size": 8}) is None
    assert read_shape({"model_type": "qwen3", "hidden_size": 8}) is None
    recipe = read_recipe("published/qwen3-4b-math-cot", tmp_path / "run")
    model = replace(recipe.train.model, architecture=None)
    recipe = replace(recipe, train=replace(recipe.train, model=model))
    (model,) = by_name(examine(recipe, tmp_path / "run"), "model")
    assert model.status == "not checked"
    assert "`model.architecture`" in model.text


# ---------------------------------------------------------------- what is here


def here(micro_folder, **changes):
    mapping = {
        "arm": {"rows": 64},
        "train": {
            "model": {"path": str(micro_folder)},
            "data": {"max_length": 384},
            "batch": {"size": 8, "pack": 400},
            "schedule": {"epochs": 2},
            "checkpoints": {"at": [4], "resume_every": 4},
        },
        "probes": {"items": 8},
    }
    for path, value in changes.items():
        section, key = path.split("__")
        mapping["train"][section][key] = value
    return mapping


def test_a_recipe_that_is_here_is_looked_at_whole(micro_folder, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(here(micro_folder)))
    told = doctor("mine.yaml", "--train.schedule.epochs", 3, cwd=tmp_path).stdout
    assert "not checked" not in told
    assert "24 in all" in told  # the flag reached it
    assert re.search(r"packing +\d\d\.\d% of rows of 400 tokens filled", told)
    assert "packed sequences stay apart" in told
    assert "'<eos>' is learnt at the end of 64 of 64 rows" in told
    assert "<assistant> <think>" in told  # the preview
    assert re.search(r"learns '<think> .* <eos>'", told)
    assert "no training row holds any" in told
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("lora", [None, {"rank": 3}])
def test_the_disk_told_is_the_disk_used(micro_folder, tmp_path, lora):
    from sftscope.pipeline import train_run
    from sftscope.train import loop

    mapping = here(micro_folder)
    mapping["train"]["lora"] = lora
    recipe = parse_recipe(mapping, tmp_path / "run")
    recipe = replace(recipe, probes=replace(recipe.probes, during=()))
    (told,) = by_name(examine(recipe, tmp_path / "run"), "disk")
    budgets = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "check_disk", lambda run, budget: budgets.append(budget))
        train_run(recipe, tmp_path / "run", quiet=True)
    assert told.text.split(";")[0] == budgets[0].explain().removeprefix("disk").strip().split(";")[0]


def test_too_little_disk_fails_where_the_run_would_be(micro_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 0))
    (disk,) = by_name(examine(parse_recipe(here(micro_folder), tmp_path / "run"), tmp_path / "run"), "disk")
    assert disk.status == "failed"
    published = read_recipe("published/qwen3-4b-math-cot", tmp_path / "run")
    (disk,) = by_name(examine(published, tmp_path / "run"), "disk")
    assert disk.status == "note"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim__lrr": 1.0}, "did you mean 'lr'"),
        ({"model__path": "/no/such/model"}, "/no/such/model"),
        ({"batch__pack": 40}, "the longest sequence has"),
        ({"data__rows": 65}, "has 64 rows and `data.rows` is 65"),
        ({"model__architecture": {"hidden_size": 33}}, "the config.json of .* says 32"),
        ({"checkpoints__at": [17]}, "`checkpoints.at` holds 17 and the run has 16"),
    ],
)
def test_mistakes_end_in_one_screen(micro_folder, tmp_path, changes, message):
    mapping = here(micro_folder)
    for path, value in changes.items():
        section, key = path.split("__")
        mapping["train"].setdefault(section, {})[key] = value
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mapping))
    with pytest.raises(SftscopeError, match=message):
        examine(read_recipe(tmp_path / "mine.yaml", tmp_path / "run"), tmp_path / "run")


def test_contaminated_rows_are_counted_shown_and_fail(micro_folder, tmp_path):
    arm = FineTuningArm(rows=64)
    asked = DOMAINS["countdown"].items("probe", 8)
    rows = [*arm.records(), {"prompt": asked[3].prompt, "response": "answer 7"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mapping = here(micro_folder, data__path="rows.jsonl")
    del mapping["arm"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mapping))
    done = doctor("mine.yaml", cwd=tmp_path, code=2)
    assert "1 training row holds probe items (1 of countdown): row 65 holds" in done.stdout
    assert asked[3].prompt in done.stdout
    assert done.stderr.splitlines() == ["error: not ready: contamination (see above)"]
    doctor("mine.yaml", "--probes.split", "test", cwd=tmp_path)  # the way out that it names


# ---------------------------------------------------------------- contamination

ITEMS = {name: domain.items("probe", 60) for name, domain in DOMAINS.items()}


def found(*texts):
    return [(h.row, h.domain, h.exact) for h in contaminated(enumerate([list(t) for t in texts], 1), ITEMS, DOMAINS)]


@pytest.mark.parametrize("name", DOMAINS)
def test_items_are_found_in_any_wording(name):
    """Each item by its prompt, within a longer text, and asked in every other way there is."""
    domain = DOMAINS[name]
    for item in ITEMS[name][:20]:
        assert found([item.prompt.upper(), "x"]) == [(1, name, True)]
        assert found(["a", f"before that : {item.prompt}\n please"])[0][0] == 1
        for phrasing in range(len(domain.phrasings)):
            again = domain.prompt({**item.reference, "phrasing": phrasing})
            assert found([again]), again


def test_numbers_and_edges_in_another_order_are_the_same_question():
    countdown, path = ITEMS["countdown"][0], ITEMS["path"][0]
    turned = {**countdown.reference, "numbers": countdown.reference["numbers"][::-1]}
    assert found([DOMAINS["countdown"].prompt(turned)])
    turned = {**path.reference, "edges": path.reference["edges"][::-1]}
    assert found([DOMAINS["path"].prompt(turned)]) == [(1, "path", False)]


@pytest.mark.parametrize("name", DOMAINS)
def test_what_is_another_question_is_not_found(name):
    """Items of the training split differ in content from every probe item, many of them in one number or word only."""
    texts = [[item.prompt, "answer"] for item in DOMAINS[name].items("train", 60, seed=5)]
    assert [hit for hit in found(*texts) if hit[1] == name] == []


def test_the_arms_are_clean_and_their_replay_too():
    rows = list(FineTuningArm(rows=600, replay_share=0.2).records())
    (check,) = probe_checks(ProbeConfig(), [(i, [r["prompt"], r["response"]]) for i, r in enumerate(rows, 1)])
    assert check.status == "ok", check.text


def test_a_longer_question_is_another_one():
    three = ITEMS["countdown"][0].prompt
    assert found([three]) == [(1, "countdown", True)]
    numbers_last = next(i.prompt for i in ITEMS["countdown"] if i.prompt.startswith("make"))
    assert found([f"{numbers_last} 12"]) == []
    assert found([f"{numbers_last} . answer"]) == [(1, "countdown", True)]


def test_what_directions_are_reported_on_counts_and_what_they_are_fitted_to_does_not():
    config = from_mapping(ProbeConfig, {"items": 8, "probes": ["refusal_direction"], "domains": ["harmful", "safe"]})
    fitted = DOMAINS["harmful"].items("train", 1, seed=1)[0].prompt
    reported = DOMAINS["harmful"].items("test", 1, seed=1)[0].prompt
    assert probe_checks(config, [(1, [fitted])])[0].status == "ok"
    assert probe_checks(config, [(1, [reported])])[0].status == "failed"


def test_thousands_of_rows_take_seconds():
    rows = [(i, ["w " * 50, "3 + 4 = 7 no " * 100]) for i in range(5000)]
    since = time.process_time()
    assert not list(contaminated(rows, ITEMS, DOMAINS))
    assert time.process_time() - since < 15


def test_parts_are_no_recipes_of_their_own():
    assert not [name for name in shipped() if name.startswith("parts/")]
    assert all((CONFIGS / f"{name}.yaml").stat().st_size < 300 for name in PUBLISHED)
    assert {Path(p).stem for p in CONFIGS.glob("parts/*.yaml")} >= set(VARIANTS)
