"""One warm engine for many checkpoints: weights take each other's place in it, and every swap is proved by a canary."""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ....dynamics.canary import verify_canary
from ....dynamics.errors import CheckpointError, ConfigError
from ....dynamics.storage import content_key
from ....dynamics.weights import read_manifest
from ...checkpoints import Checkpoint, canary_of, check_checkpoint
from ..base import Completion, Request, Sampling
from ..requests import complete
from .config import VllmConfig, check_installed
from .inside import InsideWorker
from .loadable import Loadable, choose, live, state_of, written
from .process import WorkerDied, WorkerFailed, WorkerProcess

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Event:
    """Something that the engine did to serve a checkpoint."""

    what: Literal["start", "swap", "adapter", "canary", "repack", "stale", "discard", "merge"]
    seconds: float
    detail: str = ""


class VllmEngine:
    """Generates with the checkpoint that it was told to serve last. The process starts when the first is served."""

    name = "vllm"

    def __init__(self, config: VllmConfig | None = None, *, batch_size: int = 256) -> None:
        """Raises ConfigError where vLLM is not installed."""
        check_installed()
        self.config, self.batch_size = config or VllmConfig(), batch_size
        self.about: dict[
            str, Any
        ] = {}  # of the engine that runs: vLLM's version, device, dtype, max_model_len, vocab_size
        self._events: list[Event] = []
        self._process: WorkerProcess | InsideWorker | None = None
        self._live: PreTrainedModel | None = None  # the model in training that weights come from, while it is served
        self._kind = self._serving = ""
        self._ends: list[int] = []
        self._answers: np.ndarray | None = (
            None  # of the last weights to a canary: its tolerance in 16 bits hides small steps
        )
        self._aside = tempfile.TemporaryDirectory(prefix="sftscope-vllm-")

    @property
    def pid(self) -> int | None:
        """The process that vLLM runs in; None where there is none."""
        return self._process.pid if self._process else None

    def events(self) -> list[Event]:
        """What was done since this was last asked."""
        done, self._events = self._events, []
        return done

    def close(self) -> None:
        """End the process; the next checkpoint that is served starts another."""
        if self._process is not None:
            self._process.close()
        self._process, self._kind, self._serving, self._answers = None, "", "", None

    # -- which weights

    def serve(
        self,
        checkpoint: Checkpoint,
        model: Callable[[], PreTrainedModel],
        ends: Sequence[int],
        *,
        training: bool = False,
    ) -> None:
        """Answer with a checkpoint's weights from here on; `ends` are the tokens that end its responses.

        `model()` gives its transformers model; it is asked for where there is no canary to compare with, where no folder is
        one that vLLM reads, and where it is in `training` and the settings have vLLM fed from it. Raises CheckpointError
        where vLLM cannot be brought to compute what transformers does, and where its process ends.
        """
        self._ends = list(ends)
        if self._process is not None and self._serving == checkpoint.weights:
            return
        check_checkpoint(checkpoint)
        folder, aside = checkpoint.path, Path(self._aside.name) / "copy"
        self._live = model() if training and self.config.inside_training else None
        native = self.config.adapters == "native"
        weights = live(folder) if self._live is not None else choose(folder, model, native=native, aside=aside)
        manifest = read_manifest(folder)
        reference = manifest if manifest.get("canary") else canary_of(model())
        try:
            try:
                self._bring(weights, reference, str(folder))
            except (CheckpointError, WorkerFailed) as refused:
                if weights.adapter is None:
                    raise
                self._note("merge", f"not served as an adapter, so merged into its base: {refused}")
                self._bring(written(model(), aside), reference, str(folder))
        except (WorkerDied, WorkerFailed) as problem:
            self.close()
            raise CheckpointError(f"vLLM cannot serve {folder}: {problem}") from problem
        except CheckpointError:
            self.close()
            raise
        finally:
            self._live = None
        self._serving = checkpoint.weights

    def _bring(self, weights: Loadable, reference: dict[str, Any], where: str) -> None:
        """Get weights into the engine, by a swap where that can be proved and by a new process where not."""
        self._serving = ""
        if self._process is not None and self._kind == self._kind_of(weights):
            try:
                self._swap(weights)
                self._prove(reference, where)
                return
            except CheckpointError as stale:
                self._note("stale", str(stale))
                if self._mended(weights, reference, where):
                    return
                self._note("discard", "another process is started: weights in this one cannot be trusted")
            except (WorkerDied, WorkerFailed) as problem:
                self._note("discard", f"another process is started: {problem}")
        self._start(weights)
        self._prove(reference, where)

    def _kind_of(self, weights: Loadable) -> str:
        """Which weights may take each other's place here: where the dtype is that of the files, only those of one dtype."""
        as_stored = self.config.dtype == "auto" and self.about["device"] != "cpu"
        return content_key(weights.kind, weights.stored_dtype) if as_stored else weights.kind

    def _swap(self, weights: Loadable) -> None:
        if weights.adapter is not None:
            with self._timed("adapter"):
                self._ask("adapt", folder=str(weights.adapter))
            return
        with self._timed("swap"):
            if self._live is not None:
                self._ask("load_state", weights=state_of(self._live))
            else:
                self._ask("load", folder=str(weights.folder))
            self._ask("repack")

    def _mended(self, weights: Loadable, reference: dict[str, Any], where: str) -> bool:
        """Whether packing again what is packed makes the engine answer with its weights."""
        if weights.adapter is not None:
            return False
        try:
            with self._timed("repack"):
                self._ask("repack")
            self._prove(reference, where)
        except (CheckpointError, WorkerFailed, WorkerDied):
            return False
        return True

    def _start(self, weights: Loadable) -> None:
        self.close()
        with self._timed("start"):
            self._process = WorkerProcess() if self._live is None else InsideWorker()
            config = self.config
            self.about = dict(
                self._ask(
                    "start",
                    folder=str(weights.folder),
                    dtype=config.dtype,
                    stored_dtype=weights.stored_dtype,
                    max_model_len=config.max_model_len,
                    gpu_memory_fraction=config.gpu_memory_fraction,
                    cpu_cache_gib=config.cpu_cache_gib,
                    batch_size=self.batch_size,
                    eager=config.eager,
                    rank=weights.rank,
                )
            )
        about = "vLLM {version} on {device}, {dtype}".format(**self.about)
        self._events[-1] = replace(self._events[-1], detail=about)
        self._kind = self._kind_of(weights)
        if weights.adapter is not None or self._live is not None:
            self._swap(weights)

    def _prove(self, reference: dict[str, Any], where: str) -> None:
        """Raise CheckpointError where the engine does not answer as the reference did, or answers as its last weights."""
        answers: list[np.ndarray] = []

        def forward(ids_PT: np.ndarray, n: int) -> np.ndarray:
            answers.append(self._forward(ids_PT, n))
            return answers[-1]

        with self._timed("canary"):
            verify_canary(reference, forward, self.about["dtype"], f"vLLM with {where}", normalised=True)
        if self._answers is not None and np.array_equal(self._answers, answers[-1]):
            raise CheckpointError(f"vLLM answers to the bit as it did before it was given {where}")
        self._answers = answers[-1]

    def _forward(self, ids_PT: np.ndarray, n: int) -> np.ndarray:
        """Log-probabilities of what follows each of the last n positions, float32 [prompts, n, vocabulary]."""
        length = ids_PT.shape[1]
        prompts = [ids[: length - n + k].tolist() for ids in ids_PT for k in range(1, n + 1)]
        done = self._ask("next_logprobs", prompts=prompts)
        table = np.frombuffer(base64.b64decode(done["logprobs"]), dtype=np.float32)
        return table.reshape(len(ids_PT), n, done["vocabulary"])

    # -- what it writes

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion a prompt (or `sampling.n`, together); `progress` is told how many more are finished.

        Raises ValueError for an empty prompt and for banned ids that the model does not have, ConfigError where prompt
        and response do not fit, CheckpointError where the process ends (the next checkpoint starts another).
        """
        if self._process is None:
            raise CheckpointError("no checkpoint is served: call `serve` before `generate`")
        if unknown := [i for i in sampling.banned if not 0 <= i < self.about["vocab_size"]]:
            last = self.about["vocab_size"] - 1
            raise ValueError(f"`banned` holds {unknown}: the model's token ids are 0 to {last}")
        longest, room = max(map(len, prompts), default=0), self.about["max_model_len"]
        if longest + sampling.max_new_tokens > room:
            whose = "`probes.vllm.max_model_len`" if self.config.max_model_len else "the model's own"
            raise ConfigError(
                f"a prompt of {longest} tokens and a response of up to {sampling.max_new_tokens} do not fit into the context "
                f"of {room} ({whose}): ask for {max(room - longest, 0)} new tokens or less"
            )
        done = complete(self._write, prompts, sampling)
        if progress:
            progress(len(done))
        return done

    def _write(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        with self._or_lost():
            done = self._ask(
                "generate",
                prompts=[list(r.prompt) for r in requests],
                seeds=[r.seed for r in requests],
                temperature=sampling.temperature,
                max_new_tokens=sampling.max_new_tokens,
                ends=self._ends,
                banned=list(sampling.banned),
            )
        both = zip(done["written"], done["ends"], strict=True)
        return [Completion(ids, "length" if end is None else "stop", end) for ids, end in both]

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Log-probability, nats, of every token but the first given those before it, float64 [tokens - 1] a sequence."""
        with self._or_lost():
            done = self._ask("score", prompts=[list(s) for s in sequences])
        return [np.array(row, dtype=np.float64) for row in done["logprobs"]]

    # -- parts

    def _ask(self, do: str, **fields: Any) -> Any:
        assert self._process is not None
        return self._process.ask(do, **fields)

    @contextmanager
    def _or_lost(self) -> Iterator[None]:
        """After an order that failed the process is in no known state: it goes, and with it this checkpoint's turn."""
        try:
            yield
        except (WorkerDied, WorkerFailed) as problem:
            self.close()
            raise CheckpointError(f"{problem}; the next checkpoint starts another process") from problem

    @contextmanager
    def _timed(self, what: Any) -> Iterator[None]:
        since = time.perf_counter()
        yield
        self._events.append(Event(what, time.perf_counter() - since))

    def _note(self, what: Any, detail: str) -> None:
        self._events.append(Event(what, 0.0, detail))
