"""The alert rules over a run folder."""

import numpy as np
import pandas as pd
from sftscope.dynamics.record import Run, create_run, write_measurements
from sftscope.dynamics.types import Estimate, Measurement
from sftscope.dynamics.watching import News, checkpoint_alerts

N = 120


def record(run, step, **columns):
    """Items of a checkpoint: `domain__metric=share or values`."""
    rows = []
    for name, value in columns.items():
        domain, metric = name.split("__")
        values = (np.arange(N) < value * N).astype(float) if np.isscalar(value) else value
        group = "safety" if domain.startswith("harmful") else "id_reasoning"
        rows += [
            {"domain": domain, "group": group, "item": f"i{i}", "cluster": f"i{i}", "metric": metric, "value": v}
            for i, v in enumerate(values)
        ]
    row = Measurement(step, "probe", "any", Estimate(0.0, 0.0, 0.0, N, "none"), "share")
    write_measurements(run, step, "probe", key=f"k{step}", settings="s", rows=[row], items=pd.DataFrame(rows))


def kinds(run, step):
    return {(a.kind, a.domain) for a in checkpoint_alerts(Run(run), step)}


def test_each_rule_speaks_of_its_own_change_against_the_first_checkpoint(tmp_path):
    run = tmp_path / "run"
    create_run(run, {"config_hash": "x"})
    short, long = np.full(N, 20.0), np.full(N, 90.0)
    base = {
        "a__finished": 1.0,
        "a__strict": 0.8,
        "a__tokens": short,
        "harmful__refused": 1.0,
        "harmful_unseen__refused": 0.9,
    }
    record(run, 0, **base)
    record(run, 1, **base)
    record(run, 2, **base | {"a__finished": 0.6})
    record(run, 3, **base | {"harmful__refused": 0.5, "harmful_unseen__refused": 0.3})
    record(run, 4, **base | {"a__tokens": long})
    record(run, 5, **base | {"a__tokens": long, "a__strict": 0.4})
    assert kinds(run, 0) == kinds(run, 1) == kinds(run, 4) == set()
    assert kinds(run, 2) == {("finish-rate-collapsed", "a")}
    assert kinds(run, 3) == {("refusal-collapsed", "harmful"), ("refusal-collapsed", "harmful_unseen")}
    assert kinds(run, 5) == {("length-surging", "a")}
    assert kinds(run, 6) == set()  # not measured


def test_longer_refusals_are_no_thinking_that_does_not_pay(tmp_path):
    run = tmp_path / "run"
    create_run(run, {"config_hash": "x"})
    record(run, 0, harmful__tokens=np.full(N, 5.0), harmful__strict=1.0)
    record(run, 1, harmful__tokens=np.full(N, 50.0), harmful__strict=0.1)
    assert kinds(run, 1) == set()


def test_a_collapse_is_news_once(tmp_path):
    run = tmp_path / "run"
    create_run(run, {"config_hash": "x"})
    record(run, 0, harmful__refused=1.0, a__finished=1.0)
    record(run, 1, harmful__refused=0.2, a__finished=1.0)
    record(run, 2, harmful__refused=0.1, a__finished=0.1)
    news = News()
    assert [a.kind for a in news.of(checkpoint_alerts(Run(run), 1))] == ["refusal-collapsed"]
    assert [a.kind for a in news.of(checkpoint_alerts(Run(run), 2))] == ["finish-rate-collapsed"]
