"""Trajectories are paired by item, or say what differs."""

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import DataError, Measurement, RecordError, Run
from sftscope.dynamics.record import create_run, half_of, write_measurements
from sftscope.dynamics.statistics import intervals
from sftscope.dynamics.trajectories.trajectory import Trajectory, from_run
from synthetic import item_answers, make_run


def write_items(path, step, table: pd.DataFrame, key=""):
    row = Measurement(step, "scores", "score_strict", intervals.mean(table["value"]), "share", "path")
    items = table.assign(domain="path", group="ood_reasoning", metric=table.get("metric", "strict"))
    write_measurements(path, step, "scores", key=f"k{step}{key}", settings="s", rows=[row], items=items)


def frame(ids, values, clusters=None):
    return pd.DataFrame({"item": ids, "cluster": clusters if clusters is not None else ids, "value": values})


@pytest.fixture
def run_path(tmp_path):
    create_run(tmp_path / "r", {"config_hash": "x"})
    return tmp_path / "r"


def test_items_are_paired_across_checkpoints(finished_run):
    run = Run(finished_run)
    t = from_run(run, "countdown")
    assert t.matrix.shape == (400, len(t.steps))
    assert list(t.steps) == sorted(t.steps)
    table = run.items("countdown")
    row = t.items.index(table.index[17])
    np.testing.assert_array_equal(t.matrix[row], table.iloc[17][t.steps])
    assert t.axes.loc[0].tolist() == [0, 0, 0]
    assert t.axes["tokens"].is_monotonic_increasing
    np.testing.assert_allclose(t.series().to_numpy(), [e.value for e in t.estimates()])


def test_order_of_rows_does_not_matter(run_path):
    ids = [f"i{k}" for k in range(20)]
    values = np.arange(20) % 2
    write_items(run_path, 0, frame(ids, values))
    write_items(run_path, 4, frame(ids[::-1], values[::-1]))
    t = from_run(Run(run_path), "path")
    np.testing.assert_array_equal(t.matrix[:, 0], t.matrix[:, 1])


def test_an_item_missing_at_a_checkpoint_is_named(run_path):
    ids = [f"i{k}" for k in range(20)]
    write_items(run_path, 0, frame(ids, np.ones(20)))
    write_items(run_path, 4, frame([i for i in ids if i != "i7"], np.ones(19)))
    with pytest.raises(DataError, match=r"'path' differ.* 1 of 20 .*step 4 .*i7"):
        from_run(Run(run_path), "path")


def test_other_items_at_a_checkpoint_are_not_taken_for_the_same(run_path):
    write_items(run_path, 0, frame(["a", "b"], [1, 0]))
    write_items(run_path, 4, frame(["c", "d"], [1, 0]))
    with pytest.raises(DataError, match="2 of 4 are missing at step 0"):
        from_run(Run(run_path), "path")


def test_an_undefined_value_is_not_a_missing_item(run_path):
    ids = ["a", "b", "c"]
    for step, lengths in ((0, [3.0, np.nan, 5.0]), (4, [4.0, 6.0, 5.0])):
        both = pd.concat([frame(ids, [1, 0, 1]).assign(metric="strict"), frame(ids, lengths).assign(metric="thought")])
        write_items(run_path, step, both)
    t = from_run(Run(run_path), "path", "thought")
    assert np.isnan(t.matrix[:, 0]).sum() == 1
    assert t.estimates()[0].n == 2


def test_samples_of_a_question_share_a_cluster(run_path):
    ids = [f"q{q}/{s}" for q in range(30) for s in range(4)]
    questions = [f"q{q}" for q in range(30) for _ in range(4)]
    for step in (0, 4):
        write_items(run_path, step, frame(ids, np.arange(120) % 3 == 0, questions))
    t = from_run(Run(run_path), "path")
    assert (len(t.items), t.n, t.estimates()[0].n) == (120, 30, 30)
    a, b = t.half("A"), t.half("B")
    assert set(a.clusters).isdisjoint(b.clusters)
    assert len(a.items) + len(b.items) == 120
    assert all(half_of(c) == "A" for c in a.clusters)


def test_halves_are_fixed_disjoint_and_about_equal(finished_run):
    t = from_run(Run(finished_run), "countdown")
    a, b = t.half("A"), t.half("B")
    assert set(a.items) | set(b.items) == set(t.items)
    assert set(a.items).isdisjoint(b.items)
    assert 140 < len(a.items) < 260
    assert from_run(Run(finished_run), "countdown").half("A").items == a.items


def test_unknown_names_get_near_ones(finished_run):
    with pytest.raises(RecordError, match="'countdown'"):
        from_run(Run(finished_run), "countdwon")
    with pytest.raises(RecordError, match="'strict'"):
        from_run(Run(finished_run), "countdown", "strickt")


def test_shapes_must_agree():
    x = item_answers([0.5, 0.5], 10, np.random.default_rng(0))
    with pytest.raises(DataError, match="values for"):
        Trajectory("strict", "d", "general", np.array([0, 1, 2]), x, tuple("abcdefghij"))


def test_the_maker_writes_what_it_promises(tmp_path):
    run = Run(make_run(tmp_path / "small", n=12, steps=(0, 2, 4), layers=2))
    assert set(run.domains().values()) == {"id_reasoning", "ood_reasoning", "general", "safety"}
    assert run.measured_steps() == [0, 2, 4]
    assert list(run.samples("path", 2)["finish"].isin(["stop", "length"])) == [True] * 4
    factors = [run.series(m, domain="countdown")["value"] for m in ("finish_rate", "parse_rate", "accuracy_of_parsed")]
    strict = run.series("score_strict", domain="countdown")["value"]
    np.testing.assert_allclose(factors[0] * factors[1] * factors[2], strict)  # exactly
    assert len(run.series("refusal_cosine_to_base", layer=1)) == 3
