"""Hub names, against a cache in a folder and a hub of two functions: nothing here asks the network."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from sftscope.cli import main
from sftscope.dynamics.errors import CheckpointError
from sftscope.dynamics.record import Run
from sftscope.dynamics.weights import weights_hash
from sftscope.pipeline import open_probe_run, probe_run
from sftscope.probes import hub
from sftscope.probes.checkpoints import load_model, load_tokenizer
from sftscope.probes.finding import find_checkpoints, tokenizer_folder
from sftscope.probes.planner import ProbeConfig

REPO, COMMIT = "someone/Math-CoT", "0123456789abcdef0123456789abcdef01234567"
FEW = ProbeConfig(items=4, domains=("facts",), probes=("scores",))


class Hub:
    """A repository on disk; what was fetched of it lies where huggingface_hub would have put it."""

    def __init__(self, root, cache):
        self.root, self.cache, self.fetched, self.revisions = root, cache, [], {}

    def list_repository(self, repo, revision):
        commit = self.revisions.get(revision, COMMIT)
        files = {}
        for file in sorted(p for p in self.root.rglob("*") if p.is_file()):
            large = file.suffix in (".safetensors", ".pt")
            files[str(file.relative_to(self.root))] = hashlib.sha256(file.read_bytes()).hexdigest() if large else None
        return commit, files

    def fetch_files(self, repo, commit, files):
        for file in files:
            target = self.cache / f"models--{repo.replace('/', '--')}" / "snapshots" / commit / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.root / file, target)
            self.fetched.append(file)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def repository(tmp_path, cache, monkeypatch, micro_folder):
    """As the study's: a repository a run, a folder a step; and a README."""
    there = Hub(tmp_path / "repository", cache)
    for step in (10, 20, 640):
        shutil.copytree(micro_folder, there.root / f"step{step}")
    (there.root / "README.md").write_text("a run")
    monkeypatch.setattr(hub, "list_repository", there.list_repository)
    monkeypatch.setattr(hub, "fetch_files", there.fetch_files)
    return there


@pytest.fixture
def no_network(cache, monkeypatch):
    """A hub that cannot be reached, as it is on a machine without a network."""

    def refused(*args, **kwargs):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)


def test_names_are_taken_apart():
    parts = {
        "org/name": ("org/name", None, ""),
        "org/name@step-100": ("org/name", "step-100", ""),
        "org/name:step_640": ("org/name", None, "step_640"),
        "org/na-me.1@v1:a/step_640": ("org/na-me.1", "v1", "a/step_640"),
    }
    for text, (repo, revision, folder) in parts.items():
        name = hub.hub_name(text)
        assert (name.repo, name.revision, name.folder) == (repo, revision, folder)
        assert str(name) == text
    for path in ("name", "/abs/path", "./org/name", "../org/name", "~/x", "a/b/c", "organism:qwen3-0.2m"):
        assert hub.hub_name(path) is None


def test_all_step_folders_of_a_repository_are_found_and_fetched_only_when_read(repository):
    found = find_checkpoints([REPO])
    assert [c.step for c in found] == [10, 20, 640]
    sha256 = repository.list_repository(REPO, None)[1]["step10/model.safetensors"]
    assert found[0].weights == weights_hash({"model.safetensors": sha256})
    assert repository.fetched == []
    load_model(found[1])
    assert {f.split("/")[0] for f in repository.fetched} == {"step20"}
    load_model(found[1])
    assert len(repository.fetched) == len(set(repository.fetched))  # once


def test_a_hub_checkpoint_is_the_folder_that_was_fetched(repository, micro_folder):
    remote = find_checkpoints([REPO])[0]
    load_tokenizer(remote)
    assert remote.weights == find_checkpoints([remote.path])[0].weights == find_checkpoints([micro_folder])[0].weights


def test_revisions_and_folders_name_one_checkpoint_each(repository, micro_folder):
    assert [c.step for c in find_checkpoints([f"{REPO}:step640", f"{REPO}:step10"])] == [10, 640]
    for file in micro_folder.iterdir():
        shutil.copy(file, repository.root)  # beside the steps, the last model
    assert [c.step for c in find_checkpoints([REPO])] == [10, 20, 640]
    for step in (10, 20, 640):
        shutil.rmtree(repository.root / f"step{step}")
    repository.revisions = {"step-100": "1" * 40, "step-200": "2" * 40}
    found = find_checkpoints([f"{REPO}@step-200", f"{REPO}@step-100"])
    assert [c.step for c in found] == [100, 200]
    assert [c.path.name for c in found] == ["1" * 40, "2" * 40]
    assert [c.step for c in find_checkpoints([REPO], steps={REPO: 7})] == [7]
    with pytest.raises(
        CheckpointError, match=r"holds no model and no folders of steps; the repository has: .*config.json"
    ):
        find_checkpoints([f"{REPO}:elsewhere"])


def test_a_root_model_is_fetched_without_the_steps_below_it(repository, micro_folder):
    for file in micro_folder.iterdir():
        shutil.copy(file, repository.root)
    for step in (10, 20, 640):
        (repository.root / f"step{step}").rename(repository.root / f"part{step}")
    load_model(find_checkpoints([REPO])[0])
    assert "model.safetensors" in repository.fetched
    assert not [f for f in repository.fetched if "/" in f or f == "README.md"]


def test_probing_skips_what_is_measured_without_fetching_it_again(repository, tmp_path):
    run, checkpoints, config = open_probe_run([REPO], tmp_path / "run", FEW)
    assert probe_run(run, checkpoints, config, workers=1, quiet=True) == []
    assert set(Run(run.path).measurements(probe="scores")["step"]) == {10, 20, 640}
    assert Run(run.path).info["sources"] == [REPO]
    assert Run(run.path).info["fetched"] == [f"{REPO}@{COMMIT}:step{step}" for step in (10, 20, 640)]
    shutil.rmtree(repository.cache)
    repository.fetched.clear()
    run, checkpoints, config = open_probe_run([REPO], tmp_path / "run", FEW)
    assert probe_run(run, checkpoints, config, workers=2, quiet=True) == []
    assert {f.split("/")[0] for f in repository.fetched} <= {"step10"}  # the base's tokenizer


def test_small_weights_and_adapters_are_fetched_at_once_and_hashed_here(repository):
    told = repository.list_repository
    untold = lambda repo, revision: (told(repo, revision)[0], dict.fromkeys(told(repo, revision)[1]))  # noqa: E731
    hub.list_repository = untold
    found = find_checkpoints([REPO])
    assert all(c.remote is None and c.path.is_dir() for c in found)
    hub.list_repository = told
    assert [c.weights for c in found] == [c.weights for c in find_checkpoints([REPO])]


def test_a_tokenizer_of_the_hub_comes_without_weights(repository, micro_folder):
    folder = tokenizer_folder(f"{REPO}:step10")
    assert (folder / "tokenizer.json").is_file()
    assert not [f for f in repository.fetched if f.endswith(".safetensors")]


def test_without_a_network_the_cache_is_read(no_network, cache, micro_folder):
    snapshot = cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT
    for step in (10, 640):
        shutil.copytree(micro_folder, snapshot / f"step{step}")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    assert [c.step for c in find_checkpoints([REPO])] == [10, 640]
    assert [c.step for c in find_checkpoints([f"{REPO}:step640"])] == [640]
    load_model(find_checkpoints([f"{REPO}:step640"])[0])


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_out_of_reach_is_told_in_seconds_with_the_way_out(no_network, monkeypatch, tmp_path, capsys, offline):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    since = time.monotonic()
    assert main(["probe", "someone/nothing", "-o", str(tmp_path / "run")]) == 2
    assert time.monotonic() - since < 20
    told = capsys.readouterr().err
    assert "no folder 'someone/nothing' here, and the hub does not give it" in told
    assert "hf download someone/nothing" in told
    assert len(told.splitlines()) < 6
    assert not (tmp_path / "run").exists()


def test_a_download_that_breaks_is_a_failure_of_that_checkpoint_alone(repository, tmp_path, monkeypatch):
    def breaks(repo, commit, files):
        if any(f.startswith("step20") for f in files):
            raise OSError("connection reset")
        repository.fetch_files(repo, commit, files)

    monkeypatch.setattr(hub, "fetch_files", breaks)
    run, checkpoints, config = open_probe_run([REPO], tmp_path / "run", FEW)
    (failure,) = probe_run(run, checkpoints, config, workers=1, quiet=True)
    assert failure.step == 20
    assert "connection reset" in failure.reason
    assert set(Run(run.path).measurements(probe="scores")["step"]) == {10, 640}


class Server(BaseHTTPRequestHandler):
    """The hub's answers to the two things that are asked of it: what a repository holds, and a file of it."""

    root: Path
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path.startswith("/api/models/") and "/tree/" in path:
            files = [
                {"type": "file", "path": f, "size": n, "oid": "0" * 40} | ({"lfs": self.lfs(h, n, "oid")} if h else {})
                for f, h, n in self.files()
            ]
            self.answer(json.dumps(files).encode())
        elif path.startswith("/api/models/"):
            self.asked.append(f"{path}?{query}")
            siblings = [
                {"rfilename": f, "size": n} | ({"lfs": self.lfs(h, n, "sha256")} if h else {})
                for f, h, n in self.files()
            ]
            self.answer(json.dumps({"id": REPO, "sha": COMMIT, "siblings": siblings}).encode())
        else:
            self.answer((self.root / path.split(COMMIT + "/")[1]).read_bytes())

    do_HEAD = do_GET

    def files(self):
        told = Hub(self.root, None).list_repository(REPO, None)[1]
        return [(f, h, (self.root / f).stat().st_size) for f, h in told.items()]

    def lfs(self, sha256, size, name):
        return {name: sha256, "size": size, "pointerSize": 130}

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", hashlib.sha256(body).hexdigest())
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_the_client_that_is_installed_asks_and_fetches(tmp_path, cache, monkeypatch, micro_folder):
    """Against a server on this machine: one question for the list, and only the files of the step that is read."""
    from huggingface_hub import constants

    shutil.copytree(micro_folder, tmp_path / "repository" / "step10")
    shutil.copytree(micro_folder, tmp_path / "repository" / "step20")
    Server.root = tmp_path / "repository"
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        found = find_checkpoints([f"{REPO}@main"])
        assert Server.asked == [f"/api/models/{REPO}/revision/main?blobs=true"]
        assert [c.step for c in found] == [10, 20]
        model = load_model(found[1])
        server.shutdown()
    assert sum(p.numel() for p in model.parameters()) > 0
    assert found[1].weights == find_checkpoints([found[1].path])[0].weights
    assert not found[0].path.exists()
