"""A hook may do what it likes with chance, modes and gradients: the training after it is the same to the bit."""

import random

import numpy as np
import pytest
import torch
from sftscope.dynamics.types import Estimate, Measurement
from sftscope.train.hooks import run_hooks, undisturbed


class Unruly:
    """Burns every generator, flips modes, leaves gradients behind, freezes parameters."""

    def __init__(self):
        self.seen = []

    def __call__(self, step, model, folder):
        assert not model.training
        assert not torch.is_grad_enabled()
        assert (folder / "manifest.json").is_file()
        self.seen.append(step)
        random.random(), np.random.rand(3), torch.rand(5)
        torch.manual_seed(0)
        model.train()
        model.model.layers[0].eval()
        with torch.enable_grad():
            model(torch.tensor([[5, 6, 7]])).logits.sum().backward()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        return [Measurement(step, "unruly", "count", Estimate.undefined(0, "none"), "")]


def test_losses_and_weights_are_bit_equal_with_and_without_hooks(fit, rows_of, weights_of, dropout_model_dir):
    settings = {"model": {"path": str(dropout_model_dir)}, "checkpoints": {"every": 2, "first": True}}
    hook = Unruly()
    alone, measured = fit("alone", **settings), fit("measured", hooks=[hook], **settings)
    assert hook.seen == [0, 2, 4, 6, 8, 10, 12]
    for key in ("loss", "grad_norm", "entropy", "lr"):
        assert [r[key] for r in rows_of(alone)] == [r[key] for r in rows_of(measured)]
    a, b = weights_of(alone), weights_of(measured)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_dropout_makes_the_generator_matter(fit, rows_of, dropout_model_dir, monkeypatch):
    """The control of the test above: without the hygiene, the same hook changes the losses."""

    def careless(hooks, step, model, folder):
        torch.manual_seed(0)
        return [], 0.0

    settings = {"model": {"path": str(dropout_model_dir)}, "checkpoints": {"every": 2}}
    alone = fit("alone", **settings)
    monkeypatch.setattr("sftscope.train.at_checkpoint.run_hooks", careless)
    disturbed = fit("disturbed", **settings)
    assert [r["loss"] for r in rows_of(alone)][:2] == [r["loss"] for r in rows_of(disturbed)][:2]
    assert [r["loss"] for r in rows_of(alone)][2:] != [r["loss"] for r in rows_of(disturbed)][2:]


def test_every_module_gets_its_own_mode_back_also_after_an_error():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    model.train()
    model[1].eval()

    def disturb():
        with undisturbed(model):
            model.train()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        disturb()
    assert [m.training for m in model.modules()] == [True, True, False]


def test_hooks_results_are_joined_and_timed(tmp_path):
    row = Measurement(1, "p", "m", Estimate.undefined(0, "none"), "")
    found, seconds = run_hooks([lambda *_: [row], lambda *_: [row, row]], 1, torch.nn.Linear(1, 1), tmp_path)
    assert found == [row] * 3
    assert seconds > 0
