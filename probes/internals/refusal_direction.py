"""The refusal direction at fixed sites (all layers, last prompt token), frozen at the base and refit, with its null."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...dynamics.types import Estimate, Measurement
from ..domains import Domain
from ..protocol import LAST_PROMPT, Direction, Given, Needs, Result
from . import directions as d

NULL_DRAWS = 2000


class RefusalDirection:
    """Fits on the fit prompts, reports on the eval prompts.

    Frozen asks whether the base's readout is still valid, refit whether the classes are still told apart: two questions.
    """

    name = "refusal_direction"
    version = 1

    def needs(self, domains: Mapping[str, Domain]) -> Needs:
        has_both = {"harmful", "safe"} <= set(domains)
        return Needs(activations=("refusal",), base=True) if has_both else Needs()

    def measure(self, given: Given) -> Result:
        now, base = given.captured["refusal"], given.base_captured["refusal"]
        prompts = now.prompts
        fit, held_out = prompts.part == "fit", prompts.part == "eval"
        label, half = prompts.label, prompts.half
        acts_fit, base_fit = now.acts_NLD[fit], base.acts_NLD[fit]
        direction_t = d.difference_in_means(acts_fit, label[fit])
        direction_0 = d.difference_in_means(base_fit, label[fit])
        unit_t, unit_0 = d.unit(direction_t), d.unit(direction_0)
        corrected = d.corrected_cosine_estimates(acts_fit, base_fit, label[fit], half[fit])
        raw = d.cosine(direction_t, direction_0)
        rows: list[Measurement] = []
        null_abs = []

        def add(metric: str, estimate: Estimate, unit: str, layer: int, reason: str = "") -> None:
            rows.append(
                Measurement(given.step, self.name, metric, estimate, unit, "", layer, LAST_PROMPT, reason=reason)
            )

        def bare(value: float, n: int, method: str) -> Estimate:
            return Estimate(float(value), math.nan, math.nan, n, method)

        y = label[held_out]
        for column, layer in enumerate(now.layers):
            eval_t = now.acts_NLD[held_out, column].astype(np.float64)
            base_eval = base.acts_NLD[held_out, column].astype(np.float64)
            frozen, refit = eval_t @ unit_0[column], eval_t @ unit_t[column]
            sd_0 = d.within_class_sd(base_eval @ unit_0[column], y)
            add("refusal_auc_frozen", d.auc(frozen, y), "auc", layer)
            add("refusal_auc_refit", d.auc(refit, y), "auc", layer)
            add("refusal_gap_frozen", d.gap_in_sd(frozen, y, sd_0), "sd of base", layer)
            add("refusal_gap_refit", d.gap_in_sd(refit, y, d.within_class_sd(refit, y)), "sd", layer)
            weak = "" if corrected[column].defined else f"reliability below {d.MIN_RELIABILITY}"
            add("refusal_cosine_to_base", corrected[column], "cosine", layer, weak)
            add("refusal_cosine_raw", bare(raw[column], int(fit.sum()), "difference-in-means"), "cosine", layer)
            cov = d.within_class_covariance(acts_fit[:, column], label[fit])
            null_abs.append(np.abs(d.random_directions(cov, NULL_DRAWS, seed=layer) @ unit_0[column]))
            p99 = bare(np.quantile(null_abs[-1], 0.99), NULL_DRAWS, "covariance-matched")
            add("refusal_cosine_null_p99", p99, "cosine", layer)
        best = bare(np.quantile(np.max(null_abs, axis=0), 0.99), NULL_DRAWS, "covariance-matched, best of layers")
        add("refusal_cosine_null_p99_best", best, "cosine", -1)
        acts, y = acts_fit.astype(np.float64), label[fit]
        direction = Direction(unit_t, now.layers, LAST_PROMPT, acts[y].mean(0), acts[~y].mean(0))
        return Result(rows, directions={"refusal": direction})
