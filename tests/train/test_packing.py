"""Packing changes speed and memory, never which rows make up a step nor the gradient."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sftscope.dynamics.errors import ConfigError
from sftscope.train import train
from sftscope.train.batching import BatchConfig
from sftscope.train.data import Example
from sftscope.train.model import load
from sftscope.train.objective import token_sums
from sftscope.train.packing import best_fit_decreasing, bucketed_rows, collate_packed, fill_share, packed_rows
from sftscope.train.plan import make_plan
from sftscope.train.selftest import check_packing, without_what_fails
from sftscope.train.update import Counters, prepare, update
from transformers import AutoConfig, AutoModelForCausalLM

CPU = torch.device("cpu")


def example(*ids, masked=1):
    ids = np.array(ids, dtype=np.int32)
    labels = ids.copy()
    labels[:masked] = -100
    return Example(ids, labels)


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    return [example(*rng.integers(5, 65, n), masked=m) for n, m in ((30, 1), (12, 5), (50, 20), (7, 3), (2, 1))]


def test_each_sequence_goes_into_the_fullest_row_that_takes_it():
    lengths = np.random.default_rng(1).integers(1, 60, 300)
    rows = best_fit_decreasing(range(300), lengths, 100)
    assert sorted(i for row in rows for i in row) == list(range(300))
    used: list[int] = []  # the heuristic once more, in so many words
    for i in sorted(range(300), key=lambda i: (-lengths[i], i)):
        room = [r for r in range(len(used)) if used[r] + lengths[i] <= 100]
        best = max(room, key=lambda r: used[r], default=None)
        if best is None:
            used.append(0)
            best = len(used) - 1
        used[best] += lengths[i]
    assert sorted(int(lengths[row].sum()) for row in rows) == sorted(used)


def test_packing_does_not_hang_on_the_order_it_is_asked_in():
    lengths = np.random.default_rng(2).integers(1, 20, 64)
    order = np.random.default_rng(3).permutation(64)
    assert best_fit_decreasing(range(64), lengths, 50) == best_fit_decreasing(order.tolist(), lengths, 50)


def test_a_sequence_longer_than_a_row_is_no_row():
    with pytest.raises(ValueError, match="sequence 1 has 11 tokens and a row takes 10"):
        best_fit_decreasing([0, 1], [3, 11], 10)


@pytest.mark.parametrize("cut", [packed_rows, bucketed_rows])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 4, 40])
def test_processes_share_a_window_without_loss_and_keep_step(n, world, cut):
    lengths = np.random.default_rng(n).integers(1, 40, 100)
    shares = [cut(range(20, 20 + n), lengths, 64, rank, world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1  # as many collective calls on every process
    assert sorted(i for share in shares for row in share for i in row) == list(range(20, 20 + n))
    for row in (row for share in shares for row in share if row):
        width = lengths[row].sum() if cut is packed_rows else len(row) * lengths[row].max()
        assert width <= 64


def test_buckets_are_fewer_than_rows_and_filled_up():
    assert bucketed_rows([0, 1, 2, 3], [10, 2, 3, 2], 10) == [[1, 3, 2], [0]]


def test_the_fill_share_is_tokens_over_room():
    lengths = [6, 4, 5, 3, 7]
    # One process: rows {6, 4}, {5} of the first window, {7, 3} of the second: 25 tokens in three rows of ten.
    assert fill_share([[0, 1, 2], [3, 4]], lengths, 10) == (25 / 30, 1.5)
    # Two processes: {4, 6} and {5}; {3} and {7}: four rows, one forward pass each.
    assert fill_share([[0, 1, 2], [3, 4]], lengths, 10, world=2) == (25 / 40, 1.0)


def test_a_packed_row_starts_its_positions_anew_and_labels_no_first_token():
    batch = collate_packed([example(5, 6, 7, masked=2), example(8, 9, masked=0)], pad_id=3)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 7, -100, 9]]
    assert set(batch) == {"input_ids", "position_ids", "labels"}  # a mask would switch the detection off
    assert collate_packed([], pad_id=3)["labels"].tolist() == [[-100]]


def gradients(model, batches):
    model.zero_grad()
    total = 0.0
    for batch in batches:
        labels = batch.pop("labels")
        nll, _ = token_sums(model(**batch, use_cache=False).logits, labels)
        nll.backward()
        total += nll.item()
    return total, torch.cat([p.grad.flatten() for p in model.parameters()]).double()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_packed_row_has_the_loss_and_gradient_of_its_sequences(examples, model_dir, attention):
    model = AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation=attention)
    alone, expected = gradients(model, [collate_packed([e], 0) for e in examples])
    packed, found = gradients(model, [collate_packed(examples, 0)])
    assert packed == pytest.approx(alone, rel=1e-6)
    assert (found - expected).norm() / expected.norm() < 1e-5
    batch = collate_packed(examples, 0)
    del batch["position_ids"]  # one sequence to the model: what the equality would be without isolation
    _, leaked = gradients(model, [batch])
    assert (leaked - expected).norm() / expected.norm() > 1e-2


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_steps_on_packed_rows_are_those_on_padded_ones(config, examples, attention):
    rows, weights = [], []
    for batch in ({"micro": 1}, {"pack": 64}, {"pack": 150}):
        settings = config(batch={"size": 5} | batch, schedule={"epochs": None, "steps": 6})
        model, tokenizer = load(settings.model, 0)
        model.set_attn_implementation(attention)
        trainer = prepare(settings, Accelerator(), model, tokenizer, examples, make_plan(settings, examples, 0))
        counters = Counters()
        rows.append([update(trainer, [0, 1, 2, 3, 4], counters) for _ in range(6)])
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]).double())
    for other in rows[1:]:
        for key in ("loss", "grad_norm", "entropy", "tokens"):
            np.testing.assert_allclose([r[key] for r in other], [r[key] for r in rows[0]], rtol=1e-5, err_msg=key)
    assert rows[0][-1]["loss"] < rows[0][0]["loss"] - 0.1
    assert (weights[1] - weights[0]).norm() < 1e-4
    assert (weights[2] - weights[0]).norm() < 1e-4


def test_a_packed_run_is_the_padded_run(fit, rows_of, tmp_path, config, capsys):
    padded = rows_of(fit("padded"))
    train(config(batch={"pack": 60}), tmp_path / "packed")
    packed = rows_of(tmp_path / "packed")
    for key in ("loss", "grad_norm", "step_tokens", "sequences"):
        np.testing.assert_allclose([r[key] for r in packed], [r[key] for r in padded], rtol=2e-5, err_msg=key)
    text = " ".join(capsys.readouterr().err.split())
    assert "8 sequences / 1 process / packed into rows of 60 tokens, " in text
    assert "not packed" not in text


def kind(name, **fields):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, vocab_size=65, hidden_size=32, **fields))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_that_keeps_sequences_apart_passes(examples, model_dir, attention, dtype):
    model = AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation=attention, dtype=dtype)
    check = check_packing(model, examples, CPU, dtype)
    assert check.clean
    assert check.influence == 0
    assert check.joined > 0.01


def deaf(model):
    """The model, as custom code would be that takes no notice of position ids."""
    inner = model.model.forward
    model.model.forward = lambda *args, position_ids=None, **kwargs: inner(*args, **kwargs)
    return model


def smeared(model, share):
    """The model with a little of each token's embedding added to the next: a convolution of width two."""
    embed = model.model.embed_tokens.forward
    model.model.embed_tokens.forward = lambda ids: embed(ids) + share * F.pad(embed(ids)[:, :-1], (0, 0, 1, 0))
    return model


def displaced(model):
    """The model with positions counted along the row: attention stays within sequences, which stand elsewhere."""
    embed = model.transformer.wpe.forward
    model.transformer.wpe.forward = lambda positions: embed(torch.arange(positions.shape[1])[None])
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("leak", ["deaf", "smeared", "displaced", "mamba", "lfm2"])
def test_a_model_that_leaks_across_boundaries_is_found_out(examples, model_dir, leak, dtype):
    if leak == "mamba":
        model = kind("mamba", num_hidden_layers=2)
    elif leak == "displaced":  # so weakly that bfloat16 could be to blame: the yardstick is what joining would do
        special = {"bos_token_id": 2, "eos_token_id": 2}
        model = displaced(kind("gpt2", num_hidden_layers=2, num_attention_heads=4, **special, initializer_range=0.005))
    elif leak == "lfm2":  # its leak moves an untrained model's losses by 1e-5 nats only
        layers = {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]}
        model = kind("lfm2", num_attention_heads=4, num_key_value_heads=2, intermediate_size=64, **layers)
    else:
        model = AutoModelForCausalLM.from_pretrained(model_dir)
        model = deaf(model) if leak == "deaf" else smeared(model, 0.01)
    assert not check_packing(model.to(dtype), examples, CPU, dtype).clean


def test_the_test_leaves_the_model_and_the_random_numbers_as_they_were(examples, model_dir):
    model = AutoModelForCausalLM.from_pretrained(model_dir).train()
    state = torch.get_rng_state()
    check_packing(model, examples, CPU, torch.float32)
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_that_cannot_be_packed_is_padded_and_says_so(fit, rows_of, config, tmp_path, monkeypatch, capsys):
    def leaky(*args):
        model, tokenizer = load(*args)
        return smeared(model, 0.5), tokenizer

    monkeypatch.setattr("sftscope.train.loop.load", leaky)
    expected = rows_of(fit("padded"))
    capsys.readouterr()
    train(config(batch={"pack": 60}), tmp_path / "packed")
    np.testing.assert_allclose(
        [r["loss"] for r in rows_of(tmp_path / "packed")], [r["loss"] for r in expected], rtol=2e-5
    )
    text = capsys.readouterr().err
    assert "note         not packed: this model mixes packed sequences" in text
    assert "8 sequences / 1 process / padded to 60 tokens or fewer per forward" in text


def test_a_model_that_takes_no_position_ids_is_not_packed(config, examples):
    settings = config(batch={"size": 5, "pack": 150})
    model, tokenizer = load(settings.model, 0)
    inner = model.forward
    model.forward = lambda input_ids, attention_mask=None, use_cache=None: inner(input_ids, attention_mask)
    trainer = prepare(settings, Accelerator(), model, tokenizer, examples, make_plan(settings, examples, 0))
    tested, (note,) = without_what_fails(trainer)
    assert not tested.packed
    assert note.startswith("not packed: this model takes no position ids; rows of like length are padded")
    assert np.isfinite(update(tested, [0, 1, 2, 3, 4], Counters())["loss"])


def test_a_model_too_small_for_the_test_row_is_tested_on_the_heads_of_rows(config, model_dir):
    """Positions up to 128: four rows of 100 tokens joined would run past them."""
    rng = np.random.default_rng(0)
    examples = [example(*rng.integers(5, 65, 100)) for _ in range(4)]
    settings = config(batch={"size": 4, "pack": 128})
    model, tokenizer = load(settings.model, 0)
    seen = []
    model.register_forward_pre_hook(lambda _, __, inputs: seen.append(inputs["position_ids"].max()), with_kwargs=True)
    trainer = prepare(settings, Accelerator(), model, tokenizer, examples, make_plan(settings, examples, 0))
    tested, notes = without_what_fails(trainer)
    assert tested.packed
    assert notes == []
    assert max(seen) == 127


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"pack": 60, "micro": 2}, r"`batch\.pack` is 60 and `batch\.micro` 2"),
        ({"pack": 0}, r"`batch\.pack` is 0"),
        ({"logits_chunk": 0}, r"`batch\.logits_chunk` is 0"),
    ],
)
def test_mistakes_in_packing(batch, words):
    with pytest.raises(ConfigError, match=words):
        BatchConfig(**batch)


def test_a_row_that_does_not_fit_is_told_before_anything_is_written(fit, tmp_path):
    with pytest.raises(ConfigError, match=r"`batch\.pack` is 20 tokens and the longest sequence has \d+"):
        fit(batch={"pack": 20})
    assert not (tmp_path / "run").exists()
