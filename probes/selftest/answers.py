"""One checkpoint asked twice: greedily, where answers should be the same, and with two seeds, which gives the noise floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom

from ...dynamics.statistics import intervals
from ...dynamics.types import Estimate
from ..domains import Domain, Item, Response
from ..engines import Sampling
from ..rendering import Renderer
from .lines import Line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ask = Callable[[str, Sampling, int], list[Response]]  # (domain, sampling, batch size) -> a response an item


@dataclass(frozen=True)
class Floor:
    """What two measurements of one checkpoint differ by in one domain: sampled scores and lengths, paired by item."""

    domain: str
    score: tuple[float, float]  # strict, by seed
    score_difference: Estimate
    tokens: tuple[float, float]
    tokens_difference: Estimate
    flipped: float  # share of items right with one seed alone
    finished: float  # share that stopped before the cap, both seeds


def asker(model: PreTrainedModel, renderer: Renderer, items: Mapping[str, Sequence[Item]]) -> Ask:
    """Asks a model the items of a domain by the embedded engine."""
    from ..checkpoints import end_ids
    from ..engines.hf import HfEngine

    def ask(domain: str, sampling: Sampling, batch_size: int) -> list[Response]:
        ends = end_ids(model, renderer.tokenizer)
        engine = HfEngine(model, eos_ids=ends, pad_id=renderer.pad_id, batch_size=batch_size)
        done = engine.generate(renderer.prompts([i.prompt for i in items[domain]]), sampling)
        return [renderer.read(renderer.sample([], c.token_ids, c.finish)) for c in done]

    return ask


def check_greedy(ask: Ask, domains: Mapping[str, Domain], items: Mapping[str, Sequence[Item]]) -> Line:
    """Greedy answers twice, the second time in batches of another size: whoever shares a batch should not matter."""
    changed = flipped = asked = 0
    for name, domain in domains.items():
        greedy, few = Sampling(domain.max_new_tokens), max(2, len(items[name]) // 3)
        first, second = ask(name, greedy, 256), ask(name, greedy, few)
        asked += len(first)
        for item, a, b in zip(items[name], first, second, strict=True):
            changed += a.text != b.text
            flipped += domain.grade(item, a).strict != domain.grade(item, b).strict
    numbers = {"asked": asked, "changed": changed, "flipped": flipped}
    if changed == 0:
        return Line("greedy twice", "ok", f"{asked} greedy answers are the same in batches of another size", numbers)
    text = (
        f"{changed} of {asked} greedy answers change with the size of their batches, and {flipped} of them are then graded "
        "otherwise: rounding decides near ties, and differences of so many items between checkpoints are noise"
    )
    return Line("greedy twice", "look", text, numbers)


def noise_floor(
    ask: Ask, domains: Mapping[str, Domain], items: Mapping[str, Sequence[Item]], temperature: float
) -> list[Floor]:
    """Every domain sampled with two seeds, graded, and compared item by item."""
    floors = []
    for name, domain in domains.items():
        both = [ask(name, Sampling(domain.max_new_tokens, temperature, seed=s), 256) for s in (0, 1)]
        clusters = [i.cluster for i in items[name]]
        right_2N = np.array(
            [[domain.grade(i, r).strict for i, r in zip(items[name], answers, strict=True)] for answers in both], float
        )
        length_2N = np.array([[min(r.n_tokens, domain.max_new_tokens) for r in answers] for answers in both], float)
        floors.append(
            Floor(
                name,
                (float(right_2N[0].mean()), float(right_2N[1].mean())),
                intervals.paired_difference(right_2N[1], right_2N[0], clusters),
                (float(length_2N[0].mean()), float(length_2N[1].mean())),
                intervals.paired_difference(length_2N[1], length_2N[0], clusters),
                float((right_2N[0] != right_2N[1]).mean()),
                float(np.mean([r.finished for answers in both for r in answers])),
            )
        )
    return floors


def check_floor(floors: Sequence[Floor], temperature: float) -> Line:
    """Whether the intervals of differences that are nothing but chance hold 0 as often as they should."""
    differences = [e for f in floors for e in (f.score_difference, f.tokens_difference) if not math.isnan(e.lo)]
    beyond = sum(not e.lo <= 0 <= e.hi for e in differences)
    widest = max(floors, key=lambda f: _half(f.score_difference))
    numbers = {
        "temperature": temperature,
        "intervals": len(differences),
        "without_0": beyond,
        "domains": {f.domain: _numbers(f) for f in floors},
    }
    text = (
        f"one checkpoint twice at temperature {temperature:g}: {beyond} of {len(differences)} intervals of differences miss 0; "
        f"scores move by chance by up to ±{_half(widest.score_difference):.2f} ({widest.domain})"
    )
    if differences and float(binom.sf(beyond - 1, len(differences), 0.05)) < 1e-3:
        text += ": more than chance explains, and intervals between checkpoints will be too narrow as well"
        return Line("noise floor", "failed", text, numbers)
    stuck = [f.domain for f in floors if f.finished < 0.5]
    if stuck:
        those = ", ".join(stuck[:6]) + (" …" if len(stuck) > 6 else "")
        text += f"; over half of the answers do not end before the cap in {those}, where scores say little"
        return Line("noise floor", "look", text, numbers)
    return Line("noise floor", "ok", text, numbers)


def _half(e: Estimate) -> float:
    """Half the width of an interval; 0 where the two measurements agreed on every item."""
    return 0.0 if math.isnan(e.lo) else (e.hi - e.lo) / 2


def _numbers(f: Floor) -> dict[str, object]:
    def told(e: Estimate) -> dict[str, float]:
        return {"value": e.value, "lo": e.lo, "hi": e.hi, "n": e.n}

    return {
        "score": list(f.score),
        "score_difference": told(f.score_difference),
        "tokens": list(f.tokens),
        "tokens_difference": told(f.tokens_difference),
        "flipped": f.flipped,
        "finished": f.finished,
    }
