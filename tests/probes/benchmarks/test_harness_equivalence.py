"""The verdicts on stored answers are those of lm-evaluation-harness itself, run with its own loop on the same answers.

Here, and nowhere in the package, its loop is run: over a model that gives back what is stored.
"""

from __future__ import annotations

import pytest
from benchmark_standins import IFEVAL, done, load, write
from harness_standins import GSM8K, TASKS, answers_to
from sftscope.probes.benchmarks import BenchmarkConfig, HarnessTask
from sftscope.probes.benchmarks.harness import _file_of, find_task, quietly

pytest.importorskip("lm_eval")
THOUGHT = "<think> Is it #### 99? The answer is 99. (B) True\n\nHm. </think>\n\n"
FILTERS = {
    "gsm8k": ("exact_match,strict-match", "exact_match,flexible-extract"),
    "gsm8k_cot_zeroshot": ("exact_match,strict-match", "exact_match,flexible-extract"),
    "bbh_zeroshot_hyperbaton": ("exact_match,strict-match", "exact_match,flexible-extract"),
    "bbh_zeroshot_boolean_expressions": ("exact_match,flexible-extract",),
    "ifeval": ("prompt_level_strict_acc,none", "prompt_level_loose_acc,none"),
}


def by_the_harness(task, rows, answers, monkeypatch, fewshot=0):
    """What the harness's own `evaluate` says: prompt, and "<metric>,<filter>" to value, for every document in turn."""
    import datasets
    from lm_eval.api.model import LM
    from lm_eval.evaluator import evaluate
    from lm_eval.models.utils import postprocess_generated_text
    from lm_eval.tasks import TaskManager

    class Stored(LM):
        """Its answers are `answers`, in the order of the documents, ended as the harness's own models end them."""

        def generate_until(self, requests):
            return [
                postprocess_generated_text(
                    answers[r.doc_id], r.args[1]["until"], "</think>" if "</think>" in answers[r.doc_id] else None
                )
                for r in requests
            ]

        def loglikelihood(self, requests): ...
        def loglikelihood_rolling(self, requests): ...

    settings = find_task(task)
    splits = {s for s in (settings.get(f"{k}_split") for k in ("training", "validation", "test", "fewshot")) if s}
    table = datasets.Dataset.from_list(rows)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(dict.fromkeys(splits, table)))
    folder = str(_file_of(task).parent)
    with quietly():
        loaded = TaskManager(include_defaults=False, include_path=folder).load([task])
        loaded["tasks"][task].set_config("num_fewshot", fewshot)
        results = evaluate(Stored(), loaded, bootstrap_iters=0, log_samples=True)
    found = [{} for _ in rows]
    for sample in results["samples"][task]:
        at = found[sample["doc_id"]]
        at["prompt"] = sample["arguments"][0][0]
        at |= {f"{m},{sample['filter']}": sample[m] for m in sample["metrics"]}
    return found


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("begun", ["", THOUGHT], ids=["answer", "after thinking"])
def test_every_verdict_is_the_harnesss_own(task, begun, tmp_path, monkeypatch):
    rows = TASKS[task][0]
    file = write(tmp_path / "rows.jsonl", rows)
    asked = {m: HarnessTask(task, BenchmarkConfig(path=file, metric=m)) for m in FILTERS.get(task, (None,))}
    verdicts = set()
    for k in range(len(TASKS[task][1])):
        answers = [begun + answers_to(task, row)[k] for row in rows]
        theirs = by_the_harness(task, rows, answers, monkeypatch)
        by_prompt = {t["prompt"]: (t, a) for t, a in zip(theirs, answers, strict=True)}
        assert len(by_prompt) == len(rows)
        for domain in asked.values():
            items = domain.items("probe", len(rows))
            assert {i.prompt for i in items} == set(by_prompt)  # the harness's own prompt, to the letter
            for item in items:
                said, answer = by_prompt[item.prompt]
                grade = domain.grade(item, done(answer))
                assert grade.correct == bool(said[domain.metric]), (domain.metric, answer, said)
                verdicts.add(grade.correct)
    assert verdicts == {True, False}  # else nothing is compared


def test_examples_stand_where_the_harness_puts_them(tmp_path, monkeypatch):
    domain = HarnessTask("gsm8k_cot", BenchmarkConfig(path=write(tmp_path / "g.jsonl", GSM8K), fewshot=2))
    theirs = by_the_harness("gsm8k_cot", GSM8K, ["The answer is 3."] * len(GSM8K), monkeypatch, fewshot=2)
    prompts = {i.prompt for i in domain.items("probe", len(GSM8K))}
    assert prompts == {t["prompt"] for t in theirs}
    assert all(p.count("Q: ") == 3 for p in prompts)


def test_ifeval_is_judged_as_by_its_own_benchmark(tmp_path):
    own, generic = (
        load("ifeval", tmp_path),
        HarnessTask("ifeval", BenchmarkConfig(path=write(tmp_path / "i.jsonl", IFEVAL))),
    )
    ours = {i.prompt: i for i in own.items("probe", 2)}
    seen = set()
    for item in generic.items("probe", 2):
        for answer in answers_to("ifeval", {}):
            verdict = generic.grade(item, done(answer))
            same = own.grade(ours[item.prompt], done(answer))
            assert (verdict.strict, verdict.parsed) == (same.strict, same.parsed)
            assert verdict.details["prompt_level_loose_acc"] == same.details["loose"]
            seen.add(verdict.strict)
    assert seen == {True, False}
