"""The self-test from end to end: one model, a line for each thing that could make its measurements mean something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from ...dynamics.errors import first_line
from ..checkpoints import Checkpoint, check_fit, load_model
from ..microworld import DOMAINS
from ..planner import Planner, ProbeConfig
from ..prompt_sets import PROMPT_SETS
from ..protocol import PromptSet
from .answers import Floor, asker, check_floor, check_greedy, noise_floor
from .directions import check_random, check_reliability, check_shuffled
from .lines import Line
from .states import check_padding, check_parity, check_storage

T = TypeVar("T")
PROMPTS = 12  # read in three ways, each alone


@dataclass(frozen=True)
class Outcome:
    """The lines, and what stands behind the one on the noise floor."""

    lines: list[Line]
    floors: list[Floor]

    @property
    def failed(self) -> list[str]:
        return [line.name for line in self.lines if line.status == "failed"]


def selftest(
    checkpoint: Checkpoint,
    *,
    domains: Sequence[str] = tuple(DOMAINS),
    items: int = 32,
    temperature: float = 0.7,
    say: Callable[[str], None] = lambda _stage: None,
) -> Outcome:
    """Measure one checkpoint twice, the nulls of its refusal direction, and three readings of its states.

    `items` questions of each domain are answered four times. Raises CheckpointError where the model, or a tokenizer for
    it, cannot be read, and ConfigError for unknown domains.
    """
    say("loading the model")
    config = ProbeConfig(probes=("scores",), domains=tuple(domains), items=items, during=())
    with TemporaryDirectory() as nowhere:  # the planner chooses the items, and is not asked to write
        planner = Planner(Path(nowhere), checkpoint, config)
    renderer, pad_id = planner.renderer, planner.renderer.pad_id
    model = load_model(checkpoint)
    check_fit(model, planner.tokenizer, checkpoint.path)

    from ..internals.capture import capture_last_prompt

    say("capturing states")
    prompts = PROMPT_SETS["refusal"](DOMAINS, planner.items)
    ids = renderer.prompts([i.prompt for i in prompts.items])
    varied = [found[0].prompt for found in planner.items.values()]  # one of each domain: prompts of unlike length
    few = (renderer.prompts(varied) + ids[:: max(1, len(ids) // PROMPTS)])[:PROMPTS]
    lines: list[Line] = _tried("hooks", lambda: check_parity(model, few, pad_id))
    lines += _tried("padding", lambda: [check_padding(model, few, pad_id)])
    states = _tried("storage", lambda: [capture_last_prompt(model, ids, pad_id=pad_id)])
    if isinstance(states[0], Line):
        lines += [states[0], Line("direction", "not checked", "its nulls need captured states")]
    else:
        lines += _of_states(states[0], prompts, say)
    ask = asker(model, renderer, planner.items)
    say("greedy answers, twice")
    lines.append(check_greedy(ask, planner.domains, planner.items))
    say("sampled answers, twice")
    floors = noise_floor(ask, planner.domains, planner.items, temperature)
    lines.append(check_floor(floors, temperature))
    return Outcome(lines, floors)


def _of_states(states_NLD: np.ndarray, prompts: PromptSet, say: Callable[[str], None]) -> list[Line]:
    storage = check_storage(states_NLD)
    if not np.isfinite(states_NLD).all():
        return [storage, Line("direction", "not checked", "its nulls need states that are finite")]
    say("nulls of the refusal direction")
    fit_N = prompts.part == "fit"
    return [
        storage,
        check_reliability(states_NLD[fit_N], prompts.label[fit_N], prompts.half[fit_N]),
        check_shuffled(states_NLD, prompts.label, fit_N),
        check_random(states_NLD, prompts.label, fit_N),
    ]


def _tried(name: str, check: Callable[[], list[T]]) -> list[T] | list[Line]:
    """What a check gives; where it cannot be done on this model, a line that says so: probes could not do it either."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001  (models of unlike makes fail in ways of their own)
        text = f"could not be done on this model ({type(error).__name__}: {first_line(error)})"
        return [Line(name, "failed", text)]
