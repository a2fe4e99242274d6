"""Each verdict is given to the curve it is meant for, at the promised error rates, and nothing crashes on the way."""

import math
from collections import Counter

import numpy as np
import pytest
from sftscope.dynamics import DataError, Estimate, Trajectory, judge
from sftscope.dynamics.trajectories.phases import first_recovery, still_moving
from sftscope.dynamics.trajectories.trajectory import from_aggregates
from synthetic import item_answers

STEPS = np.array([0, 1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256])
T = len(STEPS)


def points(*values: float) -> np.ndarray:
    return np.interp(np.linspace(0, 1, T), np.linspace(0, 1, len(values)), values)


def trajectory(matrix, steps=STEPS, clusters=None) -> Trajectory:
    ids = tuple(f"q{i}" for i in range(len(matrix)))
    return Trajectory("strict", "countdown", "id_reasoning", np.asarray(steps), np.asarray(matrix), ids, clusters)


def drawn(curve, n=200, seed=0, **kind) -> Trajectory:
    return trajectory(item_answers(curve, n, np.random.default_rng([seed, n]), **kind))


PLANTED = {
    "dips-and-recovers": points(0.6, 0.4, 0.25, 0.5, 0.8),
    "under-optimised": points(0.6, 0.4, 0.15, 0.3, 0.4),
    "degrades": points(0.6, 0.5, 0.4, 0.3, 0.3),
    "improves": points(0.3, 0.4, 0.5, 0.6, 0.6),
    "overfits": points(0.4, 0.6, 0.8, 0.6, 0.4),
}


@pytest.mark.parametrize("verdict", PLANTED)
def test_a_planted_curve_gets_its_verdict(verdict):
    found = Counter(judge(drawn(PLANTED[verdict], seed=seed)).verdict for seed in range(40))
    assert found[verdict] >= 36, found


def test_a_flat_noisy_curve_gets_no_story():
    found = Counter(judge(drawn(points(0.5, 0.5), seed=seed)).verdict for seed in range(200))
    stories = 200 - found["undecidable"] - found["flat"]
    assert stories / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200), found


def test_no_change_at_all_is_flat_once_the_items_can_show_it():
    same = np.repeat(np.arange(400) < 240, T).reshape(400, T).astype(float)
    assert judge(trajectory(same)).verdict == "flat"
    few = judge(trajectory(same[::10]))  # 40 items cannot exclude 3 points
    assert few.verdict == "undecidable"
    assert np.all(few.band.diff == 0)


def test_overfitting_comes_before_the_fall_below_base():
    phase = judge(drawn(points(0.5, 0.7, 0.8, 0.4, 0.2), n=300))
    assert phase.band.hi[-1] < 0
    assert phase.verdict == "overfits"
    assert phase.peak.lo > 0
    assert phase.peak_vs_last.lo > 0
    assert phase.peak_step == STEPS[np.argmax(phase.band.diff)]


def test_still_moving_turns_a_lasting_loss_into_under_optimised():
    fall = drawn(points(0.6, 0.5, 0.4, 0.3, 0.3))
    assert judge(fall).verdict == "degrades"
    assert judge(fall, moving=(True, True)).verdict == "under-optimised"
    assert judge(fall, moving=(True, False)).verdict == "degrades"
    assert judge(fall, moving=lambda: (True, True)).verdict == "under-optimised"

    def unasked():
        raise AssertionError("asked although it decides nothing")

    assert judge(drawn(PLANTED["improves"]), moving=unasked).verdict == "improves"


def test_depth_is_corrected_for_picking_the_lowest():
    """On a flat curve the lowest of 11 differences lies well below 0; the corrected one is nearer to the truth, 0."""
    naive, corrected, covered = [], [], []
    for seed in range(150):
        phase = judge(drawn(points(0.5, 0.5), n=200, seed=seed))
        naive.append(-phase.band.diff[1:].min())
        corrected.append(phase.depth.value)
        covered.append(phase.depth.lo <= 0 <= phase.depth.hi)
    assert np.mean(naive) > 0.03
    assert np.mean(corrected) < 0.7 * np.mean(naive)
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 150)


def test_a_real_depth_is_found_without_bias():
    phases = [judge(drawn(PLANTED["dips-and-recovers"], n=300, seed=seed)) for seed in range(60)]
    truth = 0.6 - PLANTED["dips-and-recovers"].min()
    depths = np.array([p.depth.value for p in phases])
    assert abs(depths.mean() - truth) < 3 * depths.std() / math.sqrt(60) + 0.01
    assert np.mean([p.depth.lo <= truth <= p.depth.hi for p in phases]) >= 0.9
    trough = STEPS[np.argmin(PLANTED["dips-and-recovers"])]
    assert np.mean([p.trough_interval[0] <= trough <= p.trough_interval[1] for p in phases]) >= 0.9
    assert all(p.trough_interval[0] <= p.trough_step <= p.trough_interval[1] for p in phases)


def test_recovery_is_dated_with_its_uncertainty():
    phase = judge(drawn(PLANTED["dips-and-recovers"], n=400))
    crossing = next(s for s, c in zip(STEPS, PLANTED["dips-and-recovers"], strict=True) if s > 32 and c >= 0.6)
    lo, hi = phase.recovery_interval
    assert lo <= crossing <= hi
    assert lo <= phase.recovery_step <= hi
    never = judge(drawn(PLANTED["under-optimised"], n=400))
    assert never.recovery_step is None
    assert never.recovery_interval == (None, None)
    assert judge(drawn(PLANTED["improves"], n=400)).recovery_interval is None  # nothing to recover from


def test_a_recovery_that_does_not_last_is_none():
    diff = np.array([0, -0.3, 0.0, -0.3, 0.02])
    hi = np.array([0, -0.1, 0.1, -0.1, 0.1])
    assert first_recovery(diff, hi, 1) == 4
    assert first_recovery(diff[:4], hi[:4], 1) is None


def test_a_dip_at_one_checkpoint_is_flagged():
    curve = points(0.6, 0.6)
    curve[5] = 0.2
    one = judge(drawn(curve, n=300))
    assert one.depth.lo > 0
    assert one.single_checkpoint_dip
    assert not judge(drawn(PLANTED["dips-and-recovers"], n=300)).single_checkpoint_dip


def test_verdicts_rest_on_questions_and_not_on_samples():
    x = item_answers(points(0.6, 0.5, 0.45, 0.5, 0.55), 40, np.random.default_rng(1))
    copies = trajectory(np.repeat(x, 8, axis=0), clusters=np.repeat([f"c{i}" for i in range(40)], 8))
    alone, repeated = judge(trajectory(x)), judge(copies)
    assert repeated.n == alone.n == 40
    assert repeated.verdict == alone.verdict
    assert repeated.margin == pytest.approx(alone.margin, rel=0.05)


@pytest.mark.parametrize(
    ("matrix", "steps", "reason"),
    [
        (np.ones((20, 1)), [0], "one checkpoint"),
        (np.ones((20, 3)), [5, 10, 20], "step 0"),
        (np.ones((1, 3)), [0, 1, 2], "1 item "),
        (np.full((20, 3), np.nan), [0, 1, 2], "0 items"),
    ],
)
def test_what_cannot_be_judged_says_why(matrix, steps, reason):
    phase = judge(trajectory(matrix, steps))
    assert phase.verdict == "undecidable"
    assert reason in phase.reason
    assert not phase.final.defined


def test_aggregates_alone_are_not_judged_yet():
    scores = [Estimate(0.5, 0.4, 0.6, 100, "wilson")] * 3
    phase = judge(from_aggregates([0, 1, 2], scores, metric="strict", domain="x", group="general"))
    assert phase.verdict == "undecidable"
    assert phase.base.value == 0.5


def test_a_base_with_nothing_to_lose_says_so():
    phase = judge(drawn(points(0.1, 0.1), n=30))
    assert phase.verdict == "undecidable"
    assert phase.margin > phase.base.value
    assert "no dip" in phase.reason


def test_steps_must_ascend():
    with pytest.raises(DataError, match="ascend"):
        trajectory(np.ones((4, 3)), [0, 2, 1])


def test_movement_at_the_end_is_told_from_rest():
    rng = np.random.default_rng(0)
    steps = np.arange(0, 300, 10)
    assert still_moving(steps, 100 - 0.2 * steps + rng.normal(size=30))[0]
    rest = [still_moving(steps, 50 + 50 * np.exp(-steps / 15) + rng.normal(size=30))[0] for _ in range(200)]
    assert np.mean(rest) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert still_moving([0, 1], [1.0, 2.0])[0] is False
    assert still_moving([], [])[0] is False
