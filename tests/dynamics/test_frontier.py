"""The trade-off over checkpoints: who is undominated, and what is said only with certainty; the default recommendation."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import DataError, analyze
from sftscope.dynamics.calibrate.studies.pick import world
from sftscope.dynamics.choice.frontier import frontier, frontier_of, part_blends, tradeoff_table, undominated
from sftscope.dynamics.choice.pick import pick
from sftscope.dynamics.choice.quantities import Quantities, scores_of
from sftscope.dynamics.choice.recommendation import default_preference, recommendation_finding, smallest_dip
from sftscope.dynamics.record import Run
from sftscope.dynamics.trajectories.trajectory import Trajectory, from_aggregates
from synthetic import make_run


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    """Step 16 is as good as it gets before refusal and general ability go."""
    curves = {d: (0.2, 0.3, 0.7, 0.8, 0.9) for d in ("countdown", "path", "subset_sum", "calculation")}
    curves |= {"facts": (0.7, 0.7, 0.7, 0.4, 0.2), "instructions": (0.7, 0.7, 0.7, 0.4, 0.2)}
    curves |= {"harmful": (0.97, 0.97, 0.97, 0.7, 0.3), "safe": (0.98, 0.98, 0.98, 0.98, 0.98)}
    return make_run(tmp_path_factory.mktemp("runs") / "traded", steps=(0, 8, 16, 32, 64), n=300, curves=curves)


def parts(shares: list[list[float]], n: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    return [world(f"part {k}", row, n, rng) for k, row in enumerate(shares)]


def test_pareto_by_hand():
    values = np.array([[[0.1, 0.5, 0.5, 0.9], [0.9, 0.5, 0.4, 0.1]]])
    assert list(undominated(values)[0]) == [True, True, False, True]
    assert undominated(np.ones((1, 3, 4))).all()  # equals do not dominate each other


def test_planted_corners_are_surely_undominated_and_a_planted_loser_surely_dominated():
    found = frontier(parts([[0.9, 0.3, 0.6, 0.2], [0.3, 0.9, 0.6, 0.2]]))
    assert list(found.surely_undominated) == [True, True, True, False]
    assert list(found.surely_dominated) == [False, False, False, True]
    assert found.probability[3] == 0
    assert [found.certainty(t) for t in (0, 3)] == ["undominated", "dominated"]


def test_noise_is_left_open_where_estimates_and_resamples_are_not():
    flat = [[0.5] * 12] * 3
    called = 0
    for seed in range(25):
        found = frontier(parts(flat, n=100, seed=seed), resamples=300)
        assert found.undominated.any()
        called += bool(found.surely_dominated.any() or found.surely_undominated.any())
    assert called <= 3
    assert found.probability.min() < 0.2 < found.probability.max()  # no certainty to be had from this


def test_parts_at_different_checkpoints_are_an_error():
    with pytest.raises(DataError, match="different checkpoints"):
        frontier([parts([[0.5, 0.5]])[0], parts([[0.5] * 3])[0]])


def test_the_trade_off_of_a_run(traded):
    trajectories = scores_of(Run(traded))
    assert [p.name for p in part_blends(trajectories)] == [
        "id_reasoning",
        "ood_reasoning",
        "refusal",
        "helpful",
        "general",
    ]
    found = frontier_of(trajectories)
    at = dict(zip(found.steps.tolist(), range(5), strict=True))
    assert found.certainty(at[64]) == "undominated"
    assert not found.surely_dominated[at[16]]
    assert 8 in found.mingled(at[0]) or found.separated[at[0], at[8]]
    table = tradeoff_table(found)
    assert len(table) == 25
    last = table[(table["step"] == 64) & (table["part"] == "general")].iloc[0]
    assert last["change_hi"] < -0.4
    assert last["lo"] < 0.2 < last["hi"]
    assert table[table["step"] == 0]["change"].eq(0).all()


def test_aggregates_have_a_frontier_too_and_one_part_has_none():
    from sftscope.dynamics.statistics.intervals import proportion

    def curve(domain, group, ks):
        return from_aggregates([0, 5], [proportion(k, 200) for k in ks], metric="strict", domain=domain, group=group)

    some = {"a": curve("a", "id_reasoning", (40, 160)), "b": curve("b", "general", (160, 40))}
    assert list(frontier_of(some).surely_undominated) == [True, True]
    assert frontier_of({"a": some["a"]}) is None
    assert frontier_of({}) is None
    assert len(tradeoff_table(None)) == 0


def test_the_default_takes_reasoning_that_costs_nothing_shown(traded):
    run = Run(traded)
    trajectories = scores_of(run)
    prefer = default_preference(Quantities(run, trajectories))
    assert prefer.startswith("reasoning s.t. refusal >= base - 0.")
    assert "general >= base - 0." in prefer
    found = recommendation_finding(run, trajectories, frontier_of(trajectories))
    assert (found.kind, found.verdict, found.step) == ("tradeoff", "take", 16)
    assert pick(run, prefer).step == 16  # what is printed can be typed
    assert found.estimate.lo > 0.3
    assert "step 16" in found.sentence
    assert "undominated" in found.sentence
    assert "another seed" in found.would_overturn
    assert found.evidence
    only = {d: t for d, t in trajectories.items() if t.group in ("id_reasoning", "ood_reasoning")}
    assert recommendation_finding(run, only).step == 64
    assert "Not kept in view, since not measured: refusal and general" in recommendation_finding(run, only).sentence
    assert recommendation_finding(run, {"facts": trajectories["facts"]}) is None


def test_where_nothing_is_gained_the_base_or_no_gain_is_said(tmp_path):
    flat = {d: (0.5, 0.5) for d in ("countdown", "path", "subset_sum", "calculation", "facts", "instructions")}
    run = Run(make_run(tmp_path / "flat", steps=(0, 8, 16), n=200, curves=flat | {"harmful": (0.97, 0.97)}))
    said = recommendation_finding(run, scores_of(run))
    assert "shown to be better" in said.sentence or "shown to reason better" in said.sentence


def test_the_margin_is_what_these_items_can_show():
    small, large = (parts([[0.6] * 6], n=n)[0] for n in (100, 1600))
    assert 2.5 < smallest_dip(small) / smallest_dip(large) < 5.5  # about the root of 16
    hits = 0
    for seed in range(60):
        m = smallest_dip(world("x", [0.6] * 6, 400, np.random.default_rng(seed)))
        fallen = world("x", [0.6, *[0.6] * 4, 0.6 - m], 400, np.random.default_rng(seed + 1000))
        half = (smallest_dip(fallen) / (1 + 1.28 / 2.6)) * 1.0
        hits += fallen.value[5] - fallen.value[0] < -half
    assert hits >= 45  # a dip of the margin is nearly always seen


def test_an_analysis_writes_the_trade_off_and_reads_it_back(analysed_run):
    path = analysed_run
    table = pd.read_parquet(path / "analysis" / "tradeoff.parquet")
    assert set(table["part"]) == {"id_reasoning", "ood_reasoning", "refusal", "helpful", "general"}
    assert {"p_undominated", "certainty", "not_separated_from"} <= set(table.columns)
    known = {f.id: f for f in analyze(path)}
    ids = list(known)
    assert ids.index("tradeoff:checkpoint") + 1 == ids.index("tradeoff:last")  # what to take, then at which price
    (path / "analysis" / "tradeoff.parquet").unlink()
    again = {f.id: f for f in analyze(path)}["tradeoff:checkpoint"]
    assert (path / "analysis" / "tradeoff.parquet").is_file()
    assert json.dumps(again.details, sort_keys=True) == json.dumps(known["tradeoff:checkpoint"].details, sort_keys=True)


def test_a_large_run_is_compared_in_seconds():
    import time

    rng = np.random.default_rng(0)
    domains = {"a": "id_reasoning", "b": "ood_reasoning", "harmful": "safety", "safe": "safety", "facts": "general"}
    items = tuple(map(str, range(200)))
    trajectories = {
        d: Trajectory("strict", d, g, np.arange(320), (rng.random((200, 320)) < 0.5).astype("f4"), items)
        for d, g in domains.items()
    }
    started = time.process_time()
    assert frontier_of(trajectories) is not None
    assert time.process_time() - started < 10
