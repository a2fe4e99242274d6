"""A canary tells its own model from others through rounding, and says nothing where it knows nothing."""

import json

import numpy as np
import pytest
from sftscope.dynamics.canary import TOLERANCE, canary_ids, record_canary, verify_canary
from sftscope.dynamics.errors import CheckpointError

VOCAB = 200
PINNED = [
    [310, 773, 475, 774, 846, 181, 807, 765],
    [819, 110, 108, 310, 519, 534, 780, 535],
]  # for a vocabulary of 1000


@pytest.fixture
def table(rng):
    """A model without torch: the logits of the next token are a row of a table."""
    return rng.normal(size=(VOCAB, VOCAB)).astype(np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def model(table):
    return lambda ids, n: table[ids[:, -n:]]


def manifest(table, dtype="float32"):
    """As it comes back from a file of strict JSON."""
    return json.loads(json.dumps({"canary": record_canary(model(table), VOCAB, dtype)}, allow_nan=False))


def verify(canary, table, dtype="float32"):
    return verify_canary(canary, model(table), dtype, "step-000001")


def test_the_ids_are_those_that_every_reader_gets():
    prompts, watched = canary_ids(1000)
    assert prompts.tolist() == PINNED
    assert prompts.shape == (2, 8)
    assert watched.shape == (48,)
    for size in (5, 732, 151_936):
        ids = np.concatenate([part.ravel() for part in canary_ids(size)])
        assert ids.min() >= 0
        assert size * 0.8 < ids.max() + 1 <= size
    assert canary_ids(1001)[0].tolist() != PINNED


def test_the_continuation_is_greedy(table):
    canary = manifest(table)["canary"]
    for prompt, tokens, margins in zip(canary_ids(VOCAB)[0], canary["continuation"], canary["margins"], strict=True):
        last = prompt[-1]
        for token, margin in zip(tokens, margins, strict=True):
            best, second = np.sort(table[last])[[-1, -2]]
            assert token == table[last].argmax()
            assert margin == pytest.approx(best - second, rel=1e-4)
            last = token


@pytest.mark.parametrize(("recorded", "read"), [(a, b) for a in TOLERANCE for b in TOLERANCE])
def test_rounding_passes_and_other_weights_do_not(table, rng, recorded, read):
    """The allowance is the coarser dtype's: half of it passes, twice of it fails."""
    canary, noise = manifest(table, recorded), rng.normal(size=table.shape).astype(np.float32)
    allowed = max(TOLERANCE[recorded], TOLERANCE[read])
    assert verify(canary, table + 0.5 * allowed * noise, read)
    with pytest.raises(CheckpointError, match=r"step-000001 does not answer.*load it again"):
        verify(canary, table + 2 * allowed * noise, read)


def test_an_unknown_dtype_is_read_as_coarsely_as_any_and_never_recorded(table, rng):
    noise = rng.normal(size=table.shape).astype(np.float32)
    assert verify(manifest(table), table + 0.5 * TOLERANCE["bfloat16"] * noise, "float8_e4m3fn")
    with pytest.raises(ValueError, match="float8"):
        record_canary(model(table), VOCAB, "float8_e4m3fn")


def test_a_token_counts_only_where_its_lead_is_beyond_rounding(table):
    """The second token's row is changed, which only the continuation shows: a near tie, then a clear lead."""
    first = manifest(table)["canary"]["continuation"][0][0]
    order = np.argsort(table[first])
    for lead, alike in ((1e-5, True), (1.0, False)):
        before, after = table.copy(), table.copy()
        before[first, order[-1]] = before[first, order[-2]] + lead
        after[first, order[-1]] = after[first, order[-2]] - 1e-5
        canary = manifest(before)
        if alike:
            assert verify(canary, after)
        else:
            with pytest.raises(CheckpointError):
                verify(canary, after)


def test_what_is_not_finite_is_compared_as_such(table):
    broken = table.copy()
    broken[:, ::3] = np.nan
    assert verify(manifest(broken), broken)
    for recorded, read in ((table, broken), (broken, table)):
        with pytest.raises(CheckpointError):
            verify(manifest(recorded), read)
    assert verify(manifest(np.full_like(table, np.nan)), np.full_like(table, np.nan))


def test_no_canary_says_nothing_and_another_vocabulary_is_another_model(table):
    assert not verify({"step": 1}, table)
    with pytest.raises(CheckpointError, match="vocabulary of 200"):
        verify_canary(manifest(table), lambda ids, n: table[ids[:, -n:]][..., :150], "float32", "here")


def test_rows_beyond_the_vocabulary_are_padding(table):
    """Engines pad the vocabulary to a round number; such logits are no tokens."""
    padded = np.pad(table, ((0, 0), (0, 56)), constant_values=9.0)
    assert verify(manifest(table), padded)
