"""A metric that leads the score is found on runs that were not used to fit it; one that repeats, trends or wanders is not."""

import math

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import ConfigError, DataError, Run
from sftscope.dynamics.calibrate.studies.early_warning import skill_is_claimed, world
from sftscope.dynamics.prediction.early_warning import early_warning
from sftscope.dynamics.prediction.held_out import PENALTY, losses, p_values
from sftscope.dynamics.prediction.of_runs import early_warning_findings, warning_finding, warning_table
from synthetic import make_run


def as_table(score, baselines, metric, first=0):
    runs, checkpoints = score.shape
    index = pd.MultiIndex.from_product([[f"r{first + i}" for i in range(runs)], range(0, 10 * checkpoints, 10)])
    table = pd.DataFrame(
        {"ood": score.ravel(), "loss": baselines[..., 0].ravel(), "tokens": baselines[..., 1].ravel()}, index
    )
    return table.assign(metric=metric.ravel()).rename_axis(["run", "step"]).reset_index()


def drawn(kind, runs=8, checkpoints=24, seed=0):
    score, baselines, metric = world(np.random.default_rng(seed), 1, kind, runs, checkpoints)
    return as_table(score[0], baselines[0], metric[0])


def judged(table, metrics=("metric",), baselines=("loss", "tokens"), **kind):
    return early_warning(table, target="ood", metrics=metrics, baselines=baselines, **kind)


def test_the_forecasts_are_those_of_a_standardised_ridge_from_scikit_learn():
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    score, baselines, metric = (x[0] for x in world(np.random.default_rng(1), 1, "leads by two", 6, 12))
    change, base = score[:, 2:] - score[:, :-2], baselines[:, :-2]
    mine = losses(change, base, metric[:, :-2], np.arange(6))
    for r in range(6):
        others = np.arange(6) != r
        x = np.concatenate([base, metric[:, :-2, None]], axis=-1)
        dx, mean = x - x[others].mean(axis=0), change[others].mean(axis=0)
        rows = others.sum() * change.shape[1]
        model = make_pipeline(StandardScaler(), Ridge(PENALTY * rows, fit_intercept=False))
        model.fit(dx[others].reshape(rows, -1), (change[others] - mean).ravel())
        forecast = mean + model.predict(dx[r])
        assert mine.full[r] == pytest.approx(np.mean((change[r] - forecast) ** 2))
        assert mine.rivals[1, r] == pytest.approx(np.mean(change[r] ** 2))
        assert mine.rivals[2, r] == pytest.approx(np.mean((change[r] - mean) ** 2))


def test_the_run_that_is_forecast_has_no_part_in_its_forecast():
    score, baselines, metric = (x[0] for x in world(np.random.default_rng(2), 1, "leads by two", 6, 12))
    change = score[:, 1:] - score[:, :-1]
    before = losses(change, baselines[:, :-1], metric[:, :-1], np.arange(6))
    shifted = change.copy()
    shifted[0] += 5.0  # its own outcomes: its forecasts stay, and so its errors follow from the shift alone
    after = losses(shifted, baselines[:, :-1], metric[:, :-1], np.arange(6))
    assert after.rivals[1, 0] == pytest.approx(np.mean(shifted[0] ** 2))
    mean = change[1:].mean(axis=0)
    assert after.rivals[2, 0] == pytest.approx(np.mean((shifted[0] - mean) ** 2))
    assert before.rivals[2, 0] == pytest.approx(np.mean((change[0] - mean) ** 2))


def test_a_metric_that_leads_is_found_and_what_repeats_or_trends_is_not():
    rate = {
        kind: skill_is_claimed(200, np.random.default_rng(3), kind=kind, runs=8, checkpoints=24).mean()
        for kind in ("leads by two", "repeats the loss", "unrelated, trending", "shared trend", "random walk")
    }
    assert rate.pop("leads by two") > 0.9
    assert max(rate.values()) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200), rate


def test_in_sample_correlation_would_believe_what_trends():
    """The nulls have teeth: a metric that shares nothing but the clock correlates with the score to come."""
    from scipy.stats import pearsonr

    score, _, metric = world(np.random.default_rng(4), 100, "shared trend", 8, 12)
    p = [pearsonr(m[:, :-2].ravel(), s[:, 2:].ravel()).pvalue for m, s in zip(metric, score, strict=True)]
    assert np.mean(np.array(p) < 0.05) > 0.9


def test_the_surest_comes_first_and_the_lead_is_right():
    table = drawn("leads by two").assign(noise=np.random.default_rng(5).standard_normal(8 * 24))
    found = judged(table, metrics=("noise", "metric"))
    assert tuple(found.loc[0, ["metric", "lead", "verdict"]]) == ("metric", 2, "skill")
    assert found.loc[0, "lo"] > 0
    assert set(found.loc[found["metric"] == "noise", "verdict"]) == {"no skill"}
    assert (
        "foretells the out-of-domain score 2 checkpoints ahead" in warning_finding(found, baselines=["loss"]).sentence
    )
    assert "l2 drift not measured" in warning_finding(found, baselines=["loss", "id_score", "length"]).sentence


def test_more_looks_cost_more():
    gains = np.random.default_rng(6).standard_normal((1, 8)) + 1
    noise = np.random.default_rng(7).standard_normal((20, 8))
    assert p_values(np.concatenate([gains, noise]))[0] > p_values(gains)[0]
    assert p_values(np.ones((1, 6)) + 1e-3 * np.arange(6))[0] == pytest.approx(1 / 64)
    assert p_values(np.zeros((2, 6))).tolist() == [1.0, 1.0]


def test_no_skill_is_an_answer_and_few_runs_are_none():
    none = judged(drawn("repeats the loss"))
    assert set(none["verdict"]) == {"no skill"}
    assert warning_finding(none, baselines=["loss"]).sentence.startswith("No skill: of 1 metric at leads of 1, 2 and 4")
    one = judged(drawn("leads by two", runs=1))
    assert set(one["verdict"]) == {"undefined"}
    assert "1 run, 5 are needed" in one.loc[0, "reason"]
    assert warning_finding(one, baselines=["loss"]).verdict == "undecidable"
    assert "checkpoints that all runs have" in judged(drawn("leads by two", checkpoints=5)).loc[0, "reason"]
    arms = drawn("leads by two").assign(arm=lambda t: t["run"].map(lambda r: int(r[1:]) % 4))
    assert "4 arms, 5 are needed" in judged(arms, arm="arm").loc[0, "reason"]
    constant = judged(drawn("leads by two").assign(metric=1.0))
    assert set(constant["verdict"]) == {"no skill"}


def test_gaps_and_other_checkpoints_are_left_out():
    table = drawn("leads by two")
    gaps = table.copy()
    gaps.loc[gaps.sample(20, random_state=0).index, "metric"] = np.nan
    gaps = pd.concat(
        [gaps, gaps[gaps["run"] == "r0"].assign(step=lambda t: t["step"] + 5)]
    )  # one run has more checkpoints
    found = judged(gaps)
    assert found.loc[0, "verdict"] == "skill"
    absent = judged(table.assign(metric=table["metric"].where(table["run"] > "r3")))
    assert "4 runs with a complete row" in absent.loc[0, "reason"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"metric": "metrc"}), "did you mean 'metrc'"),
        (lambda t: pd.concat([t, t.head(1)]), "several rows for step 0"),
        (lambda t: t.assign(metric="high"), "must hold numbers"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(change, message):
    with pytest.raises(DataError, match=message):
        judged(change(drawn("leads by two")))


def test_settings_that_cannot_be_used_say_why():
    with pytest.raises(ConfigError, match="leads of 1 or more"):
        judged(drawn("leads by two"), leads=(0,))
    with pytest.raises(DataError, match="not two of them"):
        judged(drawn("leads by two"), metrics=("loss",))


def test_run_folders_become_a_table_and_a_finding(tmp_path):
    curves = {d: None for d in ("facts", "instructions", "safe", "calculation")}
    runs = [Run(make_run(tmp_path / f"s{i}", seed=i, n=40, layers=2, curves=curves)) for i in range(5)]
    table = warning_table(runs)
    assert {"ood_score", "id_score", "loss", "length", "backtracks", "refusals", "refusal_gap_frozen"} <= set(table)
    assert len(table) == 5 * 12
    assert table.loc[table["step"] == 0, "loss"].notna().all()
    (finding,) = early_warning_findings(runs)
    assert finding.verdict == "none"
    assert "5 runs" in finding.sentence
    (alone,) = early_warning_findings(runs[:1])
    assert "1 run, 5 are needed" in alone.sentence
    with pytest.raises(DataError, match="the same run"):
        warning_table([runs[0], runs[0]])
