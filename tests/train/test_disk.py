"""The room that a run needs is known, said and checked before its first step."""

import shutil
from types import SimpleNamespace

import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.train import disk
from sftscope.train.disk import size

SETTINGS = {"checkpoints": {"every": 2, "first": True, "resume_every": 5}}


class Killed(Exception):
    pass


def bytes_of(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def budgets(monkeypatch):
    """Every budget that is checked."""
    found, check = [], disk.check_disk

    def remember(run, budget):
        found.append(budget)
        check(run, budget)

    monkeypatch.setattr("sftscope.train.loop.check_disk", remember)
    return found


@pytest.fixture
def room(monkeypatch):
    """`room(n)`: a disk with n bytes free."""

    def give(free):
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - free, free))

    return give


def die_at(step):
    def on_progress(row):
        if row["step"] == step:
            raise Killed

    return on_progress


def test_the_budget_is_what_is_written(tiny, fit, budgets, tokenizer_dir, tmp_path):
    # A model whose weights outweigh the small files that are not reckoned.
    model = {"path": None, "init": tiny.fields | {"intermediate_size": 2560}, "tokenizer": str(tokenizer_dir)}
    with pytest.raises(Killed):
        fit("broken", model=model, on_progress=die_at(11), **SETTINGS)
    run, budget = tmp_path / "broken", budgets[0]
    assert (budget.checkpoints, budget.states) == (7, 2)
    assert bytes_of(run / "checkpoints" / "step-000004") == pytest.approx(budget.checkpoint_bytes, rel=0.02)
    assert bytes_of(run / "resume" / "step-000010") == pytest.approx(budget.state_bytes, rel=0.02)
    fit("broken", model=model, resume=True, **SETTINGS)
    assert (budgets[1].checkpoints, budgets[1].states) == (1, 1)  # 0 … 10 are there, and a state


def test_of_adapters_the_budget_is_of_adapters(fit, budgets, tmp_path):
    with pytest.raises(Killed):
        fit("broken", lora={"rank": 32}, on_progress=die_at(11), **SETTINGS)
    run, budget = tmp_path / "broken", budgets[0]
    saved = (run / "checkpoints" / "step-000004" / "adapter_model.safetensors").stat().st_size
    state = (run / "resume" / "step-000010" / "model.safetensors").stat().st_size
    assert saved == pytest.approx(budget.checkpoint_bytes - disk.TOKENIZER_BYTES * 65, rel=0.05)
    assert 3 * state == pytest.approx(budget.state_bytes, rel=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_are_written_once(tiny, tokenizer_dir, tmp_path, tied):
    """A model that is mostly its embeddings."""
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    fields = {k: v for k, v in tiny.fields.items() if k != "model_type"} | {"tie_word_embeddings": tied}
    model = Qwen3ForCausalLM(Qwen3Config(**fields, vocab_size=20_000))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    plan = SimpleNamespace(total_steps=8, checkpoints=[0, 8])
    budget = disk.disk_budget(tmp_path / "run", plan, 4, model, tokenizer)
    model.save_pretrained(tmp_path / "saved")
    assert bytes_of(tmp_path / "saved") == pytest.approx(budget.checkpoint_bytes, rel=0.01)
    assert budget.state_bytes == pytest.approx(3 * budget.checkpoint_bytes, rel=0.01)


def test_too_little_room_is_told_with_the_numbers_before_anything_is_written(fit, budgets, room, tmp_path):
    fit("enough", **SETTINGS)
    needed = budgets[0].needed_bytes
    room(needed)
    fit("just", **SETTINGS)
    room(needed - 1)
    with pytest.raises(
        ConfigError, match=r"7 checkpoints of .* KiB and 2 states .* need .* free at .*checkpoints\.every"
    ):
        fit("full", **SETTINGS)
    assert not (tmp_path / "full").exists()
    room(0)
    with pytest.raises(ConfigError, match=r"^2 checkpoints of \S+ KiB need \S+ KiB, and 0 B is free"):
        fit("full", checkpoints={"first": True})


def test_a_state_beyond_the_last_step_is_never_written(fit, budgets):
    fit(checkpoints={"resume_every": 13})
    assert budgets[0].states == 0


def test_the_plan_says_it(config, tmp_path, capsys):
    from sftscope.train import train

    train(config(**SETTINGS), tmp_path / "run")
    text = " ".join(capsys.readouterr().err.split())
    assert "disk 7 checkpoints x" in text
    assert "+ 2 x" in text
    assert "to write;" in text


@pytest.mark.parametrize(
    ("n", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (5 << 50, "5120.0 TiB")]
)
def test_sizes(n, words):
    assert size(n) == words
