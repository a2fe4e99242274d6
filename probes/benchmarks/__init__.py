"""Published benchmarks as domains: loaded by name and pinned revision or from a local file, graded from stored answers.

No benchmark's text is in this repository. docs/benchmarks.md lists them.
"""

from __future__ import annotations

from typing import Any

from ...dynamics.errors import ConfigError, nearest
from ..sandbox import SandboxConfig
from .base import Benchmark, BenchmarkConfig
from .choices import GPQADiamond, MMLUPro, TruthfulQAChoice
from .gym import PREFIX, GymTask
from .hallucination import HaluEvalDialogue, HaluEvalQA, HaluEvalSummarization
from .harness import PREFIX as HARNESS
from .harness import harness_version
from .harness_task import HarnessTask
from .ifeval import IFEval
from .live_code import LiveCodeBench
from .mathematics import Aime24, Aime25, Math500
from .open_ended import AlpacaEval, TruthfulQA
from .requests import HexPhi, StrongReject, XSTestSafe, XSTestUnsafe
from .rows import Unavailable

_ALL: tuple[type[Benchmark], ...] = (
    Math500,
    Aime24,
    Aime25,
    GPQADiamond,
    MMLUPro,
    LiveCodeBench,
    IFEval,
    TruthfulQA,
    TruthfulQAChoice,
    HaluEvalQA,
    HaluEvalDialogue,
    HaluEvalSummarization,
    AlpacaEval,
    HexPhi,
    StrongReject,
    XSTestSafe,
    XSTestUnsafe,
)
BENCHMARKS: dict[str, type[Benchmark]] = {}
for _benchmark in _ALL:
    if _benchmark.name in BENCHMARKS:
        raise ValueError(f"two benchmarks are called {_benchmark.name!r}")
    BENCHMARKS[_benchmark.name] = _benchmark


def check_name(name: str, config: BenchmarkConfig) -> None:
    """Raise ConfigError, with the nearest names, where there is no such benchmark, or where it has no such setting.

    Names after `gym_` and `lm_eval_` are checked when made.
    """
    if name not in BENCHMARKS and not name.startswith((PREFIX, HARNESS)):
        known = [*BENCHMARKS, f"{PREFIX}<task>", f"{HARNESS}<task>"]
        raise ConfigError(f"unknown benchmark `probes.benchmarks.{name}`: {nearest(name, known)}")
    for setting in ("metric", "fewshot", "group"):
        if getattr(config, setting) and not name.startswith(HARNESS):
            raise ConfigError(f"`probes.benchmarks.{name}.{setting}` is only for {HARNESS}<task>: leave it out")


def default_cap(name: str, config: BenchmarkConfig) -> int:
    """The most tokens of a response, without loading anything."""
    kind: type[Benchmark] | type[GymTask] = BENCHMARKS.get(name, HarnessTask if name.startswith(HARNESS) else GymTask)
    return config.max_new_tokens or kind.max_new_tokens


def make_benchmark(name: str, config: BenchmarkConfig, sandbox: SandboxConfig | None = None) -> Benchmark | GymTask:
    """A benchmark, loaded; `sandbox` says whether and how code of a model is run, where that is what it grades by.

    Raises ConfigError, DataError that names the row, and Unavailable with the one line that helps.
    """
    check_name(name, config)
    if name.startswith(HARNESS):
        return HarnessTask(name.removeprefix(HARNESS), config)
    kind = BENCHMARKS.get(name)
    if kind is None:
        return GymTask(name.removeprefix(PREFIX), config)
    return kind(config, sandbox) if issubclass(kind, LiveCodeBench) else kind(config)


def origin(name: str, config: BenchmarkConfig) -> dict[str, Any]:
    """Where a benchmark's questions come from, as run.json says it; `revision` is "not pinned" where none is fixed."""
    check_name(name, config)
    if name.startswith(PREFIX):
        return {"generated": "reasoning-gym"}
    if config.path:
        return {"path": str(config.path)}
    if name.startswith(HARNESS):  # the task's own data set, which only the harness knows
        task = f"lm-eval {harness_version() or 'not installed'}, {name.removeprefix(HARNESS)}"
        return {"task": task, "hub": config.hub or "the task's", "revision": config.revision or "not pinned"}
    source = BENCHMARKS[name].source
    pinned = config.revision or (None if config.hub else source.revision)
    return {
        "hub": config.hub or source.hub,
        "revision": pinned or "not pinned",
        "subset": source.subset,
        "split": source.split,
    }


__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkConfig",
    "GymTask",
    "HarnessTask",
    "Unavailable",
    "check_name",
    "default_cap",
    "make_benchmark",
    "origin",
]
