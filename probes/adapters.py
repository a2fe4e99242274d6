"""Adapters (LoRA and what else peft can merge), put into the model that they were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.errors import CheckpointError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel


EMBEDDINGS = {"embed_tokens", "lm_head"}


def merge_adapter(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """`base` with the adapter in `folder` merged into its weights: a plain transformers model again.

    Raises CheckpointError where peft is not installed, and for an adapter that does not belong to the base, lacks
    tensors, or is of a kind that cannot be merged (prompts before the input).
    """
    try:
        import peft
        import torch
    except ImportError as error:
        raise CheckpointError(f"{folder} is an adapter, and reading one needs peft: pip install peft") from error
    try:
        config: Any = peft.PeftConfig.from_pretrained(str(folder))
        head: Any = base.get_output_embeddings()
        if base.config.tie_word_embeddings and EMBEDDINGS & {
            *_names(config.target_modules),
            *_names(config.modules_to_save),
        }:
            # Merged into a tensor that both share, an adapter of one would move the other.
            base.config.tie_word_embeddings = False
            head.weight = torch.nn.Parameter(head.weight.detach().clone())
        model: Any = peft.get_peft_model(base, config)
        weights = peft.load_peft_weights(str(folder), device="cpu")
        wanted = set(peft.get_peft_model_state_dict(model))  # by the names in the file
        report: Any = peft.set_peft_model_state_dict(model, weights)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{folder} cannot be put into its base: {first_line(error)}") from error
    wrong = sorted(wanted - set(weights)) or sorted(report.unexpected_keys)
    if wrong:
        raise CheckpointError(
            f"{folder} is not an adapter of its base: {len(wrong)} tensors have no counterpart, {wrong[0]} first; copy "
            "it again, or name the model that it was trained on in its adapter_config.json"
        )
    if not hasattr(model, "merge_and_unload"):
        raise CheckpointError(f"{folder} is an adapter of a kind that cannot be merged into weights, which probes need")
    return model.merge_and_unload()


def _names(modules: Any) -> list[str]:
    """The last parts of the names in a list of modules; a pattern names none."""
    return [] if modules is None or isinstance(modules, str) else [name.rpartition(".")[2] for name in modules]
