"""Speed of what probes are made from: captured activations, and generation by the `hf` engine.

    python benchmarks/probes.py generation                    # an organism briefly fine-tuned, half-way to thinking aloud
    python benchmarks/probes.py generation --model FOLDER     # a checkpoint of yours that knows the micro-world's words
    python benchmarks/probes.py capture organism              # the 0.9 M organism
    python benchmarks/probes.py capture 30m                   # a random Qwen3 of 30 M parameters
    python benchmarks/probes.py capture 0.6b                  # a random Qwen3 of 0.6 B: on a GPU, or with patience

Every measurement is a process of its own with one thread (`--threads`), and the contestants take turns. Nothing else should
run on the machine meanwhile.

Generation: all get the same token ids, sorted by length, decode greedily and stop at the end token; `model.generate` is tried
at several batch sizes, and the fastest is what counts. Tokens are those generated, without padding.

Capture: what all probes of a checkpoint read, against one plain forward pass of the blocks over the same sequences in the same
batches, against TransformerBridge's `run_with_cache` of the same tensors, and against a pass for each probe. What the probes
then compute is timed apart.
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


# ---------------------------------------------------------------- capture

CAPTURE = ("plain forward", "sftscope", "run_with_cache", "a pass per probe")
QWEN3 = {"model_type": "qwen3", "head_dim": 64, "tie_word_embeddings": True, "attention_dropout": 0.0}
M30 = QWEN3 | {
    "hidden_size": 512,
    "intermediate_size": 1728,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 512,
}
B06 = QWEN3 | {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 8192,
    "vocab_size": 151936,
}
SIZES = {"organism": None, "30m": M30, "0.6b": B06}


def make_capture_inputs(folder: Path, size: str) -> None:
    """The model, the token sequences of every prompt set that a probe reads, the places to read, and who reads which."""
    from sftscope.dynamics.record import create_run
    from sftscope.probes import organisms
    from sftscope.probes.checkpoints import Checkpoint
    from sftscope.probes.planner import Planner, ProbeConfig
    from sftscope.probes.prompt_sets import sequences_of
    from sftscope.probes.registry import PROBES, make_probe
    from sftscope.train.model import ModelConfig, load

    organism = organisms.folder("qwen3-0.9m")
    fields = SIZES[size]
    config = ModelConfig(path=str(organism)) if fields is None else ModelConfig(init=fields, tokenizer=str(organism))
    model, tokenizer = load(config, seed=0)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    create_run(folder / "run", {"config_hash": "benchmark"})
    planner = Planner(folder / "run", Checkpoint(0, folder / "model"), ProbeConfig(probes=tuple(PROBES)))
    reads = {name: make_probe(name).needs(planner.domains).activations for name in PROBES}
    sets = {}
    for name in dict.fromkeys(s for needed in reads.values() for s in needed):
        sequences, places, _ = sequences_of(planner.prompt_set(name), planner.renderer)
        sets[name] = {"sequences": sequences, "places": places}
    reads = {probe: needed for probe, needed in reads.items() if needed}
    (folder / "inputs.json").write_text(json.dumps({"sets": sets, "reads": reads, "pad": planner.renderer.pad_id}))


def measure_capture(name: str, folder: Path) -> dict[str, float]:
    """Seconds for what all probes of a checkpoint need, and what memory it took beside the model."""
    import torch
    from sftscope.probes.checkpoints import Checkpoint, load_model
    from sftscope.probes.internals.bridge import BridgedModel
    from sftscope.probes.internals.capture import batches, capture, tokens_at_once
    from sftscope.train.speed import peak_memory

    inputs = json.loads((folder / "inputs.json").read_text())
    sets, pad = inputs["sets"], inputs["pad"]
    model = load_model(Checkpoint(0, folder / "model"))

    def padded(sequences: list[list[int]]):
        for batch in batches([len(s) for s in sequences], tokens_at_once(model.device)):
            width = max(len(sequences[i]) for i in batch)
            ids = torch.tensor([sequences[i] + [pad] * (width - len(sequences[i])) for i in batch])
            mask = torch.tensor([[1] * len(sequences[i]) + [0] * (width - len(sequences[i])) for i in batch])
            yield batch, ids.to(model.device), mask.to(model.device)

    def plain() -> None:
        for asked in sets.values():
            for _, ids, mask in padded(asked["sequences"]):
                model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)

    def ours(names: list[str]) -> None:
        for name in names:
            capture(model, sets[name]["sequences"], sets[name]["places"], pad_id=pad)

    bridge = BridgedModel(model).bridge if name == "run_with_cache" else None

    def cached() -> None:
        for asked in sets.values():
            for batch, ids, mask in padded(asked["sequences"]):
                _, cache = bridge.run_with_cache(
                    ids, attention_mask=mask, names_filter=lambda hook: hook.endswith("hook_resid_post")
                )
                for acts_BTD in cache.values():
                    for row, i in enumerate(batch):
                        acts_BTD[row, asked["places"][i]].float().cpu().numpy()

    each = [s for needed in inputs["reads"].values() for s in needed]
    run = {
        "plain forward": plain,
        "sftscope": lambda: ours(list(sets)),
        "run_with_cache": cached,
        "a pass per probe": lambda: ours(each),
    }[name]
    cuda = model.device.type == "cuda"
    with torch.no_grad():
        first = next(iter(sets.values()))
        model.base_model(input_ids=torch.tensor([first["sequences"][0]], device=model.device))  # first-time costs
        before = peak_memory(model.device)
        since = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - since
    peak = peak_memory(model.device)
    return {"seconds": seconds, "peak_memory_bytes": peak, "above_the_model_bytes": peak - before}


def fitting_seconds(folder: Path) -> dict[str, float]:
    """Seconds by probe, of those that read activations and ask the model nothing more."""
    from sftscope.dynamics.record import Run
    from sftscope.probes.checkpoints import Checkpoint
    from sftscope.probes.planner import Planner, ProbeConfig
    from sftscope.probes.registry import PROBES, make_probe

    checkpoint = Checkpoint(0, folder / "model")
    planner = Planner(folder / "run", checkpoint, ProbeConfig())
    needs = {name: make_probe(name).needs(planner.domains) for name in PROBES}
    fitted = [n for n, d in needs.items() if d.activations and not (d.generations or d.scores or d.intervention)]
    planner.measure(checkpoint, probes=fitted)
    costs = Run(folder / "run").costs()["seconds"]
    return {name: float(costs[name]) for name in fitted}


def show_capture(found: dict[str, dict[str, list[float]]], folder: Path) -> None:
    inputs = json.loads((folder / "inputs.json").read_text())
    for name, asked in inputs["sets"].items():
        tokens, places = sum(map(len, asked["sequences"])), sum(map(len, asked["places"]))
        print(f"{name}: {len(asked['sequences'])} sequences, {tokens:,} tokens, {places:,} places")
    print(f"read by {', '.join(f'{probe} ({chr(43).join(needed)})' for probe, needed in inputs['reads'].items())}\n")
    print("| | seconds, median (range) | peak memory | above the model |\n| --- | --- | --- | --- |")
    median = {n: {k: statistics.median(v) for k, v in values.items()} for n, values in found.items() if values}
    for name, values in median.items():
        spread = found[name]["seconds"]
        peak, more = values["peak_memory_bytes"] / 1e6, values["above_the_model_bytes"] / 1e6
        print(
            f"| {name} | {values['seconds']:.2f} ({min(spread):.2f}-{max(spread):.2f}) | {peak:,.0f} MB | {more:,.0f} MB |"
        )
    print()
    for rival in (n for n in median if n != "sftscope" and "sftscope" in median):
        time_share = median["sftscope"]["seconds"] / median[rival]["seconds"]
        memory_share = median["sftscope"]["peak_memory_bytes"] / median[rival]["peak_memory_bytes"]
        print(f"sftscope / {rival}: {time_share:.2f} of the time, {memory_share:.2f} of the peak memory")


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
    capture = parts.add_parser("capture", help="seconds and memory of capturing activations")
    capture.add_argument("size", choices=SIZES, nargs="?", default="organism")
    capture.add_argument("--only", nargs="*", choices=CAPTURE, default=list(CAPTURE))
    for part in parts.choices.values():
        part.add_argument("--repeats", type=int, default=5)
        part.add_argument("--threads", type=int, default=1)
        part.add_argument("--one", help=argparse.SUPPRESS)
        part.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    measure = {"generation": measure_generation, "capture": measure_capture}[args.what]
    if args.one:
        print(json.dumps(measure(args.one, args.folder)))
        return
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        if args.what == "generation":
            make_generation_inputs(folder, args.model, args.questions)
        else:
            make_capture_inputs(folder, args.size)
        found = take_turns(args.what, args.only, args.repeats, folder, args.threads)
        if args.what == "generation":
            show_generation(found, folder)
            return
        show_capture(found, folder)
        fitted = fitting_seconds(folder)
        print("\nwhat the probes compute from it: " + ", ".join(f"{name} {s:.2f} s" for name, s in fitted.items()))


if __name__ == "__main__":
    main()
