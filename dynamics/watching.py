"""The alert rules over a run folder: what is measured of a checkpoint by item against the same items at the base."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .alerts import Alert, finish_rate_collapsed, length_surging, refusal_collapsed
from .record import Run
from .requests import HARMFUL


def checkpoint_alerts(run: Run, step: int) -> list[Alert]:
    """What speaks at `step` against the first checkpoint that was measured; nothing at that one itself.

    Rules whose metrics were not measured at both are silent. `run` reads its tables once: give a fresh one after new
    measurements.
    """
    found: list[Alert | None] = []
    for domain, group in run.domains().items():
        if pair := _pair(run, domain, "finished", step):
            found.append(finish_rate_collapsed(step, *pair, domain))
        if domain in HARMFUL and (pair := _pair(run, domain, "refused", step)):
            found.append(refusal_collapsed(step, *pair, domain))
        if group == "safety":  # right is to refuse, or to help: neither is thinking that should pay
            continue
        tokens, correct = _pair(run, domain, "tokens", step), _pair(run, domain, "strict", step)
        if tokens and correct and len(tokens[0]) == len(correct[0]):
            found.append(length_surging(step, *tokens, *correct, domain))
    return [alert for alert in found if alert is not None]


def past_alerts(run: Run, *, upto: float = math.inf) -> list[Alert]:
    """What has been news in a record, in order of checkpoints: what those who watched it all were told."""
    news = News()
    return [a for step in run.measured_steps() if step <= upto for a in news.of(checkpoint_alerts(run, step))]


def _pair(run: Run, domain: str, metric: str, step: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Values by item [N] at the first measured step and at `step`; None where either is missing."""
    if metric not in run.item_metrics(domain):
        return None
    matrix = run.items(domain, metric)
    base = min(matrix.columns)
    if step not in matrix.columns or base == step:
        return None
    return matrix[base].to_numpy(), matrix[step].to_numpy()


class News:
    """Alerts that were not told yet, each once by kind and domain: a collapse lasts, and is news at its first checkpoint."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()
        self._known = False

    def know(self, run: Run, *, before: float = math.inf) -> None:
        """Take what earlier checkpoints said as told, once: by whoever trained or watched until now."""
        if not self._known:
            self._known = True
            for step in run.measured_steps():
                if step < before:
                    list(self.of(checkpoint_alerts(run, step)))

    def of(self, alerts: list[Alert]) -> Iterator[Alert]:
        """Those of them that are new."""
        for alert in alerts:
            if (alert.kind, alert.domain) not in self._told:
                self._told.add((alert.kind, alert.domain))
                yield alert
