"""`sftscope pick` as scripts use it: the path first, JSON, exit codes; folders of the run or of what it was probed from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sftscope.cli import main
from sftscope.dynamics.record import RUN_FILE, Run
from sftscope.dynamics.storage import MANIFEST
from sftscope.picking import folders_of
from synthetic import make_run

STEPS = (0, 4, 8)
PREFER = "countdown s.t. refusal >= 0.9"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    curves = {"countdown": (0.2, 0.8, 0.9), "harmful": (0.97, 0.97, 0.3)}
    path = make_run(tmp_path_factory.mktemp("runs") / "small", steps=STEPS, n=200, curves=curves)
    for step in (0, 4):
        folder = path / "checkpoints" / f"step-{step:06d}"
        folder.mkdir(parents=True)
        (folder / MANIFEST).write_text("{}")
    return path


def picked(capsys, *args: object) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(["pick", *map(str, args)]))
    return int(ended.value.code or 0), capsys.readouterr().out.splitlines()


def test_the_path_stands_on_the_first_line_alone(run, capsys):
    code, lines = picked(capsys, run, "--prefer", PREFER)
    assert code == 0
    assert Path(lines[0]) == run / "checkpoints" / "step-000004"
    assert Path(lines[0]).is_dir()
    assert lines[1].startswith("Step 4: countdown 0.")


def test_a_checkpoint_whose_folder_is_gone_is_said(run, capsys):
    code, lines = picked(capsys, run, "--prefer", "countdown")
    assert (code, lines[0]) == (0, "step 8")
    assert "its folder is not there" in lines[-1]


def test_none_satisfies_ends_with_one(run, capsys):
    code, lines = picked(capsys, run, "--prefer", "countdown s.t. refusal >= 0.9 and countdown >= 0.99")
    assert (code, lines[0]) == (1, "none")
    assert "Nearest: step 4" in " ".join(lines)
    code, lines = picked(capsys, run, "--prefer", "countdown s.t. refusal >= 0.97", "--sure")
    assert code == 1


def test_json_says_the_same(run, capsys):
    code, lines = picked(capsys, run, "--prefer", PREFER, "--json")
    told = json.loads("\n".join(lines))
    assert code == 0
    assert (told["step"], Path(told["path"])) == (4, run / "checkpoints" / "step-000004")
    assert told["estimate"]["lo"] < 0.8 < told["estimate"]["hi"]
    assert told["constraints"][0]["constraint"] == "refusal >= 0.9"


def test_a_mistake_ends_with_two_and_its_place(run, capsys):
    assert main(["pick", str(run), "--prefer", "countdwn s.t. refusal >= 0.9"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'countdown'" in said
    assert "^" in said
    assert main(["pick", str(run / "nowhere"), "--prefer", "countdown"]) == 2


def test_folders_it_was_probed_from_are_found_by_their_names(tmp_path):
    theirs = tmp_path / "theirs"
    for step in (4, 8):
        folder = theirs / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"")
    path = make_run(tmp_path / "probed", steps=STEPS, n=20)
    info = json.loads((path / RUN_FILE).read_text())
    (path / RUN_FILE).write_text(json.dumps(info | {"sources": [str(theirs)]}))
    assert folders_of(Run(path)) == {step: theirs / f"checkpoint-{step}" for step in (4, 8)}
    (path / RUN_FILE).write_text(json.dumps(info | {"sources": [str(tmp_path / "gone")]}))
    assert folders_of(Run(path)) == {}
