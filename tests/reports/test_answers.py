"""The first screen answers four questions in numbers that are those of the findings."""

import json
import re

import pytest
from sftscope.dynamics.record import Run
from sftscope.reports import write_report
from sftscope.reports.answers import answers
from sftscope.reports.source import Source
from sftscope.reports.tables import interval

QUESTIONS = [
    "Which domains dipped?",
    "Train on?",
    "What happened to refusal?",
    "Which checkpoint to take?",
]
LOWEST = """() =>
  [...document.querySelectorAll("dl.answers > div")].slice(0, 4).map((d) => d.getBoundingClientRect().bottom)"""


@pytest.fixture
def told(run):
    return {a.question: a for a in answers(Source(run))}


def test_four_questions_are_answered_first_and_in_at_most_six_sentences(told):
    assert list(told)[:4] == QUESTIONS
    assert len(told) <= 6
    for a in told.values():
        assert a.text.endswith(".")
        assert not re.search(r"[.!?] ", f"{a.short}: {a.text}"), a  # one sentence


def test_every_domain_that_dipped_is_named_with_its_depth_and_no_other(run, told):
    phases = {f["domain"]: f["details"] for f in Run(run).findings() if f["kind"] == "phase"}
    dipped = {d: p for d, p in phases.items() if p["dip"]}
    answer = told["Which domains dipped?"]
    assert answer.short == f"{len(dipped)} of {len(phases)}"
    lowest, _, rest = answer.text.partition("no dip is shown in")
    for domain, details in phases.items():
        name = domain.replace("_", " ")
        assert (name in lowest) == (domain in dipped), domain
        assert (name in rest) == (domain not in dipped), domain
        if domain in dipped:
            d = details["depth"]
            assert f"{name} {interval(-d['value'], -d['hi'], -d['lo'])} at step {details['trough_step']}" in lowest
            assert (f"back at step {details['recovery_step']}" in lowest) or details["recovery_step"] is None


def test_the_other_answers_hold_the_findings_numbers(run, told):
    by_id = {f["id"]: f for f in Run(run).findings()}
    advice = by_id["advice:training"]
    assert advice["details"]["price"] in told["Train on?"].text
    assert told["Train on?"].text.split(";")[0].rstrip(".") in advice["sentence"].replace(
        advice["sentence"][0], advice["sentence"][0].lower(), 1
    )
    assert told["Train on?"].short == {"train-on": "Yes"}.get(advice["verdict"], told["Train on?"].short)
    refusal = Source(run).metric("refusal_rate", ["harmful"]).sort_values("step")
    first, last = refusal.iloc[0], refusal.iloc[-1]
    ends = f"{interval(first['value'], first['lo'], first['hi'])} → {interval(last['value'], last['lo'], last['hi'])}"
    assert ends in told["What happened to refusal?"].text
    taken = by_id["tradeoff:checkpoint"]
    e = taken["details"]["estimate"]
    assert interval(e["value"], e["lo"], e["hi"]) in told["Which checkpoint to take?"].text
    assert (f"Step {taken['step']}" if taken["step"] else "The base") in told["Which checkpoint to take?"].short


def test_what_was_not_measured_is_said(own_run):
    file = own_run / "findings.json"
    record = json.loads(file.read_text())
    record["findings"] = [f for f in record["findings"] if not f["id"].startswith("mechanism:refusal")]
    file.write_text(json.dumps(record))
    told = {a.question: a for a in answers(Source(own_run))}
    assert told["What happened to refusal?"].short == "Not measured"
    assert "Not measured" in write_report(own_run).read_text()


@pytest.mark.parametrize(("width", "height", "screens"), [(1280, 800, 1), (390, 844, 2)])
def test_the_answers_are_on_the_first_screens(page, open_page, width, height, screens):
    with open_page(page, width=width, height=height) as found:
        lowest = found.page.evaluate(LOWEST)
        assert len(lowest) == 4
        assert max(lowest) <= height * screens


def test_a_link_to_a_finding_opens_what_holds_it(page, open_page):
    with open_page(page) as found:
        link = found.page.locator("dl.answers a").first
        target = link.get_attribute("href")
        assert not found.page.locator(target).is_visible()
        link.click()
        assert found.page.locator(target).is_visible()
