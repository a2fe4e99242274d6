"""Frozen, refit and everything between: which checkpoint's direction reads which checkpoint's states."""

import math

import numpy as np
import pytest
from sftscope.dynamics import DataError, RecordError, Run
from sftscope.dynamics.separation import auc
from sftscope.dynamics.transfer import transfer_matrix
from stored_probes import labels, make_turning_run, states, turning, write_direction, write_states

ANGLES = {0: 0.0, 8: math.pi / 4, 64: math.pi / 2}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_turning_run(tmp_path_factory.mktemp("runs") / "turning", ANGLES)


def test_a_turning_direction_stays_decodable_and_loses_its_old_readout(path):
    table = transfer_matrix(Run(path), "refusal")
    assert list(table.columns) == ["fitted_at", "read_at", "layer", "auc", "lo", "hi", "n"]
    assert len(table) == 3 * 3 * 2
    for _, layer in table.groupby("layer"):
        area = layer.pivot_table(index="fitted_at", columns="read_at", values="auc")
        assert np.diag(area).min() > 0.9  # refit
        frozen = area.loc[0]
        assert frozen[0] > frozen[8] > frozen[64]
        assert frozen[8] > 0.8
        chance = layer[(layer["fitted_at"] == 0) & (layer["read_at"] == 64)].iloc[0]
        assert chance["lo"] < 0.5 < chance["hi"]
        assert area.loc[64, 8] > 0.8
    assert set(table["n"]) == {20}  # objects of the prompts kept for reporting, not prompts


def test_an_entry_is_the_stored_direction_on_the_stored_states(path):
    run = Run(path)
    table = transfer_matrix(run, "refusal", layers=[1], steps=[0, 64])
    assert set(table["layer"]) == {1}
    assert set(table["fitted_at"]) == set(table["read_at"]) == {0, 64}
    known = run.prompt_labels("refusal")
    held_out = (known["part"] == "eval").to_numpy()
    projection = run.activations("refusal", 1, [64])[0][held_out].astype(float) @ run.directions("refusal")[0][1]
    e = auc(projection, known["label"].to_numpy()[held_out], known["group"].to_numpy()[held_out])
    row = table[(table["fitted_at"] == 0) & (table["read_at"] == 64)].iloc[0]
    assert (row["auc"], row["lo"], row["hi"], row["n"]) == (e.value, e.lo, e.hi, e.n)


def test_prompts_that_the_direction_was_fitted_to_are_not_reported_on(tmp_path):
    """Noise with many dimensions: on its own prompts a direction separates it, on others it does not."""
    rng, columns = np.random.default_rng(1), labels()
    path = make_turning_run(tmp_path / "r", {0: 0.0})
    acts = states(columns["label"], turning(0.0), rng, strength=0.0)
    fit, positive = columns["part"] == "fit", columns["label"]
    unit = acts[fit & positive].mean(0) - acts[fit & ~positive].mean(0)
    write_states(path, 0, acts, columns, weights="w0")
    write_direction(path, 0, unit / np.linalg.norm(unit, axis=-1, keepdims=True), weights="w0")
    table = transfer_matrix(Run(path), "refusal")
    assert (table["lo"] < 0.5).all()
    assert (table["auc"] < 0.7).all()
    assert auc(acts[fit, 0] @ unit[0], positive[fit]).lo > 0.6  # what reporting on them would have said


def test_what_cannot_be_compared_is_refused(path, tmp_path):
    run = Run(path)
    with pytest.raises(RecordError, match=r"no direction 'refusa' in .*did you mean 'refusal'"):
        transfer_matrix(run, "refusa", "refusal")
    with pytest.raises(RecordError, match=r"no activations of prompt set 'harm' in .*known: refusal"):
        transfer_matrix(run, "refusal", "harm")
    with pytest.raises(RecordError, match=r"no direction of 'refusal' at steps \[5\]"):
        transfer_matrix(run, "refusal", steps=[5])
    other = make_turning_run(tmp_path / "r", ANGLES)
    columns = labels()
    acts = states(columns["label"], turning(0.0), np.random.default_rng(0))
    write_states(other, 8, acts, columns, weights="of another model")
    with pytest.raises(RecordError, match="the checkpoint was replaced"):
        transfer_matrix(Run(other), "refusal")
    write_states(other, 8, acts[:-1], {k: c[:-1] for k, c in columns.items()}, weights="w8")
    with pytest.raises(RecordError, match="has other prompts than"):
        transfer_matrix(Run(other), "refusal")
    for step in ANGLES:
        write_states(other, step, acts, columns | {"label": np.linspace(0, 3, len(acts))}, weights=f"w{step}")
    with pytest.raises(DataError, match="numbers as labels"):
        transfer_matrix(Run(other), "refusal")
    for step in ANGLES:
        write_states(other, step, acts, {}, weights=f"w{step}")
    with pytest.raises(RecordError, match="no label, part, half, group: it was written by an older version"):
        transfer_matrix(Run(other), "refusal")
