"""Mathematics with one final answer: MATH-500, AIME 2024 and AIME 2025."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from ...dynamics.errors import DataError
from ...dynamics.types import Group
from ..domains import Grade, Item, Response
from .base import Benchmark, BenchmarkConfig, Question, so_far, strict_or_late
from .integers import stated_integer
from .markup import boxes
from .rows import Row, Source, Unavailable

PROMPT = "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
INSTALL = "pip install 'sftscope[benchmarks]'"
LARGEST = 999  # AIME's answers are whole numbers from 0

Verdict = tuple[bool, bool, bool]  # parsed, correct, and whether the grading failed rather than the answer
Compare = Callable[[Sequence[tuple[str, str]]], Sequence[Verdict]]  # of (answer, gold)


def last_boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{…}` that is closed, braces matched; None where there is none."""
    closed = [box for box in boxes(text) if box is not None]
    return closed[-1] if closed else None


def by_math_verify(answers: Sequence[tuple[str, str]]) -> list[Verdict]:
    """Verdicts on answers against what is right, by math-verify in processes that can be stopped.

    Raises DataError where it is not installed.
    """
    try:
        from .math_answers import grade_math
    except ImportError as error:
        raise DataError(f"answers in mathematics are compared by math-verify ({error}): {INSTALL}") from error
    return [(g.parsed, g.correct, g.failed) for g in grade_math(answers)]


class Math500(Benchmark):
    """MATH-500 (arXiv 2305.20050's split of arXiv 2103.03874), `HuggingFaceH4/MATH-500`, split `test`: 500 problems.

    Columns `problem`, `answer` (LaTeX), `subject`, `level` (1 to 5). An answer is what the response puts in its last box;
    whether it equals the right one is for math-verify, which also reads answers that are not boxed.
    """

    name = "math500"
    group: Group = "id_reasoning"
    source = Source("HuggingFaceH4/MATH-500", "test", revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be")
    prompt = PROMPT
    grader = "math-verify-2"
    compare: Compare = staticmethod(by_math_verify)

    def __init__(self, config: BenchmarkConfig | None = None) -> None:
        if find_spec("math_verify") is None:
            raise Unavailable(f"{self.name} is skipped: it is graded by math-verify, which is not here: {INSTALL}")
        self._where: dict[str, Row] = {}  # by what is right there
        super().__init__(config)

    def _read(self) -> list[Item]:
        """Raises DataError for a row whose answer can be compared with nothing: at the start, and not at every grading."""
        items = super()._read()
        from .math_answers import unreadable

        for answer in unreadable([item.reference["answer"] for item in items]):
            raise self._where[answer].wrong("answer", "an answer that math-verify can read")
        self._where.clear()
        return items

    def question(self, row: Row) -> Question:
        problem, answer = row.text("problem"), row.text("answer")
        self._where.setdefault(answer, row)
        subject = row.optional_text("subject")
        return Question({"problem": problem}, {"answer": answer, "category": subject}, (problem, answer))

    def grade(self, item: Item, response: Response) -> Grade:
        return self.grade_all([item], [response])[0]

    def grade_all(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
        """Grades of many responses at once: comparing them is shared out to processes."""
        texts = [so_far(r) if not r.finished else r.answer for r in responses]
        asked = [(k, (t, i.reference["answer"])) for k, (i, t) in enumerate(zip(items, texts, strict=True)) if t]
        told = dict(zip([k for k, _ in asked], self.compare([a for _, a in asked]), strict=True)) if asked else {}
        found = [told.get(k, (False, False, False)) for k in range(len(texts))]
        grades = []
        for response, text, (parsed, correct, failed) in zip(responses, texts, found, strict=True):
            late = correct and last_boxed(text) is not None
            grades.append(strict_or_late(response, parsed, correct, late, grading_failed=float(failed)))
        return grades


class _Aime(Benchmark):
    """Answers are whole numbers from 0 to 999: compared as such, without computer algebra. Another whole number is wrong."""

    group: Group = "id_reasoning"
    prompt = PROMPT
    grader = "integer-2"

    def question(self, row: Row) -> Question:
        name = next((n for n in ("Answer", "answer") if n in row.values), "answer")
        answer = row.integer(name)
        if not 0 <= answer <= LARGEST:
            raise row.wrong(name, f"a whole number from 0 to {LARGEST}")
        problem = row.text("problem", "Problem")
        return Question({"problem": problem}, {"answer": answer}, (problem, answer))

    def grade(self, item: Item, response: Response) -> Grade:
        found, right = stated_integer(response.answer), item.reference["answer"]
        return strict_or_late(response, found is not None, found == right, stated_integer(so_far(response)) == right)


class Aime24(_Aime):
    """AIME 2024, `Maxwell-Jia/AIME_2024`, split `train`: 30 problems. Columns `Problem`, `Answer` (also in lower case)."""

    name = "aime24"
    source = Source("Maxwell-Jia/AIME_2024", "train")


class Aime25(_Aime):
    """AIME 2025, `math-ai/aime25`, split `test`: 30 problems. Columns `problem`, `answer` (a text)."""

    name = "aime25"
    source = Source("math-ai/aime25", "test")
