"""The loss on rows that are never trained on."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sftscope.dynamics.errors import DataError
from sftscope.dynamics.record import Run
from sftscope.dynamics.settings import from_mapping
from sftscope.train import TrainConfig
from sftscope.train.data import IGNORED, encode
from sftscope.train.model import ModelConfig, load
from sftscope.train.records import read_records


@pytest.fixture
def held(tiny, tmp_path):
    return tiny.write_rows(tmp_path / "held.jsonl", tiny.make_rows(13, seed=5))


def by_hand(run, step, held):
    """Mean loss, greedy hits and entropy over labelled tokens, one row after the other, from the saved weights."""
    folder = Run(run).checkpoints()[step]
    model, tokenizer = load(ModelConfig(path=str(folder)), 0)
    config = from_mapping(TrainConfig, json.loads((run / "run.json").read_text())["config"])
    examples, _ = encode(read_records(held), tokenizer, config.data)
    loss, hits, entropy, n = 0.0, 0, 0.0, 0
    with torch.no_grad():
        for e in examples:
            logits = model.eval()(input_ids=torch.tensor(e.input_ids)[None].long()).logits[0, :-1].double()
            labels = torch.tensor(e.labels)[1:].long()
            kept = labels != IGNORED
            logp = F.log_softmax(logits[kept], -1)
            loss -= float(logp.gather(1, labels[kept][:, None]).sum())
            hits += int((logp.argmax(-1) == labels[kept]).sum())
            entropy -= float((logp.exp() * logp).sum())
            n += int(kept.sum())
    return loss / n, hits / n, entropy / n


@pytest.mark.parametrize("batch", [{"micro": 3}, {"pack": 64}, {"logits_chunk": 5}])
def test_it_is_the_mean_over_the_labelled_tokens_of_the_saved_weights(fit, held, batch):
    run = fit(data={"heldout": {"mine": str(held)}}, batch={"size": 8} | batch, checkpoints={"every": 6})
    for step in (6, 12):
        table = (
            Run(run).measurements(probe="heldout", domain="mine").query("step == @step").set_index("metric")["value"]
        )
        expected = by_hand(run, step, held)
        names = ["heldout_loss", "heldout_token_accuracy", "heldout_entropy"]
        assert table[names].tolist() == pytest.approx(expected, rel=2e-5)
    table = Run(run).measurements(metric="heldout_loss")
    assert (table["n"] == 13).all()
    assert (table["lo"] < table["value"]).all()
    assert (table["value"] < table["hi"]).all()


def test_training_goes_on_as_if_nothing_had_been_measured(fit, held, weights_of, dropout_model_dir):
    how = {"model": {"path": str(dropout_model_dir)}, "checkpoints": {"every": 2, "first": True}}
    plain, watched = fit("plain", **how), fit("watched", data={"heldout": {"mine": str(held)}}, **how)
    assert all((a == weights_of(watched)[name]).all() for name, a in weights_of(plain).items())
    # Nor is it another run: rows can be held out, or left, when a run is gone on from.
    assert Run(plain).info["config_hash"] == Run(watched).info["config_hash"]


def test_a_resumed_run_measures_its_checkpoint_once(fit, held, rows_of):
    class Killed(Exception):
        pass

    def kill(row):
        if row["step"] == 7:
            raise Killed

    how = {"data": {"heldout": {"mine": str(held)}}, "checkpoints": {"every": 4, "resume_every": 4}}
    with pytest.raises(Killed):
        fit(on_progress=kill, **how)
    run = fit(resume=True, **how)
    files = sorted(p.parent.name for p in run.glob("measurements/*/heldout-*.parquet"))
    assert files == ["step-000004", "step-000008", "step-000012"]


def test_a_file_that_is_not_there_is_an_error_before_anything_is_written(fit, tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        fit(data={"heldout": {"mine": str(tmp_path / "nowhere.jsonl")}})
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_with_held_out_rows_is_said_of_their_file(fit, tiny, tmp_path):
    held = tiny.write_rows(tmp_path / "odd.jsonl", [{"prompt": "w1", "response": "unheardof"}])
    with pytest.raises(DataError, match=r"odd\.jsonl"):
        fit(data={"heldout": {"mine": str(held)}})
    long = tiny.write_rows(tmp_path / "long.jsonl", [{"prompt": "w1", "response": "w2 " * 200}])
    with pytest.raises(DataError, match="longest row of mine has"):
        fit(data={"heldout": {"mine": str(long)}})


def test_speed_and_memory_stand_in_every_row(fit, rows_of):
    run = fit(tracking={"to": "none", "peak_tflops": 0.5})
    for row in rows_of(run):
        assert row["peak_memory_bytes"] > 50e6
        assert 0 < row["mfu"] < 1
    assert not any("mfu" in row for row in rows_of(fit("unknown")))  # of a CPU no peak is known


@pytest.mark.parametrize(
    ("name", "peak"), [("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989e12), ("NVIDIA A10G", None)]
)
def test_a_gpu_is_known_by_its_whole_name(monkeypatch, name, peak):
    from sftscope.train.speed import known_peak

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert known_peak(torch.device("cuda")) == peak


def test_mfu_is_the_arithmetic_over_what_the_devices_could_do():
    from sftscope.train.footprint import Shape
    from sftscope.train.speed import Speed

    shape = Shape("qwen3", 64, 128, 2, 4, 2, 16, 100, True)
    speed = Speed(shape, False, 1e9, 2, torch.device("cpu"))
    row = speed.row(np.array([10, 30]), 0.5)
    flops = 10 * shape.train_flops_per_token(10) + 30 * shape.train_flops_per_token(30)
    assert math.isclose(row["mfu"], flops / (0.5 * 1e9 * 2))
    assert row["tokens_per_s"] == 80
    assert "0.001 TFLOP/s" in speed.explain()
