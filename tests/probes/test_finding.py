"""Checkpoints of any origin are found with the steps that they are meant to have, or it is said why not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from sftscope.cli import main
from sftscope.dynamics.errors import CheckpointError, ConfigError
from sftscope.dynamics.settings import from_mapping
from sftscope.dynamics.steps import step_of, step_of_revision
from sftscope.pipeline import _portable, open_probe_run
from sftscope.probes import organisms
from sftscope.probes.checkpoints import Checkpoint, check_checkpoint, end_ids, load_model, load_tokenizer, note_on_ends
from sftscope.probes.finding import find_checkpoints, read_steps, tokenizer_folder
from sftscope.probes.hub import Remote
from sftscope.probes.planner import ProbeConfig
from sftscope.probes.rendering import Renderer

NAMES = {
    "step-10": 10,
    "step_10": 10,
    "step640": 640,  # of arXiv 2604.06628, in one repository a run
    "merged_step640": 640,  # what its script makes of `global_step_640`
    "checkpoint-10": 10,
    "ckpt_7": 7,
    "global_step_10": 10,
    "global_steps_10": 10,
    "global_step10": 10,
    "iter_0000010": 10,
    "checkpoint-250step": 250,
    "0010": 10,
}


@pytest.fixture
def model(micro_folder, tmp_path):
    """Makes a model's folder, of links to the same files."""

    def make(name):
        return shutil.copytree(micro_folder, tmp_path / name, copy_function=os.link)

    return make


def steps_of(*sources, **how):
    return [c.step for c in find_checkpoints([str(s) for s in sources], **how)]


@pytest.mark.parametrize("name", NAMES)
def test_the_step_is_in_the_name(name, model, tmp_path):
    assert step_of(name) == NAMES[name]
    model(f"many/{name}")
    assert steps_of(tmp_path / "many") == steps_of(tmp_path / "many" / name) == [NAMES[name]]


@pytest.mark.parametrize(
    "name", ["final", "best", "epoch-3", "checkpoint-best", "step", "step-1-of-2", "v2", "run1-step"]
)
def test_other_names_tell_no_step(name):
    assert step_of(name) is None


def test_a_revision_may_say_more_than_its_step():
    names = {"step1000-tokens4B": 1000, "stage1/step-500": 500, "checkpoint_20": 20, "main": None, "v1.0": None}
    assert {name: step_of_revision(name) for name in names} == names


def test_folders_are_found_in_the_order_of_their_steps(model, tmp_path, micro_folder):
    for name in ("checkpoint-20", "checkpoint-3", "other", "logs"):
        model(f"many/{name}")
    (tmp_path / "many" / "2024").mkdir()  # a number that holds no model
    assert steps_of(tmp_path / "many") == [3, 20]
    assert steps_of(micro_folder) == [0]
    assert steps_of("organism:qwen3-0.2m") == [0]
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        find_checkpoints([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoints"):
        find_checkpoints([tmp_path / "empty"])


def test_models_without_steps_are_numbered_and_a_base_comes_first(model, tmp_path):
    base, final = model("base"), model("final")
    model("many/checkpoint-20")
    assert steps_of(base, final) == [0, 1]
    assert steps_of(base, tmp_path / "many") == [0, 20]
    with pytest.raises(CheckpointError, match=r"final has no step in its name.*--steps FILE"):
        find_checkpoints([tmp_path / "many", final])  # not silently the second, at step 1
    with pytest.raises(CheckpointError, match="has no step in its name"):
        find_checkpoints([base, tmp_path / "many", final])


def test_steps_are_given_by_a_map_of_names_and_paths(model, tmp_path):
    for name in ("epoch-1", "epoch-2", "lr=1e-4", "notes"):
        model(f"many/{name}")
    final = model("final")
    file = tmp_path / "steps.yaml"
    file.write_text(f"epoch-1: 80\nepoch-2: 160\nlr=1e-4: 7\n{final}: 200\n")
    found = find_checkpoints([tmp_path / "many", final], steps=read_steps(file))
    assert [(c.step, c.path.name) for c in found] == [(7, "lr=1e-4"), (80, "epoch-1"), (160, "epoch-2"), (200, "final")]
    (tmp_path / "steps.json").write_text(json.dumps({"epoch-1": 80}))
    assert read_steps(tmp_path / "steps.json") == {"epoch-1": 80}
    model("many/checkpoint-9")
    assert steps_of(tmp_path / "many", steps={"checkpoint-9": 90, "epoch-1": 1}) == [1, 90]  # the map's word counts


def test_a_map_that_cannot_be_meant_is_refused(model, tmp_path):
    model("many/epoch-1")
    model("many/checkpoint-80")
    many, file = tmp_path / "many", tmp_path / "steps.yaml"
    with pytest.raises(ConfigError, match=r"names 'epoc-1', which is none of the checkpoints: did you mean 'epoch-1'"):
        find_checkpoints([many], steps={"epoch-1": 1, "epoc-1": 2})
    assert steps_of(many, steps={"epoch-1": 1, "epoch-2": 2}, filling=True) == [1, 80]  # it may still come
    with pytest.raises(CheckpointError, match=r"step 80 was found twice: .*checkpoint-80, .*epoch-1"):
        find_checkpoints([many], steps={"epoch-1": 80})
    with pytest.raises(CheckpointError, match="step 80 was found twice"):
        find_checkpoints([many, many / "checkpoint-80"])
    for text, message in {
        "a: 5\nb: 5\n": "gives step 5 to both 'a' and 'b'",
        "a: -1": "give a whole number from 0",
        "a: true": "give a whole number from 0",
        "a: 1e3": "give a whole number from 0",
        "[1, 2]": "not a mapping",
    }.items():
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_steps(file)


def test_a_deepspeed_step_is_itself_and_not_the_state_inside_it(model, tmp_path):
    step = model("many/checkpoint-10")
    (step / "global_step10").mkdir()
    (step / "zero_to_fp32.py").touch()
    (step / "model.safetensors").unlink()  # DeepSpeed did not gather it
    (found,) = find_checkpoints([step])
    assert (found.step, found.path) == (10, step)
    with pytest.raises(
        CheckpointError, match=r"DeepSpeed's shards, merged by `cd .*checkpoint-10 && python zero_to_fp32.py"
    ):
        check_checkpoint(found)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("pytorch_model_fsdp_0/.metadata", "accelerate merge-weights .*pytorch_model_fsdp_0"),
        ("actor/dist_ckpt/common.pt", "verl.model_merger merge --backend megatron --local_dir .*actor"),
        ("pytorch_model.bin", "save_pretrained"),
    ],
)
def test_what_must_be_merged_first_is_told_with_the_command(inside, message, tmp_path, micro_folder):
    step = tmp_path / "checkpoint-10"
    (step / inside).parent.mkdir(parents=True)
    (step / inside).touch()
    shutil.copy(micro_folder / "config.json", step)
    with pytest.raises(CheckpointError, match=message):
        load_model(find_checkpoints([step])[0])


def test_a_tokenizer_can_be_given_and_a_missing_one_is_told_with_the_way_out(model, tmp_path, micro_folder, capsys):
    for step in (1, 2):
        folder = model(f"many/checkpoint-{step}")
        for file in folder.glob("*token*"):
            file.unlink()
        (folder / "chat_template.jinja").unlink(missing_ok=True)
    many, few = tmp_path / "many", tmp_path / "few.yaml"
    few.write_text("probes: {items: 4, domains: [facts], probes: [scores]}")
    assert main(["probe", str(many), "-o", str(tmp_path / "run"), "--config", str(few)]) == 2
    assert "--tokenizer FOLDER" in capsys.readouterr().err
    for file in micro_folder.glob("*token*"):  # as a Trainer leaves it, beside the checkpoints
        shutil.copy(file, many)
    with pytest.raises(CheckpointError, match=f"--tokenizer {many}"):
        load_tokenizer(find_checkpoints([many])[0])
    told = ["--tokenizer", str(micro_folder), "--workers", "1"]
    assert main(["probe", str(many), "-o", str(tmp_path / "run"), "--config", str(few), *told]) == 0
    assert "2 of 2" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="no tokenizer's folder at nowhere"):
        tokenizer_folder("nowhere")


def test_without_a_generation_config_the_tokenizers_end_counts_and_it_is_said_once(model, tmp_path, capsys):
    base = organisms.folder("qwen3-0.2m")
    for step in (1, 2):
        folder = shutil.copytree(base, tmp_path / "many" / f"checkpoint-{step}")
        (folder / "generation_config.json").unlink()
        config = json.loads((folder / "config.json").read_text())
        config.pop("eos_token_id", None)
        (folder / "config.json").write_text(json.dumps(config))
    shutil.copytree(base, tmp_path / "many" / "checkpoint-3")
    found = find_checkpoints([tmp_path / "many"])
    tokenizer = load_tokenizer(found[0])
    assert [end_ids(load_model(c), tokenizer) for c in found] == [[tokenizer.eos_token_id]] * 3
    assert "2 of 3 checkpoints have no generation_config.json" in note_on_ends(found)
    assert note_on_ends(found[2:]) == ""
    few = tmp_path / "few.yaml"
    few.write_text("probes: {items: 4, domains: [facts], probes: [scores]}")
    assert (
        main(["probe", str(tmp_path / "many"), "-o", str(tmp_path / "run"), "--config", str(few), "--workers", "1"])
        == 0
    )
    assert capsys.readouterr().err.count("generation_config.json") == 1


def test_a_template_that_closes_turns_with_what_ends_no_response_is_told(tmp_path):
    """As of a base model whose end token is `<|endoftext|>`, fine-tuned on turns that `<|im_end|>` closes."""
    folder = shutil.copytree(organisms.folder("qwen3-0.2m"), tmp_path / "checkpoint-1")
    tokenizer = load_tokenizer(Checkpoint(1, folder))
    closing = Renderer(tokenizer).closing_id
    assert closing == tokenizer.eos_token_id
    assert note_on_ends([Checkpoint(1, folder)]) == ""
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.chat_template = tokenizer.chat_template.replace(tokenizer.eos_token, "<|im_end|>").replace(
        "eos_token", "'<|im_end|>'"
    )
    tokenizer.save_pretrained(folder)
    new = tokenizer.convert_tokens_to_ids("<|im_end|>")
    note = note_on_ends([Checkpoint(1, folder)])
    assert "closes turns with '<|im_end|>'" in note
    assert f"add {new} to `eos_token_id`" in note
    ends = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(ends | {"eos_token_id": [tokenizer.eos_token_id, new]}))
    assert note_on_ends([Checkpoint(1, folder)]) == ""


def test_a_worker_is_told_all_of_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    remote = Remote("org/name", "0" * 40, "step10", ("step10/config.json",), "abc")
    checkpoint = Checkpoint(10, Path("many/checkpoint-10"), tokenizer=Path("theirs"), remote=remote)
    told = from_mapping(Checkpoint, json.loads(json.dumps(_portable(checkpoint))))
    assert told == Checkpoint(10, tmp_path / "many/checkpoint-10", tokenizer=tmp_path / "theirs", remote=remote)


def test_results_never_go_into_a_checkpoint(model, tmp_path):
    folder = model("many/checkpoint-1")
    with pytest.raises(ConfigError, match="lies inside the checkpoint"):
        open_probe_run([tmp_path / "many"], folder / "run", ProbeConfig(items=4))
    with pytest.raises(ConfigError, match="say where the results should go"):
        open_probe_run([tmp_path / "many"], None, ProbeConfig(items=4))


def test_a_checkpoint_is_known_by_its_weights(model, tmp_path):
    one, two = model("a"), tmp_path / "b"
    shutil.copytree(one, two)
    assert Checkpoint(1, one).weights == Checkpoint(2, two).weights
