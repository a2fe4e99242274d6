"""Base organisms: written, pretrained, exported and scored, each from its recipe in configs/organisms/ alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from .dynamics.errors import CheckpointError, ConfigError, nearest
from .dynamics.record import Run
from .dynamics.settings import from_mapping, read_yaml
from .dynamics.storage import content_key, whole_folder, write_json
from .pipeline import open_probe_run, probe_run
from .probes.checkpoints import Checkpoint, load_model, load_tokenizer
from .probes.finding import find_checkpoints
from .probes.microworld import DOMAINS
from .probes.microworld.corpus import PretrainingCorpus, write_records
from .probes.planner import ProbeConfig
from .recipes import CONFIGS
from .train import TrainConfig


def organism_recipe(name: str) -> dict[str, Any]:
    """The recipe of a base organism; `-s2` after the name of a recipe is its third seed: other weights, another order.

    Raises ConfigError for a name without a recipe in configs/organisms/.
    """
    size, _, seed = name.partition("-s")
    file = CONFIGS / "organisms" / f"{size}.yaml"
    if not file.is_file() or (seed and not seed.isdigit()):
        known = [f.stem for f in file.parent.glob("*.yaml")]
        raise ConfigError(f"no recipe for an organism called {name!r}: {nearest(size, known)}")
    mapping = read_yaml(file)
    if seed:
        mapping["train"]["seed"] = int(seed)
    return mapping


def build_organism(name: str, out: Path, *, items: int = 320) -> Path:
    """Write the corpus of a base organism, pretrain it, export bf16 weights, and score them as exported.

    Interrupted, it goes on from the last full state. Gives the folder of the exported organism. Raises ConfigError for a
    name without a recipe in configs/organisms/.
    """
    from .probes.microworld.tokenizer import build as build_tokenizer
    from .train import train

    mapping = organism_recipe(name)
    recipe_hash = content_key(mapping, length=16)
    corpus, tokenizer, run = out / "corpus.jsonl", out / "tokenizer", out / "pretraining"
    if not corpus.exists():
        write_records(corpus, from_mapping(PretrainingCorpus, mapping["corpus"], "corpus").records())
        build_tokenizer().save_pretrained(tokenizer)
    mapping["train"]["model"]["tokenizer"] = str(tokenizer)
    mapping["train"]["data"]["path"] = str(corpus)
    train(from_mapping(TrainConfig, mapping["train"], "train"), run, resume=(run / "run.json").is_file())
    return export_organism(run, out / name, recipe_hash, items)


def export_organism(run: Path, target: Path, recipe_hash: str, items: int) -> Path:
    """The last checkpoint of a pretraining run as bf16 weights with a card: recipe hash, cost, scores as exported."""
    import torch

    last = find_checkpoints([run])[-1]
    if not (target / "config.json").is_file():
        with whole_folder(target) as aside:
            torch.nn.Module.to(load_model(last), dtype=torch.bfloat16).save_pretrained(aside)
            load_tokenizer(last).save_pretrained(aside)
    steps = Run(run).steps()
    card = {
        "recipe": recipe_hash,
        "weights": Checkpoint(0, target).weights,
        "parameters": sum(p.numel() for p in load_model(Checkpoint(0, target)).parameters()),
        "pretraining_steps": int(steps["step"].iloc[-1]),
        "pretraining_tokens": int(steps["tokens"].iloc[-1]),
        "pretraining_seconds": round(float(steps["seconds"].sum())),
        "items_per_domain": items,
        "scores": scores_of_organism(target, target.parent / f"{target.name}-scores", items),
    }
    write_json(target / "card.json", card)
    return target


CARD = ("score_strict", "finish_rate", "thinking_share", "refusal_rate", "over_refusal_rate")


def scores_of_organism(model: Path, work: Path, items: int) -> dict[str, Any]:
    """Domain -> metric -> [value, lower, upper]: greedy scores, the thinking share also sampled; and what chance scores."""
    scores: dict[str, Any] = {name: {"chance": round(_chance(name, items), 3)} for name in DOMAINS}
    for way, temperature, wanted in (("", 0.0, CARD), ("_sampled", 1.0, ("thinking_share",))):
        probes = ("scores", "verbosity", "refusal") if not way else ("verbosity",)
        config = ProbeConfig(probes=probes, items=items, temperature=temperature)
        probed, checkpoints, config = open_probe_run([model], work.with_name(work.name + way), config)
        if failures := probe_run(probed, checkpoints, config, workers=1):
            raise CheckpointError(f"{model} could not be scored: {failures[0]}")
        table = probed.measurements()
        for row in table[table["metric"].isin(wanted)].itertuples():
            scores[row.domain][f"{row.metric}{way}"] = [round(x, 4) for x in (row.value, row.lo, row.hi)]
    return scores


def _chance(domain: str, items: int) -> float:
    """The score of legal moves taken at random."""
    rng = random.Random(f"chance|{domain}")
    asked = DOMAINS[domain].items("probe", items)
    return sum(DOMAINS[domain].judge(i.reference, DOMAINS[domain].guess(i.reference, rng))[1] for i in asked) / items
