import math
from itertools import pairwise

import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.train.schedule import (
    CheckpointsConfig,
    ScheduleConfig,
    checkpoint_steps,
    lr_at,
    total_steps,
    warmup_steps,
)


def test_warmup_is_linear_to_the_peak_and_the_cosine_falls_to_its_share():
    config = ScheduleConfig(steps=100, warmup_share=0.1, final_lr_share=0.2)
    rates = [lr_at(k, 100, config, peak=2.0) for k in range(1, 101)]
    assert rates[:10] == pytest.approx([2.0 * k / 10 for k in range(1, 11)])
    assert rates[9] == max(rates) == 2.0
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert 0.4 < rates[-1] < 0.402
    middle = 10 + 91 / 2  # halfway down, the cosine is at the mean of both ends
    assert rates[int(middle) - 1] > 2.0 * (1 + 0.2) / 2 > rates[int(middle)]


def test_no_update_is_spent_on_a_rate_of_zero():
    config = ScheduleConfig(steps=10)
    assert min(lr_at(k, 10, config) for k in range(1, 11)) > 0


@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_short_runs_have_finite_rates(total):
    for config in (ScheduleConfig(steps=total), ScheduleConfig(steps=total, warmup_steps=total)):
        rates = [lr_at(k, total, config) for k in range(1, total + 1)]
        assert all(0 < r <= 1 and math.isfinite(r) for r in rates)


def test_constant_stays_at_the_peak_after_the_warmup():
    config = ScheduleConfig(steps=20, kind="constant", warmup_steps=4)
    assert [lr_at(k, 20, config) for k in range(4, 21)] == [1.0] * 17
    no_warmup = ScheduleConfig(steps=20, kind="constant", warmup_steps=0)
    assert lr_at(1, 20, no_warmup) == 1.0


def test_warmup_in_steps_overrides_its_share():
    assert warmup_steps(200, ScheduleConfig(epochs=1, warmup_steps=7)) == 7
    assert warmup_steps(200, ScheduleConfig(epochs=1, warmup_share=0.05)) == 10
    assert warmup_steps(30, ScheduleConfig(epochs=1, warmup_share=0.1)) == 3  # not 4, by a rounding error


def test_epochs_become_whole_steps():
    assert total_steps(10, ScheduleConfig(epochs=3)) == 30
    assert total_steps(10, ScheduleConfig(epochs=0.25)) == 3
    assert total_steps(10, ScheduleConfig(epochs=0.3)) == 3
    assert total_steps(10, ScheduleConfig(steps=7)) == 7


def test_checkpoint_choices_add_up_in_order():
    assert checkpoint_steps(20, CheckpointsConfig()) == [0, 20]
    assert checkpoint_steps(20, CheckpointsConfig(first=False, last=False)) == []
    assert checkpoint_steps(20, CheckpointsConfig(log2=True)) == [0, 1, 2, 4, 8, 16, 20]
    assert checkpoint_steps(16, CheckpointsConfig(log2=True, first=False)) == [1, 2, 4, 8, 16]
    assert checkpoint_steps(20, CheckpointsConfig(every=5, at=(3, 5, 0), first=False)) == [0, 3, 5, 10, 15, 20]


def test_a_checkpoint_beyond_the_end_is_an_error_with_the_value():
    with pytest.raises(ConfigError, match=r"checkpoints\.at.* 21 .*20 steps"):
        checkpoint_steps(20, CheckpointsConfig(at=(3, 21)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "exactly one"),
        ({"epochs": 1.0, "steps": 5}, "exactly one"),
        ({"steps": 0}, "above 0"),
        ({"epochs": -1.0}, "above 0"),
        ({"epochs": math.nan}, "above 0"),
        ({"steps": 5, "warmup_share": 1.5}, "1.5"),
        ({"steps": 5, "warmup_steps": 6}, "never be reached"),
        ({"steps": 5, "final_lr_share": 2.0}, "2.0"),
    ],
)
def test_mistakes_in_the_schedule(settings, words):
    with pytest.raises(ConfigError, match=words):
        ScheduleConfig(**settings)


@pytest.mark.parametrize("settings", [{"every": 0}, {"resume_every": -1}, {"at": (-2,)}])
def test_mistakes_in_the_checkpoints(settings):
    with pytest.raises(ConfigError, match=r"checkpoints\."):
        CheckpointsConfig(**settings)
