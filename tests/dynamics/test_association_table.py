"""One table for one run or many: levels, arms, families of layers, declared pairs, and the states of prompts."""

import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import DataError, Run, association_table, associations
from sftscope.dynamics.association.arms import arm_of
from sftscope.dynamics.association.one_run import Association
from sftscope.dynamics.association.series import Pair
from sftscope.dynamics.association.table import COLUMNS, LEVELS, ONE_RUN, TRIAL_SWAP, row, with_q
from sftscope.dynamics.primaries import DeclaredAssociation
from sftscope.dynamics.record import RUN_FILE, step_name
from sftscope.dynamics.trajectories.trajectory import from_run
from synthetic import CURVES, item_ids, make_run

STEPS = (0, 1, 2, 4, 8, 16, 32)
DECLARED = ("countdown", "refusal_cosine_to_base~harmful", "tokens~countdown", "entropy_of_heads~harmful")


def described(path, **changes):
    """A run folder with a record like the trainer's."""
    file = path / RUN_FILE
    info = json.loads(file.read_text())
    info["config"] = {"seed": info["seed"], "optim": {"lr": 1e-4}, "data": {"path": str(path)}}
    info |= {"base": {"path": str(path), "weights": "b"}, "data": {"path": "x", "sha256": "d"}}
    file.write_text(json.dumps(info | changes))
    return path


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    curves = dict.fromkeys(CURVES) | {d: CURVES[d] for d in ("countdown", "harmful")}
    made = [make_run(folder / str(s), seed=s, steps=STEPS, n=30, curves=curves, declared=DECLARED) for s in range(5)]
    return [described(path) for path in made]


@pytest.fixture(scope="module")
def table(seeds):
    return associations([Run(p) for p in seeds], layer="all")


def pair(x="m", layer=0, y="path", kind="internal"):
    return Pair(x, kind, "", layer, y, "ood_reasoning", "none")


def with_p(p):
    return Association(0, 0.5, 0.1, 0.8, p, 30, 20.0)


def test_every_pair_stands_in_the_table_at_every_level(table, seeds):
    assert list(table.columns) == COLUMNS
    assert set(table["level"]) == set(LEVELS) - {ONE_RUN}
    swapped = table[table["level"] == TRIAL_SWAP]
    assert (swapped["n_seeds"] == 5).all()
    assert swapped["p"].min() >= 1 / 120 - 1e-12
    assert set(swapped.loc[swapped["x_kind"] == "internal", "x_layer"]) == {0, 1, 2, 3}
    assert table.loc[table["p"].isna(), "reason"].str.len().gt(0).all()
    assert table.loc[table["level"] == "mixed", "reason"].str.contains("5 runs").all()
    assert not table.duplicated(["x", "x_domain", "x_layer", "y_domain", "level"]).any()


def test_only_what_was_declared_and_replicated_is_not_exploratory(table, seeds):
    primary = table[table["primary"] & (table["level"] == TRIAL_SWAP)]
    assert set(zip(primary["x"], primary["y_domain"], strict=True)) == {
        ("refusal_cosine_to_base", "harmful"),
        ("tokens", "countdown"),
        ("entropy_of_heads", "harmful"),
    }
    assert (table["exploratory"] == ~table["primary"]).all()
    missing = table[table["x"] == "entropy_of_heads"]
    assert missing["p"].isna().all()  # declared and never measured: seen to be missing
    run = Run(seeds[0])
    alone = association_table(run, {d: from_run(run, d) for d in run.domains()})
    assert alone["primary"].any()
    assert alone["exploratory"].all()  # one run can only explore, whatever it declared


def test_what_some_runs_did_not_declare_stays_exploratory(seeds, tmp_path):
    late = shutil.copytree(seeds[0], tmp_path / "late")
    described(late, primaries={"declared": ["countdown"]})
    assert associations([Run(late), *map(Run, seeds[1:])])["exploratory"].all()


def test_runs_of_other_settings_are_other_arms(seeds, tmp_path):
    first = arm_of(Run(seeds[0]))
    assert all(arm_of(Run(p)) == first for p in seeds[1:])
    for name, change in (
        ("data", {"data": {"path": "x", "sha256": "other"}}),
        ("base", {"base": {"path": "p", "weights": "other"}}),
        ("config", {"config": {"seed": 0, "optim": {"lr": 2e-4}}}),
    ):
        other = described(shutil.copytree(seeds[0], tmp_path / name), **change)
        assert arm_of(Run(other)) != first, name
    mixed = associations([Run(other), *map(Run, seeds[1:])])
    assert mixed.loc[mixed["level"] == TRIAL_SWAP, "p"].isna().all()
    assert "1/24" in mixed.loc[mixed["level"] == TRIAL_SWAP, "reason"].iloc[0]


def test_a_copy_of_a_run_is_no_further_seed(seeds, tmp_path):
    copy = shutil.copytree(seeds[0], tmp_path / "copy")
    with pytest.raises(DataError, match="are the same run"):
        associations([*map(Run, seeds), Run(copy)])
    with pytest.raises(DataError, match="1 run given"):
        associations([Run(seeds[0])])


def test_layers_tried_are_paid_for_once_and_families_by_their_number():
    rows = [row(pair("m", k), ONE_RUN, "", with_p(0.01 if k == 3 else 0.5)) for k in range(10)]
    rows += [row(pair("other"), ONE_RUN, "", with_p(0.4))]
    q = with_q(rows).set_index(["x", "x_layer"])["q"]
    assert q["m", 3] == pytest.approx(min(0.01 * 10 * 2, 1))  # Bonferroni over ten layers, first of two families
    assert q["other", 0] == pytest.approx(0.4)
    maxima = [row(pair("m", k), TRIAL_SWAP, "", with_p(0.01), p_family=0.03) for k in range(10)]
    assert with_q(maxima)["q"].tolist() == pytest.approx([0.03] * 10)  # the maximum has paid already


def test_families_of_one_layer_are_plain_benjamini_hochberg():
    from scipy.stats import false_discovery_control

    p = np.random.default_rng(0).uniform(size=12) ** 2
    table = with_q([row(pair(f"m{k}"), ONE_RUN, "", with_p(v)) for k, v in enumerate(p)])
    expected = dict(zip([f"m{k}" for k in range(12)], false_discovery_control(p), strict=True))
    assert table.set_index("x")["q"].to_dict() == pytest.approx(expected)
    assert table["q"].is_monotonic_increasing


def test_declared_pairs_are_corrected_among_themselves_only():
    declared = [DeclaredAssociation("m0", "", "path")]
    rows = [row(pair(f"m{k}"), TRIAL_SWAP, "", with_p(0.02), declared, replicated=True) for k in range(40)]
    rows += [row(pair("b", kind="behaviour"), TRIAL_SWAP, "", with_p(0.9), declared, replicated=True)]
    q = with_q(rows).set_index("x")
    assert q.loc["m0", "q"] == 0.02
    assert q.loc["m0", "primary"]
    assert not q.loc["m0", "exploratory"]
    assert q.loc["b", "q"] == 0.9  # another kind of x


def test_an_undefined_row_takes_no_part():
    rows = [row(pair("a"), ONE_RUN, "", with_p(0.03)), row(pair("b"), ONE_RUN, "", Association.undefined(3, "few"))]
    table = with_q(rows).set_index("x")
    assert table.loc["a", "q"] == 0.03
    assert np.isnan(table.loc["b", "q"])
    assert pd.isna(table.loc["b", "lag"])
    assert with_q([]).empty


def test_a_prompts_own_state_is_related_with_its_own_outcome(tmp_path):
    """The prompts whose projection on the base's direction falls are those that are no longer refused."""
    n, steps = 80, (0, 2, 4, 8)
    curves = dict.fromkeys(CURVES) | {d: CURVES[d] for d in ("countdown", "harmful")}
    run = Run(make_run(tmp_path / "r", steps=steps, n=n, curves=curves))
    refused = run.items("harmful")
    rng = np.random.default_rng(7)
    direction = np.eye(6)[2][None].repeat(3, axis=0)
    for step in steps:
        folder = run.path / "probes" / step_name(step)
        folder.mkdir(parents=True)
        acts = rng.standard_normal((n, 3, 6))
        acts[:, 1, 2] += 2 * refused.loc[item_ids("harmful", n), step].to_numpy()
        with h5py.File(folder / "refusal-k.h5", "w") as f:
            f["activations/end"] = acts.astype("float16")
            f["items"] = item_ids("harmful", n)
            f["label"] = np.ones(n, bool)
            for name in ("part", "half", "group"):
                f[name] = ["A"] * n
            f.attrs["layers"] = [0, 5, 9]
        with h5py.File(folder / "direction-refusal-k.h5", "w") as f:
            f["direction"] = direction
            f.attrs.update({"position": "end", "layers": [0, 5, 9]})
    trajectories = {d: from_run(run, d) for d in run.domains()}
    found = association_table(run, trajectories)
    found = found[(found["level"] == "items") & (found["x_kind"] == "internal")]
    assert list(zip(found["y_domain"], found["x_layer"], strict=True)) == [("harmful", 5)]
    assert found["estimate"].iloc[0] > 0.3
    assert found["p"].iloc[0] < 1e-4
    assert found["n_items"].iloc[0] == n
    every = association_table(run, trajectories, layer="all")
    every = every[(every["level"] == "items") & (every["x_kind"] == "internal")].set_index("x_layer")
    assert set(every.index) == {0, 5, 9}
    assert every.loc[[0, 9], "p"].min() > 0.01
