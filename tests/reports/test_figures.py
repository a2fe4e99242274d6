"""Figures: valid specs with titles, units and descriptions, from frames alone; tables that hold what is drawn."""

import json
import math
import re

import pandas as pd
import pytest
import vl_convert
from sftscope.dynamics import Estimate, Measurement
from sftscope.dynamics.record import Run, write_measurements
from sftscope.reports import figures
from sftscope.reports.axes import step_scale, ticks
from sftscope.reports.gallery import gallery
from sftscope.reports.layer_maps import heat_map
from sftscope.reports.source import Source
from sftscope.reports.tables import by_step, interval, number, thinned


@pytest.fixture(scope="module")
def drawn(run):
    return {figure.id: figure for figure in gallery(Source(run))}


def long(steps=(0, 1, 2, 4), panels=("a|x", "b|y"), **more):
    rows = [(p, s, 0.1 * s, 0.1 * s - 0.05, 0.1 * s + 0.05) for p in panels for s in steps]
    return pd.DataFrame(rows, columns=["panel", "step", "value", "lo", "hi"]).assign(**{"colour": "#0072B2", **more})


def find(spec, key):
    """Every value of a key, anywhere in a spec."""
    if isinstance(spec, dict):
        for name, value in spec.items():
            if name == key:
                yield value
            yield from find(value, key)
    elif isinstance(spec, list):
        for value in spec:
            yield from find(value, key)


def test_a_run_gets_all_its_figures(drawn):
    assert list(drawn) == [
        *("scores", "differences", "split", "lengths", "thinking", "incidence", "backtracking", "backtracking-quality"),
        *("refusal", "causal-pair", "cosine", "auc", "half-change", "tradeoff", "heldout", "training"),
    ]


def test_every_figure_compiles_and_is_described(drawn):
    for figure in drawn.values():
        spec = figure.chart.to_dict()  # validated against the schema of Vega-Lite
        assert vl_convert.vegalite_to_vega(spec)["marks"]
        assert spec["title"] == figure.title
        assert figure.title in spec["description"]
        assert figure.shows
        assert figure.omits
        assert figure.table.rows
        assert all(len(row) == len(figure.table.columns) for row in figure.table.rows)


def test_a_figure_can_be_saved_as_svg_without_a_browser(drawn):
    svg = vl_convert.vegalite_to_svg(drawn["scores"].chart.to_dict())
    assert svg.startswith("<svg")
    assert "Subset sum" in svg


def test_panels_follow_the_order_of_the_groups(drawn):
    (order,) = find(drawn["scores"].chart.to_dict()["facet"], "sort")
    names = [panel.split("|")[0] for panel in order]
    answers = ["Countdown", "Calculation", "Path", "Subset sum", "Facts", "Instructions"]
    assert names == [*answers, "Harmful", "Harmful unseen", "Safe"]


def test_two_rows_in_one_place_are_a_mistake_that_is_told():
    """Two domains of harmful requests in one panel were drawn over each other, and the table kept the second."""
    twice = pd.concat([long(panels=("a|x",), series="refused"), long(steps=(4,), panels=("a|x",), series="refused")])
    told = r"2 rows have panel 'a\|x', series 'refused', step 4"
    with pytest.raises(ValueError, match=told):
        figures.multiples(twice, title="t", description="d", y="share", steps=[0, 4])
    with pytest.raises(ValueError, match=told):
        by_step(twice, ["panel", "series"])


def test_each_domain_of_harmful_requests_has_a_panel(run, drawn):
    panels = [p.split("|")[0] for p in next(find(drawn["refusal"].chart.to_dict()["facet"], "sort"))]
    assert panels == ["Harmful", "Harmful unseen", "Safe"]
    truth = Run(run).measurements(metric="refusal_rate", domain="harmful_unseen").set_index("step")["value"]
    data = pd.DataFrame(next(iter(drawn["refusal"].chart.to_dict()["datasets"].values())))
    part = data[data["panel"].str.startswith("Harmful unseen") & (data["series"] == "refused")]
    assert part.set_index("step")["value"].to_dict() == pytest.approx(truth.to_dict(), abs=1e-4)


def test_step_zero_is_on_the_axis_and_early_steps_have_room():
    spec = figures.multiples(long(), title="t", description="d", y="share", steps=[0, 1, 2, 4]).to_dict()
    scales = [s for s in find(spec, "scale") if s and s.get("type") == "symlog"]
    assert scales
    assert all(s["constant"] == 1 for s in scales)
    assert [0, 1, 2, 4] in list(find(spec, "values"))


def test_a_figure_of_one_checkpoint_has_the_room_of_all():
    """Its ticks lay over each other."""
    spec = figures.multiples(long(steps=(0,)), title="t", description="d", y="share", steps=[0, 4, 16]).to_dict()
    svg = vl_convert.vegalite_to_svg(spec)
    places = {
        text: x for x, text in re.findall(r'transform="translate\(([-0-9.]+),[-0-9.]+\)"[^>]*>(0|4|16)</text>', svg)
    }
    assert len(set(places.values())) == 3


def test_the_axis_suits_the_schedule():
    doubling, even = [0, *(2**k for k in range(10))], list(range(0, 640, 10))
    assert step_scale(doubling)[0].to_dict()["type"] == "symlog"
    assert step_scale(even)[0].to_dict()["type"] == "sqrt"
    for steps in (doubling, even, [0], [3, 7]):
        place = step_scale(steps)[1]
        assert [place(s) for s in steps] == sorted(place(s) for s in steps)


@pytest.mark.parametrize(
    ("steps", "scale"), [([0, *(2**k for k in range(8))], "log scale"), (range(0, 100, 10), "square-root scale")]
)
def test_the_axis_says_that_it_is_not_linear(steps, scale):
    table = long(steps=tuple(steps))
    svg = vl_convert.vegalite_to_svg(
        figures.multiples(table, title="t", description="d", y="share", steps=list(steps)).to_dict()
    )
    assert f">({scale})<" in svg


def test_ticks_keep_the_ends_and_stay_few():
    assert ticks([0]) == [0]
    for steps in ([0, *(2**k for k in range(12))], list(range(0, 1000, 10)), [0, 500, 501, 502]):
        chosen = ticks(steps)
        assert chosen[0] == steps[0]
        assert chosen[-1] == steps[-1]
        assert len(chosen) <= 8
        assert set(chosen) <= set(steps)


def test_series_are_told_apart_by_more_than_colour():
    table = pd.concat([long(series="first"), long(series="second")])
    spec = figures.multiples(table, title="t", description="d", y="share", steps=[0, 4]).to_dict()
    for channel in ("color", "shape", "strokeDash"):
        ranges = [enc["scale"]["range"] for enc in find(spec, channel) if isinstance(enc, dict) and enc.get("scale")]
        assert ranges
        assert all(len({str(v) for v in r}) == 2 for r in ranges)


def test_rules_stand_in_every_panel_without_being_multiplied():
    rules = pd.DataFrame([(2, "end of warm-up"), (4, "end of epoch")], columns=["at", "what"])
    spec = figures.multiples(long(), title="t", description="d", y="share", steps=[0, 4], rules=rules).to_dict()
    svg = vl_convert.vegalite_to_svg(spec)
    assert svg.count('stroke-dasharray="1,3"') == 2  # one line in each of two panels
    assert svg.count('stroke-dasharray="5,4"') == 2


def test_undefined_cells_of_a_heat_map_are_marked():
    table = pd.DataFrame({"layer": [0, 0, 1, 1], "step": [0, 1, 0, 1], "value": [1.0, 0.5, math.nan, math.nan]})
    spec = heat_map(table, title="t", description="d", unit="cosine", domain=(0, 1)).to_dict()
    svg = vl_convert.vegalite_to_svg(spec)
    assert svg.count(">?</text>") == 2
    assert svg.count('fill="#8c8c8c"') == 2


@pytest.mark.parametrize(("end", "seen"), [(1.0, {"0.30", "1.00"}), (0.04, {"0.012", "0.040"}), (0.004, {"0.0012"})])
def test_small_numbers_of_a_heat_map_have_the_digits_that_tell_them_apart(end, seen):
    table = pd.DataFrame({"layer": [0, 0], "step": [0, 1], "value": [0.3 * end, end]})
    svg = vl_convert.vegalite_to_svg(heat_map(table, title="t", description="d", unit="u", domain=(0, end)).to_dict())
    assert seen <= set(re.findall(r">([0-9.]+)</text>", svg))


def test_a_map_without_a_single_number_is_not_drawn(own_run):
    for step in Run(own_run).measured_steps():
        rows = [
            Measurement(step, "extra3", f"mood{ending}", Estimate.undefined(0, "none"), "cosine", layer=1)
            for ending in ("_cosine_to_base", "_auc_frozen", "_spearman_frozen")
        ]
        write_measurements(own_run, step, "extra3", key=f"g{step}", settings="s", rows=rows)
    assert not [f.id for f in gallery(Source(own_run)) if "mood" in f.id]


def test_the_causal_pairs_readout_and_positions_have_names_that_can_be_read(own_run):
    for step in Run(own_run).measured_steps():
        rows = [
            Measurement(step, "extra4", "pair_auc_frozen", Estimate(0.9, 0.8, 1.0, 64, "m"), "auc", layer=1),
            Measurement(
                step, "extra4", "mood_cosine_to_base", Estimate(0.9, 0.8, 1.0, 64, "m"), "cosine", "", 1, "after_move"
            ),
        ]
        write_measurements(own_run, step, "extra4", key=f"g{step}", settings="s", rows=rows)
    found = {f.id: f for f in gallery(Source(own_run))}
    assert found["auc-pair"].title == "Refusal direction of the causal pair: the base's as a detector"
    assert "the first word after a step of the search" in found["cosine-mood"].omits


def test_names_neither_turn_nor_split_a_panel_and_lookalikes_stay_apart(named_run):
    for figure in gallery(Source(named_run)):
        spec = figure.chart.to_dict()
        assert "\u202e" not in json.dumps(spec, ensure_ascii=False)
        for data in spec["datasets"].values():
            assert all(row.get("panel", "").count("|") <= 1 for row in data)
    (scores,) = [f for f in gallery(Source(named_run)) if f.id == "scores"]
    panels = {panel.split("|")[0] for panel in scores.chart.to_dict()["facet"]["sort"]}
    assert {"A¦b[U+202E]dcba", "Twin a (twin_a)", "Twin a (twin a)"} <= panels


def test_a_band_of_differences_that_touches_no_zero_is_drawn_as_such(run, drawn):
    bands = Source(run).bands
    data = pd.DataFrame(next(iter(drawn["differences"].chart.to_dict()["datasets"].values())))
    part = data[data["panel"].str.startswith("Subset sum")].sort_values("step")
    expected = bands[bands["domain"] == "subset_sum"].sort_values("step")
    assert part["hi"].to_numpy(float) == pytest.approx(expected["diff_hi"].to_numpy(), abs=1e-4)


def test_the_trade_off_names_the_base_the_end_and_the_checkpoint_to_take(run, drawn):
    source = Source(run)
    taken = next(f["step"] for f in source.findings if f["id"] == "tradeoff:checkpoint")
    data = pd.DataFrame(next(d for d in drawn["tradeoff"].chart.to_dict()["datasets"].values() if len(d) > 10))
    assert {n for n in data["name"] if n} == {f"step {s}" for s in (0, taken, max(source.steps))}
    refusal = source.tradeoff.query("part == 'refusal'").set_index("step")["change"]
    part = data[data["panel"].str.startswith("Refusal") & data["series"].str.startswith("in-domain")]
    assert part.set_index("step")["cost"].to_dict() == pytest.approx(refusal.to_dict(), abs=1e-4)


def test_a_panel_without_a_single_number_is_left_out_and_said(own_run):
    for step in Run(own_run).measured_steps():
        nothing = Measurement(step, "extra2", "give_up_rate", Estimate.undefined(0, "none"), "share", "countdown")
        write_measurements(own_run, step, "extra2", key=f"g{step}", settings="s", rows=[nothing])
    (figure,) = [f for f in gallery(Source(own_run)) if f.id == "backtracking-quality"]
    assert "Undefined at every checkpoint, and so not drawn: Give-up rate" in figure.shows
    assert not any("Give-up" in panel for panel in next(find(figure.chart.to_dict()["facet"], "sort")))


def test_a_run_without_probes_or_steps_gets_fewer_figures_not_an_error(own_run):
    for path in own_run.glob("measurements/step-*/[!s]*.parquet"):  # all but the scores
        path.unlink()
    (own_run / "steps.jsonl").unlink()
    assert [f.id for f in gallery(Source(own_run))] == ["scores", "differences", "split", "half-change", "tradeoff"]


# ---------------------------------------------------------------- tables


def test_numbers_never_hide_what_is_undefined():
    assert number(math.nan) == "–"
    assert number(-0.001) == "0.00"
    assert number(0.00031, 3) == "0.00031"
    assert interval(0.5, math.nan, math.nan) == "0.50"
    assert interval(math.nan, 0.0, 1.0) == "–"
    assert interval(0.5, 0.4, 0.6) == "0.50 [0.40, 0.60]"


def test_a_table_has_a_row_per_step_and_a_dash_where_nothing_was_measured():
    rows = pd.concat([long(steps=(0, 1)), long(steps=(0,), panels=("c|z",))])
    table = by_step(rows, ["panel"])
    assert table.columns == ("step", "a, x", "b, y", "c, z")
    assert [row[0] for row in table.rows] == ["0", "1"]
    assert table.rows[1][3] == "–"


def test_a_long_table_is_thinned_with_its_ends_and_says_so():
    table = thinned(pd.DataFrame({"step": range(1001), "x": "a"}), most=100)
    assert len(table.rows) <= 101
    assert table.rows[0][0] == "0"
    assert table.rows[-1][0] == "1000"
    assert "1,001" in table.note
