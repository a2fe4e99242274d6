"""Alerts speak of planted collapses, and are quiet where nothing happened or nothing is known."""

import math

import numpy as np
import pytest
from sftscope.dynamics.alerts import (
    FINISH_MARGIN,
    finish_rate_collapsed,
    length_surging,
    loss_not_finite,
    refusal_collapsed,
)
from sftscope.dynamics.errors import DataError


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def flips(n, share):
    """0/1 by item: `share` of them 1."""
    return (np.arange(n) < round(share * n)).astype(float)


RATES = {
    "finish-rate-collapsed": lambda base, now: finish_rate_collapsed(64, base, now, "subset_sum"),
    "refusal-collapsed": lambda base, now: refusal_collapsed(64, base, now),
}


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_critical(loss):
    alert = loss_not_finite(12, loss)
    assert (alert.kind, alert.step, alert.severity) == ("loss-not-finite", 12, "critical")
    assert "step 12" in alert.sentence
    assert alert.evidence["loss"] is loss


@pytest.mark.parametrize("loss", [0.0, -0.1, 1e30])
def test_a_loss_that_is_a_number_is_none(loss):
    assert loss_not_finite(12, loss) is None


@pytest.mark.parametrize("kind", RATES)
def test_a_collapsed_rate_is_told_with_its_numbers(kind):
    alert = RATES[kind](flips(200, 0.95), flips(200, 0.4))
    assert alert.kind == kind
    for part in ("step 64", "40 %", "95 %", "-0.55"):
        assert part in alert.sentence
    change = next(v for k, v in alert.evidence.items() if k.endswith("_change"))
    assert change == pytest.approx(-0.55)
    assert all(math.isfinite(v) for v in alert.evidence.values())


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize(
    ("base", "now"),
    [
        (flips(200, 0.9), flips(200, 0.9)),
        (flips(200, 0.4), flips(200, 0.95)),  # a rise
        (flips(200, 0.9), flips(200, 0.84)),  # within the margin
        (flips(200, 0.08), flips(200, 0.0)),  # nothing there to lose
        (flips(6, 0.9), flips(6, 0.5)),  # too few to know
        (flips(1, 1), flips(1, 0)),
        (flips(0, 0), flips(0, 0)),
        (np.full(50, np.nan), flips(50, 0.0)),
    ],
)
def test_a_rate_that_did_not_collapse_or_is_not_known_is_none(kind, base, now):
    assert RATES[kind](base, now) is None


@pytest.mark.parametrize("kind", RATES)
def test_items_that_were_not_measured_do_not_count(kind):
    base, now = flips(200, 0.95), flips(200, 0.4)
    now[::4] = np.nan
    alert = RATES[kind](base, now)
    assert next(v for k, v in alert.evidence.items() if k.endswith("_items")) == 150


@pytest.mark.parametrize("kind", RATES)
def test_over_many_checkpoints_of_an_unchanged_model_all_is_quiet(kind, rng):
    """20 checkpoints of 200 runs: sampled answers of one and the same model."""
    told = sum(
        RATES[kind](rng.random(100) < 0.8, rng.random(100) < 0.8) is not None for _ in range(20) for _ in range(200)
    )
    assert told <= 4  # of 4,000


def test_the_margin_is_what_it_says(rng):
    """With so many items that chance is small: a drop somewhat above the margin is told, one somewhat below is not."""
    base = flips(20_000, 1.0)
    for drop, told in ((FINISH_MARGIN + 0.02, True), (FINISH_MARGIN - 0.02, False)):
        now = (rng.random(20_000) >= drop).astype(float)
        assert (finish_rate_collapsed(1, base, now, "path") is not None) == told


def test_length_is_an_alarm_only_together_with_a_fall(rng):
    n = 300
    noise = rng.permutation(np.linspace(-20, 20, n))
    short, long = 80 + noise, 160 + 2 * noise
    good, bad = flips(n, 0.7), flips(n, 0.5)
    alert = length_surging(32, short, long, good, bad, "path")
    assert alert.kind == "length-surging"
    assert alert.evidence["length_factor"] == pytest.approx(2, abs=0.1)
    for part in ("step 32", "160 tokens", "80", "0.70", "0.50"):
        assert part in alert.sentence
    assert length_surging(32, short, long, good, good, "path") is None  # longer and as good: what traces are for
    assert length_surging(32, short, short + 5, good, bad, "path") is None  # worse without a surge: a phase
    assert length_surging(32, long, short, good, bad, "path") is None
    assert length_surging(32, short, long, bad, good, "path") is None
    assert length_surging(32, short[:1], long[:1], good[:1], bad[:1], "path") is None
    assert length_surging(32, np.full(n, np.nan), long, good, bad, "path") is None


def test_a_base_that_wrote_nothing_has_no_factor(rng):
    alert = length_surging(1, np.zeros(100), rng.normal(50, 5, 100), flips(100, 0.8), flips(100, 0.2), "path")
    assert alert.evidence["length_factor"] == math.inf


@pytest.mark.parametrize("kind", RATES)
def test_other_items_are_a_mistake(kind):
    with pytest.raises(DataError, match="same items"):
        RATES[kind](flips(10, 0.5), flips(9, 0.5))
