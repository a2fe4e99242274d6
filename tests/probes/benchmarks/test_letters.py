"""The letter that a text settles on: read where it is stated, in whatever dress, and nowhere else."""

from __future__ import annotations

import time

import pytest
from sftscope.probes.benchmarks.letters import stated_letter
from sftscope.probes.benchmarks.markup import boxes

STATED = [
    "Answer: B",
    "**Answer: B**",
    "Answer: **(B)**",
    "ANSWER: B",
    "answer = B",
    "Answer is B",
    "Answer:B",
    "The answer's B.",
    "The answer to the question is B.",
    "Thus, B is the answer.",
    "Answer: B\\\\",
    "Answer: B<|im_end|>",
    "\\[\\boxed{\\text{Answer: B}}\\]",
    "Answer - B",
    "Answer：B",
    "Answer: b",
    "Answer: B?",
    "Answer: B/",
    'Answer: "B"',
    "Answer: 'B'",
    "Answer: [B]",
    "Answer: `B`",
    "Answer: $B$",
    "Answer: \\(B\\)",
    "Answer: <b>B</b>",
    "<answer>B</answer>",
    "<answer> **B** </answer>",
    "Answer:\n\nB",
    "### Answer\nB",
    "Answer: B (Paris)",
    "Answer: B Paris",
    "Answer: B) Paris",
    "Answer: (B) Paris",
    "Answer: B. Paris",
    "Answer: **B** - Paris",
    "Answer: 42 (B)",
    "Answer: f(x) = 2 (B)",
    "Answer: option (B)",
    "The correct answer is:\n\nB) Paris",
    "The correct answer is option B.",
    "The correct answer is (B) because it fits.",
    "The correct answer is **B**: 42",
    "The answer is **B — 42**",
    "The answer is B which fits.",
    "The answer would be B.",
    "The answer must be (B).",
    "The answer is therefore B.",
    "The best answer is B",
    "So the correct one is B.",
    "The correct option is (B).",
    "Correct option: B",
    "Final choice: B",
    "I choose B.",
    "B is the correct answer.",
    "(B) is correct.",
    "It is option B.",
    "Therefore, the answer is $\\textbf{(B)}$",
    "The answer is \\boxed{B}.",
    "so $\\boxed{\\text{B}}$",
    "\\boxed{b}",
    "\\boxed{\\textbf{(B)}}",
    "\\boxed{(B)\\ 42}",
    "\\boxed{B: Paris}",
    "\\boxed{\\text{Option B}}",
    "\\boxed B",
    "\\fbox{B}",
    "B",
    "(B)",
    "B.\nThe others fail.",
    "It rains there.\n\n**B) Paris**",
    "It rains there.\n\n(B)",
    "It rains there.\n\nB",
    "A) is too low.\nB) fits.\nC) is too high.\nD) is none.\n\n**B) Paris**",
    # what comes after the answer takes nothing back
    "Answer: B\n\nNote that option A, C and D are wrong.",
    "Answer: B\n\nWhy not the others?\nOption A: too low.\nOption C: too high.\nOption D: irrelevant.",
    "The answer is B, not option C.",
    "Answer: B. Unlike option D, it is supported.",
    "Answer: B. Option C: ruled out by the data.",
    "Answer: B\n\n(The other choice: A.)",
    "Answer: B\n\nThe wrong answer is C. An incorrect answer: D.",
    "Answer: B\n\nIf the answer is C, the kite falls.",
    "The correct option is B.\nOption A: too low.\nOption D: irrelevant.",
    "$$\\boxed{B}$$\n\nOption A, by contrast, ignores friction.",
    "$$\\boxed{B}$$\n\nThe answer A, C, or D: none holds.",
    # and what is last counts
    "First I thought the answer is A. No: the answer is B.",
    "Answer: A\nWait, Answer: B",
    "\\boxed{A}, no, \\boxed{B}",
    "The force is \\boxed{42}.\nAnswer: B",
    "With \\boxed{x} so.\nAnswer: B",
]
NOT_STATED = [
    "",
    "A cat is the answer",
    "A cat is fine.",
    "The answer: A car is faster.",
    "Answer: A car",
    "Answer: A Ferrari",
    "The answer is a cat.",
    "<answer>A cat</answer>",
    "Answer: I think so",
    "Answer: C's",
    "Answer: B cells",
    "Answer: Not (B)",
    "I think so",
    "Vitamin C",
    "Vitamin C is the right one to take.",
    "All of them, A included, look alike.",
    "A storm may come, or may not.",
    "Neither A nor B.",
    "The wrong answer is C.",
    "The answer is not C.",
    "The answers are all alike.",
    "So, C.",
    "Answer: None of the above",
    "In answer A we saw it.",
    "The answer to B is long.",
    "The answer cannot be C.",
    "It cannot be option C.",
    "It is not option C.",
    "Incorrect option: C",
    "Option C is wrong.",
    "I would eliminate choice A.",
    "Unlike option D",
    "Is the answer C?",
    "If the answer is C, then it rains.",
    "It resembles option D.",
    "If B is correct, it rains.",
    "Option A: too low.\nOption B: fits.\nOption C: too high.",
    "A) London\nB) Paris\nC) Rome\nD) Bern",
    "It is a bacterium.\nD. coli is one.",
    "Paris fits.\nD) is wrong.",
    "The question.\nA: it rains",
    "answer: E",  # not one of the four
    "Answer: X",
    "\\boxed{42}",
    "\\boxed{B = 5}",
    "\\boxed{C(x)}",
    # several
    "Answer: A, B",
    "Answer: A or B",
    "Answer: A and C",
    "Answer: (A) and (C)",
    "Answer: A/B",
    "Answer: B C",
    "Answer: A, B, and D",
    "\\boxed{A, B}",
    "\\boxed{A \\text{ and } B}",
    "Answer: A\nNo. Answer: B or C",
]


@pytest.mark.parametrize("text", STATED)
def test_letters_are_read_where_they_are_stated(text):
    assert stated_letter(text, 4) == "B"


@pytest.mark.parametrize("text", NOT_STATED)
def test_a_letter_somewhere_is_no_answer_and_neither_are_several(text):
    assert stated_letter(text, 4) is None


@pytest.mark.parametrize("text", [t for t in STATED if "\\boxed{A}" not in t and not set("ACDcd") & set(t)])
@pytest.mark.parametrize("letter", "ADJ")
def test_no_place_is_read_more_readily_than_another(text, letter):
    """Where an English article could be meant, an A goes unread: it alone, and in one form alone."""
    other = (
        text.replace("B", letter)
        .replace("boxed{b}", f"boxed{{{letter.lower()}}}")
        .replace(": b", f": {letter.lower()}")
    )
    unread = letter == "A" and text == "Answer: B Paris"
    assert stated_letter(other, 10) == (None if unread else letter)


def test_boxes_are_read_in_their_order_and_in_one_pass():
    assert boxes(r"\boxed{1} \fbox {\frac{a}{b}} \boxed{\{x\}} \boxed{\boxed{2}} \boxed{3") == [
        "1",
        r"\frac{a}{b}",
        r"\{x\}",
        r"\boxed{2}",
        "2",
        None,
    ]
    assert boxes(r"\boxed25 \boxed B \boxed is") == []
    assert boxes(r"\boxed25 \boxed B \boxed is", short=True) == ["25", "B"]
    assert boxes(r"\\\boxed{4} \\{ \boxed{5}") == ["4", "5"]


@pytest.mark.parametrize(
    "piece", ["\\boxed{", "<answer>", "Answer: ", "(A) ", "answer is option ", "A) x\n", "{{", "not "]
)
def test_a_text_that_loops_is_read_in_no_time(piece):
    begun = time.process_time()
    stated_letter(piece * (200_000 // len(piece)), 4)
    assert time.process_time() - begun < 5
