"""Which tokens of a conversation carry loss: what the assistant wrote and the token that ends its turn, and no other."""

import json
import time

import pytest
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.train import train
from sftscope.train.conversations import end_warnings, template_end
from sftscope.train.data import DataConfig, encode
from sftscope.train.preview import preview
from sftscope.train.records import Conversation, Record
from sftscope.train.thinking import with_thinking

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}<|im_end|>{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] }}<|im_end|>{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHORT_MARKS = MARKED.replace("<|im_end|>{% endgeneration %}", "{% endgeneration %}<|im_end|>")
# As Qwen3's does: thinking is taken out of all but the last turn.
FORGETFUL = CHATML.replace(
    "{{ m['content'] }}", "{{ m['content'] if loop.last else m['content'].split('</think>')[-1].lstrip() }}"
)
OPEN_ENDED = CHATML.replace("<|im_end|>", "")
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": " Four, of course."},
    {"role": "user", "content": "And 3 + 3?"},
    {"role": "assistant", "content": "Six.\n"},
]


@pytest.fixture(scope="module")
def bpe():
    """A byte-level tokenizer like Qwen's: `bpe(template, eos)`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    settings = {"special_tokens": special, "initial_alphabet": alphabet, "show_progress": False}
    inner.train_from_iterator([t["content"] for t in TURNS] * 5, trainers.BpeTrainer(vocab_size=400, **settings))

    def build(template=CHATML, eos="<|im_end|>"):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=eos, pad_token="<|endoftext|>")
        tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokenizer.chat_template = template
        return tokenizer

    return build


def encoded(tokenizer, messages, tmp_path, **settings):
    config = DataConfig(tmp_path / "rows.jsonl", **settings)
    (example,), _ = encode([Conversation(tuple(messages), 1)], tokenizer, config)
    return example


def learnt(example, tokenizer):
    """The stretches that carry loss, decoded."""
    found, run = [], []
    for label in [*example.labels.tolist(), -100]:
        if label != -100:
            run.append(label)
        elif run:
            found.append(tokenizer.decode(run))
            run = []
    return found


@pytest.mark.parametrize("template", [CHATML, MARKED, SHORT_MARKS], ids=["prefix", "marked", "marked-short"])
def test_every_turn_of_the_assistant_is_learnt_with_its_end_and_nothing_else(bpe, tmp_path, template):
    tokenizer = bpe(template)
    example = encoded(tokenizer, TURNS, tmp_path)
    assert learnt(example, tokenizer) == [" Four, of course.<|im_end|>", "Six.\n<|im_end|>"]
    text = tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert tokenizer.decode(example.input_ids.tolist()) == text.removesuffix("\n")  # nothing to learn after the end
    assert example.input_ids.tolist() == tokenizer(text)["input_ids"][: len(example.input_ids)]


def test_the_three_ways_to_the_mask_agree(bpe, tmp_path):
    labels = [encoded(bpe(t), TURNS, tmp_path).labels.tolist() for t in (CHATML, MARKED, SHORT_MARKS)]
    assert labels[0] == labels[1] == labels[2]


def test_a_conversation_of_one_turn_has_the_prompt_of_inference(bpe, tmp_path):
    tokenizer = bpe()
    example = encoded(tokenizer, TURNS[1:3], tmp_path)
    prompt = tokenizer.apply_chat_template(TURNS[1:2], add_generation_prompt=True, return_dict=False)
    masked = example.input_ids[example.labels == -100].tolist()
    assert masked == prompt


def test_loss_on_all_is_all_but_the_first(bpe, tmp_path):
    tokenizer = bpe()
    example = encoded(tokenizer, TURNS, tmp_path, loss_on="all")
    ids = tokenizer.apply_chat_template(TURNS, return_dict=False)
    assert example.labels.tolist() == [-100, *ids[1:]]


def test_a_template_that_rewrites_earlier_turns_is_refused_and_drop_is_a_way_out(bpe, tmp_path):
    tokenizer = bpe(FORGETFUL)
    thought = [TURNS[1], {"role": "assistant", "content": "<think>2, 2</think>\n\nFour."}, TURNS[3], TURNS[4]]
    with pytest.raises(DataError, match=r"rows\.jsonl, line 1, message 2: .*data\.thinking: drop"):
        encoded(tokenizer, thought, tmp_path)
    example = encoded(tokenizer, thought, tmp_path, thinking="drop")
    assert learnt(example, tokenizer) == ["Four.<|im_end|>", "Six.\n<|im_end|>"]
    example = encoded(tokenizer, thought[:2], tmp_path)  # as the last turn it is rendered whole
    assert learnt(example, tokenizer) == ["<think>2, 2</think>\n\nFour.<|im_end|>"]


def test_a_template_that_closes_no_turn_is_refused(bpe, tmp_path):
    assert template_end(bpe(OPEN_ENDED)) is None
    with pytest.raises(DataError, match="no special token, so the end of an answer cannot be learnt"):
        encoded(bpe(OPEN_ENDED), TURNS, tmp_path)


def test_a_template_that_leaves_the_last_turn_open_is_refused(bpe, tmp_path):
    closing = "{% endgeneration %}{{ '<|im_end|>' if messages | length < 4 }}"
    template = SHORT_MARKS.replace("{% endgeneration %}<|im_end|>", closing)
    with pytest.raises(DataError, match=r"line 1: the chat template does not close the assistant's turn"):
        encoded(bpe(template), TURNS, tmp_path)


def test_a_template_that_refuses_a_conversation_is_quoted_with_the_line(bpe, tmp_path):
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + CHATML
    with pytest.raises(DataError, match=r"rows\.jsonl, line 1: .*no system here"):
        encoded(bpe(template), TURNS, tmp_path)


def test_an_unknown_word_is_named_with_its_line(tiny, tmp_path):
    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}<user> {{ m['content'] }} {% else %}<assistant> "
        "{{ m['content'] }} <eos> {% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    tokenizer = tiny.make_tokenizer(tiny.words, template)
    chat = [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2 w3"}]
    assert learnt(encoded(tokenizer, chat, tmp_path), tokenizer) == ["w2 w3 <eos>"]
    chat[1]["content"] = "w2 zebra"
    with pytest.raises(DataError, match="line 1: the tokenizer does not know 'zebra' in the conversation"):
        encoded(tokenizer, chat, tmp_path)


def test_a_truncated_row_does_not_teach_stopping(bpe, tmp_path):
    tokenizer = bpe()
    whole = encoded(tokenizer, TURNS, tmp_path)
    length = len(whole.input_ids)
    assert not encoded(tokenizer, TURNS, tmp_path, max_length=length, over_length="truncate").truncated
    for cut in (length - 1, length - 3):
        example = encoded(tokenizer, TURNS, tmp_path, max_length=cut, over_length="truncate")
        assert example.truncated
        assert example.input_ids.tolist() == whole.input_ids[:cut].tolist()
        first, second = learnt(example, tokenizer)
        assert first.endswith("<|im_end|>")  # an answer that did end
        assert "<|im_end|>" not in second
    pair = Record("What is 2 + 2?", "Four.", 1)
    config = DataConfig(tmp_path, max_length=24, over_length="truncate")
    (example, *_), dropped = encode([pair, Record("2" * 40, "Four.", 2)], tokenizer, config)
    assert dropped == 1  # its prompt alone fills the row: nothing is left to learn
    assert tokenizer.eos_token_id not in example.labels or not example.truncated


def test_truncation_is_counted_in_the_log_and_the_plan(tiny, config, tmp_path, capsys):
    from sftscope.dynamics.record import Run

    path = tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "w1", "response": "w2 " * n} for n in (3, 20, 30, 4)])
    settings = config(data={"path": str(path), "max_length": 12, "over_length": "truncate"}, batch={"size": 2})
    run = Run(train(settings, tmp_path / "run"))
    text = capsys.readouterr().err
    assert "note         2 of 4 rows are cut to 12 tokens: their answers break off" in text
    assert "4 of rows.jsonl, 2 cut to 12 tokens; the longest has 12 tokens" in text
    assert run.info["plan"]["truncated_rows"] == 2


def test_an_end_that_generation_does_not_stop_at_is_told(bpe):
    tokenizer = bpe(eos="<|endoftext|>")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert template_end(tokenizer) == end
    (line,) = end_warnings(tokenizer, tokenizer.eos_token_id, conversations=True)
    assert "closes the assistant's turn with '<|im_end|>', and generation stops at '<|endoftext|>' only" in line
    assert f"add {end} to `eos_token_id`" in line
    assert end_warnings(tokenizer, [0, end], conversations=True) == []
    assert end_warnings(bpe(), None, conversations=True) == []
    (line,) = end_warnings(tokenizer, [0, end], conversations=False)
    assert "'<|im_end|>'; rows of prompts and responses close with '<|endoftext|>'" in line
    assert end_warnings(bpe(), None, conversations=False) == []


def test_the_shipped_organism_has_nothing_to_warn_of():
    from sftscope.probes.organisms import resolve
    from transformers import AutoTokenizer, GenerationConfig

    path = resolve("organism:qwen3-0.9m")
    stops = GenerationConfig.from_pretrained(path).eos_token_id
    for conversations in (False, True):
        assert end_warnings(AutoTokenizer.from_pretrained(path), stops, conversations=conversations) == []


@pytest.mark.parametrize(
    ("text", "thinking", "expected"),
    [
        ("<think>\na b c d\n</think>\n\nFour.", "keep", "<think>\na b c d\n</think>\n\nFour."),
        ("<think>\na b c d\n</think>\n\nFour.", "drop", "Four."),
        ("<think>\na b c d\n</think>\n\nFour.", "shorten", "<think>\na b\n</think>\n\nFour."),
        ("<think>\na\n</think>\n\nFour.", "shorten", "<think>\na\n</think>\n\nFour."),
        ("a b c d\n</think>\n\nFour.", "drop", "</think>\n\nFour."),  # the template's prompt opened it
        ("a b c d\n</think>\n\nFour.", "shorten", "a b\n</think>\n\nFour."),
        ("Four.", "drop", "Four."),
        ("<think>a</think>b <think>c</think>d", "drop", "b d"),
    ],
)
def test_thinking_is_kept_dropped_or_shortened(tiny, text, thinking, expected):
    tokenizer = tiny.make_tokenizer(["a", "b", "c", "d"])
    assert with_thinking(text, thinking, 2, tokenizer, "line 1") == expected


@pytest.mark.parametrize("text", ["<think>a b", "<think>a <think>b</think> c", "<think>a</think> b</think>"])
def test_thinking_that_is_never_closed_is_an_error_where_it_matters(tiny, text):
    tokenizer = tiny.make_tokenizer(["a", "b"])
    assert with_thinking(text, "keep", None, tokenizer, "line 4") == text
    with pytest.raises(DataError, match="line 4: a <think> is not closed"):
        with_thinking(text, "drop", None, tokenizer, "line 4")
    with pytest.raises(DataError, match="line 4 holds thinking and no answer"):
        with_thinking("<think>a</think> ", "drop", None, tokenizer, "line 4")


def test_a_long_answer_is_looked_through_once(tiny):
    """A pattern that tries every start would take minutes."""
    text = "<think>" + "a " * 200_000 + "</think>" + "b " * 200_000
    start = time.perf_counter()
    assert with_thinking(text, "drop", None, tiny.make_tokenizer(["a", "b"]), "line 1") == "b " * 200_000
    assert time.perf_counter() - start < 2


def test_shortening_counts_tokens_and_reaches_prompts_and_responses(bpe, tmp_path):
    tokenizer = bpe()
    record = Record("What?", "<think>Four, of course. Six.</think>Six.", 1)
    config = DataConfig(tmp_path, thinking="shorten", thinking_tokens=4)
    (example,), _ = encode([record], tokenizer, config)
    kept = tokenizer.decode(tokenizer("Four, of course. Six.")["input_ids"][:4])
    assert kept != "Four, of course. Six."
    assert learnt(example, tokenizer) == [f"<think>{kept}</think>Six.<|im_end|>"]


def test_thinking_in_a_field_of_its_own_is_not_passed_over(bpe, tmp_path):
    turns = [TURNS[1], {"role": "assistant", "content": "Four.", "reasoning_content": "2, 2"}]
    with pytest.raises(DataError, match="reasoning_content"):
        encoded(bpe(), turns, tmp_path, thinking="drop")


@pytest.mark.parametrize(
    "settings", [{"thinking": "shorten"}, {"thinking_tokens": 3}, {"thinking": "shorten", "thinking_tokens": 0}]
)
def test_mistakes_about_thinking(settings, tmp_path):
    with pytest.raises(ConfigError, match=r"`data\.thinking"):
        DataConfig(tmp_path, **settings)


def test_the_preview_dims_what_is_masked_and_shows_special_tokens(bpe, tmp_path):
    tokenizer = bpe()
    example = encoded(tokenizer, TURNS, tmp_path)
    shown = preview([example, example, example], tokenizer, n=2)
    text = tokenizer.decode(example.input_ids.tolist())
    head = f"tokens, {example.labelled:,} carry loss\n"
    assert shown.plain.count(head) == 2
    start = shown.plain.index(head) + len(head)
    assert shown.plain[start : start + len(text)] == text
    styles = {shown.plain[span.start : span.end]: span.style for span in shown.spans}
    assert styles["<|im_start|>"] == "dim bold"
    assert styles["user\nWhat is 2 + 2?"] == "dim"
    assert " Four, of course." not in styles  # bright: no style at all
    bold = [shown.plain[span.start : span.end] for span in shown.spans if span.style == "bold"]
    assert bold == ["<|im_end|>"] * 4


def test_a_long_rows_middle_is_left_out_and_said_to_be(bpe, tmp_path):
    tokenizer = bpe()
    example = encoded(tokenizer, [TURNS[1], {"role": "assistant", "content": "Six. " * 300}], tmp_path)
    text = preview([example], tokenizer, n=1, shown=40).plain
    assert f"[… {len(example.input_ids) - 40:,} tokens …]" in text
    assert len(text) < 400
    assert text.rstrip().endswith("<|im_end|>")


def test_a_run_on_conversations_learns_their_assistants(tiny, config, model_dir, tmp_path, rows_of):
    from transformers import AutoTokenizer

    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}<user> {{ m['content'] }} {% else %}<assistant> "
        "{% generation %}{{ m['content'] }} <eos>{% endgeneration %} {% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    runs = {}
    for name in ("pairs", "chats"):
        rows = tiny.make_rows(8)
        if name == "chats":
            roles = (("user", "prompt"), ("assistant", "response"))
            rows = [{"messages": [{"role": role, "content": r[key]} for role, key in roles]} for r in rows]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = config(
            data={"path": str(path)}, model={"tokenizer": str(tmp_path / "tokenizer")}, schedule={"epochs": 1}
        )
        runs[name] = rows_of(train(settings, tmp_path / name, quiet=True))
    assert runs["chats"][0]["loss"] == runs["pairs"][0]["loss"]  # a turn is a turn, however the row says it
    assert runs["chats"][0]["step_tokens"] == runs["pairs"][0]["step_tokens"]
