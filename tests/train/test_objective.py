"""The loss is a mean over the labelled tokens of the window, however the window is cut."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from sftscope.train.data import Example
from sftscope.train.model import load
from sftscope.train.objective import token_sums
from sftscope.train.plan import make_plan
from sftscope.train.update import Counters, prepare, update

SPLITS = {"8x1": 8, "1x8": 1, "4x2": 2, "uneven": 3}


@pytest.fixture
def runs(fit):
    return {name: fit(name, batch={"micro": micro}) for name, micro in SPLITS.items()}


def test_every_split_of_the_batch_trains_the_same(runs, rows_of, weights_of, model_dir):
    start = load_file(model_dir / "model.safetensors")
    reference, rows = weights_of(runs["8x1"]), rows_of(runs["8x1"])
    assert [r["sequences"] for r in rows] == [8, 8, 5] * 4
    assert len({r["step_tokens"] for r in rows[:3]}) == 3  # uneven windows, or a mean of means would pass
    for name in ("1x8", "4x2", "uneven"):
        other = rows_of(runs[name])
        for key in ("loss", "entropy", "grad_norm", "token_accuracy"):
            np.testing.assert_allclose([r[key] for r in other], [r[key] for r in rows], rtol=2e-5, err_msg=key)
        assert [r["tokens"] for r in other] == [r["tokens"] for r in rows]
        weights = weights_of(runs[name])
        update = torch.cat([(reference[k] - start[k]).flatten() for k in reference]).double()
        residual = torch.cat([(weights[k] - reference[k]).flatten() for k in reference]).double()
        assert residual.norm() / update.norm() < 1e-3
        # A wrong normaliser stretches the update: the residual would lean along it. Rounding does not lean.
        assert abs(residual @ update / (update @ update)) < 2e-5


def test_loss_residuals_do_not_lean_to_one_side(runs, rows_of):
    rows = {name: np.array([r["loss"] for r in rows_of(run)]) for name, run in runs.items()}
    residuals = np.concatenate([rows[name] - rows["8x1"] for name in ("1x8", "4x2", "uneven")])
    assert np.abs(residuals).max() < 2e-5
    assert abs(residuals.mean()) < 2e-6
    assert (residuals > 0).any()
    assert (residuals < 0).any()


def test_the_first_loss_and_gradient_are_those_of_plain_transformers(fit, rows_of, model_dir, data_file):
    import json

    from transformers import AutoModelForCausalLM, AutoTokenizer

    row = rows_of(fit(batch={"size": 21, "micro": 4}, schedule={"epochs": 1}))[0]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_dir), AutoTokenizer.from_pretrained(model_dir)
    nll, entropy, tokens = 0.0, 0.0, 0
    for line in data_file.read_text().splitlines():
        record = json.loads(line)
        chat = [{"role": "user", "content": record["prompt"]}]
        head = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        tail = [*tokenizer(record["response"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        logits = model(torch.tensor([head + tail])).logits[0, len(head) - 1 : -1]
        nll = nll + F.cross_entropy(logits, torch.tensor(tail), reduction="sum")
        entropy += torch.distributions.Categorical(logits=logits).entropy().sum().item()
        tokens += len(tail)
    assert row["step_tokens"] == tokens
    assert row["loss"] == pytest.approx(nll.item() / tokens, rel=1e-5)
    (nll / tokens).backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm().item()
    assert row["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert row["entropy"] == pytest.approx(entropy / tokens, rel=1e-5)


def test_no_labels_at_all_give_zero_and_no_nan():
    logits = torch.randn(2, 5, 7, requires_grad=True)
    nll, sums = token_sums(logits, torch.full((2, 5), -100))
    nll.backward()
    assert sums.tolist() == [0, 0, 0, 0]
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_an_impossible_token_does_not_spoil_the_entropy():
    logits = torch.tensor([[[0.0, 0.0, -torch.inf], [0.0, 0.0, 0.0]]])
    _, sums = token_sums(logits, torch.tensor([[-100, 1]]))
    assert sums[1].item() == pytest.approx(np.log(2))


def _trainer(config, examples):
    from accelerate import Accelerator

    model, tokenizer = load(config.model, config.seed)
    return prepare(config, Accelerator(), model, tokenizer, examples, make_plan(config, examples, 0))


def test_a_masked_micro_batch_changes_nothing(config):
    def example(ids, masked):
        ids = np.array(ids, dtype=np.int32)
        labels = ids.copy()
        labels[:masked] = -100
        return Example(ids, labels)

    examples = [example([5, 6, 7, 8], 2), example([9, 10], 2), example([5, 9, 11, 2, 30, 31], 1)]
    settings = config(batch={"size": 3, "micro": 1}, schedule={"epochs": None, "steps": 4})
    rows, weights = [], []
    for window in ([0, 2], [0, 1, 2]):
        trainer = _trainer(settings, examples)
        rows.append(update(trainer, window, Counters()))
        weights.append([p.detach().clone() for p in trainer.model.parameters()])
    assert rows[0]["loss"] == rows[1]["loss"]
    assert rows[0]["step_tokens"] == rows[1]["step_tokens"] == 7
    for a, b in zip(*weights, strict=True):
        assert torch.equal(a, b)


def test_a_window_without_labels_is_nan_not_zero_and_moves_no_moments(config):
    ids = np.array([5, 6, 7], dtype=np.int32)
    trainer = _trainer(config(optim={"weight_decay": 0.0}), [Example(ids, np.full(3, -100, dtype=np.int32))])
    before = [p.detach().clone() for p in trainer.model.parameters()]
    row = update(trainer, [0], Counters())
    assert np.isnan(row["loss"])
    assert row["grad_norm"] == 0
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
