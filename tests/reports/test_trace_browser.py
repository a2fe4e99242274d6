"""The trace browser shows what the record holds: any item at two checkpoints, marked, graded, and no more than fits."""

from __future__ import annotations

import json
import re
import shutil
import sys

import pytest
from sftscope.dynamics.model_text import verdict_of
from sftscope.dynamics.record import Run, write_samples, write_spans
from sftscope.reports import page as page_module
from sftscope.reports import write_report
from sftscope.reports.browsing import VERDICTS, collect, notes
from sftscope.reports.responses import KINDS, show
from sftscope.reports.source import Source

BACKTRACK, CUE = 1 << KINDS.index("backtrack"), 1 << KINDS.index("cue")
PLENTY = (10**9, 100)


def test_marks_keep_their_words_through_cutting_apart_and_showing():
    text = "<think> a\x00b go back now </think> answer go back"
    at = text.index("go back")
    found = show(text, [(at, at + 7, CUE), (at + 3, at + 11, BACKTRACK), (text.rindex("go"), len(text), CUE)])
    assert found.think == (("a␀b ", 0), ("go ", CUE), ("back", CUE | BACKTRACK), (" now", BACKTRACK))
    assert found.answer == (("answer ", 0), ("go back", CUE))
    assert dict(zip(KINDS, found.counts, strict=True)) == {"backtrack": 1, "loop": 0, "cue": 2, "repetition": 0}
    long = show("x" * 30_000, [(19_990, 20_010, CUE)])
    assert long.answer == (("x" * 19_990, 0), ("x" * 10, CUE))
    assert long.notes == ("Answer cut here: 20,000 of 30,000 characters are shown",)


@pytest.mark.parametrize(
    ("domain", "case", "kind", "word"),
    [
        ("path", (1.0, "stop"), "right", "right"),
        ("path", (0.0, "stop"), "wrong", "wrong"),
        ("path", (0.0, "length"), "unfinished", "unfinished"),
        ("path", (0.0, "stop", 0.0), "unreadable", "no readable answer"),
        ("harmful", (1.0, "stop"), "right", "refused"),
        ("safe", (0.0, "stop"), "wrong", "not helped"),
    ],
)
def test_verdicts(domain, case, kind, word):
    assert (verdict_of(domain, *case).kind, verdict_of(domain, *case).word) == (kind, word)


@pytest.fixture(scope="module")
def sampled(run, tmp_path_factory):
    """Responses of 30 items a domain at every checkpoint, all unlike."""
    path = shutil.copytree(run, tmp_path_factory.mktemp("sampled") / "planted")
    record = Run(path)
    for domain in record.domains():
        strict = record.items(domain)
        for step in record.measured_steps():
            rows = [
                {
                    "item": item,
                    "prompt": f"ask {item}",
                    "text": f"<think> {item} at {step} went back </think> {domain} {step}",
                    "token_ids": [1, 2],
                    "finish": "stop",
                }
                for item in strict.index[:30]
            ]
            write_samples(path, step, domain, key="all", rows=rows)
            spans = [(r["item"], "cue", "", r["text"].index("back"), r["text"].index("back") + 4) for r in rows]
            frame = sys.modules["synthetic"].pd.DataFrame(spans, columns=["item", "kind", "name", "start", "end"])
            write_spans(path, step, domain, key="all", spans=frame)
    return path


@pytest.fixture(scope="module")
def sampled_page(sampled):
    return write_report(sampled)


def test_all_that_was_kept_is_there_with_the_graders_verdict(sampled):
    source = Source(sampled)
    found = collect(source, *PLENTY)
    assert found.whole
    assert found.items == 30 * len(source.groups)
    assert not found.unmarked
    steps = found.data["steps"]
    for domain in found.data["domains"]:
        name = domain["items"][0][0].rsplit("-", 1)[0]
        strict = source.run.items(name)
        for item, prompt, cells in domain["items"]:
            assert prompt == f"ask {item}"
            assert [steps[cell[0]] for cell in cells] == steps
            for at, text, verdict, tokens in cells:
                assert (VERDICTS[verdict] == "right") == (strict.at[item, steps[at]] > 0.5)
                think, answer, _, counts = found.data["texts"][text]
                assert think == [f"{item} at {steps[at]} went ", ["back", CUE]]
                assert answer == [f"{name} {steps[at]}"]
                assert counts[KINDS.index("cue")] == 1
                assert tokens == 2


def test_what_does_not_fit_is_left_out_from_the_end_the_changed_come_first(sampled):
    source = Source(sampled)
    whole, part = collect(source, *PLENTY), collect(source, 60_000, 5)
    assert not part.whole
    assert len(json.dumps(part.data)) < 70_000
    assert len(part.data["steps"]) == 5
    assert {0, max(source.steps)} < set(part.data["steps"])
    assert part.data == collect(source, 60_000, 5).data
    assert len(part.data["domains"]) == len(whole.data["domains"])  # all have their turn
    for few, all_items in zip(part.data["domains"], whole.data["domains"], strict=True):
        assert 0 < len(few["items"]) < len(all_items["items"])
        assert [i[0] for i in few["items"]] == [i[0] for i in all_items["items"]][: len(few["items"])]
    countdown = whole.data["domains"][0]
    right = Run(sampled).items("countdown")[[0, source.turning_step("countdown")]] > 0.5
    changed = [right.loc[item].nunique() == 2 for item, *_ in countdown["items"]]
    assert True in changed
    assert changed == sorted(changed, reverse=True)


def test_a_run_without_samples_or_with_one_checkpoint_has_no_browser(own_run):
    for file in own_run.glob("samples/*/*"):
        if file.parent.name != "step-000008":
            file.unlink()
    assert collect(Source(own_run), *PLENTY) is None


def test_a_page_has_no_browser_without_responses(own_run):
    shutil.rmtree(own_run / "samples")
    text = re.sub(r"<script>.*?</script>", "", write_report(own_run).read_text(), flags=re.DOTALL)
    assert "data-traces" not in text
    assert "Example traces" not in text


def test_responses_without_spans_are_shown_and_said_to_be_unmarked(own_run):
    shutil.rmtree(own_run / "spans" / "step-000064")
    found = collect(Source(own_run), *PLENTY)
    assert found.whole
    assert "the probe `spans` had not run" in " ".join(notes(found, ""))


def text_of(page, part, side=""):
    return page.locator(f'[data-side="{side}"] [data-part="{part}"]' if side else f'[data-part="{part}"]').inner_text()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_reader_picks_a_domain_an_item_and_two_checkpoints(sampled, sampled_page, open_page, width):
    run = Run(sampled)
    strict = run.items("subset_sum")
    kept = set(run.samples("subset_sum", 8)["item"])
    lost = {i for i in kept if strict.at[i, 8] > 0.5 > strict.at[i, 256]}
    assert lost
    with open_page(sampled_page, width=width) as found:
        page = found.page
        pick = {key: page.get_by_role("combobox", name=name, exact=True) for key, name in NAMES.items()}
        pick["domain"].select_option(label="Subset sum")
        pick["a"].select_option(label="step 8")
        pick["b"].select_option(label="step 256")
        pick["which"].select_option("lost")
        assert f"{len(lost)} lost" in text_of(page, "count")
        seen = set()
        for _ in range(len(lost)):
            prompt = text_of(page, "prompt")
            item = prompt.removeprefix("ask ")
            seen.add(item)
            assert text_of(page, "think", "a") == f"{item} at 8 went back"
            assert text_of(page, "answer", "b") == "subset_sum 256"
            assert "✓ right" in text_of(page, "verdict", "a")
            assert "✗ wrong" in text_of(page, "verdict", "b")
            assert page.locator('[data-side="a"] mark.cue').all_inner_texts() == ["back"]
            assert "1 cue" in text_of(page, "tokens", "a")
            page.get_by_role("button", name="Next").click() if len(seen) < len(lost) else None
        assert seen == lost
        assert page.get_by_role("button", name="Next").is_disabled()
        pick["b"].select_option(label="step 8")
        assert "None to show" in text_of(page, "count")
        assert not page.locator('[data-part="trace"]').is_visible()
        assert found.misplaced() == []
        assert not found.console


NAMES = {
    "domain": "Domain",
    "a": "Checkpoint A",
    "b": "Checkpoint B",
    "which": "Items, from A to B",
    "item": "Item",
}


def test_the_examples_are_marked_and_there_without_scripts(page, open_page):
    with open_page(page, java_script_enabled=False) as found:
        assert found.page.locator("article.trace").count() == 6
        assert found.page.locator("article.trace mark.cue").first.inner_text() == "go back"
        assert not found.page.locator("[data-traces]").is_visible()
        assert "This part needs scripts" in found.page.inner_text("main")


def test_what_the_page_cannot_carry_goes_into_a_second_file(sampled, open_page, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "PAGE_BYTES", 40_000)
    report = write_report(sampled, tmp_path / "my run #1.html")
    with open_page(report) as found:
        assert "of 270 items" in found.page.locator("[data-traces] p").first.inner_text()
        found.page.get_by_role("link", name="my run #1-traces.html").click()
        found.page.wait_for_selector('[data-traces][data-state="ready"]')
        assert "All 270 items" in found.page.locator("[data-traces] p").first.inner_text()
        found.page.get_by_role("link", name="The run's report").click()
        found.page.wait_for_selector("#answer")
    second = tmp_path / "my run #1-traces.html"
    assert "unsafe-eval" not in second.read_text()
    with open_page(second, width=390, dark=True) as found:
        assert found.grave_findings() == []
        assert found.misplaced() == []
        assert not found.console
        assert not found.requests
        assert found.first_paint_ms < 2000
