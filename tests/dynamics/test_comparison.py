"""Runs compared: pairing and matching, bases and seeds, repetition, and error rates of all of it."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import ConfigError, DataError, RecordError
from sftscope.dynamics.calibrate.cells import LEVEL, holds, measure
from sftscope.dynamics.calibrate.studies.comparison import cells, seeded_arms, two_runs
from sftscope.dynamics.comparison.arms import read_arms
from sftscope.dynamics.comparison.bands import difference_band
from sftscope.dynamics.comparison.compare import compare
from sftscope.dynamics.comparison.matching import match_checkpoints
from sftscope.dynamics.comparison.repetition import repetition_table
from sftscope.dynamics.comparison.seeds import ONE_SEED, seed_test
from sftscope.dynamics.statistics.bands import simultaneous_band
from sftscope.dynamics.statistics.intervals import paired_difference
from synthetic import make_run

STEPS = (0, 2, 8, 32, 64)
HIGH, LOW = (0.4, 0.6, 0.8), (0.4, 0.45, 0.5)


def test_error_rates_of_every_comparison():
    """A slice of `python -m sftscope.dynamics.calibrate comparison`, which has 2,000 draws a cell."""
    chosen = [c for c in cells() if not c.power and "1000 items" not in c.name and "60 checkpoints" not in c.name]
    rates = measure(chosen, 60, seed=1)
    assert max(r.value for r in rates) <= LEVEL + 4.5 * math.sqrt(LEVEL * (1 - LEVEL) / 60)
    assert holds(rates)


def test_two_runs_of_one_curve_are_told_apart_by_intervals_of_each_checkpoint_and_not_by_the_band():
    naive = ours = 0
    for seed in range(150):
        a, b, _ = two_runs(np.random.default_rng(seed), np.full(15, 0.5), np.full(15, 0.5), n=60, ar=0.0)
        band = difference_band(a - b, seed=seed, n_resamples=300)
        ours += bool(np.any((band.lo > 0) | (band.hi < 0)))
        each = [paired_difference(x, y) for x, y in zip(a.T, b.T, strict=True)]
        naive += any(e.lo > 0 or e.hi < 0 for e in each)
    assert naive > 25
    assert ours <= 14


def test_the_large_band_is_that_of_statistics_against_a_column_of_zeros():
    a, b, _ = two_runs(np.random.default_rng(0), np.linspace(0.3, 0.6, 5), np.full(5, 0.3), n=300)
    ours = difference_band(a - b, seed=3)
    theirs = simultaneous_band(np.column_stack([np.zeros(300), a - b]), 0, seed=3)
    assert np.allclose(ours.lo, theirs.lo[1:])
    assert ours.lo[-1] > 0


def test_equal_answers_still_have_a_band():
    band = difference_band(np.zeros((40, 6)))
    assert np.all(band.diff == 0)
    assert np.all(band.lo < 0)
    assert np.all(band.hi > 0)


# ---------------------------------------------------------------- seeds


def test_items_alone_take_training_noise_for_an_effect():
    ours, naive = [], []
    for seed in range(200):
        a, b = seeded_arms(np.random.default_rng(seed), (3, 3), n=200, noise=(0.3, 0.3))
        e = seed_test(a, b).estimate
        n = paired_difference(a.mean(axis=0), b.mean(axis=0))
        ours.append(e.lo > 0 or e.hi < 0)
        naive.append(n.lo > 0 or n.hi < 0)
    assert np.mean(naive) > 0.4
    assert np.mean(ours) <= 0.08


def test_seeds_by_hand():
    a = np.repeat([[0.0], [1.0]], 50, axis=1)  # one run right on everything, one on nothing
    b = np.tile([0.0, 1.0], (2, 25))
    test = seed_test(a, b)
    assert test.these_items.value == 0
    assert test.spread_a == pytest.approx(math.sqrt(0.5))
    assert test.spread_b == 0
    assert test.these_items.hi == 1.0  # one degree of freedom and half a point of spread: everything is possible
    alone = seed_test(a[:1], b)
    assert math.isnan(alone.estimate.lo)


# ---------------------------------------------------------------- matching


def test_checkpoints_are_matched_once_to_the_nearest_within_the_caliper():
    steps_a, steps_b = np.array([0, 10, 20, 40]), np.array([0, 5, 10, 20])
    tokens_a, tokens_b = 100.0 * steps_a, 205.0 * steps_b
    m = match_checkpoints(steps_a, tokens_a, steps_b, tokens_b, "tokens")
    assert [(int(i), int(j)) for i, j in zip(m.columns_a, m.columns_b, strict=True)] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert m.gaps[1:] == pytest.approx(0.05 / 2.05)
    assert m.left_out == 0
    close = match_checkpoints(steps_a, tokens_a, steps_b, 100.0 * steps_b, "tokens")
    assert list(close.columns_a) == [0, 1, 2]
    assert close.left_out == 1


def test_matching_on_scores_does_not_depend_on_the_order_of_training():
    a, b = np.array([0.2, 0.5, 0.8]), np.array([0.2, 0.79, 0.52])
    m = match_checkpoints(np.array([0, 1, 2]), a, np.array([0, 1, 2]), b, "score")
    assert list(m.columns_b) == [0, 2, 1]
    assert m.gaps == pytest.approx([0, 0.02, 0.01])


def test_what_cannot_be_matched_is_an_error():
    steps = np.array([0, 1])
    with pytest.raises(DataError, match=r"the nearest two are 0\.5 apart, the caliper is 0\.03"):
        match_checkpoints(steps, np.array([0.1, 0.2]), steps, np.array([0.1, 0.7]), "score")
    with pytest.raises(DataError, match="has no tokens to match on"):
        match_checkpoints(steps, np.array([np.nan, np.nan]), steps, np.array([0.0, 1.0]), "tokens")
    with pytest.raises(ConfigError, match="cannot be matched on 'loss'"):
        match_checkpoints(steps, steps, steps, steps, "loss")


# ---------------------------------------------------------------- runs


def planted(path, seed, path_curve, **more):
    curves = {d: None for d in ("subset_sum", "calculation", "facts", "instructions", "harmful", "safe")}
    return make_run(path, seed=seed, steps=STEPS, n=150, curves=curves | {"path": path_curve}, layers=1, **more)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    here = tmp_path_factory.mktemp("two")
    return planted(here / "high", 0, HIGH), planted(here / "low", 1, LOW)


def edit_info(run, **changes):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | changes))


def test_a_planted_difference_is_found_relative_to_each_base(two):
    found = compare(two)
    path = next(p for p in found.pairs if p.domain == "path")
    assert not path.shared_base
    assert list(path.steps_a) == list(STEPS[1:])
    assert path.did is not None
    assert path.did.lo[-1] > 0
    assert path.did.lo[-1] < 0.3 < path.did.hi[-1]
    same = next(p for p in found.pairs if p.domain == "countdown")
    assert same.last.lo < 0 < same.last.hi
    sentence = next(f.sentence for f in found.findings if f.id == "comparison:high:low")
    assert "high gains more on path" in sentence
    assert "cannot be told apart on countdown" in sentence
    assert ONE_SEED in sentence
    gains = found.conditional.of("groups", ("base not recorded",), "ood_reasoning")
    assert gains.sort_values("rank")["condition"].iloc[0] == "high"
    assert any(f.kind == "association" for f in found.findings)
    assert len(found.tables()["associations"])
    assert all(f.kind in ("comparison", "association", "warning") and f.would_overturn for f in found.findings)


def test_a_shared_base_makes_both_differences_the_same(two, tmp_path):
    copy = shutil.copytree(two[0], tmp_path / "copy")
    found = compare([two[0], copy])
    path = next(p for p in found.pairs if p.domain == "path")
    assert path.shared_base
    assert np.array_equal(path.did.diff, path.level.diff)
    assert path.last.value == 0
    assert path.last.lo < 0 < path.last.hi


def test_the_difference_in_differences_takes_a_better_base_away(tmp_path):
    flat = planted(tmp_path / "better", 3, (0.7, 0.7, 0.7)), planted(tmp_path / "worse", 4, (0.4, 0.4, 0.4))
    path = next(p for p in compare(flat).pairs if p.domain == "path")
    assert path.level.lo[-1] > 0
    assert path.did.lo[-1] < 0 < path.did.hi[-1]
    assert path.base_difference.lo > 0


def test_runs_that_differ_in_the_seed_alone_are_one_arm(tmp_path):
    runs = []
    for name, curve, lr in (("high", HIGH, 1.0), ("low", LOW, 2.0)):
        for seed in (0, 1, 2):
            run = planted(tmp_path / f"{name}-s{seed}", 10 * int(lr) + seed, curve)
            edit_info(run, config={"seed": seed, "optim": {"lr": lr}}, base={"path": "tiny", "weights": "w"})
            runs.append(run)
    assert [(a.name, len(a.runs)) for a in read_arms(runs)] == [("high", 3), ("low", 3)]
    found = compare(runs)
    path = next(p for p in found.pairs if p.domain == "path")
    assert path.seeds is not None
    assert path.seeds.estimate.lo > 0
    assert np.all(path.spread_a > 0)
    assert found.conditional.families() == [("tiny",)]
    sentence = next(f.sentence for f in found.findings if f.id == "comparison:high:low")
    assert "between seeds" in sentence
    assert "over 3 and 3 seeds and items" in sentence
    named = compare({"x": runs[:2], "y": runs[3:]}, n_resamples=200)
    assert {(p.a, p.b) for p in named.pairs} == {("x", "y")}


def test_items_that_differ_are_said_and_none_shared_is_an_error(two, tmp_path):
    fewer = make_run(
        tmp_path / "fewer",
        seed=5,
        steps=STEPS,
        n=100,
        layers=1,
        curves={d: None for d in ("facts", "instructions", "harmful", "safe")},
    )
    found = compare([two[0], fewer])
    assert any("path: 100 of 150 items were asked of both" in n for n in found.notes)
    other = shutil.copytree(two[1], tmp_path / "other")
    for file in other.glob("items/*/*.parquet"):
        table = pd.read_parquet(file)
        table.assign(item="other-" + table["item"]).to_parquet(file, index=False)
    with pytest.raises(DataError, match="asked different items of 'path'"):
        compare([two[0], other])


def test_matching_on_tokens_and_on_the_in_domain_score(two, tmp_path):
    by_tokens = compare(two, match="tokens")
    assert all(np.all(p.gaps == 0) for p in by_tokens.pairs)  # both see 2,000 tokens a step
    by_score = compare(two, match="score")
    assert {p.domain for p in by_score.pairs} == {"path"}
    assert all(np.all(p.gaps <= 0.03) for p in by_score.pairs)


def test_what_cannot_be_compared_says_so(two, tmp_path):
    with pytest.raises(ConfigError, match="needs two runs or more, and 1 was given"):
        compare(two[:1])
    with pytest.raises(ConfigError, match="given twice"):
        compare([two[0], two[0]])
    with pytest.raises(RecordError, match="no run at"):
        compare([two[0], tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="cannot be matched on 'loss'"):
        compare(two, match="loss")


def test_what_is_written_can_be_read_back(two, tmp_path):
    found = compare(two)
    written = found.write(tmp_path / "out")
    record = json.loads(written[0].read_text())
    assert [f["id"] for f in record["findings"]] == [f.id for f in found.findings]
    for name, table in found.tables().items():
        assert len(pd.read_parquet(tmp_path / "out" / f"{name}.parquet")) == len(table)
        assert len(pd.read_csv(tmp_path / "out" / f"{name}.csv")) == len(table)


# ---------------------------------------------------------------- repetition

SETTINGS = pd.DataFrame(
    [
        ("S1", 20480, 256, 8, 55.1, 63.3, 74.4),
        ("S2", 2560, 32, 8, 51.7, 59.9, 73.6),
        ("S3", 20480, 32, 1, 45.4, 46.8, 70.5),
    ],
    columns=["setting", "rows", "batch", "epochs", "LCB", "GPQA", "MMLU-Pro"],
)
OOD = pd.DataFrame(
    [("LCB", "ood_reasoning", 511), ("GPQA", "ood_reasoning", 198), ("MMLU-Pro", "ood_reasoning", 1000)],
    columns=["benchmark", "group", "items"],
)


def test_repetition_beats_coverage_at_equal_updates_in_the_published_table():
    table = repetition_table(SETTINGS, OOD)
    assert set(table.settings["updates"]) == {640}
    rows = table.pairs[table.pairs["sampling"] == table.deciding].set_index(["repeated", "covered"])
    clean = rows.loc[("S2", "S3")]
    assert clean["same_batch"]
    assert clean["difference"] == pytest.approx((6.3 + 13.1 + 3.1) / 3)
    assert clean["separated"]
    assert not rows.loc[("S2", "S1"), "separated"]


def test_settings_of_other_updates_are_not_compared():
    longer = SETTINGS.assign(epochs=[8, 8, 4])
    table = repetition_table(longer, OOD)
    assert set(table.pairs["repeated"]) | set(table.pairs["covered"]) == {"S1", "S2"}
    assert any("S3: no other setting has 2,560 updates" in n for n in table.notes)
    with pytest.raises(DataError, match="no two settings have equal updates"):
        repetition_table(SETTINGS.assign(epochs=[8, 4, 4]), OOD)
    with pytest.raises(DataError, match="`rows` of S1 is no number above 0"):
        repetition_table(SETTINGS.assign(rows=[0, 1, 2]), OOD)


def test_repetition_is_read_from_the_runs_records(tmp_path):
    runs = []
    for name, curve, rows, epochs in (("many-epochs", HIGH, 256, 8.0), ("many-rows", LOW, 2048, 1.0)):
        run = planted(tmp_path / name, len(runs), curve)
        config = {"seed": 0, "batch": {"size": 32}, "data": {"rows": rows}}
        edit_info(run, config=config, base={"path": "tiny", "weights": "w"}, plan={"rows": rows})
        lines = [json.loads(x) for x in (run / "steps.jsonl").read_text().splitlines()]
        lines = [x | {"epoch": epochs * x["step"] / 64} for x in lines]
        (run / "steps.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        runs.append(run)
    found = compare(runs)
    assert found.repetition is not None
    assert set(found.repetition.settings["updates"]) == {64}
    sentence = next(f.sentence for f in found.findings if f.id.startswith("comparison:repetition"))
    assert "8 epochs on 256 rows (many-epochs) against 1 epoch on 2,048 rows (many-rows)" in sentence
    assert "Separated on out-of-domain reasoning" in sentence
