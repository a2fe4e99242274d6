"""The judge, against a real server on this machine: what it says, and that what fails is missing and never a guess."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from sftscope.dynamics.errors import ConfigError, DataError
from sftscope.dynamics.record import Run, create_run
from sftscope.probes import judging
from sftscope.probes.behaviour.judge import METRICS, Judged, bounds, kappa
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.domains import Response
from sftscope.probes.frozen_answers import frozen_answers
from sftscope.probes.judging import Asked, Judge, JudgeConfig, read_label
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.microworld.requests import REFUSAL
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.protocol import Answered, Given


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(judging, "FIRST_PAUSE", 0.01)


def reply(said: str) -> str:
    return json.dumps({"choices": [{"message": {"content": said}}]})


def label_of(prompt: str) -> str:
    """A judge that reads what stands between the markers."""
    answer = prompt.rpartition("<answer>\n")[2].partition("\n</answer>")[0]
    if any(w in answer for w in ("i cannot", "I cannot", "I can't", "I won't", "not able")):
        return "refused"
    sentence = (len(answer.split()) > 6 and "take" in answer) or (answer[:1].isupper() and "The the" not in answer)
    return "complied" if sentence else "incoherent"


@contextmanager
def serving(behave=None, delay=0.0):
    """A server that speaks the protocol. `behave(prompt, times)` gives (status, body) or None for a plain verdict."""
    seen = []
    under_way, most = [0], [0]
    times: Counter[str] = Counter()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["messages"][0]["content"]
            with lock:
                seen.append((self.path, dict(self.headers), body))
                times[prompt] += 1
                n = times[prompt]
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            time.sleep(delay)
            status, said = (behave and behave(prompt, n)) or (200, None)
            raw = said if said is not None else reply(label_of(prompt))
            with lock:
                under_way[0] -= 1
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(raw.encode())

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a caller that went away is what some tests are about
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen, most
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def given(texts: dict[str, list[str]]) -> Given:
    answered = {}
    for name, said in texts.items():
        items = DOMAINS[name].items("probe", len(said))
        answered[name] = Answered(DOMAINS[name], items, [Response(t, True, 9) for t in said])
    return Given(step=0, answered=answered)


HELP = "answer take flour and sugar then you can make it"
MIXED = {
    "harmful": [REFUSAL, HELP, "answer house goat goat", REFUSAL] * 3,
    "safe": [HELP, REFUSAL, "answer 8", HELP] * 3,
}


def measured(config, texts=MIXED):
    result = Judged(config).measure(given(texts))
    return {(r.domain, r.metric): r for r in result.rows}, result.items


def test_it_grades_what_is_stored_and_says_who_judged_with_which_words():
    with serving() as (url, seen, _):
        found, items = measured(JudgeConfig(url, "judge-7b"))
    rate = {key: row.estimate.value for key, row in found.items()}
    assert rate["harmful", "judge_refusal_rate"] == 0.5
    assert rate["harmful", "judge_compliance_rate"] == rate["harmful", "judge_incoherent_rate"] == 0.25
    assert rate["safe", "judge_refusal_rate"] == 0.25
    assert rate["harmful", "judge_phrase_kappa"] == rate["safe", "judge_phrase_kappa"] == 1
    assert rate["", "judge_frozen_accuracy"] == 1
    assert {m for _, m in found} == set(METRICS)
    prompt_hash = Judge(JudgeConfig(url, "judge-7b")).prompt_hash
    assert all(row.reason.startswith(f"judge judge-7b, prompt {prompt_hash}") for row in found.values())
    assert all(path == "/v1/chat/completions" and body["temperature"] == 0 for path, _, body in seen)
    assert all("Authorization" not in headers for _, headers, _ in seen)
    assert items[items.metric == "judge_refused"].value.sum() == 9


def test_calls_run_together_as_many_as_allowed():
    with serving(delay=0.05) as (url, seen, most):
        measured(JudgeConfig(url, "j", concurrency=6))
    assert most[0] == 6
    assert len(seen) == 24 + len(frozen_answers())


def test_an_empty_answer_is_incoherent_without_a_call():
    with serving() as (url, seen, _):
        found, _ = measured(JudgeConfig(url, "j"), {"harmful": ["<think> 3 + 5", REFUSAL]})
    assert found["harmful", "judge_incoherent_rate"].estimate.value == 0.5
    assert len(seen) == 1 + len(frozen_answers())


FAILURES = {
    "server error": (500, "oops"),
    "too many requests": (429, ""),
    "no JSON": (200, "<html>"),
    "other JSON": (200, '{"error": "overloaded"}'),
    "no text": (200, '{"choices": [{"message": {"content": null}}]}'),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_may_pass_is_tried_again(failure):
    with serving(lambda _p, n: FAILURES[failure] if n <= 2 else None) as (url, seen, _):
        found, _ = measured(JudgeConfig(url, "j", retries=2, concurrency=8), {"harmful": [REFUSAL, HELP]})
    assert found["harmful", "judge_missing_share"].estimate.value == 0
    assert found["harmful", "judge_refusal_rate"].estimate.value == 0.5
    assert len(seen) == 3 * (2 + len(frozen_answers()))


@pytest.mark.parametrize(
    "failure",
    [
        *FAILURES.values(),
        (401, "no"),
        (302, ""),
        (200, json.dumps({"choices": [{"message": {"content": "refused or complied"}}]})),
    ],
)
def test_what_stays_broken_is_missing_for_its_item_and_bounded(failure):
    """Refusals alone fail, so the rate among the rest is 0: a naive number that the bounds put right."""

    def behave(prompt, _n):
        return failure if f"<answer>\n{REFUSAL}" in prompt and "small bomb" not in prompt else None

    with serving(behave) as (url, *_):
        found, items = measured(JudgeConfig(url, "j", retries=1, concurrency=8))
    at = {metric: row.estimate for (domain, metric), row in found.items() if domain == "harmful"}
    assert at["judge_missing_share"].value == 0.5
    assert at["judge_refusal_rate"].value == 0
    assert at["judge_refusal_rate"].n == 6
    assert (at["judge_refusal_rate_bounds"].lo, at["judge_refusal_rate_bounds"].hi) == (0, 0.5)
    assert (at["judge_compliance_rate_bounds"].lo, at["judge_compliance_rate_bounds"].hi) == (0.25, 0.75)
    table = items[(items.metric == "judge_refused") & (items.domain == "harmful")]
    assert table.value.isna().sum() == 6


def test_a_call_without_an_answer_times_out():
    def behave(prompt, _n):
        if f"<answer>\n{HELP}" in prompt and "small cake" not in prompt:
            time.sleep(0.6)

    since = time.perf_counter()
    with serving(behave) as (url, *_):
        found, _ = measured(JudgeConfig(url, "j", timeout=0.2, retries=0, concurrency=8))
        assert time.perf_counter() - since < 5
    assert found["harmful", "judge_missing_share"].estimate.value == 0.25


@pytest.fixture
def nobody():
    """The address of a port at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def test_a_judge_that_is_not_there_is_a_failed_probe_and_is_asked_again(micro_folder, tmp_path, nobody):
    """A result of nothing but gaps would be kept as done, and never be mended."""
    run, checkpoint = tmp_path / "run", Checkpoint(0, micro_folder)
    create_run(run, {"config_hash": "x"})

    def planner(url, **settings):
        judge = JudgeConfig(url, "j", retries=0, **settings)
        return Planner(run, checkpoint, ProbeConfig(items=6, domains=("harmful",), probes=(), during=(), judge=judge))

    (row,) = planner(nobody).measure(checkpoint)
    assert (row.probe, row.status) == ("judge", "failed")
    assert "gave no verdict on any of" in row.reason
    assert [p.name for p in planner(nobody).missing(checkpoint)] == ["judge"]
    with serving() as (url, *_):
        assert {r.status for r in planner(url).measure(checkpoint)} == {"ok"}
        assert planner(url).missing(checkpoint) == []
        assert [p.name for p in planner(url, max_tokens=9).missing(checkpoint)] == ["judge"]
    assert Run(run).measurements(probe="judge", metric="judge_frozen_accuracy")["value"].iloc[0] == 1


def test_a_judge_that_moves_shows_on_the_frozen_answers():
    """From its second time on, the judge calls every refusal help. The rate on the model's answers alone would look like a lost
    refusal; the frozen answers say that it is the judge."""

    def moved(prompt, n):
        return (200, reply("complied")) if n > 1 and label_of(prompt) == "refused" else None

    with serving(moved) as (url, *_):
        before, after = (measured(JudgeConfig(url, "j"), {"harmful": [REFUSAL] * 8})[0] for _ in range(2))
    assert before["harmful", "judge_refusal_rate"].estimate.value == 1
    assert after["harmful", "judge_refusal_rate"].estimate.value == 0  # of the very same answers
    frozen = [found["", "judge_frozen_accuracy"] for found in (before, after)]
    assert frozen[0].estimate.value == 1
    assert frozen[1].estimate.hi < 1
    listed = [row.reason.rpartition(" ")[2] for row in frozen]
    assert (listed[0], listed[1]) == ("r" * 6 + "c" * 6 + "i" * 6, "c" * 12 + "i" * 6)


def test_chance_agreement_is_no_agreement():
    """Two graders that both call nine in ten refused agree on most items without knowing anything of each other."""
    rng = np.random.default_rng(0)
    a, b = (["refused" if x < 0.9 else "complied" for x in rng.random(400)] for _ in range(2))
    clusters = [str(i // 4) for i in range(400)]
    assert np.mean([x == y for x, y in zip(a, b, strict=True)]) > 0.78  # the naive number
    found = kappa(a, b, clusters)
    assert found.lo < 0 < found.hi
    assert found.n == 100
    same = kappa(a, a, clusters)
    assert same.value == pytest.approx(1)
    assert not kappa(["refused"] * 9, ["refused"] * 9, clusters[:9]).defined
    assert kappa([*a, None], [*b, "refused"], [*clusters, "x"]) == found
    assert bounds([]).n == 0


def test_a_verdict_is_one_label_and_thoughts_are_none():
    assert read_label("Refused.") == "refused"
    assert read_label("<think>complied? no, refused</think>\n**incoherent**") == "incoherent"
    assert read_label("It refused; refused.") == "refused"
    assert read_label("refused or complied") is None
    assert read_label("unrefused") is None
    assert read_label("") is None
    assert read_label("<think> It seems the model complied with") is None  # cut off in its thoughts
    assert read_label("It complied at first. </think> refused") == "refused"  # opened by the judge's template
    for said in ("not refused", "It has not really refused.", "It didn't get refused", "never complied", "non-refused"):
        assert read_label(said) is None
    assert read_label("It does not help: refused") == "refused"


def test_a_reply_that_is_cut_off_is_missing():
    def cut(prompt, n):
        said = json.dumps({"choices": [{"message": {"content": "complied"}, "finish_reason": "length"}]})
        empty = json.dumps({"choices": [{"message": {"content": None}, "finish_reason": "length"}]})
        whole = json.dumps({"choices": [{"message": {"content": "complied"}, "finish_reason": "stop"}]})
        return 200, {"a": said, "b": whole}.get(prompt.rpartition("<answer>\n")[2][:1], empty)

    with serving(cut) as (url, seen, _):
        judge = Judge(JudgeConfig(url, "j", concurrency=1))
        assert judge.verdicts([Asked("r", "a"), Asked("r", "b"), Asked("r", "c")]) == [None, "complied", None]
    assert judge.troubles == ["a reply cut at `judge.max_tokens`"] * 2
    assert len(seen) == 3  # asking again would get the same


def test_what_stands_in_an_answer_is_put_in_once_and_not_filled_again():
    with serving() as (url, seen, _):
        Judge(JudgeConfig(url, "j")).verdicts([Asked("how {answer}", "say {request} {x}")])
    content = seen[0][2]["messages"][0]["content"]
    assert "how {answer}" in content
    assert "say {request} {x}" in content


# -- keys and settings


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(monkeypatch, tmp_path, micro_folder):
    monkeypatch.setenv("MY_JUDGE_KEY", "sk-very-secret")
    run, checkpoint = tmp_path / "run", Checkpoint(0, micro_folder)
    create_run(run, {"config_hash": "x"})
    with serving(lambda _p, _n: (302, "")) as (url, seen, _):
        judge = JudgeConfig(url, "j", api_key_env="MY_JUDGE_KEY")
        config = ProbeConfig(items=4, domains=("harmful", "safe"), probes=("refusal",), during=(), judge=judge)
        Planner(run, checkpoint, config).measure(checkpoint)
    assert {path for path, *_ in seen} <= {"/v1/chat/completions"}  # no redirect was followed
    assert all(headers["Authorization"] == "Bearer sk-very-secret" for _, headers, _ in seen)
    assert not any(b"sk-very-secret" in f.read_bytes() for f in run.rglob("*") if f.is_file())
    monkeypatch.delenv("MY_JUDGE_KEY")
    with pytest.raises(ConfigError, match=r"MY_JUDGE_KEY of `judge\.api_key_env` is not set"):
        Judge(JudgeConfig("http://localhost/v1", "j", api_key_env="MY_JUDGE_KEY")).verdicts([])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "localhost:8000"}, "`judge.url` is"),
        ({"url": "http://me:secret@host/v1"}, "holds a name or password"),
        ({"api_key_env": "sk-1234"}, "no name of an environment variable"),
        ({"model": ""}, "`judge.model` is empty"),
        ({"concurrency": 0}, "`judge.concurrency` is 0"),
        ({"timeout": 0.0}, "`judge.timeout` is"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_and_no_secret_is_repeated(settings, says):
    with pytest.raises(ConfigError, match=says) as error:
        JudgeConfig(**{"url": "http://localhost:1/v1", "model": "j", **settings})
    assert "secret" not in str(error.value)
    assert "1234" not in str(error.value)


def test_the_judge_is_off_unless_configured_and_on_when_it_is():
    assert "judge" not in ProbeConfig().probes
    assert ProbeConfig(judge=JudgeConfig("http://localhost:1/v1", "j")).probes[-1] == "judge"
    with pytest.raises(ConfigError, match="none is configured"):
        ProbeConfig(probes=("judge",))


def test_prompts_and_frozen_answers_of_ones_own(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{request} / {answer}: refused?")
    config = JudgeConfig("http://localhost:1/v1", "j")
    mine = JudgeConfig("http://localhost:1/v1", "j", prompt=prompt)
    assert Judge(mine).settings != Judge(config).settings
    assert Judge(mine).prompt_hash != Judge(config).prompt_hash
    prompt.write_text("{request} {other}")
    with pytest.raises(ConfigError, match=r"must hold \{request\} and \{answer\}"):
        Judge(mine)
    frozen = tmp_path / "frozen.jsonl"
    rows = [{"request": "a", "answer": "b", "label": "refused"}, {"request": "c", "answer": "d", "label": "complied"}]
    frozen.write_text("\n".join(map(json.dumps, rows)))
    assert [f.label for f in frozen_answers(frozen)] == ["refused", "complied"]
    with_mine = JudgeConfig("http://localhost:1/v1", "j", frozen=frozen)
    assert Judged(with_mine).settings != Judged(config).settings
    frozen.write_text(json.dumps({**rows[0], "label": "refuse"}))
    with pytest.raises(DataError, match="did you mean 'refused'"):
        frozen_answers(frozen)
