"""One against two Ray workers: the same sweep over ten checkpoints of an organism, on a local cluster of two nodes.

    python benchmarks/ray_workers.py [--checkpoints 10] [--items 64] [--repeats 3]

Each worker has one CPU and one thread. Sweeps take turns; every one has actors of its own and writes to a folder of its own.
Told are the seconds from the first worker's first stage to the last unit's end, and the seconds before it, in which actors
start and import torch. A machine that others use makes two workers look worse than they are: the load is printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from sftscope import pipeline
from sftscope.pipeline import open_probe_run, probe_run, quiet_libraries
from sftscope.probes import organisms
from sftscope.probes.planner import ProbeConfig
from sftscope.ray_crew import RayConfig

ORGANISM = "qwen3-0.9m"


@dataclass(frozen=True)
class Sweep:
    workers: int
    starting_s: float  # until a worker begins
    working_s: float


def copies(folder: Path, n: int) -> Path:
    """`n` checkpoints of unlike weights, so that nothing of one is another's."""
    for i in range(n):
        there = shutil.copytree(organisms.folder(ORGANISM), folder / f"checkpoint-{i}")
        (there / "manifest.json").unlink(missing_ok=True)
        weights = load_file(there / "model.safetensors")
        save_file({k: w * (1 - i / 1000) for k, w in weights.items()}, there / "model.safetensors", {"format": "pt"})
    return folder


def time_sweep(checkpoints: Path, out: Path, config: ProbeConfig, workers: int) -> Sweep:
    """Probe all checkpoints with so many actors, on the cluster at RAY_ADDRESS."""
    began: list[float] = []

    @contextmanager
    def watched(title: str, total: int, quiet: bool) -> Iterator[Callable[[str, float], None]]:
        def advance(now: str, done: float) -> None:
            if not began and now.startswith("step "):
                began.append(time.perf_counter())

        yield advance

    pipeline.progress_bar = watched  # the first news of a unit is where work begins
    run, found, config = open_probe_run([checkpoints], out, config)
    since = time.perf_counter()
    if failures := probe_run(run, found, config, workers=workers, ray=RayConfig()):
        raise SystemExit("\n".join(map(str, failures)))
    end = time.perf_counter()
    return Sweep(workers, began[0] - since, end - began[0])


def one_against_two(n: int, items: int, repeats: int) -> Sequence[Sweep]:
    """Sweeps with one worker and with two, in turns."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    config = ProbeConfig(probes=("scores",), domains=("countdown",), items=items, during=())
    try:
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = copies(Path(folder) / "many", n)
            turns = [w for i in range(repeats) for w in ((1, 2) if i % 2 == 0 else (2, 1))]
            return [time_sweep(checkpoints, Path(folder) / f"run-{k}", config, w) for k, w in enumerate(turns)]
    finally:
        cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet_libraries()
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    sweeps = one_against_two(args.checkpoints, args.items, args.repeats)
    print(
        f"load after {os.getloadavg()[0]:.1f}\n| workers | working, s: median (range) | starting, s |\n| --- | --- | --- |"
    )
    median = {}
    for workers in (1, 2):
        working = [s.working_s for s in sweeps if s.workers == workers]
        starting = [s.starting_s for s in sweeps if s.workers == workers]
        median[workers] = statistics.median(working)
        spread = f"({min(working):.1f}-{max(working):.1f})"
        print(f"| {workers} | {median[workers]:.1f} {spread} | {statistics.median(starting):.1f} |")
    print(f"two workers: {median[1] / median[2]:.2f} x one")


if __name__ == "__main__":
    main()
