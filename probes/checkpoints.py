"""Checkpoints of any origin: found in a folder, ordered by step, loaded whole or refused with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.canary import verify_canary
from ..dynamics.errors import CheckpointError, first_line
from ..dynamics.record import RUN_FILE, Run
from ..dynamics.weights import adapter_base, check_folder, folder_weights_hash, is_adapter, read_manifest
from .adapters import merge_adapter

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_STEP = re.compile(r"^(?:step-|checkpoint-|global_step_?)(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    step: int
    path: Path

    @cached_property
    def weights(self) -> str:
        """Hash of the weights: what results are keyed by."""
        return folder_weights_hash(self.path)


def find_checkpoints(paths: list[Path]) -> list[Checkpoint]:
    """Checkpoints under the given paths, by step: a run folder, a folder of `step-*`, `checkpoint-*`, `global_step_*`, or models.

    Single model folders without a step in their name are numbered in the order given, from 0. Raises CheckpointError.
    """
    found: list[Checkpoint] = []
    for path in map(Path, paths):
        if not path.exists():
            raise CheckpointError(
                f"no checkpoint at {path}: give a run folder, a folder of checkpoints, or a model folder"
            )
        if (path / RUN_FILE).is_file():
            found += [Checkpoint(step, folder) for step, folder in Run(path).checkpoints().items()]
            continue
        if not path.is_dir():
            raise CheckpointError(f"{path} is a file: give a run folder, a folder of checkpoints, or a model folder")
        # Before the model beside them: a Trainer's output folder ends with one, of the last step or the best.
        inside = [(int(m[1]), p) for p in sorted(path.iterdir()) if p.is_dir() and (m := _STEP.match(p.name))]
        if inside:
            found += [Checkpoint(step, folder) for step, folder in inside]
        elif (path / "config.json").is_file() or is_adapter(path):
            match = _STEP.match(path.name)
            found.append(Checkpoint(int(match[1]) if match else len(found), path))
        else:
            names = ", ".join(sorted(p.name for p in path.iterdir())[:6]) or "nothing"
            raise CheckpointError(f"{path} holds no checkpoints (step-N, checkpoint-N, global_step_N), but: {names}")
    steps = [c.step for c in found]
    if len(set(steps)) < len(steps):
        twice = next(s for s in steps if steps.count(s) > 1)
        raise CheckpointError(
            f"step {twice} was found twice: {', '.join(str(c.path) for c in found if c.step == twice)}"
        )
    return sorted(found, key=lambda c: c.step)


def load_model(checkpoint: Checkpoint) -> PreTrainedModel:
    """The model in eval mode, float32 on a CPU and as stored on a GPU; an adapter merged into its base.

    Raises CheckpointError for a damaged folder, and where an adapter's base or peft is missing.
    """
    import torch

    check_folder(checkpoint.path)
    adapter = is_adapter(checkpoint.path)
    model: Any = _read(adapter_base(checkpoint.path) if adapter else checkpoint.path)
    if adapter:
        model = merge_adapter(model, checkpoint.path)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    verify_model(model, checkpoint.path)
    return model


def _read(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    dtype = "auto" if torch.cuda.is_available() else torch.float32
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{folder} does not load: {first_line(error)}") from error
    model, report = loaded
    if report["missing_keys"] or report["mismatched_keys"]:
        bad = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))[:3]
        raise CheckpointError(f"{folder} lacks weights of its own architecture ({', '.join(bad)} …): it is damaged")
    return model


def verify_model(model: PreTrainedModel, folder: Path) -> bool:
    """Prove by the canary in the folder's manifest that a model holds that checkpoint's weights: one short forward pass.

    For whoever loads or swaps weights. False where the folder has no canary; raises CheckpointError where they differ.
    """
    import torch

    @torch.no_grad()
    def forward(ids_PT: np.ndarray, n: int) -> np.ndarray:
        ids = torch.from_numpy(ids_PT).to(model.device)
        logits_PTV = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        return logits_PTV[:, -n:].float().cpu().numpy()

    return verify_canary(read_manifest(folder), forward, str(model.dtype).removeprefix("torch."), str(folder))


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """The tokenizer saved with the weights, or with an adapter's base where the adapter has none.

    Raises CheckpointError where there is none, or none with a chat template.
    """
    from transformers import AutoTokenizer

    folder = checkpoint.path
    if is_adapter(folder) and not (folder / "tokenizer_config.json").is_file():
        folder = adapter_base(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"no tokenizer in {checkpoint.path} ({first_line(error)}): copy it there") from error
    if tokenizer.chat_template is None:
        raise CheckpointError(f"the tokenizer in {checkpoint.path} has no chat template: prompts could not be rendered")
    if tokenizer.eos_token_id is None:
        raise CheckpointError(f"the tokenizer in {checkpoint.path} has no end token: responses would never finish")
    return tokenizer


def check_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Raise CheckpointError where the tokenizer has ids for which the model has no embedding. (More rows than ids is common.)"""
    embeddings: Any = model.get_input_embeddings()
    rows = int(embeddings.weight.shape[0])
    if len(tokenizer) > rows:
        raise CheckpointError(
            f"{path} has {rows:,} embeddings and its tokenizer {len(tokenizer):,} tokens: they do not belong together; "
            "give the tokenizer that the weights were trained with"
        )
