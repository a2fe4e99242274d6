"""Made-up rows in the schemas of data sets that lm-evaluation-harness asks, and answers to them. No real one's text is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark_standins import IFEVAL, write
from sftscope.probes.benchmarks import BenchmarkConfig, make_benchmark

GSM8K = [
    {
        "question": f"Ann has {k} pears and buys {k + 1}. How many has she?",
        "answer": f"{k} + {k + 1}.\n#### {2 * k + 1}",
    }
    for k in range(1, 7)
]
MATH = [
    {
        "problem": f"What is ${k}/7$?",
        "solution": f"It is $\\boxed{{\\frac{{{k}}}{{7}}}}$.",
        "level": "Level 1",
        "type": "Algebra",
    }
    for k in range(1, 5)
]
NQ = [
    {"question": "who painted the made-up blue barn", "answer": ["Anna Invented", "A. Invented"]},
    {"question": "where is the made-up town of arvel", "answer": ["Norland"]},
    {"question": "how many made-up moons has lom", "answer": ["14", "fourteen"]},
]
TRIVIA = [
    {"question": "Which made-up river runs through Arvel", "answer": {"aliases": ["The Lun", "Lun"], "value": "Lun"}},
    {"question": "Who sang the made-up song Oo", "answer": {"aliases": ["Bo Nobody"], "value": "Bo Nobody"}},
]
_NO_DATE = {"day": "", "month": "", "year": ""}


def _drop(k: int) -> dict[str, Any]:
    answer = {"number": str(k), "date": _NO_DATE, "spans": []}
    validated = {"number": ["", ""], "date": [_NO_DATE] * 2, "spans": [[f"{k} yards"], [f"about {k}"]]}
    passage = f"The made-up team ran {k} yards."
    return {
        "query_id": str(k),
        "passage": passage,
        "question": "How many yards?",
        "answer": answer,
        "validated_answers": validated,
    }


DROP = [_drop(k) for k in (3, 14, 25)]
HYPERBATON = [
    {"input": f"Which is right?\nOptions:\n(A) old lamp {k}\n(B) lamp old {k}", "target": "(A)"} for k in range(3)
]
BOOLEANS = [{"input": "not ( True ) is", "target": "False"}, {"input": "True or False is", "target": "True"}]
SUBJECT = [{"question": f"Which is {k}?", "choices": ["1", "2", "3", "4"], "answer": k - 1} for k in (1, 2, 3)]

# task: rows, and the answers that each row's question is given (a text, or what makes one of the row)
TASKS: dict[str, tuple[list[dict[str, Any]], list[Any]]] = {
    "gsm8k": (
        GSM8K,
        [
            lambda r: f"Together {r['answer']}",
            lambda r: f"She has {r['answer'].split()[-1]} pears.",
            "#### 1,000",
            "#### 3\nQuestion: How many?\n#### 5",
            "I do not know.",
        ],
    ),
    "gsm8k_cot_zeroshot": (
        GSM8K,
        [
            lambda r: f"We add. The answer is {r['answer'].split()[-1]}.",
            "The answer is 3. Q: And? The answer is 5.",
            "?",
        ],
    ),
    "hendrycks_math_algebra": (
        MATH,
        [
            "It is $\\frac{1}{7}$",
            "$\\frac27$",
            "\\frac{3}{7}",
            "\\dfrac{4}{7}",
            "It is $\\frac{1}{7}$ Problem: $2$",
            "No.",
        ],
    ),
    "nq_open": (NQ, ["Anna Invented", "the norland", "14. It has", "Fourteen\nmoons", "It is Norland", "."]),
    "triviaqa": (TRIVIA, ["lun", "The Lun, I think", "bo nobody!", "Nobody", "It is Lun"]),
    "drop": (DROP, ["3", "14 yards", "about 25 yards", "25 yards in all", "none"]),
    "bbh_zeroshot_hyperbaton": (HYPERBATON, ["(A)", "(A).", "The right one is (A)", "(B)", "old lamp 1", "neither"]),
    "bbh_zeroshot_boolean_expressions": (BOOLEANS, ["True", "False.", "So it is False", "No idea"]),
    "ifeval": (
        IFEVAL,
        [
            "A lamp stands on the hill",
            "A lamp, a hill",
            "There is a kite over the hill",
            "A kite.",
            "Sure, here it is:\nA lamp stands there and so does a kite",
        ],
    ),
}


def answers_to(task: str, row: dict[str, Any]) -> list[str]:
    return [a if isinstance(a, str) else a(row) for a in TASKS[task][1]]


def ask(task: str, folder: Path, made: list[dict[str, Any]] | None = None, **config: Any):
    """The task over its stand-ins, or over rows of the test's own."""
    file = write(folder / f"{task}.jsonl", TASKS[task][0] if made is None else made)
    return make_benchmark(f"lm_eval_{task}", BenchmarkConfig(path=file, **config))
