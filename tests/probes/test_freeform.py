"""Free-form Countdown: random searches are recovered exactly, hand labels nearly, hostile text in bounded time."""

from __future__ import annotations

import json
import random
import sys
import time
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from freeform_scores import evaluate, matches, same
from freeform_writer import UNREACHED, expression, stepwise, wholes
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.probes.behaviour.backtracking import Backtracking
from sftscope.probes.domains import Response
from sftscope.probes.freeform import FreeCountdown, find_answer, is_right, read
from sftscope.probes.freeform.expressions import parse
from sftscope.probes.freeform.solver import hopeless
from sftscope.probes.protocol import Answered, Given
from sftscope.probes.search import classify, summarise

TUNE, HELDOUT = (Path(__file__).parent / "freeform" / f"{name}.jsonl" for name in ("tune", "heldout"))
NUMBERS = [19, 36, 55, 7]


def kinds(text: str, numbers=NUMBERS, target=65, **options):
    """(text, role, kind) of every equation."""
    return [(e.text, e.role, e.kind) for e in read(text, numbers, target, **options).equations]


# -- against labels and against planted searches


def test_labels_are_met():
    scores = evaluate(TUNE)
    for name, least in (("backtracks", 0.95), ("loops", 0.9), ("equations", 0.97)):
        assert scores[name].precision >= least, scores[name].wrong
        assert scores[name].recall >= least, scores[name].wrong
    for name in ("answer_text", "answer_correct", "solved", "kind", "value", "right", "legal", "counts"):
        assert scores[name].value >= 0.95, scores[name].wrong


def test_traces_that_nothing_was_tuned_on_are_read():
    scores = evaluate(HELDOUT)
    for name, precision, recall in (("backtracks", 0.85, 0.85), ("loops", 0.85, 0.85), ("equations", 0.95, 0.9)):
        assert scores[name].precision >= precision, scores[name].wrong
        assert scores[name].recall >= recall, scores[name].wrong
    for name in ("answer_text", "answer_correct", "value", "right"):
        assert scores[name].value >= 0.95, scores[name].wrong
    for name in ("solved", "kind", "legal", "counts"):
        assert scores[name].value >= 0.9, scores[name].wrong


def test_the_matching_rule_pairs_spans_that_share_half_of_what_they_cover():
    assert same((0, 10), (0, 6))
    assert not same((0, 10), (6, 20))
    assert matches([(0, 10), (20, 30)], [(20, 30), (1, 10), (40, 50)]) == [((20, 30), (20, 30)), ((0, 10), (1, 10))]


@pytest.mark.parametrize("maker", [stepwise, wholes])
def test_random_searches_in_random_styles_are_recovered_exactly(maker):
    backtracks = loops = 0
    for seed in range(150):
        written = maker(random.Random(seed))
        trace = read(written.text, written.numbers, UNREACHED)
        found = {k: [(e.start, e.end) for e in trace.equations if e.kind == k] for k in ("backtrack", "loop")}
        assert [(e.start, e.end) for e in trace.equations] == written.equations, (seed, written.text)
        assert found["backtrack"] == written.backtracks, (seed, written.text)
        assert found["loop"] == written.loops, (seed, written.text)
        assert trace.coverage == 1
        counted = summarise(trace.moves)
        assert (counted.backtracks, counted.loops) == (len(written.backtracks), len(written.loops))
        assert counted.valid == counted.moves
        assert not counted.solved
        backtracks, loops = backtracks + len(written.backtracks), loops + len(written.loops)
    assert backtracks > 300
    assert loops > 20


@pytest.mark.parametrize(
    "filler", ["Wait. ", "Hmm, let me think about that. ", "Alternatively, wait, no, hmm. ", "Okay so. "]
)
def test_filler_between_steps_of_one_line_moves_no_count(filler):
    steps = ["55 + 36 = 91. ", "91 - 19 = 72. ", "72 - 7 = 65. "]
    assert kinds(filler.join(steps)) == kinds("".join(steps))
    assert summarise(read(filler + filler.join(steps), NUMBERS, 65).moves).backtracks == 0


# -- expressions and solver


def test_random_expressions_have_their_exact_value():
    rng = random.Random(3)
    for _ in range(400):
        numbers = [rng.randint(1, 99) for _ in range(rng.randint(2, 6))]
        text, value = expression(rng, numbers)
        e = parse(text, numbers)
        assert e is not None, text
        assert e.value == value, text
        assert sorted(e.operands) == sorted(numbers)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("76 + 23 - 58 - 11", "76 - 58 + 23 - 11", True),
        ("(68 - 31) - (23 + 17)", "68 - 31 - 23 - 17", True),
        ("3 * (4 / 5)", "4 * 3 / 5", True),
        ("2 * (3 + 4)", "2 * 3 + 2 * 4", False),
        ("8 - 3", "3 - 8", False),
    ],
)
def test_canonical_forms(a, b, equal):
    assert (parse(a).canon.key == parse(b).canon.key) == equal


def every_value(numbers: list[Fraction]) -> set[Fraction]:
    if len(numbers) == 1:
        return set(numbers)
    out = set()
    for x, y, *rest in permutations(numbers):
        for z in (x + y, x - y, x * y, *([x / y] if y else [])):
            out |= every_value([z, *rest])
    return out


def test_the_solver_agrees_with_trying_everything():
    rng = random.Random(5)
    hits = 0
    for n in (2, 3, 4):
        for _ in range(4):
            state = [Fraction(rng.randint(-3, 12), rng.choice([1, 1, 2])) for _ in range(n)]
            possible = every_value(state)
            for target in range(-5, 40):
                assert hopeless(state, Fraction(target)) == (target not in possible)
                hits += target in possible
    assert hits > 60


def test_the_solver_finds_planted_solutions_of_five_and_six_numbers_and_knows_its_bounds():
    rng = random.Random(6)
    for n in (5, 6):
        for _ in range(4):
            numbers = [rng.randint(1, 99) for _ in range(n)]
            assert hopeless([Fraction(x) for x in numbers], expression(rng, numbers)[1]) is False
    assert hopeless([Fraction(2)] * 5, Fraction(10**6 + 3)) is True
    assert hopeless([Fraction(1)] * 7, Fraction(7)) is None
    assert hopeless([Fraction(10**13), Fraction(1)], Fraction(7)) is None
    assert hopeless([Fraction(5), Fraction(9)], Fraction(5)) is True
    assert hopeless([Fraction(5), Fraction(9)], Fraction(5), use_all=False) is False


def test_beyond_the_solver_opportunities_are_unknown_and_not_zero():
    known = summarise(read("55 * 36 = 1980. 1980 * 19 = 37620", NUMBERS, 65).moves)
    assert known.opportunities == 2
    unknown = summarise(read("9999999 * 9999998 = 99999970000002", [9999999, 9999998, 5], 65).moves)
    assert unknown.moves == 1
    assert unknown.opportunities != unknown.opportunities
    too_long = read("99999999 * 99999998 = 9999999700000002", [99999999, 99999998, 5], 65)
    assert (too_long.equations, len(too_long.unread)) == ([], 1)


# -- single rules


def test_chains_are_read_as_they_are_meant():
    assert [e.text for e in read("68 - 11 - 5 = 57 - 5 = 52", [68, 11, 5], 1).equations] == [
        "68 - 11 - 5 = 57 - 5",
        "57 - 5 = 52",
    ]
    assert [e.role for e in read("68 - 11 - 5 = 57 - 5 = 52", [68, 11, 5], 1).equations] == ["whole", "check"]
    run_on = read("19 + 36 = 55 + 7 = 62 - 5 = 57", [19, 36, 7, 5], 1).equations
    assert [(e.text, e.role, e.right) for e in run_on] == [
        ("19 + 36 = 55", "step", True),
        ("55 + 7 = 62", "step", True),
        ("62 - 5 = 57", "step", True),
    ]


def test_wrong_arithmetic_is_a_move_that_is_not_valid_and_never_solves():
    trace = read("55 + 36 = 91, 91 - 19 = 72, 72 - 7 = 64, no wait. 36 + 55 - 19 - 8 = 65", NUMBERS, 65)
    assert [e.right for e in trace.equations] == [True, True, False, False]
    assert not trace.solved
    assert summarise(trace.moves).valid == 2


def test_only_what_is_exact_solves():
    assert not read("(19 + 36) + 7 + 3.2 = 62 + 3.2 = 65", [19, 36, 7], 65).solved
    assert not read("55 + 7 + 2 = 62 + 2 = 65", [55, 7, 2], 65).solved  # the chain ends wrong
    assert not read("26 / 7 = 3.71, 3.71 * 7 = 26", [26, 7, 7], 26).solved
    assert not read("64.6 ≈ 65. 323 / 5 ≈ 65", [323, 5], 65).solved
    assert read("8 / 3 = 8/3, 3 - 8/3 = 1/3, 8 / 1/3 = 24", [8, 3, 8, 3], 24).solved


def test_a_correction_replaces_the_value_and_is_no_going_back():
    text = "55 - 36 = 29, 29 + 7 = 36. Wait, 55 - 36 = 19, so 19 + 7 = 26."
    assert kinds(text, [55, 36, 7, 2], 99) == [
        ("55 - 36 = 29", "step", "forward"),
        ("29 + 7 = 36", "step", "forward"),
        ("55 - 36 = 19", "check", None),
        ("19 + 7 = 26", "step", "again"),
    ]


def test_hindsight_decides_whether_two_results_stand_side_by_side():
    together = kinds("55 - 36 = 19. 19 * 7 = 133.", [55, 36, 19, 7], 1)
    assert [k for *_, k in together] == ["forward", "forward"]
    side_by_side = kinds("8 * 5 = 40. 7 + 3 = 10. 40 + 10 = 50.", [8, 5, 7, 3], 1)
    assert [k for *_, k in side_by_side] == ["forward"] * 3
    instead = kinds("8 * 5 = 40. 7 + 3 = 10. 10 * 8 = 80.", [8, 5, 7, 3], 1)
    assert [k for *_, k in instead] == ["forward", "backtrack", "forward"]


def test_going_back_from_an_abandoned_line_counts_once():
    text = "36 * 7 = 252, 252 - 55 = 197. 55 * 19 = hmm, way too big. 55 - 19 = 36."
    assert kinds(text) == [
        ("36 * 7 = 252", "step", "forward"),
        ("252 - 55 = 197", "step", "forward"),
        ("55 * 19", "abandoned", "backtrack"),
        ("55 - 19 = 36", "step", "forward"),
    ]
    counted = summarise(read(text, NUMBERS, 65).moves)
    assert (counted.moves, counted.backtracks, counted.depth_returned) == (3, 1, 1)


def test_backward_reasoning_and_checks_are_no_moves():
    text = (
        "65 - 7 = 58, so I need 58. 55 + 36 = 91, 91 - 19 = 72, 72 - 7 = 65. "
        "Check: 55 + 36 = 91, 91 - 19 = 72, 72 - 7 = 65. So 55 + 36 - 19 - 7 = 65."
    )
    trace = read(text, NUMBERS, 65)
    assert [e.role for e in trace.equations] == ["backward"] + ["step"] * 3 + ["check"] * 4
    assert len(trace.moves) == 3
    assert trace.solved


def test_a_number_still_to_be_built_is_a_goal_and_a_foreign_number_is_none():
    needed = "5 * 13 = 65, so I need a 13 from 19, 36 and 7."
    assert kinds(needed, [5, 19, 36, 7])[0] == ("5 * 13 = 65", "backward", None)
    assert kinds("65 = 5 * 13, then.", [5, 19, 36, 7])[0] == ("65 = 5 * 13", "backward", None)
    assert kinds("5 * 13 = 65, done.", [5, 19, 36, 7])[0] == ("5 * 13 = 65", "step", "forward")
    assert kinds("13 - 8 = 5. 65 = 5 * 13.", [13, 8, 13], 65)[1] == ("65 = 5 * 13", "step", "forward")


def test_a_multiplication_worked_out_digit_by_digit_is_a_check():
    text = "47 * 3: 40 * 3 = 120, 7 * 3 = 21, 120 + 21 = 141. So 47 * 3 = 141."
    assert [role for _, role, _ in kinds(text, [47, 3, 20], 1)] == ["check"] * 3 + ["step"]


def test_a_state_of_a_branch_that_was_left_is_gone_back_to():
    text = "55 - 36 = 19. 19 + 7 = 26. 36 * 7 = 252. 252 + 55 = 307. Back to the 26: 26 * 3 = 78."
    assert kinds(text, [55, 36, 7, 3], 1)[-1] == ("26 * 3 = 78", "step", "backtrack")


def test_reused_and_foreign_numbers_are_illegal_and_solve_nothing():
    for text in ("36 + 36 = 72, 72 - 7 = 65", "60 + 4 = 64", "55 + 7 + 3 = 65"):
        trace = read(text, NUMBERS, 65)
        assert trace.equations[0].legal is False
        assert not trace.solved
        assert summarise(trace.moves).valid < len(trace.moves)


def test_leaving_numbers_over_solves_only_where_that_is_allowed():
    assert not read("55 + 7 = 62", [55, 7, 3], 62).solved
    assert read("55 + 7 = 62", [55, 7, 3], 62, use_all=False).solved


def test_what_is_not_understood_is_listed_and_lowers_the_coverage():
    trace = read("55 + 36 = 91. 2^3 = 8. x + 7 = 12.", NUMBERS, 65)
    assert [u.text for u in trace.unread] == ["2^3 = 8", "x + 7 = 12"]
    assert trace.coverage == pytest.approx(1 / 3)
    assert read("no numbers here", NUMBERS, 65).coverage != read("no numbers here", NUMBERS, 65).coverage  # NaN


def test_moves_keep_their_place_among_the_words():
    text = "so we try $55 + 36 = 91$ and then 91 - 19 = 72"
    assert [text.split()[m.at] for m in read(text, NUMBERS, 65).moves] == ["$55", "91"]


# -- answers

EXAMPLE = "(1 + 2) / 3"


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("<think>x</think><answer>55 + 36 - 19 - 7</answer>", "55 + 36 - 19 - 7", True),
        ("<answer>55 + 36 - 19 - 7 = 65</answer>", "55 + 36 - 19 - 7", True),
        ("<answer>65 = 55 + 36 - 19 - 7</answer>", "55 + 36 - 19 - 7", True),
        (
            f"for example <answer> {EXAMPLE} </answer>. <answer>(55 + 36) − (19 + 7)</answer>",
            "(55 + 36) − (19 + 7)",
            True,
        ),
        (f"<answer> {EXAMPLE} </answer>", EXAMPLE, False),
        ("<answer>55 + 36 - 19 - 7</answer>\nso 1 + 1 = 2", "55 + 36 - 19 - 7", True),  # the tag, not the last line
        ("<answer>36 + 36 - 7</answer>", "36 + 36 - 7", False),  # a number twice
        ("<answer>55 + 7 + 3</answer>", "55 + 7 + 3", False),  # a foreign number
        ("<answer>65</answer>", "65", False),
        ("<answer>55 / (36 - 36) + 19 * 7</answer>", "55 / (36 - 36) + 19 * 7", False),  # no number
        ("<answer>__import__('os')</answer>", "import__('os')", False),
        (r"\boxed{1} then $$\boxed{\left(55 + 36\right) - 19 - 7}$$", r"\left(55 + 36\right) - 19 - 7", True),
        ("I am done.\nThe final equation is: **55 + 36 - 19 - 7 = 65**.", "55 + 36 - 19 - 7", True),
        ("55 + 36 = 91 and so on.\n\n55 + 36 - 19 - 7", "55 + 36 - 19 - 7", True),
        ("<think>55 + 36 - 19 - 7 = 65, let me", None, False),  # cut off
        ("I tried 55 + 36 = 91 and give up: no solution.", None, False),
    ],
)
def test_answers(text, answer, right):
    found = find_answer(text, NUMBERS, 65)
    assert (found.text if found else None) == answer
    assert is_right(found, NUMBERS, 65) == right


# -- hostile text

HOSTILE = {
    "brackets": "(" * 60_000,
    "deep": "(" * 3_000 + "1" + ")" * 3_000 + " + 2 = 3",
    "unclosed": "(1+" * 30_000,
    "digits": "9" * 200_000 + " + 1 = 2",
    "grouped digits": "111," * 30_000,
    "product": "*".join(["999999999"] * 5_000) + " = 1",
    "chain": " = ".join(["1+2"] * 5_000),
    "equals": "1=1=" * 15_000,
    "minus": "-" * 100_000 + "5",
    "links": "5 * 8 " + "which gives us " * 10_000,
    "illegal": "2 + 2 = 4 . 9 * 9 = 81 . " * 500,
    "back and forth": "25+36=61. 61-7=54. 61+7=68. " * 300,
    "fractions": "\\frac{" * 20_000,
    "answers": "<answer>" * 10_000,
    "boxes": "\\boxed{" * 20_000,
    "zero": "7 / 0 = 0. 7 / (36 - 36) = 1. 0 * 0 = 0",
    "other digits": "٣ + ٤ = ٧ and ² + ³ = 5",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_read_in_bounded_time(name):
    since = time.process_time()
    trace = read(HOSTILE[name], [19, 36, 55, 7, 25], 65)
    is_right(find_answer(HOSTILE[name], NUMBERS, 65), NUMBERS, 65)
    summarise(trace.moves)
    assert not trace.solved
    assert time.process_time() - since < 20


def test_any_words_at_all_are_read_without_an_error():
    rng = random.Random(4)
    texts = [json.loads(line)["text"] for line in TUNE.read_text().splitlines()]
    words = [w for t in texts for w in t.split(" ")]
    for length in (1, 3, 10, 60, 200):
        for _ in range(30):
            trace = read(" ".join(rng.choices(words, k=length)), NUMBERS, 65)
            assert len(classify(trace.moves)) == len(trace.moves)


# -- the domain


@pytest.fixture
def questions(tmp_path):
    file = tmp_path / "questions.jsonl"
    rows = [
        {"numbers": NUMBERS, "target": 65},
        {"numbers": [3, 4, 5], "target": 9, "use_all": False, "prompt": "Nine?"},
    ]
    file.write_text("\n".join(json.dumps(r) for r in rows) + "\n\n")
    return file


def test_questions_are_read_asked_and_graded(questions):
    domain = FreeCountdown(questions)
    items = domain.items("probe", 2)
    assert items == FreeCountdown(questions).items("probe", 2)
    mine = next(i for i in items if i.reference["target"] == 65)
    assert "[19, 36, 55, 7]" in mine.prompt
    assert next(i for i in items if i is not mine).prompt == "Nine?"
    right = Response("<think>55 + 36 = 91</think><answer>55 + 36 - 19 - 7</answer>", True, 20)
    assert domain.grade(mine, right).strict
    assert not domain.grade(mine, Response(right.text, False, 20)).strict
    assert domain.grade(mine, Response("<think>55 + 36 = 91, 91 - 19 = 72, 72 - 7 = 65", False, 20)).lenient
    assert not domain.grade(mine, Response("no idea", True, 2)).parsed
    with pytest.raises(ConfigError, match="has only 2 distinct questions"):
        domain.items("probe", 3)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "give one JSON object"),
        ("[1]", 'object with "numbers"'),
        ('{"numbers": [1, 2], "target": 3}', "3 to 6 whole numbers"),
        ('{"numbers": [1, 2, true], "target": 3}', "3 to 6 whole numbers"),
        ('{"numbers": [1, 2, 3], "target": "six"}', '"target" is'),
        ('{"numbers": [1, 2, 3], "target": 6, "prompt": ""}', '"prompt" is'),
        ("", "has no questions"),
    ],
)
def test_unusable_files_are_refused_with_the_line(tmp_path, line, says):
    file = tmp_path / "questions.jsonl"
    file.write_text(line)
    with pytest.raises(DataError, match=says):
        FreeCountdown(file)


def test_the_backtracking_probe_measures_free_text(questions):
    domain = FreeCountdown(questions)
    item = next(i for i in domain.items("probe", 2) if i.reference["target"] == 65)
    texts = [
        "<think>36 * 7 = 252, 252 - 55 = 197. Wait, 55 + 36 = 91, 91 - 19 = 72, 72 - 7 = 65.</think>",
        "36 * 7 = 252, 252 - 55 = 197. No.</think>",  # the prompt ended with the opening tag
    ]
    answered = Answered(domain, [item, item], [Response(t, True, 40) for t in texts])
    rows = Backtracking().measure(Given(step=0, answered={domain.name: answered})).rows
    value = {r.metric: r.estimate.value for r in rows}
    assert value["backtracks_per_response"] == 0.5
    assert value["solved_in_trace"] == 0.5
    assert value["cue_recall"] == 1
    assert value["moves_valid_share"] == 1
