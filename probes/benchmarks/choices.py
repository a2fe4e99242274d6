"""Questions with lettered options: GPQA-Diamond, MMLU-Pro, and TruthfulQA's single-true choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...dynamics.types import Group
from ..domains import Grade, Item, Response
from .base import LETTERS, Benchmark, Question, balanced, hash_of, same_text, so_far, strict_or_late
from .letters import stated_letter
from .rows import Row, Source

PROMPT = (
    "Answer the following multiple-choice question. Think it through step by step, and end with a line of the form "
    '"Answer: X", X being the letter of the right option.\n\n{question}\n\n{options}'
)


class Choices(Benchmark):
    """Lettered options, one of them right. What is asked for is a letter; a text that names none is not parsed."""

    grader = "letter-2"
    prompt = PROMPT

    def lettered(
        self,
        question: str,
        options: Sequence[str],
        right: int,
        *,
        by_hash: bool,
        category: str = "",
        of_question: str = "",
    ) -> Question:
        """`by_hash`: options in an order that a hash of the question's content decides, else as published."""
        content = (question, sorted(options), options[right])
        order = list(range(len(options)))
        if by_hash:
            at = [hash_of("option", question, *sorted(options), o) for o in options]
            order.sort(key=lambda k: at[k])
        listed = "\n".join(f"{LETTERS[i]}) {options[k]}" for i, k in enumerate(order))
        reference: dict[str, Any] = {
            "answer": LETTERS[order.index(right)],
            "options": len(options),
            "category": category,
        }
        return Question({"question": question, "options": listed}, reference, content, of_question)

    def grade(self, item: Item, response: Response) -> Grade:
        right, count = item.reference["answer"], item.reference["options"]
        letter = stated_letter(response.answer, count)
        late = stated_letter(so_far(response), count) == right
        return strict_or_late(response, letter is not None, letter == right, late)

    @property
    def chance(self) -> float:
        """Of a letter drawn at random: the mean of 1 / options."""
        asked = self._items[: self._count]
        return sum(1 / i.reference["options"] for i in asked) / len(asked)


class GPQADiamond(Choices):
    """GPQA-Diamond (arXiv 2311.12022), `Idavidrein/gpqa`, subset `gpqa_diamond`, split `train`: 198 questions, gated.

    Columns `Question`, `Correct Answer`, `Incorrect Answer 1` to `3` (others are not read). The authors ask that questions
    are never published: none is in this repository, and run folders that hold prompts should stay private.
    """

    name = "gpqa_diamond"
    group: Group = "ood_reasoning"
    source = Source("Idavidrein/gpqa", "train", "gpqa_diamond", gated=True)

    def question(self, row: Row) -> Question | None:
        right, wrong = row.text("Correct Answer"), [f"Incorrect Answer {k}" for k in (1, 2, 3)]
        options = [row.text(name) for name in ("Correct Answer", *wrong)]
        for k, name in enumerate(wrong, 1):
            if same_text(options[k], right):
                return self.unusable(row, name, "another text than the correct answer")
            if options[k] in options[1:k]:
                return self.unusable(row, name, "another text than the other incorrect answers")
        return self.lettered(row.text("Question"), [right, *map(row.text, wrong)], 0, by_hash=True)


class MMLUPro(Choices):
    """MMLU-Pro (arXiv 2406.01574), `TIGER-Lab/MMLU-Pro`, split `test`: 1,000 questions, balanced over the categories by hash.

    Columns `question`, `options` (up to ten), `answer` (a letter), `answer_index`, `category`. Zero-shot, as chat models are
    asked; options in the published order.
    """

    name = "mmlu_pro"
    group: Group = "ood_reasoning"
    source = Source("TIGER-Lab/MMLU-Pro", "test", revision="3373e0b32277875b8db2aa555a333b78a08477ea")
    most = 1000

    def question(self, row: Row) -> Question | None:
        options = row.texts("options", least=2, most=len(LETTERS))
        letters = LETTERS[: len(options)]
        right = letters.index(row.one_of("answer", letters))
        if "answer_index" in row.values and row.integer("answer_index") != right:
            raise row.wrong("answer_index", f"{right}, the place of `answer` {letters[right]!r}")
        if options[right].upper() == "N/A":
            return self.unusable(
                row, "answer", f"an option that says something: {letters[right]} is {options[right]!r}"
            )
        if options.count(options[right]) > 1:
            return self.unusable(row, "options", f"the right option, {options[right]!r}, once")
        return self.lettered(row.text("question"), options, right, by_hash=False, category=row.text("category"))

    def arranged(self, items: Sequence[Item]) -> list[Item]:
        return balanced(items, "category")


class TruthfulQAChoice(Choices):
    """TruthfulQA, single-true choice (MC1; arXiv 2109.07958): 817 questions.

    `truthfulqa/truthful_qa`, subset `multiple_choice`, split `validation`. Columns `question`, `mc1_targets` with `choices` and
    `labels` (one 1, the rest 0; the true one is published first, so that the order is decided by a hash). Published by
    log-likelihood; here a letter is asked for. The study scored generated answers with judges instead: `truthfulqa`.
    """

    name = "truthfulqa_choice"
    group: Group = "general"
    source = Source("truthfulqa/truthful_qa", "validation", "multiple_choice")

    def question(self, row: Row) -> Question:
        targets = row.part("mc1_targets")
        choices = targets.texts("choices", least=2, most=len(LETTERS))
        labels = targets.values.get("labels")
        one_true = isinstance(labels, list) and sorted(map(str, labels)) == ["0"] * (len(choices) - 1) + ["1"]
        if not isinstance(labels, list) or not one_true:
            raise targets.wrong("labels", f"{len(choices)} numbers, one of them 1 and the rest 0")
        right = [str(label) for label in labels].index("1")
        if choices.count(choices[right]) > 1:
            raise targets.wrong("choices", f"the true choice, {choices[right]!r}, once")
        return self.lettered(row.text("question"), choices, right, by_hash=True)
