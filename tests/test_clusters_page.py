"""The Slurm scripts of docs/clusters.md: run by a shell, with what they start written down in place of being started."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from sftscope.recipes import shipped

PAGE = (Path(__file__).parent.parent / "docs" / "clusters.md").read_text()
SCRIPTS = dict(re.findall(r"<!-- ([\w-]+\.sbatch) -->\n```bash\n(.*?)```", PAGE, re.S))
NOTE = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["TOLD"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + chr(10))
"""
SLURM = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": "echo node1; echo node2",
    "hostname": "echo 10.0.0.1",
    "python": f'exec {sys.executable} "$@"',
}


@pytest.fixture
def started(tmp_path):
    """Runs a script; gives the commands that it would have started."""

    def run(script: str) -> list[list[str]]:
        tools = tmp_path / "bin"
        tools.mkdir()
        texts = {name: f"#!/bin/bash\n{body}\n" for name, body in SLURM.items()} | dict.fromkeys(
            ("accelerate", "ray"), NOTE
        )
        for name, text in texts.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "activate").touch()
        (tmp_path / "on-slurm" / "qwen3-8b" / "resume").mkdir(parents=True)
        slurm = {
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_NNODES": "2",
            "SLURM_NODEID": "1",
            "SLURM_JOB_NODELIST": "node[1-2]",
        }
        slurm |= {"SLURM_GPUS_ON_NODE": "8", "SLURM_CPUS_ON_NODE": "64", "TOLD": str(tmp_path / "told")}
        env = os.environ | slurm | {"PATH": f"{tools}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", script], env=env, check=True, timeout=120)
        return [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]

    return run


def flags_of(command: str) -> set[str]:
    text = subprocess.run(
        [sys.executable, "-P", "-m", "sftscope", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", text))


@pytest.mark.parametrize(("nodes", "script"), [(1, "train.sbatch"), (2, "train-two-nodes.sbatch")])
def test_training_is_started_with_files_and_flags_that_exist(started, nodes, script):
    first = SCRIPTS["train.sbatch"]
    text = first if nodes == 1 else first[: first.index("srun accelerate")] + SCRIPTS[script]
    ((name, verb, *arguments),) = started(text)
    assert (name, verb) == ("accelerate", "launch")
    asked = launch_command_parser().parse_args(arguments)
    assert f"num_processes: {8 * nodes}\n" in Path(asked.config_file).read_text()
    assert f"num_machines: {nodes}\n" in Path(asked.config_file).read_text()
    if nodes == 2:
        assert (asked.machine_rank, asked.main_process_ip, asked.main_process_port) == (1, "node1", 29500)
    assert (asked.module, asked.training_script) == (True, "sftscope")
    command, recipe, *flags = asked.training_script_args
    assert command == "train"
    assert recipe in shipped()
    assert flags == ["-o", "on-slurm/qwen3-8b", "--resume"]
    assert {"-o", "--resume"} <= flags_of("train")


def test_probing_is_started_on_the_cluster_that_the_script_makes(started):
    ((name, verb, *arguments),) = started(SCRIPTS["probe.sbatch"])
    assert (name, verb) == ("ray", "symmetric-run")
    ours = arguments[arguments.index("--") + 1 :]
    assert ours[:3] == ["sftscope", "probe", "on-slurm/qwen3-8b"]
    assert set(ours[3::2]) <= flags_of("probe")
    assert ours[ours.index("--ray-address") + 1] == arguments[arguments.index("--address") + 1] == "10.0.0.1:6379"
