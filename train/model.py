"""The model and tokenizer to train: read from a folder or the hub, or initialised from a configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..dynamics import weights
from ..dynamics.errors import CheckpointError, ConfigError, first_line, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ModelConfig:
    """Where the weights come from: exactly one of `path` and `init`."""

    path: str | None = None  # a folder in Hugging Face layout, or a hub id
    init: dict[str, Any] | None = None  # fields of a Hugging Face config with `model_type`; random weights
    tokenizer: str | None = None  # folder or hub id; null: the model's own
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # of weights, gradients and optimiser state
    compute: Literal["bfloat16"] | None = None  # what layers compute in, over weights in float32; null: `dtype`
    compile: bool = False  # layers by torch.compile: faster after minutes, equal up to rounding
    architecture: dict[str, Any] | None = None  # fields of its config.json, for `doctor` where the model is not at hand

    def __post_init__(self) -> None:
        if (self.path is None) == (self.init is None):
            given = f"`model.path` is {self.path!r} and `model.init` is {self.init!r}"
            raise ConfigError(f"{given}: give exactly one, a model to start from or the fields of a new one")
        if self.compute is not None and self.dtype != "float32":
            raise ConfigError(
                f"`model.compute` is {self.compute} over weights in {self.dtype}, whose updates would be rounded away: "
                "set `model.dtype: float32`, or leave `compute` out to compute in what the weights are"
            )
        if self.init is not None:
            if "model_type" not in self.init:
                raise ConfigError(
                    f"`model.init` has no `model_type` (it has {', '.join(self.init)}): add qwen3, llama …"
                )
            if self.tokenizer is None:
                raise ConfigError("`model.init` is given without `model.tokenizer`: give the tokenizer's folder")


def load(config: ModelConfig, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in `config.dtype` on the CPU, and its tokenizer. `seed` draws the weights of a new model.

    Raises CheckpointError for a folder that is missing or damaged and for a tokenizer that does not fit the model.
    """
    if config.path is not None:
        check_folder(config.path)
    tokenizer = _load_tokenizer(config.tokenizer or config.path or "")
    check_tokenizer(tokenizer, config.tokenizer or config.path or "")
    model = _initialised(config, tokenizer, seed) if config.path is None else _pretrained(config.path, config.dtype)
    _check_fit(model, tokenizer, config)
    return model, tokenizer


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer alone. Raises CheckpointError where there is none, or none to render prompts with."""
    path = config.tokenizer or config.path or ""
    tokenizer = _load_tokenizer(path)
    check_tokenizer(tokenizer, path)
    return tokenizer


def known_architecture(config: ModelConfig) -> tuple[dict[str, Any] | None, Path | None]:
    """The fields of the model's config and the folder it lies in, without asking the hub.

    Of a model that is not on this machine: what the recipe says (`architecture`), and no folder. Raises CheckpointError
    for a folder that is missing or damaged, and ConfigError where the recipe says otherwise than the model's own config.
    """
    if config.path is None:
        return dict(config.init or {}), None
    folder = Path(config.path).expanduser()
    if not folder.is_dir() and not _looks_like_hub(config.path):
        _check_model(folder)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(config.path, "config.json")
        if not isinstance(cached, str):
            return config.architecture, None
        folder = Path(cached).parent
    elsewhere = not Path(config.path).expanduser().is_dir()
    if not elsewhere:
        _check_model(folder)
    fields = json.loads((folder / "config.json").read_text())
    for name, stated in (config.architecture or {}).items():
        if fields.get(name, stated) != stated:
            raise ConfigError(
                f"`model.architecture.{name}` is {stated!r} and the config.json of {config.path} says {fields[name]!r}: "
                "correct the recipe, or leave `architecture` out"
            )
    # Of a model of the hub the cache may hold no more than its config: training would fetch the rest.
    return fields, None if elsewhere and not any(folder.glob("*.safetensors")) else folder


def base_identity(config: ModelConfig) -> dict[str, Any]:
    """What a run started from: `{"path", "weights"}` of a model (its name and the hash of its files), or `{"init"}`."""
    if config.path is None:
        return {"init": config.init}
    folder = Path(config.path)
    if folder.is_dir():
        name = folder.resolve().name
    else:
        from huggingface_hub import snapshot_download

        name = config.path
        folder = Path(snapshot_download(config.path, allow_patterns=["*.safetensors"], local_files_only=True))
    return {"path": name, "weights": weights.folder_weights_hash(folder)}


def check_folder(path: str) -> None:
    """CheckpointError when a model folder is missing, incomplete or damaged, or a hub id is not to be had."""
    folder = Path(path).expanduser()
    if folder.exists() or not _looks_like_hub(path):
        _check_model(folder)
    else:
        _check_hub(path)


def _check_model(folder: Path) -> None:
    if weights.is_adapter(folder):  # transformers would load it over its base, and train something that is neither
        raise CheckpointError(f"{folder} is an adapter, and training begins from a model: {weights.MERGE}")
    weights.check_folder(folder)


def _looks_like_hub(path: str) -> bool:
    return not (Path(path).is_absolute() or path.startswith((".", "~")) or path.count("/") > 1)


def _check_hub(name: str) -> None:
    """One quick question, where loading would try for a minute to reach a hub that is not there."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return
        HfApi().model_info(name, timeout=15)
    except Exception as error:  # the hub client passes on the errors of whatever HTTP library it uses
        raise CheckpointError(
            f"no model folder at {name!r}, and the hub does not give it ({first_line(error)}): "
            "give a folder in Hugging Face layout, or the id of a model you can reach"
        ) from error


def _load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"no tokenizer at {path!r} ({first_line(error)}): give `model.tokenizer`") from error


def _pretrained(path: str, dtype: str) -> PreTrainedModel:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype), output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{path!r} cannot be loaded as a causal language model: {first_line(error)}. "
            "Give a folder in Hugging Face layout, or a hub id that this machine can reach"
        ) from error
    model, report = loaded
    gone = sorted(report["missing_keys"]) + sorted(str(k) for k in report.get("mismatched_keys") or ())
    if gone:  # transformers would train on, with random numbers in their place
        raise CheckpointError(
            f"{path!r} lacks {len(gone)} of its model's tensors, {gone[0]} first: "
            "its config and weights do not belong together"
        )
    return model


def _initialised(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    import torch
    from accelerate.utils import set_seed
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = dict(config.init or {})
    kind = fields.pop("model_type")
    try:
        known = AutoConfig.for_model(kind).to_dict()
    except ValueError as error:
        raise ConfigError(
            f"`model.init.model_type` is {kind!r}, which transformers does not know: use qwen3, llama …"
        ) from error
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise ConfigError(f"unknown key `model.init.{unknown[0]}` for {kind}: {nearest(unknown[0], known)}")
    defaults = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    try:
        full = AutoConfig.for_model(kind, **(defaults | fields))
        set_seed(seed)
        return AutoModelForCausalLM.from_config(full, dtype=getattr(torch, config.dtype))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"`model.init` makes no {kind} model: {first_line(error)}") from error


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, path: str) -> None:
    """Raise CheckpointError for a tokenizer without an end token or a chat template."""
    if tokenizer.eos_token_id is None:
        raise CheckpointError(
            f"the tokenizer at {path!r} has no end-of-sequence token: responses could not end; set its `eos_token`"
        )
    if not tokenizer.chat_template:
        raise CheckpointError(
            f"the tokenizer at {path!r} has no chat template, by which prompts are rendered: "
            "take the instruct model's tokenizer through `model.tokenizer`, or save one with `chat_template` set"
        )


def _check_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> None:
    embedding: Any = model.get_input_embeddings()
    rows = embedding.weight.shape[0]
    way_out = "give the tokenizer the model was trained with, in `model.tokenizer`"
    top = max(tokenizer.get_vocab().values(), default=-1)
    if top >= rows:
        raise CheckpointError(f"the tokenizer has ids up to {top} and the model {rows} embedding rows: {way_out}")
    if config.path is None or config.tokenizer is None or not (Path(config.path) / "tokenizer.json").is_file():
        return
    own = _load_tokenizer(config.path).get_vocab()
    moved = [token for token, i in tokenizer.get_vocab().items() if own.get(token, i) != i]
    if moved:
        raise CheckpointError(
            f"the tokenizer at {config.tokenizer!r} numbers {len(moved)} tokens otherwise than the model's own "
            f"({moved[0]!r} is {tokenizer.convert_tokens_to_ids(moved[0])}, not {own[moved[0]]}): {way_out}"
        )
