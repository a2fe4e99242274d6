"""The x-axis of all figures is exchanged together: by epoch, tokens or learning rate spent, in a real browser."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics.record import Run
from sftscope.reports import figures
from sftscope.reports.axes import choices, known_axes, step_labels, with_axes
from sftscope.reports.gallery import gallery
from sftscope.reports.source import Source

TITLES = {
    "step": "optimiser step",
    "epoch": "epoch",
    "tokens": "tokens trained on",
    "cumulative_lr": "cumulative learning rate",
}
# The titles under a figure's x-axis, the centres of its points in the first panel, and where its vertical rules stand.
SEEN = """(id) => {
  const svg = document.querySelector(`#figure-${id} svg`);
  const titles = [...svg.querySelectorAll(".role-axis-title text")].map((t) => (t.querySelector("tspan") ?? t).textContent);
  const x = (e) => e.getBoundingClientRect().left + e.getBoundingClientRect().width / 2;
  const panel = svg.querySelector("g.mark-symbol.role-mark");
  const points = panel ? [...panel.querySelectorAll("path")].map(x) : [];
  const rules = [...svg.querySelectorAll('g.mark-rule line[stroke-dasharray="5,4"]')].map(x);
  const labels = [...svg.querySelectorAll(".role-axis-label text")].map((t) => t.textContent);
  return { titles, points, rules, labels };
}"""
CATCH = """() => {
  window.saved = [];
  URL.createObjectURL = (blob) => { blob.text().then((t) => saved.push(t)); return "#"; };
}"""


@pytest.fixture(scope="module")
def source(run):
    return Source(run)


def axes_of(steps, **columns):
    return pd.DataFrame({name: np.asarray(values, float) for name, values in columns.items()}, index=list(steps))


def test_an_axis_that_does_not_place_every_checkpoint_is_not_offered():
    steps = [0, 5, 10]
    full = axes_of(steps, epoch=[0, 0.5, 1], tokens=[0, np.nan, 900], cumulative_lr=[0, 0, 0])
    assert list(known_axes(full, steps)) == ["epoch"]
    assert list(known_axes(full, [0, 10])) == ["epoch", "tokens"]
    assert [c["name"] for c in choices(known_axes(full, steps), steps)] == ["step", "epoch"]
    assert choices(known_axes(full[[]], steps), steps) == []


def test_every_row_of_a_figure_knows_its_place_on_every_axis(run, source):
    truth = Run(run).axes()
    drawn = {figure.id: figure.chart.to_dict() for figure in gallery(source)}
    checked = 0
    for name in ("scores", "differences", "split", "lengths", "backtracking", "refusal", "training", "heldout"):
        spec = drawn[name]
        assert [c["name"] for c in spec["usermeta"]["axes"]] == list(TITLES)
        rows = pd.DataFrame(spec["datasets"][spec["data"]["name"]])
        for axis in ("epoch", "tokens", "cumulative_lr"):
            assert rows[axis].to_numpy(float) == pytest.approx(rows["step"].map(truth[axis]).to_numpy(), rel=1e-4)
            checked += len(rows)
    assert checked > 1000


def test_whole_tokens_stay_whole():
    table = with_axes(pd.DataFrame({"step": [0, 7]}), axes_of([0, 7], tokens=[0, 123_456_789], epoch=[0, 0.5]))
    assert table["tokens"].tolist() == [0, 123_456_789]
    assert table["tokens"].dtype.kind == "i"
    assert table["epoch"].tolist() == [0, 0.5]


def test_rules_move_with_the_axis():
    rows = [("a|x", s, 0.1, 0.0, 0.2, "#0072B2") for s in (0, 4, 8)]
    table = pd.DataFrame(rows, columns=["panel", "step", "value", "lo", "hi", "colour"])
    axes = axes_of(range(9), epoch=np.arange(9) / 4)
    rules = pd.DataFrame([(4, "end of epoch")], columns=["at", "what"])
    chart = figures.multiples(
        table, title="t", description="d", y="y", steps=[0, 4, 8], rules=rules, axes=axes
    ).to_dict()
    (ruled,) = [rows for rows in chart["datasets"].values() if len(rows) == 1]
    assert ruled == [{"step": 4, "epoch": 1.0}]


def test_evenly_spaced_checkpoints_keep_their_places_and_change_their_labels():
    told = {c["name"]: c for c in step_labels(axes_of([0, 8], epoch=[0, 0.5], cumulative_lr=[0, 0.01]), [0, 8])}
    assert told["epoch"]["at"] == {"0": 0.0, "8": 0.5}
    assert "x" not in told["epoch"]
    assert "evenly spaced" in told["cumulative_lr"]["title"]


def test_choosing_an_axis_changes_titles_and_places_of_every_figure(run, page, open_page):
    steps, axes = Source(run).steps, Run(run).axes()
    with open_page(page) as found:
        seen = found.page.evaluate(SEEN, "scores")
        assert set(seen["titles"]) >= {TITLES["step"]}
        before = seen
        for axis, title in list(TITLES.items())[1:]:
            found.page.check(f'input[name="x-axis"][value="{axis}"]')
            found.page.wait_for_function(
                "(axis) => [...document.querySelectorAll('.chart')].every((p) => p.dataset.as.endsWith(` ${axis}`))",
                arg=axis,
            )
            for name in ("scores", "split", "refusal", "training"):
                titles = found.page.evaluate(SEEN, name)["titles"]
                assert title in titles, (axis, name)
                assert TITLES["step"] not in titles, (axis, name)
            heat = found.page.evaluate(SEEN, "auc")
            assert f"{title} (checkpoints, evenly spaced)" in heat["titles"]
            seen = found.page.evaluate(SEEN, "scores")
            assert len(seen["points"]) == len(before["points"]) == len(steps)
            assert not np.allclose(seen["points"], before["points"], atol=0.5) or axis != "cumulative_lr"
            # An epoch ends at the same checkpoint on every axis.
            assert np.min(np.abs(np.subtract(seen["points"], seen["rules"][0]))) < 1.5
        assert not found.console
    assert axes.loc[128, "epoch"] == 1.0  # and the rule in question is that of a checkpoint


def test_the_axis_can_be_chosen_with_the_keyboard_and_is_not_remembered(page, open_page):
    with open_page(page) as found:
        found.page.focus('input[name="x-axis"][value="step"]')
        found.page.keyboard.press("ArrowRight")
        found.page.wait_for_function(
            "() => document.querySelector('#figure-scores .chart').dataset.as.endsWith(' epoch')"
        )
        assert "epoch" in found.page.evaluate(SEEN, "scores")["titles"]
        assert found.page.evaluate("() => localStorage.length + sessionStorage.length + document.cookie.length") == 0
        found.page.reload()
        found.page.wait_for_function("() => document.querySelector('#figure-scores .chart').dataset.state === 'drawn'")
        assert TITLES["step"] in found.page.evaluate(SEEN, "scores")["titles"]


def test_a_run_without_axes_offers_none(own_run):
    (own_run / "steps.jsonl").unlink()
    from sftscope.reports import write_report

    text = write_report(own_run).read_text()
    assert 'id="x-axis"' not in text
    assert 'name="x-axis"' not in text


def saved_table(found, name):
    found.page.evaluate(CATCH)
    found.page.click(f'#figure-{name} button[data-save="csv"]')
    found.page.wait_for_function("() => saved.length")
    return pd.DataFrame(list(csv.DictReader(io.StringIO(found.page.evaluate("() => saved[0]")))))


def test_the_saved_table_holds_the_records_numbers(run, page, open_page):
    record = Run(run)
    with open_page(page) as found:
        scores = saved_table(found, "scores")
        cosine = saved_table(found, "cosine")
        lengths = saved_table(found, "lengths")
    bands = Source(run).bands
    assert len(scores) == len(bands)
    assert "Harmful unseen, share refused" in set(scores["panel"])
    for row in scores.assign(step=scores["step"].astype(int)).to_dict("records"):
        (truth,) = bands[(bands["domain"] == row["domain"]) & (bands["step"] == row["step"])].to_dict("records")
        for told, known in (("value", "score"), ("lo", "score_lo"), ("hi", "score_hi")):
            assert float(row[told]) == pytest.approx(truth[known], rel=1e-4, abs=1e-9)
        assert float(row["tokens"]) == record.axes().loc[row["step"], "tokens"]
    truth = record.measurements(metric="refusal_cosine_to_base").set_index(["layer", "step"])["value"]
    assert len(cosine) == len(truth)
    for row in cosine.to_dict("records"):
        known = truth[int(row["layer"]), int(row["step"])]
        assert (row["value"] == "") == np.isnan(known)
        assert row["value"] == "" or float(row["value"]) == pytest.approx(known, rel=1e-4)
        assert float(row["epoch"]) == pytest.approx(record.axes().loc[int(row["step"]), "epoch"])
    assert set(lengths.columns) >= {"panel", "step", "value", "lo", "hi", "n", "epoch", "tokens", "cumulative_lr"}


def test_saved_files_carry_the_runs_name(page, named_page, open_page):
    for file, name in ((page, "planted-scores"), (named_page, "x-touch-pwned-scores")):
        with open_page(file) as found:
            for kind in ("csv", "svg"):
                with found.page.expect_download() as saved:
                    found.page.click(f'button[data-save={kind}][data-of="scores"]')
                assert saved.value.suggested_filename == f"{name}.{kind}"


def test_a_value_without_an_interval_is_saved_without_one():
    rows = pd.DataFrame({"panel": "a|x", "step": [0, 1], "value": [0.1, 0.2], "lo": [np.nan, 0.1], "hi": [np.nan, 0.3]})
    chart = figures.multiples(rows.assign(colour="#0072B2"), title="t", description="d", y="y", steps=[0, 1]).to_dict()
    first, second = chart["datasets"][chart["data"]["name"]]
    assert (first["lo"], first["hi"]) == (None, None)
    assert (second["lo"], second["hi"]) == (0.1, 0.3)


def test_all_figures_are_drawn_without_scrolling_and_on_paper(page, open_page):
    with open_page(page) as found:  # waits for every chart
        assert found.page.evaluate("() => scrollY") == 0
        states = found.page.evaluate("() => [...document.querySelectorAll('.chart')].map((p) => p.dataset.state)")
        assert set(states) == {"drawn"}
        folded = "() => document.querySelectorAll('details.printed:not([open])').length"
        assert found.page.evaluate(folded) > 0
        found.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        assert found.page.evaluate(folded) == 0
        found.page.evaluate("() => dispatchEvent(new Event('afterprint'))")
        assert found.page.evaluate(folded) > 0


def test_trough_and_recovery_stand_where_the_findings_say(run, source):
    (figure,) = [f for f in gallery(source) if f.id == "scores"]
    spec = figure.chart.to_dict()
    rows = pd.DataFrame(spec["datasets"][spec["data"]["name"]])
    phases = {f["domain"]: f["details"] for f in Run(run).findings() if f["kind"] == "phase"}
    dipped = {d: p for d, p in phases.items() if p["dip"]}
    assert dipped
    assert any(p["recovery_step"] is not None for p in dipped.values())
    expected = {(d, p["trough_step"], "trough") for d, p in dipped.items()}
    expected |= {(d, p["recovery_step"], "recovered") for d, p in dipped.items() if p["recovery_step"] is not None}
    marked = rows[rows["mark"] != ""]
    names = marked["panel"].str.split("|").str[0].str.lower().str.replace(" ", "_")
    assert set(zip(names, marked["step"], marked["mark"], strict=True)) == expected


def test_the_checkpoint_to_take_is_ruled_in(own_run):
    file = own_run / "findings.json"
    told = json.loads(file.read_text())
    taken = next(f for f in told["findings"] if f["id"] == "tradeoff:checkpoint")
    for verdict, steps in (("take", [16]), ("undecidable", [])):
        taken |= {"verdict": verdict, "step": 16}
        file.write_text(json.dumps(told))
        changed = Source(own_run)
        assert changed.rules.loc[changed.rules["what"] == "checkpoint to take", "at"].tolist() == steps
        shows = next(f for f in gallery(changed) if f.id == "scores").shows
        assert ("solid, checkpoint to take (step 16)" in shows) == bool(steps)
