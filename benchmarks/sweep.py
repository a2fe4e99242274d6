"""A sweep over checkpoints with vLLM: a cold engine for each, against one warm engine that swaps their weights.

    python benchmarks/sweep.py                        # 10 checkpoints of the 0.9 M organism, 64 prompts x 64 tokens each
    python benchmarks/sweep.py --model PATH --dtype bfloat16

Both contestants are the same engine with the same settings, started in its quickest way (in one process, nothing compiled);
a cold one is what a script per checkpoint would be. Every swap is proved by the checkpoint's canary, and its time counts;
so does the warm engine's own start. The responses are greedy, of full length, and have to be the same, token by token; the
embedded engine's are compared too. Wants vLLM (docs/vllm.md).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any


def make_checkpoints(model_folder: Path, into: Path, count: int) -> list[Any]:
    """Checkpoints as a run writes them, each with its canary: the model, moved on by noise a step."""
    import torch
    from sftscope.probes.checkpoints import Checkpoint, load_model, load_tokenizer
    from sftscope.train.canary import take_canary
    from sftscope.train.checkpoint import write_checkpoint

    base = Checkpoint(0, model_folder)
    model, tokenizer = load_model(base), load_tokenizer(base)
    generator = torch.Generator().manual_seed(0)
    made = []
    for step in range(1, count + 1):
        with torch.no_grad():
            for p in model.parameters():
                noise = torch.randn(p.shape, generator=generator).to(p)
                p.add_(0.02 * p.std() * noise)
        folder = into / f"step-{step:06d}"
        write_checkpoint(folder, model, tokenizer, step, canary=take_canary(model))
        made.append(Checkpoint(step, folder))
    return made


def make_prompts(checkpoint: Any, count: int) -> list[list[int]]:
    from sftscope.probes.checkpoints import load_tokenizer
    from sftscope.probes.microworld import DOMAINS
    from sftscope.probes.rendering import Renderer

    renderer = Renderer(load_tokenizer(checkpoint))
    domains = list(DOMAINS.values())[:8]
    items = [item for d in domains for item in d.items("probe", -(-count // len(domains)), 0)]
    return renderer.prompts([item.prompt for item in items[:count]])


def sweep(engines: Any, checkpoints: list[Any], prompts: list[list[int]], tokens: int) -> dict[str, Any]:
    """Ask every checkpoint by the engine that `engines` gives for it; seconds of all, of each part, and what was written."""
    from sftscope.probes.checkpoints import load_model
    from sftscope.probes.engines import Sampling

    parts: dict[str, float] = {}
    written, since = [], time.perf_counter()
    for checkpoint in checkpoints:
        engine = engines()
        engine.serve(checkpoint, lambda c=checkpoint: load_model(c), [])  # no token ends a response
        began = time.perf_counter()
        written.append([c.token_ids for c in engine.generate(prompts, Sampling(tokens))])
        parts["generate"] = parts.get("generate", 0.0) + time.perf_counter() - began
        for event in engine.events():
            parts[event.what] = parts.get(event.what, 0.0) + event.seconds
    return {"seconds": time.perf_counter() - since, "parts": parts, "written": written, "about": engine.about}


def by_transformers(checkpoints: list[Any], prompts: list[list[int]], tokens: int) -> dict[str, Any]:
    from sftscope.probes.checkpoints import load_model
    from sftscope.probes.engines import Sampling
    from sftscope.probes.engines.hf import HfEngine

    written, since = [], time.perf_counter()
    for checkpoint in checkpoints:
        engine = HfEngine(load_model(checkpoint), eos_ids=[], pad_id=0)
        written.append([c.token_ids for c in engine.generate(prompts, Sampling(tokens))])
    return {"seconds": time.perf_counter() - since, "written": written}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--gpu-memory-fraction", type=float, default=0.5)
    for name, value in (("checkpoints", 10), ("prompts", 64), ("tokens", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--at-most", type=float, help="fail where warm / cold is above this")
    args = parser.parse_args()
    from sftscope.pipeline import quiet_libraries
    from sftscope.probes import organisms
    from sftscope.probes.engines.vllm import VllmConfig, VllmEngine

    quiet_libraries()
    config = VllmConfig(dtype=args.dtype, cpu_cache_gib=0.25, gpu_memory_fraction=args.gpu_memory_fraction)
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or organisms.folder("qwen3-0.9m")
        checkpoints = make_checkpoints(model, Path(folder), args.checkpoints)
        prompts = make_prompts(checkpoints[0], args.prompts)
        warm_engine, cold_engines = VllmEngine(config), []

        def cold_engine() -> VllmEngine:
            for engine in cold_engines:
                engine.close()
            cold_engines.append(VllmEngine(config))
            return cold_engines[-1]

        sweep(cold_engine, checkpoints[:1], prompts, args.tokens)  # not counted: files come into the disk's cache
        cold_engines[-1].close()
        warm = sweep(lambda: warm_engine, checkpoints, prompts, args.tokens)
        warm_engine.close()
        cold = sweep(cold_engine, checkpoints, prompts, args.tokens)
        cold_engines[-1].close()
        embedded = by_transformers(checkpoints, prompts, args.tokens)
    about = warm["about"]
    print(
        f"{len(checkpoints)} checkpoints of {model.name}, {len(prompts)} prompts x {args.tokens} new tokens each, greedy"
    )
    print(f"vLLM {about['version']} on {about['device']}, {about['dtype']}")
    for name, found in (("cold", cold), ("warm", warm)):
        parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in found["parts"].items())
        print(f"{name:<6}{found['seconds']:8.1f} s   ({parts})")
    print(f"{'hf':<6}{embedded['seconds']:8.1f} s")
    same = warm["written"] == cold["written"]
    distinct = len({json.dumps(w) for w in warm["written"]})
    agree = [
        a == b for x, y in zip(warm["written"], embedded["written"], strict=True) for a, b in zip(x, y, strict=True)
    ]
    ratio = warm["seconds"] / cold["seconds"]
    print(
        f"warm / cold: {ratio:.3f} (1 / {1 / ratio:.1f}); the same tokens: {same}, {distinct} checkpoints write differently"
    )
    print(f"responses as the embedded engine's: {sum(agree)} of {len(agree)}")
    if args.json:
        found = {"warm": warm, "cold": cold, "hf": embedded}
        kept = {k: {n: v for n, v in f.items() if n != "written"} for k, f in found.items()}
        args.json.write_text(
            json.dumps({**kept, "ratio": ratio, "same": same, "agree": sum(agree) / len(agree)}, indent=1)
        )
    if not same:
        raise SystemExit("the warm engine wrote other tokens than the cold ones")
    if args.at_most is not None and ratio > args.at_most:
        raise SystemExit(f"the warm engine took more than {args.at_most:g} of the cold ones' time")


if __name__ == "__main__":
    main()
