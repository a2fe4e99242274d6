"""What a run leaves behind, and what it refuses before it leaves anything."""

import json
import math
import subprocess
import sys
import time

import pytest
import torch
from sftscope.dynamics.errors import CheckpointError, ConfigError, DataError, RecordError, SftscopeError
from sftscope.dynamics.record import Run
from sftscope.dynamics.settings import from_mapping, to_mapping
from sftscope.dynamics.storage import sha256_file
from sftscope.train import TrainConfig, train
from sftscope.train.schedule import lr_at

COLUMNS = [
    "step", "loss", "lr", "cumulative_lr", "epoch", "tokens", "step_tokens", "sequences", "grad_norm", "entropy",
    "token_accuracy", "seconds", "tokens_per_s", "peak_memory_bytes",
]  # fmt: skip


def test_a_row_per_step_with_its_running_sums(fit, rows_of, config):
    rows = rows_of(fit())
    assert [list(row) for row in rows] == [COLUMNS] * 12
    assert [row["step"] for row in rows] == list(range(1, 13))
    schedule = config().schedule
    assert [row["lr"] for row in rows] == [lr_at(k, 12, schedule, 3e-3) for k in range(1, 13)]
    assert rows[-1]["cumulative_lr"] == pytest.approx(sum(row["lr"] for row in rows))
    assert [row["epoch"] for row in rows[:4]] == pytest.approx([8 / 21, 16 / 21, 1, 1 + 8 / 21])
    assert rows[-1]["epoch"] == 4
    assert rows[-1]["tokens"] == sum(row["step_tokens"] for row in rows)
    assert all(row["grad_norm"] > 0 and row["seconds"] > 0 and 0 <= row["token_accuracy"] <= 1 for row in rows)


def test_training_learns(fit, rows_of):
    rows = rows_of(fit(schedule={"epochs": 30}, optim={"lr": 1e-2}))
    assert rows[0]["loss"] == pytest.approx(math.log(65), abs=0.3)
    assert rows[-1]["loss"] < 1.0


def test_the_record_says_what_the_run_was(fit, config, data_file, model_dir):
    settings = {"checkpoints": {"first": True, "log2": True}, "analysis": {"primary": ["countdown.strict"]}}
    run = Run(fit(**settings))
    info = run.info
    assert from_mapping(TrainConfig, info["config"]) == config(**settings)
    assert info["data"] == {"path": "rows.jsonl", "sha256": sha256_file(data_file), "rows": 21}
    assert info["base"]["path"] == model_dir.name
    assert len(info["base"]["weights"]) == 64
    assert info["plan"]["total_steps"] == 12
    assert info["plan"]["steps_per_epoch"] == 3
    assert info["plan"]["warmup_steps"] == 2
    assert info["plan"]["checkpoints"] == list(run.checkpoints()) == [0, 1, 2, 4, 8, 12]
    assert info["primaries"]["declared"] == ["countdown.strict"]
    assert set(info["versions"]) == {"sftscope", "torch", "transformers", "accelerate", "python"}


def test_extra_entries_stand_beside_the_runs_own(config, tmp_path):
    run = train(config(), tmp_path / "run", quiet=True, extra={"probes": {"seed": 3}, "plan": None})
    assert Run(run).info["probes"] == {"seed": 3}
    assert Run(run).info["plan"]["total_steps"] == 12


def test_the_config_hash_knows_settings_and_not_places(fit, tmp_path, data_file):
    moved = tmp_path / "elsewhere" / data_file.name
    moved.parent.mkdir()
    moved.write_bytes(data_file.read_bytes())
    hashes = [
        Run(fit(name, **changes)).info["config_hash"]
        for name, changes in {
            "a": {},
            "b": {"data": {"path": str(moved)}, "threads": 1, "checkpoints": {"resume_every": 3}},
            "c": {"seed": 1},
        }.items()
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_checkpoints_load_in_plain_transformers_with_the_same_logits(fit, model_dir):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = torch.tensor([[5, 6, 7, 8, 9]])
    live = {}

    def hook(step, model, folder):
        live[step] = model(ids).logits
        return []

    run = fit(hooks=[hook], checkpoints={"first": True, "at": [3]})
    for step, folder in Run(run).checkpoints().items():
        model = AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            assert torch.equal(model(ids).logits, live[step]), step
        assert AutoTokenizer.from_pretrained(folder).chat_template
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["step"] == step
        assert len(manifest["weights"]) == 64
    base = AutoModelForCausalLM.from_pretrained(model_dir)
    with torch.no_grad():
        assert torch.equal(base(ids).logits, live[0])
    assert not torch.equal(live[0], live[3])


def test_the_same_config_gives_the_same_run(fit, rows_of, weights_of):
    a, b = fit("a"), fit("b")
    assert [r["loss"] for r in rows_of(a)] == [r["loss"] for r in rows_of(b)]
    assert all(torch.equal(x, y) for x, y in zip(weights_of(a).values(), weights_of(b).values(), strict=True))


def test_a_finished_run_is_not_run_again(fit, monkeypatch):
    run = fit()
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}

    def load(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("sftscope.train.loop.load", load)
    start = time.perf_counter()
    assert fit() == run
    assert fit(resume=True) == run
    assert time.perf_counter() - start < 1
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_another_runs_folder_is_left_alone(fit):
    run = fit()
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    for resume in (False, True):
        with pytest.raises(RecordError, match=r"belongs to another run.*`optim\.lr` was 0\.003 and is 0\.1"):
            fit(optim={"lr": 0.1}, resume=resume)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_other_data_under_the_same_name_is_another_run(tiny, fit, tmp_path):
    path = tiny.write_rows(tmp_path / "rows.jsonl", tiny.make_rows(16))
    fit(data={"path": str(path)})
    tiny.write_rows(path, tiny.make_rows(16, seed=1))
    with pytest.raises(RecordError):
        fit(data={"path": str(path)})


def test_a_folder_with_other_things_is_left_alone(fit, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(RecordError, match="not empty"):
        fit()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": {"path": "/no/such/model"}}, CheckpointError, "no model folder at /no/such/model"),
        ({"data": {"path": "/no/rows.jsonl"}}, DataError, "no data file"),
        ({"data": {"max_length": 4}}, DataError, "max_length"),
        ({"checkpoints": {"at": [13]}}, ConfigError, "13 .*12 steps"),
        ({"checkpoints": {"at": [6]}, "schedule": {"epochs": None, "steps": 5}}, ConfigError, "6 .*5 steps"),
        ({"optim": {"learning_rate": 1}}, ConfigError, r"unknown key `optim\.learning_rate`"),
        ({"optim": {"lr": -1}}, ConfigError, r"optim\.lr"),
        ({"optim": {"clip": 0}}, ConfigError, r"optim\.clip"),
        ({"optim": {"betas": [0.9]}}, ConfigError, r"optim\.betas"),
        ({"schedule": {"steps": 3}}, ConfigError, "exactly one"),
        ({"tracking": {"to": "wandbb"}}, ConfigError, "wandb"),
        ({"seed": -1}, ConfigError, "seed"),
        ({"threads": 0}, ConfigError, "threads"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(fit, tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        fit(**changes)
    assert not (tmp_path / "run").exists()


def test_an_empty_response_is_told_with_its_line_before_anything_is_written(tiny, fit, tmp_path):
    rows = tiny.make_rows(5)
    rows[3]["response"] = "  "
    path = tiny.write_rows(tmp_path / "bad.jsonl", rows)
    with pytest.raises(DataError, match=r"bad\.jsonl, line 4"):
        fit(data={"path": str(path)})
    assert not (tmp_path / "run").exists()


def test_rows_beyond_the_models_positions(tiny, fit, tmp_path):
    path = tiny.write_rows(tmp_path / "long.jsonl", tiny.make_rows(3, low=130, high=130))
    with pytest.raises(DataError, match="made for 128"):
        fit(data={"path": str(path)})
    assert not (tmp_path / "run").exists()


def test_divergence_stops_the_run_and_says_so(fit, rows_of, tmp_path):
    with pytest.raises(SftscopeError, match="diverged"):
        fit(optim={"lr": 1e30, "clip": None}, schedule={"epochs": 4, "warmup_steps": 0})
    rows = rows_of(tmp_path / "run")
    assert not math.isfinite(rows[-1]["loss"])
    assert len(rows) < 12


def test_a_model_from_its_fields_trains(tiny, fit, rows_of, tokenizer_dir):

    model = {"path": None, "init": tiny.fields, "tokenizer": str(tokenizer_dir)}
    run = fit(model=model, data={"loss_on": "all", "bucket": True}, schedule={"epochs": 1, "kind": "constant"})
    assert Run(run).info["base"] == {"init": tiny.fields}
    assert len(rows_of(run)) == 3


def test_the_log_explains_the_numbers(config, tmp_path, capsys):
    train(config(batch={"micro": 2}, checkpoints={"first": True}), tmp_path / "run")
    text = " ".join(capsys.readouterr().err.split())
    for part in (
        "8 sequences / 1 process / 2 per forward = 4 accumulated",
        "21 rows / 8 = 3 per epoch; 4 epochs = 12 steps",
        "2 steps of warm-up to 0.003",
        "checkpoints 2: steps 0, 12",
        "is complete: 12 steps",
    ):
        assert part in text
    train(config(batch={"micro": 2}, checkpoints={"first": True}), tmp_path / "run")
    assert "nothing to do" in capsys.readouterr().err


def test_quiet_is_silent_and_rows_are_passed_on(fit, rows_of, capsys):
    seen = []
    run = fit(on_progress=seen.append)
    assert seen == rows_of(run)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_config_survives_the_round_trip(config):
    original = config(checkpoints={"at": [1, 2]}, optim={"lr": "1e-4"})
    assert original.optim.lr == 1e-4
    assert from_mapping(TrainConfig, to_mapping(original)) == original


def test_reading_a_config_does_not_wait_for_torch():
    code = "import sys; from sftscope.train import TrainConfig, CheckpointHook; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
