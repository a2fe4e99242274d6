"""Tasks of lm-evaluation-harness: rows from files and the hub, malformed ones named, what cannot be had, what a config says."""

from __future__ import annotations

import subprocess
import sys

import pytest
from benchmark_standins import done, write
from harness_standins import DROP, GSM8K, MATH, NQ, SUBJECT, TASKS, ask
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.dynamics.settings import from_mapping, to_mapping
from sftscope.probes.asked import domains_of, items_of
from sftscope.probes.benchmarks import (
    BenchmarkConfig,
    Unavailable,
    default_cap,
    harness_documents,
    harness_task,
    make_benchmark,
    origin,
    rows,
)
from sftscope.probes.planner import ProbeConfig

pytest.importorskip("lm_eval")

# ---------------------------------------------------------------- rows

BAD = [  # task, row (from 1), field, value (... : left out), what is said beside the row
    ("gsm8k", 2, "question", None, "`question` is None: expected a value"),
    ("gsm8k", 1, "question", ..., "`question` is None: expected a value"),
    ("gsm8k", 2, "answer", ..., "`answer` is None: expected a value"),
    ("gsm8k", 3, "question", 7, "not of the types of the rows before"),
    ("ifeval", 2, "prompt", None, "expected a value"),
    ("ifeval", 2, "prompt", " ", "the question ' ' of it"),
    ("triviaqa", 2, "answer", None, "cannot read it"),
    ("triviaqa", 2, "answer", {"aliases": [], "value": "x"}, "the answer [] of it: expected one"),
    ("hendrycks_math_algebra", 3, "solution", "There is no box.", "cannot read it"),  # its own processing fails
    ("drop", 2, "answer", None, "cannot read it"),
    ("drop", 1, "validated_answers", ..., "cannot read it"),
]


@pytest.mark.parametrize(("task", "at", "field", "value", "said"), BAD)
def test_a_malformed_row_is_named(task, at, field, value, said, tmp_path):
    made = [dict(r) for r in TASKS[task][0]]
    if value is ...:
        del made[at - 1][field]
    else:
        made[at - 1][field] = value
    with pytest.raises(DataError) as caught:
        ask(task, tmp_path, made)
    assert not isinstance(caught.value, Unavailable)
    assert f"{task}.jsonl, line {at}: " in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_of_another_data_set_are_named_with_their_columns(tmp_path):
    for task, column in (("gsm8k", "problem"), ("hendrycks_math_algebra", "question"), ("drop", "input")):
        made = [{column: "Which?", "target": "A"}, {column: "What?", "target": "B"}]
        with pytest.raises(DataError, match=rf"{task}.jsonl, line 1: {task} cannot read it .*not {column}, target"):
            ask(task, tmp_path, made)


def test_rows_without_what_the_scorer_reads_are_not_asked(tmp_path):
    made = [{"prompt": f"Write {k} lines.", "target": "x"} for k in range(3)]
    with pytest.raises(DataError, match=r"lm_eval_ifeval: its scorer cannot be run .*KeyError: 'key'.*own columns"):
        ask("ifeval", tmp_path, made)
    one = [{**r, "instruction_id_list": ["made:up"]} if k else r for k, r in enumerate(TASKS["ifeval"][0])]
    domain = ask("ifeval", tmp_path, one)
    bad = next(i for i in domain.items("probe", 2) if i.reference["doc"]["instruction_id_list"] == ["made:up"])
    with pytest.raises(DataError, match="its scorer cannot be run on the question"):
        domain.grade(bad, done("A kite."))


def test_a_task_that_gives_up_while_it_is_imported_is_skipped(monkeypatch, tmp_path):
    from shutil import which

    if which("swipl"):
        pytest.skip("the program that slr_bench asks for is here")
    with pytest.raises(Unavailable, match=r"lm_eval_slr_bench_basic is skipped: .*SWI-Prolog"):
        ask("slr_bench_basic", tmp_path, GSM8K)


def test_null_columns_that_are_not_printed_are_let_be(tmp_path):
    made = [{**r, "note": None if k % 2 else "x"} for k, r in enumerate(GSM8K)]
    assert len(ask("gsm8k", tmp_path, made).items("probe", 6)) == 6
    assert len(ask("mmlu_abstract_algebra_generative", tmp_path, SUBJECT).items("probe", 3)) == 3  # answers by number


def test_null_columns_that_a_template_minds_are_let_be(tmp_path, monkeypatch):
    text = "{% if hint is none %}No hint{% else %}{{hint['words'][0]}}{% endif %}: {{question}}"
    settings = {**harness_task.find_task("gsm8k"), "doc_to_text": text}
    monkeypatch.setattr(harness_task, "find_task", lambda task: settings)
    made = [{**r, "hint": None if k % 2 else {"words": ["Add"]}} for k, r in enumerate(GSM8K)]
    prompts = [i.prompt for i in ask("gsm8k", tmp_path, made).items("probe", 6)]
    assert sum(p.startswith("No hint") for p in prompts) == sum(p.startswith("Add") for p in prompts) == 3


def test_documents_that_a_task_picks_are_asked_and_named_as_its_own(tmp_path, monkeypatch):
    settings = harness_task.find_task("gsm8k")
    picked = {**settings, "process_docs": lambda table: table.filter(lambda doc: "Ann has 2 " not in doc["question"])}
    monkeypatch.setattr(harness_task, "find_task", lambda task: picked)
    assert ask("gsm8k", tmp_path).count("probe") == len(GSM8K) - 1
    with pytest.raises(DataError, match="document 1 that gsm8k makes of 6 rows: `answer` is None"):
        ask("gsm8k", tmp_path, [{**r, "answer": None if k == 0 else "1"} for k, r in enumerate(GSM8K)])
    none = {**settings, "process_docs": lambda table: table.select([])}
    monkeypatch.setattr(harness_task, "find_task", lambda task: none)
    with pytest.raises(DataError, match="makes no document of these rows"):
        ask("gsm8k", tmp_path)


# ---------------------------------------------------------------- the hub, packages, configs


def test_the_hubs_client_is_asked_as_the_task_says(monkeypatch):
    asked = []
    made = {"openai/gsm8k": GSM8K, "me/copy": GSM8K, "EleutherAI/drop": DROP, "EleutherAI/hendrycks_math": MATH}
    monkeypatch.setattr(rows, "load_from_hub", lambda source: asked.append(source) or made[source.hub])
    make_benchmark("lm_eval_gsm8k", BenchmarkConfig())
    make_benchmark("lm_eval_gsm8k", BenchmarkConfig(revision="abc"))
    make_benchmark("lm_eval_gsm8k", BenchmarkConfig(hub="me/copy"))
    make_benchmark("lm_eval_drop", BenchmarkConfig())  # which has no test split
    make_benchmark("lm_eval_hendrycks_math_algebra", BenchmarkConfig())
    assert [(s.hub, s.subset, s.split, s.revision) for s in asked] == [
        ("openai/gsm8k", "main", "test", None),
        ("openai/gsm8k", "main", "test", "abc"),
        ("me/copy", "main", "test", None),
        ("EleutherAI/drop", None, "validation", None),
        ("EleutherAI/hendrycks_math", "algebra", "test", None),
    ]


def test_datasets_itself_reads_a_repository(tmp_path, monkeypatch):
    """The real client, on a folder laid out as a repository of the hub."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "repository"
    folder.mkdir()
    write(folder / "validation.jsonl", NQ)
    there = make_benchmark("lm_eval_nq_open", BenchmarkConfig(hub=str(folder)))
    assert there.items("probe", 3) == ask("nq_open", tmp_path).items("probe", 3)
    write(folder / "validation.jsonl", [*NQ[:2], {**NQ[2], "question": None}])
    with pytest.raises(DataError, match="validation, row 3: `question` is None"):
        make_benchmark("lm_eval_nq_open", BenchmarkConfig(hub=str(folder)))


def test_without_the_hub_one_line_says_the_way_out(monkeypatch, tmp_path):
    import datasets

    def offline(*_, **__):
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub (OfflineModeIsEnabled)\nand more")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    file = write(tmp_path / "n.jsonl", NQ)
    config = ProbeConfig(
        domains=(), benchmarks={"lm_eval_gsm8k": BenchmarkConfig(), "lm_eval_nq_open": BenchmarkConfig(path=file)}
    )
    skipped: list[str] = []
    domains = domains_of(config, skipped)
    assert {n: len(i) for n, i in items_of(config, domains).items()} == {"lm_eval_nq_open": 3}
    (line,) = skipped
    assert "\n" not in line
    for part in (
        "lm_eval_gsm8k is skipped",
        "Couldn't reach",
        "huggingface.co/datasets/openai/gsm8k",
        "lm_eval_gsm8k.path",
    ):
        assert part in line


def test_without_the_package_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.tasks._yaml_loader", None)
    with pytest.raises(Unavailable, match=r"lm-evaluation-harness is not here .*pip install 'sftscope\[benchmarks\]'"):
        make_benchmark("lm_eval_gsm8k", BenchmarkConfig())


def test_a_task_whose_own_package_is_missing_is_skipped(monkeypatch, tmp_path):
    from importlib.metadata import version

    if version("antlr4-python3-runtime").startswith("4.11"):
        pytest.skip("the package that minerva_math asks for is here")
    with pytest.raises(Unavailable, match=r"lm_eval_minerva_math_algebra is skipped: .*antlr4-python3-runtime==4\.11"):
        ask("minerva_math_algebra", tmp_path, MATH)

    def needs(table):
        raise ImportError("No module named 'made_up'")

    settings = {**harness_task.find_task("gsm8k"), "process_docs": needs}
    with pytest.raises(Unavailable, match=r"lm_eval_gsm8k is skipped.*made_up"):
        harness_documents.documents("gsm8k", settings, [rows.Row("a, line 1", GSM8K[0])])


def test_tasks_are_asked_by_config(tmp_path):
    file = write(tmp_path / "g.jsonl", GSM8K)
    config = ProbeConfig(
        domains=(), items=3, benchmarks={"lm_eval_gsm8k": BenchmarkConfig(path=file, items=4, group="id_reasoning")}
    )
    assert from_mapping(ProbeConfig, to_mapping(config)) == config
    domains = domains_of(config)
    assert {n: len(i) for n, i in items_of(config, domains).items()} == {"lm_eval_gsm8k": 4}
    assert domains["lm_eval_gsm8k"].group == "id_reasoning"
    assert ask("gsm8k", tmp_path).group == "ood_reasoning"
    assert default_cap("lm_eval_gsm8k", BenchmarkConfig()) == ask("gsm8k", tmp_path).max_new_tokens == 32_768
    said = origin("lm_eval_gsm8k", BenchmarkConfig(revision="abc"))
    assert said["task"].startswith("lm-eval 0.")
    assert said["task"].endswith(", gsm8k")
    assert said["revision"] == "abc"
    assert origin("lm_eval_gsm8k", BenchmarkConfig())["revision"] == "not pinned"
    assert origin("lm_eval_gsm8k", BenchmarkConfig(path=file)) == {"path": str(file)}


def test_a_config_is_read_without_the_harness():
    code = (
        "import sys\n"
        "from sftscope.probes.planner import ProbeConfig\n"
        "from sftscope.probes.benchmarks import BenchmarkConfig, origin\n"
        "ProbeConfig(benchmarks={'lm_eval_gsm8k': BenchmarkConfig(metric='exact_match')}, tau={'lm_eval_gsm8k': 100})\n"
        "origin('lm_eval_gsm8k', BenchmarkConfig())\n"
        "assert 'lm_eval' not in sys.modules, 'the harness takes seconds to import'\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_loading_a_task_says_nothing(tmp_path, capfd):
    import datasets

    for task in ("hendrycks_math_algebra", "ifeval"):
        ask(task, tmp_path)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert datasets.utils.are_progress_bars_disabled() is False  # of the caller's own


@pytest.mark.parametrize(
    ("benchmarks", "said"),
    [
        ({"lm_evalgsm8k": {}}, "did you mean 'lm_eval_<task>'"),
        ({"math500": {"metric": "exact_match"}}, r"math500.metric` is only for lm_eval_<task>"),
        ({"gym_chain_sum": {"group": "general"}}, r"gym_chain_sum.group` is only for lm_eval_<task>"),
        ({"math500": {"fewshot": 3}}, r"math500.fewshot` is only for lm_eval_<task>"),
        ({"lm_eval_gsm8k": {"fewshot": -1}}, "give 0 or more"),
        ({"lm_eval_gsm8k": {"group": "generel"}}, "did you mean 'general'"),
    ],
)
def test_a_config_that_cannot_be_used_says_the_way_out(benchmarks, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping(ProbeConfig, {"domains": [], "benchmarks": benchmarks})
