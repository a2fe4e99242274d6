"""The handle that causal probes get: the model asked again, with its residual stream edited, words forced or banned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ...dynamics.errors import ConfigError
from ..domains import Domain, Item, Response
from ..engines import Completion, Sampling
from ..protocol import Edits
from ..rendering import Renderer
from .interventions import prompt_ends_before

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..internals.bridge import BridgedModel

# (model, token ids, sampling) -> completions
Generate = Callable[["PreTrainedModel", Sequence[Sequence[int]], Sampling], list[Completion]]


class ModelHandle:
    """One checkpoint's model (see `protocol.Handle`). Edits go through TransformerBridge, on a shell that shares its weights."""

    def __init__(
        self, model: PreTrainedModel, renderer: Renderer, domains: Mapping[str, Domain], generate: Generate
    ) -> None:
        self.model, self.renderer, self.domains = model, renderer, domains
        self.tokens = 0  # generated so far
        self._generate = generate
        self._bridged: BridgedModel | None = None

    def ask(
        self,
        domain: str,
        items: Sequence[Item],
        *,
        edits: Edits | None = None,
        begins: Sequence[str] = (),
        banned: Sequence[str] = (),
        samples: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        max_new_tokens: int | None = None,
    ) -> list[Response]:
        """Responses to items of a domain, all samples of an item together.

        `begins`: for each item the words that the turn begins with; where the last prompt token is edited all of one length
        in tokens, since the prompts of a pass have to end in one column. `banned`: words whose tokens are never produced.
        `max_new_tokens`: by default the domain's. Raises ConfigError for a banned word that is not one token.
        """
        opened = [self.renderer.words(b) for b in begins] if begins else [[] for _ in items]
        columns = {len(o) for o in opened}
        prompts = [p + o for p, o in zip(self.renderer.prompts([i.prompt for i in items]), opened, strict=True)]
        sampling = Sampling(
            self.domains[domain].max_new_tokens if max_new_tokens is None else max_new_tokens,
            temperature,
            n=samples,
            seed=seed,
            banned=tuple(self._single_token(word) for word in banned),
        )
        with self._edited(edits) as model, prompt_ends_before(columns.pop() if len(columns) == 1 else None):
            done = self._generate(model, prompts, sampling)
        self.tokens += sum(len(c.token_ids) for c in done)
        stored = [self.renderer.sample(opened[k // samples], c.token_ids, c.finish) for k, c in enumerate(done)]
        return [self.renderer.read(s) for s in stored]

    def losses(self, prompts: Sequence[str], texts: Sequence[str], *, edits: Edits | None = None) -> np.ndarray:
        """Mean negative log-probability, nats per token (the end token included), of texts as whole turns, float64 [texts]."""
        from ..internals.scoring import score

        ids = self.renderer.prompts(prompts)
        responses = [[*self.renderer.words(t), int(self.renderer.tokenizer.eos_token_id)] for t in texts]
        with self._edited(edits) as model:
            logprobs, _ = score(model, ids, responses, pad_id=self.renderer.pad_id, around=prompt_ends_before)
        return np.array([-float(lp.astype(np.float64).mean()) for lp in logprobs])

    def states(
        self, prompts: Sequence[str], *, edits: Edits | None = None, layers: Sequence[int] | None = None
    ) -> np.ndarray:
        """Residual stream after blocks (all, or these) at the last prompt token, float32 [prompts, layers, width].

        Where an edited block is itself read, it is read as edited.
        """
        from ..internals.capture import capture

        ids = self.renderer.prompts(prompts)
        ends = [[len(p) - 1] for p in ids]
        with self._edited(edits) as model, prompt_ends_before(0):
            return capture(model, ids, ends, pad_id=self.renderer.pad_id, layers=layers, pad_left=True)[0]

    def _single_token(self, word: str) -> int:
        ids = self.renderer.words(word)
        if len(ids) != 1:
            raise ConfigError(f"{word!r} is {len(ids)} tokens in this tokenizer: only single tokens can be banned")
        return ids[0]

    @contextmanager
    def _edited(self, edits: Edits | None) -> Iterator[PreTrainedModel]:
        if not edits:
            yield self.model
            return
        from ..internals.bridge import BridgedModel

        if self._bridged is None:
            self._bridged = BridgedModel(self.model)
        with self._bridged.editing(edits) as edited:
            yield edited
