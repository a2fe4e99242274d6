"""Code of a model, run against one input in a process that can harm nothing."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ...dynamics.errors import ConfigError
from . import host
from .protections import Protection, check_names, judged, refuse
from .running import Allowed, Ending, Watched, watch
from .seccomp import filter_program

MIB = 1 << 20
READY = b"R"  # jail.READY
THREADS = (
    64  # of one run; users who are not root: beyond what they run already, with room for what they start meanwhile
)
ROOM = 1024
_HERE = Path(__file__).parent
JAIL = (_HERE / "jail.py").read_text(encoding="utf-8")
ATTEMPTS = (_HERE / "attempts.py").read_text(encoding="utf-8")


class SandboxFailure(RuntimeError):
    """A run that could not be locked in: the code was not started, and nothing is known about it."""


@dataclass(frozen=True)
class SandboxConfig:
    """Running code that a model wrote. Off unless asked for (docs/code-execution.md)."""

    allow_code_execution: bool = False
    accept_missing: tuple[str, ...] = ()  # protections to do without on this machine, by name
    python: Path | None = None  # the interpreter to run it with; null: the one sftscope runs in
    workers: int | None = None  # runs side by side; null: one a core that this process may use
    test_s: float = 6.0  # of processor time for one test; twice as much by the clock
    memory_mib: int = 2048  # address space of one run
    program_s: float | None = None  # by the clock for all tests of one program; null: 7 a test, and 5

    def __post_init__(self) -> None:
        check_names(self.accept_missing)
        for name, least in (("workers", 1), ("test_s", 0.1), ("memory_mib", 64), ("program_s", 0.1)):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ConfigError(f"`probes.sandbox.{name}` is {value}: give {least} or more")

    def seconds_for(self, tests: int) -> float:
        """What a program may take by the clock for all its tests; unless it is said, what LiveCodeBench gives it."""
        return self.program_s if self.program_s is not None else 7.0 * tests + 5.0

    def settings(self) -> str:
        """What of this decides a grade, beside the interpreter."""
        whole = "" if self.program_s is None else f", {self.program_s:g} s a program"
        return f"{self.test_s:g} s and {self.memory_mib} MiB a test{whole}"


@dataclass(frozen=True)
class Limits:
    """What one run may use."""

    wall_s: float = 6.0  # from when the code starts; the start of the interpreter is not counted
    cpu_s: float | None = None  # whole seconds, rounded up; None: as the wall clock
    memory_mib: int = 2048  # address space of the one process
    output_mib: float = 8.0  # each of standard output, the result, and standard error
    file_mib: float = 16.0  # one file
    folder_mib: float = 64.0  # all files; looked at every 0.05 s
    open_files: int = 64


@dataclass(frozen=True)
class Outcome:
    """What a run did. Whether it is right is for the caller to say, from `stdout` or `result`."""

    ending: Ending
    exit_code: int  # negative: the signal that ended it
    stdout: bytes  # no more than the limit
    error: str  # the last line of standard error
    result: Any = None  # the value of the call that was asked for, through JSON
    has_result: bool = False
    wall_s: float = math.nan
    cpu_s: float = math.nan
    peak_mib: float = math.nan

    @property
    def ok(self) -> bool:
        """Whether it ended by itself and without an error."""
        return self.ending == "exited" and self.exit_code == 0


@dataclass
class Sandbox:
    """Runs code locked in by the kernel. `open_sandbox` makes one that has proved its protections."""

    python: str = sys.executable
    without: frozenset[str] = frozenset()  # mechanisms left aside: "landlock", "mounts", "seccomp", "own-user"
    _interpreter: host.Interpreter = field(init=False)

    def __post_init__(self) -> None:
        self._interpreter = host.interpreter(self.python)
        self._users = range(0) if "own-user" in self.without else host.own_users(self._interpreter)
        self._landlock = 0 if "landlock" in self.without else host.landlock_version()
        self._seccomp = "seccomp" not in self.without and host.has_seccomp()
        self._writes: Literal["landlock", "mounts", "none"] = "landlock"
        if self._landlock < host.LANDLOCK_NEEDED:
            self._writes = "none" if "mounts" in self.without or not self._starts_with_mounts() else "mounts"
        self._tasks = host.tasks_of_user() + ROOM + THREADS

    @cached_property
    def _found(self) -> tuple[Protection, ...]:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            outside = Path(folder) / "outside"
            outside.write_text("?")
            os.chmod(outside, 0o666)  # so that a user's rights alone do not keep the run from it
            asked = [str(outside), os.getpid(), [*self._environment(""), "LC_CTYPE"]]
            done = self.run(ATTEMPTS, call="attempt", arguments=asked, limits=Limits(wall_s=30.0))
        if not done.has_result:
            raise SandboxFailure(f"the sandbox could not be tried: {done.error or done.ending}")
        return judged(done.result, self._how())

    def protections(self) -> tuple[Protection, ...]:
        """What holds on this machine: found by trying it, once. Raises SandboxFailure where nothing could be started."""
        return self._found

    def run(
        self,
        code: str | Sequence[str],
        *,
        stdin: bytes = b"",
        call: str | None = None,
        arguments: Sequence[Any] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        """Run code (or parts of it, one after the other in one module) as a main program, in a process and a folder of its own.

        `call` names a function of it, or a method of its class `Solution`, to be called with `arguments` (JSON-able) afterwards.
        May be called from several threads. Raises SandboxFailure where the process could not be locked in.
        """
        limits = limits or Limits()
        folder = tempfile.mkdtemp(prefix="sftscope-run-")
        user = secrets.choice(self._users) if self._users else None
        try:
            if user is not None:
                os.chown(folder, user, user)
            parts = [code] if isinstance(code, str) else list(code)
            job = self._job(folder, user, limits) | {"parts": parts, "call": call, "arguments": list(arguments)}
            return self._outcome(self._start(json.dumps(job).encode(), stdin, folder, limits))
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # flat, and of few bytes

    # -- one run

    def _job(self, folder: str, user: int | None, limits: Limits) -> dict[str, Any]:
        python, bits = self._interpreter, (lambda mib: int(mib * MIB))
        library_path = os.environ.get("LD_LIBRARY_PATH", "").split(":")
        cpu_s = math.ceil(limits.cpu_s or limits.wall_s)
        return {
            "folder": folder,
            "parent": os.getpid(),
            "machine": os.uname().machine,
            "uid": user,
            "writes": self._writes,
            "landlock": self._landlock,
            "readable": [p for p in (*host.READABLE, *python.libraries, *python.packages, *library_path) if p],
            "packages": python.packages,
            "filter": filter_program(os.uname().machine).hex() if self._seccomp else "",
            "rlimits": {
                "RLIMIT_AS": bits(limits.memory_mib),
                "RLIMIT_CPU": cpu_s,
                "RLIMIT_FSIZE": bits(limits.file_mib),
                "RLIMIT_NOFILE": limits.open_files,
                "RLIMIT_NPROC": THREADS if user is not None else self._tasks,
                "RLIMIT_CORE": 0,
                "RLIMIT_MEMLOCK": 0,
                "RLIMIT_MSGQUEUE": 0,
            },
        }

    def _start(self, job: bytes, stdin: bytes, folder: str, limits: Limits) -> tuple[Watched, bytes, bytes, bytes]:
        with ExitStack() as files:
            jail_fd, job_fd, stdin_fd = (
                files.enter_context(_in_memory(b)).fileno() for b in (JAIL.encode(), job, stdin)
            )
            read_end, write_end = os.pipe()
            files.callback(os.close, read_end)
            load = f"exec(compile(open({jail_fd}, encoding='utf-8').read(), 'jail', 'exec'))"
            command = [self.python, "-P", "-s", "-S", "-B", "-c", load, str(job_fd), str(write_end)]
            try:
                process = subprocess.Popen(
                    command,
                    stdin=stdin_fd,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=folder,
                    env=self._environment(folder),
                    pass_fds=(jail_fd, job_fd, write_end),
                    start_new_session=True,
                )
            finally:
                os.close(write_end)
            assert process.stdout is not None
            assert process.stderr is not None
            with process.stdout, process.stderr:
                out, err = process.stdout.fileno(), process.stderr.fileno()
                cpu_s = math.ceil(limits.cpu_s or limits.wall_s)
                allowed = Allowed(limits.wall_s, cpu_s, int(limits.output_mib * MIB), int(limits.folder_mib * MIB))
                watched = watch(process, out, read_end, err, folder, allowed)
            return watched, bytes(watched.outputs[out]), bytes(watched.outputs[read_end]), bytes(watched.outputs[err])

    def _outcome(self, done: tuple[Watched, bytes, bytes, bytes]) -> Outcome:
        watched, stdout, result, errors = done
        lines = errors.decode(errors="replace").strip().splitlines()
        error = lines[-1][:300] if lines else ""
        if not result.startswith(READY):
            raise SandboxFailure(f"a run could not be locked in ({error or f'exit code {watched.exit_code}'})")
        value, there = None, False
        with suppress(ValueError, RecursionError):  # no result, or none that can be read: `has_result` says so
            value, there = json.loads(result[len(READY) :]), True
        return Outcome(
            watched.ending,
            watched.exit_code,
            stdout,
            error,
            value,
            there,
            watched.wall_s,
            watched.cpu_s,
            watched.peak_mib,
        )

    def _environment(self, folder: str) -> dict[str, str]:
        """All that a run sees of an environment. Sets are hashed with a fixed seed, so that a grade can be repeated."""
        own = {"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
        own |= {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        return own | {name: os.environ[name] for name in host.PASSED_ON if name in os.environ}

    # -- what there is

    def _starts_with_mounts(self) -> bool:
        self._writes = "mounts"
        self._tasks = host.tasks_of_user() + ROOM
        try:
            return self.run("").ok
        except SandboxFailure:
            return False

    def _how(self) -> dict[str, str]:
        calls = "seccomp" if self._seccomp else "no seccomp filter"
        writes = {
            "landlock": f"Landlock {self._landlock}",
            "mounts": "read-only mounts",
            "none": "no Landlock of version 3 (Linux 6.2) and no mount namespace",
        }[self._writes]
        user = "a user who owns nothing" if self._users else "your user, without capabilities"
        return {
            "network": calls,
            "writes": f"{writes}, {calls}",
            "processes": calls,
            "other processes": calls,
            "limits": "rlimits",
            "environment": "an environment of its own",
            "privileges": f"{user}, no_new_privs",
            "reads": writes if self._writes == "landlock" else "no Landlock of version 3 (Linux 6.2)",
        }


def open_sandbox(config: SandboxConfig) -> Sandbox:
    """A sandbox that has proved its protections here.

    Raises ConfigError where running code was not asked for, or where a required protection does not hold.
    """
    if not config.allow_code_execution:
        raise ConfigError(
            "it runs code that the model wrote, and `probes.sandbox.allow_code_execution` is false: set it to true to run the "
            "code in a sandbox (docs/code-execution.md), or leave the benchmark out"
        )
    if not sys.platform.startswith("linux"):
        raise ConfigError(f"code of a model is run on Linux only, this is {sys.platform}: use a machine with Linux")
    sandbox = Sandbox(str(config.python or sys.executable))
    try:
        found = sandbox.protections()
    except SandboxFailure as error:
        raise ConfigError(f"code of a model is not run here: {error}") from error
    refuse(found, config.accept_missing)
    return sandbox


def _in_memory(content: bytes):
    """A file that lies in memory only and cannot be changed any more, read from its start."""
    import fcntl

    file = os.fdopen(os.memfd_create("sftscope", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC), "r+b")
    file.write(content)
    file.flush()
    file.seek(0)
    sealed = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, sealed)
    return file
