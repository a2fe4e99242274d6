"""Growth in length told apart: more steps, or more words a step. The parts add up, and a planted cause is the one found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics.procedure.decomposition import growth, length_growth
from sftscope.dynamics.record import Run, create_run, write_measurements
from sftscope.dynamics.types import Estimate, Measurement


def traces(rng, n=120, steps=6.0, per_step=8.0, silent=0.1):
    """Tokens and steps by item, NaN where a response has none."""
    s = 1.0 + rng.poisson(steps - 1, n)
    t = s * per_step * rng.lognormal(0, 0.1, n)
    without = rng.random(n) < silent
    return np.where(without, np.nan, t), np.where(without, np.nan, s)


@pytest.mark.parametrize(("cause", "other"), [("steps", "tokens_per_step"), ("tokens_per_step", "steps")])
def test_a_planted_cause_is_found_as_large_as_it_is_and_the_other_stays_null(cause, other):
    rng = np.random.default_rng(1)
    change = {"steps": 9.0} if cause == "steps" else {"per_step": 12.0}
    draws = [growth(*traces(rng), *traces(rng, **change)) for _ in range(300)]
    for found in draws[:20]:
        assert found.tokens.value == pytest.approx(found.steps.value + found.tokens_per_step.value, abs=1e-12)
    planted, null = ([getattr(d, part) for d in draws] for part in (cause, other))
    assert np.mean([e.lo > 0 for e in planted]) > 0.99
    for estimates, truth in ((planted, np.log(1.5)), (null, 0.0)):
        covered = np.mean([e.lo <= truth <= e.hi for e in estimates])
        assert 0.91 <= covered <= 0.985  # 95 %, within three standard errors of 300 draws


def test_what_cannot_be_compared_is_undefined():
    rng = np.random.default_rng(2)
    nothing = np.full(120, np.nan)
    assert not growth(nothing, nothing, *traces(rng)).tokens.defined
    clustered = growth(*traces(rng), *traces(rng), clusters=np.arange(120) // 4)
    assert clustered.tokens.n == 30


def test_a_run_is_decomposed_between_two_checkpoints(tmp_path):
    create_run(tmp_path, {"config_hash": "x"})
    rng = np.random.default_rng(3)
    at = {0: traces(rng), 8: traces(rng, steps=12)}
    for step, (tokens, steps) in at.items():
        items = pd.DataFrame(
            [
                {
                    "domain": "countdown",
                    "group": "id_reasoning",
                    "item": f"i{k}",
                    "cluster": f"i{k}",
                    "metric": m,
                    "value": v,
                }
                for m, column in (("trace_tokens", tokens), ("steps", steps))
                for k, v in enumerate(column)
            ]
        )
        row = Measurement(step, "verbosity", "loop_share", Estimate(0, 0, 0, 1, "t"), "share", "countdown")
        write_measurements(tmp_path, step, "verbosity", key=str(step), settings="s", rows=[row], items=items)
    found = length_growth(Run(tmp_path), "countdown", 0, 8)
    assert found.steps.value == pytest.approx(growth(*at[0], *at[8]).steps.value, abs=1e-6)
    assert found.steps.lo > 0.5
