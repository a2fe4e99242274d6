"""Scores without their items: what eight looks at noise give, and what a score on so many items can show."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics.statistics.aggregates import (
    aggregate_band,
    aggregate_margin,
    difference,
    score_variance,
    share_of_items,
)
from sftscope.dynamics.trajectories.phases import POWER, judge
from sftscope.dynamics.trajectories.trajectory import from_aggregates
from sftscope.dynamics.types import Estimate

REFERENCE = Path(__file__).parent / "reference"


def trajectory(shares, items, steps=None):
    scores = [share_of_items(s, items) for s in shares]
    return from_aggregates(steps or range(len(scores)), scores, metric="strict", domain="d", group="general")


@pytest.fixture(scope="module")
def published():
    """Every benchmark of the published run on a 4 B model, judged."""
    table = pd.read_csv(REFERENCE / "qwen3_4b_math_cot.csv").set_index("step")
    items = pd.read_csv(REFERENCE / "items_per_benchmark.csv").set_index("benchmark")["items"]
    return {b: judge(trajectory(table[b] / 100, int(items[b]), list(table.index))) for b in table}


def dips(phase):
    return bool(np.any(phase.band.hi[1:] < 0))


def test_published_dips_beyond_what_eight_looks_at_noise_give(published):
    assert {b for b, phase in published.items() if dips(phase)} == {
        "MATH500",
        "LCB",
        "IFEval",
        "HaluEval",
        "TQA-helpful",
    }
    for benchmark in ("MATH500", "LCB", "IFEval", "TQA-helpful"):
        phase = published[benchmark]
        assert phase.verdict == "dips-and-recovers"
        assert phase.recovery_interval is not None
        assert phase.final.lo <= phase.final.value <= phase.final.hi


def test_thirty_items_decide_nothing_and_no_dip_is_made_of_a_rise(published):
    assert published["AIME24"].verdict == "undecidable"
    assert published["AIME24"].margin > published["AIME24"].base.value  # more than the base has to lose
    assert published["GPQA"].band.diff.min() >= 0
    assert published["MMLU-Pro"].verdict == "improves"


def scores_of(draws, base, truth, n, rng, correlation=0.0):
    """Aggregate scores [draws, T] at these true shares; items of a checkpoint are the same, as correlated as asked."""
    from scipy.special import ndtri

    truth = np.array([base, *truth])
    own = rng.standard_normal((draws, n, 1))
    latent = math.sqrt(correlation) * own + math.sqrt(1 - correlation) * rng.standard_normal((draws, n, len(truth)))
    return (latent < ndtri(truth)).mean(axis=1)


def dip_rate(scores, n):
    return np.mean([np.any(aggregate_band([share_of_items(s, n) for s in row]).hi[1:] < 0) for row in scores])


@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("base", [0.05, 0.5, 0.95])
def test_noise_makes_no_dips(base, n, correlation):
    rng = np.random.default_rng(0)
    assert dip_rate(scores_of(400, base, [base] * 8, n, rng, correlation), n) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_pointwise_intervals_would_find_dips_in_noise():
    scores = scores_of(400, 0.5, [0.5] * 8, 300, np.random.default_rng(1))
    pointwise = [
        [difference(share_of_items(s, 300), share_of_items(row[0], 300)).hi < 0 for s in row[1:]] for row in scores
    ]
    assert np.mean(np.any(pointwise, axis=1)) > 0.08


@pytest.mark.parametrize("n", [100, 1000])
def test_a_dip_as_deep_as_the_margin_is_seen(n):
    band = aggregate_band([share_of_items(0.5, n)] * 9)
    depth = aggregate_margin(share_of_items(0.5, n), band, POWER)
    scores = scores_of(400, 0.5, [0.5] * 3 + [0.5 - depth] + [0.5] * 4, n, np.random.default_rng(2))
    assert dip_rate(scores, n) >= 0.90 - 2.5 * math.sqrt(0.9 * 0.1 / 400)
    shallow = scores_of(400, 0.5, [0.5] * 3 + [0.5 - depth / 2] + [0.5] * 4, n, np.random.default_rng(3))
    assert dip_rate(shallow, n) < 0.75


def test_an_assumed_correlation_narrows_the_band_and_says_so():
    scores = [share_of_items(s, 200) for s in (0.5, 0.45, 0.6)]
    apart, together = aggregate_band(scores), aggregate_band(scores, correlation=0.5)
    assert np.all(together.se[1:] < apart.se[1:])
    assert "assumed" in together.method
    assert "assumed" not in apart.method


def test_a_score_of_nothing_is_not_known_without_error():
    assert score_variance(0.0, 30) > 0
    assert score_variance(0.5, 100) == pytest.approx(0.25 / 98)


def test_scores_without_items_get_no_verdict():
    why = "how many items stand behind its scores is not known"
    scores = [Estimate(s, math.nan, math.nan, 0, why) for s in (0.5, 0.2, 0.6)]
    phase = judge(from_aggregates([0, 1, 2], scores, metric="strict", domain="d", group="general"))
    assert (phase.verdict, phase.reason, phase.band) == ("undecidable", why, None)


def test_the_page_on_validity_says_what_the_analysis_says(published):
    page = (Path(__file__).parents[2] / "docs" / "validity.md").read_text()
    rows = [
        line.split("|")[1:-1] for line in page[page.index("<!-- published -->") :].splitlines() if line.startswith("| ")
    ]
    told = {cells[0].strip(): [c.strip() for c in cells[1:]] for cells in rows[1:] if "---" not in cells[0]}
    assert set(told) == set(published)
    for name, phase in published.items():
        low = list(phase.steps).index(phase.trough_step)
        band = phase.band
        lowest = (
            f"{100 * band.diff[low]:+.1f} [{100 * band.lo[low]:.1f}, {100 * band.hi[low]:.1f}] at {phase.trough_step}"
        )
        final = f"{100 * phase.final.value:+.1f} [{100 * phase.final.lo:.1f}, {100 * phase.final.hi:.1f}]"
        numbers = [f"{band.n:,}", f"{100 * phase.base.value:.1f}", lowest, f"{100 * phase.margin:.1f}", final]
        assert told[name] == [*numbers, phase.verdict]
