"""What a probe is: it declares what it needs and is a pure function of what it gets. It knows no files and no W&B."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..dynamics.types import Measurement
from .domains import Domain, Item, Response
from .traces import SearchTrace, read_traces

if TYPE_CHECKING:
    import pandas as pd
    import torch

Edit = Callable[["torch.Tensor"], "torch.Tensor"]  # of the residual stream [batch, position, width] after a block
Edits = dict[int, Edit]  # by layer
LAST_PROMPT = "last_prompt"  # the position of the last token before the assistant's turn


@dataclass(frozen=True)
class PromptSet:
    """Prompts whose activations are captured, with the labels that directions are fitted to."""

    name: str
    items: tuple[Item, ...]
    label: np.ndarray  # bool [N]: True for the concept's positive class
    part: np.ndarray  # str [N]: "fit" or "eval"; selection and fitting on one, reporting on the other
    half: np.ndarray  # str [N]: "A" or "B"; disjoint halves within each class and part


@dataclass(frozen=True)
class Needs:
    """What a probe asks the planner for. Needs of all probes are united: each thing is made once a checkpoint."""

    generations: tuple[str, ...] = ()  # domains
    activations: tuple[str, ...] = ()  # prompt sets, all layers, last prompt token
    base: bool = False  # the same activations at the base model, step 0
    intervention: bool = False  # generation with the residual stream edited, through TransformerBridge


@dataclass(frozen=True)
class Answered:
    """A domain's items with the responses to them."""

    domain: Domain
    items: list[Item]
    responses: list[Response]

    @cached_property
    def traces(self) -> list[SearchTrace]:
        """The responses of a search domain as searches, read once however many probes ask."""
        return read_traces(self.domain, self.items, self.responses)


@dataclass(frozen=True)
class Captured:
    """Activations on a prompt set: residual stream after each block at the last prompt token."""

    prompts: PromptSet
    acts_NLD: np.ndarray  # float32


# (domain, items, edits) -> responses under these edits
Intervene = Callable[[str, list[Item], Edits], list[Response]]


@dataclass(frozen=True)
class Given:
    """What a probe gets at one checkpoint: exactly what it declared."""

    step: int
    domains: Mapping[str, Domain] = field(default_factory=dict)
    answered: Mapping[str, Answered] = field(default_factory=dict)
    captured: Mapping[str, Captured] = field(default_factory=dict)
    base_captured: Mapping[str, Captured] = field(default_factory=dict)
    intervene: Intervene | None = None


@dataclass(frozen=True)
class Result:
    """What a probe returns: rows of the long table, per-item values, directions by concept."""

    rows: list[Measurement]
    items: pd.DataFrame | None = None  # columns domain, group, item, cluster, metric, value
    directions: dict[str, np.ndarray] = field(default_factory=dict)  # concept -> unit [layers, width]


class Probe(Protocol):
    """A measurement of one checkpoint. `version` is part of every result's key: raise it when the numbers change.

    A probe with a part in the config has a class method `configured(config)` that makes it, and `settings`, a text that tells its
    settings from others and goes into the key (empty for the default ones).
    """

    name: str
    version: int

    def needs(self, domains: Mapping[str, Domain]) -> Needs: ...

    def measure(self, given: Given) -> Result: ...


def item_rows(answered: Answered, values: Mapping[str, list[float]]) -> list[dict[str, object]]:
    """Per-item rows of one domain: metric -> a value an item (NaN where undefined)."""
    return [
        {
            "domain": answered.domain.name,
            "group": answered.domain.group,
            "item": item.id,
            "cluster": item.cluster,
            "level": item.level,
            "phrasing": item.phrasing,
            "metric": metric,
            "value": float(value),
        }
        for metric, column in values.items()
        for item, value in zip(answered.items, column, strict=True)
    ]
