"""What is made for one checkpoint: each thing once, only when a probe asks for it, and read where it is there already."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..dynamics.errors import RecordError
from ..dynamics.record import read_samples, write_samples
from .checkpoints import Checkpoint, check_fit, end_ids, filed_weights, load_model, stored_end_ids
from .domains import Item
from .engines import Completion, Sampling
from .protocol import Answered, Ask, Captured, Given, Handle, Needs, Scored

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from .causal.handle import ModelHandle
    from .planner import Planner

Write = Callable[[Sequence[Sequence[int]], Sampling], list[Completion]]
Say = Callable[[str, float], None]  # the stage that begins, and the share of the checkpoint's stages behind it


@dataclass
class Cost:
    """What a checkpoint's measurement took, by stage: seconds, tokens generated or scored, bytes written."""

    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # what is to be known of a stage

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        since = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - since

    def count(self, name: str, *, tokens: int = 0, written: Path | None = None) -> None:
        if tokens:
            self.tokens[name] = self.tokens.get(name, 0) + tokens
        if written is not None:
            self.bytes[name] = self.bytes.get(name, 0) + written.stat().st_size


class Work:
    """The things of one checkpoint. `model` is the live one where there is one."""

    def __init__(
        self,
        planner: Planner,
        checkpoint: Checkpoint,
        model: PreTrainedModel | None,
        cost: Cost,
        needs: Sequence[Needs],
        say: Say | None,
    ) -> None:
        self.planner, self.checkpoint, self.cost, self._say = planner, checkpoint, cost, say
        made = {(kind, x) for n in needs for kind in ("generations", "scores", "activations") for x in getattr(n, kind)}
        made |= {("base", x) for n in needs for x in (*n.generations * n.base_answers, *n.activations * n.base)}
        self._stages, self._begun = len(needs) + len(made), 0
        self._model, self._training = model, model is not None
        self._handle: ModelHandle | None = None
        self._other: tuple[str, PreTrainedModel] | None = None
        self._answered: dict[tuple[int, str], Answered] = {}
        self._scored: dict[str, Scored] = {}
        self._captured: dict[tuple[int, str], Captured] = {}

    def begin(self, stage: str) -> None:
        """Say what is done now. Stages that others have done already leave the share a little low, never too high."""
        if self._say:
            self._say(stage, self._begun / self._stages)
        self._begun += 1

    def given(self, needs: Needs) -> Given:
        """What these needs ask for. A pass with thinking switched off is left out where the template has no such switch."""
        planner = self.planner
        asked, to_score = planner.asks(needs.generations), planner.asks(needs.scores)
        return Given(
            step=self.checkpoint.step,
            domains=planner.domains,
            answered={a.name: self.answers(a) for a in asked},
            base_answered={a.name: self.answers(a, planner.base) for a in asked} if needs.base_answers else {},
            scored={a.name: self.scores(a) for a in to_score},
            captured={s: self.capture(self.checkpoint, s) for s in needs.activations},
            base_captured={s: self.capture(planner.base, s) for s in needs.activations} if needs.base else {},
            weights=self.weights() if needs.weights else None,
            handle=self.handle() if needs.intervention else None,
        )

    def model(self) -> PreTrainedModel:
        if self._model is None:
            with self.cost.stage("load"):
                self._model = load_model(self.checkpoint)
                check_fit(self._model, self.planner.tokenizer, self.checkpoint.path)
        return self._model

    def handle(self) -> Handle:
        from .causal.handle import ModelHandle

        if self._handle is None:
            self._handle = ModelHandle(self.model(), self.planner.renderer, self.planner.domains, self._generate)
        return self._handle

    def weights(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Each weight beside the base's, which is read off its files one at a time where they hold it under its name."""
        model = self.model()
        mine = dict(model.named_parameters())
        base = self.planner.base
        if not base.path.is_dir():  # of a folder that is watched, the first checkpoint may be gone
            raise RecordError(
                f"{base.path}, the base that weights are compared with, is gone: keep the first checkpoint"
            )
        filed = filed_weights(base.path, mine)
        of_base = None if filed else dict(self._model_of(base).named_parameters())
        for name, weight in mine.items():
            yield name, weight.detach(), filed[name]() if filed else of_base[name].detach()  # type: ignore[index]

    @property
    def tokens_by_handle(self) -> int:
        return self._handle.spent if self._handle else 0

    def capture(self, checkpoint: Checkpoint, name: str) -> Captured:
        from .internals.store import read_activations

        at = (checkpoint.step, name)
        if at not in self._captured:
            file = self.planner.activation_file(checkpoint, name)
            if not file.exists():
                self.begin(f"capture {name}")
                model = self._model_of(checkpoint)
                with self.cost.stage(f"capture {name}"):
                    self.planner.store_activations(checkpoint, name, model)
                self.cost.count(f"capture {name}", written=file)
            # read back, so that all see it at the store's precision, whoever captured it
            acts, embedded_ND, layers = read_activations(file)
            self._captured[at] = Captured(self.planner.prompt_set(name), acts, layers, embedded_ND)
        return self._captured[at]

    def answers(self, ask: Ask, checkpoint: Checkpoint | None = None) -> Answered:
        """What the model at hand answers, or the one of another checkpoint."""
        checkpoint, ask = checkpoint or self.checkpoint, self.planner.plainest(ask)
        at = (checkpoint.step, ask.name)
        if at not in self._answered:
            planner, domain = self.planner, self.planner.domains[ask.domain]
            items = [i for i in planner.items_of(ask) for _ in range(ask.samples)]
            file = planner.sample_file(checkpoint, ask)
            if file.exists():
                rows = read_samples(file)
            else:
                self.begin(f"generate {ask.name}")
                generate = self._generator(checkpoint)
                with self.cost.stage(f"generate {ask.name}"):
                    rows = self._rows(generate, ask, items)
                key = file.name.removesuffix(".jsonl.zst").rpartition("-")[2]
                write_samples(planner.run, checkpoint.step, ask.name, key=key, rows=rows)
                tokens = sum(len(r["token_ids"]) for r in rows)
                self.cost.count(f"generate {ask.name}", tokens=tokens, written=file)
            self._answered[at] = Answered(domain, items, [planner.renderer.read(r) for r in rows])
        return self._answered[at]

    def scores(self, ask: Ask) -> Scored:
        from .internals.scoring import score
        from .internals.store import read_scores, write_scores

        planner, ask = self.planner, self.planner.plainest(ask)
        if ask.name not in self._scored:
            responses = self.answers(ask).responses
            file = planner.score_file(self.checkpoint, ask)
            if not file.exists():
                self.begin(f"score {ask.name}")
                prompts, begun = planner.renderer.ask(ask, planner.domains[ask.domain], planner.items_of(ask))
                before = [p + b for p, b in zip(prompts, begun, strict=True) for _ in range(ask.samples)]
                eos = planner.tokenizer.eos_token_id
                ends = [eos if r.end_id is None else r.end_id for r in responses]
                written = [r.token_ids + (e,) * r.finished for r, e in zip(responses, ends, strict=True)]
                model = self.model()
                with self.cost.stage(f"score {ask.name}"):
                    logprobs, entropies = score(model, before, written, pad_id=planner.renderer.pad_id)
                write_scores(file, logprobs, entropies)
                self.cost.count(f"score {ask.name}", tokens=sum(map(len, written)), written=file)
            self._scored[ask.name] = Scored(*read_scores(file))
        return self._scored[ask.name]

    def _model_of(self, checkpoint: Checkpoint) -> PreTrainedModel:
        """This checkpoint's model, or another's: loaded once, and gone with this work."""
        if checkpoint.weights == self.checkpoint.weights:
            return self.model()
        if self._other is None or self._other[0] != checkpoint.weights:
            self._other = (checkpoint.weights, load_model(checkpoint))
        return self._other[1]

    def _generator(self, checkpoint: Checkpoint) -> Write:
        """What writes responses with a checkpoint's weights: its model, or the engine that serves it."""
        engine = self.planner.vllm
        if engine is None:
            model = self._model_of(checkpoint)
            return lambda prompts, sampling: self._generate(model, prompts, sampling)
        ends = stored_end_ids(checkpoint, self.planner.tokenizer)
        try:
            training = self._training and checkpoint.weights == self.checkpoint.weights
            engine.serve(checkpoint, lambda: self._model_of(checkpoint), ends, training=training)
        finally:
            for event in engine.events():
                stage = f"vllm {event.what}"
                self.cost.seconds[stage] = self.cost.seconds.get(stage, 0.0) + event.seconds
                self.cost.notes[stage] = "; ".join(filter(None, [self.cost.notes.get(stage), event.detail]))
        return engine.generate

    def _rows(self, generate: Write, ask: Ask, items: Sequence[Item]) -> list[dict]:
        renderer = self.planner.renderer
        prompts, begun = renderer.ask(ask, self.planner.domains[ask.domain], self.planner.items_of(ask))
        whole = [p + b for p, b in zip(prompts, begun, strict=True)]
        done = generate(whole, self.planner.sampling(ask))
        on = ask.thinking != "off"
        stored = [
            renderer.sample(begun[k // ask.samples], c.token_ids, c.finish, thinking=on, end=c.end)
            for k, c in enumerate(done)
        ]
        return [{"item": i.id, "prompt": i.prompt, **sample} for i, sample in zip(items, stored, strict=True)]

    def _generate(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[Completion]:
        from .engines.hf import HfEngine

        planner = self.planner
        engine = HfEngine(
            model,
            eos_ids=end_ids(model, planner.tokenizer),
            pad_id=planner.renderer.pad_id,
            batch_size=planner.config.batch_size,
        )
        return engine.generate(prompts, sampling)
