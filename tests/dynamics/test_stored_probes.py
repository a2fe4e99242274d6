"""What the probes stored is read back, from this version's files and from older ones, and leaves the folder as safetensors."""

import h5py
import numpy as np
import pytest
from safetensors import safe_open
from sftscope import __version__
from sftscope.dynamics import RecordError, Run
from stored_probes import LAYERS, WIDTH, labels, make_turning_run, turning, write_direction


@pytest.fixture
def path(tmp_path):
    return make_turning_run(tmp_path / "r", {0: 0.0, 8: 1.0})


def test_labels_come_in_the_order_of_the_states(path):
    table = Run(path).prompt_labels("refusal")
    assert table.index.tolist() == [f"item-{i}" for i in range(160)]
    for name, column in labels().items():
        assert table[name].tolist() == column.tolist()
    assert table["label"].dtype == bool
    assert Run(path).activations("refusal", 1).shape == (2, 160, WIDTH)
    assert list(Run(path).activation_files("refusal")) == [0, 8]


def test_unknown_names_positions_and_layers_get_what_there_is(path):
    run = Run(path)
    with pytest.raises(RecordError, match="did you mean 'last_prompt'"):
        run.activations("refusal", 0, position="last_promt")
    with pytest.raises(RecordError, match="holds the layers 0, 1, not 7"):
        run.activations("refusal", 7)
    with pytest.raises(RecordError, match=r"no direction 'refusal' at steps \[5\] in .*: there are \[0, 8\]"):
        run.direction("refusal", 5)
    assert run.directions("verbosity") == {}


def test_concepts_that_begin_alike_are_not_mixed(path):
    write_direction(path, 0, turning(0.5), concept="refusal-unseen")
    run = Run(path)
    assert not np.allclose(run.directions("refusal")[0], turning(0.5))
    np.testing.assert_array_equal(run.directions("refusal-unseen")[0], turning(0.5))


def test_a_direction_leaves_as_safetensors(path, tmp_path):
    run = Run(path)
    target = run.export_direction("refusal", 8, tmp_path / "mine" / "refusal.safetensors")
    stored = run.direction("refusal", 8)
    with safe_open(target, "np") as f:
        assert f.metadata() == {
            "concept": "refusal",
            "step": "8",
            "hook": "blocks.{layer}.hook_resid_post",
            "position": "last_prompt",
            "axes": "layers, width",
            "layers": "0,1",
            "weights": "w8",
            "base": "hash-of-base",
            "run": "r",
            "sftscope": __version__,
        }
        assert set(f.keys()) == {"direction", "positive_mean", "negative_mean"}
        for name in ("direction", "positive_mean", "negative_mean"):
            x = f.get_tensor(name)
            assert (x.dtype, x.shape) == (np.float32, (LAYERS, WIDTH))
            np.testing.assert_array_equal(x, getattr(stored, f"{name}_LD").astype(np.float32))
        gap = f.get_tensor("positive_mean") - f.get_tensor("negative_mean")
        unit = gap / np.linalg.norm(gap, axis=-1, keepdims=True)
        np.testing.assert_allclose(f.get_tensor("direction"), unit, atol=1e-5)
    assert [p.name for p in target.parent.iterdir()] == ["refusal.safetensors"]


def test_an_older_file_leaves_with_what_it_has(path, tmp_path):
    file = write_direction(path, 8, turning(1.0))
    with h5py.File(file) as f:
        assert set(f) == {"direction"}
    run = Run(path)
    assert run.direction("refusal", 8).positive_mean_LD is None
    with safe_open(run.export_direction("refusal", 8, str(tmp_path / "old.safetensors")), "np") as f:
        assert list(f.keys()) == ["direction"]
        assert (f.metadata()["weights"], f.metadata()["position"]) == ("unknown", "last_prompt")
