"""The comparison page: the answer first, every figure with its data, names of runs and models as data, in a real browser."""

import json
import re
from dataclasses import replace
from itertools import combinations, pairwise

import pandas as pd
import pytest
import vl_convert
from sftscope.cli import main
from sftscope.dynamics.comparison.compare import Comparison, compare, compare_scores
from sftscope.dynamics.comparison.score_tables import read_table
from sftscope.reports import figures, write_comparison, write_comparison_markdown
from sftscope.reports.comparison import gallery, views

HOSTILE = "</script><img src=x onerror=document.title='pwned'> | {{ 7 * 7 }} \u202ejs"
SCORES = """model,data,MATH500,LCB,GPQA,Reward
8B,base,76.8,29.1,39.7,-0.13
8B,Math-CoT,90.1,51.0,48.5,0.92
8B,NuminaMath,72.5,7.9,37.2,-0.70
<b>20B</b>,base,54.6,12.9,34.0,0.1
<b>20B</b>,Math-CoT,71.8,28.0,42.8,0.2
<b>20B</b>,NuminaMath,52.9,13.0,33.7,
"""
ITEMS = """benchmark,group,items,samples_per_item
MATH500,id_reasoning,500,3
LCB,ood_reasoning,511,3
GPQA,ood_reasoning,198,3
"""
SETTINGS = """setting,rows,batch,epochs,MATH500,LCB,GPQA
S1,20480,256,8,95.1,55.1,63.3
S3,20480,32,1,92.9,45.4,46.8
"""


def table_of(tmp_path, scores):
    (tmp_path / "scores.csv").write_text(scores)
    (tmp_path / "items.csv").write_text(ITEMS)
    return compare_scores(
        read_table(tmp_path / "scores.csv"), read_table(tmp_path / "items.csv"), sources=("scores.csv", "items.csv")
    )


# ---------------------------------------------------------------- what is on it


def test_the_answer_and_every_arm_stand_before_the_first_figure(found, comparison_page, parse):
    text = comparison_page.read_text()
    before = text[text.index("<body") : text.index("<figure")]
    said = re.findall(r"<li>(.*?)</li>", before[before.index('<ol class="short">') : before.index("</ol>")])
    assert said == list(found.answer())
    assert 1 <= len(said) <= 6
    grid = before[before.index('class="grid"') :]
    up = (
        found.conditional.of("groups", found.conditional.families()[0], "ood_reasoning")
        .set_index("condition")
        .loc["up"]
    )
    assert f"+{up['gain']:.1f} [{up['lo']:.1f}, {up['hi']:.1f}]" in grid
    for arm in ("up", "down"):
        assert f'<th scope="row">{arm}</th>' in grid


def test_sections_come_in_order_and_headings_go_down_one_level_at_a_time(comparison_page, parse):
    text = comparison_page.read_text()
    titles = re.findall(r'<h2 id="[^"$]*">(.*?)</h2>', text)
    assert titles == [
        *("The answer", "Runs", gallery.GAINS, gallery.TRAINING, gallery.DIFFERENCES, gallery.PROCEDURE, "Findings"),
        *("Findings that differ between runs", "Associations over runs", "Left out or assumed", "Appendix"),
    ]
    html = parse(text)
    levels = [int(tag[1]) for tag, _ in html.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    ids = [a["id"] for _, a in html.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    assert all(link["href"].removeprefix("#") in ids for link in html.named("a"))


def test_every_figure_says_what_it_does_not_show_and_can_be_saved(comparison_page, parse):
    html = parse(comparison_page.read_text())
    figures_on_it = html.named("figure")
    assert {f["id"] for f in figures_on_it} == {
        *(
            "figure-gains",
            "figure-scores-1",
            "figure-differences-1",
            "figure-differences-last",
            "figure-procedure-index",
        )
    }
    assert comparison_page.read_text().count("Does not show:") == len(figures_on_it)
    saved = [(b["data-of"], b["data-save"]) for b in html.named("button") if "data-save" in b]
    assert set(saved) == {(f["id"].removeprefix("figure-"), kind) for f in figures_on_it for kind in ("csv", "svg")}
    for attrs in html.named("div"):
        if attrs.get("class") == "chart":
            assert len(attrs["aria-label"]) > 40


def test_nothing_is_fetched_and_the_page_is_the_same_when_built_again(found, comparison_page, parse, tmp_path):
    for tag, attrs in parse(comparison_page.read_text()).tags:
        for name in ("src", "href", "data", "srcset"):
            assert (attrs.get(name) or "#").startswith("#") or name == "data", (tag, attrs)
    again = write_comparison(found, tmp_path / "again.html", "sftscope compare a b")
    assert again.read_bytes() == comparison_page.read_bytes()
    assert comparison_page.stat().st_size < 3e6


def test_verdicts_of_every_run_and_what_differs_are_there(found, comparison_page):
    grid = views.verdict_grid(found)
    assert grid.columns == ("Domain", "up-1", "up-2", "down-1", "down-2")
    of = {name.removeprefix("≠ "): [c.text for c in cells] for name, cells in grid.rows}
    marked = [name.startswith("≠ ") for name, _ in grid.rows]
    assert marked == [len({c.text for c in cells}) > 1 for _, cells in grid.rows]
    assert {True, False} == set(marked)
    judged = found.judged[found.judged["id"] == "phase:path"].set_index("run")["verdict"]
    assert of["Path (out-of-domain reasoning)"] == [judged[run] for run in grid.columns[1:]]
    text = comparison_page.read_text()
    for run, said in views.differing_sentences(found):
        assert f"What they say of {run}" in text
        assert said


def test_exploratory_associations_are_grey_and_what_could_not_be_computed_is_counted(found, tmp_path):
    row = {
        "x": "tokens",
        "x_domain": "path",
        "x_layer": -1,
        "y_domain": "path",
        "level": "items",
        "lag": 0,
        "n": 9,
        "n_eff": 4.0,
    }
    row |= {"estimate": 0.5, "lo": 0.1, "hi": 0.8, "p": 0.01, "q": 0.02, "null": "swaps", "reason": ""}
    table = pd.DataFrame(
        [row | {"exploratory": True}, row | {"exploratory": False}, row | {"exploratory": True, "p": None}]
    )
    text = write_comparison(replace(found, associations=table), tmp_path / "x.html").read_text()
    rows = text[text.index('id="associations"') : text.index('id="notes"')]
    assert rows.count('<tr class="exploratory"><td>tokens (Path)</td>') == 1
    assert rows.count("<tr><td>tokens (Path)</td>") == 1
    assert "1 more pair could not be computed" in rows


def test_a_note_is_told_on_the_first_screen(found, tmp_path):
    told = replace(found, notes=("path: one", "facts: two", "safe: three"))
    text = write_comparison(told, tmp_path / "x.html").read_text()
    first = text[: text.index("<figure")]
    assert "path: one" in first
    assert "All 3 are listed below" in first
    assert text.count("safe: three") == 1


# ---------------------------------------------------------------- tables of scores


def test_a_table_of_scores_gets_a_page_without_trajectories(tmp_path, parse):
    found = table_of(tmp_path, SCORES)
    text = write_comparison(found, tmp_path / "x.html").read_text()
    html = parse(text)
    assert [f["id"] for f in html.named("figure")] == ["figure-gains"]
    assert "Math-CoT on &lt;b&gt;20B&lt;/b&gt;" in text
    assert "<b>20B" not in text
    assert "Assumed paired, r = 0.5" in text
    assert "Associations over runs" not in text
    rows = views.benchmark_table(found).rows
    assert ("8B", "Reward", "its own unit", "Math-CoT", "0.92", "+1.05", "–") in rows  # no interval, its own unit


def test_repetition_gets_a_page_with_its_settings(tmp_path, parse):
    found = table_of(tmp_path, SETTINGS)
    text = write_comparison(found, tmp_path / "x.html").read_text()
    assert [f["id"] for f in parse(text).named("figure")] == ["figure-repetition"]
    assert ("S1", "20,480", "256", "8", "640", "163,840") in views.settings_table(found).rows
    assert "S1 − S3" in text


# ---------------------------------------------------------------- figures


def test_dots_have_a_row_each_zero_ruled_in_and_keep_what_has_no_interval():
    nan = float("nan")
    table = pd.DataFrame(
        {"panel": "p", "row": ["b|− a", "a|− c"], "value": [1.0, -2.0], "lo": [0.5, nan], "hi": [1.5, nan], "n": 9}
    )
    spec = figures.dots(table, title="t", description="d", x="points").to_dict()
    rule, bar, dot = spec["spec"]["layer"]
    assert rule["encoding"]["x"]["field"] == "level"
    assert spec["datasets"].pop(rule["data"]["name"]) == [{"level": 0}]
    assert dot["encoding"]["y"]["sort"] == ["b|− a", "a|− c"]  # as given, not by the alphabet
    (rows,) = spec["datasets"].values()
    assert [r["value"] for r in rows] == [1.0, -2.0]
    assert rows[1]["estimate"] == "-2.000"
    assert bar["encoding"]["x2"]["field"] == "hi"


def test_no_arm_is_left_out_where_there_are_too_many_for_a_panel(found):
    one = found.scores[found.scores["arm"] == "up"]
    many = [f"arm {i:02d}" for i in range(gallery.MOST_LINES + 3)]
    scores = pd.concat([one.assign(arm=a) for a in many], ignore_index=True)
    drawn = list(gallery.trajectories(Comparison((), (), scores=scores)))
    assert len(drawn) == 2
    lines = [set(f.chart.data["series"]) for f in drawn]
    assert lines[0] | lines[1] == set(many)
    assert not lines[0] & lines[1]


def test_of_very_many_pairs_those_with_the_first_arm_are_drawn_and_the_rest_is_told(found):
    few = [replace(p, a=a, b=b) for a, b in combinations("abcd", 2) for p in found.pairs]
    drawn = list(gallery.differences(Comparison((), (), pairs=tuple(few))))
    assert sum(f.chart.data["series"].nunique() for f in drawn) == 6
    assert not any("differences_by_step.csv" in f.shows for f in drawn)
    many = [replace(p, a=a, b=b) for a, b in combinations("abcdefg", 2) for p in found.pairs]
    drawn = list(gallery.differences(Comparison((), (), pairs=tuple(many))))
    assert {s for f in drawn for s in f.chart.data["series"]} == {f"a − {b}" for b in "bcdefg"}
    assert all("differences_by_step.csv" in f.shows for f in drawn)


def test_differences_are_drawn_as_the_bands_have_them(found):
    (figure,) = gallery.differences(found)
    pair = next(p for p in found.pairs if p.domain == "path")
    rows = figure.chart.data[figure.chart.data["panel"].str.startswith("Path")]
    assert list(rows["value"]) == pytest.approx(list(100 * pair.effect.diff), rel=1e-4)
    assert list(rows["lo"]) == pytest.approx(list(100 * pair.effect.lo), rel=1e-4)
    spec = figure.chart.to_dict()
    (rule,) = [x for x in spec["spec"]["layer"] if x["encoding"].get("y", {}).get("field") == "level"]
    assert spec["datasets"][rule["data"]["name"]] == [{"level": 0.0}]


def test_a_difference_of_nothing_does_not_fill_its_panel(synthetic, tmp_path):
    """Its narrow band was as high as the panel, and looked like the widest of all."""
    few = dict.fromkeys(("path", "subset_sum", "calculation", "facts", "instructions", "safe"))
    alike = [
        synthetic.make_run(tmp_path / name, seed=1, steps=(0, 4, 16), n=200, layers=1, curves=few) for name in "ab"
    ]
    (figure,) = gallery.differences(compare(alike, n_resamples=200))
    data = figure.chart.data
    assert set(data["value"]) == {0.0}
    assert 0 < data["hi"].max() < 4
    view = vl_convert.vegalite_to_svg(figure.chart.to_dict())
    labels = {text.replace("\u2212", "-") for text in re.findall(r">([\u22120-9]+)</text>", view)}
    assert {"-10", "0", "10"} <= labels


# ---------------------------------------------------------------- names are data


def hostile(found):
    """The same comparison of arms and runs that are named by someone who tries."""
    names = {"up": HOSTILE, "up-1": f"{HOSTILE} 1"}
    renamed = {k: getattr(found, k).replace(names) for k in ("runs", "scores", "procedure", "judged", "settings")}
    c = found.conditional
    conditional = replace(c, groups=c.groups.replace(names), pairs=c.pairs.replace(names), cells=c.cells.replace(names))
    pairs = tuple(replace(p, a=names.get(p.a, p.a), b=names.get(p.b, p.b)) for p in found.pairs)
    return replace(found, conditional=conditional, pairs=pairs, notes=(HOSTILE,), **renamed)


@pytest.fixture(scope="module")
def hostile_page(found, tmp_path_factory):
    return write_comparison(hostile(found), tmp_path_factory.mktemp("hostile") / "x.html", HOSTILE)


def test_hostile_names_are_inert(hostile_page, parse):
    text = hostile_page.read_text()
    html = parse(text)
    assert not html.named("img")
    assert sum(s.get("type") != "application/json" for s in html.named("script")) == 2
    assert "\u202e" not in text
    assert "[U+202E]js" in text
    assert "{{ 7 * 7 }}" in text
    specs = [json.loads(body) for tag, attrs, body in html.raw if attrs.get("type") == "application/json"]
    assert specs
    assert "\u202e" not in json.dumps(specs, ensure_ascii=False)


def test_hostile_names_are_inert_in_a_browser(hostile_page, parse, browse):
    dom, console = browse(hostile_page)
    assert not console
    assert not parse(dom).named("img")
    assert re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1] != "pwned"
    assert dom.count('data-state="drawn"') == len(parse(dom).named("figure"))


# A copy measures itself and tells the frame around it: a headless window is never narrower than 500 pixels.
MEASURE = """
<script>(function look() {
  const places = [...document.querySelectorAll(".chart")];
  if (!places.every((c) => c.dataset.state)) return setTimeout(look, 50);
  const charts = [...document.querySelectorAll(".chart > *")].map((c) => c.scrollWidth - c.parentElement.clientWidth);
  const drawn = places.filter((c) => c.dataset.state === "drawn" && c.querySelectorAll("svg").length === 1).length;
  const wide = document.documentElement.scrollWidth;
  parent.postMessage({ room: innerWidth, wide, drawn, over: Math.max(...charts) }, "*");
})()</script>
"""
FRAME = """<iframe src=copy.html style='width:{}px;height:900px;border:0'></iframe><p class=chart id=told></p>
<script>onmessage = (e) => {{ told.dataset.seen = JSON.stringify(e.data); told.dataset.state = "drawn"; }}</script>"""


@pytest.mark.parametrize("width", [1280, 390])
def test_charts_are_drawn_and_nothing_sticks_out(hostile_page, parse, browse, tmp_path, width):
    """With names as long as the hostile ones."""
    text = re.sub(r"<meta http-equiv=.*?>", "", hostile_page.read_text(), count=1)
    body, _, end = text.rpartition("</body>")
    (tmp_path / "copy.html").write_text(f"{body}{MEASURE}</body>{end}")
    (tmp_path / "frame.html").write_text(FRAME.format(width))
    dom, console = browse(tmp_path / "frame.html", 1400)
    assert not console
    (told,) = [p for p in parse(dom).named("p") if p.get("id") == "told"]
    seen = json.loads(told["data-seen"])
    assert seen["room"] == width
    assert seen["wide"] <= width
    assert seen["over"] <= 0
    assert seen["drawn"] == len(parse(text).named("figure"))


# ---------------------------------------------------------------- Markdown and the command line


def test_markdown_says_the_same_and_escapes_names(found, tmp_path):
    text = write_comparison_markdown(found, tmp_path / "x.md").read_text()
    last = found.pairs[0].last
    assert all(f"{i}. " in text for i in range(1, len(found.answer()) + 1))
    assert found.answer()[1] in text
    assert f"{100 * last.value:.1f} \\[" in text
    assert "## Verdicts" in text
    tried = write_comparison_markdown(hostile(found), tmp_path / "y.md").read_text()
    assert "<img" not in tried.replace("\\<img", "")
    assert "\u202e" not in tried
    lines = [line for line in tried.splitlines() if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) >= 3 for line in lines)


def test_compare_and_report_write_the_same_page(runs, tmp_path, capsys):
    named = [f"{arm}={path}" for arm, paths in runs.items() for path in paths[:1]]
    assert main(["compare", *named, "-o", str(tmp_path / "out")]) == 0
    assert "comparison.html" in capsys.readouterr().out
    assert main(["report", *named, "-o", str(tmp_path / "one.html")]) == 0
    assert (tmp_path / "one.md").read_text() == (tmp_path / "out" / "comparison.md").read_text()
    first, second = ((tmp_path / f).read_text() for f in ("out/comparison.html", "one.html"))
    again = re.compile(r'aria-label="Command">.*?</pre>')
    assert f"sftscope compare {' '.join(named)} -o {tmp_path / 'out'}" in again.search(first)[0]
    assert again.sub("", first) == again.sub("", second)


def test_options_that_change_a_comparison_are_in_its_command(tmp_path, capsys):
    (tmp_path / "s.csv").write_text(SCORES.replace("data,", "mix,"))
    (tmp_path / "i.csv").write_text(ITEMS)
    told = ["compare", str(tmp_path / "s.csv"), "--items", str(tmp_path / "i.csv"), "--condition", "mix"]
    assert main([*told, "-o", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "comparison.html").read_text()
    assert f"sftscope {' '.join(told)} -o {tmp_path / 'out'}</pre>" in text


def test_several_runs_need_a_place_for_their_page(runs, capsys):
    assert main(["report", *(str(p) for paths in runs.values() for p in paths)]) == 2
    assert "say where, with -o FILE" in capsys.readouterr().err
