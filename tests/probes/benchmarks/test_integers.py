"""Whole numbers are read in whatever dress, and nothing else is taken for one."""

from __future__ import annotations

import time

import pytest
from sftscope.probes.benchmarks.integers import stated_integer

READ = [
    r"\boxed{25}",
    r"\boxed{025}",
    r"\boxed{25^\circ}",
    r"\boxed{25^{\circ}}",
    r"\boxed{25\text{ cm}}",
    r"\boxed{25\text{ cm}^2}",
    r"\boxed{25.0}",
    r"\boxed{25.}",
    r"\boxed{25,}",
    r"\boxed{\ 25\ }",
    r"\boxed{\frac{50}{2}}",
    r"\boxed{\dfrac{50}{2}}",
    r"\boxed{50/2}",
    r"\boxed{p+q+r=25}",
    r"\boxed{a_1+b=25}",
    r"\boxed{100m+n=25}",
    r"\boxed{m + n = 9 + 16 = 25}",
    r"\boxed{m+n=9+16=25}",
    r"\boxed{x=25}",
    r"\boxed{\textbf{(025)}}",
    r"\boxed{\text{25}}",
    r"\boxed{\text{25 }}",
    r"\boxed{\textrm{25}}",
    r"\boxed{\mathbf{25}}",
    r"\boxed{\bf 25}",
    r"\boxed{\displaystyle 25}",
    r"\boxed{(25)}",
    r"\boxed{\left(25\right)}",
    r"\boxed{25\%}",
    r"\boxed{\$25}",
    r"\boxed{\text{The answer is }25}",
    r"\boxed25",
    r"\fbox{25}",
    r"\boxed{24} or rather \boxed{25}",
    r"The answer is $\boxed{25}$. Note \boxed{}",
    "The answer is 25",
    "The answer is 25.",
    "The answer is **25**.",
    "The answer is 25%",
    "**Answer:** 25",
    "**Final Answer:** 25",
    r"Final answer: \(25\)",
    "answer: 25 cm^2",
    "answer is $m+n=25$",
    "The answer is m + n = 25.",
    "The answer is\n\n$$25$$",
    "The answer is\n\\[25\\]",
    "The answer is 24. No: the answer is 25.",
    "The answer is $24$. No: the answer is $25$.",
]
NOT_READ = [
    r"\boxed{2 5}",
    r"\boxed{2, 5}",
    r"\boxed{25, 26}",
    r"\boxed{2\cdot 5}",
    r"\boxed{2.5}",
    r"\boxed{25/3}",
    r"\boxed{\frac{25}{3}}",
    r"\boxed{\frac{25}{0}}",
    r"\boxed{25\sqrt{3}}",
    r"\boxed{25^2}",
    r"\boxed{25x}",
    r"\boxed{25 \text{ or } 30}",
    r"\boxed{x=25 \text{ or } y=3}",
    r"\boxed{x=25, y=3}",
    r"\boxed{x \le 25}",
    r"\boxed{\text{not }25}",
    r"\boxed{25",
    "The answer is 25/3",
    "The answer is 2.5.",
    "The answer is 25,000",
    "The answer is 2^5",
    r"The answer is 25\sqrt{3}",
    r"The answer is $25\sqrt{3}$",
    r"The answer is $25$/3",
    r"The answer is 25 \cdot 3",
    "The answer is 25 + 3",
    "The answer is 25-30",
    "The answer is 25x",
    "the answer is not 25",
    "I tried 25 of them.",
    "",
]


@pytest.mark.parametrize("text", READ)
def test_whole_numbers_are_read_in_any_dress(text):
    assert stated_integer(text) == 25


@pytest.mark.parametrize("text", NOT_READ)
def test_what_is_no_whole_number_is_not_read(text):
    assert stated_integer(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{1000}", 1000),
        (r"\boxed{25{,}000}", 25000),
        (r"\boxed{-3}", -3),
        ("Answer: -25", -25),
        (r"\boxed{0}", 0),
    ],
)
def test_a_number_that_cannot_be_right_is_an_answer_all_the_same(text, found):
    assert stated_integer(text) == found


@pytest.mark.parametrize("piece", ["\\boxed{", "answer is $", "answer: a + ", "\\boxed{1}", "answer is 1"])
def test_a_text_that_loops_is_read_in_no_time(piece):
    begun = time.process_time()
    stated_integer(piece * (200_000 // len(piece)))
    assert time.process_time() - begun < 5
