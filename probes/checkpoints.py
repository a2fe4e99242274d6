"""One checkpoint: known by its weights' hash, loaded whole or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dynamics.canary import Forward, record_canary, verify_canary
from ..dynamics.errors import CheckpointError, first_line
from ..dynamics.weights import adapter_base, check_folder, folder_weights_hash, is_adapter, read_manifest
from .adapters import merge_adapter
from .hub import Remote
from .layouts import INSIDE, config_folder, has_tokenizer, how_to_merge, is_sharded
from .shards import check_shards, merge_shards, shards_hash

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Checkpoint:
    step: int
    path: Path  # a folder in Hugging Face layout, an adapter's, or one of shards
    tokenizer: Path | None = None  # the folder of its tokenizer, where that is not with the weights
    remote: Remote | None = None  # where its files are fetched from, when they are first read

    @cached_property
    def weights(self) -> str:
        """Hash of the weights: what results are keyed by. Raises CheckpointError where shards are missing."""
        if self.remote is not None:
            return self.remote.weights
        return shards_hash(self.path) if is_sharded(self.path) else folder_weights_hash(self.path)

    @property
    def name(self) -> str:
        """A short name: of its folder (not the one for weights inside a step's), or of its repository and the folder there."""
        if self.remote is not None:
            return f"{self.remote.repo}:{self.remote.folder}".rstrip(":")
        return next(p for p in reversed(self.path.resolve().parts) if p not in INSIDE)


def check_checkpoint(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError when a checkpoint is missing, incomplete, damaged, or in a form that has to be merged first."""
    folder = checkpoint.path if checkpoint.remote is None else checkpoint.remote.fetch()
    if is_sharded(folder):
        check_shards(folder)
        return
    if not any(folder.glob("*.safetensors")) and (other := how_to_merge(folder)):
        raise CheckpointError(f"{folder} {other}")
    check_folder(folder)


def load_model(checkpoint: Checkpoint) -> PreTrainedModel:
    """The model in eval mode, float32 on a CPU and as stored on a GPU; shards put together, an adapter merged into its base.

    Raises CheckpointError for a damaged folder, for shards that cannot be put together, and where an adapter's base or
    peft is missing.
    """
    import torch

    check_checkpoint(checkpoint)
    adapter = is_adapter(checkpoint.path)
    if is_sharded(checkpoint.path):
        model: Any = _read_shards(checkpoint.path)
    else:
        model = _read(adapter_base(checkpoint.path) if adapter else checkpoint.path)
    if adapter:
        model = merge_adapter(model, checkpoint.path)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    verify_model(model, checkpoint.path)
    return model


def filed_weights(folder: Path, names: Collection[str]) -> dict[str, Callable[[], torch.Tensor]]:
    """How to read each of these weights off a folder's files, without the model; empty where they do not hold all of them.

    So it is of adapters, of shards, and of files with names that transformers changes on loading.
    """
    from safetensors import safe_open

    if is_adapter(folder) or is_sharded(folder):
        return {}
    found: dict[str, Callable[[], torch.Tensor]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        opened = safe_open(file, framework="pt")
        found |= {name: partial(opened.get_tensor, name) for name in opened.keys() if name in names}  # noqa: SIM118
    return found if len(found) == len(names) else {}


def _read(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **_how())
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{folder} does not load: {first_line(error)}") from error
    return _complete(loaded, folder)


def _read_shards(folder: Path) -> Any:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, GenerationConfig

    state = merge_shards(folder)
    beside = config_folder(folder)
    try:
        config = AutoConfig.from_pretrained(beside, local_files_only=True)
        kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        loaded: Any = kind.from_pretrained(None, config=config, state_dict=state, **_how())
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"the shards in {folder} make no model of their config: {first_line(error)}") from error
    model = _complete(loaded, folder)
    if (beside / GENERATION).is_file():
        model.generation_config = GenerationConfig.from_pretrained(beside, local_files_only=True)
    return model


def _how() -> dict[str, Any]:
    import torch

    return {"dtype": "auto" if torch.cuda.is_available() else torch.float32, "output_loading_info": True}


def _complete(loaded: tuple[Any, Any], folder: Path) -> Any:
    model, report = loaded
    if report["missing_keys"] or report["mismatched_keys"]:
        bad = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))[:3]
        raise CheckpointError(f"{folder} lacks weights of its own architecture ({', '.join(bad)} …): it is damaged")
    return model


def verify_model(model: PreTrainedModel, folder: Path) -> bool:
    """Prove by the canary in the folder's manifest that a model holds that checkpoint's weights: one short forward pass.

    For whoever loads or swaps weights. False where the folder has no canary; raises CheckpointError where they differ.
    """
    return verify_canary(read_manifest(folder), _forward(model), _dtype(model), str(folder))


def canary_of(model: PreTrainedModel) -> dict[str, Any]:
    """What a manifest would hold of a model: for checkpoints that came without."""
    embeddings: Any = model.get_input_embeddings()
    return {"canary": record_canary(_forward(model), int(embeddings.weight.shape[0]), _dtype(model))}


def _forward(model: PreTrainedModel) -> Forward:
    import torch

    @torch.no_grad()
    def forward(ids_PT: np.ndarray, n: int) -> np.ndarray:
        ids = torch.from_numpy(ids_PT).to(model.device)
        logits_PTV = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        return logits_PTV[:, -n:].float().cpu().numpy()

    return forward


def _dtype(model: PreTrainedModel) -> str:
    return str(model.dtype).removeprefix("torch.")


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """The tokenizer that was given for the checkpoint, or saved with its weights, or with an adapter's base where it has none.

    Raises CheckpointError where there is none, or none with a chat template and an end token.
    """
    from transformers import AutoTokenizer

    folder = checkpoint.tokenizer
    if folder is None:
        folder = config_folder(checkpoint.path if checkpoint.remote is None else checkpoint.remote.fetch())
        if is_adapter(folder) and not has_tokenizer(folder):
            folder = adapter_base(folder)
    above = folder.parent if has_tokenizer(folder.parent) else "FOLDER"
    if not has_tokenizer(folder):  # transformers would make an empty one of the model's type
        raise CheckpointError(f"no tokenizer in {folder}: give the one it was trained with, `--tokenizer {above}`")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the tokenizer in {folder} does not load ({first_line(error)}): give another, `--tokenizer {above}`"
        ) from error
    if tokenizer.chat_template is None:
        raise CheckpointError(
            f"the tokenizer in {folder} has no chat template, and prompts could not be rendered: give the one that the "
            "fine-tuning used, `--tokenizer FOLDER`"
        )
    if tokenizer.eos_token_id is None:
        raise CheckpointError(f"the tokenizer in {folder} has no end token: responses would never finish")
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


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a response: the tokenizer's, and those of the generation config (without one, of config.json)."""
    return _ends(model.generation_config, tokenizer)


def stored_end_ids(checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """`end_ids` of the model that a checkpoint holds, without loading it. Raises CheckpointError where it says nothing."""
    from transformers import GenerationConfig

    folder = _configured_in(checkpoint)
    if (folder / GENERATION).is_file():
        return _ends(GenerationConfig.from_pretrained(folder, local_files_only=True), tokenizer)
    return _ends(GenerationConfig.from_model_config(stored_config(checkpoint)), tokenizer)


def stored_config(checkpoint: Checkpoint) -> Any:
    """The config of the model that a checkpoint holds, an adapter's base's. Raises CheckpointError where there is none."""
    from transformers import AutoConfig

    folder = _configured_in(checkpoint)
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} has no config that can be read: {first_line(error)}") from error


def _configured_in(checkpoint: Checkpoint) -> Path:
    if checkpoint.remote is not None:
        checkpoint.remote.fetch()
    return adapter_base(checkpoint.path) if is_adapter(checkpoint.path) else config_folder(checkpoint.path)


def _ends(config: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    configured = getattr(config, "eos_token_id", None)
    several: list[int] = configured if isinstance(configured, list) else [] if configured is None else [configured]
    return sorted({tokenizer.eos_token_id, *several})


def note_on_ends(checkpoints: Sequence[Checkpoint]) -> str:
    """A sentence about checkpoints that do not say where their responses end, and one about turns that close with what ends
    no response; "" where there is nothing to say."""
    return "; ".join(filter(None, [_note_on_configs(checkpoints), _note_on_template(checkpoints[0])]))


def _note_on_template(checkpoint: Checkpoint) -> str:
    from .rendering import Renderer

    try:
        tokenizer = load_tokenizer(checkpoint)
        ends = stored_end_ids(checkpoint, tokenizer)
    except (CheckpointError, OSError):
        return ""  # told when it is read
    closing, name = Renderer(tokenizer).closing_id, tokenizer.convert_ids_to_tokens
    if closing is None or closing in ends:
        return ""
    return (
        f"the chat template closes turns with {name(closing)!r}, which ends no response here ({', '.join(map(repr, name(ends)))} "
        f"does): a model that learned to close them so runs on to its limit; add {closing} to `eos_token_id` in the "
        f"checkpoints' {GENERATION}"
    )


def _note_on_configs(checkpoints: Sequence[Checkpoint]) -> str:
    without = [c for c in checkpoints if not _says_its_end(c)]
    if not without:
        return ""
    those = (
        f"{len(without)} of {len(checkpoints)} checkpoints have" if len(checkpoints) > 1 else f"{without[0].path} has"
    )
    return (
        f"{those} no {GENERATION}: their responses end with the tokenizer's end token, and with what config.json names "
        "beside it"
    )


def _says_its_end(checkpoint: Checkpoint) -> bool:
    if checkpoint.remote is not None:
        return any(f.endswith(GENERATION) for f in checkpoint.remote.files)
    folder = checkpoint.path
    if is_adapter(folder):
        try:
            folder = adapter_base(folder)
        except CheckpointError:
            return True  # told when it is read
    return (config_folder(folder) / GENERATION).is_file()
