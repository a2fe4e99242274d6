"""Two processes train what one trains: the tokens of a window are summed over both, the gradients too."""

import numpy as np
import pytest
import torch
from sftscope.dynamics.record import Run

SCRIPT = """
import json, sys, torch
torch.set_num_threads(1)
from sftscope.dynamics.settings import from_mapping
from sftscope.train import TrainConfig, train
train(from_mapping(TrainConfig, json.loads(sys.argv[1])), sys.argv[2], quiet=True)
assert torch.distributed.get_world_size() == 2
"""
ASKING = """
import json, os, pathlib, signal, sys, torch
torch.set_num_threads(1)
from sftscope.dynamics.settings import from_mapping
from sftscope.train import TrainConfig, loop
run, rank, step = pathlib.Path(sys.argv[2]), int(os.environ["RANK"]), loop.update

def asking(trainer, window, counters):
    row = step(trainer, window, counters)
    if counters.step == 3 and rank == 0:
        (run / "save").touch()
    if counters.step == 6 and rank == 1:  # whom a user's signal reaches is a matter of chance
        os.kill(os.getpid(), signal.SIGUSR1)
    return row

loop.update = asking
loop.train(from_mapping(TrainConfig, json.loads(sys.argv[1])), run, quiet=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("batch", [{"micro": 1}, {"pack": 40, "logits_chunk": 7}], ids=["padded", "packed"])
def test_two_processes_equal_one(tiny, fit, mapping, tmp_path, launch, rows_of, weights_of, batch):
    # 9 rows in windows of 4: the last window has one row, so one process has nothing to do in it.

    data = tiny.write_rows(tmp_path / "nine.jsonl", tiny.make_rows(9))
    changes = {"data": {"path": str(data)}, "batch": {"size": 4} | batch, "checkpoints": {"resume_every": 4}}
    alone = fit("alone", **changes)
    launch(SCRIPT, mapping(**changes), tmp_path / "both")
    one, two = rows_of(alone), rows_of(tmp_path / "both")
    assert [r["tokens"] for r in one] == [r["tokens"] for r in two]
    for key in ("loss", "grad_norm", "entropy"):
        np.testing.assert_allclose([r[key] for r in two], [r[key] for r in one], rtol=1e-4, err_msg=key)
    a, b = weights_of(alone), weights_of(tmp_path / "both")
    assert all(torch.allclose(a[k], b[k], atol=1e-4) for k in a)


@pytest.mark.slow
def test_any_process_may_be_asked_for_a_checkpoint_and_all_agree(mapping, tmp_path, launch):
    launch(ASKING, mapping(checkpoints={"resume_every": 5}), tmp_path / "run")
    assert list(Run(tmp_path / "run").checkpoints()) == [3, 6, 12]
    assert not (tmp_path / "run" / "save").exists()
