"""What happens at a checkpoint beside writing it, kept from touching the training that goes on afterwards."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..dynamics.types import Measurement
from .lora import merged

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class CheckpointHook(Protocol):
    """Measures a checkpoint. `model` holds the weights of `folder` (an adapter's merged into its base), in evaluation mode
    and without gradients (use `torch.enable_grad()` where they are needed). It must leave the weights and the model's
    hooks as it found them. `folder` is complete: it is written before the hooks are called, and training waits for both.
    Without hooks it waits for neither. A run resumed at `step` calls the hook again: what is measured already is the
    hook's to skip.
    """

    def __call__(self, step: int, model: PreTrainedModel, folder: Path) -> list[Measurement]: ...


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, on the model as it is written to the disk: in the dtype of its weights, not
    compiled. On exit the RNG states, every module's mode, the gradients and what makes training fast are restored."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    modes = [(module, module.training) for module in model.modules()]
    grads = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    model.eval()
    try:
        with torch.no_grad(), _as_written(model):
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


@contextmanager
def _as_written(model: torch.nn.Module) -> Iterator[None]:
    """Without the mixed precision that Accelerate puts around a forward pass, and without compiled code, which would
    pass over the hooks that a module is given after it was compiled."""
    fast = []
    for module in model.modules():
        own = module.__dict__
        if "_original_forward" in own and "forward" in own:
            fast.append((own, "forward", own["forward"]))
            own["forward"] = own["_original_forward"]
        if own.get("_compiled_call_impl") is not None:
            fast.append((own, "_compiled_call_impl", own.pop("_compiled_call_impl")))
    try:
        yield
    finally:
        for own, name, value in fast:
            own[name] = value


def run_hooks(hooks: Sequence[CheckpointHook], step: int, model: Any, folder: Path) -> tuple[list[Measurement], float]:
    """Call every hook on a checkpoint; what they measured, and the seconds they took. Exceptions pass through.

    Of a peft model they are shown the plain transformers model with the adapter merged into it.
    """
    start = time.perf_counter()
    found: list[Measurement] = []
    with merged(model) if hooks else nullcontext(model) as whole:
        for hook in hooks:
            with undisturbed(whole):
                found += hook(step, whole, folder)
    return found, time.perf_counter() - start
