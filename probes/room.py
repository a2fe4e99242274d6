"""Whether questions and their answers fit into a model's context: what does not is told before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..dynamics.errors import CheckpointError, ConfigError
from .checkpoints import Checkpoint, stored_config
from .protocol import Ask
from .registry import make_probe

if TYPE_CHECKING:
    from .planner import Planner

_STRETCHED = ("linear", "dynamic", "yarn")  # kinds of rope scaling that `max_position_embeddings` need not tell of


def positions(checkpoint: Checkpoint) -> int | None:
    """How many tokens a checkpoint's model was made for, by its config; None where that names no number."""
    try:
        config: Any = stored_config(checkpoint).get_text_config()
    except CheckpointError:
        return None  # told when it is loaded
    own = getattr(config, "max_position_embeddings", None)
    if not isinstance(own, int) or own < 1:
        return None
    return max(own, *(int(n) for n in _stretched(config, own)))


def _stretched(config: Any, own: int) -> Iterable[float]:
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for part in [rope, *(p for p in rope.values() if isinstance(p, dict))]:  # some have one for each kind of layer
        if part.get("rope_type", part.get("type")) in _STRETCHED:
            yield (part.get("original_max_position_embeddings") or own) * part.get("factor", 1.0)
    yield own


def check_room(planner: Planner) -> None:
    """Raise one ConfigError that names every domain whose longest prompt and response do not fit, and what to lower."""
    config, base = planner.config, planner.base
    own = positions(base)
    told = config.vllm.max_model_len if config.engine == "vllm" else None
    rooms = [n for n in (own, told) if n is not None]
    if not rooms:
        return
    room, lines = min(rooms), []
    for name, longest in _longest_prompts(planner).items():
        cap = planner.domains[name].max_new_tokens
        if longest + cap > room:
            line = f"{name}: a prompt of {longest:,} tokens and a response of up to {cap:,} are {longest + cap:,}"
            lines.append(f"  {line}: {_way_out(planner, name, room - longest)}")
    if not lines:
        return
    whose = f"the context of {base.path} is {room:,} tokens"
    if told is not None and told == room and (own is None or told < own):
        most = f", of the model's own {own:,}" if own else ""
        whose = f"`probes.vllm.max_model_len` is {told:,} tokens{most}"
    raise ConfigError(f"{whose}, and what is asked does not fit:\n" + "\n".join(lines))


def _way_out(planner: Planner, name: str, left: int) -> str:
    section = next((s for s in ("benchmarks", "free_countdown") if name in getattr(planner.config, s)), None)
    if section is None or left < 1:
        return f"leave it out of `probes.{section or 'domains'}`"
    return f"set `probes.{section}.{name}.max_new_tokens` to {left:,} or less".replace(",", "")


def _longest_prompts(planner: Planner) -> dict[str, int]:
    """Tokens of the longest prompt of each domain that is asked, with what its answer is made to begin with."""
    probes = [make_probe(n, planner.config) for n in dict.fromkeys((*planner.config.probes, *planner.config.during))]
    needs = [probe.needs(planner.domains) for probe in probes]
    asked = planner.asks([a for n in needs for a in (*n.generations, *n.scores)])
    longest: dict[str, int] = {}
    # However many samples are drawn, and at which temperature, the prompts are the same.
    for ask in dict.fromkeys(replace(a, samples=1, temperature=None, items=None) for a in asked):
        longest[ask.domain] = max(longest.get(ask.domain, 0), _longest(planner, ask))
    return longest


def _longest(planner: Planner, ask: Ask) -> int:
    try:
        prompts, begun = planner.renderer.ask(ask, planner.domains[ask.domain], planner.items_of(ask))
    except ConfigError:
        return 0  # told by the probe that asks it
    return max((len(p) + len(b) for p, b in zip(prompts, begun, strict=True)), default=0)
