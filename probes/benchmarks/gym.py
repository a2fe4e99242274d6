"""reasoning-gym's procedural tasks as domains: an offline suite for real models, without any data to fetch.

The package draws item i of a data set from `Random(seed + i)`, so that seeds 42 and 43 share nearly everything. Here each item
has a seed of its own, a hash of (task, split, index) far above those that people write in configs, and its split is also decided
by what it asks: two splits share nothing, though two seeds may give the same question.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ...dynamics.errors import ConfigError, first_line, nearest
from ...dynamics.types import Group
from ..domains import Grade, Item, Response, Split
from ..microworld.common import content_id, split_of
from .base import BenchmarkConfig, checked_prompt, so_far, strict_or_late
from .rows import Unavailable

PREFIX = "gym_"
ASK = "{question}\n\nThink it through step by step, and put your final answer, and nothing else, between <answer> and </answer>."
FULL_CREDIT = 1.0  # the package gives partial credit for a good form: it is no right answer
LOWEST_SEED = 2**31  # 2**31 to 2**32: NumPy takes no more, and people's own seeds are smaller
EXHAUSTED = 400  # seeds without a new question after which a task is taken to have no more
_EVALUATES = re.compile(r"\bparse_expr\b|\bsympify\b|(?<![\w.])eval\(|(?<![\w.])exec\(")
_SUM = re.compile(r"[0-9\s+\-*/().]{1,200}")
_BARE_WORDS = re.compile(r"[A-Za-z0-9_ \n]{1,2000}")  # nothing is called without brackets
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)


def seed_of(task: str, split: Split, index: int) -> int:
    """The seed of an item: 31 bits of a hash, above every seed below 2**31."""
    digest = hashlib.sha256(f"{task}|{split}|{index}".encode()).digest()
    return LOWEST_SEED + int.from_bytes(digest[:4]) // 2


def last_answer(text: str) -> str | None:
    """What stands between the last pair of answer tags; None without a closed pair, or with nothing in it."""
    found = _ANSWER.findall(text)
    return (found[-1].strip() or None) if found else None


def is_harmless(answer: str) -> bool:
    """Whether an answer may be given to a scorer that evaluates it: a sum without powers, bare words (a board), or a literal."""
    if (_SUM.fullmatch(answer) and "**" not in answer) or _BARE_WORDS.fullmatch(answer):
        return True
    try:
        ast.literal_eval(answer)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return len(answer) <= 10_000


class GymTask:
    """One of reasoning-gym's tasks, at its default difficulty. Right is full credit, a score of 1, and nothing less."""

    group: Group = "ood_reasoning"
    graded = True
    chance = 0.0
    max_new_tokens = 32_768

    def __init__(self, task: str, config: BenchmarkConfig | None = None) -> None:
        """Raises ConfigError for an unknown task or one whose scorer runs answers as code, Unavailable without the package."""
        config = config or BenchmarkConfig()
        self.task, self.name = task, PREFIX + task
        if config.path or config.hub or config.revision:
            raise ConfigError(f"`probes.benchmarks.{self.name}` is generated: leave out `path`, `hub` and `revision`")
        self.prompt = checked_prompt(config.prompt, ASK, self.name)
        self.max_new_tokens = config.max_new_tokens or self.max_new_tokens
        self.most = config.items
        try:
            import reasoning_gym
            from reasoning_gym.factory import DATASETS

            self.grader = f"reasoning-gym-{version('reasoning_gym')}"
        except (ImportError, PackageNotFoundError) as error:
            raise Unavailable(
                f"{self.name} is skipped: reasoning-gym is not here ({first_line(error)}): pip install 'sftscope[benchmarks]'"
            ) from error
        if task not in DATASETS:
            raise ConfigError(f"reasoning-gym has no task {task!r}: {nearest(task, DATASETS)}")
        self._make = reasoning_gym.create_dataset
        self._entries: dict[str, tuple[Any, dict[str, Any]]] = {}
        self.evaluates = _EVALUATES.search(inspect.getsource(DATASETS[task][0])) is not None
        try:
            _, entry = self._entry(seed_of(task, "probe", 0))
        except (AssertionError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.name} cannot be made as it is ({first_line(error)}): choose another task"
            ) from error
        if self.evaluates and not is_harmless(str(entry["answer"])):
            raise ConfigError(f"the scorer of {self.name} runs answers as code: choose another task")

    def items(self, split: Split, n: int, seed: int = 0) -> list[Item]:
        """`n` distinct questions; more of them hold the fewer, and another `seed` gives others. Raises ConfigError."""
        found: dict[str, Item] = {}
        index, in_vain = 0, 0
        task = self.task if seed == 0 else f"{self.task}#{seed}"
        while len(found) < n and in_vain < EXHAUSTED:
            at = seed_of(task, split, index)
            dataset, entry = self._entry(at)
            index, in_vain = index + 1, in_vain + 1
            question = str(entry["question"])
            key = content_id(self.name, question)
            if split_of(self.name, question) != split or key in found:
                continue
            in_vain = 0
            self._entries[key] = dataset, entry
            reference = {"seed": at, "answer": str(entry["answer"])}
            found[key] = Item(key, self.prompt.format(question=question), reference, key)
        if len(found) < n:
            raise ConfigError(
                f"{self.name} has only {len(found)} distinct questions in the {split!r} split, {n} were asked for: ask for fewer"
            )
        return list(found.values())

    def grade(self, item: Item, response: Response) -> Grade:
        answer, late = last_answer(response.answer), last_answer(so_far(response))
        score = self._score(item, answer)
        correct = score >= FULL_CREDIT
        late_right = not response.finished and self._score(item, late) >= FULL_CREDIT
        return strict_or_late(response, answer is not None, correct, late_right, score=score * response.finished)

    def _score(self, item: Item, answer: str | None) -> float:
        """The package's score of an answer; 0 where there is none, or one that its scorer should not be given."""
        if answer is None or (self.evaluates and not is_harmless(answer)):
            return 0.0
        if item.id not in self._entries:
            self._entries[item.id] = self._entry(item.reference["seed"])
        dataset, entry = self._entries[item.id]
        try:
            return float(dataset.score_answer(answer=answer, entry=entry))
        except Exception:  # noqa: BLE001  (a hundred scorers: what one of them trips over has not its form)
            return 0.0

    def _entry(self, seed: int) -> tuple[Any, dict[str, Any]]:
        dataset = self._make(self.task, seed=seed, size=1)
        return dataset, dataset[0]
