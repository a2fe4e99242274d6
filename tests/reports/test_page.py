"""The page is one file that fetches nothing, says the findings first, and treats what the model wrote as data."""

import base64
import hashlib
import html as entities
import json
import re
import shlex
import shutil
from itertools import pairwise

import pytest
import yaml
from sftscope.dynamics import analyze
from sftscope.dynamics.errors import RecordError
from sftscope.dynamics.record import Run, create_run, write_samples
from sftscope.dynamics.settings import to_mapping
from sftscope.recipes import parse_recipe, read_recipe
from sftscope.reports import overview, write_markdown, write_report
from sftscope.reports import page as page_module
from sftscope.reports.source import Source
from sftscope.reports.text import code

ADDRESS = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)  # with a scheme, or of a host
LOADING = ("src", "href", "action", "data", "poster", "srcset", "formaction", "background", "cite", "ping")

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "end of a text area": "</textarea></pre></script><img src=x onerror=document.title='pwned'>",
    "link": "[click](javascript:alert(1)) <a href='javascript:alert(1)'>x</a>",
    "comment": "<!-- <script> ]]> {{ 7 * 7 }} {% raw %}",
    "control": "a\x00b\x07c\x1b[31md\x7fe\x9bf",
    "separators": "one\u2028two\u2029three \u202eright to left",
    "surrogate": "lone \ud800 half",
}


def test_nothing_is_fetched(page, parse):
    html = parse(page.read_text())
    for tag, attrs in html.tags:
        for name in LOADING:
            value = attrs.get(name) or ""
            assert not ADDRESS.match(value), (tag, name, value)
        assert not [name for name in attrs if name.startswith("on")], tag
    assert not html.named("link")
    assert not html.named("iframe")
    assert "connect-src" not in page.read_text()  # default-src 'none' is not loosened
    (policy,) = [m["content"] for m in html.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    scripts = sorted((body for tag, attrs, body in html.raw if tag == "script"), key=len)
    assert len(scripts) > 10
    for body in scripts[:-1]:  # all but the library
        assert "http" not in body
        assert '"url"' not in body
    for tag, _, body in html.raw:
        assert tag != "style" or not re.search(r"url\(|@import", body)


def test_only_known_scripts_may_run(page, parse):
    html = parse(page.read_text())
    (policy,) = [m["content"] for m in html.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    running = [body for tag, attrs, body in html.raw if tag == "script" and attrs.get("type") != "application/json"]
    assert len(running) == 3  # the chart library, what draws with it, the trace browser
    for body in running:
        assert base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_findings_stand_in_order_before_the_first_figure(run, page):
    text = page.read_text()
    before = text[: text.index("<figure")]
    shown = re.findall(r'<span class="sentence">(.*?)</span>', before, re.DOTALL)
    findings = Run(run).findings()
    warnings = [f["sentence"] for f in findings if f["kind"] == "warning"]
    others = [f["sentence"] for f in findings if f["kind"] != "warning"]
    assert warnings
    assert [entities.unescape(s) for s in shown] == warnings + others
    assert before.index(shown[len(warnings)]) > before.index("<h2")  # the verdicts open the first section


def test_every_figure_has_a_caption_a_description_and_its_data(page, parse):
    html = parse(page.read_text())
    figures = html.named("figure")
    assert len(figures) >= 12
    assert len(html.named("figcaption")) == len(figures)
    charts = [d for d in html.named("div") if d.get("class") == "chart"]
    assert len(charts) == len(figures)
    assert all(d["role"] == "img" and len(d["aria-label"]) > 40 for d in charts)
    assert page.read_text().count("Does not show:") == len(figures)
    ids = [a["id"] for _, a in html.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    for link in html.named("a"):
        assert link["href"].removeprefix("#") in ids


def test_what_moves_together_stands_with_what_warns_early(page):
    names = re.findall(r"<h2 id=[^>]*>(.*?)</h2>", page.read_text())
    at = names.index("Early warning")
    assert names[at : at + 4] == ["Early warning", "Associations", "Trade-off", "Training"]
    links = re.findall(r'<li><a href="#[^"]*">(.*?)</a></li>', page.read_text())
    assert links[: len(names)] == [n for n in names if n not in ("What happened",)]


def test_backticks_become_code_and_nothing_else():
    assert code("run `a<b` & `c") == "run <code>a&lt;b</code> &amp; `c"


def test_the_appendix_makes_the_run_again(own_run, tmp_path):
    """The settings shown are a recipe that gives this run's settings again, and every command is one that a shell can take."""
    asked = read_recipe("quickstart", tmp_path / "runs" / "again")
    file = own_run / "run.json"
    info = json.loads(file.read_text())
    settings = to_mapping(asked)
    info |= {"config": settings["train"], "probes": settings["probes"], "arm": settings["arm"]}
    file.write_text(json.dumps(info))
    hostile = own_run.rename(own_run.with_name("x; touch pwned $(date) 'q'"))
    source = Source(hostile)
    assert parse_recipe(yaml.safe_load(overview.recipe_text(source)), tmp_path / "runs" / "again") == asked
    lines = [shlex.split(line) for line in overview.commands(source).splitlines()]
    assert [line[:2] for line in lines] == [["sftscope", name] for name in ("train", "probe", "analyze", "report")]
    assert all(str(hostile) in line for line in lines)
    text = write_report(hostile, tmp_path / "page.html").read_text()
    assert overview.commands(source) in entities.unescape(text)
    assert "sftscope analyze planted" not in text  # the name is not the folder


def test_headings_go_down_one_level_at_a_time(page, parse):
    levels = [int(tag[1]) for tag, _ in parse(page.read_text()).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_the_page_is_small_and_the_same_when_built_again(run, page, tmp_path):
    assert page.stat().st_size < 3e6
    assert write_report(run, tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_failures_and_unknown_cells_are_told(page):
    text = page.read_text()
    assert "broken_probe at step 8: it met a &lt;b&gt;wall&lt;/b&gt;" in text
    assert "raw |cosine|" in text
    assert "0.41" in text
    assert "NaN" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)


def hostile_run(run):
    """Model text, a finding and a config that try everything."""
    written = " ".join(HOSTILE.values()).replace("\ud800", "")  # samples are UTF-8, JSON files may hold anything
    row = {"prompt": HOSTILE["script"], "text": f"<think> {written} </think> {'x' * 1_000_000}", "token_ids": [1]}
    for domain in ("countdown", "harmful"):
        for step in Run(run).measured_steps():
            kept = Run(run).samples(domain, step)["item"]
            write_samples(run, step, domain, key="hostile", rows=[{"item": i, "finish": "stop", **row} for i in kept])
    file = run / "findings.json"
    record = json.loads(file.read_text())
    record["findings"][0]["sentence"] = " ".join(HOSTILE.values())
    file.write_text(json.dumps(record))
    info = json.loads((run / "run.json").read_text())
    info |= {"name": HOSTILE["end of a text area"], "note": HOSTILE["script"]}
    (run / "run.json").write_text(json.dumps(info))


@pytest.fixture(scope="module")
def hostile(run, tmp_path_factory):
    path = shutil.copytree(run, tmp_path_factory.mktemp("hostile") / "planted")
    hostile_run(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "PAGE_STEPS", 5)  # the other checkpoints go to the second file
        return write_report(path)


def check_inert(html, figures, running=3):
    scripts = [attrs for attrs in html.named("script")]
    assert sum(s.get("type") != "application/json" for s in scripts) == running
    assert len(scripts) == running + figures + 1  # with the responses
    assert not html.named("img")
    assert not html.named("textarea")
    for tag, attrs in html.tags:
        assert not [name for name in attrs if name.startswith("on")], tag
        assert not (attrs.get("href") or "#").startswith("javascript")


def test_hostile_text_is_inert(hostile, parse):
    text = hostile.read_text()
    assert len(text) < 10e6
    html = parse(text)
    check_inert(html, len(html.named("figure")))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]", text)
    assert "␀" in text
    assert "[U+202E]" in text
    assert "[U+D800]" in text
    assert "cut here: 20,000 of 1,000,000 characters are shown" in text
    assert "{{ 7 * 7 }}" in text


@pytest.mark.parametrize("which", ["report", "second file"])
def test_hostile_text_is_inert_in_a_browser_whatever_is_picked(hostile, parse, open_page, which):
    file = hostile if which == "report" else hostile.with_name("report-traces.html")
    with open_page(file) as found:
        page = found.page

        def check():
            html = parse(page.content())
            check_inert(html, len(html.named("figure")), 3 if which == "report" else 1)
            title = page.title().replace("document.title='pwned'", "")
            assert "pwned" not in title

        def choose(name, option):
            page.get_by_role("combobox", name=name, exact=True).select_option(label=option)

        check()
        assert page.locator('.chart[data-state="drawn"]').count() == page.locator("figure").count()
        shown = 0
        for domain in ("Countdown", "Harmful"):
            choose("Domain", domain)
            for step in ("step 0 (base)", "step 256"):
                choose("Checkpoint A", step)
                choose("Items, from A to B", "all")
                items = page.get_by_role("combobox", name="Item", exact=True)
                for option in items.locator("option").all_inner_texts():
                    assert HOSTILE["script"] in option
                for k in range(items.locator("option").count()):
                    items.select_option(index=k)
                    side = page.locator('[data-side="a"]')
                    think = side.locator('[data-part="think"]').inner_text()
                    assert all(HOSTILE[name] in think for name in ("script", "end of a text area", "link", "comment"))
                    assert all(sign in think for sign in ("␀", "␇", "␛", "[U+2028]", "[U+202E]"))
                    assert side.locator('[data-part="answer"]').inner_text() == "x" * 20_000
                    assert "20,000 of 1,000,000 characters" in side.locator('[data-part="notes"]').inner_text()
                    assert page.locator('[data-part="prompt"]').inner_text() == HOSTILE["script"]
                    shown += 1
                check()
        assert shown == 16
        assert found.misplaced() == []
        assert not found.console
        assert not found.requests


def test_without_findings_the_error_says_what_to_do(own_run):
    (own_run / "findings.json").unlink()
    for write in (write_report, write_markdown):
        with pytest.raises(RecordError, match="sftscope analyze"):
            write(own_run)
    assert not (own_run / "report.html").exists()
    with pytest.raises(RecordError, match="no run at"):
        write_report(own_run / "elsewhere")


def test_without_the_analysis_tables_the_error_says_what_to_do(own_run):
    (own_run / "analysis" / "bands.parquet").unlink()
    with pytest.raises(RecordError, match="sftscope analyze"):
        write_report(own_run)


@pytest.mark.parametrize("steps", [(0,), (5, 10), (0, 7)])
def test_few_checkpoints_make_a_page_all_the_same(tmp_path, synthetic, steps):
    run = synthetic.make_run(tmp_path / "short", n=20, steps=steps)
    analyze(run)
    text = write_report(run).read_text()
    assert text.count("<figure") >= 10
    assert ("Example traces" in text) == (steps[0] == 0 and len(steps) > 1)


def test_a_run_in_which_nothing_was_measured_says_so(tmp_path, parse):
    create_run(tmp_path / "empty", {"config_hash": "none"})
    analyze(tmp_path / "empty")
    text = write_report(tmp_path / "empty").read_text()
    assert "Nothing has been measured" in text
    assert not parse(text).named("figure")
    assert "# empty" in write_markdown(tmp_path / "empty").read_text()
