"""The command line on a tiny random model: each stage alone and in sequence, again, and with mistakes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from sftscope.probes.microworld import DOMAINS

SFTSCOPE = Path(sys.executable).parent / "sftscope"


def sftscope(*args: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([SFTSCOPE, *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def recipe(micro_folder: Path) -> dict:
    return {
        "arm": {"domain": "countdown", "rows": 64},
        "train": {
            "model": {"path": str(micro_folder)},
            "data": {"max_length": 384},
            "batch": {"size": 8},
            "optim": {"lr": 1e-3},
            "schedule": {"kind": "constant", "warmup_steps": 0, "steps": 6},
            "checkpoints": {"at": [1, 2, 3, 4, 5]},
            "analysis": {"primary": ["countdown.strict"]},
            "threads": 1,
        },
        "probes": {"items": 8},
    }


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, micro_folder) -> Path:
    """A folder with a recipe and a run that has been trained, probed, analysed and reported by four commands."""
    here = tmp_path_factory.mktemp("workplace")
    (here / "small.yaml").write_text(yaml.safe_dump(recipe(micro_folder)))
    sftscope("train", "small.yaml", cwd=here)
    sftscope("probe", "runs/small", cwd=here)
    sftscope("analyze", "runs/small", cwd=here)
    sftscope("report", "runs/small", cwd=here)
    return here


def test_the_stages_leave_what_the_run_folder_promises(workplace):
    run = workplace / "runs" / "small"
    info = json.loads((run / "run.json").read_text())
    assert info["primaries"]["declared"] == ["countdown.strict"]
    assert len(info["primaries"]["sha256"]) == 64
    assert len((run / "steps.jsonl").read_text().splitlines()) == 6
    assert len(list((run / "checkpoints").glob("step-*/manifest.json"))) == 7
    found = json.loads((run / "findings.json").read_text())["findings"]
    assert {f["domain"] for f in found if f["kind"] == "phase"} == set(DOMAINS)
    page = (run / "report.html").read_text()
    assert page.index("Countdown") < page.index("<figure")
    assert (run / "report.md").exists()
    assert not list(run.rglob("*.tmp"))


def test_every_stage_again_does_nothing_new(workplace):
    run = workplace / "runs" / "small"

    def kept() -> dict[str, int]:
        folders = ("checkpoints", "probes", "samples", "items", "measurements")
        return {str(p): p.stat().st_mtime_ns for f in folders for p in (run / f).rglob("*") if p.is_file()}

    before = kept()
    assert "complete" in sftscope("train", "small.yaml", cwd=workplace).stderr
    sftscope("probe", "runs/small", cwd=workplace)
    sftscope("analyze", "runs/small", cwd=workplace)
    assert kept() == before


def test_a_foreign_folder_is_probed_into_a_run_and_left_as_it_was(workplace, micro_folder, tmp_path):
    foreign = tmp_path / "theirs"
    for step in (0, 10, 20):
        shutil.copytree(micro_folder, foreign / f"checkpoint-{step}")
    weights = foreign / "checkpoint-10" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])  # one is damaged: it costs itself and nothing else
    before = {p: p.stat().st_mtime_ns for p in foreign.rglob("*")}
    (tmp_path / "few.yaml").write_text("probes: {items: 6, domains: [countdown, harmful, safe]}")
    done = sftscope("probe", foreign, "-o", "runs/theirs", "--config", "few.yaml", "--workers", 2, cwd=tmp_path, code=1)
    assert "step 10" in done.stderr
    assert "truncated or damaged" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in foreign.rglob("*")} == before
    from sftscope.dynamics.record import Run

    run = Run(tmp_path / "runs" / "theirs")
    assert set(run.measurements(metric="score_strict")["step"]) == {0, 20}
    assert set(run.measurements(failed=True).query("status == 'failed'")["step"]) == {10}
    sftscope("analyze", "runs/theirs", cwd=tmp_path)

    shutil.copy(
        micro_folder / "model.safetensors", weights
    )  # mended: only what is missing is done, and the failure is gone
    sftscope("probe", foreign, "-o", "runs/theirs", "--config", "few.yaml", cwd=tmp_path)
    run = Run(tmp_path / "runs" / "theirs")
    assert set(run.measurements(metric="score_strict")["step"]) == {0, 10, 20}
    assert run.measurements(failed=True).query("status == 'failed'").empty


def with_change(workplace: Path, micro_folder: Path, **changes) -> Path:
    mapping = recipe(micro_folder)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = mapping
        for name in parents:
            section = section[name]
        section[last] = value
    file = workplace / "changed.yaml"
    file.write_text(yaml.safe_dump(mapping))
    return file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__optim": {"lrr": 1e-3}}, "unknown key `train.optim.lrr`: did you mean 'lr'"),
        ({"trian": {}}, "did you mean 'train'"),
        ({"train__model": {"path": "/no/such/model"}}, "/no/such/model"),
        ({"train__model": {"path": "organism:qwen3-0.8m"}}, "qwen3-0.9m"),
        ({"train__model": {"path": "no-such-folder"}}, "no model folder at 'no-such-folder'"),
        ({"train__optim": {"lr": "fast"}}, "`train.optim.lr` must be of type float, not 'fast'"),
        ({"probes": {"domains": ["countdwn"]}}, "did you mean 'countdown'"),
        ({"arm": {"rows": 10**7}}, "has only"),
    ],
)
def test_mistakes_in_a_recipe_end_in_one_screen_and_leave_nothing(workplace, micro_folder, changes, message):
    file = with_change(workplace, micro_folder, **changes)
    done = sftscope("train", file, "-o", "runs/mistake", cwd=workplace, code=2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 24
    assert not (workplace / "runs" / "mistake").exists()


def test_mistakes_in_files_end_in_one_screen_and_leave_nothing(workplace, micro_folder, tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        '{"prompt": "make 7 from 3 4", "response": "answer 7"}\n{"prompt": "a", "response": " "}\n'
    )
    file = with_change(workplace, micro_folder, arm=None, train__data={"path": str(tmp_path / "rows.jsonl")})
    done = sftscope("train", file, "-o", "runs/mistake", cwd=workplace, code=2)
    assert "line 2" in done.stderr
    assert "empty" in done.stderr

    cut = tmp_path / "cut"
    shutil.copytree(micro_folder, cut)
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-9])
    done = sftscope("train", with_change(workplace, cut), "-o", "runs/mistake", cwd=workplace, code=2)
    assert "truncated" in done.stderr

    other = tmp_path / "other-tokenizer"
    shutil.copytree(micro_folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"vocab_size": 100}))
    done = sftscope("train", with_change(workplace, other), "-o", "runs/mistake", cwd=workplace, code=2)
    assert "vocab" in done.stderr or "token" in done.stderr
    assert not (workplace / "runs" / "mistake").exists()


def test_another_runs_folder_is_refused(workplace, micro_folder):
    before = (workplace / "runs" / "small" / "run.json").read_text()
    file = with_change(workplace, micro_folder, train__seed=7)
    done = sftscope("train", file, "-o", "runs/small", cwd=workplace, code=2)
    assert "another run" in done.stderr
    assert (workplace / "runs" / "small" / "run.json").read_text() == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["probe", "nowhere", "-o", "runs/x"], "no checkpoint at nowhere"),
        (["probe", "runs/small/checkpoints"], "-o RUN"),
        (["analyze", "nowhere"], "no run at nowhere"),
        (["report", "nowhere"], "no run at nowhere"),
        (["trian"], "did you mean 'train'"),
        (["train", "nowhere.yaml"], "no recipe at nowhere.yaml"),
    ],
)
def test_wrong_arguments_say_the_way_out(workplace, args, message):
    assert message in sftscope(*args, cwd=workplace, code=2).stderr


def test_overrides_reach_the_run(workplace):
    sftscope(
        "train",
        "small.yaml",
        "-o",
        "runs/over",
        "--train.schedule.steps",
        2,
        "--train.checkpoints.at",
        1,
        cwd=workplace,
    )
    info = json.loads((workplace / "runs" / "over" / "run.json").read_text())
    assert info["plan"]["total_steps"] == 2
    assert info["plan"]["checkpoints"] == [0, 1, 2]


def test_paths_follow_from_the_overridden_settings(workplace, tmp_path):
    from sftscope.probes import organisms
    from sftscope.recipes import read_recipe

    small = workplace / "small.yaml"
    plain = read_recipe(small, tmp_path / "run")
    changed = read_recipe(small, tmp_path / "run", ["--arm.rows", "32", "--train.model.path", "organism:qwen3-0.9m"])
    assert changed.arm.rows == 32
    assert changed.train.data.path != plain.train.data.path  # other records are another file
    assert "-32-" in changed.train.data.path.name
    assert changed.train.model.path == str(organisms.folder("qwen3-0.9m"))
    own = read_recipe(small, tmp_path / "run", ["--train.data.path", "mine.jsonl"])
    assert str(own.train.data.path) == "mine.jsonl"


def test_scores_from_elsewhere_are_analysed_shown_and_reported(tmp_path):
    reference = Path(__file__).parents[1] / "dynamics" / "reference"
    items = reference / "items_per_benchmark.csv"
    table = reference / "qwen3_4b_math_cot.csv"
    told = sftscope("analyze", table, "--items", items, "-o", "found", cwd=tmp_path).stdout
    assert "LCB (out-of-domain reasoning) dips and recovers" in told
    found = json.loads((tmp_path / "found" / "findings.json").read_text())["findings"]
    assert {f["domain"] for f in found if f["kind"] == "phase"} >= {"MATH500", "AIME24", "TQA-helpful"}
    assert "MATH500" in sftscope("show", "found", cwd=tmp_path).stdout
    sftscope("report", "found", cwd=tmp_path)
    assert "qwen3_4b_math_cot.csv" in (tmp_path / "found" / "report.html").read_text()
    assert "say with -o" in sftscope("analyze", table, cwd=tmp_path, code=2).stderr
    assert "no file" in sftscope("analyze", "missing.csv", "-o", "x", cwd=tmp_path, code=2).stderr
    assert "no run at" in sftscope("analyze", "missing", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "x").exists()


def test_what_ships_is_listed(tmp_path):
    listed = sftscope("recipes", cwd=tmp_path).stdout
    for name in ("quickstart", "countdown", "arms/filler", "schedules/warmup-50"):
        assert name in listed
    organisms = sftscope("organism", "list", cwd=tmp_path).stdout
    assert "qwen3-0.9m" in organisms
    assert "harmful_unseen" in organisms


def test_help_is_quick(workplace):
    sftscope("--help", cwd=workplace)
    since = time.perf_counter()
    assert "quickstart" in sftscope("--help", cwd=workplace).stdout
    assert time.perf_counter() - since < 1.0


def test_a_users_own_train_and_probes_do_not_get_in_the_way(workplace, micro_folder, tmp_path):
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / "__init__.py").write_text('raise RuntimeError("the user\'s probes were imported")')
    (tmp_path / "train.py").write_text(
        "from sftscope.train import TrainConfig, train\n"
        "from sftscope.probes import organisms\n"
        "assert TrainConfig.__module__ == 'sftscope.train.config'\n"
        "print(callable(train))\n"
    )
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
    shutil.copytree(workplace / "runs" / "small", tmp_path / "small")
    shutil.rmtree(tmp_path / "small" / "measurements")
    sftscope("probe", "small", "--workers", 2, cwd=tmp_path)  # worker processes too
