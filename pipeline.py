"""The units of work and who runs them: a recipe becomes a run, its checkpoints are probed, the run is analysed and reported.

A unit is the measurement of one checkpoint: its results are keyed by content (the planner's keys), so done work is skipped.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from .crews import Processes, default_workers
from .dynamics.claims import CLAIMS, Claims
from .dynamics.errors import CheckpointError, ConfigError, SftscopeError
from .dynamics.record import RUN_FILE, Run, create_run, step_name, write_measurements
from .dynamics.settings import from_mapping, to_mapping
from .dynamics.storage import content_key
from .dynamics.types import Measurement
from .executor import RETRIES, Crew, Here, Kept, Say, Unit, coarse_to_fine, progress_bar, run_units
from .failures import Failure
from .files import files_of, found_from_anywhere
from .probes.benchmarks import origin
from .probes.checkpoints import Checkpoint, check_checkpoint
from .probes.finding import find_checkpoints
from .probes.planner import Planner, ProbeConfig
from .ray_crew import RayConfig, RayCrew
from .recipes import Recipe, make_records
from .train import CheckpointHook

# ---------------------------------------------------------------- the stages


def train_run(recipe: Recipe, out: Path, *, resume: bool = False, quiet: bool = False) -> Run:
    """Train into `out` with the `during` probes as hooks; a complete run is left as it is."""
    from .train import train

    make_records(recipe)
    recipe = replace(recipe, probes=found_from_anywhere(recipe.probes))
    extra = {
        "probes": to_mapping(recipe.probes),
        "asked": {name: origin(name, benchmark) for name, benchmark in recipe.probes.benchmarks.items()},
        "arm": to_mapping(recipe.arm) if recipe.arm else None,
    }
    # No probes to run inside, no hook: training does not wait for checkpoints, and may be sharded.
    hooks = [probe_hook(out, recipe.probes)] if recipe.probes.during else []
    train(recipe.train, out, hooks=hooks, resume=resume, quiet=quiet, extra=extra)
    return Run(out)


def probe_hook(run: Path, config: ProbeConfig) -> CheckpointHook:
    """A hook that measures the `during` probes on the live model, and so stores the activations they need."""
    planner: Planner | None = None

    def hook(step: int, model: Any, folder: Path) -> list[Measurement]:
        nonlocal planner
        checkpoint = Checkpoint(step, folder)
        if planner is None:
            base = min(find_checkpoints([run]), key=lambda c: c.step)
            planner = Planner(run, base, config)
        return planner.measure(checkpoint, model=model, probes=config.during)

    return hook


def probe_config(run: Run) -> ProbeConfig:
    """The probe settings that a run was made with."""
    return from_mapping(ProbeConfig, run.info["probes"]) if run.info.get("probes") else ProbeConfig()


def open_probe_run(
    sources: Sequence[Path | str],
    out: Path | None,
    config: ProbeConfig | None,
    *,
    steps: Mapping[str, int] | None = None,
    tokenizer: Path | None = None,
    filling: bool = False,
    engine: Literal["hf", "vllm"] | None = None,
) -> tuple[Run, list[Checkpoint], ProbeConfig]:
    """The run to write to and the checkpoints to measure. A foreign folder is read only: results go to the run at `out`.

    `engine` is one other than the config's.
    `steps`, `tokenizer` and `filling` are those of `find_checkpoints`. Raises ConfigError and CheckpointError.
    """
    checkpoints = find_checkpoints(sources, steps=steps, tokenizer=tokenizer, filling=filling)
    if out is None:
        if len(sources) == 1 and (Path(sources[0]) / RUN_FILE).is_file():
            run = Run(sources[0])
            return run, checkpoints, _opened(config or probe_config(run), engine)
        raise ConfigError(f"{sources[0]} is no run folder: say where the results should go with `-o RUN`")
    for c in checkpoints:
        if out.resolve().is_relative_to(c.path.resolve()):
            raise ConfigError(
                f"`-o {out}` lies inside the checkpoint {c.path}, which is only read: give another folder"
            )
    config = _opened(config or ProbeConfig(), engine)
    check_checkpoint(checkpoints[0])
    info = {
        "config_hash": content_key("probed", checkpoints[0].weights, length=16),
        "base": {"path": checkpoints[0].name, "weights": checkpoints[0].weights},
        "sources": [str(s) for s in sources],
        "fetched": [c.remote.address for c in checkpoints if c.remote is not None],
        "primaries": {"declared": [], "sha256": content_key([], length=64)},
        "probes": to_mapping(config),
        "asked": {name: origin(name, benchmark) for name, benchmark in config.benchmarks.items()},
    }
    create_run(out, info)
    return Run(out), checkpoints, config


def _opened(config: ProbeConfig, engine: Literal["hf", "vllm"] | None) -> ProbeConfig:
    return found_from_anywhere(config if engine is None else replace(config, engine=engine))


def probe_run(
    run: Run,
    checkpoints: Sequence[Checkpoint],
    config: ProbeConfig,
    *,
    base: Checkpoint | None = None,
    workers: int | None = None,
    ray: RayConfig | None = None,
    retries: int = RETRIES,
    quiet: bool = False,
    stay_warm: bool = False,
) -> list[Failure]:
    """Measure what is missing at every checkpoint; gives what failed: checkpoints, and probes. `base`: by default the first.

    Checkpoints are independent units, in coarse-to-fine order: a worker that finds the base's activations missing captures
    them itself. With `ray`, actors on its cluster do them; else this process, or processes of this machine. Any number of
    sweeps may run on one folder at once: each unit is done by one. `stay_warm`: an engine that was started is kept for the
    next call. Raises CheckpointError, and ConfigError where the cluster cannot be used.
    """
    if not checkpoints:
        raise CheckpointError(f"{run.path} has no checkpoints to probe")
    base = base or min(checkpoints, key=lambda c: c.step)
    folder, config = Path(os.path.abspath(run.path)), found_from_anywhere(config)
    payload = {"run": str(folder), "config": to_mapping(config), "base": _portable(base)}
    claims = Claims(folder / CLAIMS, content_key(payload["config"], base.weights))
    planner = _planner(_kept, folder, base, config)
    for line in planner.skipped:
        print(f"note: {line}", file=sys.stderr)
    payload["left_out"] = planner.left_out
    todo: dict[str, Checkpoint] = {}
    failures: list[Failure] = []
    by_step = sorted(checkpoints, key=lambda c: c.step)
    for checkpoint in (by_step[i] for i in coarse_to_fine(len(by_step))):
        try:
            if planner.missing(checkpoint):
                todo[f"{step_name(checkpoint.step)}-{checkpoint.weights[:12]}"] = checkpoint
        except (SftscopeError, OSError) as problem:
            failures.append(_record_failure(run, checkpoint, str(problem)))
    if not todo:
        return failures
    units = [Unit(f"step {c.step}", {**payload, "checkpoint": _portable(c)}, claim) for claim, c in todo.items()]
    # A warm engine serves one checkpoint after the other: more of them only where they are asked for.
    count = min(workers or (1 if config.engine == "vllm" else default_workers()), len(units))
    crew: Crew
    if ray is not None:
        measured = [c for c in (base, *todo.values()) if c.remote is None]
        read = [*(p for c in measured for p in (c.path, c.tokenizer) if p is not None), *files_of(config)]
        seen = list(dict.fromkeys(Path(os.path.abspath(p)) for p in read))
        crew = RayCrew(len(units), DO, ray, folder, seen, workers)
    elif count == 1:
        crew = Here(do_unit, _kept)
    else:
        crew = Processes(count, DO)
    try:
        with progress_bar("probing checkpoints", len(units), quiet) as advance:
            for unit, error in run_units(units, crew, advance, claims, retries):
                checkpoint = todo[unit.claim]
                if error:
                    failures.append(_record_failure(run, checkpoint, error))
                else:  # what failed before is mended
                    failed = (run.path / "measurements" / step_name(checkpoint.step)).glob(
                        "checkpoint-*.failed.parquet"
                    )
                    for mended in failed:
                        mended.unlink(missing_ok=True)  # another sweep may be mending it
                    told = planner.failures(checkpoint).items()
                    failures += [Failure(checkpoint.step, reason, probe) for probe, reason in told]
    finally:
        if not stay_warm:
            planner.close()
    return failures


def _record_failure(run: Run, checkpoint: Checkpoint, reason: str) -> Failure:
    row = Measurement.failure(checkpoint.step, "checkpoint", reason)
    key = content_key(str(checkpoint.path), reason)
    write_measurements(run.path, checkpoint.step, "checkpoint", key=f"{key}.failed", settings="checkpoint", rows=[row])
    return Failure(checkpoint.step, reason)


def _portable(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as JSON, for a worker that may stand in another folder.

    Links are left: what they lead to may be called otherwise on another machine.
    """
    own = None if checkpoint.tokenizer is None else Path(os.path.abspath(checkpoint.tokenizer))
    return to_mapping(replace(checkpoint, path=Path(os.path.abspath(checkpoint.path)), tokenizer=own))


DO = "sftscope.pipeline:do_unit_apart"  # what workers in other processes do
_kept = Kept()  # of this process


def do_unit(payload: dict[str, Any], say: Say, kept: Kept) -> None:
    """Measure one checkpoint. Planners, and the engines they hold, are kept from unit to unit."""
    base = from_mapping(Checkpoint, payload["base"])
    planner = _planner(kept, Path(payload["run"]), base, from_mapping(ProbeConfig, payload["config"]))
    _check_asks_the_same(planner, payload["left_out"])
    planner.measure(from_mapping(Checkpoint, payload["checkpoint"]), say=say)


def _check_asks_the_same(planner: Planner, left_out: Sequence[str]) -> None:
    """Raise ConfigError where a worker has other benchmarks than the command: its results would not be compared with others'."""
    here = socket.gethostname()
    if missing := [name for name in planner.left_out if name not in left_out]:
        raise ConfigError(f"the worker on {here} lacks {', '.join(missing)}: {'; '.join(planner.skipped)}")
    if more := [name for name in left_out if name not in planner.left_out]:
        raise ConfigError(
            f"the worker on {here} has {', '.join(more)}, which the command left out: give both machines the same packages "
            "and files, or take it out of `probes.benchmarks`"
        )


def do_unit_apart(payload: dict[str, Any], say: Say, kept: Kept) -> None:
    """`do_unit` in a process of its own."""
    quiet_libraries()
    do_unit(payload, say, kept)


def _planner(kept: Kept, run: Path, base: Checkpoint, config: ProbeConfig) -> Planner:
    """The planner of a run, made once: a folder that is watched may lose its first checkpoint to rotation."""
    key = content_key("planner", str(run), to_mapping(config), _portable(base))
    return kept.get(key, lambda: Planner(run, base, config))


def quiet_libraries() -> None:
    """No loading bars of other libraries between ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


class Stages:
    """How long each stage of a command took, for the table at its end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        since = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - since
