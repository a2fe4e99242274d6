"""Countdown in free English as a domain: questions from a JSONL file, answers graded exactly, traces read as searches."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...dynamics.errors import ConfigError, DataError
from ...dynamics.types import Group
from ..comparisons import Comparison
from ..domains import THINK_CLOSE, Grade, Item, Response, Split
from ..microworld.common import content_id, split_of
from ..mistakes import Fault
from ..search import Move
from .answer import find_answer, is_right
from .expressions import atom, without
from .reading import Trace, read
from .solver import MAX_NUMBERS

PROMPT = (
    "Using the numbers {numbers}, create an equation that equals {target}. You can use basic arithmetic operations (+, -, *, /) "
    "and each number can only be used once. Show your work in <think> </think> tags. And return the final answer in "
    "<answer> </answer> tags, for example <answer> (1 + 2) / 3 </answer>."
)
FEWEST = 3
_NUMBER = re.compile(r"(?<![\d.])-?\d{1,9}(?![\d.]*\d)")
_LIST = re.compile(r"-?\d{1,9}(?:(?:\s*[,;]\s*(?:and\s+)?|\s+and\s+|\s+)-?\d{1,9}){2,5}")
LARGEST = 10**9  # of a number or target


class FreeCountdown:
    """Questions `{"numbers": [19, 36, 55, 7], "target": 65}` of a JSONL file, one a line.

    A line may hold its own `prompt`, and `"use_all": false` where numbers may be left over. Every question belongs to every
    split, unless `by_split` deals them by content, as the micro-world does.
    """

    group: Group = "id_reasoning"

    def __init__(
        self, path: str | Path, *, name: str = "free_countdown", max_new_tokens: int = 1024, by_split: bool = False
    ) -> None:
        """Raises DataError, with the line, where the file cannot be used."""
        self.name, self.max_new_tokens, self.by_split = name, max_new_tokens, by_split
        self.path = Path(path)
        self._items = _read_items(self.path, name)

    def count(self, split: Split) -> int:
        """How many questions the file has for a split."""
        return len(self._pool(split))

    def _pool(self, split: Split) -> list[Item]:
        return [i for i in self._items if not self.by_split or split_of(self.name, i.cluster) == split]

    def items(self, split: Split, n: int, seed: int = 0) -> list[Item]:
        """`n` questions in an order that the seed decides. Raises ConfigError where the file has fewer."""
        pool = self._pool(split)
        if len(pool) < n:
            where = f" of the {split!r} split" if self.by_split else ""
            raise ConfigError(
                f"{self.path} has only {len(pool)} distinct questions{where}, {n} were asked for: ask for fewer, or add lines"
            )
        return random.Random(f"{self.name}|{split}|{seed}").sample(pool, n)

    def grade(self, item: Item, response: Response) -> Grade:
        """Exact: the given numbers and no others, rationals, no `eval`. Leniently, a cut-off response may have solved it."""
        ref = item.reference
        use_all = ref.get("use_all", True)
        answer = find_answer(response.text, ref["numbers"], ref["target"])
        correct = is_right(answer, ref["numbers"], ref["target"], use_all=use_all)
        parsed = answer is not None and answer.expression is not None
        lenient = correct or (not response.finished and self.read(ref, response.text).solved)
        return Grade(response.finished, response.finished and parsed, response.finished and correct, lenient)

    def thinking(self, response: Response) -> str:
        """Where the search stands: the thinking part. Without an opening tag (prompts may end with it), all up to its end."""
        return response.think or response.text.split(THINK_CLOSE, 1)[0].split("<answer>", 1)[0].strip()

    def fault(self, item: Item, response: Response) -> Fault:
        """illegal: the answer uses a number that was not given, or one twice. arithmetic: a step that is a piece of the answer
        claims a result that it does not have, or the answer divides by zero. exploration: the answer is worth something else."""
        answer = find_answer(response.text, item.reference["numbers"], item.reference["target"])
        e = answer.expression if answer else None
        if e is None:
            return "exploration"
        if not Counter(e.operands) <= Counter(Fraction(n) for n in item.reference["numbers"]):
            return "illegal"
        equations = self.read(item.reference, response.text).equations
        wrong = [q.canon for q in equations if q.right is False and q.canon is not None]
        slipped = e.value is None or any(without(e.canon, canon, atom("@")) is not None for canon in wrong)
        return "arithmetic" if slipped else "exploration"

    def read(self, reference: dict[str, Any], text: str) -> Trace:
        """Equations, moves, verdicts and coverage of a text. Kept for a while: several probes ask for the same."""
        return _read(text, tuple(reference["numbers"]), reference["target"], reference.get("use_all", True))

    def comparisons(self, reference: dict[str, Any], think: str) -> list[Comparison]:
        """Verdicts of a trace on the states that it reached."""
        return self.read(reference, think).comparisons

    def same_question(self, text: str) -> set[str]:
        """Clusters of the questions that a text may ask: its numbers as a list, whatever the wording, and the target."""
        numbers = {int(n) for n in _NUMBER.findall(text)}
        lists = (sorted(map(int, _NUMBER.findall(m[0]))) for m in _LIST.finditer(text))
        return {_cluster(found, target) for found in lists for target in numbers}

    def read_trace(self, reference: dict[str, Any], think: str) -> list[Move]:
        """Moves of a trace, for `summarise`."""
        return self.read(reference, think).moves


def _cluster(numbers: Sequence[int], target: int) -> str:
    return f"{sorted(numbers)}->{target}"


@lru_cache(maxsize=512)
def _read(text: str, numbers: tuple[int, ...], target: int, use_all: bool) -> Trace:
    return read(text, numbers, target, use_all=use_all)


def _read_items(path: Path, name: str) -> list[Item]:
    """Distinct questions of a file, in its order."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): give a JSONL file of Countdown questions") from error
    found: dict[str, Item] = {}
    for at, line in enumerate(lines, 1):
        if line.strip():
            row = _row(line, f"{path}, line {at}")
            content = _cluster(row["numbers"], row["target"])
            key = content_id(name, content)
            found.setdefault(key, Item(key, row.pop("prompt"), row, cluster=content, level=len(row["numbers"]) - 2))
    if not found:
        raise DataError(f'{path} has no questions: give lines such as {{"numbers": [19, 36, 55, 7], "target": 65}}')
    return list(found.values())


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: {error.msg} in {line[:80]!r}: give one JSON object a line") from error
    if not isinstance(row, dict):
        raise DataError(f'{where} is {line[:80]!r}: give an object with "numbers" and "target"')
    numbers, target = row.get("numbers"), row.get("target")
    if not (isinstance(numbers, list) and FEWEST <= len(numbers) <= MAX_NUMBERS and all(map(_usable, numbers))):
        raise DataError(f'{where}: "numbers" is {numbers!r}: give a list of {FEWEST} to {MAX_NUMBERS} whole numbers')
    if not _usable(target):
        raise DataError(f'{where}: "target" is {target!r}: give a whole number below {LARGEST:,}')
    prompt, use_all = row.get("prompt", PROMPT.format(numbers=numbers, target=target)), row.get("use_all", True)
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f'{where}: "prompt" is {prompt!r}: give a text, or leave it out for the usual wording')
    if not isinstance(use_all, bool):
        raise DataError(f'{where}: "use_all" is {use_all!r}: give true or false')
    return {"numbers": numbers, "target": target, "use_all": use_all, "prompt": prompt}


def _usable(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and abs(x) < LARGEST
