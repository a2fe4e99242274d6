"""The embedded engine writes what `model.generate` writes, whoever shares the batch and whenever they come and go."""

from __future__ import annotations

import random

import pytest
import torch
from sftscope.probes import organisms
from sftscope.probes.causal.interventions import add, at_last_prompt
from sftscope.probes.checkpoints import Checkpoint, load_model
from sftscope.probes.engines import Sampling
from sftscope.probes.engines.hf import HfEngine, draw
from sftscope.probes.engines.requests import complete
from sftscope.probes.internals.bridge import BridgedModel

SMALL = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def some_prompts(vocabulary, lengths=(1, 2, 3, 5, 8, 13, 4, 4, 9, 30, 1, 6)):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(5, vocabulary, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture
def prompts(micro_tokenizer):
    return some_prompts(len(micro_tokenizer))


def engine(model, eos_ids=(1,), **kwargs):
    return HfEngine(model, eos_ids=list(eos_ids), pad_id=0, **kwargs)


def by_hand(model, prompt, n, eos_ids):
    out = model.generate(
        torch.tensor([prompt]), max_new_tokens=n, do_sample=False, eos_token_id=list(eos_ids), pad_token_id=0
    )
    return out[0, len(prompt) :].tolist()


def made_lively(model):
    """A random model that does not repeat one word for ever: rows end at different times."""
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.mul_(6)
    return model


def scattered_ends(model, prompts, n):
    """End tokens by which the prompts' responses are of very different lengths, the first of them empty."""
    free = engine(model, eos_ids=[]).generate(prompts, Sampling(n))
    at = [max(0, min(k, n - 1)) for k in (0, n, n // 2, n // 3, n // 5, 3, n // 8, n - 3)]
    return sorted({c.token_ids[k] for c, k in zip(free, at, strict=False)})


def assert_as_by_hand(model, prompts, got, n, eos_ids):
    for prompt, completion in zip(prompts, got, strict=True):
        wanted = by_hand(model, prompt, n, eos_ids)
        stopped = wanted[-1] in eos_ids
        assert completion.token_ids == (wanted[:-1] if stopped else wanted)
        assert completion.finish == ("stop" if stopped else "length")


@pytest.fixture
def lively(micro_model):
    return made_lively(micro_model)


@pytest.mark.parametrize("batch_size", [3, 256])
def test_greedy_tokens_equal_generate_with_rows_ending_at_different_times(lively, prompts, batch_size):
    eos_ids = scattered_ends(lively, prompts, 40)
    got = engine(lively, eos_ids, batch_size=batch_size).generate(prompts, Sampling(40))
    assert len({len(c.token_ids) for c in got}) > 4
    assert got[0].token_ids == []
    assert_as_by_hand(lively, prompts, got, 40, eos_ids)


def test_one_token_is_one_token(lively, prompts):
    eos_ids = scattered_ends(lively, prompts, 1)
    got = engine(lively, eos_ids, batch_size=4).generate(prompts, Sampling(1))
    assert {c.finish for c in got} == {"stop", "length"}
    assert_as_by_hand(lively, prompts, got, 1, eos_ids)


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_neither_the_batch_size_nor_the_order_of_prompts_changes_anything(lively, prompts, batch_size):
    eos_ids = scattered_ends(lively, prompts, 30)
    reference = engine(lively, eos_ids, batch_size=4).generate(prompts, Sampling(30))
    order = random.Random(batch_size).sample(range(len(prompts)), len(prompts))
    got = engine(lively, eos_ids, batch_size=batch_size).generate([prompts[i] for i in order], Sampling(30))
    assert got == [reference[i] for i in order]


def test_samples_have_seeds_of_their_own_whatever_the_batch(lively, prompts):
    hot = Sampling(12, temperature=1.0, n=3, seed=5)
    eos_ids = scattered_ends(lively, prompts, 12)
    together = engine(lively, eos_ids).generate(prompts, hot)
    assert len(together) == 3 * len(prompts)
    assert together == engine(lively, eos_ids, batch_size=2).generate(prompts, hot)
    assert together == engine(lively, eos_ids, batch_size=7).generate(prompts, hot)
    assert together[3] != together[4]  # two samples of one prompt
    assert together != engine(lively, eos_ids).generate(prompts, Sampling(12, temperature=1.0, n=3, seed=6))


def test_no_two_samples_share_a_seed_however_many_there_are_and_few_have_those_they_always_had():
    def seeds(n):
        asked = []
        complete(lambda rows, _: asked.extend(r.seed for r in rows) or [], [[5]] * 3, Sampling(4, 1.0, n=n, seed=2))
        return asked

    for n in (1, 101, 102, 250):
        assert len(set(seeds(n))) == 3 * n
    assert seeds(2) == [2_000_006, 2_000_007, 2_000_107, 2_000_108, 2_000_208, 2_000_209]
    assert seeds(101)[101] == 2_000_107


def test_the_token_that_a_response_stopped_at_is_told(lively, prompts):
    free = [c.token_ids for c in engine(lively, eos_ids=()).generate(prompts, Sampling(12))]
    ends = {ids[3] for ids in free}
    assert len(ends) > 1
    done = engine(lively, eos_ids=ends).generate(prompts, Sampling(12))
    assert len({c.end for c in done}) > 1
    for ids, c in zip(free, done, strict=True):
        stopped = c.finish == "stop"
        assert c.end == (ids[len(c.token_ids)] if stopped else None)
        assert not stopped or c.end in ends


def test_what_is_drawn_has_the_probabilities_of_the_model_and_nothing_else():
    probs = torch.tensor([0.0, 0.5, 0.0, 0.2, 0.3, 0.0], dtype=torch.float64)
    shares = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shares[:2] = torch.tensor([0.0, 1 - 2**-53])  # the ends of what can be drawn
    ids = draw(probs.expand(len(shares), -1), shares)
    counts = torch.bincount(ids, minlength=6).double()
    assert not counts[probs == 0].any()
    expected = probs[probs > 0] * len(shares)
    assert float(((counts[probs > 0] - expected) ** 2 / expected).sum()) < 13.8  # chi-square, 2 degrees: p > 0.001


def passes(model, run):
    """(rows, tokens a row) of each forward pass that `run` makes."""
    seen = []

    def note(_module, _args, kwargs):
        seen.append(tuple(kwargs["input_ids"].shape))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    run()
    hook.remove()
    return seen


def test_waiting_prompts_enter_beside_rows_at_work_and_nothing_is_computed_for_rows_that_ended(lively, prompts):
    eos_ids, told = scattered_ends(lively, prompts, 40), []
    done = []
    seen = passes(
        lively,
        lambda: done.extend(engine(lively, eos_ids, batch_size=4).generate(prompts, Sampling(40), told.append)),
    )
    steps = [rows for rows, tokens in seen if tokens == 1]
    assert max(rows for rows, _ in seen) == 4
    assert len(seen) - len(steps) > len(prompts) / 4  # more prefills than batches: some were into the gaps of one
    tokens_fed = sum(len(c.token_ids) - (c.finish == "length") for c in done)  # the last one of a cut row feeds nothing
    assert sum(steps) == tokens_fed
    by_length = [len(done[i].token_ids) for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i]))]
    assert (
        len(steps) < sum(max(by_length[i : i + 4]) for i in (0, 4, 8)) - 3
    )  # what three batches, one after another, take
    assert sum(told) == len(prompts)


def test_banned_ids_are_never_written_and_where_they_were_not_wanted_nothing_changes(lively, prompts):
    free = engine(lively, eos_ids=[]).generate(prompts, Sampling(20))
    common = max({i for c in free for i in c.token_ids}, key=lambda i: sum(i in c.token_ids for c in free))
    assert any(common not in c.token_ids for c in free)
    banned = Sampling(20, banned=(common, 7))
    got = engine(lively, eos_ids=[], batch_size=5).generate(prompts, banned)
    for before, after in zip(free, got, strict=True):
        assert not {common, 7} & set(after.token_ids)
        same = next((k for k, i in enumerate(before.token_ids) if i in (common, 7)), 20)
        assert after.token_ids[:same] == before.token_ids[:same]
        assert len(after.token_ids) == 20
    hot = engine(lively, eos_ids=[]).generate(prompts, Sampling(20, temperature=3.0, banned=(common, 7)))
    assert not {common, 7} & {i for c in hot for i in c.token_ids}
    assert engine(lively, eos_ids=[common]).generate(prompts, Sampling(20, banned=(common,)))[0].finish == "length"
    with pytest.raises(ValueError, match="banned"):
        engine(lively).generate(prompts, Sampling(20, banned=(-1,)))


def test_a_row_of_nans_leaves_nothing_behind(lively, prompts):
    eos_ids = scattered_ends(lively, prompts, 20)
    reference = engine(lively, eos_ids).generate(prompts, Sampling(20))
    with torch.no_grad():
        lively.lm_head.weight = torch.nn.Parameter(lively.lm_head.weight.clone())  # tied no more
        lively.model.embed_tokens.weight[2] = torch.nan
    for batch_size in (2, 4):
        got = engine(lively, eos_ids, batch_size=batch_size).generate(
            [[2, 5], *prompts, [2] * 8, *prompts], Sampling(20)
        )
        assert got[1:13] == got[14:] == reference


def test_banning_nothing_leaves_the_keys_of_results_as_they_were():
    assert Sampling(8, seed=3).settings() == {"max_new_tokens": 8, "temperature": 0.0, "n": 1, "seed": 3}
    assert Sampling(8, 0.5).settings()["draws"] == 2  # how a token is drawn has a part in what results are keyed by
    assert Sampling(8, banned=(5,)).settings()["banned"] == (5,)


def sliding_qwen2(window=8):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=window, max_window_layers=1)
    return Qwen2ForCausalLM(config)


def sliding_gemma3(window=8):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    kinds = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(**SMALL, sliding_window=window, layer_types=kinds))


def convolving_lfm2(_window=None):
    from transformers import Lfm2Config, Lfm2ForCausalLM

    torch.manual_seed(0)
    return Lfm2ForCausalLM(Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]))


@pytest.mark.parametrize("make", [sliding_qwen2, sliding_gemma3, convolving_lfm2])
@pytest.mark.parametrize("batch_size", [4, 256])
def test_layers_that_forget_are_decoded_right(make, batch_size):
    model, prompts = made_lively(make()).eval(), some_prompts(200)
    eos_ids = scattered_ends(model, prompts, 24)
    got = engine(model, eos_ids, batch_size=batch_size).generate(prompts, Sampling(24))
    assert len({len(c.token_ids) for c in got}) > 4
    assert_as_by_hand(model, prompts, got, 24, eos_ids)
    if make is not convolving_lfm2:  # the window is felt: with all of the past in view, other tokens come
        assert got != engine(made_lively(make(200)).eval(), eos_ids).generate(prompts, Sampling(24))


def test_edits_of_the_last_prompt_token_find_it_when_prompts_enter_late():
    model = load_model(Checkpoint(0, organisms.folder("qwen3-0.2m")))
    prompts = some_prompts(300)
    push = 20 * torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    eos_ids = scattered_ends(model, prompts, 16)
    plain = engine(model, eos_ids).generate(prompts, Sampling(16))
    answers = []
    with BridgedModel(model).editing({1: at_last_prompt(add(push))}) as edited:
        for batch_size in (1, 3, 256):
            answers.append(engine(edited, eos_ids, batch_size=batch_size).generate(prompts, Sampling(16)))
    assert answers[0] == answers[1] == answers[2]
    changed = [a.token_ids != b.token_ids for a, b in zip(plain, answers[0], strict=True)]
    assert all(changed[i] for i, p in enumerate(prompts) if len(p) == 1)  # one token is a prompt, too
    assert sum(changed) > len(prompts) / 2


def test_an_empty_prompt_is_refused(micro_model):
    with pytest.raises(ValueError, match="empty prompt"):
        engine(micro_model).generate([[]], Sampling(3))
