"""Text of others is shown, cut and embedded safely; examples are the items whose verdict changed."""

import json

import pytest
from markupsafe import Markup
from sftscope.dynamics.model_text import split_response
from sftscope.dynamics.record import Run, write_samples
from sftscope.reports.source import Source
from sftscope.reports.text import clip, embed_json, shown, visible
from sftscope.reports.traces import pick_traces


def test_unseen_characters_are_shown_and_others_left():
    assert visible("a\x00\x1b\x7f\x85") == "a␀␛␡[U+0085]"
    assert visible("\u2028\u202e\u200b\ufeff\ud800") == "[U+2028][U+202E][U+200B][U+FEFF][U+D800]"
    assert visible("line\nwith\ttab, ä → 漢字 🙂") == "line\nwith\ttab, ä → 漢字 🙂"


def test_cutting_says_so():
    assert clip("abc", 3) == ("abc", "")
    text, note = clip("x" * 5000, 4000)
    assert len(text) == 4000
    assert note == "cut here: 4,000 of 5,000 characters are shown"


def test_templates_escape_all_but_our_own_markup():
    assert shown("\x00") == "␀"
    assert isinstance(shown(Markup("<b>")), Markup)
    assert not isinstance(shown("<b>"), Markup)


def test_json_in_a_script_cannot_end_it_and_reads_back():
    value = {"a": ["</script><!--", "\u2028\ud800\x00", "&amp;"], "b": float("nan"), "c": [1.5, None, float("inf")]}
    text = str(embed_json(value))
    assert not set("<>&") & set(text)
    assert text.isascii()
    assert json.loads(text) == {"a": value["a"], "b": None, "c": [1.5, None, None]}


@pytest.mark.parametrize(
    ("text", "think", "answer"),
    [
        ("yes", "", "yes"),
        ("<think> a b </think> yes", "a b", "yes"),
        ("<think> never closed", "never closed", ""),
        ("<think></think> yes </think>", "", "yes </think>"),
        ("a b </think> yes", "a b", "yes"),  # the prompt opened it
        ("</think> yes", "", "yes"),
        ("a </think> yes <think> b </think>", "a", "yes <think> b </think>"),
        ("well <think> a </think> yes", "a", "yes"),
        ("yes <think> a", "a", ""),
    ],
)
def test_thinking_and_answer_come_apart(text, think, answer):
    assert split_response(text) == (think, answer)


@pytest.fixture
def sampled(own_run):
    """All responses of all items kept at every checkpoint, as in a real run."""
    record = Run(own_run)
    for domain in record.domains():
        strict = record.items(domain)
        for step in record.measured_steps():
            same = {"text": "<think> t </think> a", "token_ids": [1, 2]}
            ends = {i: "stop" if ok else "length" for i, ok in strict[step].items()}
            rows = [{"item": i, "prompt": f"ask {i}", "finish": end, **same} for i, end in ends.items()]
            write_samples(own_run, step, domain, key="all", rows=rows)
    return Source(own_run)


def test_six_items_whose_verdict_changed_two_from_each_group(sampled):
    traces = pick_traces(sampled)
    assert [t.group for t in traces] == ["id_reasoning"] * 2 + ["ood_reasoning"] * 2 + ["safety"] * 2
    for trace in traces:
        before, after = trace.sides
        strict = sampled.run.items(trace.domain)
        assert before.good != after.good
        assert before.step == 0
        assert (strict.at[trace.item, 0] > 0.5, strict.at[trace.item, after.step] > 0.5) == (before.good, after.good)
        assert trace.changed == ((strict[0] > 0.5) != (strict[after.step] > 0.5)).sum()
    countdown = [t for t in traces if t.domain == "countdown"]
    assert {t.sides[0].good for t in countdown} == {True, False}  # a loss and a gain
    bands = sampled.bands[sampled.bands["domain"] == "countdown"].set_index("step")
    assert bands.at[countdown[0].sides[1].step, "diff_hi"] < 0  # the trough
    assert pick_traces(sampled) == traces


def test_verdicts_tell_unfinished_from_wrong_and_name_refusals(sampled):
    sides = [(t.domain, side) for t in pick_traces(sampled) for side in t.sides]
    assert {s.verdict for d, s in sides if d == "countdown"} == {"right", "unfinished"}
    assert {s.verdict for d, s in sides if d == "harmful"} <= {"refused", "unfinished"}


def test_a_run_without_samples_has_no_traces(own_run):
    for file in own_run.glob("samples/*/*"):
        file.unlink()
    assert pick_traces(Source(own_run)) == []
