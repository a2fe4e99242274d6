"""Yes and no are read where they are the judgement, and courtesies are none."""

from __future__ import annotations

import time

import pytest
from sftscope.probes.benchmarks.judgements import judgement

READ = [
    ("Judgement: Yes", True),
    ("**Judgment:** no", False),
    ("**Judgement**: **Yes**", True),
    ("#Your Judgement#: Yes", True),
    ("JUDGEMENT: YES", True),
    ("Judgement - Yes", True),
    ("Judgement：Yes", True),
    ("Judgment = No", False),
    ("Judgement: \n\nYes", True),
    ("Judgement: [No]", False),
    ("Judgement: {Yes}", True),
    ("Judgement: `Yes`", True),
    ("Judgement: ✅ Yes", True),
    ("Judgement: <b>Yes</b>", True),
    ("Judgement: \\boxed{Yes}", True),
    ("Judgement: $\\boxed{\\text{No}}$", False),
    ("Judgement: \\text{No}", False),
    ("Judgement: Hallucinated", True),
    ("Judgement: not hallucinated", False),
    ("Judgement: no hallucination", False),
    ("My judgement is yes", True),
    ("The final judgement would be: No", False),
    ("Final verdict: Yes", True),
    ("Answer: Yes", True),
    ("The answer is no.", False),
    ("\\boxed{Yes}", True),
    ("So $\\boxed{\\text{No}}$.", False),
    ("Judgement: The answer is hallucinated. Yes.", True),
    ("Therefore, the answer is hallucinated: Yes", True),
    ("Judgement: Yes? On reflection, Judgement: No", False),
    ("Yes\n\nJudgement: No", False),
    ("Answer: Yes, he did.\nJudgement: No", False),  # the answer that is judged, quoted
    ("The line is 'Judgement: Yes' where it does, 'Judgement: No' where it does not.\n\nYes", True),
    ("Yes, it does.", True),
    ("No.", False),
    ("No, the song is hers.", False),
    ("It contradicts the map.\nYes", True),
    ("The map says so. No, then.", False),
]
NOT_READ = [
    "",
    "Judgement: Yes or No",
    "Judgement: Yes/No",
    "Judgement: Not sure",
    "No problem! Let me look at it.",
    "Yes, I can help. The answer is fine.",
    "Yes, I can help.",
    "None of it can be told.",
    "There is no way to say yes.",
    "Is it Yes? Or No?",
    "It may be Yes, it may be No.",
    "Nobody knows. Not I.",
    "It depends on the map.",
]


@pytest.mark.parametrize(("text", "found"), READ)
def test_judgements_are_read_where_they_are_stated(text, found):
    assert judgement(text) is found


@pytest.mark.parametrize("text", NOT_READ)
def test_neither_and_both_are_no_judgement(text):
    assert judgement(text) is None


@pytest.mark.parametrize("piece", ["Judgement: ", "Yes or ", "\\boxed{", "answer is ", "No problem "])
def test_a_text_that_loops_is_read_in_no_time(piece):
    begun = time.process_time()
    judgement(piece * (200_000 // len(piece)))
    assert time.process_time() - begun < 5
