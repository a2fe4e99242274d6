"""Training in two processes on one machine, with the settings of configs/accelerate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs" / "accelerate"
# Accelerate shards on GPUs only, though gloo can as well: to it, these two processes are GPUs.
AS_GPUS = """
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
AcceleratorState._reset_state(reset_partial_state=True)
PartialState(cpu=True)
PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
"""


def launcher_environment(name: str) -> dict[str, str]:
    """What `accelerate launch --config_file` sets for its processes, by the name of a file in configs/accelerate."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    arguments = launch_command_parser().parse_args(["--config_file", str(CONFIGS / f"{name}.yaml"), "train.py"])
    arguments, *_ = _validate_launch_command(arguments)
    variables = prepare_multi_gpu_env(arguments)
    return {key: value for key, value in variables.items() if os.environ.get(key) != value}


def launch(folder: Path, script: str, *arguments: object, kind: str = "ddp") -> str:
    """Run a script, written into `folder`, in two processes to its end; returns its stderr.

    Its arguments are JSON and paths. `kind` names a file in configs/accelerate. By torchrun, as `accelerate launch --cpu
    --num_processes 2` starts one process without a word.
    """
    (folder / "script.py").write_text((AS_GPUS if kind == "fsdp2-8" else "") + script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    told = [json.dumps(a) if isinstance(a, (dict, list)) else str(a) for a in arguments]
    done = subprocess.run(
        [*command, str(folder / "script.py"), *told],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | launcher_environment(kind) | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr
