"""Any task of lm-evaluation-harness that generates, as a domain: its documents, its wording and its scorers, on stored answers.

The verdict on an answer is the harness's own, read as its loop reads it: the thinking left out, the rest cut at the first of the
task's stop strings, then the task's filter, then its `process_results`.
"""

from __future__ import annotations

import contextlib
import copy
import numbers
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...dynamics.errors import ConfigError, DataError, first_line, nearest
from ...dynamics.types import Group
from ..domains import Grade, Item, Response
from .base import Benchmark, BenchmarkConfig, Question, so_far, strict_or_late
from .harness import PREFIX, find_task, harness_version
from .harness_documents import documents, made, unreadable
from .rows import Row, Source, Unavailable

FALLBACK = "[invalid]"  # what the harness's filters give where they find no answer
TRIED = 3  # documents on which it is found out which metrics say right or wrong
TEXTS, LONGEST = 8, 400  # of a document that are tried as answers, and the longest, in characters
ADDED = " and something else beside"
_DEGREES = re.compile(r"f1|fscore|bleu|rouge|chrf")  # metrics that may seem to know 0 and 1 alone on a few documents


class HarnessTask(Benchmark):
    """One of the harness's tasks, zero-shot unless `fewshot` is given. Right: 1 by a metric that knows only 0 and 1."""

    group: Group = "ood_reasoning"
    prompt = "{question}"

    def __init__(self, task: str, config: BenchmarkConfig | None = None) -> None:
        """Raises ConfigError for a task that cannot be asked or a metric that says no right or wrong; what `Benchmark` raises."""
        config = config or BenchmarkConfig()
        self.task, self.name = task, PREFIX + task
        self.group = config.group or self.group
        self._settings = find_task(task)
        self._shots = _shots(self.name, self._settings, config.fewshot)
        self.source = _source(self.name, self._settings, config)
        super().__init__(config)
        self._trouble: Exception = ValueError("it gives no metric")
        tried = self._tried(self._items[:TRIED])
        if not tried:
            raise self._unscored(self._items[0], self._trouble)
        ups = [metric for metric, up in self._task.higher_is_better().items() if up]
        self.metric = _metric(self.name, config.metric, ups, tried)
        number = (self._settings.get("metadata") or {}).get("version", "unversioned")
        self.grader = f"lm-eval-{harness_version()}/{task}-{number}/{self.metric}"

    # -- what is asked

    def _rows(self) -> list[Row]:
        """The task's documents in place of the rows."""
        table, found = documents(self.task, self._settings, list(super()._rows()))
        self._task = made(self.task, self._settings, table, found, fewshot=self._shots > 0)
        until = self._task.config.generation_kwargs.get("until") or []
        self._until = [until] if isinstance(until, str) else list(until)
        self._fallbacks = _fallbacks(self._settings)
        return found

    def question(self, row: Row) -> Question:
        doc = dict(row.values)
        text, target = self._read_by_task(row, doc)
        for name in [n for n, v in doc.items() if v is None]:  # which a template prints as `None`, and says nothing
            try:
                other = self._read_by_task(row, {**doc, name: ""})
            except DataError:  # it tells a null from a text, and so minds it
                continue
            if any(a != b and "None" in str(a) for a, b in zip((text, target), other, strict=True)):
                raise row.wrong(name, "a value")
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{row.where}: {self.task} makes the question {text!r} of it: expected a text")
        if target is None or (target in ("", []) and not self._settings.get("process_results")):
            raise DataError(f"{row.where}: {self.task} makes the answer {target!r} of it: expected one")
        asked = self._read_by_task(row, doc, whole=True)
        return Question({"question": asked}, {"doc": doc, "target": target}, (text, _plain(doc)))

    def _read_by_task(self, row: Row, doc: dict[str, Any], *, whole: bool = False) -> Any:
        """The question and the answer that the task makes of a document, or the whole prompt. Raises DataError with the row."""
        try:
            if whole:
                return self._task.fewshot_context(doc, num_fewshot=self._shots)
            return self._task.doc_to_text(doc), self._task.doc_to_target(doc)
        except ImportError as error:
            raise Unavailable(f"{self.name} is skipped: {first_line(error)}") from error
        except Exception as error:
            raise unreadable(row, self.task, error) from error

    # -- what is right

    def grade(self, item: Item, response: Response) -> Grade:
        """Raises DataError where the scorer cannot run, or says neither 0 nor 1."""
        parsed, values = self._scored(item, response.answer)
        main = self.metric.rpartition(",")[0]
        late = not response.finished and self._right(self._scored(item, so_far(response))[1])
        others = {k: float(v) * response.finished for k, v in values.items() if k != main and _is_number(v)}
        return strict_or_late(response, parsed, self._right(values), late, **others)

    def _right(self, values: dict[str, Any]) -> bool:
        value = values.get(self.metric.rpartition(",")[0], 0)
        if not _is_binary(value):
            raise DataError(
                f"{self.name}: `{self.metric}` gives {value!r}, which is neither right nor wrong: "
                f"name another in `probes.benchmarks.{self.name}.metric`"
            )
        return bool(value == 1)

    def _scored(self, item: Item, answer: str) -> tuple[bool, dict[str, Any]]:
        """Whether an answer was found, and the task's metrics of it; nothing of what its scorer trips over."""
        if not answer:
            return False, {}
        chosen = self.metric.rpartition(",")[2]
        with _seeded(item.id):
            try:
                found = self._filtered(item.reference["doc"], answer, chosen)
                values = self._values(item.reference["doc"], found)
            except ImportError as error:
                raise DataError(f"{self.name}: its scorer needs a package ({first_line(error)})") from error
            except Exception as error:
                if type(error) is LookupError:  # NLTK's
                    raise DataError(f"{self.name}: its scorer needs data of NLTK ({first_line(error)})") from error
                if not self._tried([item]):  # the document, and not this answer
                    raise self._unscored(item, error) from error
                return False, {}  # thousands of scorers: what one trips over has not its form
        first = found[0] if isinstance(found, list | tuple) and found else found
        return bool(first) and first not in self._fallbacks, values

    def _filtered(self, doc: dict[str, Any], answer: str, chosen: str) -> Any:
        """What the task's filter leaves of an answer, cut where the harness would have stopped."""
        from lm_eval.api.instance import Instance

        for stop in self._until:
            answer = answer.split(stop)[0] if stop else answer
        given = copy.deepcopy(doc)
        instance = Instance("generate_until", given, ("", {}), 0, (self.task, 0, 1), [answer])
        for one in self._task._filters:
            if one.name == chosen:
                one.apply([instance])
        return instance.filtered_resps[chosen]

    def _values(self, doc: dict[str, Any], found: Any) -> dict[str, Any]:
        return dict(self._task.process_results(copy.deepcopy(doc), [found]))

    def _tried(self, items: Sequence[Item]) -> dict[str, list[Any]]:
        """What every "<metric>,<filter>" gives for answers that are right, partly right and empty; nothing where all fail."""
        tried: dict[str, list[Any]] = {}
        for item in items:
            doc = item.reference["doc"]
            for answer in _trials(item.reference):
                for name in [f.name for f in self._task._filters]:
                    try:
                        with _seeded(item.id):
                            values = self._values(doc, self._filtered(doc, answer, name))
                    except ImportError as error:
                        raise Unavailable(
                            f"{self.name} is skipped: its scorer needs a package that is not here ({first_line(error)})"
                        ) from error
                    except Exception as error:  # noqa: BLE001  (some trip over an empty answer)
                        self._trouble = error
                        continue
                    for metric, value in values.items():
                        tried.setdefault(f"{metric},{name}", []).append(value)
        return tried

    def _unscored(self, item: Item, error: Exception) -> DataError:
        return DataError(
            f"{self.name}: its scorer cannot be run on the question {item.prompt[-80:]!r} "
            f"({type(error).__name__}: {first_line(error)}): give its data set's own columns, or choose another task"
        )


# ---------------------------------------------------------------- a task's settings


def _source(name: str, settings: dict[str, Any], config: BenchmarkConfig) -> Source:
    """Where a task's questions are published: its test split, or the validation split where it has none."""
    split = settings.get("test_split") or settings.get("validation_split")
    hub = settings.get("dataset_path")
    if not (config.path or config.hub) and (settings.get("custom_dataset") or not hub):
        raise ConfigError(
            f"{name} makes its data set itself: give it as a file in `probes.benchmarks.{name}.path`, or choose another task"
        )
    if not split and not config.path:
        raise ConfigError(f"{name} has no split to be asked: give a file in `probes.benchmarks.{name}.path`")
    options = {k: v for k, v in (settings.get("dataset_kwargs") or {}).items() if k != "trust_remote_code"}
    revision = options.pop("revision", None)
    return Source(
        str(hub), str(split), settings.get("dataset_name"), revision=revision, options=tuple(sorted(options.items()))
    )


def _shots(name: str, settings: dict[str, Any], fewshot: int) -> int:
    """How many worked examples go before a question. Only those that the task writes out: drawn ones need another split."""
    if not fewshot:
        return 0
    given = settings.get("fewshot_config") or {}
    samples = given.get("samples")
    samples = samples() if callable(samples) else samples
    if not samples or given.get("sampler", "default") != "first_n":
        raise ConfigError(
            f"`probes.benchmarks.{name}.fewshot` is {fewshot}, and the task has no examples written out: leave it out"
        )
    if fewshot > len(samples):
        raise ConfigError(f"`probes.benchmarks.{name}.fewshot` is {fewshot}: the task has {len(samples)} examples")
    return fewshot


def _fallbacks(settings: dict[str, Any]) -> list[str]:
    """What a task's filters give where they find nothing."""
    steps = [s for f in settings.get("filter_list") or [] for s in f.get("filter") or []]
    return [FALLBACK, *(s["fallback"] for s in steps if isinstance(s.get("fallback"), str))]


# ---------------------------------------------------------------- which metric says what is right


def _metric(name: str, wanted: str | None, ups: Sequence[str], tried: dict[str, list[Any]]) -> str:
    """The "<metric>,<filter>" that says what is right: the one asked for, or the first that is 0 or 1 wherever it was tried."""
    usable = [k for k, values in tried.items() if all(map(_is_binary, values)) and not _DEGREES.search(k)]
    ordered = [k for m in ups for k in usable if k.rpartition(",")[0] == m]
    if not ordered:
        there = ", ".join(dict.fromkeys(k.rpartition(",")[0] for k in tried))
        raise ConfigError(
            f"{name} has no metric that calls one answer right or wrong (it has {there}): choose another task"
        )
    if wanted is None:
        return ordered[0]
    for key in ordered:
        if wanted in (key, key.rpartition(",")[0]):
            return key
    raise ConfigError(
        f"`probes.benchmarks.{name}.metric` is {wanted!r}, which says no right or wrong: {nearest(wanted, ordered)}"
    )


def _trials(reference: dict[str, Any]) -> Iterator[str]:
    """Answers that show a metric of degrees: right ones, with words beside them, half of them, and none.

    Right ones stand in the target or, where a task's target is not what it scores against, elsewhere in the document.
    """
    texts = [t for t in (*_texts(reference["target"]), *_texts(reference["doc"])) if 0 < len(t) <= LONGEST]
    for text in list(dict.fromkeys(texts))[:TEXTS]:
        words = text.split()
        yield from (text, text + ADDED, " ".join(words[: max(len(words) // 2, 1)]))
    yield from ("0", "")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
    elif value is not None:
        yield str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) or (type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0)


def _is_binary(value: Any) -> bool:
    return _is_number(value) and value in (0, 1)


def _plain(value: Any) -> Any:
    """As JSON has it, so that a hash of it is the same from every kind of file."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


@contextlib.contextmanager
def _seeded(text: str) -> Iterator[None]:
    """Python's random numbers drawn from a text, and given back: some scorers guess where they read no answer."""
    state = random.getstate()
    random.seed(text)
    try:
        yield
    finally:
        random.setstate(state)
