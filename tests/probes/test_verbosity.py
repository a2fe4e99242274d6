"""Length and repetition where the naive number fails: caps taken for lengths, loops for long thought, length for sameness."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.probes.behaviour.verbosity import Verbosity
from sftscope.probes.domains import Response
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.planner import ProbeConfig
from sftscope.probes.protocol import Answered, Given
from sftscope.probes.repetition import distinct_in_windows, distinct_share, loop_start
from sftscope.probes.responses import ResponseReader

COUNTDOWN = DOMAINS["countdown"]


def measured(responses, domain=COUNTDOWN, tau=None):
    items = domain.items("probe", len(responses))
    given = Given(step=0, answered={domain.name: Answered(domain, items, responses)})
    result = Verbosity({domain.name: tau} if tau else None).measure(given)
    return {(r.metric, r.position): r.estimate for r in result.rows}, result.items


def value(found, metric):
    return next(e.value for (m, _), e in found.items() if m == metric)


# -- thinking and answer


@pytest.fixture(scope="module")
def reader(micro_tokenizer):
    return ResponseReader(micro_tokenizer)


@pytest.mark.parametrize(
    ("text", "think", "answer"),
    [
        ("<think> 3 + 5 = 8 </think> answer 3 + 5 = 8", 5, 6),
        ("answer 3 + 5 = 8", 0, 6),
        ("<think> 3 + 5 =", 4, 0),
        ("<think> </think> answer 8", 0, 2),
        ("answer 8 </think> answer 9", 2, 2),  # closed without being opened: the prompt had opened it
        ("</think> answer 9", 0, 2),
        ("3 + 5 </think> answer 8 <think> 9 </think>", 3, 5),  # nothing after the answer has begun is thinking
        ("answer 8 <think> 3 </think> answer 9", 1, 2),  # in front of thinking: neither
        ("answer 8 <think> 3 +", 2, 0),  # still thinking
    ],
)
def test_tokens_of_thinking_and_answer_are_told_apart_by_ids(reader, micro_tokenizer, text, think, answer):
    ids = micro_tokenizer(text).input_ids
    response = reader({"text": text, "token_ids": ids, "finish": "stop"})
    assert (response.n_think_tokens, response.n_answer_tokens, response.n_tokens) == (think, answer, len(ids))
    assert response.token_ids == tuple(ids)
    assert (len(response.think.split()), len(response.answer.split())) == (think, answer)  # words are tokens here


def test_tags_of_several_tokens_are_split_by_the_text():
    class Pieces:
        """A tokenizer of two characters a token: no tag is one token, and words are no tokens."""

        unk_token_id = None

        def __call__(self, text, add_special_tokens=False):
            ids = [ord(a) for a in text[::2]]
            return type("Encoded", (), {"input_ids": ids})

    text = "<think>abcdefgh ij</think>klmn"
    response = ResponseReader(Pieces())({"text": text, "token_ids": Pieces()(text).input_ids, "finish": "stop"})
    assert (response.n_think_tokens, response.n_answer_tokens) == (6, 2)


def test_a_long_answer_after_short_thinking_is_not_long_thinking(reader, micro_tokenizer):
    text = "<think> 3 </think> answer " + "8 , " * 20
    response = reader({"text": text, "token_ids": micro_tokenizer(text).input_ids, "finish": "stop"})
    found, _ = measured([response] * 4)
    assert value(found, "think_tokens_restricted_mean") == 1
    assert value(found, "answer_tokens_restricted_mean") == 41


def test_tokens_that_were_not_told_apart_are_undefined_and_never_zero():
    found, _ = measured([Response("<think> 3 </think> answer 8", True, 5)] * 4)
    assert not math.isfinite(value(found, "think_tokens_restricted_mean"))


# -- one tau


def test_one_tau_makes_runs_with_unlike_caps_comparable():
    """The same lengths, cut at two caps. Their means differ by what the caps cut off; at one tau they are equal."""
    rng = np.random.default_rng(0)
    lengths = rng.exponential(150, 200).astype(int) + 1

    def cut(cap):
        return [Response("x " * min(n, cap), n <= cap, int(min(n, cap))) for n in lengths]

    short, long = cut(96), cut(288)
    naive = [np.mean([r.n_tokens for r in responses]) for responses in (short, long)]
    assert naive[1] > 1.4 * naive[0]
    ours = [value(measured(r, tau=96)[0], "tokens_restricted_mean") for r in (short, long)]
    assert ours[0] == ours[1]
    finished = [
        {p: e.value for (m, p), e in measured(r, tau=96)[0].items() if m == "finished_by"} for r in (short, long)
    ]
    assert finished[0] == finished[1]
    assert max(int(p.removeprefix("t=")) for p in finished[0]) <= 96


def test_a_tau_above_the_cap_is_refused():
    with pytest.raises(ConfigError, match=r"`probes.tau.countdown` is 500: responses are cut at 288"):
        ProbeConfig(tau={"countdown": 500})
    with pytest.raises(ConfigError, match="did you mean 'countdown'"):
        ProbeConfig(tau={"countdwn": 50})


# -- loops


def words(rng, n):
    return [rng.choice("abcdefghij") + str(rng.randrange(50)) for _ in range(n)]


@pytest.mark.parametrize("period", [1, 2, 7, 30])
def test_a_repeated_block_at_the_end_is_a_loop_from_its_first_copy(period):
    rng = random.Random(period)
    start, block = words(rng, 40), words(rng, period)
    copies = max(3, -(-20 // period))
    assert loop_start(start + block * copies) == 40
    assert loop_start(start + block * copies + block[: period // 2]) == 40  # the last copy cut off
    assert loop_start(start + block * 2) is None
    assert loop_start(start + block * copies + ["end", "of", "it"]) is None  # it went on


def test_search_that_repeats_its_words_is_no_loop():
    """A systematic search repeats up to 60 % of its 4-grams; none of it ends in copies of one block."""
    searches = [DOMAINS[name] for name in ("countdown", "path", "subset_sum", "coloring")]
    traces = [d.trace(i.reference).split() for d in searches for i in d.items("probe", 100)]
    assert max(1 - distinct_share(t, 4) for t in traces if len(t) > 4) > 0.4  # what the naive share goes by
    assert all(loop_start(t) is None for t in traces)
    assert loop_start(["answer", "apple", "apple", "apple", "apple", "apple", "apple"]) is None  # as it was told to
    assert loop_start([]) is None


def test_loops_and_ends_compete():
    looping = "3 + 5 = 8 left 7 8 : " + "8 + 7 = 15 no back " * 30
    cut, ended = " ".join(f"w{i}" for i in range(60)), "answer 8"
    responses = [
        *[Response(looping, False, len(looping.split()))] * 5,
        *[Response(cut, False, 60)] * 3,  # long thought, cut off: neither looped nor finished
        *[Response(ended, True, 2)] * 2,
    ]
    found, items = measured(responses)
    assert value(found, "loop_share") == 0.5
    incidence = {m: {p: e.value for (n, p), e in found.items() if n == m} for m in ("finished_by", "looped_by")}
    assert incidence["looped_by"] == {"t=8": 0, "t=16": 0.5, "t=32": 0.5, "t=64": 0.5, "t=128": 0.5, "t=256": 0.5}
    assert incidence["finished_by"]["t=8"] == incidence["finished_by"]["t=256"] == 0.2
    assert set(items[items.metric == "looped"].value) == {0.0, 1.0}
    finished_loop, _ = measured([Response(looping, True, len(looping.split()))] * 4)
    assert value(finished_loop, "loop_share") == 0  # it came to an end by itself


def test_loops_are_found_among_token_ids_where_words_show_none():
    glued = Response("1" * 200, False, 200, token_ids=(5,) * 200)
    assert value(measured([glued] * 4)[0], "loop_share") == 1
    assert value(measured([Response("1" * 200, False, 200)] * 4)[0], "loop_share") == 0


def test_a_long_response_is_read_for_loops_at_once():
    rng = random.Random(0)
    hard = ["a"] * 20_000 + ["b"] + ["a"] * 20_000  # the worst case of comparing suffixes one by one
    assert loop_start(hard) == 20_001
    assert loop_start([rng.choice("ab") for _ in range(40_000)]) is None


# -- variety


def test_distinct_n_falls_with_length_alone_and_its_windows_do_not():
    rng = random.Random(3)
    short, long = ([words(rng, n) for _ in range(60)] for n in (64, 640))
    naive = [np.mean([distinct_share(w, 1) for w in texts]) for texts in (short, long)]
    assert naive[0] - naive[1] > 0.2  # the same process, told apart by its length
    windowed = [np.mean([distinct_in_windows(w, 1) for w in texts]) for texts in (short, long)]
    assert windowed[0] == pytest.approx(windowed[1], abs=0.01)
    dull = [(words(rng, 8) * 80)[:640] for _ in range(60)]
    assert np.mean([distinct_in_windows(w, 1) for w in dull]) < windowed[1] - 0.3
    assert math.isnan(distinct_in_windows(words(rng, 31), 2))


# -- steps


def test_tokens_are_steps_times_tokens_per_step_exactly():
    items = COUNTDOWN.items("probe", 40)
    texts = [COUNTDOWN.worked(i.reference) if k % 4 else COUNTDOWN.direct(i.reference) for k, i in enumerate(items)]
    found, table = measured([Response(t, True, len(t.split())) for t in texts])
    steps, per_step = value(found, "steps_per_trace"), value(found, "tokens_per_step")
    assert value(found, "trace_tokens_restricted_mean") == pytest.approx(steps * per_step, abs=1e-9)
    assert value(found, "trace_share") == 0.75
    assert steps > 1
    assert table[table.metric == "steps"].value.isna().sum() == 10  # no trace: not zero steps


def test_calculation_has_steps_without_a_search():
    domain = DOMAINS["calculation"]
    responses = [
        Response(t, True, len(t.split())) for t in (domain.worked(i.reference) for i in domain.items("probe", 12))
    ]
    found, _ = measured(responses, domain)
    wanted = np.mean([len(i.reference["steps"]) for i in domain.items("probe", 12)])
    assert value(found, "steps_per_trace") == pytest.approx(wanted)
    facts, _ = measured([Response("answer red", True, 2)] * 4, DOMAINS["facts"])
    assert not any(m == "steps_per_trace" for m, _ in facts)
