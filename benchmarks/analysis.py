"""Time and memory of judging a long run: `python benchmarks/analysis.py [--steps 640] [--metrics 200] [--items 500]`.

Item-level float32 metrics, half of them 0/1 scores and half real-valued, each judged with its bands (1,000 resamples), and
every metric's one-run association with the scores declared primary.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np


def make(steps: int, metrics: int, items: int) -> list:
    from sftscope.dynamics import Trajectory

    rng = np.random.default_rng(0)
    names, at = tuple(f"q{i}" for i in range(items)), np.arange(steps)
    found = []
    for k in range(metrics):
        wander = rng.standard_normal(steps).cumsum() / np.sqrt(steps)
        curve = (0.5 + 0.3 * np.sin(at / steps * 3 + k) + 0.02 * wander).astype(np.float32)
        noise = rng.random((items, steps), dtype=np.float32)
        values = (noise < curve).astype(np.float32) if k % 2 == 0 else noise + curve
        found.append(Trajectory(f"metric {k}", f"domain {k}", "general", at, values, names))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("steps", 640), ("metrics", 200), ("items", 500), ("primaries", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    from sftscope.dynamics import associate, judge

    trajectories = make(args.steps, args.metrics, args.items)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    began = time.perf_counter()
    phases = [judge(t) for t in trajectories]
    judged = time.perf_counter()
    series = [t.series() for t in trajectories]
    pairs = [associate(x, y) for y in series[: args.primaries] for x in series if x is not y]
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    verdicts = {p.verdict for p in phases}
    print(f"{args.steps} checkpoints x {args.metrics} metrics x {args.items} items; {len(verdicts)} kinds of verdict")
    print(
        f"bands and phases {judged - began:.1f} s, {len(pairs)} associations {ended - judged:.1f} s: {ended - began:.1f} s"
    )
    print(f"peak memory {peak:.2f} GiB, of which the data and the libraries {loaded:.2f} GiB")


if __name__ == "__main__":
    main()
