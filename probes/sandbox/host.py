"""What this machine offers to lock a process in: Landlock, seccomp, an unprivileged user, and where its Python lies."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...dynamics.errors import ConfigError, first_line
from .seccomp import DENIED

LANDLOCK_NEEDED = 3  # Linux 6.2: earlier versions let files be cut off (truncate)
PASSED_ON = ("LD_LIBRARY_PATH",)  # where some builds of Python find their own library; nothing else of the environment
UNPRIVILEGED = range(1_900_000_000, 2_000_000_000)  # users that own nothing and no one is
NOBODY = range(65534, 65535)
DROPPING = (0, 1, 5, 6, 7)  # CAP_CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID: what giving a run its own user takes
READABLE = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache",
    "/etc/localtime", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
)  # fmt: skip


@dataclass(frozen=True)
class Interpreter:
    """A Python, and the folders that hold its libraries and its packages."""

    program: str
    libraries: tuple[str, ...]
    packages: tuple[str, ...]


def interpreter(program: str) -> Interpreter:
    """Where an interpreter's parts lie. Raises ConfigError where it does not start."""
    ask = (
        "import json, sysconfig as s; b = {'base': s.get_config_var('installed_base'), 'platbase': "
        "s.get_config_var('installed_platbase')}; p = s.get_paths(); print(json.dumps([[s.get_path('stdlib'), "
        "s.get_path('platstdlib', vars=b), s.get_config_var('LIBDIR')], [p['purelib'], p['platlib']]]))"
    )
    try:
        done = subprocess.run([program, "-I", "-c", ask], capture_output=True, text=True, check=True, timeout=60)
        libraries, packages = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ConfigError(
            f"`probes.sandbox.python` {program!r} does not start ({first_line(error)}): give a Python 3.11+"
        ) from error
    return Interpreter(program, _there(libraries), _there(packages))


def _there(paths: list[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p for p in paths if p and os.path.isdir(p)))


def landlock_version() -> int:
    """The version of Landlock that the kernel offers; 0 where it has none."""
    return max(0, ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_long(0), ctypes.c_long(1)))


def has_seccomp() -> bool:
    """Whether a filter of ours can be set here: the kernel knows filters and we know its system calls."""
    machine, bits = os.uname().machine, sys.maxsize.bit_length() + 1
    status = Path("/proc/self/status").read_text(errors="replace")
    return machine in DENIED and bits == 64 and sys.byteorder == "little" and "\nSeccomp:" in status


def own_users(python: Interpreter) -> range:
    """Users that own nothing, one for each run: only root can give one, and only where others may read the interpreter."""
    if os.geteuid() != 0 or not _effective(DROPPING):
        return range(0)
    places = [os.path.realpath(python.program), *python.libraries, *python.packages, tempfile.gettempdir()]
    if not all(open_to_others(Path(os.path.realpath(p))) for p in places):
        return range(0)
    return next((users for users in (UNPRIVILEGED, NOBODY) if _mapped(users)), range(0))


def open_to_others(path: Path) -> bool:
    """Whether a user who is neither owner nor in the group may read a file or folder."""
    return all(p.stat().st_mode & 0o001 for p in path.parents) and bool(path.stat().st_mode & 0o004)


def tasks_of_user() -> int:
    """How many processes and threads this user runs now."""
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == os.getuid():
                    count += len(os.listdir(f"/proc/{entry.name}/task"))
            except OSError:
                continue  # it ended meanwhile
    return count


def _effective(capabilities: tuple[int, ...]) -> bool:
    lines = Path("/proc/self/status").read_text(errors="replace").splitlines()
    held = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    return all(held >> c & 1 for c in capabilities)


def _mapped(users: range) -> bool:
    """Whether these users exist in this user namespace (a container may have few)."""
    spans = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(start <= users[0] and users[-1] < start + count for start, _, count in spans)
