"""The command line. Every command works on a run folder, and running one again does only what is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from .console import busy, organism_table, print_costs, print_failures, print_settings
from .dynamics.errors import SftscopeError, Stopped, nearest
from .dynamics.model_text import visible
from .failures import measured, told
from .signals import sigterm_exits

if TYPE_CHECKING:
    from .probes.planner import ProbeConfig

# Heavy imports happen inside the commands: `sftscope --help` answers at once.

OutFile = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]


def quickstart(
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/quickstart"),
    recipe: str = "quickstart",
    workers: int | None = None,
) -> None:
    """Fine-tune a small organism, probe every checkpoint, analyse the run and write its report.

    Args:
        out: the run folder; a run that is there already is completed, not repeated.
        recipe: the recipe to run, by name or path.
        workers: processes that probe checkpoints side by side; by default one a core, four at most.
    """
    from .pipeline import Stages, probe_config, probe_run, quiet_libraries, train_run
    from .probes.finding import find_checkpoints
    from .recipes import read_recipe

    stages = Stages()
    quiet_libraries()
    settings = read_recipe(recipe, out)
    with stages("train, with activations captured at every checkpoint"):
        run = train_run(settings, out, resume=_begun(out))
    with stages("probe the checkpoints"):
        failures = probe_run(run, find_checkpoints([out]), probe_config(run), workers=workers)
    with stages("analyse"):
        _analyze(out)
    with stages("report"):
        page = _report([out], None)
    if settings.train.tracking.to == "wandb":
        with stages("mirror to W&B (offline unless WANDB_MODE says otherwise)"):
            _push(out)
    print_costs(out, stages.seconds)
    print_failures(told(failures))
    print(f"\nreport: {page.resolve()}")


def train(config: Positional[str], out: OutFile = None, resume: bool = False) -> None:
    """Train as a recipe says; checkpoints are hooked, the run folder records everything.

    Settings follow the recipe as flags of their full name: `--train.optim.lr 1e-4 --train.schedule.epochs 2`.

    Args:
        config: a recipe, by path or by the name of one that ships.
        out: the run folder; by default runs/<recipe's name>.
        resume: go on from the last full state of an interrupted run.
    """
    _train(config, out, resume, [])


def _train(config: str, out: Path | None, resume: bool, overrides: list[str]) -> None:
    from .dynamics.settings import to_mapping
    from .pipeline import quiet_libraries, train_run
    from .recipes import read_recipe

    out = out or Path("runs") / Path(config).stem
    recipe = read_recipe(config, out, overrides)
    quiet_libraries()
    first = os.environ.get("RANK", "0") == "0"  # of the processes that `accelerate launch` starts, one speaks
    if first:
        print_settings(to_mapping(recipe))
    run = train_run(recipe, out, resume=resume)
    if first:
        print(f"run: {run.path.resolve()}\nnext: sftscope probe {out}, then analyze and report")


def doctor(config: Positional[str], out: OutFile = None) -> None:
    """Say what can be known of a run before it starts: steps, disk, memory, hours, masks, packing, contamination.

    Nothing is written and no hub is asked. Settings follow the recipe as flags, as for `train`.

    Args:
        config: a recipe, by path or by the name of one that ships.
        out: the run folder that it would be trained into; by default runs/<recipe's name>.
    """
    _doctor(config, out, [])


def _doctor(config: str, out: Path | None, overrides: list[str]) -> None:
    from .doctor import examine, show_checks
    from .dynamics.errors import ConfigError
    from .recipes import read_recipe

    out = out or Path("runs") / Path(config).stem
    checks = examine(read_recipe(config, out, overrides), out)
    show_checks(checks)
    failed = list(dict.fromkeys(check.name for check in checks if check.status == "failed"))
    if failed:
        raise ConfigError(f"not ready: {', '.join(failed)} (see above)")


def probe(
    paths: Positional[tuple[str, ...]],
    out: OutFile = None,
    config: Path | None = None,
    steps: Path | None = None,
    tokenizer: str | None = None,
    workers: int | None = None,
    engine: Literal["hf", "vllm"] | None = None,
    executor: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: float = 1,
    retries: int = 2,
) -> None:
    """Measure the checkpoints of a run, of any folder of checkpoints, or of the hub.

    First the first and the last, then the middle, the quarters … Any number of these may run on one folder at once: each
    checkpoint is measured by one of them.

    Args:
        paths: a run folder, a folder of checkpoints (step-N, checkpoint-N, global_step_N), model or adapter folders, or
            hub names (name[@revision][:subfolder]; of a repository with step folders, all of them).
        out: the run folder that gets the results; needed for checkpoints that are not a run's own.
        config: a YAML file with a `probes:` section; by default what the run was made with.
        steps: a YAML or JSON file that maps paths, folders' names or hub names to steps, where names do not tell them.
        tokenizer: folder or hub name of a tokenizer, for checkpoints without their own.
        workers: processes that probe checkpoints side by side; by default one a core, four at most (with vllm: one). On Ray,
            one a GPU, or one a CPU where there is none.
        engine: who writes the responses (docs/vllm.md); by default what the settings say, `hf` where they do not.
        executor: processes of this machine, or actors on an existing Ray cluster.
        ray_address: host:port of the cluster's head; by default RAY_ADDRESS, or the cluster this machine belongs to.
        gpus_per_worker: that Ray sets aside for a worker, which computes on one of them; by default 1 where the cluster has GPUs.
        cpus_per_worker: of a Ray worker.
        retries: how often a checkpoint is given to another worker when one died at it.
    """
    from .dynamics.errors import ConfigError
    from .pipeline import open_probe_run, probe_run, quiet_libraries
    from .probes.checkpoints import note_on_ends
    from .ray_crew import RayConfig

    if executor != "ray" and (ray_address or gpus_per_worker is not None or cpus_per_worker != 1):
        raise ConfigError(
            "`--ray-address` and what a worker takes are for Ray: add `--executor ray`, or leave them out"
        )
    ray = RayConfig(ray_address, gpus_per_worker, cpus_per_worker) if executor == "ray" else None
    if not paths:
        raise ConfigError("no checkpoints were named: give a run folder, a folder of checkpoints, or model folders")
    if engine == "vllm":
        from .probes.engines.vllm import check_installed

        check_installed()
    quiet_libraries()
    settings = _probe_settings(config)
    options = _checkpoint_options(steps, tokenizer)
    run, checkpoints, settings = open_probe_run(paths, out, settings, engine=engine, **options)
    if note := note_on_ends(checkpoints):
        print(f"note: {note}", file=sys.stderr)
    failures = probe_run(run, checkpoints, settings, workers=workers, ray=ray, retries=retries)
    print_costs(run.path)
    print_failures(told(failures))
    print(f"measured: {measured(failures, len(checkpoints))}, in {run.path.resolve()}")
    if failures:
        raise SystemExit(1)


def selftest(
    model: Positional[str],
    out: OutFile = None,
    domains: tuple[str, ...] = (),
    items: int = 32,
    temperature: float = 0.7,
    tokenizer: str | None = None,
) -> None:
    """Measure one model twice, and what should be nothing: the noise floor and the nulls, before a run.

    Args:
        model: a model's or an adapter's folder, organism:NAME, or a hub name (name[@revision][:subfolder]).
        out: a folder that gets the numbers, as selftest.json.
        domains: what is asked; by default every domain.
        items: questions of each, answered four times.
        temperature: of the sampled answers.
        tokenizer: folder or hub name of a tokenizer, for a model without its own.
    """
    from .pipeline import quiet_libraries
    from .selftest import run_selftest

    quiet_libraries()
    if run_selftest(model, out, domains, items, temperature, tokenizer):
        raise SystemExit(1)


def watch(
    paths: Positional[tuple[Path, ...]],
    out: OutFile = None,
    config: Path | None = None,
    steps: Path | None = None,
    tokenizer: str | None = None,
    every: float = 10.0,
    idle: float | None = None,
    on_alert: Literal["warn", "save", "stop"] | None = None,
) -> None:
    """Measure checkpoints as they appear in a folder that another process is still filling.

    Ends when a training run is complete and measured; of another's folder, when you say so.

    Args:
        paths: a run folder in training, or a folder of checkpoints (step-N, checkpoint-N, global_step_N).
        out: the run folder that gets the results; needed for checkpoints that are not a run's own.
        config: a YAML file with a `probes:` section; by default what the run was made with.
        steps: a YAML or JSON file that maps folders' names to steps, where names do not tell them.
        tokenizer: folder or hub name of a tokenizer, for checkpoints without their own.
        every: seconds between two looks.
        idle: end after so many seconds without a new checkpoint.
        on_alert: what an alert does beside being told: nothing (warn), or ask the training run to save or to stop.
    """
    from .dynamics.errors import ConfigError
    from .pipeline import quiet_libraries
    from .watch import watch_run

    if not paths:
        raise ConfigError("no folder was named: give a run folder, or a folder that gets checkpoints")
    quiet_libraries()
    settings, options = _probe_settings(config), _checkpoint_options(steps, tokenizer)
    run, failures = watch_run(paths, out, settings, every=every, idle=idle, on_alert=on_alert, **options)
    print(
        f"measured: {len(run.measured_steps())} checkpoints, in {run.path.resolve()}\nnext: sftscope analyze {run.path}"
    )
    if failures:
        raise SystemExit(1)


def analyze(path: Positional[Path], items: Path | None = None, out: OutFile = None) -> None:
    """Turn a run's measurements into findings: phases, associations, costs, and what to do next.

    Scores from elsewhere need no model: a table (`step` and a column per benchmark, or `step, benchmark, score[, item,
    sample]`; CSV or Parquet), or a folder of lm-eval's results. They become a run folder of their own.

    Args:
        path: the run folder, a table of scores, or a folder of lm-eval's results.
        items: what stands behind each score: benchmark, group, items, samples_per_item[, unit, metric].
        out: the folder for the findings of scores from elsewhere.
    """
    from .dynamics.scores.importing import run_of

    run = run_of(path, items, out)
    for finding in _analyze(run):
        print(visible(f"{finding.kind:>11}  {finding.sentence}"))
    print(f"\nfindings: {(run / 'findings.json').resolve()}")


def compare(
    paths: Positional[tuple[str, ...]],
    out: OutFile = None,
    match: Literal["step", "tokens", "score"] = "step",
    caliper: float | None = None,
    items: Path | None = None,
    condition: str = "data",
    by: tuple[str, ...] = ("model",),
    base: str = "base",
    benchmark_column: str = "benchmark",
    group_column: str = "group",
    items_column: str = "items",
    unit_column: str = "unit",
) -> None:
    """Say what differs between runs, or between the rows of a table of last-checkpoint scores, and what cannot be told apart.

    Args:
        paths: two runs or more (those that differ in the seed alone form one arm; ARM=RUN names arms), or one table of scores.
        out: a folder that gets comparison.html, the same in Markdown, comparison.json, and every table as parquet and CSV.
        match: what checkpoints of two runs are matched on; score is that of the in-domain reasoning.
        caliper: how far apart matched checkpoints may be: a share of the tokens (0.1), or of the in-domain items (0.03).
        items: of a table, what stands behind its scores: benchmark, group, items and (optionally) unit.
        condition: of a table, the column whose values are compared.
        by: of a table, the columns within which they are compared.
        base: of a table, the condition over which the others gain.
        benchmark_column: of the items table, the column of the benchmarks' names.
        group_column: of the items table, the column of their groups.
        items_column: of the items table, the column of their numbers of questions.
        unit_column: of the items table, the optional column of their units: percent, share, or what is no share.
    """
    with busy("comparing"):
        from .comparing import command_of, compare_paths, print_comparison, write_pages
        from .dynamics.comparison.score_tables import ItemColumns

        columns = ItemColumns(benchmark_column, group_column, items_column, unit_column)
        found, written = compare_paths(
            paths,
            out,
            items=items,
            by=by,
            condition=condition,
            base=base,
            columns=columns,
            match=match,
            caliper=caliper,
        )
        options = {
            "match": match,
            "caliper": caliper,
            "items": items,
            "condition": condition,
            "by": by,
            "base": base,
            "benchmark-column": benchmark_column,
            "group-column": group_column,
            "items-column": items_column,
            "unit-column": unit_column,
        }
        pages = write_pages(found, out / "comparison.html", command_of(compare, paths, out, options)) if out else []
    print_comparison(found)
    if pages:
        print(f"comparison: {pages[0].resolve()}, with {len(written) + 1} files beside it")
    else:
        print("nothing was written: give -o DIR to keep the tables and findings")


def report(
    runs: Positional[tuple[Path, ...]],
    out: OutFile = None,
    figures: Path | None = None,
    x_axis: Literal["step", "epoch", "tokens", "cumulative_lr"] = "step",
) -> None:
    """Write a run's report, or the comparison of several: one HTML file that opens offline, and the same in Markdown.

    Args:
        runs: the run folder; of two or more (or ARM=RUN), the page that `sftscope compare` writes.
        out: the HTML file; by default report.html in the run folder, and needed for several runs.
        figures: a folder that gets every figure as SVG, PNG and CSV, and the verdicts as CSV; no browser is needed.
        x_axis: what those figures have under them.
    """
    if x_axis != "step" and figures is None:
        from .dynamics.errors import ConfigError

        raise ConfigError(f"`--x-axis {x_axis}` is of figures that are written to files: add --figures FOLDER")
    print(f"report: {_report(list(runs), out, figures, x_axis).resolve()}")
    if figures is not None:
        print(f"figures: {figures.resolve()}")


def show(run: Positional[Path]) -> None:
    """Print a run's findings and scores in the terminal.

    Args:
        run: the run folder.
    """
    from .reports import show as show_run

    show_run(run)


def pick(run: Positional[Path], prefer: str, sure: bool = False, json: bool = False) -> None:
    """Say which checkpoint to take, by what you prefer: its path, on a line of its own, and why.

    The estimate is corrected for having been picked, and its interval holds for all checkpoints at once. Exit status 1
    where no checkpoint meets the constraints.

    Args:
        run: the run folder.
        prefer: what is best, s.t. constraints: "ood_reasoning s.t. refusal >= 0.9 and general >= base - 0.02". Names
            are groups (id_reasoning, ood_reasoning, reasoning, general, safety), refusal, helpful, over_refusal, domains and
            domain.metric (with min or max before it).
        sure: a constraint has to be met by its bound, not by the estimate alone.
        json: print JSON instead.
    """
    from .picking import print_pick

    if not print_pick(run, prefer, sure, json):
        raise SystemExit(1)


def push(run: Positional[Path]) -> None:
    """Mirror a run's measurements and report to W&B (offline unless WANDB_MODE says otherwise).

    Args:
        run: the run folder.
    """
    if not _push(run, print):
        print("nothing pushed: WANDB_MODE is disabled")


def recipes() -> None:
    """List the recipes that ship: quickstart, the standard run, data arms, schedules."""
    from rich.console import Console
    from rich.table import Table

    from .recipes import shipped

    table = Table("recipe", "what it is", box=None)
    for name, about in shipped().items():
        table.add_row(name, about)
    Console().print(table)


def organism(action: Positional[str], name: Positional[str] = "", out: OutFile = None) -> None:
    """`organism list`, or `organism build NAME`: rebuild a base organism from its recipe.

    Args:
        action: list (the organisms that ship, with their strict scores) or build.
        name: a recipe in configs/organisms/, with -s1, -s2 … for another seed of it.
        out: where the work and the exported weights go; by default runs/organisms/NAME.
    """
    from .dynamics.errors import ConfigError

    if action == "list":
        from rich.console import Console

        table = organism_table()
        # As wide as it is: cut to a narrow terminal, the names of what is listed could not be read.
        Console(width=max(Console().width, 20 + 16 * len(table.columns))).print(table)
    elif action == "build":
        from .pretraining import build_organism

        print(f"organism: {build_organism(name, out or Path('runs/organisms') / name).resolve()}")
    else:
        raise ConfigError(f"unknown action {action!r}: {nearest(action, ['list', 'build'])}")


COMMANDS: dict[str, Callable[..., None]] = {
    f.__name__: f
    for f in (
        quickstart,
        doctor,
        selftest,
        train,
        probe,
        watch,
        analyze,
        compare,
        pick,
        report,
        show,
        push,
        recipes,
        organism,
    )
}


# ---------------------------------------------------------------- parts


def _probe_settings(config: Path | None) -> ProbeConfig | None:
    from .dynamics.settings import from_mapping, read_yaml
    from .probes.planner import ProbeConfig

    return from_mapping(ProbeConfig, read_yaml(config).get("probes", {}), "probes") if config else None


def _checkpoint_options(steps: Path | None, tokenizer: str | None) -> dict[str, Any]:
    """What `--steps` and `--tokenizer` mean for those that look for checkpoints."""
    from .probes.finding import read_steps, tokenizer_folder

    return {
        "steps": None if steps is None else read_steps(steps),
        "tokenizer": None if tokenizer is None else tokenizer_folder(tokenizer),
    }


def _begun(out: Path) -> bool:
    return (out / "run.json").is_file()


def _analyze(run: Path) -> list:
    with busy("analysing"):
        from .dynamics.analysis import analyze as analyze_run

        return analyze_run(run)


def _push(run: Path, say: Callable[[str], None] | None = None) -> list[Path]:
    with busy("mirroring to W&B"):
        from .reports import push as push_run

        return push_run(run, say=say)


def _report(runs: list[Path], out: Path | None, figures: Path | None = None, x_axis: Any = "step") -> Path:
    from .dynamics.errors import ConfigError

    if not runs:
        raise ConfigError("no run was named: give a run folder, or several to compare")
    if len(runs) > 1:
        return _report_of_several([str(r) for r in runs], out, figures, x_axis)
    with busy("writing the report"):
        from .reports import export_figures, write_markdown, write_report

        if figures is not None:
            export_figures(runs[0], figures, x_axis)
        write_markdown(runs[0], (out or runs[0] / "report.html").with_suffix(".md"))
        return write_report(runs[0], out)


def _report_of_several(runs: list[str], out: Path | None, figures: Path | None, x_axis: Any) -> Path:
    from .dynamics.errors import ConfigError

    if out is None:
        raise ConfigError(
            f"{len(runs)} runs are compared on a page that belongs to none of them: say where, with -o FILE"
        )
    with busy("comparing"):
        from .comparing import command_of, runs_compared, write_pages
        from .reports import export_comparison

        found = runs_compared(runs)
        if figures is not None:
            export_comparison(found, figures, x_axis)
        return write_pages(found, out, command_of(report, runs, out, {}))[0]


def _overview() -> str:
    from . import __doc__ as about

    lines = ["usage: sftscope COMMAND …", "", about or "", "", "commands:"]
    for name, function in COMMANDS.items():
        lines.append(f"  {name:<12}{(function.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", "`sftscope COMMAND --help` tells a command's arguments."])


def _call(name: str, args: list[str]) -> None:
    if name == "train" and not {"-h", "--help"} & set(
        args
    ):  # what is no flag of the command is a setting of the recipe
        (config, out, resume), overrides = tyro.cli(
            _train_arguments, prog="sftscope train", args=args, return_unknown_args=True
        )
        _train(config, out, resume, overrides)
    elif name == "doctor" and not {"-h", "--help"} & set(args):
        (config, out), overrides = tyro.cli(
            _doctor_arguments, prog="sftscope doctor", args=args, return_unknown_args=True
        )
        _doctor(config, out, overrides)
    else:
        tyro.cli(COMMANDS[name], prog=f"sftscope {name}", args=args)


def _train_arguments(
    config: Positional[str], out: OutFile = None, resume: bool = False
) -> tuple[str, Path | None, bool]:
    return config, out, resume


def _doctor_arguments(config: Positional[str], out: OutFile = None) -> tuple[str, Path | None]:
    return config, out


def main(argv: list[str] | None = None) -> int:
    """Run a command. A user's mistake ends in one screen with the value and the way out, and exit code 2; a run that was
    asked to stop ends with 3."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        if not args or args[0] in ("-h", "--help", "help"):
            print(_overview())
            return 0
        if args[0] in ("--version", "-V"):
            from . import __version__

            print(__version__)
            return 0
        if args[0] not in COMMANDS:
            from .dynamics.errors import ConfigError

            raise ConfigError(f"unknown command {args[0]!r}: {nearest(args[0], COMMANDS)}")
        with sigterm_exits():
            _call(args[0], args[1:])
    except Stopped as ended:
        print(visible(f"stopped: {ended}"), file=sys.stderr)
        return 3
    except SftscopeError as error:
        print(visible(f"error: {error}"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    return 0
