"""Open questions that only a model can score: AlpacaEval by a reward model, TruthfulQA's generated answers by judges.

Here it is only said whether there is an answer. Local models that the config names score the same stored answers: the probe
`scorers` (docs/benchmarks.md).
"""

from __future__ import annotations

from ...dynamics.types import Group
from ..domains import Grade, Item, Response
from .base import Benchmark, Question, strict_or_late
from .rows import Row, Source


class _OpenEnded(Benchmark):
    group: Group = "general"
    grader = "answered-1"
    graded = False

    def grade(self, item: Item, response: Response) -> Grade:
        """Finished, and parsed where there is an answer; never `correct`, which is not known here."""
        return strict_or_late(response, bool(response.answer), False, False)


class AlpacaEval(_OpenEnded):
    """AlpacaEval, `tatsu-lab/alpaca_eval`, subset `alpaca_eval`, split `eval`: 805 instructions.

    Columns `instruction`, `dataset` (the reference answers are not read: scoring is without reference). The study that the
    published recipes follow gave the mean score of a reward model.
    """

    name = "alpaca_eval"
    # The hub's loading script is one that `datasets` no longer runs: it reads this file.
    source = Source("tatsu-lab/alpaca_eval", "eval", "alpaca_eval", files=("alpaca_eval.json",))
    prompt = "{instruction}"

    def question(self, row: Row) -> Question:
        instruction = row.text("instruction")
        return Question({"instruction": instruction}, {"category": row.optional_text("dataset")}, (instruction,))


class TruthfulQA(_OpenEnded):
    """TruthfulQA, generated answers (arXiv 2109.07958): 817 questions, asked by the study with two judges: truth, help.

    `truthfulqa/truthful_qa`, subset `generation`, split `validation`. Columns `question`, `best_answer`, `correct_answers`,
    `incorrect_answers`, `category`.
    """

    name = "truthfulqa"
    source = Source("truthfulqa/truthful_qa", "validation", "generation")
    prompt = "{question}"

    def question(self, row: Row) -> Question:
        question = row.text("question")
        reference = {
            "best": row.text("best_answer"),
            "correct": row.texts("correct_answers", empty=True),
            "incorrect": row.texts("incorrect_answers", empty=True),
            "category": row.optional_text("category"),
        }
        return Question({"question": question}, reference, (question,))
