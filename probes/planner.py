"""One checkpoint in, measurements out: the needs of all probes united, each thing made once, what is there already skipped.

Everything is keyed by content. The key of what is made from a checkpoint hashes its weights with the settings that made it;
the `settings` of a probe are the part that checkpoints share, so that results of unlike settings are never mixed.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ..dynamics.errors import CheckpointError, ConfigError, SftscopeError
from ..dynamics.record import step_name, write_measurements, write_spans
from ..dynamics.storage import content_key
from ..dynamics.types import Estimate, Measurement
from .asked import CountdownFile, check_asked, domains_of, items_of, questions_key
from .benchmarks import BenchmarkConfig
from .checkpoints import Checkpoint, load_tokenizer
from .domains import Item, Split
from .engines import Sampling
from .engines.vllm import VllmConfig, VllmEngine
from .judging import JudgeConfig
from .lexicon import check_families
from .microworld import DOMAINS
from .prompt_sets import PROMPT_SETS, arranged, sequences_of
from .protocol import Ask, Needs, Probe, PromptSet
from .registry import STANDARD, make_probe
from .rendering import Renderer
from .room import check_room
from .sandbox import SandboxConfig
from .scorers import ScorerConfig
from .work import Cost, Say, Work

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ProbeConfig:
    """What is measured at every checkpoint."""

    probes: tuple[str, ...] = STANDARD
    domains: tuple[str, ...] = tuple(DOMAINS)
    items: int = 200  # questions per domain
    split: Split = "probe"
    seed: int = 0  # of the choice of items, and of what is drawn at a temperature above 0
    temperature: float = 0.0  # of the responses; 0: greedy
    during: tuple[str, ...] = (
        "refusal_direction",
    )  # probes run inside training, at its checkpoints; the rest follow after
    batch_size: int = 256  # responses decoded together
    engine: Literal["hf", "vllm"] = "hf"  # who writes the responses to the domains' questions
    vllm: VllmConfig = field(default_factory=VllmConfig)
    free_countdown: dict[str, CountdownFile] = field(default_factory=dict)  # by name: your own questions, asked too
    benchmarks: dict[str, BenchmarkConfig] = field(default_factory=dict)  # by name: published ones (docs/benchmarks.md)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)  # where code of a model is run; off unless asked for
    tau: dict[str, int] = field(default_factory=dict)  # by domain: where lengths are cut to be compared; else its cap
    cues: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by family: cue words; empty: probes/lexicon.py's
    scorers: dict[str, ScorerConfig] = field(default_factory=dict)  # by name: local models that score free text
    judge: JudgeConfig | None = None  # of the answers to safety requests; null: none
    layers: tuple[int, ...] = ()  # blocks whose activations are captured, from 0; none named: all

    def __post_init__(self) -> None:
        check_asked(self)
        check_families(self.cues)
        if self.judge is not None and "judge" not in self.probes:
            object.__setattr__(self, "probes", (*self.probes, "judge"))  # configured to be asked
        if self.scorers and "scorers" not in self.probes:
            object.__setattr__(self, "probes", (*self.probes, "scorers"))
        if not self.scorers and "scorers" in (*self.probes, *self.during):
            raise ConfigError("`probes.probes` names the scorers, and none is configured: give `probes.scorers`")
        if self.judge is None and "judge" in (*self.probes, *self.during):
            raise ConfigError(
                "`probes.probes` names the judge, and none is configured: give `probes.judge.url` and `model`"
            )
        for name in (*self.probes, *self.during):
            make_probe(name)
        if self.items < 2:
            raise ConfigError(f"`probes.items` is {self.items}: give 2 or more questions per domain")
        if self.layers and min(self.layers) < 0:
            raise ConfigError(f"`probes.layers` has {min(self.layers)}: layers are numbered from 0")
        if not 0 <= self.temperature <= 10:
            raise ConfigError(f"`probes.temperature` is {self.temperature}: give 0 for greedy decoding, or up to 10")


class Planner:
    """Measures checkpoints into a run folder. Tokenizer and items are fixed at its making, the same for all checkpoints."""

    def __init__(
        self, run: Path, base: Checkpoint, config: ProbeConfig, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> None:
        self.run, self.base, self.config = Path(run), base, config
        self.tokenizer = tokenizer or load_tokenizer(base)
        self.renderer = Renderer(self.tokenizer)
        self.skipped: list[str] = []  # why benchmarks are left out
        self.domains = domains_of(config, self.skipped)
        self.items = items_of(config, self.domains)
        if found := self.renderer.unreadable({n: [i.prompt for i in items] for n, items in self.items.items()}):
            where = "benchmarks" if found[0] in config.benchmarks else "domains"
            raise CheckpointError(
                f"the tokenizer of {base.path} does not know every word of {found[1]!r} ({found[0]}): "
                f"give the tokenizer that belongs to the weights, or other `probes.{where}`"
            )
        self._prompt_sets: dict[str, PromptSet] = {}
        check_room(self)
        self.vllm = (
            VllmEngine(config.vllm, batch_size=config.batch_size) if config.engine == "vllm" else None
        )  # kept warm from checkpoint to checkpoint

    def close(self) -> None:
        """End what is kept warm."""
        if self.vllm is not None:
            self.vllm.close()

    @property
    def left_out(self) -> list[str]:
        """The benchmarks that cannot be had here; `skipped` says why."""
        return sorted(set(self.config.benchmarks) - set(self.domains))

    # -- what is asked of a model

    def asks(self, asked: Sequence[Ask | str]) -> list[Ask]:
        """The passes of generation that can be made: without those that switch thinking off where nothing switches it."""
        asks = [Ask(a) if isinstance(a, str) else a for a in asked]
        return [a for a in asks if a.thinking != "off" or self.renderer.can_switch_thinking_off]

    def plainest(self, ask: Ask) -> Ask:
        """The same pass, named as others name it: the temperature that is configured need not be asked for."""
        return replace(ask, temperature=None) if ask.temperature == self.config.temperature else ask

    def items_of(self, ask: Ask) -> list[Item]:
        return self.items[ask.domain][: ask.items]

    def sampling(self, ask: Ask) -> Sampling:
        temperature = self.config.temperature if ask.temperature is None else ask.temperature
        return Sampling(self.domains[ask.domain].max_new_tokens, temperature, n=ask.samples, seed=self.config.seed)

    def prompt_set(self, name: str) -> PromptSet:
        if name not in self._prompt_sets:
            self._prompt_sets[name] = PROMPT_SETS[name](self.domains, self.items)
        return self._prompt_sets[name]

    # -- keys

    def _generation_settings(self, ask: Ask) -> str:
        questions = questions_key(self.domains[ask.domain], self.items_of(ask))
        engine = [self.config.vllm.settings()] if self.config.engine == "vllm" else []
        return content_key(
            "generation", asdict(ask), questions, self.sampling(ask).settings(), self.renderer.key, *engine
        )

    def _activation_settings(self, name: str) -> str:
        prompts = self.prompt_set(name)
        places = [prompts.positions, prompts.texts, dict(prompts.ends), self.config.layers]
        labels = [x.tolist() for x in (prompts.label, prompts.part, prompts.half, prompts.group)]
        return content_key("activations", name, [i.id for i in prompts.items], places, labels, self.renderer.key)

    def _probe_settings(self, probe: Probe, needs: Needs) -> str:
        parts = [
            *(self._generation_settings(a) for a in self.asks([*needs.generations, *needs.scores])),
            *(self._activation_settings(s) for s in needs.activations),
        ]
        base = self.base.weights if needs.base or needs.base_answers or needs.weights else ""
        own = [s for s in [getattr(probe, "settings", "")] if s]  # of a probe that is configured
        graders = sorted({g for a in needs.generations if (g := self._grader(a))})
        return content_key("probe", probe.name, probe.version, parts, base, self.renderer.key, *own, *graders)

    def _grader(self, ask: Ask | str) -> str:
        """What grades the answers of a benchmark: another version's grades are measured anew, from the same samples."""
        return getattr(self.domains.get(ask if isinstance(ask, str) else ask.domain), "grader", "")

    def sample_file(self, checkpoint: Checkpoint, ask: Ask) -> Path:
        key = content_key(checkpoint.weights, self._generation_settings(ask))
        return self.run / "samples" / step_name(checkpoint.step) / f"{ask.name}-{key}.jsonl.zst"

    def score_file(self, checkpoint: Checkpoint, ask: Ask) -> Path:
        key = content_key(checkpoint.weights, "scores", self._generation_settings(ask))
        return self.run / "probes" / step_name(checkpoint.step) / f"scores-{ask.name}-{key}.h5"

    def activation_file(self, checkpoint: Checkpoint, name: str) -> Path:
        key = content_key(checkpoint.weights, self._activation_settings(name))
        return self.run / "probes" / step_name(checkpoint.step) / f"{name}-{key}.h5"

    def _result_file(self, checkpoint: Checkpoint, probe: Probe, needs: Needs) -> Path:
        key = content_key(checkpoint.weights, self._probe_settings(probe, needs))
        return self.run / "measurements" / step_name(checkpoint.step) / f"{probe.name}-{key}.parquet"

    # -- what there is to do

    def missing(self, checkpoint: Checkpoint, names: Sequence[str] | None = None) -> list[Probe]:
        """Probes without a result for this checkpoint under these settings, save those that need nothing of its domains."""
        probes = [make_probe(n, self.config) for n in (names if names is not None else self.config.probes)]
        needs = [(p, p.needs(self.domains)) for p in probes]
        return [p for p, n in needs if n != Needs() and not self._result_file(checkpoint, p, n).exists()]

    def failures(self, checkpoint: Checkpoint) -> dict[str, str]:
        """Why probes that were tried at a checkpoint have no result, by the probe's name."""
        found: dict[str, str] = {}
        for probe in self.missing(checkpoint):
            key = content_key(checkpoint.weights, self._probe_settings(probe, probe.needs(self.domains)))
            file = self._failed_file(checkpoint, probe, key)
            with suppress(FileNotFoundError):  # not tried, or mended by another sweep
                found[probe.name] = str(pd.read_parquet(file, columns=["reason"])["reason"].iloc[0])
        return found

    def _failed_file(self, checkpoint: Checkpoint, probe: Probe, key: str) -> Path:
        return self.run / "measurements" / step_name(checkpoint.step) / f"{probe.name}-{key}.failed.parquet"

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
        cost = Cost()
        work = Work(self, checkpoint, model, cost, [p.needs(self.domains) for p in todo], say)
        rows: list[Measurement] = []
        for probe in todo:
            needs = probe.needs(self.domains)
            work.begin(probe.name)
            settings = self._probe_settings(probe, needs)
            key = content_key(checkpoint.weights, settings)
            failed = self._failed_file(checkpoint, probe, key)
            try:
                given = work.given(needs)
                by_handle = work.tokens_by_handle
                # Small fits on many BLAS threads take several times as long, beside training or another worker above all.
                with cost.stage(probe.name), threadpool_limits(1, "blas"):
                    result = probe.measure(given)
                cost.count(probe.name, tokens=work.tokens_by_handle - by_handle)
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

            for concept, direction in result.directions.items():
                about = {"weights": checkpoint.weights, "template": self.renderer.key}
                write_direction(self.run, checkpoint.step, concept, direction, key=key, attrs=about)
            for domain, spans in result.spans.items():
                write_spans(self.run, checkpoint.step, domain, key=key, spans=spans)
            write_measurements(
                self.run, checkpoint.step, probe.name, key=key, settings=settings, rows=result.rows, items=result.items
            )
            failed.unlink(missing_ok=True)  # an earlier failure, now mended
            rows += result.rows
        self._record_cost(checkpoint, cost)
        return rows

    def store_activations(self, checkpoint: Checkpoint, name: str, model: PreTrainedModel) -> None:
        """Capture the residual stream on a prompt set, in one forward pass, and write it to the checkpoint's HDF5 file."""
        from .internals.capture import capture, decoder_blocks
        from .internals.store import write_activations

        prompts, file = self.prompt_set(name), self.activation_file(checkpoint, name)
        layers = self._layers(len(decoder_blocks(model)))
        sequences, places, names = sequences_of(prompts, self.renderer)
        acts_NLD, embedded_ND = capture(model, sequences, places, pad_id=self.renderer.pad_id, layers=layers)
        by_position, embedded = arranged(prompts, names, acts_NLD, embedded_ND)
        write_activations(
            self.run,
            checkpoint.step,
            prompts,
            key=file.stem.rpartition("-")[2],
            acts=by_position,
            embedded_ND=embedded,
            layers=layers,
            attrs={"weights": checkpoint.weights, "template": self.renderer.key},
        )

    def _layers(self, n_layers: int) -> list[int]:
        asked = self.config.layers or tuple(range(n_layers))
        if max(asked) >= n_layers:
            raise ConfigError(
                f"`probes.layers` has {max(asked)}, and the model's {n_layers} layers are numbered from 0"
            )
        return sorted(set(asked))

    def _record_cost(self, checkpoint: Checkpoint, cost: Cost) -> None:
        rows = [
            Measurement(
                checkpoint.step,
                "cost",
                metric,
                Estimate(value, np.nan, np.nan, 1, "clock"),
                unit,
                position=stage,
                reason=cost.notes.get(stage, ""),
            )
            for metric, unit, by_stage in (
                ("seconds", "s", cost.seconds),
                ("tokens", "tokens", cost.tokens),
                ("bytes", "bytes", cost.bytes),
            )
            for stage, value in by_stage.items()
        ]
        key = content_key(checkpoint.weights, cost.seconds)
        write_measurements(self.run, checkpoint.step, "cost", key=key, settings="cost", rows=rows)
