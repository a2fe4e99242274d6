"""`data.rows`: the first so many, exactly; a setting of the run like any other, and no other run without it."""

import pytest
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.dynamics.record import Run
from sftscope.train.run_info import identity


def test_the_first_rows_train_as_a_file_of_only_those(tiny, fit, rows_of, tmp_path):
    rows = tiny.make_rows(21)
    few = tiny.write_rows(tmp_path / "few.jsonl", rows[:10])
    many = tiny.write_rows(tmp_path / "many.jsonl", rows)
    alone, cut = fit("alone", data={"path": str(few)}), fit("cut", data={"path": str(many), "rows": 10})
    assert [r["loss"] for r in rows_of(cut)] == [r["loss"] for r in rows_of(alone)]
    assert Run(cut).info["plan"]["rows"] == 10
    assert fit("cut", data={"path": str(many), "rows": 10}) == cut  # complete: known again


def test_fewer_rows_than_asked_for_are_an_error(fit):
    with pytest.raises(DataError, match=r"has 21 rows and `data\.rows` is 22: .*`data\.rows: 21`"):
        fit(data={"rows": 22})
    with pytest.raises(ConfigError, match=r"`data\.rows` is 0"):
        fit(data={"rows": 0})


def test_what_decides_nothing_is_no_part_of_a_runs_identity(config):
    plain = identity(config())
    assert "rows" not in plain["data"]  # runs begun before there was such a setting are the same runs still
    assert identity(config(model={"architecture": {"hidden_size": 32}})) == plain
    assert identity(config(data={"rows": 20})) != plain
