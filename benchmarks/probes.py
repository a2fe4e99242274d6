"""Speed of what probes are made from: generation by the `hf` engine against batched `model.generate`.

    python benchmarks/probes.py generation                    # an organism briefly fine-tuned, half-way to thinking aloud
    python benchmarks/probes.py generation --model FOLDER     # a checkpoint of yours that knows the micro-world's words

Every measurement is a process of its own with one thread (`--threads`), and the contestants take turns. All get the same
token ids, sorted by length, decode greedily and stop at the end token; `model.generate` is tried at several batch sizes, and
the fastest is what counts. Tokens are those generated, without padding. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ENGINE = "hf engine"
GENERATION = (ENGINE, *(f"model.generate, {n}" for n in (8, 16, 32, 64, 128, 256)))
HALFWAY = (0.3, 0.7)  # share of responses that think aloud: lengths are mixed


# ---------------------------------------------------------------- generation: the model and the prompts


def make_generation_inputs(folder: Path, model: Path | None, questions: int) -> None:
    """The prompts, as token ids, and the model that is to answer: `model`, or the first of a run that is half-way."""
    from sftscope.probes.checkpoints import Checkpoint, load_model, load_tokenizer
    from sftscope.probes.microworld import DOMAINS

    candidates = [model] if model else trained_checkpoints(folder)
    tokenizer = load_tokenizer(Checkpoint(0, candidates[0]))
    items = [i for d in DOMAINS.values() for i in d.items("probe", questions)]
    chats = [[{"role": "user", "content": i.prompt}] for i in items]
    ids = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=True, return_dict=False)
    random.Random(0).shuffle(ids)
    inputs = {
        "prompts": ids,
        "limit": max(d.max_new_tokens for d in DOMAINS.values()),
        "eos": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
    }
    (opening,) = tokenizer("<think>").input_ids
    for chosen in candidates:
        done = by_engine(load_model(Checkpoint(0, chosen)), inputs | {"prompts": ids[:300]})
        share = statistics.mean(opening in c for c in done)
        print(f"{chosen.name}: {share:.0%} of responses think aloud", file=sys.stderr)
        if HALFWAY[0] <= share <= HALFWAY[1]:
            break
    else:
        sys.exit(
            "no checkpoint is half-way to thinking aloud (30-70 % of responses): lengths are not mixed as is meant here"
        )
    (folder / "inputs.json").write_text(json.dumps(inputs | {"model": str(chosen)}))


def trained_checkpoints(folder: Path) -> list[Path]:
    """An organism's first steps of fine-tuning on worked searches, a checkpoint every other one."""
    from sftscope.dynamics.settings import from_mapping
    from sftscope.probes import organisms
    from sftscope.probes.microworld.arms import FineTuningArm
    from sftscope.probes.microworld.corpus import write_records
    from sftscope.train import TrainConfig, train

    steps, batch = 16, 32
    write_records(folder / "rows.jsonl", FineTuningArm(steps * batch).records())
    mapping = {
        "model": {"path": str(organisms.folder("qwen3-0.9m"))},
        "data": {"path": str(folder / "rows.jsonl"), "max_length": 384},
        "batch": {"size": batch, "micro": 8},
        "optim": {"lr": 5e-4},
        "schedule": {"epochs": 1},
        "checkpoints": {"every": 2, "first": False},
        "tracking": {"to": "none"},
    }
    run = train(from_mapping(TrainConfig, mapping), folder / "run", quiet=True)
    return sorted((run / "checkpoints").iterdir())


# ---------------------------------------------------------------- generation: the contestants


def by_engine(model, inputs: dict) -> list[list[int]]:
    from sftscope.probes.engines import Sampling
    from sftscope.probes.engines.hf import HfEngine

    engine = HfEngine(model, eos_ids=[inputs["eos"]], pad_id=inputs["pad"])
    return [c.token_ids for c in engine.generate(inputs["prompts"], Sampling(inputs["limit"]))]


def by_generate(model, inputs: dict, batch_size: int) -> list[list[int]]:
    """What one writes oneself: prompts sorted by length, padded on the left, a batch after another."""
    import torch

    prompts, eos, pad = inputs["prompts"], inputs["eos"], inputs["pad"]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    done: dict[int, list[int]] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        width = max(len(prompts[i]) for i in batch)
        ids = torch.tensor([[pad] * (width - len(prompts[i])) + prompts[i] for i in batch], device=model.device)
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=(ids != pad).long(),
                max_new_tokens=inputs["limit"],
                do_sample=False,
                eos_token_id=eos,
                pad_token_id=pad,
            )
        for i, row in zip(batch, out[:, width:].tolist(), strict=True):
            done[i] = row[: row.index(eos)] if eos in row else row
    return [done[i] for i in range(len(prompts))]


def measure_generation(name: str, folder: Path) -> dict[str, float]:
    """One contestant's tokens/s; what it wrote is left in the folder."""
    import torch
    from sftscope.probes.checkpoints import Checkpoint, load_model

    inputs = json.loads((folder / "inputs.json").read_text())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(Checkpoint(0, Path(inputs["model"]))).to(device)
    run: Callable = by_engine if name == ENGINE else lambda *a: by_generate(*a, int(name.split(", ")[1]))
    run(model, inputs | {"prompts": inputs["prompts"][:8], "limit": 8})  # first-time costs
    since = time.perf_counter()
    done = run(model, inputs)
    seconds = time.perf_counter() - since
    (folder / f"{name}.json").write_text(json.dumps(done))
    return {"tokens_per_s": sum(map(len, done)) / seconds}


def show_generation(found: dict[str, dict[str, list[float]]], folder: Path) -> None:
    wrote = {name: json.loads((folder / f"{name}.json").read_text()) for name, values in found.items() if values}
    speed = {name: statistics.median(found[name]["tokens_per_s"]) for name in wrote}
    rivals = [name for name in speed if name != ENGINE]
    best = max(rivals, key=speed.__getitem__, default=ENGINE)
    lengths = sorted(map(len, wrote[best]))
    middle, mean = statistics.median(lengths), statistics.mean(lengths)
    print(f"{len(lengths)} responses of {lengths[0]} to {lengths[-1]} tokens, median {middle:.0f}, mean {mean:.0f}\n")
    print(f"| | tokens/s, median (range) | responses equal to those of {best} |\n| --- | --- | --- |")
    for name, rate in speed.items():
        rates = found[name]["tokens_per_s"]
        same = statistics.mean(a == b for a, b in zip(wrote[name], wrote[best], strict=True))
        print(f"| {name} | {rate:,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) | {same:.2%} |")
    if ENGINE in speed and rivals:
        print(f"\n{ENGINE} / {best}: {speed[ENGINE] / speed[best]:.2f}")


# ---------------------------------------------------------------- taking turns


def take_turns(
    what: str, names: list[str], repeats: int, folder: Path, threads: int
) -> dict[str, dict[str, list[float]]]:
    """Each contestant's measurements, every one by a process of its own that prints them as its last line."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for repeat in range(repeats):
        for name in random.Random(repeat).sample(names, len(names)):
            command = [sys.executable, "-P", __file__, what, "--one", name, "--folder", str(folder)]
            env = os.environ | {"OMP_NUM_THREADS": str(threads)}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
            if done.returncode:
                print(f"{name} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
                continue
            values = json.loads(done.stdout.splitlines()[-1])
            for key, value in values.items():
                found[name].setdefault(key, []).append(value)
            print(f"{repeat + 1}/{repeats} {name}: {values}", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="what", required=True)
    generation = parts.add_parser("generation", help="tokens/s of the hf engine and of model.generate")
    generation.add_argument("--model", type=Path, help="a checkpoint to use; default: an organism, briefly trained")
    generation.add_argument("--questions", type=int, default=60, help="of each domain of the micro-world")
    generation.add_argument("--only", nargs="*", choices=GENERATION, default=list(GENERATION))
    for part in parts.choices.values():
        part.add_argument("--repeats", type=int, default=5)
        part.add_argument("--threads", type=int, default=1)
        part.add_argument("--one", help=argparse.SUPPRESS)
        part.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure_generation(args.one, args.folder)))
        return
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        make_generation_inputs(folder, args.model, args.questions)
        show_generation(take_turns(args.what, args.only, args.repeats, folder, args.threads), folder)


if __name__ == "__main__":
    main()
