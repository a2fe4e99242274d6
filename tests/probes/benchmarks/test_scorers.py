"""Local models that score free text: each answer its own number, however it is batched; what did not finish is missing."""

from __future__ import annotations

import math

import pytest
import torch
from benchmark_standins import cut, done, load, write
from sftscope.dynamics.errors import CheckpointError, ConfigError
from sftscope.dynamics.record import Run, create_run
from sftscope.dynamics.settings import from_mapping, to_mapping
from sftscope.probes.behaviour.model_scores import ModelScores
from sftscope.probes.benchmarks import BenchmarkConfig
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.protocol import Answered, Given
from sftscope.probes.scorers import ScorerConfig, load_scorer

REQUESTS = ["how do i make a cake", "make 56 from 3 5 7", "how do i hide a bomb tonight", "make a cake"]
ANSWERS = ["answer take flour and sugar then you can make it", "answer 56", "sorry i cannot help with that", "yes"]
SAYS = "{request} : {answer} : answer"


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory, micro_tokenizer):
    """A random reward model: a Qwen3 with one output."""
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    folder = tmp_path_factory.mktemp("reward")
    torch.manual_seed(1)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "head_dim": 16,
    }
    config = Qwen3Config(
        vocab_size=len(micro_tokenizer),
        num_key_value_heads=1,
        num_labels=1,
        pad_token_id=micro_tokenizer.pad_token_id,
        initializer_range=0.5,
        **sizes,
    )
    Qwen3ForSequenceClassification(config).save_pretrained(folder)
    micro_tokenizer.save_pretrained(folder)
    return folder


def by_hand(folder, tokenizer, request, answer) -> float:
    """The reward of one chat, alone, by transformers' own classes."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    chat = [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
    ids = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    with torch.inference_mode():
        return float(model(input_ids=torch.tensor([ids])).logits[0, 0])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_each_answer_has_the_reward_that_it_has_alone(reward_folder, micro_tokenizer, batch_size):
    scores = load_scorer(ScorerConfig("alpaca_eval", str(reward_folder), batch_size=batch_size))(REQUESTS, ANSWERS)
    alone = [by_hand(reward_folder, micro_tokenizer, r, a) for r, a in zip(REQUESTS, ANSWERS, strict=True)]
    assert scores == pytest.approx(alone, abs=1e-5)
    assert max(scores) - min(scores) > 0.01  # else the order could be wrong unseen


def test_a_judge_says_yes_where_yes_is_the_likelier_next_word(micro_folder, micro_model, micro_tokenizer):
    config = ScorerConfig("truthfulqa", str(micro_folder), "yes_no", SAYS, batch_size=2)
    said = []
    for request, answer in zip(REQUESTS, ANSWERS, strict=True):
        ids = micro_tokenizer(SAYS.format(request=request, answer=answer)).input_ids
        with torch.inference_mode():
            last = micro_model(input_ids=torch.tensor([ids])).logits[0, -1]
        yes, no = (last[micro_tokenizer.convert_tokens_to_ids(w)] for w in ("yes", "no"))
        said.append(float(yes > no))
    assert load_scorer(config)(REQUESTS, ANSWERS) == said


@pytest.mark.parametrize("kind", ["reward", "yes_no"])
def test_a_text_that_is_too_long_loses_the_end_of_its_answer_only(kind, reward_folder, micro_folder):
    """Scored as the same with a shorter answer is: what the verdict hangs on, after the answer, is still there."""
    model, prompt = (str(reward_folder), "") if kind == "reward" else (str(micro_folder), SAYS)
    long, short = " ".join(["flour", "and", "sugar"] * 20), " ".join(["flour", "and", "sugar"] * 2)
    whole = load_scorer(ScorerConfig("truthfulqa", model, kind, prompt))
    length = len(whole._ids(REQUESTS[0], short))
    cut_there = load_scorer(ScorerConfig("truthfulqa", model, kind, prompt, max_tokens=length))
    ids = cut_there._fitting(REQUESTS[0], long, cut_there._ids)
    assert ids == whole._ids(REQUESTS[0], short)
    assert cut_there([REQUESTS[0]], [long]) == whole([REQUESTS[0]], [short])
    if kind == "reward":
        assert whole([REQUESTS[0]], [long]) != whole([REQUESTS[0]], [short])  # else it could be cut unseen
    tiny = load_scorer(ScorerConfig("truthfulqa", model, kind, prompt, max_tokens=3))
    assert tiny._fitting(REQUESTS[0], long, tiny._ids) == whole._ids(REQUESTS[0], "")[-3:]


def test_only_what_was_answered_is_scored(reward_folder, micro_folder, tmp_path):
    domain = load("alpaca_eval", tmp_path)
    items = domain.items("probe", 2)
    responses = [done("<think> hm </think> answer 56"), cut("answer 56")]
    given = Given(0, {"alpaca_eval": domain}, {"alpaca_eval": Answered(domain, items, responses)})
    config = ScorerConfig("alpaca_eval", str(reward_folder))
    rows = {r.metric: r for r in ModelScores({"rm": config}).measure(given).rows}
    alone = load_scorer(config)([items[0].prompt], ["answer 56"])[0]  # without the thinking
    assert rows["reward_mean"].estimate.value == pytest.approx(alone)
    assert rows["reward_missing_share"].estimate.value == 0.5
    assert rows["reward_mean"].position == "rm"

    judge = ScorerConfig("alpaca_eval", str(micro_folder), "yes_no", SAYS)
    result = ModelScores({"truth": judge}).measure(given)
    rows = {r.metric: r.estimate.value for r in result.rows}
    said = load_scorer(judge)([items[0].prompt], ["answer 56"])[0]
    assert (rows["yes_rate"], rows["yes_rate_of_answered"], rows["yes_missing_share"]) == (said / 2, said, 0.5)
    kept = result.items.set_index("item")["value"]
    assert kept[items[0].id] == said
    assert math.isnan(kept[items[1].id])


def test_configured_scorers_are_asked_and_keyed_by_their_weights(tmp_path, micro_folder, reward_folder):
    rows = [{"instruction": "how do i make a cake"}, {"instruction": "how do i make a kite"}]
    file = write(tmp_path / "alpaca.jsonl", rows)
    asked = {"alpaca_eval": BenchmarkConfig(path=file, max_new_tokens=8)}
    scorers = {"rm": ScorerConfig("alpaca_eval", str(reward_folder))}
    config = ProbeConfig(probes=("scores",), during=(), domains=(), benchmarks=asked, scorers=scorers)
    assert config.probes == ("scores", "scorers")
    assert from_mapping(ProbeConfig, to_mapping(config)) == config
    run, checkpoint = tmp_path / "run", Checkpoint(0, micro_folder)
    create_run(run, {"config_hash": "x"})
    measured = {r.metric: r for r in Planner(run, checkpoint, config).measure(checkpoint)}
    assert {r.status for r in measured.values()} == {"ok"}
    assert {"finish_rate", "parse_rate", "reward_mean", "reward_missing_share"} <= set(measured)
    assert not {"score_strict", "score_lenient", "accuracy_of_parsed"} & set(measured)  # nothing graded it
    assert len(Run(run).samples("alpaca_eval", 0)) == 2
    other = ScorerConfig("alpaca_eval", str(reward_folder), max_tokens=5)
    again = ProbeConfig(probes=("scores",), during=(), domains=(), benchmarks=asked, scorers={"rm": other})
    assert [p.name for p in Planner(run, checkpoint, again).missing(checkpoint)] == ["scorers"]


def test_what_cannot_score_is_refused(micro_folder, reward_folder, tmp_path):
    with pytest.raises(ConfigError, match="no model of the kind 'reward'"):  # its head would be drawn at random
        load_scorer(ScorerConfig("alpaca_eval", str(micro_folder)))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_scorer(ScorerConfig("alpaca_eval", str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match=r"give a `prompt` with \{request\} and \{answer\}"):
        ScorerConfig("truthfulqa", "judge", "yes_no", "{request}")
    for broken in ("{request} {answer} {", "{request} {answer!x}", "{request} {answer:d}"):
        with pytest.raises(ConfigError, match="write braces of the text itself twice"):
            ScorerConfig("truthfulqa", "judge", "yes_no", broken)
    with pytest.raises(ConfigError, match=r"give a `prompt` with \{request\} and \{answer\}"):
        ScorerConfig("truthfulqa", "judge", "yes_no", "{} {answer}")
    with pytest.raises(ConfigError, match="leave it out"):
        ScorerConfig("truthfulqa", "judge", "reward", SAYS)
    with pytest.raises(ConfigError, match="which is not asked"):
        ProbeConfig(domains=("facts",), scorers={"rm": ScorerConfig("alpaca_eval", "x")})
    with pytest.raises(ConfigError, match="none is configured"):
        ProbeConfig(probes=("scorers",))
