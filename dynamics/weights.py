"""Folders of weights in Hugging Face layout: whether they are whole, and the hash by which results know them. No torch.

A folder holds a model, or (with `adapter_config.json`) an adapter of one, in peft's layout: its base lies elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .storage import MANIFEST, sha256_file

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MERGE = "merge that one into its base (peft's `merge_and_unload`), save the model, and give its folder"


def weights_hash(hashes: dict[str, str]) -> str:
    """One sha256 for a set of weight files (name -> sha256), in the order of their names."""
    return hashlib.sha256("".join(hashes[name] for name in sorted(hashes)).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest; empty where it has none. Raises CheckpointError where it cannot be read."""
    file = Path(folder) / MANIFEST
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{file} is damaged ({error}): copy the checkpoint again") from error


def folder_weights_hash(folder: Path) -> str:
    """The hash of a checkpoint's weights, read off its manifest where it has one and computed where not."""
    known = read_manifest(folder).get("weights")
    hashes = {} if known else {f.name: sha256_file(f) for f in Path(folder).glob("*.safetensors")}
    return known or weights_hash(hashes | base_hash(folder))


def base_hash(folder: Path) -> dict[str, str]:
    """What an adapter's weights are hashed with beside its files: `{"base": …}`, as over another base it is another model.

    Empty for a model. Raises CheckpointError where the base is not on this machine.
    """
    return {"base": _hash_of_base(adapter_base(folder))} if is_adapter(folder) else {}


@cache
def _hash_of_base(base: Path) -> str:
    return folder_weights_hash(base)  # gigabytes, the same for every checkpoint of a run


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter in peft's layout."""
    return (Path(folder) / ADAPTER_CONFIG).is_file()


def adapter_base(folder: Path) -> Path:
    """The folder of the model that an adapter goes over: a path, or a hub id whose files are on this machine.

    Raises CheckpointError where it is not to be had, with the way out.
    """
    file = Path(folder) / ADAPTER_CONFIG
    try:
        fields = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{file} is damaged ({error}): copy the checkpoint again") from error
    name, revision = fields.get("base_model_name_or_path"), fields.get("revision")
    if not name:
        raise CheckpointError(
            f"{file} names no base: write the model that the adapter was trained on into `base_model_name_or_path`"
        )
    if is_adapter(Path(name)):
        raise CheckpointError(f"{folder} is an adapter of {name!r}, which is an adapter itself: {MERGE}")
    if Path(name).is_dir():
        return Path(name).resolve()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} is an adapter of {name!r}, which is not on this machine: copy it to that place (from the hub: "
            f"`hf download {name}`), or merge the adapter into its base elsewhere and give the merged model"
        ) from error


def check_folder(folder: Path) -> None:
    """Raise CheckpointError when a model folder is missing, incomplete, truncated, or not what its manifest says; of an
    adapter's, also when its base is."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"no model folder at {folder}: give a folder in Hugging Face layout")
    if is_adapter(folder):
        check_folder(adapter_base(folder))
    elif not (folder / "config.json").is_file():
        inside = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise CheckpointError(f"{folder} is no model folder: it has no config.json (it holds {inside})")
    files = {f.name for f in folder.glob("*.safetensors")}
    index = folder / "model.safetensors.index.json"
    wanted = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()
    if wanted - files:
        raise CheckpointError(
            f"{folder} lacks {', '.join(sorted(wanted - files)[:4])}, named in its index: copy it again"
        )
    if not files:
        raise CheckpointError(
            f"{folder} holds no *.safetensors: convert the weights with `save_pretrained` and try again"
        )
    for name in sorted(files):
        _check_file(folder / name)
    check_manifest(folder)


def _check_file(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as f:  # reads the header, and checks it against the file's size
            f.keys()
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} ({file.stat().st_size:,} bytes) is truncated or damaged ({error}): copy or download it again"
        ) from error


def check_manifest(folder: Path) -> None:
    """Raise CheckpointError when a file that the folder's manifest lists is missing or another; without one, pass."""
    for name, entry in read_manifest(folder).get("files", {}).items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}, which its {MANIFEST} lists: copy the checkpoint again")
        if sha256_file(folder / name) != entry["sha256"]:
            raise CheckpointError(f"{folder / name} is not the file its {MANIFEST} lists (sha256): copy it again")
