"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) through peft: what is trained, saved and shown to probes of one."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.errors import ConfigError, first_line
from ..dynamics.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class LoraConfig:
    """Train `alpha / rank · B A` beside each of the layers named, and leave the model itself as it is."""

    rank: int = 16
    alpha: int = 32  # the update is scaled by alpha / rank
    dropout: float = 0.0  # of the adapters' input
    target_modules: tuple[str, ...] | None = None  # ends of layers' names; null: all linear layers but the output's

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"`lora.rank` is {self.rank}: give 1 or more, such as 16")
        if self.alpha < 1:
            raise ConfigError(f"`lora.alpha` is {self.alpha}: give 1 or more, such as twice the rank")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"`lora.dropout` is {self.dropout}: give a share in [0, 1)")
        if self.target_modules is not None and not self.target_modules:
            raise ConfigError("`lora.target_modules` is empty: name layers, or leave it out for all linear ones")


def add_lora(model: PreTrainedModel, config: LoraConfig, seed: int) -> Any:
    """The model as a peft model whose adapters alone are trained, in float32; they begin as no change at all.

    `seed` draws them. Raises ConfigError where peft is not installed, and for layers that the model does not have.
    """
    from accelerate.utils import set_seed

    try:
        import peft
    except ImportError as error:
        raise ConfigError("`lora` needs peft: pip install peft, or leave `lora` out to train all weights") from error
    targets = "all-linear" if config.target_modules is None else list(config.target_modules)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    set_seed(seed)
    try:
        return peft.get_peft_model(model, settings)
    except ValueError as error:
        raise ConfigError(f"`lora.target_modules` is {targets}: {first_line(error)}") from error


def is_adapted(model: Any) -> bool:
    """Whether it is a peft model: a transformers model with adapters in it."""
    return "peft" in sys.modules and isinstance(model, sys.modules["peft"].PeftModel)


def plain(model: Any) -> PreTrainedModel:
    """The transformers model itself; of a peft model the one with the adapters in its layers."""
    return model.get_base_model() if is_adapted(model) else model


@contextmanager
def merged(model: Any) -> Iterator[PreTrainedModel]:
    """Within, a peft model as a plain transformers model: adapted layers are replaced by merged copies of them.

    Copies, as adding an adapter and taking it off again would leave rounding in the weights that are to stay fixed. Their
    memory is that of the adapted layers. A model without adapters is given as it is.
    """
    if not is_adapted(model):
        yield model
        return
    base = plain(model)
    replaced = []
    try:
        for name, layer in _adapted_layers(base):
            parent_name, _, own_name = name.rpartition(".")
            parent = base.get_submodule(parent_name)
            replaced.append((parent, own_name, layer))
            setattr(parent, own_name, _merged_copy(layer))
        yield base
    finally:
        for parent, own_name, layer in replaced:
            setattr(parent, own_name, layer)


def _adapted_layers(base: torch.nn.Module) -> list[tuple[str, Any]]:
    """What peft put in place of layers, outermost only."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    found: list[tuple[str, Any]] = []
    for name, module in base.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer, _ in found[-1:])
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)) and not inside:
            found.append((name, module))
    return found


def _merged_copy(layer: Any) -> torch.nn.Module:
    """As peft's `merge_and_unload` does it, on a copy."""
    layer = copy.deepcopy(layer)
    if hasattr(layer, "unload_and_optionally_merge_module"):
        return layer.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
    layer.merge()
    return layer.get_base_layer()


def saved_state(model: Any, full: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint: of a peft model its adapter's, of another all. `full` stands in for the model's own."""
    if not is_adapted(model):
        state = dict(model.state_dict() if full is None else full)
        # Gathering gives tied weights apart; by the tensor that they share, transformers knows to write them once.
        tied = model.all_tied_weights_keys if full is not None else {}
        return state | {name: state[source] for name, source in tied.items() if name in state}
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(
        model, state_dict=None if full is None else dict(full), adapter_name=model.active_adapter
    )


def save_adapter(model: Any, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write `state` as peft's `save_pretrained` would, and its configuration with where the base lies from anywhere."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}  # shared ones apart
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    fields = copy.copy(model.peft_config[model.active_adapter])
    fields.inference_mode = True
    base = Path(fields.base_model_name_or_path or "")
    if base.is_dir():
        fields.base_model_name_or_path = str(base.resolve())
    mapping = {k: sorted(v) if isinstance(v, set) else v for k, v in fields.to_dict().items()}  # sets have no order
    (folder / ADAPTER_CONFIG).write_text(json.dumps(mapping, indent=2, sort_keys=True) + "\n")


def keep_adapters_only(accelerator: Any, model: Any) -> None:
    """Leave the weights that stay fixed out of full states; those of sharded models, which Accelerate writes, hold all."""
    names = {name for name, parameter in accelerator.unwrap_model(model).named_parameters() if parameter.requires_grad}

    def trained(_models: list[Any], weights: list[dict[str, torch.Tensor]], _folder: str) -> None:
        for state in weights:
            for name in [n for n in state if n.removeprefix("module.") not in names]:
                del state[name]

    accelerator.register_save_state_pre_hook(trained)
