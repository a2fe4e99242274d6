"""The loss over chunks of logits is the loss over all of them, and holds no more than a chunk."""

import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sftscope.train import train
from sftscope.train.batching import collate
from sftscope.train.chunked import HeadError, chunked_token_sums
from sftscope.train.data import Example
from sftscope.train.model import load
from sftscope.train.objective import token_sums
from sftscope.train.plan import make_plan
from sftscope.train.selftest import check_head
from sftscope.train.update import prepare
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB = 65


def model_of(name="qwen3", **fields):
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **(sizes | fields)))


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    found = []
    for n, masked in ((30, 4), (12, 5), (50, 20)):
        ids = rng.integers(5, VOCAB, n).astype(np.int32)
        labels = ids.copy()
        labels[:masked] = -100
        found.append(Example(ids, labels))
    return found


def both(model, examples, chunk):
    """(nll, sums, gradient) of the plain path and of the chunked one."""
    found = []
    for chunked in (False, True):
        model.zero_grad()
        batch = collate(examples, 0)
        labels = batch.pop("labels")
        if chunked:
            nll, sums = chunked_token_sums(model, model.get_output_embeddings(), batch, labels, chunk)
        else:
            nll, sums = token_sums(model(**batch, use_cache=False).logits, labels)
        nll.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()]).double()
        found.append((nll.detach(), sums, gradient))
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("chunk", [1, 7, 63, 1000])
def test_sums_and_gradients_are_those_of_the_whole_logits(examples, tied, chunk):
    (nll, sums, gradient), (nll_c, sums_c, gradient_c) = both(model_of(tie_word_embeddings=tied), examples, chunk)
    assert sums[3] == 26 + 7 + 30
    torch.testing.assert_close(nll_c, nll, rtol=1e-6, atol=0)
    torch.testing.assert_close(sums_c, sums, rtol=1e-6, atol=0)
    assert (gradient_c - gradient).norm() / gradient.norm() < 1e-6


def test_a_head_with_a_bias_and_another_architecture(examples):
    (_, sums, gradient), (_, sums_c, gradient_c) = both(model_of("phi", num_key_value_heads=4), examples, 10)
    torch.testing.assert_close(sums_c, sums, rtol=1e-6, atol=0)
    assert (gradient_c - gradient).norm() / gradient.norm() < 1e-6


def test_no_labels_at_all_give_zero(examples):
    masked = [Example(e.input_ids, np.full_like(e.labels, -100)) for e in examples]
    _, (nll, sums, gradient) = both(model_of(), masked, 8)
    assert nll == 0
    assert sums.tolist() == [0, 0, 0, 0]
    assert not gradient.any()


def test_no_more_than_a_chunk_of_logits_lives_at_a_time(examples, monkeypatch):
    alive, peak = [], []
    plain = F.log_softmax

    def watched(logits, dim):
        logp = plain(logits, dim=dim)
        alive.append((weakref.ref(logits), weakref.ref(logp), len(logp)))
        peak.append(sum(n for a, b, n in alive if a() is not None or b() is not None))
        return logp

    monkeypatch.setattr("sftscope.train.objective.F.log_softmax", watched)
    model = model_of()
    batch = collate(examples, 0)
    labels = batch.pop("labels")
    nll, _ = chunked_token_sums(model, model.get_output_embeddings(), batch, labels, 10)
    assert sum(n for a, b, n in alive if a() is not None or b() is not None) == 0  # nothing is kept for the backward
    assert len(peak) == 7  # 63 labelled tokens
    nll.backward()
    assert len(peak) == 14  # once more each
    assert max(peak) == 10


def test_the_models_head_is_its_own_again_even_after_an_error(examples):
    model = model_of()
    head, batch = model.get_output_embeddings(), collate(examples, 0)
    labels = batch.pop("labels")
    with pytest.raises(ValueError, match="input_ids"):
        chunked_token_sums(model, head, {"input_ids": None}, labels, 4)
    assert "forward" not in head.__dict__
    assert model(**batch).logits.shape == (3, 50, VOCAB)


def test_a_model_that_goes_round_its_head_is_found_out(examples):
    model = model_of()
    batch = collate(examples, 0)
    labels = batch.pop("labels")
    with pytest.raises(HeadError, match="does not call"):
        chunked_token_sums(model, torch.nn.Linear(32, VOCAB), batch, labels, 4)


def trainer_of(config, model, examples):
    settings = config(batch={"size": 3, "logits_chunk": 8})
    tokenizer = load(settings.model, 0)[1]
    return prepare(settings, Accelerator(), model, tokenizer, examples, make_plan(settings, examples, 0))


@pytest.mark.parametrize(
    ("name", "fields", "exact"),
    [
        ("qwen3", {}, True),
        ("llama", {}, True),
        ("gemma2", {"final_logit_softcapping": 30.0}, False),
        ("cohere", {"logit_scale": 0.0625}, False),
        ("granite", {"logits_scaling": 8.0}, False),
    ],
)
def test_what_follows_the_head_is_found_out(config, examples, name, fields, exact):
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    problem = check_head(trainer_of(config, model_of(name, **fields, **special), examples), examples[0])
    if exact:
        assert problem is None
    else:
        assert problem.startswith("something follows this model's output embedding")


def test_a_chunked_run_is_the_plain_run(fit, rows_of, weights_of):
    plain, chunked = fit("plain"), fit("chunked", batch={"logits_chunk": 5})
    both = fit("both", batch={"logits_chunk": 5, "pack": 60})
    for other in (chunked, both):
        for key in ("loss", "grad_norm", "entropy", "token_accuracy"):
            np.testing.assert_allclose(
                [r[key] for r in rows_of(other)], [r[key] for r in rows_of(plain)], rtol=2e-5, err_msg=key
            )
    a, b = weights_of(plain), weights_of(chunked)
    assert all(torch.allclose(a[k], b[k], atol=1e-4) for k in a)


def test_a_run_whose_head_cannot_be_chunked_goes_on_without_and_says_so(
    fit, rows_of, config, tmp_path, monkeypatch, capsys
):
    def capped(*args):
        model, tokenizer = load(*args)
        inner = model.forward

        def forward(*args, **kwargs):
            output = inner(*args, **kwargs)
            output.logits = 2 * torch.tanh(output.logits / 2)
            return output

        model.forward = forward
        return model, tokenizer

    monkeypatch.setattr("sftscope.train.loop.load", capped)
    expected = rows_of(fit("plain"))
    capsys.readouterr()
    train(config(batch={"logits_chunk": 5}), tmp_path / "chunked")
    assert [r["loss"] for r in rows_of(tmp_path / "chunked")] == [r["loss"] for r in expected]
    assert "note         logits not chunked" in capsys.readouterr().err
