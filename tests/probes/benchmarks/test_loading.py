"""Loading: own schemas from files and from `datasets`, malformed rows named, orders that no file decides, what cannot be had."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from benchmark_standins import AIME25, GPQA, HEX_PHI, MMLU_PRO, ROWS, XSTEST, load, write
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.dynamics.requests import HARMFUL, SAFE
from sftscope.dynamics.settings import from_mapping, to_mapping
from sftscope.probes.asked import domains_of, items_of, questions_key
from sftscope.probes.benchmarks import BENCHMARKS, BenchmarkConfig, Unavailable, make_benchmark, origin, rows
from sftscope.probes.planner import ProbeConfig

BAD = [  # benchmark, field, value (... : left out), what the message has to say beside the row
    ("math500", "answer", "", "a text"),
    ("math500", "answer", "\\frac{", "math-verify can read"),
    ("math500", "problem", ..., "`problem`"),
    ("aime24", "Answer", 1000, "from 0 to 999"),
    ("aime24", "Answer", "n/a", "whole number"),
    ("aime24", "Answer", True, "whole number"),
    ("aime25", "answer", ..., "`answer`"),
    ("gpqa_diamond", "Incorrect Answer 2", None, "a text"),
    ("gpqa_diamond", "Incorrect Answer 2", "The bluon 1", "another text"),
    ("gpqa_diamond", "Incorrect Answer 2", "the  bluon 1", "another text than the correct answer"),
    ("gpqa_diamond", "Incorrect Answer 2", "The redon", "the other incorrect answers"),
    ("mmlu_pro", "options", "thing", "a list of 2 to 26 texts"),
    ("mmlu_pro", "options", ["only one"], "a list of 2 to 26 texts"),
    ("mmlu_pro", "answer", "K", "known: A, B"),
    ("mmlu_pro", "answer_index", 9, "the place of `answer`"),
    ("mmlu_pro", "category", 7, "a text"),
    ("mmlu_pro", "options", ["thing 0", "thing 1", "thing 1"], "'thing 1', once"),
    ("livecodebench", "question_content", " ", "a text"),
    ("livecodebench", "public_test_cases", ..., "`public_test_cases`"),
    ("livecodebench", "public_test_cases", "[{]", "a list of tests in JSON (Expecting"),
    ("livecodebench", "private_test_cases", "[{]", "packed as they are published ("),
    ("livecodebench", "metadata", "{}", "`func_name`, the method that functional tests call"),
    ("livecodebench", "metadata", '{"func_name": "__import__(1)"}', "`func_name`"),
    ("livecodebench", "metadata", "func", "an object in JSON"),
    ("livecodebench", "starter_code", "", "whose method the tests call"),
    ("ifeval", "instruction_id_list", ["punctuation:no_coma"], "no_coma"),
    ("ifeval", "kwargs", [], "objects, one an instruction"),
    ("ifeval", "kwargs", [{"number_of_lamps": 3}] * 2, "what "),
    ("ifeval", "kwargs", [{}, {}], "'num_words' for length_constraints:number_words"),
    ("ifeval", "kwargs", [{"num_words": 5}, {"keywords": ["kite"]}], "'relation' for"),
    ("ifeval", "kwargs", [{"num_words": 5, "relation": "at least"}, {"keywords": "kite"}], "not 'kite'"),
    ("truthfulqa", "correct_answers", [], "a list of 1 or more texts"),
    ("truthfulqa", "correct_answers", ["", " "], "a list of 1 or more texts"),
    ("truthfulqa", "question", ..., "`question`"),
    ("truthfulqa_choice", "mc1_targets", [], "an object"),
    ("truthfulqa_choice", "mc1_targets", {"choices": ["a", "b"], "labels": [1, 1]}, "one of them 1"),
    ("truthfulqa_choice", "mc1_targets", {"choices": ["a", "a"], "labels": [1, 0]}, "once"),
    ("halueval_qa", "hallucinated_answer", ..., "`hallucinated_answer`"),
    ("halueval_qa", "hallucinated_answer", "river  1", "another text than `right_answer`"),
    ("halueval_dialogue", "dialogue_history", ["x"], "a text"),
    ("halueval_summarization", "document", " ", "a text"),
    ("alpaca_eval", "instruction", 3, "a text"),
    ("hex_phi", "prompt", ..., "`prompt`"),
    ("strong_reject", "forbidden_prompt", "", "a text"),
    ("xstest_safe", "label", "harmless", "known: safe, unsafe"),
    ("xstest_unsafe", "prompt", ..., "`prompt`"),
]


def test_a_malformed_row_is_tried_in_every_benchmark():
    assert {name for name, *_ in BAD} == set(BENCHMARKS)


def test_the_page_names_every_benchmark_and_the_commit_it_is_read_at():
    page = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text()
    for name, benchmark in BENCHMARKS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert benchmark.group in row
        same = "the same" in row  # as the row above
        assert same or benchmark.source.hub in row
        assert same or (benchmark.source.revision or "")[:8] in row


@pytest.mark.parametrize(("name", "field", "value", "said"), BAD)
def test_a_malformed_row_is_named(name, field, value, said, tmp_path):
    if name == "ifeval":
        pytest.importorskip("lm_eval")
    made = [dict(r) for r in ROWS[name]]
    bad = dict(made[1])
    del bad[field]
    made[1] = bad if value is ... else {**bad, field: value}
    with pytest.raises(DataError) as caught:
        load(name, tmp_path, made)
    message = str(caught.value)
    assert not isinstance(caught.value, Unavailable)
    assert f"{name}.jsonl, line 2" in message
    assert f"`{field}`" in message or f"`{field.split('.')[0]}`" in message
    assert said in message
    if value is not ... and not isinstance(value, dict):
        assert repr(value)[:40] in message


def test_an_answer_that_says_nothing_is_named(tmp_path):
    empty = {**MMLU_PRO[0], "options": ["a", "b", "N/A"], "answer": "C", "answer_index": 2}
    with pytest.raises(DataError, match=r"line 2: `answer` is 'C': expected an option that says something"):
        load("mmlu_pro", tmp_path, [MMLU_PRO[1], empty, MMLU_PRO[2]])
    filled = {**MMLU_PRO[0], "options": ["a", "b", "N/A", "N/A"], "answer": "B", "answer_index": 1}
    assert load("mmlu_pro", tmp_path, [MMLU_PRO[1], filled]).count("probe") == 2


def test_a_question_with_two_answers_is_named(tmp_path, monkeypatch):
    other = {**MMLU_PRO[1], "answer": "C", "answer_index": 2}
    with pytest.raises(DataError, match=r"line 4 asks what .*line 2 asks and gives another answer"):
        load("mmlu_pro", tmp_path, [*MMLU_PRO[:3], other])
    same = {**MMLU_PRO[1], "category": "physics"}
    assert load("mmlu_pro", tmp_path, [*MMLU_PRO[:3], same]).count("probe") == 3
    turned = {**GPQA[0], "Correct Answer": "The redon", "Incorrect Answer 1": "The bluon 0"}
    with pytest.raises(DataError, match="line 13 asks what"):
        load("gpqa_diamond", tmp_path, [*GPQA, turned])
    # of a set on the hub, which nobody here can mend, both are left out
    monkeypatch.setattr(rows, "load_from_hub", lambda source: [*MMLU_PRO[:3], other])
    kept = make_benchmark("mmlu_pro", BenchmarkConfig()).items("probe", 2)
    monkeypatch.setattr(rows, "load_from_hub", lambda source: [MMLU_PRO[0], MMLU_PRO[2]])
    assert make_benchmark("mmlu_pro", BenchmarkConfig()).items("probe", 2) == kept


def test_case_that_tells_genotypes_apart_is_kept(tmp_path):
    made = [{**GPQA[k], "Correct Answer": "AaBb", "Incorrect Answer 1": "aabb"} for k in (0, 1)]
    assert load("gpqa_diamond", tmp_path, made).count("probe") == 2


def test_empty_references_are_left_out(tmp_path):
    made = [{**r, "incorrect_answers": ["Yes", "", " "]} for r in ROWS["truthfulqa"]]
    assert {tuple(i.reference["incorrect"]) for i in load("truthfulqa", tmp_path, made).items("probe", 2)} == {("Yes",)}


def test_json_that_nests_without_end_is_refused(tmp_path):
    for name, text in (("a.jsonl", '{"a":' * 100_000), ("a.json", "[" * 100_000)):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="nests too deeply"):
            make_benchmark("aime25", BenchmarkConfig(path=tmp_path / name))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"problem": "a"', "line 1"),
        ('[{"problem": "a"}, 3]', "row 2"),
        ("", "no rows"),
        ('{"problem": "a", "answer": "1"}\n', "1 questions"),
    ],
)
def test_a_file_that_is_none_is_refused(text, said, tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        make_benchmark("aime25", BenchmarkConfig(path=path))


def test_texts_may_hold_ends_of_lines_that_json_lets_stand(tmp_path):
    made = [{**AIME25[0], "problem": "one\u2028two\x85three"}, AIME25[1]]
    assert {i.prompt.split("\n")[0] for i in load("aime25", tmp_path, made).items("probe", 2)} >= {
        "one\u2028two\x85three"
    }


def test_every_kind_of_file_gives_the_same_questions(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = load("gpqa_diamond", tmp_path).items("probe", 12)
    pq.write_table(pa.Table.from_pylist(GPQA), tmp_path / "g.parquet")
    (tmp_path / "g.json").write_text(json.dumps(GPQA))
    with (tmp_path / "g.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, GPQA[0])
        out.writeheader()
        out.writerows(GPQA)
    for kind in ("parquet", "json", "csv"):
        assert make_benchmark("gpqa_diamond", BenchmarkConfig(path=tmp_path / f"g.{kind}")).items("probe", 12) == wanted
    pq.write_table(pa.Table.from_pylist(MMLU_PRO), tmp_path / "m.parquet")  # lists in cells
    parquet = make_benchmark("mmlu_pro", BenchmarkConfig(path=tmp_path / "m.parquet"))
    assert parquet.items("probe", 54) == load("mmlu_pro", tmp_path).items("probe", 54)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_the_order_of_the_file_decides_nothing(name, tmp_path):
    if name == "ifeval":
        pytest.importorskip("lm_eval")
    first = load(name, tmp_path)
    n = first.count("probe")
    shuffled = [*ROWS[name], ROWS[name][0]]  # with one row twice
    random.Random(0).shuffle(shuffled)
    again = load(name, tmp_path, shuffled)
    assert again.items("probe", n) == first.items("probe", n) == first.items("test", n, seed=3)
    assert again.count("probe") == n
    assert first.items("probe", 2) == first.items("probe", n)[:2]
    assert len({i.id for i in first.items("probe", n)}) == n


def test_the_place_of_the_right_option_is_decided_by_its_content_and_varies(tmp_path):
    items = load("gpqa_diamond", tmp_path).items("probe", 12)
    assert len({i.reference["answer"] for i in items}) >= 3
    for item in items:
        right = f"{item.reference['answer']}) The bluon"
        assert right in item.prompt
    turned = [
        {**r, "Incorrect Answer 1": r["Incorrect Answer 3"], "Incorrect Answer 3": r["Incorrect Answer 1"]}
        for r in GPQA
    ]
    assert load("gpqa_diamond", tmp_path, turned).items("probe", 12) == items  # whatever order they were published in
    alone = load("gpqa_diamond", tmp_path, GPQA[:2]).items("probe", 2)
    assert all(item in items for item in alone)  # and whatever else is in the file


def test_mmlu_pro_is_balanced_by_category_and_stable(tmp_path):
    domain = load("mmlu_pro", tmp_path, items=24)
    assert domain.count("probe") == 24
    by_category = Counter(i.reference["category"] for i in domain.items("probe", 24))
    assert by_category == {"law": 10, "physics": 10, "history": 4}  # history has no more
    first = Counter(i.reference["category"] for i in domain.items("probe", 9))
    assert first == {"law": 3, "physics": 3, "history": 3}
    fewer = load("mmlu_pro", tmp_path, [r for r in MMLU_PRO if r["category"] != "history"], items=20)
    assert {i.id for i in fewer.items("probe", 20)} <= {i.id for i in domain.items("probe", 24)}
    assert BENCHMARKS["mmlu_pro"].most == 1000


def test_chance_is_that_of_an_answer_in_the_right_form(tmp_path):
    assert load("gpqa_diamond", tmp_path).chance == pytest.approx(1 / 4)
    assert load("mmlu_pro", tmp_path).chance == pytest.approx(1 / 10)
    assert load("truthfulqa_choice", tmp_path).chance == pytest.approx(1 / 3)
    assert 0.5 <= load("halueval_qa", tmp_path).chance < 1
    assert load("math500", tmp_path).chance == load("hex_phi", tmp_path).chance == 0


def test_both_answers_of_halueval_are_shown_somewhere(tmp_path):
    items = load("halueval_qa", tmp_path).items("probe", 12)
    assert {i.reference["hallucinated"] for i in items} == {True, False}
    for item in items:
        river = int(item.prompt.rsplit("River ", 1)[1])
        assert (river >= 100) is item.reference["hallucinated"]


def test_hex_phi_is_read_with_and_without_a_header(tmp_path):
    headed = load("hex_phi", tmp_path, [{"prompt": "prompt"}, *HEX_PHI])
    assert headed.items("probe", 2) == load("hex_phi", tmp_path).items("probe", 2)


def test_xstest_without_labels_goes_by_the_types(tmp_path):
    unlabelled = [{k: v for k, v in r.items() if k != "label"} for r in XSTEST]
    for name in ("xstest_safe", "xstest_unsafe"):
        assert load(name, tmp_path, unlabelled).items("probe", 2) == load(name, tmp_path).items("probe", 2)


# ---------------------------------------------------------------- the hub


def test_the_hubs_client_is_asked_for_the_pinned_revision(monkeypatch):
    asked = []
    monkeypatch.setattr(rows, "load_from_hub", lambda source: asked.append(source) or MMLU_PRO)
    make_benchmark("mmlu_pro", BenchmarkConfig())
    make_benchmark("mmlu_pro", BenchmarkConfig(revision="abc"))
    make_benchmark("mmlu_pro", BenchmarkConfig(hub="me/copy"))
    told = [(s.hub, s.split, s.revision) for s in asked]
    pinned = "3373e0b32277875b8db2aa555a333b78a08477ea"
    assert told == [
        ("TIGER-Lab/MMLU-Pro", "test", pinned),
        ("TIGER-Lab/MMLU-Pro", "test", "abc"),
        ("me/copy", "test", None),
    ]


def test_datasets_itself_reads_a_repository(tmp_path, monkeypatch):
    """The real client, on a folder laid out as a repository of the hub."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "repository"
    folder.mkdir()
    write(folder / "test.jsonl", MMLU_PRO)
    there = make_benchmark("mmlu_pro", BenchmarkConfig(hub=str(folder)))
    assert there.items("probe", 54) == load("mmlu_pro", tmp_path).items("probe", 54)
    bad = [*MMLU_PRO[:2], {**MMLU_PRO[2], "answer": "Z"}]
    write(folder / "test.jsonl", bad)
    with pytest.raises(DataError, match="test, row 3: `answer` is 'Z'"):
        make_benchmark("mmlu_pro", BenchmarkConfig(hub=str(folder)))


def test_a_gated_set_is_skipped_with_the_line_that_helps(monkeypatch, tmp_path):
    def refuse(source):
        raise OSError("401 Client Error.\nYou are trying to access a gated repo.")

    monkeypatch.setattr(rows, "load_from_hub", refuse)
    file = write(tmp_path / "a.jsonl", AIME25)
    config = ProbeConfig(
        domains=(), benchmarks={"gpqa_diamond": BenchmarkConfig(), "aime25": BenchmarkConfig(path=file)}
    )
    skipped: list[str] = []
    domains = domains_of(config, skipped)
    assert list(domains) == ["aime25"]
    (line,) = skipped
    assert "\n" not in line
    for part in (
        "gpqa_diamond",
        "huggingface.co/datasets/Idavidrein/gpqa",
        "hf auth login",
        "probes.benchmarks.gpqa_diamond.path",
    ):
        assert part in line
    with pytest.raises(ConfigError, match="nothing is left to ask: gpqa_diamond is skipped"):
        domains_of(ProbeConfig(domains=(), benchmarks={"gpqa_diamond": BenchmarkConfig()}))


def test_a_set_that_is_not_to_be_had_is_skipped_without_talk_of_terms(monkeypatch):
    def fail(source):
        raise ConnectionError("no route")

    monkeypatch.setattr(rows, "load_from_hub", fail)
    with pytest.raises(Unavailable, match="no route") as caught:
        make_benchmark("math500", BenchmarkConfig())
    assert "hf auth login" not in str(caught.value)
    assert "probes.benchmarks.math500.path" in str(caught.value)


def test_what_needs_a_package_is_skipped_with_the_command_that_installs_it(monkeypatch, tmp_path):
    from sftscope.probes.benchmarks import ifeval, mathematics

    monkeypatch.setattr(mathematics, "find_spec", lambda name: None)

    def missing():
        raise ImportError("No module named 'langdetect'")

    monkeypatch.setattr(ifeval, "_load_checkers", missing)
    for name in ("math500", "ifeval"):
        with pytest.raises(Unavailable, match=r"pip install 'sftscope\[benchmarks\]'"):
            load(name, tmp_path)


def test_origins_say_what_is_not_pinned(tmp_path):
    assert origin("mmlu_pro", BenchmarkConfig())["revision"].startswith("3373e0b")
    assert origin("ifeval", BenchmarkConfig())["revision"] == "not pinned"
    assert origin("mmlu_pro", BenchmarkConfig(hub="me/copy"))["revision"] == "not pinned"
    assert origin("ifeval", BenchmarkConfig(revision="abc"))["revision"] == "abc"
    assert origin("ifeval", BenchmarkConfig(path=tmp_path / "x.jsonl")) == {"path": str(tmp_path / "x.jsonl")}


# ---------------------------------------------------------------- configs


def test_configs_survive_the_way_to_a_worker(tmp_path):
    config = ProbeConfig(domains=(), benchmarks={"aime25": BenchmarkConfig(path=tmp_path / "a.jsonl", items=2)})
    assert from_mapping(ProbeConfig, to_mapping(config)) == config


@pytest.mark.parametrize(
    ("benchmarks", "said"),
    [
        ({"mmlu-pro": {}}, "did you mean 'mmlu_pro'"),
        ({"math500": {"path": "a.jsonl", "revision": "x"}}, "give one of the two"),
        ({"math500": {"items": 1}}, "2 or more"),
        ({"math500": {"max_new_tokens": 0}}, "1 or more"),
        ({"math500": {"patch": "a"}}, "unknown key"),
    ],
)
def test_a_config_that_cannot_be_used_says_the_way_out(benchmarks, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping(ProbeConfig, {"domains": [], "benchmarks": benchmarks})


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("Solve it.", "has no {problem}"), ("{problm}", "did you mean 'problem'"), ("{problem", "twice")],
)
def test_a_prompt_of_ones_own_has_the_gaps_of_the_other(prompt, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        load("aime25", tmp_path, prompt=prompt)


def test_a_prompt_of_ones_own_asks_the_same_questions_otherwise(tmp_path):
    plain, own = load("aime25", tmp_path), load("aime25", tmp_path, prompt="Say \\boxed{{}}: {problem}")
    pairs = list(zip(plain.items("probe", 2), own.items("probe", 2), strict=True))
    assert all(a.id == b.id and a.prompt != b.prompt and b.prompt.startswith("Say \\boxed{}: Find") for a, b in pairs)
    assert questions_key(plain, [a for a, _ in pairs]) != questions_key(own, [b for _, b in pairs])


def test_items_are_as_many_as_the_benchmark_says(tmp_path):
    file = write(tmp_path / "m.jsonl", MMLU_PRO)
    for items, count in ((None, 54), (10, 10), (99, 54)):
        config = ProbeConfig(domains=(), items=5, benchmarks={"mmlu_pro": BenchmarkConfig(path=file, items=items)})
        domains = domains_of(config)
        assert len(items_of(config, domains)["mmlu_pro"]) == count


def test_a_set_whose_loading_script_is_no_longer_run_is_read_from_its_file(tmp_path):
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(ROWS["alpaca_eval"]))
    domain = make_benchmark("alpaca_eval", BenchmarkConfig(hub=str(tmp_path)))
    assert {i.prompt for i in domain.items("probe", 2)} <= {row["instruction"] for row in ROWS["alpaca_eval"]}
    with pytest.raises(Unavailable, match=r"alpaca_eval is skipped: .* could not be had"):
        make_benchmark("alpaca_eval", BenchmarkConfig(hub=str(tmp_path / "nowhere")))


def test_the_analysis_knows_every_benchmark_of_requests():
    kinds = {name: kind.requests for name, kind in BENCHMARKS.items() if hasattr(kind, "requests")}
    assert {n for n, what in kinds.items() if what == "harmful"} <= set(HARMFUL)
    assert {n for n, what in kinds.items() if what == "safe"} <= set(SAFE)
    assert len(kinds) >= 4
