"""The conditional table: orders with intervals, what the items cannot separate, and what is missing said."""

import math

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import ConfigError, DataError
from sftscope.dynamics.comparison.conditional import (
    ASSUMED,
    PAIRED,
    UNPAIRED,
    ItemGains,
    conditional_from_items,
    conditional_table,
)
from sftscope.dynamics.comparison.score_tables import ItemColumns
from sftscope.dynamics.statistics.aggregates import score_variance

ITEMS = pd.DataFrame(
    [
        ("MATH500", "id_reasoning", 500),
        ("AIME24", "id_reasoning", 30),
        ("LCB", "ood_reasoning", 511),
        ("GPQA", "ood_reasoning", 198),
        ("MMLU-Pro", "ood_reasoning", 1000),
        ("IFEval", "general", 541),
        ("HaluEval", "general", 30_000),
    ],
    columns=["benchmark", "group", "items"],
)
# Published scores of one model at its last checkpoint (arXiv 2604.06628, table 2 of its first version, second-hand).
PUBLISHED = pd.DataFrame(
    [
        ("14B", "base", 77.8, 14.7, 37.5, 44.1, 61.8, 64.2, 0.53, 54.7),
        ("14B", "Math-CoT", 95.1, 66.0, 55.1, 63.3, 74.4, 68.9, 1.42, 72.8),
        ("14B", "Math-NoCoT", 82.4, 17.0, 40.3, 48.3, 69.1, 71.7, 2.11, math.nan),
        ("14B", "NuminaMath", 74.8, 14.0, 20.4, 38.4, 59.0, 52.8, -0.45, 62.7),
        ("14B", "Countdown", 91.5, 41.7, 43.8, 53.0, 65.4, 61.3, 1.36, 72.3),
    ],
    columns=["model", "data", "MATH500", "AIME24", "LCB", "GPQA", "MMLU-Pro", "IFEval", "Alpaca-RM", "HaluEval"],
)


@pytest.fixture(scope="module")
def published():
    return conditional_table(PUBLISHED, ITEMS)


def order(table, group, sampling=None):
    return list(table.of("groups", ("14B",), group, sampling).sort_values("rank")["condition"])


def test_the_data_are_ordered_and_the_inseparable_named(published):
    assert order(published, "id_reasoning") == ["Math-CoT", "Countdown", "Math-NoCoT", "base", "NuminaMath"]
    assert order(published, "ood_reasoning") == ["Math-CoT", "Countdown", "Math-NoCoT", "base", "NuminaMath"]
    sets = published.inseparable(("14B",), "ood_reasoning")
    assert sets == [("Math-CoT",), ("Countdown", "Math-NoCoT", "base"), ("NuminaMath",)]
    gains = published.of("groups", ("14B",), "ood_reasoning").set_index("condition")
    assert gains.loc["Math-CoT", "gain"] == pytest.approx(np.mean([17.6, 19.2, 12.6]))
    assert gains.loc["Math-CoT", "lo"] > 0 > gains.loc["NuminaMath", "hi"]
    assert gains.loc["Countdown", "lo"] < 0 < gains.loc["Countdown", "hi"]


def test_the_assumed_reading_is_narrower_labelled_and_does_not_decide(published):
    decided = published.of("pairs", ("14B",), "ood_reasoning")
    assumed = published.of("pairs", ("14B",), "ood_reasoning", ASSUMED)
    assert set(decided["sampling"]) == {UNPAIRED}
    assert "assumed" in ASSUMED
    width = (decided["hi"] - decided["lo"]).to_numpy()
    assert np.all((assumed["hi"] - assumed["lo"]).to_numpy() < 0.8 * width)


def test_missing_cells_stay_missing_and_are_said(published):
    general = published.of("groups", ("14B",), "general")
    assert set(general["benchmarks"]) == {"IFEval"}
    assert set(general["left_out"]) == {"HaluEval"}
    assert any("HaluEval is missing for Math-NoCoT" in n for n in published.notes)
    cells = published.cells[(published.cells["benchmark"] == "HaluEval") & (published.cells["sampling"] == UNPAIRED)]
    assert set(cells["condition"]) == {"Math-CoT", "NuminaMath", "Countdown"}


def test_what_is_no_share_gets_no_interval_and_enters_no_mean(published):
    reward = published.cells[published.cells["benchmark"] == "Alpaca-RM"].set_index("condition")
    assert reward["lo"].isna().all()
    assert reward.loc["Math-CoT", "gain"] == pytest.approx(1.42 - 0.53)
    assert not published.groups["benchmarks"].str.contains("Alpaca").any()
    items = pd.concat(
        [
            ITEMS.assign(unit="percent"),
            pd.DataFrame([("Alpaca-RM", "general", math.nan, "reward")], columns=[*ITEMS, "unit"]),
        ]
    )
    named = conditional_table(PUBLISHED, items)
    assert any("Alpaca-RM: its unit is no share" in n for n in named.notes)


def test_a_groups_gain_is_the_mean_with_the_variances_added():
    scores = PUBLISHED[PUBLISHED["data"].isin(["base", "Countdown"])]
    table = conditional_table(scores, ITEMS[ITEMS["group"] == "ood_reasoning"])
    row = table.of("groups", ("14B",), "ood_reasoning").set_index("condition").loc["Countdown"]
    of = {"LCB": 511, "GPQA": 198, "MMLU-Pro": 1000}
    variance = sum(float(score_variance(s / 100, n)) for b, n in of.items() for s in scores[b]) / 9
    # One comparison alone: the critical value is that of a single t.
    assert (row["hi"] - row["lo"]) / 2 == pytest.approx(100 * 1.972 * math.sqrt(variance), rel=0.02)


def test_naive_intervals_separate_equal_conditions_and_these_do_not():
    """Five conditions of equal shares: pairs judged one by one find a difference in a third of the tables."""
    rng = np.random.default_rng(0)
    items = ITEMS[ITEMS["group"] == "ood_reasoning"]
    ours = naive = 0
    for _ in range(60):
        scores = pd.DataFrame({b.benchmark: 100 * rng.binomial(b.items, 0.5, 5) / b.items for b in items.itertuples()})
        scores = scores.assign(model="m", data=["base", "a", "b", "c", "d"])
        pairs = conditional_table(scores, items).of("pairs", ("m",), "ood_reasoning")
        ours += pairs["separated"].any()
        se = 100 * math.sqrt(sum(2 * 0.25 / n for n in items["items"])) / 3
        naive += (pairs["difference"] > 1.96 * se).any()
    assert naive > 12
    assert ours <= 8


def item_families(rng, n=200, gains=(0.0, 0.0, 0.3), correlation=0.9):
    """Items whose answers under all conditions go together: paired intervals are much narrower than unpaired ones."""
    parts = []
    for domain in ("x", "y"):
        difficulty = rng.random(n)
        base = (difficulty < 0.4).astype(float)
        of = {}
        for i, gain in enumerate(gains):
            noise = rng.random(n) > correlation
            answers = np.where(noise, rng.random(n) < 0.4 + gain, difficulty < 0.4 + gain).astype(float)
            of[f"c{i}"] = answers - base
        parts.append(ItemGains(domain, "ood_reasoning", of))
    return {("m",): parts}


def test_items_are_paired_with_their_own_base():
    table = conditional_from_items(item_families(np.random.default_rng(1)))
    assert table.deciding == PAIRED
    rows = table.of("groups", ("m",), "ood_reasoning").set_index("condition")
    assert rows.loc["c2", "lo"] < 30 < rows.loc["c2", "hi"]
    assert rows.loc["c2", "lo"] > 20
    sets = table.inseparable(("m",), "ood_reasoning")
    assert sets[0] == ("c2",)
    assert set(sets[1]) == {"c0", "c1", "base"}
    unpaired = 2 * 1.96 * 100 * math.sqrt(2 * 0.24 / 200 / 2)
    assert (rows["hi"] - rows["lo"]).max() < unpaired


def test_a_benchmark_that_one_condition_lacks_is_left_out_of_the_mean():
    families = item_families(np.random.default_rng(2))
    parts = families[("m",)]
    short = ItemGains("y", "ood_reasoning", {k: v for k, v in parts[1].gains.items() if k != "c1"})
    table = conditional_from_items({("m",): [parts[0], short]})
    assert set(table.groups["benchmarks"]) == {"x"}
    assert set(table.groups["left_out"]) == {"y"}
    assert any("y is missing for c1" in n for n in table.notes)


def test_own_column_names():
    scores = PUBLISHED.rename(columns={"model": "llm", "data": "mix"}).replace({"base": "none"})
    items = ITEMS.rename(columns={"benchmark": "task", "group": "kind", "items": "n"})
    table = conditional_table(
        scores, items, by=("llm",), condition="mix", base="none", item_columns=ItemColumns("task", "kind", "n")
    )
    assert table.of("groups", ("14B",), "ood_reasoning").sort_values("rank")["condition"].iloc[0] == "Math-CoT"


def test_shares_are_read_as_shares_where_said_and_refused_where_not():
    shares = PUBLISHED.drop(columns="Alpaca-RM")
    numbers = [c for c in shares if c not in ("model", "data")]
    shares = shares.assign(**{c: shares[c] / 100 for c in numbers})
    told = conditional_table(shares, ITEMS.assign(unit="share"))
    percent = conditional_table(PUBLISHED, ITEMS)
    assert np.allclose(told.groups["gain"], percent.groups["gain"])
    with pytest.raises(DataError, match="add `unit` with `share`"):
        conditional_table(shares, ITEMS)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"condition": "dat"}, ConfigError, "no column 'dat': did you mean 'data'"),
        ({"by": ("modell",)}, ConfigError, "did you mean 'model'"),
        ({"base": "Base"}, ConfigError, "no row whose data is 'Base'"),
        ({"by": ()}, ConfigError, "name at least one other column"),
        ({"items": ITEMS.drop(columns="items")}, ConfigError, "the items table has no column 'items'"),
        ({"items": ITEMS.assign(items=0)}, DataError, "MATH500 0 items"),
        ({"items": pd.concat([ITEMS, ITEMS[:1]])}, DataError, "names 'MATH500' twice"),
        (
            {"items": ITEMS.assign(benchmark=ITEMS["benchmark"] + "x")},
            ConfigError,
            "no column of scores is a benchmark",
        ),
        ({"scores": pd.concat([PUBLISHED, PUBLISHED[:1]])}, DataError, "two rows of scores for 14B, base"),
        ({"scores": PUBLISHED.assign(LCB=150.0)}, DataError, r"LCB is 150 \(14B, base\), outside 0 to 100"),
        ({"scores": PUBLISHED.assign(LCB="high")}, DataError, "LCB holds 'high', which is no number"),
        ({"scores": PUBLISHED.assign(data=[None, "a", "b", "c", "base"])}, DataError, "row 1 of the scores has no"),
    ],
)
def test_mistakes_say_the_way_out(change, error, message):
    arguments = {"scores": PUBLISHED, "items": ITEMS} | change
    scores, items = arguments.pop("scores"), arguments.pop("items")
    with pytest.raises(error, match=message):
        conditional_table(scores, items, **arguments)


def test_a_model_without_its_base_gets_differences_and_no_gains():
    second = PUBLISHED.assign(model="8B")[PUBLISHED["data"] != "base"]
    table = conditional_table(pd.concat([PUBLISHED, second]), ITEMS)
    assert table.of("groups", ("8B",))["gain"].isna().all()
    assert table.of("pairs", ("8B",), "ood_reasoning")["separated"].any()
    assert any("8B: no row 'base'" in n for n in table.notes)
