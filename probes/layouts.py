"""How tools lay a checkpoint out: the folder its weights lie in, and what has to be merged first.

Everything here looks at names alone, so that a folder and the list of a repository's files are read by one rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path

from ..dynamics.weights import ADAPTER_CONFIG

CONFIG = "config.json"
SHARD = re.compile(r"model_world_size_(\d+)_rank_(\d+)\.pt")  # verl's, a file for each process that trained
_VOCABULARY = re.compile(r"tokenizer\.json|tekken\.json|vocab\..*|.*\.model|.*\.tiktoken")
# Where a step's folder may hold a model or an adapter: itself, or as verl writes it, with and without an actor
_WHOLE = ("", "huggingface", "actor/huggingface", "lora_adapter", "actor/lora_adapter")
_SHARDED = ("", "actor")
INSIDE = ("actor", "huggingface", "lora_adapter")  # folders of a step, and no names of their own
_SMALL = (".json", ".jinja", ".txt", ".model", ".tiktoken")  # of configs and tokenizers


def weights_within(names_in: Callable[[str], Collection[str]]) -> str | None:
    """Where inside a checkpoint its weights lie, as a relative path ("" for itself): whole before shards.

    `names_in` gives the names of the files in a folder inside. A config without weights counts last: a model that is
    not whole is told when it is read. None where nothing looks like a checkpoint.
    """
    for inside in _WHOLE:
        names = names_in(inside)
        if {CONFIG, ADAPTER_CONFIG}.intersection(names) and any(n.endswith(".safetensors") for n in names):
            return inside
    for inside in _SHARDED:
        if any(SHARD.fullmatch(n) for n in names_in(inside)):
            return inside
    return "" if {CONFIG, ADAPTER_CONFIG}.intersection(names_in("")) else None


def weights_folder(checkpoint: Path) -> Path | None:
    """The folder in (or below) a checkpoint's that holds its weights; None where nothing there looks like one's."""
    inside = weights_within(lambda part: _names(checkpoint / part))
    return None if inside is None else checkpoint / inside


def config_folder(folder: Path) -> Path:
    """Where config and tokenizer of a folder of weights lie: for shards in `huggingface/`, in older ones beside them."""
    beside = folder / "huggingface"
    return beside if is_sharded(folder) and (beside / CONFIG).is_file() else folder


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a vocabulary; a `tokenizer_config.json` alone is none."""
    return any(_VOCABULARY.fullmatch(n) for n in _names(folder))


def is_sharded(folder: Path) -> bool:
    """Whether a folder holds a model in one file for each process that trained it, and not whole."""
    names = _names(folder)
    return any(SHARD.fullmatch(n) for n in names) and not any(n.endswith(".safetensors") for n in names)


def needed_files(names: Collection[str], folder: str) -> list[str]:
    """Those of a repository's files that a checkpoint in `folder` of it is read from: weights, config and tokenizer."""
    start = f"{folder}/" if folder else ""
    inside = {n.removeprefix(start): n for n in names if n.startswith(start)}
    direct = {n for n in inside if "/" not in n}
    shards = {n for n in direct if SHARD.fullmatch(n)}
    whole = {n for n in direct if n.endswith(".safetensors")}
    small = {n for n in direct if n.endswith(_SMALL)}
    if shards and not whole:
        small |= {n for n in inside if n.rpartition("/")[0] == "huggingface" and n.endswith(_SMALL)}
    return sorted(inside[n] for n in (whole or shards) | small)


def weight_files(names: Collection[str]) -> list[str]:
    """Those of a checkpoint's files that hold its weights."""
    return [n for n in names if n.endswith(".safetensors") or SHARD.fullmatch(n.rpartition("/")[2])]


def how_to_merge(folder: Path) -> str | None:
    """What a checkpoint without weights in a form that can be read holds instead, and the command that makes a model of
    it; None where it holds nothing known."""
    target = f"{folder.parent / 'merged'}/{folder.name}"
    and_then = f"copy config.json and the tokenizer's files to {target}"
    if (folder / "actor/dist_ckpt").is_dir() or (folder / "dist_ckpt").is_dir():
        local = folder / "actor" if (folder / "actor").is_dir() else folder
        command = f"python -m verl.model_merger merge --backend megatron --local_dir {local} --target_dir {target}"
        return f"holds Megatron's shards, merged by `{command}`"
    for shards in sorted(folder.glob("pytorch_model_fsdp_*")):
        return f"holds FSDP's shards, merged by `accelerate merge-weights {shards} {target}`; then {and_then}"
    if (folder / "zero_to_fp32.py").is_file():
        command = f"cd {folder} && python zero_to_fp32.py . {target} --safe_serialization"
        return f"holds DeepSpeed's shards, merged by `{command}`; then {and_then}"
    if any(folder.glob("pytorch_model*.bin")):
        return (
            "holds weights as pickled files: load it by `AutoModelForCausalLM.from_pretrained`, `save_pretrained` it to "
            f"{target}, and {and_then.replace('config.json and ', '')}"
        )
    return None


def _names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} if folder.is_dir() else set()
