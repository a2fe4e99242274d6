"""Checkpoints of the Hugging Face hub, `name[@revision][:subfolder]`: listed at once, fetched one by one when they are read.

`list_repository` and `fetch_files` are the only functions that touch the hub. The list tells the hashes of large files, so
that work already done is skipped without a download. Where the hub cannot be asked, what its cache holds on this machine
is read as any other folder.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..dynamics.errors import CheckpointError, first_line
from ..dynamics.steps import step_of, step_of_revision
from ..dynamics.weights import ADAPTER_CONFIG, weights_hash
from .layouts import needed_files, weight_files, weights_within

TIMEOUT_S = 10.0
_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:@]+))?(?::(?P<folder>[^:]+))?")


@dataclass(frozen=True)
class HubName:
    """`name[@revision][:subfolder]`, taken apart."""

    repo: str
    revision: str | None = None
    folder: str = ""

    def __str__(self) -> str:
        return f"{self.repo}{f'@{self.revision}' if self.revision else ''}{f':{self.folder}' if self.folder else ''}"


@dataclass(frozen=True)
class Remote:
    """A checkpoint's files in a repository, at one commit."""

    repo: str
    commit: str
    folder: str  # within the repository; "" is its root
    files: tuple[str, ...]  # to be fetched, by their paths in the repository
    weights: str  # hash of the weights; "" where the hub does not tell

    @property
    def address(self) -> str:
        """Where it is, for good: the repository at its commit, and the folder."""
        return f"{self.repo}@{self.commit}{f':{self.folder}' if self.folder else ''}"

    @property
    def snapshot(self) -> Path:
        """The folder of the commit in the hub's cache."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        cache = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.repo, repo_type="model")
        return cache / "snapshots" / self.commit

    @property
    def path(self) -> Path:
        """The folder that `fetch` fills."""
        return self.snapshot / self.folder

    def fetch(self) -> Path:
        """The folder on this machine, its files fetched where they are not there yet. Raises CheckpointError."""
        if all((self.snapshot / f).is_file() for f in self.files):
            return self.path
        try:
            fetch_files(self.repo, self.commit, self.files)
        except Exception as error:  # the hub's client passes on the errors of whatever HTTP library it uses
            raise CheckpointError(
                f"{self.address} could not be fetched ({first_line(error)}): run the same command again to go on"
            ) from error
        return self.path


def hub_name(source: str) -> HubName | None:
    """The parts of what is written like a hub name; None for anything else."""
    match = _NAME.fullmatch(source)
    if match is None or source.startswith(("./", "../", "~/")):
        return None
    return HubName(match["repo"], match["revision"], (match["folder"] or "").strip("/"))


def find_remote(name: HubName) -> list[tuple[int | None, Remote]] | Path:
    """The checkpoints under a hub name with the steps that they are named after: of step folders each, else the one model.

    Where the hub cannot be asked: the folder in its cache on this machine. Raises CheckpointError with the way out.
    """
    listed = _listed(name)
    if isinstance(listed, Path):
        return listed
    commit, files = listed
    found = _step_folders(files, name.folder)
    if not found:
        inside = weights_within(lambda part: _names_in(files, _join(name.folder, part)))
        if inside is None:
            there = ", ".join(sorted({f.split("/")[0] for f in files})[:8]) or "nothing"
            raise CheckpointError(f"{name} holds no model and no folders of steps; the repository has: {there}")
        step = step_of(name.folder.rpartition("/")[2]) if name.folder else None
        if step is None and name.revision:
            step = step_of_revision(name.revision)
        found = [(step, _join(name.folder, inside))]
    return [(step, _remote(name.repo, commit, folder, files)) for step, folder in found]


def fetch_small(name: HubName) -> Path:
    """The folder of a hub name's config and tokenizer, without its weights. Raises CheckpointError."""
    listed = _listed(name)
    if isinstance(listed, Path):
        return listed
    commit, files = listed
    small = [f for f in needed_files(files, name.folder) if not weight_files([f])]
    return Remote(name.repo, commit, name.folder, tuple(small), "").fetch()


def _listed(name: HubName) -> tuple[str, dict[str, str | None]] | Path:
    """What `list_repository` gives; where the hub cannot be asked, the folder in its cache on this machine."""
    try:
        return list_repository(name.repo, name.revision)
    except Exception as error:
        cached = _cached(name)
        if cached is None:
            raise _not_to_be_had(name, error) from error
        return cached


def list_repository(repo: str, revision: str | None) -> tuple[str, dict[str, str | None]]:
    """The commit that a revision stands for, and its files with the sha256 of those that are large. Asks the hub once."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(repo, revision=revision, timeout=TIMEOUT_S, files_metadata=True)
    return str(info.sha), {f.rfilename: f.lfs.sha256 if f.lfs else None for f in info.siblings or []}


def fetch_files(repo: str, commit: str, files: Sequence[str]) -> None:
    """Bring files of a repository into the hub's cache on this machine."""
    from huggingface_hub import snapshot_download

    snapshot_download(repo, revision=commit, allow_patterns=[glob.escape(f) for f in files])


# ---------------------------------------------------------------- parts


def _step_folders(files: Mapping[str, str | None], folder: str) -> list[tuple[int | None, str]]:
    start = f"{folder}/" if folder else ""
    children = sorted(
        {f.removeprefix(start).split("/")[0] for f in files if f.startswith(start) and "/" in f[len(start) :]}
    )
    found: list[tuple[int | None, str]] = []
    for child in children:
        step = step_of(child)
        inside = weights_within(lambda part, child=child: _names_in(files, _join(folder, child, part)))  # type: ignore[misc]
        if step is not None and inside is not None:
            found.append((step, _join(folder, child, inside)))
    return found


def _remote(repo: str, commit: str, folder: str, files: Mapping[str, str | None]) -> Remote:
    needed = needed_files(files, folder)
    hashes = {f.rpartition("/")[2]: files[f] for f in weight_files(needed)}
    adapter = _join(folder, ADAPTER_CONFIG) in needed  # its hash is made with its base's, which its config names
    known = {n: h for n, h in hashes.items() if h is not None}
    told = len(known) == len(hashes) > 0 and not adapter
    return Remote(repo, commit, folder, tuple(needed), weights_hash(known) if told else "")


def _cached(name: HubName) -> Path | None:
    """The folder of a hub name in the cache on this machine, as far as it has been fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        root = Path(snapshot_download(name.repo, revision=name.revision, local_files_only=True))
    except IncompleteSnapshotError as partial:
        root = Path(partial.snapshot_path)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    folder = root / name.folder
    return folder if folder.is_dir() else None


def _not_to_be_had(name: HubName, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"there is no folder {str(name)!r} here, and the hub does not give it ({first_line(error)}): correct the path or the "
        f"name; without a network, fetch it where there is one (`hf download {name.repo}`) and give the folder"
    )


def _names_in(files: Mapping[str, str | None], folder: str) -> set[str]:
    start = f"{folder}/" if folder else ""
    return {f[len(start) :] for f in files if f.startswith(start) and "/" not in f[len(start) :]}


def _join(*parts: str) -> str:
    return "/".join(p for p in parts if p)
