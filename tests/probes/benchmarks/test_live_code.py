"""LiveCodeBench: tests are read without running them, and programs run without seeing what is right; nothing escapes."""

from __future__ import annotations

import base64
import json
import pickle
import pickletools
import socket
import tempfile
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from benchmark_standins import CODE, LIVE_CODE, ROWS, cut, done, load, packed, write
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.dynamics.record import Run, create_run, write_samples
from sftscope.dynamics.settings import from_mapping, to_mapping
from sftscope.probes.asked import domains_of
from sftscope.probes.benchmarks import BenchmarkConfig, Unavailable, code_tests, make_benchmark, origin, programs, rows
from sftscope.probes.benchmarks.code_tests import read_tests, text_in_pickle
from sftscope.probes.benchmarks.live_code import last_program
from sftscope.probes.benchmarks.programs import PRELUDE, same_output
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.checks import checks
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.protocol import Ask
from sftscope.probes.sandbox import Sandbox, SandboxConfig, SandboxFailure
from sftscope.probes.sandbox import sandbox as module

SUM = "a, b = map(int, input().split())\nprint(a + b, 2 * (a + b), sep='\\n')"
LONGEST = (
    "class Solution:\n    def longest(self, xs, k):\n        return sorted(zip(xs, range(len(xs))), reverse=True)[:k]"
)


def fenced(code: str):
    return done(f"```python\n{code}\n```")


@pytest.fixture
def domain(tmp_path):
    return load("livecodebench", tmp_path)


def item_with(domain, word: str):
    return next(i for i in domain.items("probe", domain.count("probe")) if word in i.prompt)


# ---------------------------------------------------------------- the questions


def test_the_prompt_is_the_published_one_of_each_kind(domain):
    whole, begun = item_with(domain, "sum"), item_with(domain, "kite")
    assert whole.prompt.startswith("You are an expert Python programmer.")
    assert "### Question:\nTwo whole numbers" in whole.prompt
    assert "Read the inputs from stdin" in whole.prompt
    assert "```python\n# YOUR CODE HERE\n```" in whole.prompt
    assert "You will use the following starter code" in begun.prompt
    assert f"```python\n{LIVE_CODE[1]['starter_code']}\n```" in begun.prompt
    assert begun.prompt.endswith("### Answer: (use the provided format with backticks)")


def test_a_prompt_of_ones_own_keeps_the_gaps(tmp_path):
    own = load("livecodebench", tmp_path, prompt="{format}\n{question}")
    assert item_with(own, "sum").prompt.endswith("twice their sum.")
    with pytest.raises(ConfigError, match=r"has no \{format\}"):
        load("livecodebench", tmp_path, prompt="{question}")


def test_tests_read_the_same_in_both_encodings():
    plain = [{**r, "private_test_cases": json.dumps(json.loads(unpack(r)))} for r in LIVE_CODE]
    for row, other in zip(LIVE_CODE, plain, strict=True):
        told = read_tests(rows.Row("here", row))
        assert told == read_tests(rows.Row("here", other))
        assert told.function == json.loads(row["metadata"]).get("func_name")
        assert told.cases[0].given == json.loads(row["public_test_cases"])[0]["input"]
    assert [len(read_tests(rows.Row("here", r)).cases) for r in LIVE_CODE] == [4, 3, 2]


def unpack(row) -> str:
    text = row["private_test_cases"]
    return text if text.startswith("[") else pickle.loads(zlib.decompress(base64.b64decode(text)))


def test_an_item_holds_the_hash_of_its_tests_and_none_of_them(tmp_path):
    secret = "never-in-an-item"
    tests = [{"input": "1", "output": secret, "testtype": "stdin"}]
    made = [*LIVE_CODE[:2], {**LIVE_CODE[2], "private_test_cases": packed(tests)}]
    first, other = load("livecodebench", tmp_path), load("livecodebench", tmp_path, made)
    assert secret not in repr(other.items("probe", 3)) + repr(other._places)
    a, b = item_with(first, "half"), item_with(other, "half")
    assert a.id == b.id
    assert a.reference != b.reference  # and so results of other tests are kept apart
    assert other._tests(b.reference["tests"]).cases[1].wanted == secret


# ---------------------------------------------------------------- tests that come from strangers


class Calls:
    """Pickled, it has a file made while it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def packed_as_it_is(value, protocol: int = pickle.DEFAULT_PROTOCOL) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path):
    mark = tmp_path / "run"
    pickle.loads(pickle.dumps(Calls(mark)))
    assert mark.exists()  # it is a real one
    mark.unlink()
    made = [LIVE_CODE[0], {**LIVE_CODE[1], "private_test_cases": packed_as_it_is(Calls(mark))}]
    with pytest.raises(DataError, match=r"line 2: `private_test_cases` is .*more than a text"):
        load("livecodebench", tmp_path, made)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_one_text_is_read_from_a_pickle_of_any_binary_protocol(protocol):
    for text in ("", "[]", "é" * 300, "x" * 70_000):
        data = pickle.dumps(text, protocol)
        assert text_in_pickle(data) == pickle.loads(data)


@pytest.mark.parametrize("value", [3, b"[]", ["[]"], {"a": 1}, None, ("[]", "[]")])
def test_anything_else_in_a_pickle_is_refused(value):
    with pytest.raises(ValueError, match="more than a text"):
        text_in_pickle(pickle.dumps(value))


def test_a_pickle_that_asks_for_much_memory_gets_none():
    data = b"\x80\x02X\x02\x00\x00\x00[]r\xff\xff\xff\x7f."  # a place far up in the memo, which a real loader makes room for
    assert any(op.name == "LONG_BINPUT" for op, _, _ in pickletools.genops(data))
    with pytest.raises(ValueError, match="LONG_BINPUT"):
        text_in_pickle(data)


def test_what_unpacks_to_more_than_there_is_room_for_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(code_tests, "MOST_BYTES", 1 << 16)
    big = packed([{"input": "0" * (1 << 20), "output": "1", "testtype": "stdin"}])
    assert len(big) < 4000
    with pytest.raises(DataError, match=r"line 1: `private_test_cases` is .*takes more than 0 MiB"):
        load("livecodebench", tmp_path, [{**LIVE_CODE[0], "private_test_cases": big}, LIVE_CODE[1]])


def one(given="1", wanted="1", kind="functional", **other) -> str:
    return json.dumps([{"input": given, "output": wanted, "testtype": kind, **other}])


@pytest.mark.parametrize(
    ("private", "said"),
    [
        ("[3]", "`private_test_cases`, test 1 is '3': expected an object"),
        (packed("text"), "`private_test_cases` is .*: expected a list of tests in JSON or packed"),
        (packed_as_it_is("no JSON"), r"packed as they are published \(Expecting value"),
        (base64.b64encode(b"plain").decode(), "Error -3 while decompressing"),
        (packed_as_it_is("[]")[:-8], "it is cut off"),
        ("!!!", "base64"),
        (one(given=3), "`private_test_cases`, test 1: `input` is 3: expected a text"),
        (one(wanted=None), "`private_test_cases`, test 1: `output` is None: expected a text"),
        (one(kind="stdio"), "test 1: `testtype` is 'stdio': expected .*'stdin'"),
        (one(kind="stdin"), "tests of both kinds"),
        (one(given="[1,"), r"test 1: `input` is '\[1,': expected JSON"),
        (one(wanted="one"), "test 1: `output` is 'one': expected JSON"),
    ],
)
def test_a_malformed_test_is_named_with_its_row(private, said, tmp_path):
    with pytest.raises(DataError, match=f"livecodebench.jsonl, line 2.*{said}"):
        load("livecodebench", tmp_path, [LIVE_CODE[0], {**LIVE_CODE[1], "private_test_cases": private}])


def test_a_problem_without_a_test_is_refused(tmp_path):
    empty = {**LIVE_CODE[1], "public_test_cases": "[]", "private_test_cases": packed([])}
    with pytest.raises(DataError, match=r"line 2: .*are empty: expected one or more tests"):
        load("livecodebench", tmp_path, [LIVE_CODE[0], empty])


# ---------------------------------------------------------------- where the set comes from


def laid_out(folder: Path) -> Path:
    """The set as its repository has it: two files that are release_v2, and one that is not."""
    folder.mkdir(parents=True)
    write(folder / "test.jsonl", LIVE_CODE[:2])
    write(folder / "test2.jsonl", LIVE_CODE[2:])
    (folder / "test3.jsonl").write_text("later problems\n")
    (folder / "code_generation_lite.py").write_text("raise SystemExit('a loading script that nobody runs')\n")
    return folder


def test_release_v2_is_the_first_two_files_of_the_repository(tmp_path):
    there = make_benchmark("livecodebench", BenchmarkConfig(hub=str(laid_out(tmp_path / "repo"))), CODE)
    assert there.items("probe", 3) == load("livecodebench", tmp_path).items("probe", 3)
    assert there.grade(item_with(there, "half"), fenced("print(*[k / 2 for k in range(1, int(input()) + 1)])")).strict


def test_the_hubs_own_client_finds_it_in_its_cache_at_the_pinned_commit(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    source = origin("livecodebench", BenchmarkConfig())
    assert (source["hub"], source["subset"]) == ("livecodebench/code_generation_lite", "release_v2")
    folder = tmp_path / "datasets--livecodebench--code_generation_lite" / "snapshots" / source["revision"]
    laid_out(folder)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    there = make_benchmark("livecodebench", BenchmarkConfig(), CODE)
    assert there.items("probe", 3) == load("livecodebench", tmp_path).items("probe", 3)
    write(folder / "test2.jsonl", [{**LIVE_CODE[2], "metadata": "{}", "public_test_cases": "[{]"}])
    said = rf"{source['revision']}, release_v2/test, test2.jsonl, line 1: `public_test_cases`"
    with pytest.raises(DataError, match=said):
        make_benchmark("livecodebench", BenchmarkConfig(), CODE)
    (folder / "test2.jsonl").unlink()
    with pytest.raises(Unavailable, match=r"livecodebench is skipped: .*probes\.benchmarks\.livecodebench\.path"):
        make_benchmark("livecodebench", BenchmarkConfig(), CODE)


def test_tests_are_read_again_from_where_their_line_lies(tmp_path):
    path = tmp_path / "with-a-mark.jsonl"
    lines = [json.dumps({**r, "question_title": "Zwölf Äpfel 🍏"}, ensure_ascii=False) for r in LIVE_CODE]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\n".join(lines).encode())
    there = make_benchmark("livecodebench", BenchmarkConfig(path=path), CODE)
    for word, row in (("sum", LIVE_CODE[0]), ("kite", LIVE_CODE[1]), ("half", LIVE_CODE[2])):
        assert there._tests(item_with(there, word).reference["tests"]) == read_tests(rows.Row("here", row))
    path.write_text("\n" + path.read_text(encoding="utf-8-sig"))
    with pytest.raises(DataError, match="is no longer what it was when it was loaded"):
        there.grade(item_with(there, "sum"), fenced(SUM))


def test_a_list_in_one_file_is_graded_too(tmp_path):
    (tmp_path / "l.json").write_text(json.dumps(LIVE_CODE))
    there = make_benchmark("livecodebench", BenchmarkConfig(path=tmp_path / "l.json"), CODE)
    assert there.grade(item_with(there, "sum"), fenced(SUM)).strict


# ---------------------------------------------------------------- what counts as right


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```python\nx = 1\n```", "x = 1"),
        ("First\n```python\nx = 1\n```\nbut rather\n```\nx = 2\n```\nDone.", "x = 2"),
        ("```python\nx = 1\n```\nand then\n```python\nx = 2", "x = 1"),  # the last one that is closed
        ("```\nunclosed\n```python\nx = 1\n```", "x = 1"),
        ("Here: ```python\nx = 1\n```", "x = 1"),
        ("```python\nx = 1\n```\nThe name `x` or ```x``` is short.", "x = 1"),
        ("```python\nx = 1", ""),
        ("```python\n  \n```", ""),
        ("x = 1", ""),
        ("", ""),
    ],
)
def test_the_program_is_the_last_closed_block(text, found):
    assert last_program(text) == found


@pytest.mark.parametrize(
    ("printed", "wanted", "same"),
    [
        ("5\n10\n", "5\n10", True),
        ("  5 \n10  \n\n", "5\n10\n", True),
        ("5\r\n10\r\n", "5\n10\n", True),
        ("1.50 2", "1.5 2.0", True),
        ("1e3", "1000", True),
        ("50000000000000001", "50000000000000000", False),  # no float in between
        ("0.30000000000000004", "0.3", False),
        ("5 10", "5\n10", False),
        ("5\n\n10", "5\n10", False),
        ("5", "5\n10", False),
        ("yes", "Yes", False),
        ("yes 1", "yes 1.0", False),
        ("a  b", "a b", False),
        ("", "", True),
        ("", "0", False),
        ("sNaN", "1", False),
    ],
)
def test_output_is_compared_as_the_benchmark_does(printed, wanted, same):
    assert same_output(printed, wanted) is same


FAST = replace(CODE, test_s=1.0, memory_mib=256)
KITE = "class Solution:\n    def longest(self, xs, k):\n        "
ENDINGS = {  # program, problem, (right, share of tests passed, timed out, error)
    "right": (SUM, "sum", (1, 1.0, 0, 0)),
    "right, with an end of its own": (f"{SUM}\nexit()\nprint('more')", "sum", (1, 1.0, 0, 0)),
    "right, as a main program": (
        f"from __future__ import annotations\ndef main():\n    {SUM.replace(chr(10), chr(10) + '    ')}\n"
        "if __name__ == '__main__':\n    main()",
        "sum",
        (1, 1.0, 0, 0),
    ),
    "right, by what the judges import": (
        f"{KITE}h: List[Any] = [(-x, i) for i, x in enumerate(xs)]\n        heapify(h)\n"
        "        return [[-x, i] for x, i in (heapq.heappop(h) for _ in range(min(k, len(h))))]",
        "kite",
        (1, 1.0, 0, 0),
    ),
    "right, by tuples and a helper": (f"def cut(a, k): return a[:k]\n{LONGEST}", "kite", (1, 1.0, 0, 0)),
    "right, without a class": (LONGEST.split("\n", 1)[1].replace("    def", "def").replace("self, ", ""), "kite", (1, 1.0, 0, 0)),
    "wrong": ("print(0)", "sum", (0, 0.0, 0, 0)),
    "right on the first test only": (f"{SUM}\nif a < 0: print()\nif a < 0: print(1)", "sum", (0, 0.25, 0, 0)),
    "wrong by its value": (f"{KITE}return []", "kite", (0, 0.0, 0, 0)),
    "no value": (f"{KITE}exit()", "kite", (0, 0.0, 0, 0)),
    "another name": (LONGEST.replace("longest", "largest"), "kite", (0, 0.0, 0, 1)),
    "a crash on the third test": (f"{SUM}\n1 / (a - 10)", "sum", (0, 0.5, 0, 1)),
    "no Python": ("print(1", "sum", (0, 0.0, 0, 1)),
    "a zero byte": ("print(1)\0", "sum", (0, 0.0, 0, 1)),
    "a lone surrogate": ("print('\ud800')", "sum", (0, 0.0, 0, 1)),
    "an endless loop": ("while True: pass", "sum", (0, 0.0, 1, 0)),
    "an endless loop on the second test": (f"{SUM}\nwhile a < 0: pass", "sum", (0, 0.25, 1, 0)),
    "an endless sleep": ("import time\ntime.sleep(600)", "sum", (0, 0.0, 1, 0)),
    "too much output": ("while True: print('7' * 10000)", "sum", (0, 0.0, 0, 1)),
    "too much memory": ("hog = []\nwhile True: hog.append(bytearray(1 << 24))", "sum", (0, 0.0, 0, 1)),
    "killed": ("import os\nos.abort()", "sum", (0, 0.0, 0, 1)),
}  # fmt: skip


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("quick") / "l.jsonl", ROWS["livecodebench"])
    return make_benchmark("livecodebench", BenchmarkConfig(path=path), FAST)


@pytest.mark.parametrize("name", ENDINGS)
def test_programs_are_graded_by_how_they_end(name, quick):
    code, word, (right, passed, timed_out, error) = ENDINGS[name]
    grade = quick.grade(item_with(quick, word), fenced(code))
    assert (grade.finished, grade.parsed, grade.correct, grade.lenient) == (True, True, bool(right), bool(right)), grade
    assert grade.details == {
        "tests_passed": passed,
        "timed_out": timed_out,
        "run_error": error,
        "grading_failed": 0.0,
    }


def test_a_response_that_was_cut_off_is_wrong_and_what_it_has_is_read_leniently(quick):
    item = item_with(quick, "sum")
    late = quick.grade(item, cut(f"<think> So:\n```python\n{SUM}\n```\nor"))
    assert (late.strict, late.lenient, late.details["tests_passed"]) == (False, True, 0.0)
    broken = quick.grade(item, cut(f"```python\n{SUM}"))
    assert (broken.strict, broken.lenient) == (False, False)


def test_a_program_has_a_time_for_all_its_tests(tmp_path):
    slow = replace(CODE, program_s=6.0)
    path = write(tmp_path / "l.jsonl", LIVE_CODE)
    there = make_benchmark("livecodebench", BenchmarkConfig(path=path), slow)
    grade = there.grade(item_with(there, "sum"), fenced(f"import time\ntime.sleep(3.5)\n{SUM}"))
    assert not grade.correct
    assert grade.details["timed_out"] == 1
    assert 0 < grade.details["tests_passed"] < 1
    assert there.grade(item_with(there, "sum"), fenced(SUM)).strict


# ---------------------------------------------------------------- many at once


def test_many_are_graded_side_by_side_as_one_by_one(quick, monkeypatch):
    names = [n for n in ENDINGS if "endless" not in n and "much" not in n]
    items = [item_with(quick, ENDINGS[n][1]) for n in names]
    responses = [fenced(ENDINGS[n][0]) for n in names]
    alone = [quick.grade(i, r) for i, r in zip(items, responses, strict=True)]
    quick._known.clear()
    monkeypatch.setattr(quick, "_config", replace(FAST, workers=4))
    seen, ran, run = set(), [], quick._sandbox.run
    meet = threading.Barrier(2, timeout=30)

    def watched(code, **asked):
        first = threading.get_ident() not in seen
        seen.add(threading.get_ident())
        if first and len(seen) <= 2:
            meet.wait()  # two are at work at once, or this fails
        ran.append(code[1])
        return run(code, **asked)

    monkeypatch.setattr(quick._sandbox, "run", watched)
    assert quick.grade_all([*items, *items], [*responses, *responses]) == [*alone, *alone]
    right = [n for n in names if n == "right"]
    assert ran.count(ENDINGS[right[0]][0]) == 4  # its four tests, once
    ran.clear()
    assert quick.grade_all(items, responses) == alone  # another probe asks for the same grades
    assert not ran


def test_where_a_program_cannot_be_locked_in_nothing_is_known_of_it(quick, monkeypatch):
    item, code = item_with(quick, "sum"), f"{SUM} # this one"
    run, broken = quick._sandbox.run, [programs.TRIES]

    def fails(code, **asked):
        if broken[0]:
            broken[0] -= 1
            raise SandboxFailure("a run could not be locked in (no memory)")
        return run(code, **asked)

    monkeypatch.setattr(quick._sandbox, "run", fails)
    grade = quick.grade(item, fenced(code))
    assert (grade.parsed, grade.correct, grade.details["grading_failed"]) == (False, False, 1.0)
    assert quick.grade(item, fenced(code)).strict  # it was not kept
    broken[0] = programs.TRIES - 1
    assert quick.grade(item, fenced(f"{code} anew")).strict  # one that fails now and then costs nobody anything


# ---------------------------------------------------------------- what a program may see, and do


def test_what_is_right_never_enters_the_process(tmp_path, monkeypatch):
    """A program looks through its frames, its objects, its open files, its environment and its folder for what is right."""
    secret = "kzq-7719-never"
    search = r"""
import gc, os, re, sys
frame, seen = sys._getframe(), []
while frame is not None:
    seen.append(repr(frame.f_locals) + repr(frame.f_globals))
    frame = frame.f_back
seen += [repr(o) for o in gc.get_objects() if isinstance(o, (dict, list, tuple, bytes, str)) and o is not seen]
for fd in range(64):
    try:
        os.lseek(fd, 0, 0)
        seen.append(os.read(fd, 1 << 20).decode(errors="replace"))
    except OSError: pass
seen += [repr(dict(os.environ)), repr(sys.argv), repr(os.listdir())]
print("given-1" in "".join(seen), re.findall(r"kzq-\d+-never", "".join(seen)))
"""
    tests = [{"input": "given-1", "output": secret, "testtype": "stdin"}]
    row = {**LIVE_CODE[2], "public_test_cases": json.dumps(tests), "private_test_cases": packed(tests)}
    there = load("livecodebench", tmp_path, [LIVE_CODE[0], row])
    handed, printed, run = [], [], there._sandbox.run

    def watched(code, **asked):
        handed.append(repr((code, asked)))
        outcome = run(code, **asked)
        printed.append(outcome)
        return outcome

    monkeypatch.setattr(there._sandbox, "run", watched)
    assert not there.grade(item_with(there, "half"), fenced(search)).correct
    assert printed[0].stdout == b"True []\n", printed  # it sees what it was given
    assert secret not in handed[0]
    assert there.grade(item_with(there, "half"), fenced(f"print({secret!r})")).strict  # it is what is right


def test_known_attacks_are_wrong_within_their_limits_and_the_next_response_is_right(tmp_path):
    with tempfile.TemporaryDirectory() as outside, socket.create_server(("127.0.0.1", 0)) as server:
        Path(outside).chmod(0o777)
        target = Path(outside) / "precious"
        target.write_text("untouched")
        target.chmod(0o666)
        server.settimeout(0.05)
        give_up = "except OSError: pass\n"
        attacks = {
            "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
            "ten gigabytes": "import os\nfor _ in range(10 * 1024): os.write(1, b'7' * (1 << 20))",
            "files outside": "".join(
                f"try: {act}\n{give_up}"
                for act in (
                    f"open({str(target)!r}, 'w').write('!')",
                    f"open({str(target)!r} + '-new', 'w')",
                    "open('/tmp/sftscope-live-code', 'w')",
                    f"__import__('os').remove({str(target)!r})",
                )
            ),
            "a socket": f"import socket\ntry: socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)\n{give_up}",
        }
        path = write(tmp_path / "l.jsonl", LIVE_CODE)
        there = make_benchmark("livecodebench", BenchmarkConfig(path=path), FAST)
        item = item_with(there, "sum")
        codes = [c for attack in attacks.values() for c in (attack, f"{SUM}\n# after {len(attack)}")]
        grades = there.grade_all([item] * len(codes), [fenced(c) for c in codes])
        assert [g.strict for g in grades] == [False, True] * len(attacks)
        told = dict(zip(attacks, grades[::2], strict=True))
        assert told["fork bomb"].details["timed_out"] == 1
        assert told["ten gigabytes"].details["run_error"] == 1
        assert [p.name for p in Path(outside).iterdir()] == ["precious"]
        assert target.read_text() == "untouched"
        assert not Path("/tmp/sftscope-live-code").exists()
        with pytest.raises(TimeoutError):
            server.accept()


# ---------------------------------------------------------------- leave, and settings


def skipped_line(sandbox: SandboxConfig, path: Path) -> str:
    skipped: list[str] = []
    benchmarks = {"livecodebench": BenchmarkConfig(path=path)}
    config = ProbeConfig(domains=("countdown",), benchmarks=benchmarks, sandbox=sandbox)
    assert list(domains_of(config, skipped)) == ["countdown"]
    (line,) = skipped
    assert "\n" not in line
    return line


def test_it_is_off_unless_asked_for_and_one_line_says_how(tmp_path):
    line = skipped_line(ProbeConfig().sandbox, tmp_path / "nothing-is-read.jsonl")
    assert "livecodebench is skipped" in line
    assert "`probes.sandbox.allow_code_execution` is false: set it to true" in line
    assert "docs/code-execution.md" in line


def test_where_a_protection_does_not_hold_one_line_says_which(tmp_path, monkeypatch):
    monkeypatch.setattr(module.host, "has_seccomp", lambda: False)
    path = write(tmp_path / "l.jsonl", LIVE_CODE)
    line = skipped_line(CODE, path)
    assert "livecodebench is skipped" in line
    assert "network: no sockets of any kind (NOT in force here" in line
    assert "probes.sandbox.accept_missing: [network" in line


def test_what_does_not_start_is_said_in_one_line(tmp_path, monkeypatch):
    line = skipped_line(replace(CODE, python=Path("/no/python")), tmp_path / "l.jsonl")
    assert "`probes.sandbox.python` '/no/python' does not start" in line

    def fails(self, *code, **asked):
        raise SandboxFailure("a run could not be locked in (no memory)")

    monkeypatch.setattr(Sandbox, "run", fails)
    assert "could not be locked in (no memory)" in skipped_line(CODE, tmp_path / "l.jsonl")


def test_doctor_finds_its_prompts_among_training_rows_and_says_where_it_cannot_look(tmp_path):
    path = write(tmp_path / "l.jsonl", [LIVE_CODE[0], {**LIVE_CODE[1], "question_content": "A kite. " * 500}])
    prompts = [i.prompt for i in make_benchmark("livecodebench", BenchmarkConfig(path=path), CODE).items("probe", 2)]
    config = ProbeConfig(domains=("countdown",), benchmarks={"livecodebench": BenchmarkConfig(path=path)}, sandbox=CODE)
    training = [(at, [text]) for at, text in enumerate(["make 56", *prompts, prompts[0][:-60]], 1)]
    (found,) = checks(config, training)
    assert found.status == "failed"
    assert "2 training rows hold probe items (2 of livecodebench)" in found.text
    assert len(found.text) < 2000
    left_out, rest = checks(replace(config, sandbox=SandboxConfig()), training)
    assert (left_out.status, rest.status) == ("not checked", "ok")
    assert "livecodebench is skipped" in left_out.text


@pytest.mark.parametrize(
    ("sandbox", "said"),
    [
        ({"workers": 0}, "`probes.sandbox.workers` is 0: give 1 or more"),
        ({"test_s": 0}, r"`probes.sandbox.test_s` is 0.*: give 0.1 or more"),
        ({"memory_mib": 1}, "give 64 or more"),
        ({"program_s": -1}, "give 0.1 or more"),
        ({"accept_missing": ["netwrk"]}, "did you mean 'network'"),
        ({"allow_code_execution": "yes"}, "allow_code_execution"),
        ({"allow": True}, "unknown key"),
    ],
)
def test_settings_that_cannot_be_used_say_the_way_out(sandbox, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping(ProbeConfig, {"sandbox": sandbox})


def test_settings_survive_the_way_to_a_worker(tmp_path):
    text = yaml.safe_dump({"sandbox": {"allow_code_execution": True, "accept_missing": ["network"], "test_s": 3}})
    config = from_mapping(ProbeConfig, yaml.safe_load(text))
    assert config.sandbox.allow_code_execution
    assert from_mapping(ProbeConfig, to_mapping(config)) == config


def test_what_decides_a_grade_is_in_its_key(tmp_path):
    path = write(tmp_path / "l.jsonl", LIVE_CODE)
    graders = {
        make_benchmark("livecodebench", BenchmarkConfig(path=path), config).grader
        for config in (CODE, replace(CODE, test_s=3.0), replace(CODE, program_s=9.0), replace(CODE, workers=7))
    }
    assert len(graders) == 3  # how many run side by side decides nothing
    assert all("Python 3." in grader for grader in graders)


def test_the_names_at_hand_are_those_of_the_modules():
    names: dict[str, object] = {}
    exec(PRELUDE, names)
    for name in (
        "List",
        "Optional",
        "deque",
        "Counter",
        "inf",
        "gcd",
        "lru_cache",
        "bisect_left",
        "heappush",
        "accumulate",
    ):
        assert name in names
    assert names["pow"] is pow  # not math's
    assert names["datetime"].datetime  # the module


# ---------------------------------------------------------------- through the planner


@pytest.fixture
def byte_model(tmp_path, micro_model):
    """The random model with a tokenizer that reads any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: k for k, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    folder = tmp_path / "byte-model"
    micro_model.resize_token_embeddings(len(fast))
    ids = {"eos_token_id": fast.eos_token_id, "pad_token_id": fast.pad_token_id}
    micro_model.config.update(ids | {"max_position_embeddings": 40_960})  # that of models that are asked such problems
    micro_model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def test_stored_samples_are_graded_through_the_planner(tmp_path, byte_model, monkeypatch):
    path = write(tmp_path / "l.jsonl", LIVE_CODE)
    benchmarks = {"livecodebench": BenchmarkConfig(path=path)}
    config = ProbeConfig(probes=("scores",), during=(), domains=(), benchmarks=benchmarks, sandbox=CODE)
    run, checkpoint = tmp_path / "run", Checkpoint(0, byte_model)
    create_run(run, {"config_hash": "x"})
    planner, ask = Planner(run, checkpoint, config), Ask("livecodebench")
    written = {"sum": (SUM, "stop"), "kite": (LONGEST.replace("[:k]", ""), "stop"), "half": ("print(0.5", "length")}
    samples = []
    for item in planner.items_of(ask):
        code, finish = next(w for word, w in written.items() if word in item.prompt)
        ids = planner.renderer.words(f"<think> Well. </think>\n```python\n{code}\n```")
        samples.append({"item": item.id, "prompt": item.prompt, **planner.renderer.sample([], ids, finish)})
    key = planner.sample_file(checkpoint, ask).name.removesuffix(".jsonl.zst").rpartition("-")[2]
    write_samples(run, 0, ask.name, key=key, rows=samples)

    planner.measure(checkpoint)
    told = Run(run).measurements(probe="scores").set_index("metric")
    third = pytest.approx(1 / 3)
    assert (told["value"]["score_strict"], told["value"]["finish_rate"]) == (third, pytest.approx(2 / 3))
    assert (told["value"]["parse_rate"], told["value"]["accuracy_of_parsed"]) == (1.0, 0.5)
    assert set(told["reason"]) == {""}
    assert Planner(run, checkpoint, config).missing(checkpoint) == []

    # More time is another grader: measured anew, from the same samples; and a grader that fails says so beside the score.
    other = Planner(run, checkpoint, replace(config, sandbox=replace(CODE, test_s=3.0)))
    assert [p.name for p in other.missing(checkpoint)] == ["scores"]

    def fails(code, **asked):
        raise SandboxFailure("no memory")

    monkeypatch.setattr(other.domains["livecodebench"]._sandbox, "run", fails)
    rows_told = {m.metric: m for m in other.measure(checkpoint)}
    assert rows_told["score_strict"].reason == "3 of 3 answers could not be graded and count as not parsed"
    assert len(sorted((run / "samples").rglob("*.zst"))) == 1

    off = Planner(run, checkpoint, replace(config, domains=("safe",), sandbox=SandboxConfig()))
    assert "allow_code_execution" in off.skipped[0]
