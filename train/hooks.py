"""What happens at a checkpoint beside writing it, kept from touching the training that goes on afterwards."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..dynamics.types import Measurement

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class CheckpointHook(Protocol):
    """Measures a checkpoint. `model` holds the weights of `folder`, in evaluation mode and without gradients (use
    `torch.enable_grad()` where they are needed). It must leave the weights and the model's hooks as it found them.
    `folder` is complete: it is written before the hooks are called, and training waits for both. Without hooks it waits
    for neither. A run resumed at `step` calls the hook again: what is measured already is the hook's to skip.
    """

    def __call__(self, step: int, model: PreTrainedModel, folder: Path) -> list[Measurement]: ...


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; on exit the RNG states, every module's mode and the gradients are restored."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    modes = [(module, module.training) for module in model.modules()]
    grads = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad, grad in grads:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def run_hooks(
    hooks: Sequence[CheckpointHook], step: int, model: PreTrainedModel, folder: Path
) -> tuple[list[Measurement], float]:
    """Call every hook on a checkpoint; what they measured, and the seconds they took. Exceptions pass through."""
    start = time.perf_counter()
    found: list[Measurement] = []
    for hook in hooks:
        with undisturbed(model):
            found += hook(step, model, folder)
    return found, time.perf_counter() - start
