"""The tasks of lm-evaluation-harness, found by name: which can be asked here, and why another cannot.

Only its task definitions are read. Its models and its loop of generation are never used: responses are stored once, and graded
as often as one likes.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...dynamics.errors import ConfigError, first_line
from .rows import Unavailable

PREFIX = "lm_eval_"
INSTALL = "pip install 'sftscope[benchmarks]'"
SHOWN = 8  # tasks of a group in a message
GENERATES = "generate_until"
# What runs a response as code, in a task's own files: `eval(…)` and its like, and what sympy evaluates.
_RUNS_CODE = re.compile(
    r"(?<![\w.])(?:eval|exec)\(|\b(?:parse_expr|sympify|code_eval)\b|^\s*(?:import|from) subprocess\b", re.MULTILINE
)
_NAMED = re.compile(r"""^["']?task["']?[ \t]*:[ \t]*["']?([^\s"'#\[\]]+)["']?[ \t]*(?:#.*)?$""", re.MULTILINE)

Settings = dict[str, Any]  # a task's YAML file, what it includes put in


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what the harness and its tasks print, log and warn of while they are loaded."""
    before = logging.root.manager.disable
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


def harness_version() -> str:
    """Of the installed package; nothing where there is none."""
    try:
        return version("lm_eval")
    except PackageNotFoundError:
        return ""


def find_task(task: str) -> Settings:
    """The settings of a task that can be asked here, functions in place.

    Raises ConfigError, with the reason and the way out, for any other, and Unavailable where a package is missing.
    """
    name = PREFIX + task
    try:
        with quietly():
            from lm_eval.tasks._yaml_loader import load_yaml

            file = _file_of(task)
            plain = load_yaml(file, resolve_func=False) if file else {}
    except ImportError as error:
        raise Unavailable(
            f"{name} is skipped: lm-evaluation-harness is not here ({first_line(error)}): {INSTALL}"
        ) from error
    if file is None or plain.get("output_type", GENERATES) != GENERATES:
        raise ConfigError(_other(task, plain))
    _check(name, plain, file)
    try:
        with quietly():
            settings = load_yaml(file)
    except (Exception, SystemExit) as error:  # what tasks do while they are imported: assert versions, fetch, give up
        raise Unavailable(
            f"{name} is skipped: the task needs something that is not here ({first_line(error)})"
        ) from error
    if "langdetect" in sys.modules:
        sys.modules["langdetect"].DetectorFactory.seed = 0  # else the language of a short text is drawn anew each time
    return settings


def _file_of(task: str) -> Path | None:
    """The YAML file of a single task, the first where there are several, as the harness has it."""
    from lm_eval.tasks._yaml_loader import load_yaml

    for file in _names().get(task, ()):
        plain = load_yaml(file, resolve_func=False)
        if plain.get("task") == task and not {"class", "group"} & plain.keys():
            return file
    return None


@lru_cache(maxsize=1)
def _names() -> dict[str, list[Path]]:
    """The files that name a task. The harness parses all of its 14,000 files for an index: ten times as long."""
    found: dict[str, list[Path]] = {}
    for file in sorted(_root().glob("**/*.yaml"), key=lambda f: f.as_posix()):
        if named := _NAMED.search(file.read_text(encoding="utf-8")):
            found.setdefault(named[1], []).append(file)
    return found


def _root() -> Path:
    spec = find_spec("lm_eval.tasks")
    if spec is None or spec.origin is None:
        raise ImportError("lm_eval.tasks is not found")
    return Path(spec.origin).parent


# ---------------------------------------------------------------- what is refused


def _check(name: str, plain: Settings, file: Path) -> None:
    """Raise ConfigError for a task that generates, and cannot be judged from one stored answer a question."""
    sources = {p.parent for p in _functions(plain)}
    code = any(_RUNS_CODE.search(f.read_text(encoding="utf-8")) for folder in sources for f in folder.glob("*.py"))
    if plain.get("unsafe_code") or code:
        raise ConfigError(
            f"the scorer of {name} runs answers as code: ask `livecodebench` (docs/code-execution.md), or choose another task"
        )
    if plain.get("doc_to_image") or plain.get("doc_to_audio"):
        raise ConfigError(f"{name} shows pictures or sounds, and text alone is asked here: choose another task")
    if plain.get("gen_prefix"):
        begun = str(plain["gen_prefix"])[:40]
        raise ConfigError(
            f"{name} begins the answer itself (with {begun!r}), which is not done here: choose another task"
        )
    if (plain.get("repeats") or 1) > 1:
        raise ConfigError(
            f"{name} judges {plain['repeats']} responses to a question together; here each is judged: choose another task"
        )


def _functions(value: Any) -> Iterator[Path]:
    """The Python files that a task's functions are in, as its file names them: /folder/module.function."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _functions(one)
    elif isinstance(value, str) and value.startswith("/") and "\n" not in value and len(value) < 1000:
        folder, _, dotted = value.rpartition("/")
        inside = dotted.rpartition(".")[0].replace(".", "/") + ".py"
        for file in (Path(folder) / inside, _root().parents[1] / inside):  # beside the task, or a module of the package
            if file.is_file():
                yield file


def _other(task: str, plain: Settings) -> str:
    """Why a name is none of a task that generates: graded by likelihoods, a group of tasks, or not there."""
    name = PREFIX + task
    if plain:
        return (
            f"{name} is graded by likelihoods (`output_type: {plain['output_type']}`), which needs the harness's own loop: "
            "ask one with stated letters (mmlu_pro, gpqa_diamond, truthfulqa_choice)"
        )
    index = _index()
    entry = index.get(task)
    if entry is None:
        return f"lm-evaluation-harness {harness_version()} has no task {task!r}: {_near(name)}"
    if entry.kind.name == "PY_TASK":
        return f"{name} is written in Python, its own loop in it, and not as settings: choose another task"
    inside = sorted(n for n in _members(task, index, set()) if _generates(index[n]))
    if not inside:
        return f"{name} is a group of tasks that are graded by likelihoods, which is not done here: choose another task"
    more = f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else ""
    listed = ", ".join(PREFIX + n for n in inside[:SHOWN])
    return f"{name} is a group: ask its tasks one by one, {listed}{more}"


def _members(name: str, index: dict[str, Any], seen: set[str]) -> Iterator[str]:
    """The tasks of a group or a tag, those of its groups too."""
    entry = index.get(name)
    if entry is None or name in seen:
        return
    seen.add(name)
    if entry.kind.name not in ("GROUP", "TAG"):
        yield name
        return
    yield from _held(entry.tags if entry.kind.name == "TAG" else entry.cfg, index, seen)


def _held(value: Any, index: dict[str, Any], seen: set[str]) -> Iterator[str]:
    """What a group's settings name: tasks and groups by name, or groups written out in place."""
    if isinstance(value, dict):
        value = value.get("task") or value.get("group") or []
    for one in [value] if isinstance(value, str) else value:
        yield from _members(one, index, seen) if isinstance(one, str) else _held(one, index, seen)


def _generates(entry: Any) -> bool:
    return entry.kind.name == "TASK" and (entry.cfg or {}).get("output_type", GENERATES) == GENERATES


@lru_cache(maxsize=1)
def _index() -> dict[str, Any]:
    """The harness's own index: slow, and only read for what is said of a name that is no task's."""
    with quietly():
        from lm_eval.tasks import TaskManager

        return TaskManager().task_index


def _near(name: str) -> str:
    task = name.removeprefix(PREFIX)
    close = difflib.get_close_matches(task, _names(), n=3, cutoff=0.6)
    if not close:
        return "choose another task: `lm-eval ls tasks` lists them"
    return "did you mean " + " or ".join(PREFIX + c for c in close) + "?"
