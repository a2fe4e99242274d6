"""More backtracks in longer responses are no change; more of them per token outside backtracks are."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, stdtrit
from sftscope.dynamics import DataError, Estimate, Measurement, Run
from sftscope.dynamics.calibrate.cells import LEVEL, Cell, Rate, holds, measure
from sftscope.dynamics.calibrate.studies.beyond_length import cells, ratio_rejects, searches
from sftscope.dynamics.procedure.beyond_length import (
    beyond_length_table,
    change_beyond_length,
    log_rate_ratio,
    log_rate_ratios,
)
from sftscope.dynamics.record import create_run, write_measurements


def test_lengths_that_surge_or_contract_are_rarely_a_change():
    """A slice of `python -m sftscope.dynamics.calibrate beyond_length`, which has all cells at 2,000 draws."""
    chosen = [c for c in cells() if not c.power and "lengths stay" not in c.name and "100" not in c.name]
    draws = 300
    rates = measure(chosen, draws, seed=1)
    assert len(rates) == 20
    assert max(r.value for r in rates) <= LEVEL + 3.5 * math.sqrt(LEVEL * (1 - LEVEL) / draws)
    assert sum(r.hits for r in rates) / sum(r.of for r in rates) <= 0.055


def test_counts_per_response_and_the_usual_errors_would_fail_that():
    before, after, *_ = searches(300, np.random.default_rng(2), n=100, growth=3.0)
    d = after - before
    assert np.mean(d.mean(1) > 2 * d.std(1, ddof=1) / 10) > 0.9  # longer responses hold more of everything
    before, after, l0, l1, _ = searches(300, np.random.default_rng(2), n=100, growth=3.0, noise="bursty")
    value = log_rate_ratios(before, after, l0, l1)[0]
    p = expit(np.log(l1 / l0) + value[:, None])
    information = np.sum((before + after) * p * (1 - p), axis=1)
    assert np.mean(np.abs(value) * np.sqrt(information) > 1.96) > 0.25  # as if one backtrack did not bring the next
    before, after, l0, l1, _ = searches(1000, np.random.default_rng(3), n=40, growth=3.0, noise="bursty")
    value, lo, hi, n = log_rate_ratios(before, after, l0, l1)
    p = expit(np.log(l1 / l0) + value[:, None])
    u, information = after * (1 - p) - before * p, np.sum((before + after) * p * (1 - p), axis=1)
    clustered = np.sqrt(n / (n - 1) * np.sum(u * u, axis=1)) / information
    assert np.mean(np.abs(value) > stdtrit(n - 1, 0.975) * clustered) > 0.075  # the sandwich at the estimate, not at 0
    assert np.mean((lo > 0) | (hi < 0)) < 0.06


@pytest.mark.parametrize(("n", "noise", "power"), [(40, "poisson", 0.9), (100, "bursty", 0.4), (200, "bursty", 0.75)])
def test_a_rate_that_doubles_is_seen(n, noise, power):
    world = {"n": n, "growth": 3.0, "noise": noise, "log_ratio": math.log(2)}
    assert np.nanmean(ratio_rejects(300, np.random.default_rng(3), **world)) > power
    *data, _ = searches(300, np.random.default_rng(4), **world)
    assert np.median(log_rate_ratios(*data)[0]) == pytest.approx(math.log(2), abs=0.08)


def test_the_estimate_is_the_conditional_poisson_one():
    from statsmodels.api import GLM, families
    from statsmodels.discrete.conditional_models import ConditionalPoisson

    before, after, l0, l1, _ = (x[0] if x.ndim == 2 else x for x in searches(1, np.random.default_rng(5), n=30))
    y, x, item = np.concatenate([before, after]), np.repeat([0.0, 1.0], 30), np.tile(np.arange(30), 2)
    offset = np.log(np.concatenate([l0, l1]))
    ours = log_rate_ratio(before, after, l0, l1)
    some = np.isin(item, np.flatnonzero(before + after))
    dummies = pd.get_dummies(item[some]).to_numpy(float)
    glm = GLM(y[some], np.column_stack([x[some], dummies]), family=families.Poisson(), offset=offset[some]).fit()
    assert ours.value == pytest.approx(glm.params[0], abs=1e-6)
    assert ours.n == np.sum(before + after > 0)
    assert ours.lo < ours.value < ours.hi
    # statsmodels leaves out items with as many before as after, which tell a lot where lengths differ
    unequal = np.isin(item, np.flatnonzero(before != after))
    theirs = ConditionalPoisson(y[unequal], x[unequal, None], groups=item[unequal], offset=offset[unequal]).fit()
    k = before != after
    assert log_rate_ratio(before[k], after[k], l0[k], l1[k]).value == pytest.approx(theirs.params[0], abs=1e-4)


def test_none_before_is_an_infinite_ratio_with_a_bound():
    """The usual base answers at once: what its few tokens would have held at that rate is what is known."""
    after, l1 = np.tile([2.0, 3.0, 4.0], 20), np.full(60, 50.0)
    short, long = (log_rate_ratio(np.zeros(60), after, np.full(60, tokens), l1) for tokens in (10.0, 50.0))
    assert short.value == short.hi == long.value == math.inf
    assert long.lo - short.lo == pytest.approx(math.log(5), abs=1e-3)
    rate_after = after.sum() / l1.sum()
    expected_before = rate_after * 60 * 50.0 / math.exp(long.lo)
    assert 3 < expected_before < 5  # of which to see none has a probability of 1 to 5 %
    back = log_rate_ratio(after, np.zeros(60), l1, np.full(60, 50.0))
    assert (back.value, back.lo) == (-math.inf, -math.inf)
    assert back.hi == pytest.approx(-long.lo, abs=1e-6)
    neither = log_rate_ratio(np.zeros(9), np.zeros(9), np.ones(9), np.ones(9))
    assert (neither.defined, neither.n) == (False, 0)


def test_one_looping_response_decides_nothing():
    rng = np.random.default_rng(6)
    before, after = rng.poisson(0.3, 40).astype(float), rng.poisson(0.3, 40).astype(float)
    after[7] = 200
    e = log_rate_ratio(before, after, np.full(40, 50.0), np.full(40, 50.0))
    assert e.value > 1.5
    assert e.lo < 0


def test_items_of_one_cluster_count_once():
    *data, _ = searches(1, np.random.default_rng(7), n=80, noise="bursty")
    data = [x[0] for x in data]
    once = log_rate_ratio(*data, clusters=np.arange(80))
    copies = log_rate_ratio(*(np.repeat(x, 5) for x in data), clusters=np.repeat(np.arange(80), 5))
    assert copies == once
    naive = log_rate_ratio(*(np.repeat(x, 5) for x in data))
    assert naive.hi - naive.lo < 0.6 * (once.hi - once.lo)


def test_gaps_are_left_out_and_nonsense_is_refused():
    *data, _ = searches(1, np.random.default_rng(8), n=50)
    b, a, l0, l1 = (x[0] for x in data)
    gap = a.copy()
    gap[:10] = np.nan
    assert log_rate_ratio(b, gap, l0, l1) == log_rate_ratio(b[10:], a[10:], l0[10:], l1[10:])
    unwritten = np.where(np.arange(50) < 5, 0.0, 1.0)  # nothing was written, so nothing can be said
    assert log_rate_ratio(b * unwritten, a, l0 * unwritten, l1).n <= log_rate_ratio(b[5:], a[5:], l0[5:], l1[5:]).n
    with pytest.raises(DataError, match="have events and no length"):
        log_rate_ratio(np.ones(3), np.ones(3), np.zeros(3), np.ones(3))
    with pytest.raises(DataError, match="negative"):
        log_rate_ratio(-b, a, l0, l1)
    with pytest.raises(DataError, match="one cluster, an item"):
        log_rate_ratio(b, a, l0, l1[:3])


def test_a_run_gives_every_checkpoint_against_the_first(tmp_path):
    create_run(tmp_path / "r", {"config_hash": "x"})
    rng = np.random.default_rng(9)
    ids, rate = [f"i{k}" for k in range(60)], rng.gamma(1.0, 0.04, 60)
    length = {0: rng.uniform(20, 60, 60), 8: rng.uniform(100, 200, 60), 64: rng.uniform(50, 90, 60)}
    counts = {s: rng.poisson(rate * x * (4 if s == 64 else 1)).astype(float) for s, x in length.items()}
    for step in length:
        tables = []
        for domain, metrics in {
            "path": {"backtracks": counts[step], "tokens_outside_backtracks": length[step]},
            "facts": {"strict": np.ones(60)},
        }.items():
            for metric, values in metrics.items():
                table = pd.DataFrame({"item": ids, "cluster": ids, "metric": metric, "value": values})
                tables.append(table.assign(domain=domain, group="ood_reasoning"))
        row = Measurement(step, "p", "m", Estimate(0, 0, 0, 1, "t"), "share")
        write_measurements(tmp_path / "r", step, "p", key=f"k{step}", settings="s", rows=[row], items=pd.concat(tables))
    run = Run(tmp_path / "r")
    found = change_beyond_length(run, "path")
    assert list(found) == [8, 64]
    direct = log_rate_ratio(counts[0], counts[64], length[0].astype("float32"), length[64].astype("float32"))
    assert (found[64].value, found[64].lo) == pytest.approx((direct.value, direct.lo))
    assert found[8].lo < 0 < found[8].hi
    assert found[64].lo > 0.5
    table = beyond_length_table(run)
    assert table[["domain", "step"]].to_numpy().tolist() == [["path", 8], ["path", 64]]
    assert table["value"].tolist() == [e.value for e in found.values()]


def test_the_rule_of_the_calibration_can_be_broken():
    def rates(*hits: int) -> list[Rate]:
        return [Rate(Cell("", ratio_rejects), k, 2000, 2000) for k in hits]

    assert holds(rates(100, 108, 95))
    assert not holds(rates(100, 160, 60))  # one cell at 8 %
    assert not holds(rates(*[115] * 10))  # all at 5.75 %
