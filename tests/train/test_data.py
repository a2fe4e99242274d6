import json

import pytest
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.train.data import DataConfig, encode
from sftscope.train.records import read_records
from transformers import AutoTokenizer


@pytest.fixture(scope="module")
def tokenizer(tokenizer_dir):
    return AutoTokenizer.from_pretrained(tokenizer_dir)


@pytest.fixture
def write(tmp_path):
    def write(*rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


GOOD = {"prompt": "w1 w2", "response": "w3"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{not json", "not JSON"),
        ('["a"]', "not an object"),
        ({"prompt": "w1"}, 'no "response"'),
        ({"response": "w1", "text": "w"}, 'no "prompt" .*response, text'),
        ({"prompt": "w1", "response": ""}, '"response" is empty'),
        ({"prompt": " \n", "response": "w1"}, '"prompt" is empty'),
        ({"prompt": "w1", "response": 3}, '"response" is 3, not a text'),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(write, row, words):
    with pytest.raises(DataError, match=rf"rows\.jsonl, line 3.*{words}"):
        read_records(write(GOOD, GOOD, row))


def test_no_file_and_no_rows(tmp_path, write):
    with pytest.raises(DataError, match="no data file at"):
        read_records(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="holds no rows"):
        read_records(write(""))


def test_blank_lines_are_skipped_and_still_counted(write):
    assert [r.line for r in read_records(write(GOOD, "", GOOD))] == [1, 3]


def test_prompt_is_the_templates_and_the_response_ends(write, tokenizer):
    path = write(GOOD)
    (example,), dropped = encode(read_records(path), tokenizer, DataConfig(path))
    chat = [{"role": "user", "content": "w1 w2"}]
    head = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    tail = [tokenizer.convert_tokens_to_ids("w3"), tokenizer.eos_token_id]
    assert example.input_ids.tolist() == head + tail
    assert example.labels.tolist() == [-100] * len(head) + tail
    assert example.labelled == 2
    assert dropped == 0


def test_loss_on_all_leaves_out_only_the_first_token(write, tokenizer):
    path = write(GOOD)
    (example,), _ = encode(read_records(path), tokenizer, DataConfig(path, loss_on="all"))
    assert example.labels.tolist() == [-100, *example.input_ids[1:].tolist()]
    assert example.labelled == len(example.input_ids) - 1


def test_a_row_over_length_is_an_error_or_dropped_never_cut(write, tokenizer):
    path = write(GOOD, {"prompt": "w1", "response": "w2 " * 40})
    records = read_records(path)
    with pytest.raises(DataError, match=r"line 2 has 44 tokens and `data\.max_length` is 20"):
        encode(records, tokenizer, DataConfig(path, max_length=20))
    examples, dropped = encode(records, tokenizer, DataConfig(path, max_length=20, over_length="drop"))
    assert (len(examples), dropped) == (1, 1)
    with pytest.raises(DataError, match="all 2 rows"):
        encode(records, tokenizer, DataConfig(path, max_length=3, over_length="drop"))


@pytest.mark.parametrize("key", ["prompt", "response"])
def test_an_unknown_word_is_named_with_its_line(write, tokenizer, key):
    path = write(GOOD, GOOD | {key: "w1 zebra w2"})
    with pytest.raises(DataError, match=f"line 2: the tokenizer does not know 'zebra' in the {key}"):
        encode(read_records(path), tokenizer, DataConfig(path))


def test_blocks_do_not_change_the_encoding(data_file, tokenizer, monkeypatch):
    records, config = read_records(data_file), DataConfig(data_file)
    whole, _ = encode(records, tokenizer, config)
    monkeypatch.setattr("sftscope.train.data.BLOCK", 4)
    blocks, _ = encode(records, tokenizer, config)
    assert [e.input_ids.tolist() for e in whole] == [e.input_ids.tolist() for e in blocks]


def test_bucketing_in_a_fixed_order_is_a_contradiction(tmp_path):
    with pytest.raises(ConfigError, match="bucket"):
        DataConfig(tmp_path, bucket=True, order="fixed")
