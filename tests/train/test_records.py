"""What rows may look like, and what is said of those that cannot be used."""

import json
import sys
import types
from pathlib import Path

import pandas as pd
import pytest
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.dynamics.record import Run
from sftscope.train.data import DataConfig
from sftscope.train.records import Conversation, Record, data_sha256, read_records

CHAT = [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2 w3"}]


@pytest.fixture
def write(tmp_path):
    def write(*rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def test_prompt_and_completion_are_prompt_and_response(write):
    path = write({"prompt": "w1", "completion": "w2", "id": 7}, {"prompt": "w3", "response": "w4"})
    assert read_records(path) == [Record("w1", "w2", 1), Record("w3", "w4", 2)]


def test_columns_go_by_other_names(write):
    path = write({"question": "w1", "solution": "w2", "response": "not this"})
    assert read_records(path, {"prompt": "question", "response": "solution"}) == [Record("w1", "w2", 1)]


def test_conversations_keep_what_templates_may_ask_for(write):
    turns = [{"role": "user", "content": "w1", "name": "ada"}, CHAT[1]]
    assert read_records(write({"messages": turns})) == [Conversation(tuple(turns), 1)]


def test_the_sharegpt_format_is_a_matter_of_columns(write):
    path = write({"conversations": [{"from": "human", "value": "w1"}, {"from": "gpt", "value": "w2 w3"}]})
    columns = {"messages": "conversations", "role": "from", "content": "value"}
    assert read_records(path, columns) == [Conversation(tuple(CHAT), 1)]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("w1", "\"messages\" is 'w1', not a list of messages"),
        ([], "not a list of messages"),
        ([{"role": "user", "content": "w1"}], "no assistant turn to learn"),
        ([{"role": "asistant", "content": "w1"}], "message 1: the role is 'asistant': did you mean 'assistant'"),
        ([CHAT[0], {"role": "assistant", "content": ""}], 'message 2: "content" is empty'),
        ([CHAT[0], {"role": "assistant"}], 'message 2 has no "content"'),
    ],
)
def test_a_bad_conversation_is_named_by_line_and_message(write, messages, words):
    with pytest.raises(DataError, match=rf"rows\.jsonl, line 2.*{words}"):
        read_records(write({"messages": CHAT}, {"messages": messages}))


def test_a_file_is_of_one_kind(write):
    with pytest.raises(DataError, match=r'line 2 has no "messages" \(its keys: prompt, response\)'):
        read_records(write({"messages": CHAT}, {"prompt": "w1", "response": "w2"}))


def test_parquet_is_read_as_jsonl_is(tmp_path, write):
    rows = [{"prompt": f"w{i}", "response": "w2"} for i in range(5)]
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    assert read_records(tmp_path / "rows.parquet") == read_records(write(*rows))
    chats = [{"messages": [CHAT[0] | {"name": "ada"}, CHAT[1]]}, {"messages": CHAT}]
    pd.DataFrame(chats).to_parquet(tmp_path / "chats.parquet")
    assert read_records(tmp_path / "chats.parquet") == read_records(write(*chats))  # without the fields it makes up
    pd.DataFrame([*rows, {"prompt": "w1", "response": " "}]).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r'rows\.parquet, row 6: "response" is empty'):
        read_records(tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").write_text("{}")
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_records(tmp_path / "rows.parquet")


@pytest.fixture
def hub(monkeypatch):
    """A hub that gives one data set, and remembers how it was asked."""
    from huggingface_hub import HfApi, constants

    asked = []

    def load(name, subset, split):
        asked.append((name, subset, split))
        return iter([{"prompt": "w1", "response": "w2"}] * 3)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "dataset_info", lambda self, name, timeout: None)
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))
    return asked


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("hub:a/b", ("a/b", None, "train")),
        ("hub:a/b:test", ("a/b", None, "test")),
        ("hub:a/b/main:train[:10%]", ("a/b", "main", "train[:10%]")),
    ],
)
def test_a_hub_data_set_by_name_subset_and_split(hub, path, asked):
    pytest.importorskip("datasets")
    assert read_records(Path(path)) == [Record("w1", "w2", i) for i in (1, 2, 3)]
    assert hub == [asked]


def test_a_hub_data_set_trains_and_is_known_by_its_rows(hub, fit, rows_of, tiny, tmp_path):
    run = fit("hub", data={"path": "hub:a/b"}, batch={"size": 2}, schedule={"epochs": 1})
    rows = [{"prompt": "w1", "response": "w2"}] * 3
    assert len(rows_of(run)) == 2
    assert Run(run).info["data"]["sha256"] == data_sha256(Path("hub:a/b"))
    file = tiny.write_rows(tmp_path / "same.jsonl", rows)
    same = fit("file", data={"path": str(file)}, batch={"size": 2}, schedule={"epochs": 1})
    assert [r["loss"] for r in rows_of(same)] == [r["loss"] for r in rows_of(run)]


def test_a_hub_out_of_reach_is_said_at_once(hub, monkeypatch):
    from huggingface_hub import HfApi

    def no_answer(self, name, timeout):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(HfApi, "dataset_info", no_answer)
    with pytest.raises(DataError, match=r"does not give the data set 'a/b' \(no route to host\).*HF_HUB_OFFLINE=1"):
        read_records(Path("hub:a/b"))
    assert hub == []  # nobody waited for the download


def test_without_the_library_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        read_records(Path("hub:a/b"))


def test_reading_files_does_not_import_the_library(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("broken"))
    assert len(read_records(write({"prompt": "w1", "response": "w2"}))) == 1


def test_a_hub_name_that_is_none():
    with pytest.raises(DataError, match="is written hub:owner/name"):
        read_records(Path("hub:gsm8k"))


def test_an_unknown_column_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"`data\.columns\.promt`: did you mean 'prompt'"):
        DataConfig(tmp_path, columns={"promt": "question"})
