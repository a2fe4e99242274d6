"""Checkpoints, measurements and reports as W&B artifacts: references to where the files lie, and what each came from.

Weights are neither copied nor read. W&B knows a reference that it did not read by its address alone, so the checkpoint's
manifest goes with it as a file: it holds the sha256 of every other one, and makes other weights another version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..record import Run, step_name
from ..storage import MANIFEST, sha256_file
from ..weights import read_manifest
from .opening import artifact_name

if TYPE_CHECKING:
    import wandb

MEASURED = ("measurements", "items", "samples", "probes")  # folders of what was measured of a checkpoint


def checkpoint_facts(step: int, folder: Path) -> dict[str, Any]:
    """What tells a checkpoint from every other: its step and the hashes of its manifest."""
    manifest = read_manifest(folder)
    sha256 = {name: file["sha256"] for name, file in manifest["files"].items()}
    return {"step": step, "weights": manifest.get("weights"), "sha256": sha256}


def checkpoint_artifact(run: Run, step: int, folder: Path) -> wandb.Artifact:
    """A checkpoint of the run folder, by reference."""
    import wandb

    folder = folder.resolve()  # `wandb sync` may run from anywhere
    facts = checkpoint_facts(step, folder)
    artifact = wandb.Artifact(artifact_name(run, "checkpoint"), "checkpoint", metadata=facts)
    artifact.add_file(str(folder / MANIFEST), policy="immutable", skip_cache=True)
    for name in facts["sha256"]:
        artifact.add_reference((folder / name).resolve().as_uri(), name=name, checksum=False)
    return artifact


def probe_artifact(run: Run, step: int, inputs: Sequence[dict[str, Any]]) -> wandb.Artifact:
    """What was measured of a checkpoint, by reference: files are named by content, so an address is one content."""
    import wandb

    artifact = wandb.Artifact(artifact_name(run, "probe"), "probe", metadata={"step": step, "inputs": list(inputs)})
    for kind in MEASURED:
        for file in sorted((run.path / kind / step_name(step)).glob("*")):
            if file.is_file() and not file.name.startswith("."):
                artifact.add_reference(file.resolve().as_uri(), name=f"{kind}/{file.name}", checksum=False)
    return artifact


def report_artifact(run: Run, files: Sequence[Path], inputs: Sequence[dict[str, Any]]) -> wandb.Artifact:
    """A page and its findings, copied: they are written anew by every analysis."""
    import wandb

    metadata = {"inputs": list(inputs), "sha256": {file.name: sha256_file(file) for file in files}}
    artifact = wandb.Artifact(artifact_name(run, "report"), "report", metadata=metadata)
    for file in files:
        artifact.add_file(str(file.resolve()), policy="mutable", skip_cache=True)
    return artifact


def declare_input(tracked: wandb.Run, artifact: wandb.Artifact, step: int) -> dict[str, Any]:
    """Say that a W&B run used an artifact; gives the name by which what comes of it can tell its origin.

    W&B takes this online only (offline, `use_artifact` raises). What is logged offline has its origin in its metadata,
    and gets it in the graph when it is pushed online.
    """
    origin = named(artifact, step)  # before: W&B renames what it has taken
    if not tracked.offline:
        tracked.use_artifact(artifact, aliases=[step_name(step)])
    return origin


def named(artifact: wandb.Artifact, step: int) -> dict[str, Any]:
    """An artifact as the metadata of another names it: name, alias, type, and W&B's digest of its content."""
    return {"artifact": f"{artifact.name}:{step_name(step)}", "type": artifact.type, "digest": artifact.digest}
