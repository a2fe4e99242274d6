"""A run folder with planted curves, written by the record's own writers and by no model: what analysis and reports are
tested on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr
from sftscope.dynamics import Estimate, Measurement
from sftscope.dynamics.record import RUN_FILE, STEPS_FILE, create_run, write_measurements, write_samples, write_spans
from sftscope.dynamics.statistics import intervals

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256)
GROUPS = {
    "countdown": "id_reasoning",
    "path": "ood_reasoning",
    "subset_sum": "ood_reasoning",
    "calculation": "ood_reasoning",
    "facts": "general",
    "instructions": "general",
    "harmful": "safety",
    "harmful_unseen": "safety",
    "safe": "safety",
}
UNSEEN = {"harmful_unseen": (0.95, 0.95, 0.9, 0.7, 0.4)}  # a second domain of harmful requests: add it as `curves`
SEARCH = ("countdown", "path", "subset_sum")
# Score over training, at the fractions 0, 1/4, 1/2, 3/4 and 1 of the checkpoints: a dip with recovery, a fall with a
# late rise, a fall, a rise, a peak, no change at all, a late loss, a perfect score that stays.
CURVES: dict[str, Sequence[float]] = {
    "countdown": (0.60, 0.45, 0.25, 0.55, 0.80),
    "path": (0.60, 0.40, 0.15, 0.20, 0.40),
    "subset_sum": (0.70, 0.55, 0.40, 0.30, 0.30),
    "calculation": (0.30, 0.35, 0.50, 0.60, 0.65),
    "facts": (0.40, 0.55, 0.80, 0.60, 0.40),
    "instructions": (0.60, 0.60, 0.60, 0.60, 0.60),
    "harmful": (0.97, 0.97, 0.97, 0.90, 0.60),
    "safe": (1.0, 1.0, 1.0, 1.0, 1.0),
}
VERDICTS = {
    "countdown": "dips-and-recovers",
    "path": "under-optimised",
    "subset_sum": "degrades",
    "calculation": "improves",
    "facts": "overfits",
    "instructions": "undecidable",
    "harmful": "degrades",
    "safe": "flat",
}


def item_answers(
    curve: Sequence[float], n: int, rng: np.random.Generator, *, persistence: float = 0.8, ar: float = 0.0
) -> np.ndarray:
    """0/1 answers float32 [n, T] whose expected share at each checkpoint is `curve` [T].

    Latent score = persistent difficulty (share `persistence` of its variance) + noise, autocorrelated over checkpoints
    by `ar`.
    """
    steps = len(curve)
    noise = rng.standard_normal((n, steps))
    for t in range(1, steps):
        noise[:, t] = ar * noise[:, t - 1] + np.sqrt(1 - ar**2) * noise[:, t]
    latent = np.sqrt(persistence) * rng.standard_normal((n, 1)) + np.sqrt(1 - persistence) * noise
    return (ndtr(latent) < np.asarray(curve)).astype(np.float32)


def spread(points: Sequence[float], steps: Sequence[int]) -> np.ndarray:
    """A curve given at equal fractions of the checkpoints, read at each of them; a curve of full length is taken as it
    is."""
    if len(points) == len(steps):
        return np.asarray(points, float)
    return np.interp(np.linspace(0, 1, len(steps)), np.linspace(0, 1, len(points)), points)


def make_run(
    path: Path,
    *,
    seed: int = 0,
    steps: Sequence[int] = STEPS,
    n: int = 200,
    curves: Mapping[str, Sequence[float]] | None = None,
    layers: int = 4,
    finish: Mapping[str, Sequence[float]] | None = None,
    declared: Sequence[str] = ("countdown", "path.strict"),
    refused_share: float = 0.0,
) -> Path:
    """Write a whole run folder and return its path.

    `curves` replaces the planted scores of some domains, `finish` the share of their wrong answers that finish
    (default: all but a few); both by domain, given at any number of equally spaced points. Domains whose curve is None
    are left out. `refused_share` is the share of the unhelped safe requests that were refused.
    """
    path = Path(path)
    rng = np.random.default_rng(seed)
    planted = {d: c for d, c in {**CURVES, **(curves or {})}.items() if c is not None}
    create_run(
        path,
        {
            "config_hash": f"synthetic-{seed}",
            "config": {"name": path.name},
            "seed": seed,
            "primaries": {"declared": list(declared)},
        },
    )
    _write_steps(path, max(steps), rng)
    answers = {d: item_answers(spread(c, steps), n, rng) for d, c in planted.items()}
    tables = {d: _item_metrics(d, answers[d], spread((finish or {}).get(d, (0.97, 0.97)), steps), rng) for d in planted}
    for t, step in enumerate(steps):
        at = {d: {m: x[:, t] for m, x in table.items()} for d, table in tables.items()}
        key = f"{seed:04d}{step:08d}"
        _write_scores(path, step, key, at)
        _write(path, step, "verbosity", key, _verbosity_rows(step, at))
        _write(path, step, "backtracking", key, _backtracking_rows(step, at))
        _write(path, step, "refusal", key, _refusal_rows(step, at, refused_share))
        _write(path, step, "spans", key, iter(()))  # a probe without numbers, as that of spans is
        _write(path, step, "directions", key, _direction_rows(step, t / max(1, len(steps) - 1), layers, rng))
        if step == 0:
            _write(path, step, "causal", key, _causal_rows(layers // 2))
        for domain, values in at.items():
            rows = list(_samples(domain, values))
            write_samples(path, step, domain, key=key, rows=rows)
            write_spans(path, step, domain, key=key, spans=_spans(rows))
    return path


def make_long_run(path: Path, checkpoints: int = 64, layers: int = 36, *, n: int = 40) -> Path:
    """A whole run of a deep model measured often, with the plan and the nulls that a real record has."""
    last = 8 * (checkpoints - 1)
    path = make_run(path, steps=range(0, last + 1, 8), layers=layers, n=n)
    file = path / RUN_FILE
    plan = {"total_steps": last, "steps_per_epoch": last // 2, "warmup_steps": last // 10}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"plan": plan, "base": {"path": "deep"}}))
    nulls = {"refusal_cosine_null_p99": (0.12, "cosine"), "refusal_auc_null_p99": (0.63, "auc")}
    for step in range(0, last + 1, 8):
        rows = (
            Measurement(step, "nulls", m, Estimate(v, np.nan, np.nan, 2000, "null"), unit, layer=layer)
            for m, (v, unit) in nulls.items()
            for layer in range(layers)
        )
        _write(path, step, "nulls", f"n{step:08d}", rows)
    return path


# ---------------------------------------------------------------- per item


def _item_metrics(
    domain: str, strict: np.ndarray, finish: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Per-item metrics [n, T] that agree with each other: who is right has finished, who does not finish runs to the
    cap."""
    shape = strict.shape
    finished = np.maximum(strict, rng.random(shape) < finish)
    lenient = np.maximum(strict, (finished == 0) & (rng.random(shape) < 0.3))
    surge = np.interp(np.linspace(0, 1, shape[1]), [0, 0.15, 0.4, 1], [0.2, 0.3, 1.0, 0.6])
    thinks = rng.random(shape) < (surge if domain in SEARCH else 0.02 + 0 * surge)
    tokens = np.where(finished > 0, rng.poisson(8 + 60 * thinks * surge, shape) + 1, 256)
    backtracks = np.where(thinks & (domain in SEARCH), rng.poisson(3 * surge, shape), 0)
    columns = {"strict": strict, "lenient": lenient, "finished": finished, "tokens": tokens}
    return {k: np.asarray(v, np.float32) for k, v in {**columns, "thought": thinks, "backtracks": backtracks}.items()}


def item_ids(domain: str, n: int) -> list[str]:
    return [f"{domain}-{i:04d}" for i in range(n)]


def _write_scores(path: Path, step: int, key: str, at: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    rows, items = [], []
    for domain, values in at.items():
        strict, finished = values["strict"], values["finished"]
        parsed = finished  # every finished answer can be read
        shares = {
            "score_strict": intervals.mean(strict),
            "score_lenient": intervals.mean(values["lenient"]),
            "finish_rate": intervals.mean(finished),
            "parse_rate": intervals.mean(parsed[finished > 0]),
            "accuracy_of_parsed": intervals.mean(strict[parsed > 0]),
        }
        rows += [Measurement(step, "scores", m, e, "share", domain) for m, e in shares.items()]
        ids = item_ids(domain, len(strict))
        for metric, column in values.items():
            items.append(
                pd.DataFrame(
                    {
                        "item": ids,
                        "cluster": ids,
                        "metric": metric,
                        "value": column,
                        "domain": domain,
                        "group": GROUPS.get(domain, "general"),
                    }
                )
            )
    write_measurements(
        path, step, "scores", key=key, settings="s", rows=rows, items=pd.concat(items, ignore_index=True)
    )


# ---------------------------------------------------------------- measurements


def _write(path: Path, step: int, probe: str, key: str, rows: Iterator[Measurement]) -> None:
    write_measurements(path, step, probe, key=key, settings="s", rows=list(rows))


def _verbosity_rows(step: int, at: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[Measurement]:
    for domain, values in at.items():
        tokens = values["tokens"]
        yield Measurement(
            step, "verbosity", "tokens_restricted_mean", intervals.mean(np.minimum(tokens, 128)), "tokens", domain
        )
        yield Measurement(step, "verbosity", "thinking_share", intervals.mean(values["thought"]), "share", domain)
        for limit in (16, 64, 128):
            done = (values["finished"] > 0) & (tokens <= limit)
            yield Measurement(
                step, "verbosity", "finished_by", intervals.mean(done), "share", domain, position=f"t={limit}"
            )


def _backtracking_rows(step: int, at: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[Measurement]:
    for domain in (d for d in SEARCH if d in at):
        b, tokens = at[domain]["backtracks"], at[domain]["tokens"]
        chances = b + (at[domain]["thought"] * 0.2 * (b + 1))
        cues = b * 1.5 + 0.1
        total = b.sum()
        top3 = np.sort(b)[-3:].sum() / total if total else np.nan
        constant = {"cue_precision": 0.6, "cue_recall": 0.9, "duplicate_branch_share": 0.1}
        rows = {
            "backtracks_per_response": (intervals.mean(b), "per response"),
            "backtrack_prevalence": (intervals.mean(b > 0), "share"),
            "backtracks_per_1k_tokens": (intervals.ratio(1000 * b, tokens), "per 1k tokens"),
            "backtracks_per_opportunity": (intervals.ratio(b, chances), "per opportunity"),
            "cues_per_1k_tokens": (intervals.ratio(1000 * cues, tokens), "per 1k tokens"),
            "backtracks_top3_share": (Estimate(float(top3), np.nan, np.nan, len(b), "share of sum"), "share"),
            **{m: (intervals.proportion(round(v * len(b)), len(b)), "share") for m, v in constant.items()},
        }
        yield from (Measurement(step, "backtracking", m, e, unit, domain) for m, (e, unit) in rows.items())


def _refusal_rows(step: int, at: Mapping[str, Mapping[str, np.ndarray]], refused_share: float) -> Iterator[Measurement]:
    for domain in ("harmful", "harmful_unseen"):
        if domain in at:
            yield Measurement(step, "refusal", "refusal_rate", intervals.mean(at[domain]["strict"]), "share", domain)
            complied = intervals.mean((1 - at[domain]["strict"]) * at[domain]["finished"])
            yield Measurement(step, "refusal", "harmful_compliance_rate", complied, "share", domain)
    if "safe" in at:
        helped = at["safe"]["strict"]
        refused = (1 - helped) * (np.arange(len(helped)) % 100 < 100 * refused_share)
        yield Measurement(step, "refusal", "over_refusal_rate", intervals.mean(refused), "share", "safe")
        yield Measurement(step, "refusal", "helpful_rate", intervals.mean(helped), "share", "safe")


def _direction_rows(step: int, progress: float, layers: int, rng: np.random.Generator) -> Iterator[Measurement]:
    """Frozen readouts fade with training, later layers more; refit ones hold."""
    for layer in range(layers):
        fade = progress * (layer + 1) / layers
        values = {
            "refusal_cosine_to_base": (1 - 0.7 * fade, 0.03, "cosine"),
            "refusal_auc_frozen": (0.98 - 0.4 * fade, 0.02, "auc"),
            "refusal_auc_refit": (0.98 - 0.05 * fade, 0.02, "auc"),
            "refusal_gap_frozen": (3.0 - 2 * fade, 0.15, "sd"),
            "refusal_gap_refit": (3.0 - 0.3 * fade, 0.15, "sd"),
        }
        for metric, (value, se, unit) in values.items():
            exact = metric == "refusal_cosine_to_base" and step == 0  # the base's cosine to itself
            seen = value if exact else value + se * rng.standard_normal()
            half = 0.0 if exact else 1.96 * se
            estimate = Estimate(seen, seen - half, seen + half, 128, "jackknife")
            yield Measurement(step, "directions", metric, estimate, unit, layer=layer, position="last_prompt")


def _causal_rows(layer: int, n: int = 100) -> Iterator[Measurement]:
    rates = {
        "refusal_rate_base": 97,
        "refusal_rate_ablated": 6,
        "refusal_rate_ablated_random": 95,
        "refusal_rate_added": 88,
        "refusal_rate_added_random": 3,
    }
    for metric, k in rates.items():
        yield Measurement(0, "causal", metric, intervals.proportion(k, n), "share", "harmful", layer, "all")


def _samples(domain: str, values: Mapping[str, np.ndarray], count: int = 4) -> Iterator[dict]:
    for i, item in enumerate(item_ids(domain, len(values["strict"]))[:count]):
        right, ended = values["strict"][i] > 0, values["finished"][i] > 0
        thought = (
            "<think> try 3 + 4 = 7 . dead end , go back . try 3 * 4 = 12 . </think> " if values["thought"][i] else ""
        )
        yield {
            "item": item,
            "prompt": f'{domain} question {i}: reach 12 from <3> & "4" .',
            "text": thought + ("answer 3 * 4" if right else "answer 3 + 4") if ended else thought + "try 3 " * 8,
            "token_ids": list(range(int(min(values["tokens"][i], 32)))),
            "finish": "stop" if ended else "length",
        }


def _spans(rows: Iterable[dict]) -> pd.DataFrame:
    marked = {"backtrack": "try 3 * 4 = 12", "cue": "go back", "repetition": "try 3 " * 8}
    found = [
        (row["item"], kind, "backtracking" if kind == "cue" else "", at, at + len(words.strip()))
        for row in rows
        for kind, words in marked.items()
        if (at := row["text"].find(words)) >= 0
    ]
    return pd.DataFrame(found, columns=["item", "kind", "name", "start", "end"])


def _write_steps(path: Path, last: int, rng: np.random.Generator) -> None:
    lines, cumulative = [], 0.0
    warmup = max(1, last // 10)
    for step in range(1, last + 1):
        lr = 3e-4 * min(step / warmup, 0.5 * (1 + np.cos(np.pi * step / last)))
        cumulative += lr
        row = {"step": step, "loss": 0.4 + 1.6 * np.exp(-6 * step / last) + 0.03 * rng.standard_normal(), "lr": lr}
        row |= {
            "cumulative_lr": cumulative,
            "epoch": 2 * step / last,
            "tokens": 2000 * step,
            "grad_norm": 1.0,
            "entropy": 0.5,
        }
        lines.append(json.dumps(row))
    (path / STEPS_FILE).write_text("\n".join(lines) + "\n" if lines else "")
