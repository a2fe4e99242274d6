"""How forward and backward passes are computed: the processes and precision that Accelerate is opened with, activations
that are computed again rather than kept, and compiled layers."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.errors import ConfigError, first_line
from .config import TrainConfig
from .lora import is_adapted

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel

# What a launcher may ask for behind the recipe's back: its variable, Accelerate's name for it, and the recipe's.
ELSEWHERE = {
    "ACCELERATE_MIXED_PRECISION": ("`mixed_precision`", "`model.compute`"),
    "ACCELERATE_DYNAMO_BACKEND": ("`dynamo_backend`", "`model.compile`"),
}


def open_accelerator(config: TrainConfig, run: Path) -> Accelerator:
    """The Accelerator of this process, with the recipe's precision.

    Raises ConfigError where the launcher's own settings would change the result behind the recipe's back, and where the
    device cannot compute in `model.compute`.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    precision = "no" if config.model.compute is None else "bf16"
    for variable, (theirs, ours) in ELSEWHERE.items():
        value = os.environ.get(variable, "no").lower()
        if value not in ("no", precision):
            raise ConfigError(
                f"Accelerate's configuration sets {theirs} to {value!r}: what decides the result belongs into the recipe. "
                f"Set {ours} there, and `no` in the configuration"
            )
    if AcceleratorState._shared_state.get("_mixed_precision", precision) != precision:
        # An earlier run's, in this process: Accelerate would refuse another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            log_with=None if config.tracking.to == "none" else config.tracking.to,
            project_dir=str(run),
        )
    except ValueError as error:
        raise ConfigError(
            f"`model.compute` is {config.model.compute} and the processes cannot be set up: {first_line(error)}"
        ) from error
    if accelerator.num_processes > 1:
        atexit.unregister(_leave_group)
        atexit.register(_leave_group)
    if accelerator.is_fsdp2 and config.model.compute is not None:
        import torch
        from torch.distributed.fsdp import MixedPrecisionPolicy

        # Accelerate's own would round the loss, and with it every gradient, to 16 bits, and add gradients up in them.
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32
        )
    return accelerator


def _leave_group() -> None:
    """What processes talk over has threads of its own: left to the interpreter's end, they may abort a finished run."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def gather(accelerator: Accelerator, model: torch.nn.Module) -> dict[str, Any]:
    """Whole tensors of a sharded model on the CPU of the first process; every process takes part.

    Of a peft model only those that are trained: gathering a model whose weights stay fixed would be for nothing.
    """
    if not (accelerator.is_fsdp2 and is_adapted(model)):
        return accelerator.get_state_dict(model)
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    return get_model_state_dict(model, options=options)


def make_lean_and_fast(model: PreTrainedModel, config: TrainConfig, device: torch.device) -> None:
    """Have `model` compute its layers as `batch.gradient_checkpointing` and `model.compile` say, in place.

    Raises ConfigError for a model that cannot recompute its layers, and where nothing can be compiled on this machine.
    """
    if config.batch.gradient_checkpointing:
        try:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        except ValueError as error:
            raise ConfigError(
                f"`batch.gradient_checkpointing` is true: {first_line(error)} Set it to false, and lower `batch.micro` "
                "or `batch.pack` for memory"
            ) from error
        model.disable_input_require_grads()  # for the reentrant kind only; probes need no gradient of embeddings
    if config.model.compile:
        _try_compiler(device)
        for layer in repeated_layers(model):
            layer.compile(dynamic=True)  # in place: names, hooks of FSDP and the layer itself stay what they are


def repeated_layers(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The layers of the largest blocks that a model repeats, as its decoder layers."""
    import torch

    for child in model.children():
        if isinstance(child, torch.nn.ModuleList) and len({type(layer) for layer in child}) == 1:
            yield from child
        else:
            yield from repeated_layers(child)


def _try_compiler(device: torch.device) -> None:
    """Compile something small: a machine without a compiler is told before the run begins, not at its first step."""
    import torch

    def small(x: torch.Tensor) -> torch.Tensor:
        return (x * 2 + 1).relu()

    try:
        torch.compile(small)(torch.ones(8, device=device))
    except Exception as error:  # whatever a compiler, its cache or its absence raises
        raise ConfigError(
            f"`model.compile` is true and nothing can be compiled on {device.type}: {first_line(error)}. Install a C++ "
            "compiler (g++) and Python's headers, or set it to false"
        ) from error
