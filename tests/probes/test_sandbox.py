"""Code of a model is locked in: each attack is made for real, under every way in which the sandbox can be set up here."""

from __future__ import annotations

import os
import pickle
import re
import resource
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.probes.sandbox import Limits, Sandbox, SandboxConfig, host, open_sandbox
from sftscope.probes.sandbox import sandbox as module
from sftscope.probes.sandbox.protections import WHAT
from sftscope.probes.sandbox.seccomp import DENIED, PARTLY

NOBODY = 65534
QUICK = Limits(wall_s=10.0, memory_mib=512, output_mib=1.0, folder_mib=8.0)
ROOT = os.geteuid() == 0


def open_python() -> str:
    """An interpreter that any user may start: root's own may lie in a folder that nobody else can enter."""
    for program in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if os.path.exists(program):
            python = host.interpreter(program)
            if all(host.open_to_others(Path(os.path.realpath(p))) for p in (program, *python.libraries)):
                return program
    pytest.fail("there is no Python here that an ordinary user may start")


class AsOrdinaryUser:
    """The sandbox as a user without any privilege has it: made and run in a process that has become one."""

    def __init__(self) -> None:
        self.python = open_python()

    def run(self, *code, **asked):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                told = Sandbox(self.python).run(*code, **asked)
            except BaseException as error:  # noqa: BLE001 - told to the test, which fails by it
                told = RuntimeError(repr(error))
            with os.fdopen(write_end, "wb") as file:
                file.write(pickle.dumps(told))
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as file:
            told = pickle.load(file)
        os.waitpid(child, 0)
        if isinstance(told, RuntimeError):
            raise told
        return told


WAYS = {
    "here": lambda: Sandbox(without=frozenset({"own-user"})),
    "read-only mounts": lambda: Sandbox(without=frozenset({"landlock"})),
}
if ROOT:
    WAYS |= {"own user": lambda: Sandbox(open_python()), "ordinary user": AsOrdinaryUser}


@pytest.fixture(scope="module", params=WAYS)
def jail(request):
    sandbox = WAYS[request.param]()
    if request.param == "read-only mounts" and sandbox._writes != "mounts":
        pytest.skip("no mount namespace can be made here")
    return sandbox


@pytest.fixture
def outside():
    """A folder and a file in it that every user of the machine may write: rights alone keep nobody out."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        file = Path(folder) / "precious"
        file.write_text("untouched")
        os.chmod(file, 0o666)
        yield file


def running(marker: str) -> list[str]:
    """Processes whose command line holds a marker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if marker.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue  # it ended meanwhile
    return found


# ---------------------------------------------------------------- what code is for


def test_code_reads_standard_input_and_writes_standard_output(jail):
    done = jail.run("a, b = map(int, input().split())\nprint(a + b)\nexit()", stdin=b"20 22\n", limits=QUICK)
    assert (done.ok, done.stdout) == (True, b"42\n"), done


def test_a_method_is_called_and_its_value_comes_back(jail):
    code = "class Solution:\n    def pair(self, xs, k):\n        return (sorted(xs)[:k], {'k': k})"
    done = jail.run(code, call="pair", arguments=[[3, 1, 2], 2], limits=QUICK)
    assert (done.ok, done.has_result, done.result) == (True, True, [[1, 2], {"k": 2}])


def test_an_exception_is_an_error_and_not_a_result(jail):
    done = jail.run("def f():\n    raise KeyError('nothing there')", call="f", limits=QUICK)
    assert (done.ok, done.has_result, done.exit_code) == (False, False, 1)
    assert "nothing there" in done.error


def test_its_own_folder_can_be_written_and_is_gone_afterwards(jail):
    done = jail.run("import os; open('a', 'w').write('x'); os.rename('a', 'b'); print(os.getcwd(), open('b').read())")
    folder, text = done.stdout.decode().split()
    assert text == "x"
    assert not Path(folder).exists()


# ---------------------------------------------------------------- the attacks


def test_a_fork_bomb_starts_no_process(jail):
    bombs = """
import ctypes, os, subprocess, multiprocessing
def by_hand(): os.fork()
def command(): subprocess.Popen(["sleep", "71483"])
def spawned(): multiprocessing.get_context("spawn").Process(target=print).start()
def posix(): os.posix_spawn("/bin/sleep", ["sleep", "71483"], {})
def replaced(): os.execv("/bin/sleep", ["sleep", "71483"])
def clone():
    if ctypes.CDLL(None, use_errno=True).syscall(%d, 17, 0, 0, 0, 0) < 0: raise OSError(ctypes.get_errno(), "clone")
held = 0
for bomb in (by_hand, command, spawned, posix, replaced, clone):
    try:
        bomb()
    except OSError as error:
        held += error.errno == 1
print(held, flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    done = jail.run(bombs % PARTLY[os.uname().machine]["clone"], limits=Limits(wall_s=1.0))
    assert (done.ending, done.stdout) == ("timeout", b"6\n"), done
    assert not running("71483")


def test_a_child_that_would_outlive_its_parent_does_not(jail):
    code = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(71484)"])
"""
    assert not jail.run(code, limits=QUICK).ok
    assert not running("71484")


def test_a_bomb_of_threads_ends_with_the_run(jail):
    code = (
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    )
    before = len(list(Path("/proc").glob("[0-9]*")))
    done = jail.run(code, limits=Limits(wall_s=0.7, memory_mib=512))
    assert not done.ok
    assert done.wall_s < 3
    assert len(list(Path("/proc").glob("[0-9]*"))) < before + 50


def test_an_endless_run_that_hears_nothing_and_says_nothing_is_killed_in_time(jail):
    code = """
import os, signal
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
os.closerange(0, 64)
while True: pass
"""
    done = jail.run(code, limits=Limits(wall_s=0.5))
    assert done.ending == "timeout"
    assert done.wall_s < 2.0


def test_time_of_the_processor_is_limited_apart_from_the_clock():
    done = Sandbox().run("while True: pass", limits=Limits(wall_s=20.0, cpu_s=1.0))
    assert done.ending == "timeout"
    assert done.cpu_s < 1.5


TEN_GIGABYTES = """
import os, sys
channel = {channel}
block = b"7" * (1 << 20)
for _ in range(10 * 1024):
    sent = 0
    while sent < len(block): sent += os.write(channel, block[sent:])
"""


def test_ten_gigabytes_of_output_are_cut_off_at_the_limit(jail):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = jail.run(TEN_GIGABYTES.format(channel=1), limits=QUICK)
    assert done.ending == "output-limit"
    assert len(done.stdout) == 1 << 20
    assert done.wall_s < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


@pytest.mark.parametrize("channel", ["2", "sys._getframe(1).f_locals['result_fd']"], ids=["errors", "result"])
def test_the_other_channels_are_cut_off_too(channel):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = Sandbox().run(TEN_GIGABYTES.format(channel=channel), limits=QUICK)
    assert (done.ending, done.has_result) == ("output-limit", False), done
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_nothing_is_written_outside_its_folder(jail, outside):
    code = f"""
import os, shutil
target = {str(outside)!r}
beside, home = target + "-new", os.path.expanduser("~root")
open("mine", "w").write("x")
attempts = {{
    "write": lambda: open(target, "w"), "append": lambda: open(target, "a"), "update": lambda: open(target, "r+"),
    "cut": lambda: os.truncate(target, 0), "cut by opening": lambda: os.open(target, os.O_RDONLY | os.O_TRUNC),
    "make": lambda: open(beside, "w"), "tmp": lambda: open("/tmp/sftscope-escape", "w"),
    "shm": lambda: open("/dev/shm/sftscope-escape", "w"), "home": lambda: open(home + "/sftscope-escape", "w"),
    "up": lambda: open("../sftscope-escape", "w"), "remove": lambda: os.unlink(target),
    "move out": lambda: os.rename("mine", beside), "move in": lambda: os.rename(target, "stolen"),
    "hard link": lambda: os.link(target, "hard"), "symlink": lambda: os.symlink(target, "soft"),
    "mode": lambda: os.chmod(target, 0o000), "times": lambda: os.utime(target, (0, 0)),
    "owner": lambda: os.chown(target, os.getuid(), os.getgid()), "folder": lambda: os.mkdir(beside),
    "own subfolder": lambda: os.mkdir("sub"), "attribute": lambda: os.setxattr(target, "user.x", b"1"),
    "pipe": lambda: os.mkfifo("pipe"), "hidden memory": lambda: os.memfd_create("x"),
    "its own code": lambda: open(os.__file__, "a"),
}}
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError:
        continue
    print(name)
"""
    before = outside.stat()
    done = jail.run(code, limits=QUICK)
    assert (done.ok, done.stdout) == (True, b""), done  # no attempt went through
    assert outside.read_text() == "untouched"
    assert (outside.stat().st_mode, outside.stat().st_mtime) == (before.st_mode, before.st_mtime)
    assert [p.name for p in outside.parent.iterdir()] == ["precious"]
    assert not list(Path("/tmp").glob("sftscope-escape")) + list(Path("/dev/shm").glob("sftscope-escape"))


def test_a_link_that_leads_outside_is_not_followed(jail, outside, monkeypatch):
    made = tempfile.mkdtemp

    def with_links(*args, **named):
        folder = made(*args, **named)
        os.symlink(outside, f"{folder}/soft")
        os.symlink(outside.parent, f"{folder}/up")
        return folder

    monkeypatch.setattr(module.tempfile, "mkdtemp", with_links)
    code = "for p in ('soft', 'up/new'):\n    try:\n        open(p, 'w').write('!')\n        print(p)\n    except OSError: pass"
    done = jail.run(code, limits=QUICK)
    assert (done.ok, done.stdout) == (True, b""), done
    assert outside.read_text() == "untouched"
    assert [p.name for p in outside.parent.iterdir()] == ["precious"]


def test_there_is_no_network(jail):
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        tcp.settimeout(0.05)
        udp.settimeout(0.05)
        code = f"""
import socket, urllib.request
def tcp(): socket.create_connection(("127.0.0.1", {tcp.getsockname()[1]}), timeout=1).send(b"secret")
def udp(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secret", ("127.0.0.1", {udp.getsockname()[1]}))
def http(): urllib.request.urlopen("http://127.0.0.1:{tcp.getsockname()[1]}/", timeout=1)
def local(): socket.socket(socket.AF_UNIX).connect("/run/docker.sock")
def pair(): socket.socketpair()
for attempt in (tcp, udp, http, local, pair):
    try:
        attempt()
        print(attempt.__name__)
    except OSError as error:
        assert getattr(error, "reason", error).errno == 1, error
"""
        done = jail.run(code, limits=QUICK)
        assert (done.ok, done.stdout) == (True, b""), done
        with pytest.raises(TimeoutError):
            tcp.accept()
        with pytest.raises(TimeoutError):
            udp.recv(16)


def test_memory_is_limited(jail):
    done = jail.run("hog = []\nwhile True: hog.append(bytearray(1 << 24))", limits=Limits(wall_s=10.0, memory_mib=256))
    assert (done.ok, done.error) == (False, "MemoryError")
    assert not done.peak_mib > 300  # NaN below what this process takes itself


def test_many_small_files_do_not_fill_the_disk(jail):
    code = "import itertools\nfor i in itertools.count(): open(str(i), 'wb').write(bytes(1 << 20))"
    done = jail.run(code, limits=Limits(wall_s=10.0, folder_mib=8.0))
    assert done.ending == "disk-limit"
    assert not jail.run("open('one', 'wb').write(bytes(1 << 25))", limits=QUICK).ok  # one file over the limit of a file


def test_secrets_of_the_environment_do_not_reach_it(jail, monkeypatch):
    monkeypatch.setenv("SFTSCOPE_TEST_TOKEN", "hunter2")
    code = """
import glob, os
print(dict(os.environ))
for path in ["/proc/self/environ", f"/proc/{os.getppid()}/environ", *glob.glob("/proc/[0-9]*/environ")]:
    try:
        print(open(path, errors="replace").read())
    except OSError: pass
"""
    done = jail.run(code, limits=QUICK)
    assert done.ok
    assert b"PATH" in done.stdout
    assert b"hunter2" not in done.stdout


def test_other_processes_are_out_of_its_reach(jail):
    code = f"""
import ctypes, os, resource, signal
parent = os.getppid()
attempts = [lambda: os.kill(parent, 0), lambda: os.kill({os.getpid()}, 0), lambda: os.kill(-1, 0), lambda: os.killpg(0, 0),
    lambda: os.pidfd_open(parent), lambda: resource.prlimit(parent, resource.RLIMIT_CPU),
    lambda: os.setpriority(os.PRIO_PROCESS, parent, 19), lambda: open(f"/proc/{{parent}}/mem", "rb"), lambda: os.setsid(),
    lambda: os.setpgid(0, 0)]
for number, attempt in enumerate(attempts):
    try:
        attempt()
        print(number)
    except OSError: pass
libc = ctypes.CDLL(None)
print("traced" if libc.ptrace(16, parent, 0, 0) == 0 else "", "freed" if libc.prctl(1, 0, 0, 0, 0) == 0 else "")
"""
    done = jail.run(code, limits=QUICK)
    assert (done.ok, done.stdout.split()) == (True, []), done


def test_runs_at_once_do_not_meet():
    sandbox, told = Sandbox(), {}

    def one(k: int) -> None:
        told[k] = sandbox.run(
            "import os; open('f', 'x').write('1'); print(input(), os.listdir())", stdin=f"{k}\n".encode()
        )

    threads = [threading.Thread(target=one, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {k: done.stdout.decode() for k, done in told.items()} == {k: f"{k} ['f']\n" for k in range(6)}


def test_the_run_dies_with_the_process_that_watches_it():
    child = os.fork()
    if child == 0:
        Sandbox().run("import ctypes, time\nctypes.CDLL(None).prctl(15, b'watched71485')\ntime.sleep(60)")
        os._exit(0)

    def named() -> list[str]:
        return [p for p in Path("/proc").glob("[0-9]*/comm") if p.exists() and p.read_text().startswith("watched71485")]

    deadline = time.monotonic() + 5
    while not named() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert named()
    os.kill(child, 9)
    os.waitpid(child, 0)
    while named() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not named()


# ---------------------------------------------------------------- leave, and what is promised


def test_code_is_not_run_unless_asked_for():
    with pytest.raises(ConfigError, match=r"`probes.sandbox.allow_code_execution` is false: set it to true"):
        open_sandbox(SandboxConfig())


def test_every_protection_is_tried_and_holds_here():
    found = open_sandbox(SandboxConfig(allow_code_execution=True)).protections()
    assert [p.name for p in found] == list(WHAT)
    assert all(p.active for p in found if p.required), [str(p) for p in found]


@pytest.mark.parametrize(
    ("gone", "missing"), [("has_seccomp", "network"), ("has_seccomp", "processes"), ("landlock_version", "writes")]
)
def test_what_cannot_be_enforced_is_seen_and_refused_by_name(monkeypatch, gone, missing):
    monkeypatch.setattr(host, gone, lambda: 0)
    monkeypatch.setattr(Sandbox, "_starts_with_mounts", lambda self: False)
    with pytest.raises(ConfigError, match=rf"{missing}: .*NOT in force here.*accept_missing: \[.*{missing}"):
        open_sandbox(SandboxConfig(allow_code_execution=True))
    held = {p.name: p.active for p in Sandbox().protections()}
    lacking = tuple(name for name, active in held.items() if not active and name != "reads")
    assert missing in lacking
    assert held["limits"]
    accepted = SandboxConfig(allow_code_execution=True, accept_missing=lacking)
    assert open_sandbox(accepted).run("print(1)").stdout == b"1\n"


def test_an_accepted_protection_must_exist():
    with pytest.raises(ConfigError, match=r"names 'netwrk': did you mean 'network'"):
        SandboxConfig(accept_missing=("netwrk",))


def test_a_python_that_does_not_start_is_said():
    with pytest.raises(ConfigError, match=r"/no/python.*does not start"):
        open_sandbox(SandboxConfig(allow_code_execution=True, python=Path("/no/python")))


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_of_system_calls_are_the_kernels(machine, header):
    if not os.path.exists(header):
        pytest.skip(f"no {header} here to compare with")
    text = Path(header).read_text()
    numbers = {n: int(v) for n, v in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    for name, number in (DENIED[machine] | PARTLY[machine]).items():
        assert numbers[name] == number, name
    assert len(set(DENIED[machine].values())) == len(DENIED[machine])
