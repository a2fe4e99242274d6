"""The forward pass behind a checkpoint's canary (dynamics/canary.py says what it is)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.canary import Forward, record_canary, verify_canary
from ..dynamics.weights import adapter_base, is_adapter
from .hooks import undisturbed

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel


def take_canary(model: PreTrainedModel, dtype: str | None = None) -> dict[str, Any]:
    """The canary of the live model for its manifest. Training goes on as if it had not been taken.

    It is computed in the dtype of the weights, whatever training computes in; `dtype` is another one that the model cannot
    be kept from computing in. Of a model that is sharded the forward pass is a collective: every process calls this.
    """
    import torch

    dtype = dtype or str(model.dtype).removeprefix("torch.")
    if dtype == "float32" and model.device.type == "cuda" and torch.get_float32_matmul_precision() != "highest":
        dtype = "tfloat32"
    with undisturbed(model):
        return record_canary(_forward(model), _vocab_size(model), dtype)


def check_saved(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Load what was saved into a second model on the CPU, and compare it with the canary. Raises CheckpointError."""
    import torch
    from transformers import AutoModelForCausalLM

    adapter = is_adapter(folder)

    # Loading draws from the generator for weights that the file lacks, and a canary would tell; training must not notice.
    with torch.random.fork_rng(), torch.no_grad():
        stored = adapter_base(folder) if adapter else folder
        model = AutoModelForCausalLM.from_pretrained(stored, dtype="auto", local_files_only=True).eval()
        if adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, folder).get_base_model()
        verify_canary(manifest, _forward(model), str(model.dtype).removeprefix("torch."), str(folder))


def _forward(model: PreTrainedModel) -> Forward:
    import torch

    def forward(ids_PT: np.ndarray, n: int) -> np.ndarray:
        ids = torch.from_numpy(ids_PT).to(model.device)
        logits_PTV = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        return logits_PTV[:, -n:].float().cpu().numpy()

    return forward


def _vocab_size(model: PreTrainedModel) -> int:
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])
