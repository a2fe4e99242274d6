"""Which checkpoint to take: planted bests are found, selection is paid for, constraints hold, and what is missing is said."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from sftscope.dynamics import ConfigError, DataError, Estimate, Measurement, RecordError
from sftscope.dynamics.choice.pick import pick
from sftscope.dynamics.choice.pick_wording import pick_json, pick_lines
from sftscope.dynamics.choice.quantities import Quantities
from sftscope.dynamics.choice.selection import Limit, choose
from sftscope.dynamics.record import Run, create_run, write_measurements
from sftscope.dynamics.statistics import intervals
from sftscope.dynamics.statistics.joint import Blend, Curve, Draws, curve_of_estimates, curve_of_items
from synthetic import item_answers, make_run

STEPS = (0, 8, 16, 32, 64)


def curve(name: str, shares, n: int = 400, seed: int = 0, per_question: int = 1) -> Curve:
    matrix = item_answers(np.asarray(shares, float), n, np.random.default_rng(seed))
    return curve_of_items(name, np.arange(len(shares)), matrix, np.arange(n) // per_question)


def blend(*args, **how) -> Blend:
    made = curve(*args, **how)
    return Blend(made.name, (made,))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Refusal goes when out-of-domain reasoning is at its best."""
    curves = {
        "countdown": (0.3, 0.4, 0.6, 0.8, 0.8),
        "path": (0.3, 0.4, 0.6, 0.7, 0.9),
        "subset_sum": (0.3, 0.4, 0.6, 0.7, 0.9),
        "calculation": (0.3, 0.3, 0.6, 0.7, 0.9),
        "facts": (0.6, 0.6, 0.6, 0.6, 0.3),
        "instructions": (0.6, 0.6, 0.6, 0.6, 0.3),
        "harmful": (0.97, 0.97, 0.97, 0.75, 0.40),
    }
    return make_run(tmp_path_factory.mktemp("runs") / "traded", steps=STEPS, n=400, curves=curves)


@pytest.fixture(scope="module")
def known(run) -> Quantities:
    """Read once for all tests."""
    return Quantities.of(Run(run))


# ---------------------------------------------------------------- the statistics under it


def test_a_curve_has_the_errors_of_single_checkpoints():
    rng = np.random.default_rng(0)
    matrix = item_answers(np.array([0.4, 0.5, 0.6]), 90, rng)
    clusters = np.arange(90) // 3
    made = curve_of_items("x", np.arange(3), matrix, clusters)
    for t in range(3):
        totals, sizes = intervals.cluster_totals(matrix[:, [t]], clusters)
        variance = intervals.linearised_variance(totals[:, 0] - made.value[t] * sizes, sizes.sum())
        assert made.value[t] == pytest.approx(matrix[:, t].mean())
        assert made.se[t] == pytest.approx(np.sqrt(variance))
    paired = intervals.paired_difference(matrix[:, 2], matrix[:, 0], clusters)
    half = (paired.hi - paired.lo) / 2 / intervals.stdtrit(29, 0.975)
    assert Blend("x", (made,)).pair_se()[0, 2] == pytest.approx(half, rel=0.03)  # both with a pseudo-discordant unit


def test_wilson_bounds_of_independent_items_are_the_textbook_s():
    made = curve("x", (0.2, 0.9), n=80)
    lo, hi = made.bounds(intervals.Z)
    for t in range(2):
        assert (lo[t], hi[t]) == pytest.approx(intervals.wilson_bounds(made.value[t], 80), abs=2e-3)
    certain = curve_of_items("x", np.arange(1), np.ones((30, 1)), np.arange(30))
    assert certain.bounds(intervals.Z)[0][0] == pytest.approx(intervals.wilson_bounds(1.0, 30)[0])


def test_metrics_of_one_domain_move_together_and_domains_do_not():
    rng = np.random.default_rng(0)
    matrix = item_answers(np.array([0.5, 0.5]), 200, rng)
    a = curve_of_items("a.strict", np.arange(2), matrix, np.arange(200), domain="a")
    minus = curve_of_items("a.wrong", np.arange(2), 1 - matrix, np.arange(200), domain="a")
    b = curve_of_items("b", np.arange(2), matrix, np.arange(200), domain="b")
    blends = [Blend(c.name, (c,)) for c in (a, minus, b)]
    draws = Draws(blends)
    x, y, z = (draws.deviations(each)[:, 0] for each in blends)
    assert np.corrcoef(x, y)[0, 1] < -0.999
    assert abs(np.corrcoef(x, z)[0, 1]) < 0.1


# ---------------------------------------------------------------- choosing


def test_the_planted_best_is_chosen_and_selection_is_paid():
    chosen = choose(blend("x", (0.3, 0.3, 0.8, 0.3)))
    assert chosen.column == chosen.best == 2
    assert chosen.ties == (2,)
    assert chosen.overrated == pytest.approx(0, abs=1e-3)  # nothing else could have been picked
    equal = choose(blend("x", (0.5,) * 40, n=100))
    assert equal.overrated > 0.01
    assert len(equal.ties) > 30
    assert equal.estimate.lo < 0.5 < equal.estimate.hi


def test_the_naive_interval_of_the_best_of_many_misses_and_ours_holds():
    naive, ours = 0, 0
    for seed in range(80):
        x = blend("x", (0.5,) * 30, n=60, seed=seed)
        chosen = choose(x)
        lo, hi = x.bounds(intervals.Z)
        best = int(x.value.argmax())
        naive += not lo[best] <= 0.5 <= hi[best]
        ours += not chosen.estimate.lo <= 0.5 <= chosen.estimate.hi
    assert naive > 0.2 * 80
    assert ours <= 0.05 * 80 + 3


def test_the_earliest_within_one_standard_error_is_taken():
    rng = np.random.default_rng(1)
    late = item_answers(np.array([0.7]), 200, rng)
    early = late.copy()
    early[np.flatnonzero(late)[:1]] = 0.0  # one question less
    matrix = np.hstack([np.zeros((200, 1)), early, late])
    made = curve_of_items("x", np.arange(3), matrix, np.arange(200))
    chosen = choose(Blend("x", (made,)))
    assert (chosen.column, chosen.best) == (1, 2)


def test_least_is_best_where_it_is_asked_for():
    assert choose(blend("x", (0.8, 0.2, 0.8)), direction=-1).column == 1


def test_a_constraint_leaves_out_what_misses_it():
    goal, refusal = blend("goal", (0.3, 0.5, 0.9)), blend("refusal", (0.97, 0.97, 0.5), seed=1)
    assert choose(goal).column == 2
    chosen = choose(goal, [Limit(refusal, 1, 0.9)])
    assert chosen.column == 1
    assert list(chosen.feasible) == [True, True, False]
    nothing = choose(goal, [Limit(refusal, 1, 0.999, strict=True)])
    assert nothing.column is None
    assert nothing.shortfall.argmin() < 2


def test_sure_asks_for_the_bound():
    goal, refusal = blend("goal", (0.3, 0.9), n=100), blend("refusal", (0.99, 0.93), n=100, seed=1)
    assert choose(goal, [Limit(refusal, 1, 0.9)]).column == 1
    assert choose(goal, [Limit(refusal, 1, 0.9)], sure=True).column != 1


def test_the_base_is_as_good_as_itself_for_sure():
    limit = Limit(blend("general", (0.5, 0.5, 0.2)), 1, -0.02, base=0)
    chosen = choose(blend("goal", (0.3, 0.5, 0.9), seed=2), [limit], sure=True, base=0)
    assert chosen.sure[0]
    assert chosen.column == 0


# ---------------------------------------------------------------- of a run


def test_a_preference_trades_as_it_says(known):
    assert pick(known.run, "ood_reasoning", quantities=known).step == 64
    kept = pick(known.run, "ood_reasoning s.t. refusal >= 0.9", quantities=known)
    assert kept.step == 16
    assert kept.choice.gain.lo > 0.1
    assert pick(known.run, "ood_reasoning s.t. refusal >= 0.6, general >= base - 0.1", quantities=known).step == 32
    assert pick(known.run, "ood_reasoning s.t. harmful.strict >= 60%", quantities=known).step == 32
    assert pick(known.run, "min ood_reasoning s.t. refusal >= 0.9", quantities=known).choice.estimate.value < 0.45


def test_what_is_said_of_a_pick(run, tmp_path):
    folder = tmp_path / "step-000016"
    lines = pick_lines(pick(run, "ood_reasoning s.t. refusal >= 0.9", folders={16: folder}))
    assert lines[0] == str(folder)
    text = " ".join(lines[1:])
    assert "Step 16" in text
    assert "path, subset sum and calculation" in text or "calculation, path and subset sum" in text
    assert "its interval meets it too" in text
    gone = pick_lines(pick(run, "ood_reasoning s.t. refusal >= 0.9"))
    assert gone[0] == "step 16"
    assert "its folder is not there" in gone[-1]


def test_none_satisfies_is_an_answer_with_the_nearest_miss(known):
    none = pick(known.run, "ood_reasoning s.t. refusal >= 0.95 and countdown >= 0.75", quantities=known)
    assert none.step is None
    text = " ".join(pick_lines(none))
    assert text.startswith("none No checkpoint of 5 meets")
    assert "Nearest: step" in text
    assert "at best (step 32)" in text or "at best (step 64)" in text
    as_json = pick_json(none)
    assert as_json["step"] is None
    assert as_json["estimate"] is None
    assert as_json["nearest"]["missed"]


@pytest.mark.parametrize(
    ("prefer", "said"),
    [
        ("ood_reasonin", "did you mean 'ood_reasoning'"),
        ("path s.t. refusal >= 90", "write 0.9 or 90%"),
        ("path s.t. refusal >= base - 5", "shares differ by 1 at most"),
        ("path.tokens", "say `min path.tokens` or `max path.tokens`"),
        ("over_refusal", "say `min over_refusal`"),
        ("min path.tokns", "did you mean 'tokens'"),
        ("min path.finished_by", "several positions"),
        ("coloring", "this run measured no 'coloring'"),
    ],
)
def test_a_name_or_level_that_does_not_fit_the_run(known, prefer, said):
    with pytest.raises(ConfigError) as error:
        pick(known.run, prefer, quantities=known)
    assert said in str(error.value)
    assert "^" in str(error.value)


def test_metrics_of_items_and_measured_numbers_can_be_asked_for(known):
    shortest = pick(known.run, "min countdown.tokens s.t. countdown >= 0.5", quantities=known)
    assert shortest.step in (16, 32, 64)
    measured = pick(known.run, "path s.t. harmful.refusal_rate >= 0.9", quantities=known)
    assert measured.step == pick(known.run, "path s.t. refusal >= 0.9", quantities=known).step
    assert "unpaired" in measured.constraints[0][1].method


def aggregates(path, *, base: bool = True):
    """A run folder with scores and no items, as an import of a table makes one."""
    create_run(path, {"config_hash": "x"})
    for step, share in ((0, 0.4), (10, 0.7), (20, 0.9)) if base else ((10, 0.7), (20, 0.9)):
        scores = {"math": share, "refuse": 1 - share / 3}
        rows = [
            Measurement(step, "scores", "score_strict", intervals.proportion(round(300 * v), 300), "share", d)
            for d, v in scores.items()
        ]
        write_measurements(path, step, "scores", key=f"k{step}", settings="s", rows=rows)
    return path


def test_aggregates_alone_are_enough_and_taken_as_unpaired(tmp_path):
    run = aggregates(tmp_path / "scores")
    taken = pick(run, "math s.t. refuse >= 0.75")
    assert taken.step == 10
    assert "unpaired" in taken.choice.estimate.method
    assert taken.choice.estimate.lo < 0.7 < taken.choice.estimate.hi
    assert taken.choice.gain.lo > 0
    # unpaired differences are wider than paired ones of the same shares
    e = [intervals.proportion(150, 300), intervals.proportion(156, 300)]
    flat = curve_of_estimates("x", [0, 1], e, share=True)
    assert Blend("x", (flat,)).pair_se()[0, 1] == pytest.approx(np.sqrt(2 * 0.25 / 300), rel=0.02)


def test_a_missing_base_or_no_common_checkpoint_is_said(tmp_path):
    without = aggregates(tmp_path / "no base", base=False)
    with pytest.raises(ConfigError, match="step 0 was not measured"):
        pick(without, "math s.t. refuse >= base - 0.1")
    assert pick(without, "math").step == 20
    empty = tmp_path / "empty"
    create_run(empty, {"config_hash": "x"})
    with pytest.raises(RecordError, match="no scores to choose by"):
        pick(empty, "math")
    blank = Measurement(0, "scores", "score_strict", Estimate(0.4, np.nan, np.nan, 1, "t"), "share", "math")
    write_measurements(empty, 0, "scores", key="k", settings="s", rows=[blank])
    with pytest.raises(DataError, match="no checkpoint"):
        pick(empty, "math")


def test_checkpoints_without_all_that_is_named_are_left_out_and_said(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    for file in (copy / "measurements" / "step-000064").glob("refusal-*"):
        file.unlink()
    taken = pick(copy, "path s.t. harmful.refusal_rate >= 0.1")
    assert taken.left_out == (64,)
    assert taken.step == 32
    assert "Not considered" in " ".join(pick_lines(taken))
