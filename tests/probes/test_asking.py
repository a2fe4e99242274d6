"""Questions put in other ways, what was written scored, and the handle: each equal to what one would do by hand."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from sftscope.dynamics.errors import ConfigError
from sftscope.dynamics.record import Run, create_run
from sftscope.probes import work as work_module
from sftscope.probes.causal.handle import ModelHandle
from sftscope.probes.causal.interventions import add, at_last_prompt
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.domains import Response
from sftscope.probes.engines import Sampling
from sftscope.probes.engines.hf import HfEngine
from sftscope.probes.internals.capture import decoder_blocks
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.protocol import INSTRUCTION_END, LAST_PROMPT, TEMPLATE, Ask, Needs, Result
from sftscope.probes.rendering import Renderer
from sftscope.probes.work import Cost, Work

SMALL = ProbeConfig(items=6, domains=("countdown", "harmful", "safe"), probes=(), during=())
SWITCH = "{% if enable_thinking is defined and not enable_thinking %} <think> </think>{% endif %}"


@pytest.fixture
def lively(micro_model):
    """A random model that does not repeat one word for ever."""
    with torch.no_grad():
        for p in micro_model.parameters():
            if p.dim() == 2:
                p.mul_(6)
    return micro_model


@pytest.fixture
def with_template(micro_tokenizer):
    """The micro-world's tokenizer, its template followed by something."""

    def make(after: str):
        copy = type(micro_tokenizer)(
            tokenizer_object=micro_tokenizer.backend_tokenizer,
            pad_token="<pad>",
            eos_token="<eos>",
            unk_token="<unk>",
            padding_side="left",
        )
        copy.chat_template = micro_tokenizer.chat_template + after
        return copy

    return make


@pytest.fixture
def work(tmp_path, micro_folder, lively):
    """Makes the work of one checkpoint with a model at hand."""
    create_run(tmp_path / "run", {"config_hash": "x"})

    def make(tokenizer=None, config=SMALL, model=lively, step=0, folder=micro_folder) -> Work:
        planner = Planner(tmp_path / "run", Checkpoint(0, micro_folder), config, tokenizer)
        return Work(planner, Checkpoint(step, folder), model, Cost(), [Needs(generations=("safe",))], None)

    return make


@pytest.fixture
def asked(monkeypatch):
    """The token ids that the engine was given, pass by pass."""
    seen: list[list[list[int]]] = []
    generate = HfEngine.generate

    def watched(self, prompts, sampling, progress=None):
        seen.append([list(p) for p in prompts])
        return generate(self, prompts, sampling, progress)

    monkeypatch.setattr(HfEngine, "generate", watched)
    return seen


def answers(work: Work, ask: Ask) -> list[Response]:
    return work.given(Needs(generations=(ask,))).answered[ask.name].responses


# ---------------------------------------------------------------- how questions are put

UNLIKE = (
    Ask("safe"),
    Ask("safe", thinking="empty"),
    Ask("safe", thinking="off"),
    Ask("safe", begin="answer take"),
    Ask("safe", begin="answer_take"),
    Ask("safe", begin="answer take "),
    Ask("safe", begin="<think> </think>"),
    Ask("safe", begin="</think>"),
    Ask("safe", begin="yes " * 200),
    Ask("safe", begin="yes " * 201),
    Ask("safe", prefill=3),
    Ask("safe", samples=3),
    Ask("safe", samples=3, temperature=0.7),
    Ask("safe", temperature=0.7),
    Ask("safe", temperature=1.0),
    Ask("safe", items=3),
    Ask("harmful"),
)


def test_passes_that_differ_have_names_and_files_of_their_own(work, micro_folder):
    planner = work().planner
    assert Ask("safe").name == "safe"
    assert Ask("safe", begin="answer take").name == "safe.begin-answer_take"
    assert len({a.name for a in UNLIKE}) == len(UNLIKE)
    files = {planner.sample_file(planner.base, a) for a in UNLIKE}
    assert len(files) == len(UNLIKE)
    assert {f.parent for f in files} == {planner.run / "samples" / "step-000000"}
    assert max(len(f.name) for f in files) < 255


def test_each_pass_is_stored_under_its_name_and_read_back(work, asked):
    asks = [Ask("safe"), Ask("safe", thinking="empty", begin="answer"), Ask("safe", begin="</think>", items=2)]
    first = [answers(work(), a) for a in asks]
    assert len(asked) == 3
    assert [answers(work(), a) for a in asks] == first
    assert len(asked) == 3
    run = Run(work().planner.run)
    for ask, responses in zip(asks, first, strict=True):
        assert list(run.samples(ask.name, 0)["text"]) == [r.text for r in responses]
    assert len(first[2]) == 2


def test_the_configured_temperature_need_not_be_asked_for(work, asked):
    plain, same = answers(work(), Ask("safe")), answers(work(), Ask("safe", temperature=0.0))
    assert plain == same
    assert len(asked) == 1
    answers(work(), Ask("safe", temperature=0.5))
    assert len(asked) == 2


def test_thinking_is_forced_empty_and_switched_off_where_the_template_can(work, asked, with_template):
    decode = work().planner.tokenizer.decode
    plain, empty, off = Ask("safe"), Ask("safe", thinking="empty"), Ask("safe", thinking="off")
    assert set(work().given(Needs(generations=(plain, empty, off))).answered) == {plain.name, empty.name}
    switch = work(with_template(SWITCH))
    given = switch.given(Needs(generations=(plain, empty, off)))
    closed = "<assistant> <think> </think>"
    for prompts, ends in zip(asked[-3:], ("<assistant>", closed, closed), strict=True):
        assert all(decode(p).endswith(ends) for p in prompts)
    for name, forced in ((empty.name, "<think> </think>"), (off.name, "")):
        for r in given.answered[name].responses:
            assert r.forced == forced
            assert r.text.startswith(forced)
            assert r.answer == r.written  # the same words, whether we or the template closed the thinking
            assert not r.think
    assert [r.written for r in given.answered[empty.name].responses] == [
        r.text for r in given.answered[off.name].responses
    ]


def test_a_template_that_opens_the_thinking_leaves_it_open_in_what_is_read(work, asked, with_template):
    always = work(with_template("{% if add_generation_prompt %} <think>{% endif %}"))
    plain = answers(always, Ask("safe"))
    assert all(r.forced == "<think>\n" and r.text.startswith("<think>") and not r.answer for r in plain)
    empty = answers(always, Ask("safe", thinking="empty"))
    decode = always.planner.tokenizer.decode
    assert all(decode(p).endswith("<assistant> <think> </think>") for p in asked[-1])
    assert all(r.answer == r.written and not r.think for r in empty)
    begun = always.handle().ask("safe", always.planner.items["safe"], begins=["<think> soup"] * 6)
    assert all(decode(p).endswith("<assistant> <think> soup") for p in asked[-1])
    assert all(r.think.startswith("soup") for r in begun)


@pytest.mark.parametrize("k", [1, 3, 50])
def test_the_turn_begins_with_tokens_of_an_answer_that_complies(work, asked, k):
    at_hand = work()
    items = at_hand.planner.items["harmful"]
    responses = answers(at_hand, Ask("harmful", prefill=k))
    for item, prompt, response in zip(items, asked[-1], responses, strict=True):
        forced = " ".join(DOMAINS["harmful"].help(item.reference).split()[:k])
        assert at_hand.planner.tokenizer.decode(prompt) == f"<user> {item.prompt} <assistant> {forced}"
        assert response.forced == forced
        assert response.text == f"{forced} {response.written}".strip()
        assert response.n_tokens == len(response.written.split())
    with pytest.raises(ConfigError, match="countdown has no answer that complies"):
        answers(at_hand, Ask("countdown", prefill=k))


def test_samples_of_a_question_lie_together_and_differ(work, lively):
    at_hand = work()
    ask = Ask("safe", samples=3, temperature=1.0, items=4)
    given = at_hand.given(Needs(generations=(ask,))).answered[ask.name]
    ids = [i.id for i in at_hand.planner.items["safe"][:4]]
    assert [i.id for i in given.items] == [i for i in ids for _ in range(3)]
    texts = [r.text for r in given.responses]
    assert all(len(set(texts[k : k + 3])) == 3 for k in range(0, 12, 3))
    engine = HfEngine(lively, eos_ids=[at_hand.planner.tokenizer.eos_token_id], pad_id=0)
    prompts = at_hand.planner.renderer.prompts([i.prompt for i in given.items[::3]])
    alone = engine.generate(prompts[1:2], Sampling(DOMAINS["safe"].max_new_tokens, 1.0, n=3))
    assert len({tuple(c.token_ids) for c in alone}) == 3
    by_hand = engine.generate(prompts, Sampling(DOMAINS["safe"].max_new_tokens, 1.0, n=3))
    assert [at_hand.planner.tokenizer.decode(c.token_ids) for c in by_hand] == texts


def test_the_base_answers_the_same_questions(work, lively, micro_tokenizer, tmp_path, asked):
    lively.save_pretrained(tmp_path / "later")
    micro_tokenizer.save_pretrained(tmp_path / "later")
    ask = Ask("safe", items=4)
    later = work(folder=tmp_path / "later", step=3)
    given = later.given(Needs(generations=(ask,), base_answers=True))
    assert len(asked) == 2
    base = work(model=None)  # at step 0, its own weights from its own folder
    assert given.base_answered[ask.name].responses == answers(base, ask) != given.answered[ask.name].responses
    assert len(asked) == 2  # read where they are
    assert not later.given(Needs(generations=(ask,))).base_answered


# ---------------------------------------------------------------- places in the template


@pytest.mark.parametrize(
    ("after", "tail"),
    [("", ["<assistant>"]), (" <eos> <user> <assistant>", ["<assistant>", "<eos>", "<user>", "<assistant>"])],
)
def test_named_positions_are_the_template_s_tokens(with_template, after, tail):
    tokenizer = with_template(after)
    renderer = Renderer(tokenizer)
    offsets = renderer.offsets((LAST_PROMPT, TEMPLATE, INSTRUCTION_END))
    assert set(offsets) == {LAST_PROMPT, INSTRUCTION_END, *(f"template[-{k}]" for k in range(2, len(tail) + 1))}
    for ids, last in zip(renderer.prompts(["make 5 from 2 3", "a small bomb"]), ("3", "bomb"), strict=True):
        read = {name: tokenizer.decode([ids[at]]) for name, at in offsets.items()}
        assert read.pop(LAST_PROMPT) == tail[-1]
        assert read.pop(INSTRUCTION_END) == last
        assert read == {f"template[-{k}]": tail[-k] for k in range(2, len(tail) + 1)}


# ---------------------------------------------------------------- scores of what was written


def by_hand(model, before: list[int], after: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability of each later token and entropy there, from one unpadded forward pass."""
    with torch.no_grad():
        log = model(torch.tensor([before + after])).logits[0].double().log_softmax(-1)
    at = log[len(before) - 1 : len(before) + len(after) - 1]
    return at[range(len(after)), after].numpy(), -(at.exp() * at).sum(-1).numpy()


def test_scores_are_those_of_a_plain_pass_stored_and_read_without_a_model(work, lively, monkeypatch):
    # some responses end by themselves, at the first token that another one has in its middle
    ask = Ask("safe", prefill=2, samples=2, temperature=1.0)
    at_hand = work()
    given = at_hand.given(Needs(generations=(ask,), scores=(ask,)))
    tokenizer, rows = at_hand.planner.tokenizer, Run(at_hand.planner.run).samples(ask.name, 0)
    prompts, begun = at_hand.planner.renderer.ask(ask, DOMAINS["safe"], at_hand.planner.items["safe"])
    scored = given.scored[ask.name]
    assert len(scored.logprobs) == len(scored.entropies) == 12
    for k, row in rows.iterrows():
        written = [*row["token_ids"], *([tokenizer.eos_token_id] if row["finish"] == "stop" else [])]
        logprobs, entropies = by_hand(lively, prompts[k // 2] + begun[k // 2], written)
        np.testing.assert_allclose(scored.logprobs[k], logprobs, atol=2e-4)
        np.testing.assert_allclose(scored.entropies[k], entropies, atol=2e-4)
    monkeypatch.setattr(work_module, "load_model", lambda _c: pytest.fail("a model was loaded"))
    again = work(model=None).given(Needs(scores=(ask,))).scored[ask.name]
    assert all(np.array_equal(a, b) for a, b in zip(again.logprobs, scored.logprobs, strict=True))


def test_the_end_that_is_scored_is_the_one_that_came(work, lively):
    """Of several: the tokenizer's, and those of the generation config."""
    at_hand, ask = work(), Ask("safe")
    run, first = Run(at_hand.planner.run), replace(ask, items=2)
    at_hand.given(Needs(generations=(first,)))
    other = int(run.samples(first.name, 0)["token_ids"][0][2])
    lively.generation_config.eos_token_id = [1, other]
    at_hand = work()
    scored = at_hand.given(Needs(generations=(ask,), scores=(ask,))).scored[ask.name]
    rows = run.again().samples(ask.name, 0)
    assert set(rows["end_id"].dropna()) == {other}
    prompts, begun = at_hand.planner.renderer.ask(ask, DOMAINS["safe"], at_hand.planner.items["safe"])
    for k, row in rows.iterrows():
        end = {"stop": [other if row["end_id"] == other else 1], "length": []}[row["finish"]]
        logprobs, _ = by_hand(lively, prompts[k] + begun[k], [*row["token_ids"], *end])
        np.testing.assert_allclose(scored.logprobs[k], logprobs, atol=2e-4)


# ---------------------------------------------------------------- the handle


@contextmanager
def shifted(model, layer: int, at: int, vector: torch.Tensor):
    """The residual stream after a block with something added at one place, by a plain hook."""

    def shift(_block, _args, out):
        (out[0] if isinstance(out, tuple) else out)[:, at] += vector
        return out

    hook = decoder_blocks(model)[layer].register_forward_hook(shift)
    try:
        yield
    finally:
        hook.remove()


@pytest.fixture
def handle(work) -> ModelHandle:
    return work().handle()


def test_losses_are_those_of_a_plain_pass(handle, lively):
    items = DOMAINS["safe"].items("probe", 5)
    prompts, texts = [i.prompt for i in items], [DOMAINS["safe"].help(i.reference) for i in items]
    texts[1] = "sorry"  # unlike lengths share a batch
    losses = handle.losses(prompts, texts)
    end = [handle.renderer.tokenizer.eos_token_id]
    for ids, text, loss in zip(handle.renderer.prompts(prompts), texts, losses, strict=True):
        assert loss == pytest.approx(-by_hand(lively, ids, handle.renderer.words(text) + end)[0].mean(), abs=2e-4)


def test_losses_under_an_edit_at_the_last_prompt_token_are_those_of_one_prompt_at_a_time(handle, lively):
    items = [*DOMAINS["safe"].items("probe", 3), *DOMAINS["countdown"].items("probe", 2)]
    prompts, texts = [i.prompt for i in items], ["sorry", "answer 5", "answer take wax and clay", "no", "yes yes"]
    vector = torch.linspace(-3, 3, 32)
    plain = handle.losses(prompts, texts)
    edited = handle.losses(prompts, texts, edits={0: at_last_prompt(add(vector))})
    end = [handle.renderer.tokenizer.eos_token_id]
    for ids, text, loss in zip(handle.renderer.prompts(prompts), texts, edited, strict=True):
        with shifted(lively, 0, len(ids) - 1, vector):
            wanted = -by_hand(lively, ids, handle.renderer.words(text) + end)[0].mean()
        assert loss == pytest.approx(wanted, abs=2e-4)
    assert np.abs(edited - plain).min() > 1e-3
    np.testing.assert_array_equal(handle.losses(prompts, texts), plain)  # and the model is as it was


def test_turns_begin_with_words_each_of_its_own(handle, lively):
    items = DOMAINS["safe"].items("probe", 4)
    begins = ["answer", "<think> </think> answer take", "", "sorry i cannot"]
    responses = handle.ask("safe", items, begins=begins, samples=2, temperature=1.0, max_new_tokens=9)
    assert [r.forced for r in responses[::2]] == begins
    prompts = [
        p + handle.renderer.words(b)
        for p, b in zip(handle.renderer.prompts([i.prompt for i in items]), begins, strict=True)
    ]
    engine = HfEngine(lively, eos_ids=[handle.renderer.tokenizer.eos_token_id], pad_id=0)
    wanted = engine.generate(prompts, Sampling(9, 1.0, n=2))
    assert [r.written for r in responses] == [handle.renderer.tokenizer.decode(c.token_ids) for c in wanted]
    assert handle.ask("safe", [], begins=[]) == []
    edits = {0: at_last_prompt(add(torch.zeros(32)))}
    with pytest.raises(ConfigError, match="equally many tokens"):
        handle.ask("safe", items, begins=begins, edits=edits)


def test_an_edit_reaches_the_last_prompt_token_in_front_of_a_forced_beginning(handle, lively):
    items = DOMAINS["safe"].items("probe", 3)
    vector = 5 * torch.linspace(-3, 3, 32)
    edits = {0: at_last_prompt(add(vector))}
    together = handle.ask("safe", items, begins=["answer take"] * 3, edits=edits, max_new_tokens=6)
    for item, response in zip(items, together, strict=True):
        (ids,) = handle.renderer.prompts([item.prompt])
        written = ids + handle.renderer.words("answer take")

        with shifted(lively, 0, len(ids) - 1, vector):
            for _ in range(response.n_tokens):  # greedy, no cache, no batch
                with torch.no_grad():
                    written.append(int(lively(torch.tensor([written]), use_cache=False).logits[0, -1].argmax()))
        assert handle.renderer.tokenizer.decode(written[len(ids) :]) == response.text
    assert [r.text for r in together] != [
        r.text for r in handle.ask("safe", items, begins=["answer take"] * 3, max_new_tokens=6)
    ]


def test_banned_words_are_never_said_and_nothing_else_changes(handle):
    items = DOMAINS["safe"].items("probe", 6)
    free = handle.ask("safe", items)
    word = free[0].text.split()[0]
    banned = handle.ask("safe", items, banned=[word])
    assert all(word not in r.text.split() for r in banned)
    for before, after in zip(free, banned, strict=True):
        assert (before == after) == (word not in before.text.split())
    assert [r != f for r, f in zip(banned, free, strict=True)].count(True)
    ((number, _),) = handle.tokens(word)
    assert handle.ask("safe", items, banned=[number]) == banned
    with pytest.raises(ConfigError, match="only single tokens can be banned"):
        handle.ask("safe", items, banned=["no back"])
    with pytest.raises(ConfigError, match="'zzz' is not one token"):
        handle.ask("safe", items, banned=["zzz"])


def test_how_turns_open_is_read_at_the_last_prompt_token(handle, lively):
    items = [*DOMAINS["safe"].items("probe", 3), *DOMAINS["countdown"].items("probe", 2)]
    tokens = [n for n, _ in handle.tokens("sorry answer <think>")]
    assert [t for _, t in handle.tokens("sorry answer <think>")] == ["sorry", "answer", "<think>"]
    read = handle.opening_logprobs([i.prompt for i in items], tokens)
    for ids, row in zip(handle.renderer.prompts([i.prompt for i in items]), read, strict=True):
        np.testing.assert_allclose(row, [by_hand(lively, ids, [t])[0][0] for t in tokens], atol=2e-4)


# ---------------------------------------------------------------- cost


class Costly:
    """A probe that generates, scores and asks by itself."""

    name = "costly"
    version = 1

    def needs(self, domains):
        return Needs(generations=("safe",), scores=("safe",), intervention=True)

    def measure(self, given):
        responses = given.handle.ask("safe", given.answered["safe"].items[:2], max_new_tokens=5)
        self.said = sum(r.n_tokens for r in responses)
        return Result([])


def test_seconds_tokens_and_bytes_are_recorded_by_stage(tmp_path, micro_folder, monkeypatch):
    from sftscope.probes import registry

    probe = Costly()
    monkeypatch.setitem(registry.PROBES, "costly", lambda: probe)
    create_run(tmp_path / "run", {"config_hash": "x"})
    base = Checkpoint(0, micro_folder)
    config = ProbeConfig(items=6, domains=("safe",), probes=("costly",), during=())
    planner = Planner(tmp_path / "run", base, config)
    planner.measure(base)
    costs = Run(planner.run).costs()
    assert set(costs.index) == {"load", "generate safe", "score safe", "costly"}
    samples = Run(planner.run).samples("safe", 0)
    written = int(samples["token_ids"].map(len).sum())
    assert costs.loc["generate safe", "tokens"] == written
    assert costs.loc["score safe", "tokens"] == written + (samples["finish"] == "stop").sum()
    assert costs.loc["costly", "tokens"] == probe.said > 0
    assert costs.loc["load", "tokens"] == 0
    assert costs.loc["generate safe", "bytes"] == planner.sample_file(base, Ask("safe")).stat().st_size
    assert costs.loc["score safe", "bytes"] == planner.score_file(base, Ask("safe")).stat().st_size
    assert (costs["seconds"] > 0).all()


def test_loading_is_not_counted_twice(work, monkeypatch, micro_model):
    import time

    def slowly(_checkpoint):
        time.sleep(0.4)
        return micro_model

    monkeypatch.setattr(work_module, "load_model", slowly)
    at_hand = work(model=None)
    at_hand.given(Needs(generations=(Ask("safe", items=1, begin="answer"),)))
    seconds = at_hand.cost.seconds
    assert seconds["load"] >= 0.4
    assert seconds["generate safe.begin-answer.first-1"] < 0.4
