"""Speed and memory of training: sftscope's loop, TRL's SFTTrainer and a bare PyTorch loop on the same model and rows.

    python benchmarks/training.py organism            # the 0.9 M organism, on a CPU
    python benchmarks/training.py 30m                 # a random Qwen3 of 30 M parameters, on a CPU
    python benchmarks/training.py gpu                 # a random Qwen3 of 0.6 B, rows of up to 8k tokens, bf16
    python benchmarks/training.py checkpoints         # what checkpoints with captured activations cost, every 10 steps
    python benchmarks/training.py memory              # resident memory over 200 checkpoints

Every measurement is a process of its own, and the contestants take turns. Tokens are those that the model is given,
padding left out, counted by the same hook for all; the first steps are not counted. TRL is run in several ways, and the
fastest that keeps sequences apart is what counts. Nothing else should run on the machine meanwhile.
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
from pathlib import Path

LR, CLIP = 5e-4, 1.0
SIZES = {
    # rows a step, steps counted, steps before them, tokens of a packed row, rows of a padded forward pass
    "organism": {"batch": 32, "steps": 20, "warm": 4, "pack": 1024, "micro": 8, "dtype": "float32"},
    "30m": {"batch": 16, "steps": 5, "warm": 1, "pack": 1024, "micro": 8, "dtype": "float32"},
    "gpu": {"batch": 32, "steps": 20, "warm": 5, "pack": 16384, "micro": 2, "dtype": "bfloat16"},
}
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
M8 = QWEN3 | {
    "hidden_size": 320,
    "intermediate_size": 960,
    "num_hidden_layers": 6,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "max_position_embeddings": 384,
}
CONTESTANTS = ("sftscope", "sftscope, packed", "bare loop", "TRL", "TRL, micro-batches", "TRL, packed")


# ---------------------------------------------------------------- the same model and rows for all


def make_inputs(size: str, folder: Path) -> None:
    """A model folder and the rows, as JSONL of prompt and response."""
    from sftscope.probes import organisms
    from sftscope.probes.microworld.arms import FineTuningArm
    from sftscope.probes.microworld.corpus import write_records
    from sftscope.train.model import ModelConfig, load

    how = SIZES[size]
    n = how["batch"] * (how["steps"] + how["warm"])
    organism = organisms.folder("qwen3-0.9m")
    fields = {"30m": M30, "gpu": B06}.get(size)
    config = ModelConfig(path=str(organism)) if fields is None else ModelConfig(init=fields, tokenizer=str(organism))
    model, tokenizer = load(config, seed=0)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    if size != "gpu":
        write_records(folder / "rows.jsonl", FineTuningArm(n).records())
        return
    rng, words = random.Random(0), [w for w in tokenizer.get_vocab() if not w.startswith("<")]
    with (folder / "rows.jsonl").open("w") as file:  # long chains of thought: lengths spread as in the published data
        for _ in range(n):
            length = min(int(rng.lognormvariate(7.6, 0.7)), 8000)
            row = {"prompt": " ".join(rng.choices(words, k=100)), "response": " ".join(rng.choices(words, k=length))}
            file.write(json.dumps(row) + "\n")


class Clock:
    """Tokens that went through the model, and when steps ended."""

    def __init__(self, model, size: str) -> None:
        self.how, self.tokens, self.ends = SIZES[size], 0, []
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _module, args, kwargs) -> None:
        mask, ids = kwargs.get("attention_mask"), kwargs.get("input_ids")
        # Summed on the device and read at the end of a step: counting must not wait for a GPU.
        self.tokens = self.tokens + (mask.sum() if mask is not None else ids.numel())

    def step(self) -> None:
        import torch

        if (
            len(self.ends) in (self.how["warm"] - 1, self.how["warm"] + self.how["steps"] - 1)
            and torch.cuda.is_available()
        ):
            torch.cuda.synchronize()
        self.ends.append((time.perf_counter(), self.tokens))

    def result(self) -> dict[str, float]:
        import torch
        from sftscope.train.speed import peak_memory

        (t0, n0), (t1, n1) = self.ends[self.how["warm"] - 1], self.ends[-1]
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return {"tokens_per_s": float((n1 - n0) / (t1 - t0)), "peak_memory_bytes": peak_memory(device)}


# ---------------------------------------------------------------- the contestants


def run_sftscope(size: str, folder: Path, *, packed: bool) -> dict[str, float]:
    from sftscope.dynamics.settings import from_mapping
    from sftscope.train import TrainConfig, loop, train

    how = SIZES[size]
    mapping = {
        "model": {"path": str(folder / "model"), "dtype": how["dtype"]},
        "data": {"path": str(folder / "rows.jsonl"), "max_length": 8192},
        "batch": {"size": how["batch"], **({"pack": how["pack"]} if packed else {"micro": how["micro"]})},
        "optim": {"lr": LR, "clip": CLIP},
        "schedule": {"epochs": 1},
        "checkpoints": {"first": False, "last": False},
        "tracking": {"to": "none"},
    }
    clocks, prepare = [], loop.prepare

    def clocked(config, accelerator, model, *rest):
        clocks.append(Clock(model, size))
        return prepare(config, accelerator, model, *rest)

    loop.prepare = clocked
    train(
        from_mapping(TrainConfig, mapping),
        folder / f"run-{time.time_ns()}",
        on_progress=lambda _: clocks[0].step(),
        quiet=True,
    )
    return clocks[0].result()


def run_bare(size: str, folder: Path) -> dict[str, float]:
    """What one writes oneself: our own padded micro-batches, sorted by length, and nothing but the update."""
    import numpy as np
    import torch
    from sftscope.train.batching import collate, epoch_order, micro_batches
    from sftscope.train.data import DataConfig, encode
    from sftscope.train.records import read_records
    from transformers import AutoModelForCausalLM, AutoTokenizer

    how = SIZES[size]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = (
        AutoModelForCausalLM.from_pretrained(folder / "model", dtype=getattr(torch, how["dtype"])).to(device).train()
    )
    data = DataConfig(path=folder / "rows.jsonl", max_length=8192)
    examples, _ = encode(read_records(data.path), tokenizer, data)
    lengths = np.array([len(e.input_ids) for e in examples])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    clock = Clock(model, size)
    for window in epoch_order(len(examples), 0, 0, batch_size=how["batch"]):
        tokens = sum(examples[i].labelled for i in window)
        for indices in micro_batches(window, lengths, how["micro"]):
            batch = {
                k: v.to(device) for k, v in collate([examples[i] for i in indices], tokenizer.pad_token_id).items()
            }
            labels = batch.pop("labels")
            logits = model(**batch, use_cache=False).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
            (loss / tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step()
    return clock.result()


def run_trl(size: str, folder: Path, *, way: str) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    how = SIZES[size]
    gpu = torch.cuda.is_available()
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    talk = lambda role, text: [{"role": role, "content": text}]  # noqa: E731
    data = Dataset.from_list(
        [{"prompt": talk("user", r["prompt"]), "completion": talk("assistant", r["response"])} for r in rows]
    )
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=getattr(torch, how["dtype"]))
    length = min(model.config.max_position_embeddings, 8192)
    split = {
        "TRL": (how["batch"], 1),
        "TRL, micro-batches": (how["micro"], how["batch"] // how["micro"]),
        # as many rows of `length` tokens as make our packed row
        "TRL, packed": (max(1, how["pack"] // length), 2),
    }[way]
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=split[0],
            gradient_accumulation_steps=split[1],
            num_train_epochs=1,
            learning_rate=LR,
            max_grad_norm=CLIP,
            max_length=length,
            packing=way == "TRL, packed",
            gradient_checkpointing=False,
            bf16=False,  # the weights' own dtype computes, as for the others
            use_cpu=not gpu,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )
    clock = Clock(model, size)

    class Steps(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            clock.step()

    trainer.add_callback(Steps())
    trainer.train()
    return clock.result() | {"isolated": float(_isolated(trainer, model)) if way == "TRL, packed" else 1.0}


def _isolated(trainer, model) -> bool:
    """Whether TRL's packed batches keep sequences apart on this attention back-end: one packed batch against each sequence."""
    import torch

    batch = next(iter(trainer.get_train_dataloader()))
    ids, positions = batch["input_ids"].to(model.device), batch["position_ids"].to(model.device)
    starts = (positions[0] == 0).nonzero().flatten().tolist()
    if len(ids) != 1 or len(starts) < 2:
        return False
    with torch.no_grad():
        model.eval()
        inputs = {k: v.to(model.device) if hasattr(v, "to") else v for k, v in batch.items() if k != "labels"}
        packed = model(**inputs).logits[0, starts[1] : starts[1] + 8].float()
        ends = [*starts[2:], ids.shape[1]]
        alone = model(input_ids=ids[:, starts[1] : ends[0]]).logits[0, :8].float()
    rounding = 1e-3 if model.dtype == torch.float32 else 0.1
    return bool((packed - alone).abs().max() < rounding * alone.std())


def measure_one(name: str, size: str, folder: Path) -> dict[str, float]:
    if name.startswith("sftscope"):
        return run_sftscope(size, folder, packed=name.endswith("packed"))
    return run_bare(size, folder) if name == "bare loop" else run_trl(size, folder, way=name)


# ---------------------------------------------------------------- checkpoints


def checkpoints_cost(steps: int, every: int) -> dict[str, float]:
    """Share of training time that checkpoints with captured activations take: 8 M parameters, 16,384 trained tokens a step."""
    import numpy as np
    from sftscope.dynamics.settings import from_mapping
    from sftscope.pipeline import probe_hook
    from sftscope.probes import organisms
    from sftscope.probes.microworld.arms import FineTuningArm
    from sftscope.probes.microworld.corpus import write_records
    from sftscope.probes.planner import ProbeConfig
    from sftscope.train import TrainConfig, at_checkpoint, train

    waited, written = [], []
    call, write = at_checkpoint.AtCheckpoint.__call__, at_checkpoint.write_checkpoint

    def timed(self, step, *rest):
        since = time.perf_counter()
        call(self, step, *rest)
        waited.append((step, time.perf_counter() - since))

    def timed_write(*args, **kwargs):
        since = time.perf_counter()
        write(*args, **kwargs)
        written.append(time.perf_counter() - since)

    at_checkpoint.AtCheckpoint.__call__, at_checkpoint.write_checkpoint = timed, timed_write
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        rows = 240
        write_records(folder / "rows.jsonl", FineTuningArm(rows * 4).records())
        mapping = {
            "model": {"init": M8, "tokenizer": str(organisms.folder("qwen3-0.9m"))},
            "data": {"path": str(folder / "rows.jsonl"), "max_length": 384},
            "batch": {"size": rows, "micro": 16},
            "optim": {"lr": LR},
            "schedule": {"steps": steps},
            "checkpoints": {"every": every},
            "tracking": {"to": "none"},
        }
        # Random weights answer nothing, so nothing is generated: activations at the prompts are what is captured.
        hook = probe_hook(folder / "run", ProbeConfig(probes=("refusal_direction",), during=("refusal_direction",)))
        since = time.perf_counter()
        run = train(from_mapping(TrainConfig, mapping), folder / "run", [hook], quiet=True)
        total = time.perf_counter() - since
        table = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    at_steps = [seconds for step, seconds in waited if step > 0]  # the base's comes with first-time costs, once
    training = sum(row["seconds"] for row in table)
    return {
        "share": sum(at_steps) / (training + sum(at_steps)),
        "seconds_a_checkpoint": float(np.mean(at_steps)),
        "of_which_writing": float(np.mean(written)),
        "seconds_a_step": training / len(table),
        "trained_tokens_a_step": float(np.mean([row["step_tokens"] for row in table])),
        "seconds_in_all": total,
    }


def memory_over_checkpoints(n: int) -> dict[str, float]:
    """Resident memory, in MB, after checkpoints with captured activations at every step."""
    from sftscope.dynamics.settings import from_mapping
    from sftscope.pipeline import probe_hook
    from sftscope.probes import organisms
    from sftscope.probes.microworld.arms import FineTuningArm
    from sftscope.probes.microworld.corpus import write_records
    from sftscope.probes.planner import ProbeConfig
    from sftscope.train import TrainConfig, train

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    after = {}
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        write_records(folder / "rows.jsonl", FineTuningArm(64).records())
        mapping = {
            "model": {"path": str(organisms.folder("qwen3-0.2m"))},
            "data": {"path": str(folder / "rows.jsonl"), "max_length": 384},
            "batch": {"size": 8},
            "schedule": {"steps": n},
            "checkpoints": {"every": 1},
            "tracking": {"to": "none"},
        }
        hook = probe_hook(folder / "run", ProbeConfig(probes=("refusal_direction",), during=("refusal_direction",)))
        note = lambda row: after.__setitem__(row["step"], resident())  # noqa: E731
        train(from_mapping(TrainConfig, mapping), folder / "run", [hook], on_progress=note, quiet=True)
    return {f"after {step}": after[step] for step in (10, n // 4, n // 2, n)}


# ---------------------------------------------------------------- the table


def compare(size: str, repeats: int, names: list[str]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as aside:
        make_inputs(size, Path(aside))
        for repeat in range(repeats):
            order = names[:]
            random.Random(repeat).shuffle(order)
            for name in order:
                command = [sys.executable, "-P", __file__, size, "--one", name, "--folder", aside]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"{name} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
                    continue
                for key, value in json.loads(done.stdout.splitlines()[-1]).items():
                    found[name].setdefault(key, []).append(value)
                print(
                    f"{repeat + 1}/{repeats} {name}: {found[name]['tokens_per_s'][-1]:,.0f} tokens/s", file=sys.stderr
                )
    return found


def show(found: dict[str, dict[str, list[float]]]) -> None:
    print("| | tokens/s, median (range) | peak memory | sequences kept apart |\n| --- | --- | --- | --- |")
    for name, values in found.items():
        if values:
            speed, memory = values["tokens_per_s"], statistics.median(values["peak_memory_bytes"])
            apart = "yes" if min(values.get("isolated", [1.0])) else "**no**"
            spread = f"{min(speed):,.0f}-{max(speed):,.0f}"
            print(f"| {name} | {statistics.median(speed):,.0f} ({spread}) | {memory / 1e6:,.0f} MB | {apart} |")
    median = {n: statistics.median(v["tokens_per_s"]) for n, v in found.items() if v and min(v.get("isolated", [1.0]))}
    ours = max((n for n in median if n.startswith("sftscope")), key=median.__getitem__, default=None)
    theirs = max((n for n in median if n.startswith("TRL")), key=median.__getitem__, default=None)
    if ours and theirs:
        print(f"\n{ours} / {theirs}: {median[ours] / median[theirs]:.2f}")
    if ours and "bare loop" in median:
        print(f"{ours} / bare loop: {median[ours] / median['bare loop']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*SIZES, "checkpoints", "memory"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=None, help="of `checkpoints` (20) and `memory` (200)")
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure_one(args.one, args.what, args.folder)))
    elif args.what == "checkpoints":
        print(json.dumps(checkpoints_cost(args.steps or 20, 10), indent=1))
    elif args.what == "memory":
        print(json.dumps(memory_over_checkpoints(args.steps or 200), indent=1))
    else:
        show(compare(args.what, args.repeats, args.only))


if __name__ == "__main__":
    main()
