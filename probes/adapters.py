"""Adapters (LoRA and what else peft can merge), put into the model that they were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.errors import CheckpointError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def merge_adapter(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """`base` with the adapter in `folder` merged into its weights: a plain transformers model again.

    Raises CheckpointError where peft is not installed, and for an adapter that does not belong to the base, lacks
    tensors, or is of a kind that cannot be merged (prompts before the input).
    """
    try:
        import peft
    except ImportError as error:
        raise CheckpointError(f"{folder} is an adapter, and reading one needs peft: pip install peft") from error
    try:
        model: Any = peft.get_peft_model(base, peft.PeftConfig.from_pretrained(str(folder)))
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
