"""Kill a training run at any moment, resume it, and see that nothing shows: `python tests/train/kill_and_resume.py --kills 30`.

One process imports everything and forks a child for every life of a run, as importing takes longer than a life. A child is
killed (SIGKILL) after a random time, or as soon as a checkpoint, or a full state, is being written. After every kill what
reads as whole must be whole, and each run must end with the rows, checkpoints and weights of the run that was not killed.
Prints a summary as JSON; any difference is an AssertionError.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

STEPS = 24
CLOCKS = ("seconds", "tokens_per_s", "peak_memory_bytes")
AIMS = ("any time", "checkpoint", "state")
FIELDS = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "attention_dropout": 0.2,  # draws random numbers: a generator that is not restored shows
    "tie_word_embeddings": True,
}


def inputs(folder: Path) -> dict:
    """A tokenizer, rows, and the settings of a run with a checkpoint every second step and a state every fifth."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [f"w{i}" for i in range(60)]
    vocab = {t: i for i, t in enumerate(["<pad>", "<unk>", "<eos>", *words])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(folder / "tokenizer")
    rng = random.Random(0)
    text = lambda n: " ".join(rng.choices(words, k=rng.randint(1, n)))  # noqa: E731
    rows = [{"prompt": text(9), "response": text(24)} for _ in range(21)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model": {"init": FIELDS, "tokenizer": str(folder / "tokenizer")},
        "data": {"path": str(folder / "rows.jsonl")},
        "batch": {"size": 8, "micro": 3},
        "optim": {"lr": 3e-3},
        "schedule": {"steps": STEPS},
        "checkpoints": {"every": 2, "at": [3, 7], "resume_every": 5},
        "tracking": {"to": "none"},
    }


def live(mapping: dict, run: Path) -> int:
    """Fork a child that trains `run` to its end, from where it stands."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        from sftscope.dynamics.settings import from_mapping
        from sftscope.train import TrainConfig, train

        train(from_mapping(TrainConfig, mapping), run, resume=(run / "run.json").is_file(), quiet=True)
        code = 0
    except BaseException:  # noqa: BLE001  a child never returns to the loop of its parent
        traceback.print_exc()
    os._exit(code)


def ended(child: int) -> bool:
    pid, status = os.waitpid(child, os.WNOHANG)
    assert status == 0, f"a life ended with status {status}: its traceback is above"
    return bool(pid)


def leavings(run: Path) -> dict[str, bool]:
    """What was being written, by the folders that are left aside."""
    return {
        "checkpoint": any((run / "checkpoints").glob(".*.tmp")),
        "state": any((run / "resume").glob(".*.tmp")),
    }


def kill(child: int, run: Path, aim: str, rng: random.Random, longest: float) -> bool:
    """Kill the child as aimed, after a random time at first; False where it ended before."""
    until = time.monotonic() + rng.uniform(0, longest * (1.0 if aim == "any time" else 0.6))
    while time.monotonic() < until:
        if ended(child):
            return False
        time.sleep(0.0005)
    while aim != "any time" and not leavings(run)[aim]:
        if ended(child):
            return False
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return status == signal.SIGKILL


def check_whole(run: Path, reference: Path) -> None:
    """Everything that a reader would take for whole is, and is what the undisturbed run wrote."""
    from sftscope.dynamics.record import Run
    from sftscope.dynamics.weights import check_folder, check_manifest

    if not (run / "run.json").exists():
        return
    record, truth = Run(run), Run(reference)
    for step, folder in record.checkpoints().items():
        check_folder(folder)
        there = truth.checkpoints()[step]
        for name in ("manifest.json", "model.safetensors"):
            assert (folder / name).read_bytes() == (there / name).read_bytes(), f"{folder / name} differs"
    assert set(record.checkpoints().values()) == set((run / "checkpoints").glob("step-*"))
    for state in (run / "resume").glob("step-*"):
        assert (state / "manifest.json").is_file(), f"{state} has no manifest"
        check_manifest(state)
    assert rows(record) == rows(truth)[: len(rows(record))]


def rows(record) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in record.steps().to_dict("records")]


def check_end(run: Path, reference: Path) -> None:
    """The run is equal to the undisturbed one, and nothing is left over."""
    from sftscope.dynamics.record import Run

    check_whole(run, reference)
    assert list(Run(run).checkpoints()) == list(Run(reference).checkpoints())
    assert rows(Run(run)) == rows(Run(reference))
    assert sorted(p.name for p in run.iterdir()) == ["checkpoints", "run.json", "steps.jsonl"]
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == [
        p.name for p in Run(reference).checkpoints().values()
    ]


def torture(folder: Path, kills: int, seed: int) -> dict:
    """Runs that are killed again and again until they end, `kills` times in all; what was hit."""
    rng, mapping = random.Random(seed), inputs(folder)
    reference = folder / "reference"
    finish(live(mapping, folder / "warm"))  # the first life of all fills caches: the second says how long one takes
    start = time.monotonic()
    finish(live(mapping, reference))
    longest = time.monotonic() - start
    hit: Counter[str] = Counter()
    runs = lives = 0
    while hit["kills"] < kills:
        run, killed = folder / f"run-{runs}", True
        while killed and hit["kills"] < kills:
            killed = kill(live(mapping, run), run, AIMS[hit["kills"] % len(AIMS)], rng, longest)
            lives += 1
            if killed:
                hit.update(["kills", *(f"in a {what}" for what, found in leavings(run).items() if found)])
                check_whole(run, reference)
        finish(live(mapping, run))  # where the last life came to the end, this one has nothing to do
        check_end(run, reference)
        shutil.rmtree(run)
        runs, lives = runs + 1, lives + 1
    return {"runs": runs, "lives": lives, "seconds_per_life": round(longest, 2), **hit}


def finish(child: int) -> None:
    while not ended(child):
        time.sleep(0.001)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.monotonic()
    import sftscope.train.loop  # noqa: F401  imported once, for all children
    import transformers.models.qwen3.modeling_qwen3  # noqa: F401

    imported = time.monotonic() - start
    with tempfile.TemporaryDirectory() as folder:
        summary = torture(Path(folder), arguments.kills, arguments.seed)
    seconds = time.monotonic() - start
    print(json.dumps({**summary, "seconds_to_import": round(imported, 1), "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
