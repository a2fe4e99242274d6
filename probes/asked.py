"""What a config asks: the micro-world's domains by name, and the user's own question files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..dynamics.errors import ConfigError, nearest
from ..dynamics.storage import content_key
from .benchmarks import Benchmark, BenchmarkConfig, GymTask, Unavailable, check_name, default_cap, make_benchmark
from .domains import Domain, Item, Split
from .freeform import FreeCountdown
from .microworld import DOMAINS
from .sandbox import SandboxConfig
from .scorers import ScorerConfig


@dataclass(frozen=True)
class CountdownFile:
    """Countdown questions of the user's own, asked and read in free text."""

    path: Path  # JSONL: {"numbers": [19, 36, 55, 7], "target": 65} a line, with a "prompt" or "use_all": false where wanted
    max_new_tokens: int = 1024
    by_split: bool = False  # deal the questions to train, probe and test by content; else each belongs to all of them

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"`max_new_tokens` of {self.path} is {self.max_new_tokens}: give 1 or more")


class Asking(Protocol):
    """The part of a probe config that says what is asked."""

    @property
    def domains(self) -> tuple[str, ...]: ...
    @property
    def free_countdown(self) -> Mapping[str, CountdownFile]: ...
    @property
    def benchmarks(self) -> Mapping[str, BenchmarkConfig]: ...
    @property
    def tau(self) -> Mapping[str, int]: ...
    @property
    def scorers(self) -> Mapping[str, ScorerConfig]: ...
    @property
    def sandbox(self) -> SandboxConfig: ...
    @property
    def items(self) -> int: ...
    @property
    def split(self) -> Split: ...
    @property
    def seed(self) -> int: ...


def check_asked(config: Asking) -> None:
    """Raise ConfigError for unknown names, with the nearest ones, and for names that are taken."""
    own = config.free_countdown
    for name in own:
        if name in DOMAINS or not name.replace("_", "").isalnum():
            taken = "is a domain of the micro-world" if name in DOMAINS else "is no name"
            raise ConfigError(
                f"`probes.free_countdown.{name}`: {name!r} {taken}: give letters, digits and `_` of your own"
            )
    for name in config.domains:
        if name in own:
            raise ConfigError(
                f"{name!r} in `probes.domains` is asked already, by `probes.free_countdown`: leave it out"
            )
        if name not in DOMAINS:
            raise ConfigError(f"unknown domain {name!r} in `probes.domains`: {nearest(name, DOMAINS)}")
    for name, benchmark in config.benchmarks.items():
        check_name(name, benchmark)
        if name in own:
            raise ConfigError(
                f"{name!r} is both in `probes.benchmarks` and in `probes.free_countdown`: rename the latter"
            )
    caps = {name: DOMAINS[name].max_new_tokens for name in config.domains}
    caps |= {name: file.max_new_tokens for name, file in own.items()}
    caps |= {name: default_cap(name, benchmark) for name, benchmark in config.benchmarks.items()}
    for name, scorer in config.scorers.items():
        if scorer.domain not in caps:
            raise ConfigError(
                f"`probes.scorers.{name}.domain` is {scorer.domain!r}, which is not asked: {nearest(scorer.domain, caps)}"
            )
    for name, tau in config.tau.items():
        if name not in caps:
            raise ConfigError(f"unknown domain {name!r} in `probes.tau`: {nearest(name, caps)}")
        if not 1 <= tau <= caps[name]:
            raise ConfigError(
                f"`probes.tau.{name}` is {tau}: responses are cut at {caps[name]} tokens, give 1 to {caps[name]}"
            )


def domains_of(config: Asking, skipped: list[str] | None = None) -> dict[str, Domain]:
    """The domains that a config asks. Benchmarks that cannot be had are left out, and `skipped` gets the line that says why.

    Raises DataError, with the line, where a question file cannot be used, and ConfigError where nothing is left to ask.
    """
    found: dict[str, Domain] = {name: DOMAINS[name] for name in config.domains}
    for name, file in config.free_countdown.items():
        found[name] = FreeCountdown(file.path, name=name, max_new_tokens=file.max_new_tokens, by_split=file.by_split)
    lines: list[str] = []
    for name, benchmark in config.benchmarks.items():
        try:
            found[name] = make_benchmark(name, benchmark, config.sandbox)
        except Unavailable as error:
            lines.append(str(error))
    if lines and not found:
        raise ConfigError(f"nothing is left to ask: {'; '.join(lines)}")
    if skipped is not None:
        skipped += lines
    return found


def items_of(config: Asking, domains: Mapping[str, Domain]) -> dict[str, list[Item]]:
    """The questions of each domain; of a file that has fewer than `items`, all; of a benchmark as many as it says itself."""
    return {name: d.items(config.split, _count(d, config), config.seed) for name, d in domains.items()}


def _count(domain: Domain, config: Asking) -> int:
    if domain.name in config.benchmarks:
        own = config.benchmarks[domain.name].items
        return domain.count(config.split) if isinstance(domain, Benchmark) else own or config.items
    if isinstance(domain, FreeCountdown):
        return max(min(config.items, domain.count(config.split)), 2)  # fewer than two: an error that names the file
    return config.items


def questions_key(domain: Domain, items: list[Item]) -> list[str]:
    """What tells these questions from others: their ids, and of a file what its lines say, which ids do not cover."""
    ids = [i.id for i in items]
    worded = isinstance(domain, FreeCountdown | Benchmark | GymTask)
    return [*ids, content_key([(i.prompt, i.reference) for i in items])] if worded else ids
