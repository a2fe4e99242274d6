"""HaluEval (arXiv 2305.11747): is a given answer, reply or summary hallucinated? Yes or no.

`pminervini/HaluEval`, subsets `qa`, `dialogue`, `summarization`, split `data`, 10,000 rows each (the study asked all three). Each
row holds a right text and a hallucinated one; which of them is shown is drawn in the authors' code, and here decided by a hash.
"""

from __future__ import annotations

from ...dynamics.types import Group
from ..domains import Grade, Item, Response
from .base import Benchmark, Question, hash_of, same_text, so_far, strict_or_late
from .judgements import judgement
from .rows import Row, Source

HUB = "pminervini/HaluEval"
ASK = (
    "Say whether the {kind} below contains hallucinated information: facts that {against}, or that cannot be verified from it. "
    'End with a line of the form "Judgement: Yes" where it does, or "Judgement: No" where it does not.\n\n'
)


class _HaluEval(Benchmark):
    group: Group = "general"
    grader = "judgement-2"
    fields: tuple[str, ...]  # what is shown beside the text that is judged
    right: str
    hallucinated: str

    def question(self, row: Row) -> Question | None:
        shown = {f: row.text(f) for f in self.fields}
        right, wrong = row.text(self.right), row.text(self.hallucinated)
        if same_text(right, wrong):
            return self.unusable(row, self.hallucinated, f"another text than `{self.right}`")
        content = (*shown.values(), right, wrong)
        yes = int(hash_of("shown", *content)[:8], 16) % 2 == 1
        return Question({**shown, "judged": wrong if yes else right}, {"hallucinated": yes}, content)

    def grade(self, item: Item, response: Response) -> Grade:
        said, right = judgement(response.answer), item.reference["hallucinated"]
        return strict_or_late(response, said is not None, said == right, judgement(so_far(response)) == right)

    @property
    def chance(self) -> float:
        """Of saying always what is right more often."""
        asked = self._items[: self._count]
        yes = sum(i.reference["hallucinated"] for i in asked) / len(asked)
        return max(yes, 1 - yes)


class HaluEvalQA(_HaluEval):
    name = "halueval_qa"
    source = Source(HUB, "data", "qa")
    fields = ("knowledge", "question")
    right, hallucinated = "right_answer", "hallucinated_answer"
    prompt = (
        ASK.format(kind="answer", against="contradict the knowledge")
        + "Knowledge: {knowledge}\nQuestion: {question}\nAnswer: {judged}"
    )


class HaluEvalDialogue(_HaluEval):
    name = "halueval_dialogue"
    source = Source(HUB, "data", "dialogue")
    fields = ("knowledge", "dialogue_history")
    right, hallucinated = "right_response", "hallucinated_response"
    prompt = (
        ASK.format(kind="reply", against="contradict the knowledge")
        + "Knowledge: {knowledge}\nDialogue: {dialogue_history}\nReply: {judged}"
    )


class HaluEvalSummarization(_HaluEval):
    name = "halueval_summarization"
    source = Source(HUB, "data", "summarization")
    fields = ("document",)
    right, hallucinated = "right_summary", "hallucinated_summary"
    prompt = ASK.format(kind="summary", against="contradict the document") + "Document: {document}\nSummary: {judged}"
