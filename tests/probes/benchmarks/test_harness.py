"""Tasks of lm-evaluation-harness as domains: answers told apart, what cannot be asked refused, bad rows named."""

from __future__ import annotations

import random

import pytest
from benchmark_standins import cut, done
from harness_standins import GSM8K, HYPERBATON, TASKS, ask
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.probes.benchmarks import (
    BenchmarkConfig,
    HarnessTask,
    make_benchmark,
)

pytest.importorskip("lm_eval")


def last_number(item):
    return item.reference["doc"]["answer"].split()[-1]


def box(item):
    return item.reference["target"]


# task, its metric, a right answer of an item, a wrong one, and one with no answer in it (None: nothing is extracted there)
ANSWERS = [
    ("gsm8k", None, lambda i: f"So #### {last_number(i)}", "#### 4000", "I give up."),
    ("gsm8k", "exact_match,flexible-extract", lambda i: f"She has {last_number(i)}.", "She has 4000.", "I give up."),
    ("gsm8k_cot_zeroshot", None, lambda i: f"The answer is {last_number(i)}.", "The answer is 4000.", "It is 3."),
    ("hendrycks_math_algebra", None, lambda i: f"It is ${box(i)}$ in all", "It is $8$", None),
    ("nq_open", None, lambda i: f"{i.reference['target'][0].upper()}. Then more", "Bob", None),
    ("triviaqa", None, lambda i: i.reference["target"][0].lower(), "Bob", None),
    ("drop", "em", lambda i: f"{i.reference['doc']['query_id']} yards", "99", None),
    ("bbh_zeroshot_hyperbaton", "exact_match,flexible-extract", lambda i: "It is (A)", "It is (B)", "neither"),
    ("bbh_zeroshot_boolean_expressions", "exact_match,flexible-extract", lambda i: i.reference["target"], "so", "so"),
]


@pytest.mark.parametrize(("task", "metric", "right", "wrong", "nothing"), ANSWERS)
def test_right_wrong_unparsable_and_truncated_answers_are_told_apart(task, metric, right, wrong, nothing, tmp_path):
    domain = ask(task, tmp_path, metric=metric)
    items = domain.items("probe", domain.count("probe"))
    assert len(items) == len(TASKS[task][0])
    for item in items:
        for begun in ("", f"<think> Or {wrong}? </think> "):
            grade = domain.grade(item, done(begun + right(item)))
            assert (grade.finished, grade.parsed, grade.correct, grade.strict, grade.lenient) == (True,) * 5
            grade = domain.grade(item, done(begun + wrong))
            assert (grade.finished, grade.correct, grade.lenient) == (True, False, False)
            assert grade.parsed is (wrong != nothing)
        if nothing:
            grade = domain.grade(item, done(nothing))
            assert (grade.finished, grade.parsed, grade.correct) == (True, False, False)
        thinks_right = domain.grade(item, done(f"<think> {right(item)} </think> {wrong}"))
        assert (thinks_right.correct, thinks_right.lenient) == (False, False)  # thinking is no answer
        late = domain.grade(item, cut(right(item)))
        assert (late.finished, late.parsed, late.correct, late.lenient) == (False, False, False, True)
        never = domain.grade(item, done(f"<think> {right(item)}"))
        assert (never.finished, never.parsed, never.strict) == (True, False, False)
        for empty in ("", "<think> Hm. </think>"):
            assert not domain.grade(item, done(empty)).parsed


def test_an_answer_ends_where_the_harness_would_have_stopped(tmp_path):
    """nq_open stops at a new line, a full stop or a comma; hendrycks_math where a next problem begins."""
    d = ask("nq_open", tmp_path)
    arvel = next(i for i in d.items("probe", 3) if "arvel" in i.prompt)
    assert d.grade(arvel, done("Norland, or so they say.")).strict
    assert not d.grade(arvel, done("I say\nNorland")).correct
    assert d.grade(
        arvel, done("<think> First.\nSecond, third. </think>\n\nNorland\n")
    ).strict  # the answer part's stops alone
    domain = ask("hendrycks_math_algebra", tmp_path)
    item = domain.items("probe", 2)[0]
    assert domain.grade(item, done(f"${box(item)}$\nProblem: what is $8$?")).strict


def test_the_prompt_is_the_tasks_own_and_can_be_put_into_another(tmp_path):
    plain = ask("bbh_zeroshot_hyperbaton", tmp_path)
    own = ask("bbh_zeroshot_hyperbaton", tmp_path, prompt="{question}\nEnd with the letter in brackets.")
    first, other = plain.items("probe", 3), own.items("probe", 3)
    begin = "Order adjectives correctly in English sentences.\n\nQ: Which is right?\nOptions:\n(A) old lamp "
    assert all(i.prompt.startswith(begin) and i.prompt.endswith("\nA:") for i in first)
    assert [i.id for i in first] == [i.id for i in other]
    assert [f"{i.prompt}\nEnd with the letter in brackets." for i in first] == [i.prompt for i in other]
    with pytest.raises(ConfigError, match=r"has no \{question\}"):
        ask("bbh_zeroshot_hyperbaton", tmp_path, prompt="Now.")


@pytest.mark.parametrize("task", TASKS)
def test_the_order_of_the_file_decides_nothing(task, tmp_path):
    made = TASKS[task][0]
    first = ask(task, tmp_path).items("probe", len(made))
    shuffled = [*made, made[0]]  # with one row twice
    random.Random(1).shuffle(shuffled)
    again = ask(task, tmp_path, shuffled)
    assert again.items("probe", len(made)) == first
    assert again.items("probe", 2) == first[:2]
    assert again.count("probe") == len(made)


def test_every_kind_of_file_gives_the_same_questions(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for task in ("gsm8k", "nq_open", "drop"):
        wanted = ask(task, tmp_path).items("probe", 3)
        pq.write_table(pa.Table.from_pylist(TASKS[task][0]), tmp_path / "rows.parquet")
        parquet = HarnessTask(task, BenchmarkConfig(path=tmp_path / "rows.parquet"))
        assert [(i.id, i.prompt) for i in parquet.items("probe", 3)] == [(i.id, i.prompt) for i in wanted]


# ---------------------------------------------------------------- metrics


def test_the_first_metric_of_right_and_wrong_is_taken_unless_another_is_named(tmp_path):
    for task, metric in (
        ("gsm8k", "exact_match,strict-match"),
        ("drop", "em,none"),  # and not f1, which knows degrees
        ("ifeval", "prompt_level_strict_acc,none"),  # and not the shares of instructions
    ):
        domain = ask(task, tmp_path)
        assert domain.metric == metric
        assert domain.grader.startswith("lm-eval-")
        assert domain.grader.endswith(f"/{metric}")
    assert "/gsm8k-3.0/" in ask("gsm8k", tmp_path).grader
    assert ask("ifeval", tmp_path, metric="prompt_level_loose_acc").metric == "prompt_level_loose_acc,none"
    with pytest.raises(ConfigError, match=r"'f1'.*no right or wrong.*em,none"):
        ask("drop", tmp_path, metric="f1")
    with pytest.raises(ConfigError, match="did you mean 'exact_match,flexible-extract'"):
        ask("gsm8k", tmp_path, metric="exact_match,flexible")


def test_a_task_without_right_and_wrong_is_refused_with_its_metrics(tmp_path):
    made = [{"sentence_eng_Latn": f"Lamp {k} is lit.", "sentence_fra_Latn": f"La lampe {k} brille."} for k in range(3)]
    with pytest.raises(ConfigError, match=r"no metric that calls .* \(it has .*chrf.*\): choose another"):
        ask("flores_eng_Latn-fra_Latn_prompt_1", tmp_path, made)


def test_degrees_that_show_late_stop_the_grading(tmp_path, monkeypatch):
    domain = ask("gsm8k", tmp_path)
    item = domain.items("probe", 2)[0]
    monkeypatch.setattr(domain._task, "process_results", lambda doc, found: {"exact_match": 0.5})
    with pytest.raises(DataError, match=r"exact_match,strict-match` gives 0.5.*probes.benchmarks.lm_eval_gsm8k.metric"):
        domain.grade(item, done("#### 3"))


def test_what_a_scorer_trips_over_is_wrong_and_what_it_lacks_is_said(tmp_path, monkeypatch):
    domain = ask("gsm8k", tmp_path)
    item = domain.items("probe", 2)[0]
    real = domain._task.process_results

    def failing(error, on):
        def process_results(doc, found):
            if found[0] in on:
                raise error
            return real(doc, found)

        monkeypatch.setattr(domain._task, "process_results", process_results)
        return domain.grade(item, done("#### 333"))

    index = IndexError("list index out of range")
    grade = failing(index, ["333"])
    assert (grade.finished, grade.parsed, grade.correct, grade.lenient) == (True, False, False, False)
    for error in (ImportError("No module named 'rouge'"), LookupError("Resource punkt not found")):
        with pytest.raises(DataError, match="its scorer needs"):
            failing(error, ["333"])

    class All:
        def __contains__(self, _):
            return True

    with pytest.raises(DataError, match=r"cannot be run on the question .*How many has she.*IndexError"):
        failing(index, All())  # the document's fault, whatever the answer


def test_a_scorer_that_guesses_guesses_the_same_each_time(tmp_path, monkeypatch):
    domain = ask("gsm8k", tmp_path)
    item = domain.items("probe", 2)[0]
    monkeypatch.setattr(domain._task, "process_results", lambda doc, found: {"exact_match": random.randint(0, 1)})
    before = random.getstate()
    assert len({domain.grade(item, done("#### 3")).correct for _ in range(20)}) == 1
    assert random.getstate() == before
    assert {domain.grade(i, done("#### 3")).correct for i in domain.items("probe", 6)} == {True, False}


def test_a_filter_may_give_lists(tmp_path, monkeypatch):
    domain = ask("gsm8k", tmp_path)
    item = domain.items("probe", 2)[0]
    monkeypatch.setattr(domain, "_filtered", lambda doc, answer, chosen: [["NOUN"], ["VERB"]])
    monkeypatch.setattr(domain._task, "process_results", lambda doc, found: {"exact_match": 1.0})
    assert domain.grade(item, done("x")).strict
    monkeypatch.setattr(domain, "_filtered", lambda doc, answer, chosen: ["[invalid]"])
    assert not domain.grade(item, done("x")).parsed


def test_a_scorer_may_spoil_its_document(tmp_path, monkeypatch):
    domain = ask("gsm8k", tmp_path)
    item = domain.items("probe", 2)[0]
    real = domain._task.process_results

    def spoiling(doc, found):
        values = real(doc, found)
        doc.clear()
        return values

    monkeypatch.setattr(domain._task, "process_results", spoiling)
    assert [domain.grade(item, done(f"#### {last_number(item)}")).strict for _ in range(2)] == [True, True]


# ---------------------------------------------------------------- what is refused

REFUSED = [
    ("arc_easy", "graded by likelihoods .*multiple_choice.*stated letters"),
    ("lambada_openai", "graded by likelihoods .*loglikelihood"),
    ("bbh_zeroshot", "is a group: .*lm_eval_bbh_zeroshot_boolean_expressions, .* and 19 more"),
    ("mmlu_generative", "is a group: .*lm_eval_mmlu_abstract_algebra_generative"),  # groups within a group
    ("math_word_problems", "is a group: .*lm_eval_gsm8k"),  # a tag
    ("mmlu", "a group of tasks that are graded by likelihoods"),
    ("gsm8k_cott", "no task 'gsm8k_cott': did you mean .*lm_eval_gsm8k_cot"),
    ("nothingofthekind", "no task 'nothingofthekind'.*lm-eval ls tasks"),
    ("squadv2", "written in Python"),
    ("humaneval", r"runs answers as code.*livecodebench.*docs/code-execution\.md"),
    ("mbpp", "runs answers as code"),
    (
        "non_greedy_robustness_math_algebra",
        "runs answers as code",
    ),  # not marked as unsafe: sympy evaluates what it parses
    ("arc_challenge_llama", "begins the answer itself"),
    ("gsm8k_cot_self_consistency", "judges 64 responses to a question together"),
    ("chartqa", "pictures"),
    ("ruler_vt", "begins the answer itself|makes its data set itself"),
    ("babilong_qa1", "makes its data set itself"),
]


@pytest.mark.parametrize(("task", "said"), REFUSED)
def test_what_cannot_be_asked_is_refused_in_a_line(task, said):
    with pytest.raises(ConfigError, match=said) as caught:
        make_benchmark(f"lm_eval_{task}", BenchmarkConfig())
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert "/" not in message.replace("docs/", "")  # no folder of this machine


def test_examples_are_those_that_the_task_writes_out(tmp_path):
    domain = ask("gsm8k_cot", tmp_path, GSM8K, fewshot=3)
    assert domain.items("probe", 2)[0].prompt.count("\nA: ") == 3
    with pytest.raises(ConfigError, match="no examples written out"):
        ask("gsm8k", tmp_path, fewshot=5)  # drawn from its training split
    with pytest.raises(ConfigError, match="the task has 8 examples"):
        ask("gsm8k_cot", tmp_path, GSM8K, fewshot=9)


def test_every_stand_in_is_compared_and_told_apart():
    assert {task for task, *_ in ANSWERS} | {"ifeval"} == set(TASKS)
    assert HYPERBATON[0]["target"] == "(A)"
