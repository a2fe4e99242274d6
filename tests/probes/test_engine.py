"""The embedded engine writes what `model.generate` writes, whoever shares the batch."""

from __future__ import annotations

import pytest
import torch
from sftscope.probes.engines import Sampling
from sftscope.probes.engines.hf import HfEngine


@pytest.fixture
def prompts(micro_tokenizer):
    generator = torch.Generator().manual_seed(1)
    lengths = [1, 2, 3, 5, 8, 13, 4, 4, 9, 30]
    return [torch.randint(5, len(micro_tokenizer), (n,), generator=generator).tolist() for n in lengths]


def engine(model, eos_ids=(1,), **kwargs):
    return HfEngine(model, eos_ids=list(eos_ids), pad_id=0, **kwargs)


def by_hand(model, prompt, n, eos_ids):
    out = model.generate(
        torch.tensor([prompt]), max_new_tokens=n, do_sample=False, eos_token_id=list(eos_ids), pad_token_id=0
    )
    return out[0, len(prompt) :].tolist()


@pytest.fixture
def lively(micro_model):
    """A random model that does not repeat one word for ever: rows end at different times."""
    with torch.no_grad():
        for p in micro_model.parameters():
            if p.dim() == 2:
                p.mul_(6)
    return micro_model


def test_greedy_tokens_equal_generate_with_rows_ending_at_different_times(lively, prompts):
    free = engine(lively, eos_ids=[1]).generate(prompts, Sampling(40))
    eos_ids = sorted({c.token_ids[k] for c, k in zip(free, (3, 7, 12, 20, 5, 9, 2, 30, 15, 25), strict=True)})
    got = engine(lively, eos_ids=eos_ids).generate(prompts, Sampling(40))
    assert {c.finish for c in got} == {"stop"} or len({len(c.token_ids) for c in got}) > 3
    for prompt, completion in zip(prompts, got, strict=True):
        wanted = by_hand(lively, prompt, 40, eos_ids)
        stopped = wanted[-1] in eos_ids
        assert completion.token_ids == (wanted[:-1] if stopped else wanted)
        assert completion.finish == ("stop" if stopped else "length")


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_the_batch_size_changes_nothing(lively, prompts, batch_size):
    reference = engine(lively, batch_size=4).generate(prompts, Sampling(12))
    assert engine(lively, batch_size=batch_size).generate(prompts, Sampling(12)) == reference


def test_samples_have_seeds_of_their_own_whatever_the_batch(lively, prompts):
    hot = Sampling(12, temperature=1.0, n=3, seed=5)
    together = engine(lively).generate(prompts, hot)
    assert len(together) == 3 * len(prompts)
    assert together == engine(lively, batch_size=2).generate(prompts, hot)
    assert together[0] != together[1]  # two samples of one prompt
    assert together != engine(lively).generate(prompts, Sampling(12, temperature=1.0, n=3, seed=6))


def test_an_empty_prompt_is_refused(micro_model):
    with pytest.raises(ValueError, match="empty prompt"):
        engine(micro_model).generate([[]], Sampling(3))
