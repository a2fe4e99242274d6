"""The self-test says ok of what is sound, and finds what was broken on purpose."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from sftscope.cli import main
from sftscope.probes import organisms
from sftscope.probes.checkpoints import Checkpoint, load_model, load_tokenizer
from sftscope.probes.internals import capture, directions
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.rendering import Renderer
from sftscope.probes.selftest import answers, selftest, states
from sftscope.probes.selftest.directions import areas, check_random, check_reliability, check_shuffled, shuffled_aucs

BASE = "qwen3-0.2m"
FEW = ("facts", "harmful", "safe")
CHECKS = ["hooks", "bridge", "padding", "storage", "reliability", "shuffled", "random", "greedy twice", "noise floor"]


@pytest.fixture(scope="module")
def model():
    return load_model(Checkpoint(0, organisms.folder(BASE)))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(Checkpoint(0, organisms.folder(BASE)))


@pytest.fixture
def prompts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(5, 300, (n,), generator=generator).tolist() for n in (3, 9, 17, 30)]


# ---------------------------------------------------------------- from end to end


def test_on_an_organism_everything_is_ok_and_kept(tmp_path, capsys):
    assert main(["selftest", f"organism:{BASE}", "-o", str(tmp_path), "--domains", *FEW, "--items", "48"]) == 0
    told = capsys.readouterr().out
    kept = json.loads((tmp_path / "selftest.json").read_text())
    assert list(kept["lines"]) == CHECKS
    statuses = {name: line["status"] for name, line in kept["lines"].items()}
    # In the organism's small world nearly every direction tells harmful words from safe ones.
    assert statuses == dict.fromkeys(CHECKS, "ok") | {"random": "look"}
    assert kept["lines"]["random"]["auc_median"] > 0.7
    assert all(name in told for name in CHECKS)
    assert kept["lines"]["hooks"]["gap"] < 1e-5
    assert 0.45 < kept["lines"]["shuffled"]["auc"] < 0.55
    floor = kept["lines"]["noise floor"]["domains"]
    assert list(floor) == list(FEW)
    assert floor["harmful"]["finished"] > 0.9
    assert kept["weights"] == Checkpoint(0, organisms.folder(BASE)).weights


@pytest.mark.parametrize("kind", ["LlamaForCausalLM", "Qwen2ForCausalLM"])
def test_a_random_model_is_told_what_cannot_be_known_of_it(kind, tmp_path, micro_folder, micro_tokenizer):
    import transformers

    config = getattr(transformers, kind).config_class(
        vocab_size=len(micro_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        eos_token_id=micro_tokenizer.eos_token_id,
        pad_token_id=micro_tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    getattr(transformers, kind)(config).save_pretrained(tmp_path / "random")
    micro_tokenizer.save_pretrained(tmp_path / "random")
    outcome = selftest(Checkpoint(0, tmp_path / "random"), domains=FEW, items=8)
    by_name = {line.name: line for line in outcome.lines}
    assert list(by_name) == CHECKS
    assert not outcome.failed
    assert by_name["hooks"].status == by_name["padding"].status == "ok"
    assert by_name["noise floor"].status == "look"
    assert "do not end before the cap" in by_name["noise floor"].text


def test_what_failed_ends_the_command_with_1(monkeypatch, capsys):
    """Were captured states those after the final norm, the self-test would stop the user."""
    block_outputs = capture.block_outputs

    def normed(model, layers, keep):
        return block_outputs(model, layers, lambda layer, acts: keep(layer, model.base_model.norm(acts)))

    monkeypatch.setattr(capture, "block_outputs", normed)
    with pytest.raises(SystemExit) as ended:
        main(["selftest", f"organism:{BASE}", "--domains", "facts", "--items", "4"])
    assert ended.value.code == 1
    assert "failed: hooks, bridge" in " ".join(capsys.readouterr().out.split())


def test_a_model_without_blocks_to_hook_is_told_and_its_answers_still_count(monkeypatch, micro_folder):
    def none(model):
        raise ValueError("has no list of 2 decoder blocks to hook")

    monkeypatch.setattr(capture, "decoder_blocks", none)
    outcome = selftest(Checkpoint(0, micro_folder), domains=["facts"], items=4)
    by_name = {line.name: line for line in outcome.lines}
    assert outcome.failed == ["hooks", "padding", "storage"]
    assert "no list of 2 decoder blocks" in by_name["hooks"].text
    assert by_name["direction"].status == "not checked"
    assert by_name["noise floor"].numbers["domains"]["facts"]["finished"] >= 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "no checkpoint at nowhere"),
        ([f"organism:{BASE}", "--temperature", "0"], "give one above 0"),
        ([f"organism:{BASE}", "--domains", "fact"], "did you mean 'facts'"),
    ],
)
def test_mistakes_are_told(args, message, capsys):
    assert main(["selftest", *args]) == 2
    assert message in capsys.readouterr().err


def test_one_model_is_tested_at_a_time(tmp_path, micro_folder, capsys):
    for step in (1, 2):
        shutil.copytree(micro_folder, tmp_path / f"checkpoint-{step}")
    assert main(["selftest", str(tmp_path)]) == 2
    assert "holds 2 checkpoints, and one is tested" in capsys.readouterr().err


# ---------------------------------------------------------------- states


def test_a_model_that_attends_to_padding_is_found(model, prompts, monkeypatch):
    assert states.check_padding(model, prompts, 0).status == "ok"
    forward = model.base_model.forward

    def blind(*args, attention_mask, **kwargs):
        return forward(*args, attention_mask=torch.ones_like(attention_mask), **kwargs)

    monkeypatch.setattr(model.base_model, "forward", blind)
    line = states.check_padding(model, prompts, 0)
    assert line.status == "failed"
    assert line.numbers["right"] < 1e-4 < 0.2 < line.numbers["left"]  # causal attention never looks to the right


def test_states_of_the_wrong_token_are_found(model, prompts, monkeypatch):
    hidden = states._hidden_states
    monkeypatch.setattr(states, "_hidden_states", lambda m, p: hidden(m, [x[:-1] for x in p]))
    by_name = {line.name: line.status for line in states.check_parity(model, prompts, 0)}
    assert by_name == {"hooks": "failed", "bridge": "ok"}


def test_a_model_the_bridge_does_not_know_is_not_checked(model, prompts, monkeypatch):
    def unknown(*args):
        raise ValueError("no adapter for this architecture")

    monkeypatch.setattr(states, "_bridge_states", unknown)
    line = states.check_parity(model, prompts, 0)[-1]
    assert line.status == "not checked"
    assert "no adapter for this architecture" in line.text


def test_the_stores_precision_is_told():
    acts = np.random.default_rng(0).standard_normal((40, 3, 16)).astype(np.float32)
    assert states.check_storage(acts).status == "ok"
    large = acts * 1e5
    assert states.check_storage(large).status == "look"
    assert "float32" in states.check_storage(large).text
    broken = acts.copy()
    broken[3, 1, 2] = np.inf
    assert states.check_storage(broken).status == "failed"
    assert "1 of 40 prompts" in states.check_storage(broken).text
    tiny = acts * 1e-9  # below what float16 can hold: every state would come back as 0
    assert states.check_storage(tiny).status == "failed"


# ---------------------------------------------------------------- nulls of a direction


def planted(strength, everywhere=False, n=120, layers=3, width=48, seed=0):
    """Two classes that differ where their states hardly vary, or along all directions; by nothing at strength 0."""
    rng = np.random.default_rng(seed)
    label, spread = np.arange(n) % 2 == 0, np.linspace(0.1, 3, width)
    acts = rng.standard_normal((n, layers, width)) * spread
    shift = rng.standard_normal(width) * spread
    acts[label] += strength * (shift if everywhere else np.where(np.arange(width) < 6, 3 * shift, 0))
    return acts.astype(np.float32), label, np.arange(n) < n // 2, np.where(np.arange(n) // 2 % 2, "A", "B")


def test_a_planted_direction_passes_and_noise_is_looked_at():
    acts, label, fit, half = planted(4, n=240)
    assert check_reliability(acts, label, half).status == "ok"
    planted_line = check_random(acts, label, fit)
    assert planted_line.status == "ok"
    assert planted_line.numbers["auc_median"] < 0.7 < planted_line.numbers["auc_lo"]
    acts, label, fit, half = planted(0)
    line = check_random(acts, label, fit)
    assert line.status == "look"
    assert "nothing here that training could turn" in line.text
    weak = check_reliability(acts, label, half)
    assert weak.status == "look"
    assert "undefined" in weak.text


def test_classes_that_differ_everywhere_make_an_auc_no_evidence():
    acts, label, fit, half = planted(2, everywhere=True)
    line = check_random(acts, label, fit)
    assert line.status == "look"
    assert "its AUC is no evidence" in line.text
    assert check_reliability(acts, label, half).status == "ok"


@pytest.mark.parametrize("strength", [0, 2])
def test_shuffled_labels_are_at_chance_where_the_naive_way_is_not(strength):
    acts, label, fit, _ = planted(strength)
    line = check_shuffled(acts, label, fit)
    assert line.status == "ok"
    assert line.numbers["separates"] < 0.05
    assert line.numbers["separates_best_layer"] > line.numbers["separates"]
    rng, naive = np.random.default_rng(0), []
    for _ in range(20):  # fitted and reported on the same prompts
        shuffled = rng.permutation(label)
        direction = directions.difference_in_means(acts, shuffled)[0]
        naive.append(directions.auc(acts[:, 0] @ direction, shuffled).lo > 0.5)
    assert np.mean(naive) > 0.9


def test_prompts_that_appear_on_both_sides_are_found(monkeypatch):
    """Had the two parts prompts in common, shuffled labels would be told apart by memory."""
    acts, label, fit, _ = planted(0)
    acts[~fit] = acts[fit]
    rng = np.random.default_rng

    class Same:
        """One permutation for both parts, as the same prompts have the same labels."""

        def __init__(self, seed):
            self.rng, self.drawn, self.given = rng(seed), [], 0

        def permutation(self, labels):
            if len(self.drawn) < 200:
                self.drawn.append(self.rng.permutation(labels))
                return self.drawn[-1]
            self.given += 1
            return self.drawn[self.given - 1]

    monkeypatch.setattr(np.random, "default_rng", Same)
    assert check_shuffled(acts, label, fit).status == "failed"


def test_areas_are_those_of_the_interval():
    acts, label, fit, _ = planted(1)
    aucs, above = shuffled_aucs(acts, label, fit, shuffles=3, seed=1)
    assert aucs.shape == above.shape == (3, 3)
    scores = np.random.default_rng(0).standard_normal((2, 30))
    labels = np.array([np.arange(30) < 10, np.arange(30) % 3 == 0])
    theirs = [directions.auc(s, y).value for s, y in zip(scores, labels, strict=True)]
    assert np.allclose(areas(scores, labels), theirs)


# ---------------------------------------------------------------- answers


def test_answers_that_depend_on_their_company_are_counted():
    items = {"facts": DOMAINS["facts"].items("probe", 12)}

    def ask(domain, sampling, batch_size):
        return [answers.Response("yes" if batch_size > 100 or i else "no", True, 1) for i in range(12)]

    line = answers.check_greedy(ask, {"facts": DOMAINS["facts"]}, items)
    assert line.status == "look"
    assert line.numbers["changed"] == 1


def test_intervals_that_are_too_narrow_fail_the_noise_floor():
    def floor(domain, value, half):
        e = answers.Estimate(value, value - half, value + half, 40, "paired-t")
        return answers.Floor(domain, (0.5, 0.5 + value), e, (20, 20 + value), e, 0.1, 1.0)

    honest = [floor(str(i), v, 0.1) for i, v in enumerate(np.linspace(-0.09, 0.09, 12))]
    assert answers.check_floor(honest, 0.7).status == "ok"
    narrow = [floor(str(i), v, 0.01) for i, v in enumerate(np.linspace(-0.09, 0.09, 12))]
    line = answers.check_floor(narrow, 0.7)
    assert line.status == "failed"
    assert "too narrow" in line.text


def test_two_seeds_differ_and_one_does_not(model, tokenizer):
    items = {"countdown": DOMAINS["countdown"].items("probe", 16)}
    ask = answers.asker(model, Renderer(tokenizer), items)
    sampled = [ask("countdown", answers.Sampling(64, 0.7, seed=s), 256) for s in (0, 0, 1)]
    assert [r.text for r in sampled[0]] == [r.text for r in sampled[1]] != [r.text for r in sampled[2]]
