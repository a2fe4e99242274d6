"""One checkpoint in, measurements out: the needs of all probes united, each thing made once, what is there already skipped.

Everything is keyed by content. The key of what is made from a checkpoint hashes its weights with the settings that made it;
the `settings` of a probe are the part that checkpoints share, so that results of unlike settings are never mixed.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dynamics.errors import CheckpointError, ConfigError, SftscopeError, nearest
from ..dynamics.record import read_samples, step_name, write_measurements, write_samples
from ..dynamics.storage import content_key
from ..dynamics.types import Estimate, Measurement
from .checkpoints import Checkpoint, check_fit, load_model, load_tokenizer
from .domains import Domain, Item, Response, Split
from .engines import Sampling
from .microworld import DOMAINS
from .prompt_sets import PROMPT_SETS
from .protocol import LAST_PROMPT, Answered, Captured, Edits, Given, Needs, Probe, PromptSet
from .registry import PROBES, make_probe

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .internals.bridge import BridgedModel

Say = Callable[[str], None]


@dataclass(frozen=True)
class ProbeConfig:
    """What is measured at every checkpoint."""

    probes: tuple[str, ...] = tuple(PROBES)
    domains: tuple[str, ...] = tuple(DOMAINS)
    items: int = 200  # questions per domain
    split: Split = "probe"
    seed: int = 0  # of the choice of items, and of what is drawn at a temperature above 0
    temperature: float = 0.0  # of the responses; 0: greedy
    during: tuple[str, ...] = (
        "refusal_direction",
    )  # probes run inside training, at its checkpoints; the rest follow after
    batch_size: int = 256  # responses decoded together

    def __post_init__(self) -> None:
        for name in self.domains:
            if name not in DOMAINS:
                raise ConfigError(f"unknown domain {name!r} in `probes.domains`: {nearest(name, DOMAINS)}")
        for name in (*self.probes, *self.during):
            make_probe(name)
        if self.items < 2:
            raise ConfigError(f"`probes.items` is {self.items}: give 2 or more questions per domain")
        if not 0 <= self.temperature <= 10:
            raise ConfigError(f"`probes.temperature` is {self.temperature}: give 0 for greedy decoding, or up to 10")


@dataclass
class Cost:
    """What a checkpoint's measurement took: seconds by stage, tokens generated."""

    seconds: dict[str, float] = field(default_factory=dict)
    tokens: int = 0

    def add(self, stage: str, since: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - since


class Planner:
    """Measures checkpoints into a run folder. Tokenizer and items are fixed at its making, the same for all checkpoints."""

    def __init__(
        self, run: Path, base: Checkpoint, config: ProbeConfig, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> None:
        self.run, self.base, self.config = Path(run), base, config
        self.tokenizer = tokenizer or load_tokenizer(base)
        self.domains: dict[str, Domain] = {name: DOMAINS[name] for name in config.domains}
        self.items: dict[str, list[Item]] = {
            n: d.items(config.split, config.items, config.seed) for n, d in self.domains.items()
        }
        self._check_words()
        self._prompt_sets: dict[str, PromptSet] = {}
        self._template = content_key(self.tokenizer.chat_template, self._render(["a"]))

    # -- keys

    def _generation_settings(self, domain: str) -> str:
        return content_key(
            "generation", domain, [i.id for i in self.items[domain]], self._sampling(domain).settings(), self._template
        )

    def _activation_settings(self, name: str) -> str:
        return content_key("activations", name, [i.id for i in self._prompts(name).items], self._template)

    def _probe_settings(self, probe: Probe, needs: Needs) -> str:
        parts = [self._generation_settings(d) for d in needs.generations] + [
            self._activation_settings(s) for s in needs.activations
        ]
        return content_key(
            "probe", probe.name, probe.version, parts, self.base.weights if needs.base else "", self._template
        )

    def _sample_file(self, checkpoint: Checkpoint, domain: str) -> Path:
        key = content_key(checkpoint.weights, self._generation_settings(domain))
        return self.run / "samples" / step_name(checkpoint.step) / f"{domain}-{key}.jsonl.zst"

    def _activation_file(self, checkpoint: Checkpoint, name: str) -> Path:
        key = content_key(checkpoint.weights, self._activation_settings(name))
        return self.run / "probes" / step_name(checkpoint.step) / f"{name}-{key}.h5"

    def _result_file(self, checkpoint: Checkpoint, probe: Probe, needs: Needs) -> Path:
        key = content_key(checkpoint.weights, self._probe_settings(probe, needs))
        return self.run / "measurements" / step_name(checkpoint.step) / f"{probe.name}-{key}.parquet"

    # -- what there is to do

    def missing(self, checkpoint: Checkpoint, names: Sequence[str] | None = None) -> list[Probe]:
        """Probes without a result for this checkpoint under these settings."""
        probes = [make_probe(n) for n in (names if names is not None else self.config.probes)]
        return [p for p in probes if not self._result_file(checkpoint, p, p.needs(self.domains)).exists()]

    def measure(
        self,
        checkpoint: Checkpoint,
        *,
        model: PreTrainedModel | None = None,
        probes: Sequence[str] | None = None,
        say: Say | None = None,
    ) -> list[Measurement]:
        """Do what is missing at one checkpoint and give its rows; `model` is the live one where there is one.

        Raises CheckpointError where the checkpoint cannot be read. A probe that fails is recorded as failed.
        """
        todo = self.missing(checkpoint, probes)
        if not todo:
            return []
        say = say or (lambda _stage: None)
        cost = Cost()
        work = _Work(self, checkpoint, model, cost, say)
        rows: list[Measurement] = []
        for probe in todo:
            needs = probe.needs(self.domains)
            say(probe.name)
            settings = self._probe_settings(probe, needs)
            key = content_key(checkpoint.weights, settings)
            failed = self.run / "measurements" / step_name(checkpoint.step) / f"{probe.name}-{key}.failed.parquet"
            try:
                given = work.given(needs)
                since = time.perf_counter()
                result = probe.measure(given)
                cost.add(probe.name, since)
            except CheckpointError:
                raise
            except Exception as error:  # noqa: BLE001  (a probe is a plug-in: its failure is a result, with its reason)
                where = traceback.extract_tb(error.__traceback__)[-1]
                reason = (
                    str(error)
                    if isinstance(error, SftscopeError)
                    else f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
                )
                row = Measurement.failure(checkpoint.step, probe.name, reason)
                write_measurements(
                    self.run, checkpoint.step, probe.name, key=f"{key}.failed", settings=settings, rows=[row]
                )
                rows.append(row)
                continue
            from .internals.store import write_direction

            for concept, unit_LD in result.directions.items():
                write_direction(self.run, checkpoint.step, concept, key=key, unit_LD=unit_LD)
            write_measurements(
                self.run, checkpoint.step, probe.name, key=key, settings=settings, rows=result.rows, items=result.items
            )
            failed.unlink(missing_ok=True)  # an earlier failure, now mended
            rows += result.rows
        self._record_cost(checkpoint, cost)
        return rows

    def store_activations(self, checkpoint: Checkpoint, name: str, model: PreTrainedModel) -> None:
        """Capture the residual stream on a prompt set and write it to the checkpoint's HDF5 file."""
        from .internals.capture import capture_last_prompt
        from .internals.store import write_activations

        prompts, file = self._prompts(name), self._activation_file(checkpoint, name)
        write_activations(
            self.run,
            checkpoint.step,
            name,
            key=file.stem.removeprefix(f"{name}-"),
            acts_NLD=capture_last_prompt(model, self._render([i.prompt for i in prompts.items]), pad_id=self._pad),
            position=LAST_PROMPT,
            items=[i.id for i in prompts.items],
            attrs={"weights": checkpoint.weights, "template": self._template},
        )

    # -- parts

    def _check_words(self) -> None:
        """CheckpointError where the tokenizer cannot read the questions: the model would be asked something else."""
        unknown = self.tokenizer.unk_token_id
        if unknown is None or unknown in (self.tokenizer.eos_token_id, self.tokenizer.bos_token_id, self._pad):
            return  # byte-level tokenizers read everything; some name their end token as "unknown" too
        for name, items in self.items.items():
            for item, ids in zip(items, self._render([i.prompt for i in items]), strict=True):
                if unknown in ids:
                    raise CheckpointError(
                        f"the tokenizer of {self.base.path} does not know every word of {item.prompt!r} ({name}): "
                        "give the tokenizer that belongs to the weights, or other `probes.domains`"
                    )

    @property
    def _pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    def _prompts(self, name: str) -> PromptSet:
        if name not in self._prompt_sets:
            self._prompt_sets[name] = PROMPT_SETS[name](self.domains)
        return self._prompt_sets[name]

    def _sampling(self, domain: str) -> Sampling:
        return Sampling(self.domains[domain].max_new_tokens, self.config.temperature, seed=self.config.seed)

    def _render(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts as chat turns, up to where the assistant begins."""
        chats = [[{"role": "user", "content": p}] for p in prompts]
        ids: Any = self.tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return ids

    def _record_cost(self, checkpoint: Checkpoint, cost: Cost) -> None:
        def row(metric: str, value: float, unit: str, position: str = "") -> Measurement:
            return Measurement(
                checkpoint.step, "cost", metric, Estimate(value, np.nan, np.nan, 1, "clock"), unit, position=position
            )

        rows = [row("seconds", s, "s", stage) for stage, s in cost.seconds.items()]
        rows.append(row("tokens_generated", cost.tokens, "tokens"))
        key = content_key(checkpoint.weights, cost.seconds)
        write_measurements(self.run, checkpoint.step, "cost", key=key, settings="cost", rows=rows)


class _Work:
    """What is made for one checkpoint, each thing once and only when a probe asks for it."""

    def __init__(
        self, planner: Planner, checkpoint: Checkpoint, model: PreTrainedModel | None, cost: Cost, say: Say
    ) -> None:
        self.planner, self.checkpoint, self.cost, self.say = planner, checkpoint, cost, say
        self._model = model
        self._bridged: BridgedModel | None = None
        self._answered: dict[str, Answered] = {}
        self._captured: dict[tuple[int, str], Captured] = {}

    def given(self, needs: Needs) -> Given:
        return Given(
            step=self.checkpoint.step,
            domains=self.planner.domains,
            answered={d: self._answers(d) for d in needs.generations},
            captured={s: self._capture(self.checkpoint, s) for s in needs.activations},
            base_captured={s: self._capture(self.planner.base, s) for s in needs.activations} if needs.base else {},
            intervene=self._intervene if needs.intervention else None,
        )

    def model(self) -> PreTrainedModel:
        if self._model is None:
            since = time.perf_counter()
            self._model = load_model(self.checkpoint)
            check_fit(self._model, self.planner.tokenizer, self.checkpoint.path)
            self.cost.add("load", since)
        return self._model

    def _capture(self, checkpoint: Checkpoint, name: str) -> Captured:
        from .internals.store import read_activations

        at = (checkpoint.step, name)
        if at not in self._captured:
            since = time.perf_counter()
            file = self.planner._activation_file(checkpoint, name)
            if not file.exists():
                own = checkpoint.weights == self.checkpoint.weights
                self.planner.store_activations(checkpoint, name, self.model() if own else load_model(checkpoint))
            acts = read_activations(file, LAST_PROMPT)  # at the store's precision, whoever captured them
            self._captured[at] = Captured(self.planner._prompts(name), acts)
            self.cost.add("capture", since)
        return self._captured[at]

    def _answers(self, domain: str) -> Answered:
        if domain not in self._answered:
            planner, items = self.planner, self.planner.items[domain]
            file = planner._sample_file(self.checkpoint, domain)
            if file.exists():
                rows = read_samples(file)
            else:
                self.say(f"generate {domain}")
                since = time.perf_counter()
                rows = self._generate(self.model(), domain, items)
                self.cost.add("generate", since)
                self.cost.tokens += sum(len(r["token_ids"]) for r in rows)
                write_samples(
                    planner.run, self.checkpoint.step, domain, key=file.name.split("-")[-1].split(".")[0], rows=rows
                )
            responses = [Response(r["text"], r["finish"] == "stop", len(r["token_ids"])) for r in rows]
            self._answered[domain] = Answered(planner.domains[domain], items, responses)
        return self._answered[domain]

    def _generate(self, model: PreTrainedModel, domain: str, items: list[Item]) -> list[dict]:
        from .engines.hf import HfEngine

        planner = self.planner
        stops = {planner.tokenizer.eos_token_id}
        configured = getattr(model.generation_config, "eos_token_id", None)
        stops |= set(configured) if isinstance(configured, list) else {configured} - {None}
        engine = HfEngine(model, eos_ids=sorted(stops), pad_id=planner._pad, batch_size=planner.config.batch_size)
        done = engine.generate(planner._render([i.prompt for i in items]), planner._sampling(domain))
        texts = planner.tokenizer.batch_decode([c.token_ids for c in done], skip_special_tokens=False)
        return [
            {"item": i.id, "prompt": i.prompt, "text": t, "finish": c.finish, "token_ids": c.token_ids}
            for i, c, t in zip(items, done, texts, strict=True)
        ]

    def _intervene(self, domain: str, items: list[Item], edits: Edits) -> list[Response]:
        from .internals.bridge import BridgedModel

        if self._bridged is None:
            self._bridged = BridgedModel(self.model())
        with self._bridged.editing(edits) as edited:
            rows = self._generate(edited, domain, items)
        return [Response(r["text"], r["finish"] == "stop", len(r["token_ids"])) for r in rows]
