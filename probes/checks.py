"""What can be known of a run's measurements before it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..dynamics.checks import Check
from ..dynamics.errors import ConfigError
from .asked import domains_of, items_of
from .contamination import contaminated
from .domains import Domain, Item
from .engines.vllm import check_installed
from .microworld import DOMAINS
from .planner import ProbeConfig
from .prompt_sets import PROMPT_SETS
from .registry import make_probe

EXAMPLES, SHOWN = 3, 300  # rows that are named, and characters of the prompt that each holds


def checks(config: ProbeConfig, rows: Iterable[tuple[int, Sequence[str]]] | None) -> list[Check]:
    """Whether the engine is there, and whether training `rows` (line, texts; None where they are not at hand) hold items that
    the probes will ask."""
    return [*_engine(config), *_contamination(config, rows)]


def _engine(config: ProbeConfig) -> list[Check]:
    if config.engine == "hf":
        return []
    try:
        check_installed()
    except ConfigError as missing:
        return [Check("engine", "failed", str(missing))]
    return [
        Check("engine", "ok", "vLLM is installed; that it computes what transformers does is proved at each checkpoint")
    ]


def _shown(prompt: str) -> str:
    return repr(prompt if len(prompt) <= SHOWN else prompt[:SHOWN] + "…")


def _contamination(config: ProbeConfig, rows: Iterable[tuple[int, Sequence[str]]] | None) -> list[Check]:
    skipped: list[str] = []
    domains = domains_of(config, skipped)
    items = items_of(config, domains)
    count = sum(map(len, items.values()))
    left_out = [Check("benchmarks", "not checked", line) for line in skipped]
    if rows is None:
        text = f"whether training rows hold any of the {count:,} probe items: the rows are not at hand"
        return [*left_out, Check("contamination", "not checked", text)]
    hits = list(contaminated(rows, _with_prompt_sets(config, domains, items), DOMAINS | domains))
    if not hits:
        return [*left_out, Check("contamination", "ok", f"no training row holds any of the {count:,} probe items")]
    by_domain = ", ".join(f"{n:,} of {name}" for name, n in Counter(hit.domain for hit in hits).most_common())
    examples = "; ".join(
        f"row {hit.row} {'holds' if hit.exact else 'asks the same as'} {_shown(hit.item.prompt)}"
        for hit in hits[:EXAMPLES]
    )
    hold = "rows hold" if len(hits) > 1 else "row holds"
    text = (
        f"{len(hits):,} training {hold} probe items ({by_domain}): {examples}. Remove them, or set `probes.split: test`"
    )
    return [*left_out, Check("contamination", "failed", text)]


def _with_prompt_sets(
    config: ProbeConfig, domains: dict[str, Domain], items: dict[str, list[Item]]
) -> dict[str, list[Item]]:
    """The items with those that directions are reported on. What they are fitted to may be trained on."""
    probes = [make_probe(name, config) for name in (*config.probes, *config.during)]
    both = {name: list(found) for name, found in items.items()}
    for name in dict.fromkeys(s for probe in probes for s in probe.needs(domains).activations):
        prompts = PROMPT_SETS[name](domains, items)
        for item, part in zip(prompts.items, prompts.part, strict=True):
            if part == "eval":
                both.setdefault(item.id.rpartition("-")[0], []).append(item)
    return both
