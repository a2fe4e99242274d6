"""How well free-form Countdown traces are read: python -P tests/probes/freeform_scores.py FILE (labels: freeform/README.md)."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftscope.probes.freeform import find_answer, is_right, read
from sftscope.probes.search import summarise

Span = tuple[int, int]
OVERLAP = 0.5


def same(a: Span, b: Span) -> bool:
    """The matching rule: what two spans share is at least half of what they cover together (characters)."""
    shared = min(a[1], b[1]) - max(a[0], b[0])
    return shared > 0 and shared >= OVERLAP * (max(a[1], b[1]) - min(a[0], b[0]))


def matches(found: Iterable[Span], labelled: Iterable[Span]) -> list[tuple[Span, Span]]:
    """Pairs of spans that are the same, each used once: exact ones first, then in the order of the text."""
    found, labelled = list(dict.fromkeys(found)), list(dict.fromkeys(labelled))
    pairs = [(f, f) for f in found if f in labelled]
    left = [f for f in found if f not in labelled]
    open_labels = [x for x in labelled if x not in found]
    for f in left:
        if (hit := next((x for x in open_labels if same(f, x)), None)) is not None:
            open_labels.remove(hit)
            pairs.append((f, hit))
    return pairs


@dataclass
class Score:
    """Counts of one kind of thing: found and labelled, only found, only labelled."""

    both: int = 0
    extra: int = 0
    missed: int = 0
    wrong: list[str] = field(default_factory=list)  # each extra and missed one, in words

    def add(self, name: str, text: str, found: Iterable[Span], labelled: Iterable[Span]) -> None:
        found, labelled = set(found), set(labelled)
        pairs = matches(sorted(found), sorted(labelled))
        self.both += len(pairs)
        self.extra += len(found) - len(pairs)
        self.missed += len(labelled) - len(pairs)
        self.wrong += [f"{name}: extra {text[a:b]!r}" for a, b in sorted(found - {f for f, _ in pairs})]
        self.wrong += [f"{name}: missed {text[a:b]!r}" for a, b in sorted(labelled - {x for _, x in pairs})]

    @property
    def precision(self) -> float:
        return self.both / (self.both + self.extra) if self.both + self.extra else float("nan")

    @property
    def recall(self) -> float:
        """Of the equations: their coverage."""
        return self.both / (self.both + self.missed) if self.both + self.missed else float("nan")

    def __str__(self) -> str:
        return (
            f"precision {self.precision:.3f} ({self.both}/{self.both + self.extra}), "
            f"recall {self.recall:.3f} ({self.both}/{self.both + self.missed})"
        )


@dataclass
class Share:
    """How often something agrees."""

    right: int = 0
    of: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, agrees: bool, what: str) -> None:
        self.right += agrees
        self.of += 1
        if not agrees:
            self.wrong.append(what)

    @property
    def value(self) -> float:
        return self.right / self.of if self.of else float("nan")

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.right}/{self.of})"


def spans(labels: list[dict[str, Any]]) -> list[Span]:
    return [(x["start"], x["start"] + len(x["text"])) for x in labels]


def evaluate(path: str | Path) -> dict[str, Score | Share]:
    """Read every trace of a labelled file and compare.

    `backtracks` and `loops` are matched by the span of the equation that opens the branch, `equations` by their spans (their
    recall is the coverage), all by the rule of `same`. `counts`: backtracks and loops that `summarise` counts are those found.
    """
    scores = {name: Score() for name in ("backtracks", "loops", "equations")}
    names = ("answer_text", "answer_correct", "solved", "kind", "value", "right", "legal", "counts")
    shares = {name: Share() for name in names}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        name, text, numbers, target = row["id"], row["text"], row["numbers"], row["target"]
        use_all = "at most once" not in row["prompt"]
        trace = read(text, numbers, target, use_all=use_all)
        found = {(e.start, e.end): e for e in trace.equations}
        labelled = {span: e for span, e in zip(spans(row["equations"]), row["equations"], strict=True)}
        by_kind = {k: [s for s, e in found.items() if e.kind == k] for k in ("backtrack", "loop")}
        scores["backtracks"].add(name, text, by_kind["backtrack"], spans(row["backtracks"]))
        scores["loops"].add(name, text, by_kind["loop"], spans(row["loops"]))
        scores["equations"].add(name, text, found, labelled)
        for f, x in matches(found, labelled):
            e, label = found[f], labelled[x]
            said = f"{name}: {e.text!r}"
            shares["kind"].add(e.role == label["kind"], f"{said} {label['kind']}, read as {e.role}")
            shares["value"].add(e.value is None if label["value"] is None else str(e.value) == label["value"], said)
            shares["right"].add(e.right == label["right"], f"{said} {label['right']}, read as {e.right}")
            shares["legal"].add(e.legal == label["legal"], f"{said} {label['legal']}, read as {e.legal}")
        answer = find_answer(text, numbers, target)
        written = answer.text if answer else None
        shares["answer_text"].add(written == row["answer"], f"{name}: {row['answer']!r}, read as {written!r}")
        correct = is_right(answer, numbers, target, use_all=use_all)
        shares["answer_correct"].add(correct == row["correct"], f"{name}: {row['correct']}, read as {correct}")
        shares["solved"].add(trace.solved == row["solved_in_trace"], f"{name}: read as {trace.solved}")
        kinds, counted = Counter(e.kind for e in trace.equations), summarise(trace.moves)
        agree = (counted.backtracks, counted.loops) == (kinds["backtrack"], kinds["loop"])
        shares["counts"].add(agree, f"{name}: {counted}")
    return {**scores, **shares}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the labelled file: python -P tests/probes/freeform_scores.py FILE")
    for metric, score in evaluate(sys.argv[1]).items():
        print(f"{metric:>15}  {score}")
        for line in score.wrong:
            print(f"{'':>17}{line}")
