"""Local models that score answers without a reference: a reward model, or a language model that says yes or no.

For what no rule can grade (AlpacaEval, TruthfulQA's generated answers). They read stored answers, so that another scorer costs no
generation. What they are given is what the user was answered: the thinking part is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..dynamics.errors import CheckpointError, ConfigError, first_line
from ..dynamics.storage import content_key
from ..dynamics.weights import folder_weights_hash

if TYPE_CHECKING:
    import torch

YES, NO = ("yes", " yes", "Yes", " Yes"), ("no", " no", "No", " No")
LOADED = 2  # scorers kept in memory from one checkpoint to the next


@dataclass(frozen=True)
class ScorerConfig:
    """A local model that scores the answers of a domain."""

    domain: str  # whose answers: a benchmark in free text, such as alpaca_eval or truthfulqa
    model: str  # a folder or a hub name, in Hugging Face layout
    kind: Literal["reward", "yes_no"] = "reward"  # one number from a classification head, or the next word of a text
    prompt: str = ""  # of yes_no: a text with {request} and {answer} that the model goes on from with yes or no
    revision: str | None = None  # a commit, of a hub name
    batch_size: int = 8  # answers scored together
    max_tokens: int = 8192  # of request and answer; what is longer loses the end of its answer

    def __post_init__(self) -> None:
        try:
            gaps = {gap for _, gap, _, _ in Formatter().parse(self.prompt) if gap is not None}
            if gaps == {"request", "answer"}:
                self.prompt.format(request="", answer="")
        except ValueError as error:
            raise ConfigError(
                f"the `prompt` of a scorer of {self.domain}, {self.prompt!r}, cannot be read ({error}): "
                "write braces of the text itself twice"
            ) from error
        if self.kind == "yes_no" and gaps != {"request", "answer"}:
            raise ConfigError(
                f"a scorer of {self.domain} says yes or no to {self.prompt!r}: "
                "give a `prompt` with {request} and {answer} in it"
            )
        if self.kind == "reward" and self.prompt:
            raise ConfigError(
                f"a reward model of {self.domain} is given a `prompt`: its chat template is used, leave it out"
            )
        for name in ("batch_size", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` of a scorer is {getattr(self, name)}: give 1 or more")

    @property
    def settings(self) -> str:
        """What makes scores comparable: the model's weights (a folder's, or a hub name's commit) and what it is asked."""
        here = Path(self.model)
        weights = folder_weights_hash(here) if here.is_dir() else f"{self.model}@{self.revision}"
        return content_key("scorer-2", weights, self.kind, self.prompt, self.max_tokens)


class Scorer(Protocol):
    """Gives each answer a number; higher is better."""

    def __call__(self, requests: Sequence[str], answers: Sequence[str]) -> list[float]: ...


def load_scorer(config: ScorerConfig) -> Scorer:
    """The scorer of a config. Raises CheckpointError where its model cannot be loaded, ConfigError where it is another kind."""
    model, tokenizer = _loaded(config.model, config.revision, config.kind)
    return _Reward(model, tokenizer, config) if config.kind == "reward" else _YesNo(model, tokenizer, config)


@lru_cache(LOADED)
def _loaded(name: str, revision: str | None, kind: str) -> tuple[Any, Any]:
    import torch
    import transformers

    classes = {"reward": transformers.AutoModelForSequenceClassification, "yes_no": transformers.AutoModelForCausalLM}
    dtype = "auto" if torch.cuda.is_available() else torch.float32
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision)
        model, told = classes[kind].from_pretrained(name, revision=revision, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the scorer {name} cannot be loaded ({first_line(error)}): give a folder or a hub name in Hugging Face layout"
        ) from error
    if missing := sorted(told["missing_keys"]):  # a head that is drawn anew would give numbers all the same
        raise ConfigError(f"{name} is no model of the kind {kind!r}: its weights have no {missing[0]}")
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


class _Local:
    """A model on token ids, in batches padded on the right."""

    def __init__(self, model: Any, tokenizer: Any, config: ScorerConfig) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config

    def _fitting(self, request: str, answer: str, ids_of: Callable[[str, str], list[int]]) -> list[int]:
        """Ids of no more than `max_tokens`, the answer shortened at its end where it must be: a verdict hangs on what follows it.

        A request that is too long without any answer loses its beginning.
        """
        most = self.config.max_tokens
        whole = ids_of(request, answer)
        if len(whole) <= most:
            return whole
        ids = ids_of(request, "")
        fits, too_long = 0, len(answer)  # characters
        while too_long - fits > 1 and len(ids) <= most:
            tried = ids_of(request, answer[: (middle := (fits + too_long) // 2)])
            if len(tried) <= most:
                fits, ids = middle, tried
            else:
                too_long = middle
        return ids[-most:]

    def _batches(
        self, ids: Sequence[list[int]], read: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> list[float]:
        """`read` of ids, mask and lengths [batch], for each text; texts of like length together."""
        import torch

        pad = self.tokenizer.pad_token_id
        size = self.config.batch_size if pad is not None else 1
        order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
        scores = [0.0] * len(ids)
        for start in range(0, len(order), size):
            taken = order[start : start + size]
            rows = [ids[k] for k in taken]
            longest = max(map(len, rows))
            padded = torch.tensor([r + [pad or 0] * (longest - len(r)) for r in rows], device=self.model.device)
            lengths = torch.tensor([len(r) for r in rows], device=self.model.device)
            mask = (torch.arange(longest, device=self.model.device) < lengths[:, None]).long()
            with torch.inference_mode():
                found = read(padded, mask, lengths)
            for k, value in zip(taken, found.double().tolist(), strict=True):
                scores[k] = value
        return scores


class _Reward(_Local):
    """The one number that a classification head gives a chat of request and answer."""

    def __init__(self, model: Any, tokenizer: Any, config: ScorerConfig) -> None:
        super().__init__(model, tokenizer, config)
        if model.config.num_labels != 1:
            raise ConfigError(
                f"{config.model} tells {model.config.num_labels} classes apart: a reward model has one output"
            )
        if tokenizer.pad_token_id is not None:
            model.config.pad_token_id = tokenizer.pad_token_id  # where the head looks for the end of a padded text

    def __call__(self, requests: Sequence[str], answers: Sequence[str]) -> list[float]:
        return self._batches(
            [self._fitting(r, a, self._ids) for r, a in zip(requests, answers, strict=True)],
            lambda ids, mask, _: self.model(input_ids=ids, attention_mask=mask).logits[:, 0],
        )

    def _ids(self, request: str, answer: str) -> list[int]:
        if not self.tokenizer.chat_template:
            return list(self.tokenizer(request, answer).input_ids)
        chat = [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
        return list(self.tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False))


class _YesNo(_Local):
    """1 where the next word is rather yes than no, summed over how both are written; else 0."""

    def __init__(self, model: Any, tokenizer: Any, config: ScorerConfig) -> None:
        super().__init__(model, tokenizer, config)
        yes, no = ({i for w in words if (i := self._first(w)) is not None} for words in (YES, NO))
        self.yes, self.no = yes - no, no - yes  # a blank that both begin with tells nothing
        if not self.yes or not self.no:
            raise ConfigError(f"the tokenizer of {config.model} does not tell yes from no by their first tokens")

    def _first(self, word: str) -> int | None:
        ids = self.tokenizer(word, add_special_tokens=False).input_ids
        return ids[0] if ids and ids[0] != self.tokenizer.unk_token_id else None

    def __call__(self, requests: Sequence[str], answers: Sequence[str]) -> list[float]:
        import torch

        def said_yes(ids: torch.Tensor, mask: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            logits = self.model(input_ids=ids, attention_mask=mask).logits
            last = logits[torch.arange(len(ids), device=ids.device), lengths - 1].double()
            yes, no = (last[:, sorted(words)].logsumexp(1) for words in (self.yes, self.no))
            return (yes > no).double()

        return self._batches([self._fitting(r, a, self._ids) for r, a in zip(requests, answers, strict=True)], said_yes)

    def _ids(self, request: str, answer: str) -> list[int]:
        return list(self.tokenizer(self.config.prompt.format(request=request, answer=answer)).input_ids)
