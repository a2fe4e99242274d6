"""What several runs allow to be said of order and of breaks; what one run allows is dates."""

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import DataError, Run
from sftscope.dynamics.prediction.first_mover import (
    first_mover_findings,
    first_mover_table,
    order_findings,
    threshold_finding,
)
from sftscope.dynamics.trajectories.change_point_finding import change_point_findings, recurring_breaks
from sftscope.dynamics.trajectories.trajectory import from_run


def seeds(runs=6):
    """The early metric makes half of its change two checkpoints before the score, the other with it."""
    rng = np.random.default_rng(1)
    curve = {
        c: 0.6 / (1 + np.exp(-0.8 * (np.arange(24) - at))) for c, at in (("early", 8), ("ood_score", 10), ("same", 10))
    }
    index = pd.MultiIndex.from_product([[f"r{i}" for i in range(runs)], range(0, 240, 10)], names=["run", "step"])
    noise = 0.02 * rng.standard_normal((3, runs * 24))
    columns = {c: np.tile(y, runs) + e for (c, y), e in zip(curve.items(), noise, strict=True)}
    return pd.DataFrame(columns, index).reset_index()


def test_what_moves_first_in_every_run_is_named():
    table = first_mover_table(seeds(8)).set_index("metric")
    assert table.loc["early", "first"] == 8
    assert table.loc["early", "p"] == pytest.approx(2 / 2**8)
    assert table.loc["early", "p_holm"] == pytest.approx(4 / 2**8)  # two metrics were looked at
    assert table.loc["early", "lead"] == 2
    assert table.loc["same", "p"] > 0.05
    (finding,) = order_findings(first_mover_table(seeds(8)))
    assert "early before it in 8 of 8 runs (median 2 checkpoints" in finding.sentence
    assert "same" not in finding.sentence
    (none,) = order_findings(first_mover_table(seeds(8).drop(columns="early")))
    assert none.verdict == "none"
    with pytest.raises(DataError, match="no column 'ood'"):
        first_mover_table(seeds(), target="ood")


def test_few_runs_are_no_order():
    (finding,) = order_findings(first_mover_table(seeds(2)))
    assert "2 runs with a date for both, 6 are needed" in finding.sentence
    assert finding.verdict == "undecidable"


def test_one_run_folder_gets_dates_and_no_order(finished_run):
    run = Run(finished_run)
    trajectories = {d: from_run(run, d) for d in ("calculation", "instructions")}
    finding = threshold_finding(run, trajectories)
    assert finding.sentence.startswith("Half of its final change was made: ")
    assert "One run cannot say which moves first" in finding.sentence
    lo, hi = finding.details["calculation"]["interval"]
    assert lo < 64 <= hi
    assert "instructions" not in finding.details  # nothing changed there
    assert finding.details["refusal_gap_frozen"]["interval"] is None
    (over_runs,) = first_mover_findings([run])
    assert over_runs.verdict == "undecidable"


def test_a_break_that_recurs_is_a_finding_and_one_of_one_run_is_not(finished_run):
    rng = np.random.default_rng(0)
    steps = np.arange(24) * 10
    jump = 20.0 * (steps >= 120)

    def noise():
        return rng.standard_normal(24)

    together = [pd.Series(jump + noise(), index=steps) for _ in range(4)]
    alone = [together[0], *(pd.Series(noise(), index=steps) for _ in range(3))]
    (shown, quiet) = recurring_breaks({"path.strict": together, "path.tokens": alone})
    assert shown.verdict == "break"
    assert shown.sentence.startswith("The score of path breaks between steps 110 and 120 in ")
    assert quiet.verdict == "none"
    assert quiet.sentence.startswith("No break recurs over runs in the length of path: of 4 series")
    assert recurring_breaks({"path.strict": together[:1]}) == []
    assert change_point_findings([Run(finished_run)]) == []
    again = change_point_findings([Run(finished_run)] * 2)
    assert {f.verdict for f in again} <= {"none", "break"}
