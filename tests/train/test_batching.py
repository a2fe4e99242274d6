import numpy as np
import pytest
from sftscope.dynamics.errors import ConfigError
from sftscope.train.batching import BatchConfig, collate, epoch_order, micro_batches
from sftscope.train.data import Example


def padding(windows, lengths):
    return sum(len(w) * max(lengths[i] for i in w) - sum(lengths[i] for i in w) for w in windows)


@pytest.mark.parametrize("bucket", [False, True])
def test_every_row_once_an_epoch_and_the_short_window_is_kept(bucket):
    lengths = np.random.default_rng(0).integers(1, 100, 1003)
    windows = epoch_order(1003, 5, 2, "shuffled", lengths, bucket, 8)
    assert sorted(i for w in windows for i in w) == list(range(1003))
    assert sorted(map(len, windows)) == [3] + [8] * 125


def test_the_order_is_a_function_of_seed_and_epoch():
    args = ("shuffled", None, False, 8)
    assert epoch_order(50, 1, 0, *args) == epoch_order(50, 1, 0, *args)
    others = [epoch_order(50, 1, 1, *args), epoch_order(50, 2, 0, *args), epoch_order(50, 0, 1, *args)]
    assert all(o != epoch_order(50, 1, 0, *args) for o in others)


def test_fixed_order_is_that_of_the_file():
    assert epoch_order(5, 9, 3, "fixed", None, False, 2) == [[0, 1], [2, 3], [4]]


def test_buckets_save_padding_and_do_not_run_from_short_to_long():
    lengths = np.random.default_rng(0).integers(1, 100, 4000)
    plain = epoch_order(4000, 0, 0, "shuffled", lengths, False, 16)
    bucketed = epoch_order(4000, 0, 0, "shuffled", lengths, True, 16)
    assert padding(bucketed, lengths) < 0.1 * padding(plain, lengths)
    means = [lengths[w].mean() for w in bucketed]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.2


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("micro", [None, 1, 3])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_processes_share_a_window_without_loss_and_keep_step(n, micro, world):
    lengths = np.arange(100)[::-1]
    shares = [micro_batches(range(20, 20 + n), lengths, micro, rank, world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1  # as many collective calls on every process
    rows = [i for share in shares for batch in share for i in batch]
    assert sorted(rows) == list(range(20, 20 + n))
    assert all(len(batch) <= (micro or n) for share in shares for batch in share)


def test_micro_batches_hold_rows_of_like_length():
    lengths = np.array([9, 1, 8, 2])
    assert micro_batches([0, 1, 2, 3], lengths, 2) == [[1, 3], [2, 0]]


def test_collate_pads_on_the_right_and_takes_no_loss_there():
    ids = lambda *x: np.array(x, dtype=np.int32)  # noqa: E731
    batch = collate([Example(ids(4, 5, 6), ids(-100, 5, 6)), Example(ids(7), ids(-100))], pad_id=3)
    assert batch["input_ids"].tolist() == [[4, 5, 6], [7, 3, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 5, 6], [-100, -100, -100]]


def test_an_empty_batch_is_one_masked_token():
    batch = collate([], pad_id=3)
    assert batch["input_ids"].tolist() == [[3]]
    assert batch["attention_mask"].tolist() == [[1]]
    assert batch["labels"].tolist() == [[-100]]


@pytest.mark.parametrize("settings", [{"size": 0}, {"size": 4, "micro": 5}, {"micro": 0}])
def test_mistakes_in_the_batch(settings):
    with pytest.raises(ConfigError, match=r"batch\."):
        BatchConfig(**settings)
