"""A probe that fails is told by the command, once however often it failed, and the command ends with status 1."""

from __future__ import annotations

import shutil

import pytest
import yaml
from sftscope.cli import main
from sftscope.dynamics.errors import DataError
from sftscope.failures import Failure, measured, told
from sftscope.pipeline import open_probe_run, probe_run
from sftscope.probes import organisms
from sftscope.probes.behaviour.verbosity import Verbosity
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.registry import PROBES

BASE = "qwen3-0.2m"


class Wanting(Verbosity):
    """Fails where it is told to, as a plug-in may."""

    at: tuple[int, ...] = ()

    def measure(self, given):
        if given.step in self.at:
            raise DataError("nothing to be measured")
        return super().measure(given)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setitem(PROBES, "verbosity", Wanting)
    for step in (0, 10, 20):
        shutil.copytree(organisms.folder(BASE), tmp_path / "theirs" / f"checkpoint-{step}")
    probes = {"probes": ["scores", "verbosity"], "domains": ["facts"], "items": 6, "during": []}
    (tmp_path / "probes.yaml").write_text(yaml.safe_dump({"probes": probes}))
    arguments = [str(tmp_path / "theirs"), "-o", str(tmp_path / "run"), "--config", str(tmp_path / "probes.yaml")]

    def run(command, *at, **flags):
        monkeypatch.setattr(Wanting, "at", at)
        extra = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        try:
            return main([command, *arguments, *extra])
        except SystemExit as ended:
            return ended.code

    return run


def test_a_probe_that_fails_is_told_once_and_the_command_ends_with_1(sweep, capsys):
    assert sweep("probe", 0, 10, 20, workers=1) == 1
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if line.startswith("failed")] == [
        "failed: step 0, verbosity: nothing to be measured (so at 3 checkpoints)"
    ]
    assert "measured: 3 of 3 checkpoints (verbosity failed at 3), in " in out
    assert sweep("probe", 10, workers=1) == 1  # the others are mended
    out, err = capsys.readouterr()
    assert "failed: step 10, verbosity: nothing to be measured\n" in err
    assert "(verbosity failed at 1)" in out
    assert sweep("probe", workers=1) == 0
    out, err = capsys.readouterr()
    assert "failed" not in err
    assert "measured: 3 of 3 checkpoints, in " in out


def test_so_it_is_when_watching(sweep, capsys):
    assert sweep("watch", 10, every=0.1, idle=1) == 1
    said = capsys.readouterr().out
    assert "step 10       failed: step 10, verbosity: nothing to be measured" in said
    assert "step 20       measured" in said


def test_what_is_kept_warm_is_ended_however_a_sweep_ends(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(Planner, "close", lambda _: ended.append("closed"))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Planner, "measure", interrupted)
    shutil.copytree(organisms.folder(BASE), tmp_path / "theirs" / "checkpoint-0")
    config = ProbeConfig(probes=("scores",), domains=("facts",), items=4, during=())
    run, checkpoints, config = open_probe_run([tmp_path / "theirs"], tmp_path / "run", config)
    with pytest.raises(KeyboardInterrupt):
        probe_run(run, checkpoints, config, workers=1, quiet=True)
    assert ended == ["closed"]


def test_checkpoints_are_told_one_by_one_and_probes_together():
    failures = [
        Failure(30, "damaged"),
        Failure(20, "b", "scores"),
        Failure(10, "a", "scores"),
        Failure(40, "gone"),
        Failure(10, "c", "refusal"),
    ]
    assert told(failures) == [
        "step 30: damaged",
        "step 40: gone",
        "step 10, scores: a (and, with other reasons, at 1 more)",
        "step 10, refusal: c",
    ]
    assert measured(failures, 9) == "7 of 9 checkpoints (scores failed at 2, refusal failed at 1)"
    assert told([]) == []
    assert measured([], 2) == "2 of 2 checkpoints"
