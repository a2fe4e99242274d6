"""The course of a search: from which state each statement starts, and what it does there (docs/metrics.md).

A sentence does not say from which state it starts; what follows often does. So several readings are kept side by side, each
with a cost (going back costs one, an illegal step more), and the cheapest at the end of the text wins: an operation goes on from
the state at hand unless its numbers are gone, later steps need what it would use up, or the words refuse what was reached.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from . import phrases
from .expressions import Canon, Expression, atom
from .statements import Statement
from .states import (
    Element,
    Node,
    Outcome,
    apply,
    composes,
    extend,
    given,
    hits,
    part_of_way,
    replaced,
    solves,
    take,
    written_out,
)

Role = Literal["step", "whole", "check", "backward", "abandoned"]

BEAM = 12  # readings kept side by side
LOOKED_BACK = 16  # statements, for a state of another branch that is gone on from
AHEAD = 6  # statements looked at for what a number was wanted for
# Costs. A return is the unit; an illegal step must cost more than the returns that would make it legal.
RETURN, DEEPER, JUMP, ILLEGAL, PER_MISSING = 1.0, 0.02, 1.4, 2.2, 0.3
RESTARTED, REFUSED = 1.5, 1.2  # going on with other numbers although the words refuse what was reached
CHECK_SOLVED, CHECK_TOLD, CHECK_PLAIN, CHECK_DEAD, CHECK_AGAIN = 0.05, 0.1, 0.3, 1.3, 1.0
CORRECTED, GOAL, GOAL_AT_HAND, GOAL_SEEN = 0.05, 0.2, 1.2, -0.1


@dataclass(frozen=True, eq=False)
class Event:
    """What one statement does. `start` is the state it starts from, `node` the one it reaches."""

    index: int
    role: Role
    start: Node | None = None
    node: Node | None = None
    legal: bool | None = None
    before: Event | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """One way to read the statements so far."""

    cost: float
    here: Node
    last: Event | None = None
    goals: frozenset[Fraction] = frozenset()
    notes: tuple[tuple[Fraction, Canon], ...] = ()  # values worked out in checks
    checking: bool = False
    done: bool = False  # a true solution was reached: nothing counts any more

    def then(self, cost: float, index: int, role: Role, **changes: Any) -> Reading:
        event = {k: changes.pop(k) for k in ("start", "node", "legal") if k in changes}
        changes.setdefault("checking", False)
        return replace(self, cost=self.cost + cost, last=Event(index, role, before=self.last, **event), **changes)

    @property
    def events(self) -> list[Event]:
        out: list[Event] = []
        event = self.last
        while event is not None:
            out.append(event)
            event = event.before
        return out[::-1]


class Course:
    """Reads the statements of one text. `use_all`: a solution uses every number, else it may leave some out."""

    def __init__(
        self, text: str, statements: Sequence[Statement], numbers: Sequence[Fraction], target: Fraction, use_all: bool
    ) -> None:
        self.text, self.statements, self.target, self.use_all = text, statements, target, use_all
        self.numbers = frozenset(numbers)
        self.root = given(numbers)
        self.auxiliary = _auxiliary(statements, self.numbers)

    def read(self) -> list[Event]:
        """One event for every statement, of the cheapest reading."""
        beam = [Reading(0.0, self.root, goals=frozenset({self.target}))]
        end = 0
        for i, s in enumerate(self.statements):
            gap = self.text[max(end, s.start - 400) : s.start] if s.start > end else ""
            after = self.text[s.end : min(s.end + 60, self._next_start(i))]
            wanted = frozenset(Fraction(m["n"]) for m in phrases.WANTED.finditer(gap))
            beam = [replace(r, goals=r.goals | wanted) for r in beam] if wanted else beam
            words = _Words(gap, after, self._seen_later(i))
            options = sorted((n for r in beam for n in self._options(r, i, s, words)), key=lambda r: r.cost)
            beam = _distinct(options)
            end = max(end, s.end)
        return beam[0].events

    def _next_start(self, i: int) -> int:
        return self.statements[i + 1].start if i + 1 < len(self.statements) else len(self.text)

    def _seen_later(self, i: int) -> bool:
        """The result of statement i is made, or taken apart, by a later one before it is used: it was a goal."""
        claim = self.statements[i].claim
        for s in self.statements[i + 1 : i + 1 + AHEAD]:
            if claim in s.left.operands or self.target in s.left.operands:
                return False
            if s.claim == claim and not s.evaluates:
                return True
        return False

    # -- what a statement can be

    def _options(self, r: Reading, i: int, s: Statement, words: _Words) -> list[Reading]:
        if s.evaluates:
            return [r.then(0, i, "check", legal=r.here.lawful, checking=r.checking)]
        if s.form == "abandoned":
            return list(self._abandoned(r, i, s))
        out: list[Reading] = []
        for left in [s.left] if s.other is None else [s.other, s.left]:
            out += self._checks(r, i, s, left, words)
            if not r.done:
                out += self._backward(r, i, s, left, words)
                out += self._moves(r, i, s, left, words)
        if r.done and not out:
            outcomes = [self._outcome(n, s, s.left, i) for n in r.here.way()]
            legal = any(o.missing == 0 for o in outcomes)
            out.append(r.then(0, i, self._role(self.root, s.left, None), legal=legal))
        return out

    def _role(self, start: Node, left: Expression, outcome: Outcome | None) -> Role:
        if left.operators < 2:
            return "step"
        if outcome is None:
            return "whole" if set(left.operands) <= self.numbers else "step"
        return "step" if outcome.uses_made or start.start is not None else "whole"

    def _outcome(self, start: Node, s: Statement, left: Expression, i: int) -> Outcome:
        assert s.comes_to is not None
        return apply(start, left, s.comes_to, left.value == s.comes_to, label=f"#{i}")

    def _way(self, node: Node) -> list[Node]:
        """The states that a statement can start from: the one at hand, earlier ones, the given numbers last."""
        way = node.way()
        return way if way[-1] is self.root else [*way, self.root]

    # -- moves

    def _moves(self, r: Reading, i: int, s: Statement, left: Expression, words: _Words) -> Iterator[Reading]:
        claim = s.comes_to
        assert claim is not None
        way = self._way(r.here)
        legal_somewhere = False
        back = 0
        for n, start in enumerate(way):
            outcome, role = self._outcome(start, s, left, i), None
            if outcome.missing:
                through = extend(start, left, claim, left.value == claim, label=f"#{i}") if left.operators > 1 else None
                if through is not None and (through.missing == 0 or n == 0):
                    outcome, role = through, "whole"
            if composes(start, left) is not None and outcome.missing:
                continue  # a summary of steps, read as a check
            if outcome.missing and not (n == 0 or start is self.root):
                continue
            if outcome.missing and n == 0 and left.operators > 1 and not outcome.uses_made and start is not self.root:
                continue  # a whole that is not made of what is at hand starts afresh
            legal_somewhere = legal_somewhere or not outcome.missing
            cost = ILLEGAL + PER_MISSING * outcome.missing if outcome.missing else 0.0
            if n == 0:
                cost += 0.0 if outcome.used_new else words.refusal
            else:
                to_root = start is self.root and left.operators > 1 and not outcome.uses_made
                cost += RETURN + (0 if to_root else DEEPER * back)
                back += not outcome.missing
            yield self._moved(r, cost, i, role or self._role(start, left, outcome), start, outcome)
        if not legal_somewhere:
            yield from self._jumps(r, i, s, left, way)

    def _moved(self, r: Reading, cost: float, i: int, role: str, start: Node, outcome: Outcome) -> Reading:
        node = outcome.node
        done = solves(node, self.target, self.use_all)
        return r.then(cost, i, role, start=start, node=node, legal=node.legal, here=node, done=done, notes=())  # type: ignore[arg-type]

    def _jumps(self, r: Reading, i: int, s: Statement, left: Expression, way: list[Node]) -> Iterator[Reading]:
        """Going on from a state of a branch that was left: its steps are repeated in thought."""
        event, looked = r.last, 0
        while event is not None and looked < LOOKED_BACK:
            node = event.node
            if node is not None and node not in way and not (set(left.operands) <= self.numbers):
                outcome = self._outcome(node, s, left, i)
                if not outcome.missing:
                    yield self._moved(r, JUMP, i, self._role(node, left, outcome), node, outcome)
                    return
            event, looked = event.before, looked + 1

    def _abandoned(self, r: Reading, i: int, s: Statement) -> Iterator[Reading]:
        if r.done:
            yield r.then(0, i, "abandoned")
            return
        back = 0
        for n, start in enumerate(self._way(r.here)):
            used, _ = take(start.state, s.left.operands)
            fits = all(u is not None for u in used)
            if not fits and s.left.operators > 1:
                through = extend(start, s.left, Fraction(0), False, label=f"#{i}")
                fits = through is not None and through.missing == 0
            if fits:
                yield r.then(RETURN + DEEPER * back if n else 0, i, "abandoned", start=start, here=start)
                back += 1
        if back == 0:
            yield r.then(0, i, "abandoned")

    # -- checks

    def _checks(self, r: Reading, i: int, s: Statement, left: Expression, words: _Words) -> Iterator[Reading]:
        legal = r.here.lawful
        claim = s.comes_to
        assert claim is not None
        if i in self.auxiliary:
            yield r.then(CHECK_TOLD, i, "check", legal=legal)
        for canon in self._restatements(r, left):
            corrected = next((n for n in r.here.way() if n.new is not None and n.new.canon.key == canon.key), None)
            if corrected is not None and corrected.new is not None and corrected.new.value != claim and not r.done:
                node = replaced(corrected, claim, left.value == claim)
                yield r.then(
                    CORRECTED,
                    i,
                    "check",
                    node=node,
                    legal=node.legal,
                    here=node,
                    notes=(),
                    done=solves(node, self.target, self.use_all),
                )
                return
            if part_of_way(r.here, canon):
                notes = (*r.notes[-11:], (s.claim, canon)) if s.claim is not None else r.notes
                cost, told = self._check_cost(r, left, canon, corrected, words)
                yield r.then(cost, i, "check", legal=legal, notes=notes, checking=told)
                return

    def _restatements(self, r: Reading, left: Expression) -> Iterator[Canon]:
        """Ways to write an expression out, its operands taken from checks, from the way here, or as they stand."""
        made: dict[Fraction, list[Element]] = {}
        for value, canon in reversed(r.notes):
            made.setdefault(value, []).append(Element(value, canon, True))
        for node in r.here.way():
            if node.new is not None:
                made.setdefault(node.new.value, []).append(node.new)
        choices = [
            [*made.get(v, [])[:2], *([Element(v, atom(v), False)] if v in self.numbers or v not in made else [])]
            for v in left.operands
        ]
        for used in itertools.islice(itertools.product(*choices), 8):
            yield written_out(left, used, "")

    def _check_cost(
        self, r: Reading, left: Expression, canon: Canon, same: Node | None, words: _Words
    ) -> tuple[float, bool]:
        """(cost, whether the text says that it checks)."""
        if r.done:
            return 0.0, True
        told = words.checking or r.checking
        if hits(r.here, self.target, self.use_all):
            return CHECK_SOLVED, told
        summary = any(x.built and x.canon.key == canon.key for x in r.here.state)
        if left.operators > 1 and summary and not (same is not None and same.whole):
            return CHECK_SOLVED, told  # a summary of the steps that were made
        if told and not words.again:
            return CHECK_TOLD, True
        if len(r.here.state) == 1:
            return CHECK_DEAD, False
        return (CHECK_AGAIN if words.again else CHECK_PLAIN), False

    # -- from the target backwards

    def _backward(self, r: Reading, i: int, s: Statement, left: Expression, words: _Words) -> Iterator[Reading]:
        operands = left.operands
        goal_operand = any(o in r.goals and (o == self.target or o not in self.numbers) for o in operands)
        makes_goal = s.claim in r.goals
        if not (goal_operand or makes_goal) or s.claim is None:
            return
        lacking = self._lacking(r.here, operands)
        if makes_goal and goal_operand and not lacking and s.form == "result":
            return  # a goal that was made, put to its use
        at_hand = not lacking or any(not self._lacking(n, operands) for n in self._way(r.here)[1:])
        if s.form == "goal-first":
            if makes_goal:
                more = r.goals | {o for o in operands if o not in self.numbers}
                yield r.then(GOAL_AT_HAND if at_hand else GOAL / 2, i, "backward", goals=more)
        elif goal_operand:
            seen = words.claim_seen or words.wished
            cost = (GOAL_SEEN if seen else GOAL_AT_HAND) if at_hand else GOAL
            yield r.then(cost, i, "backward", goals=r.goals | {s.claim})
        elif words.wished and (
            unbuilt := {o for o in lacking if o not in self.numbers}
        ):  # else a foreign number is used
            yield r.then(GOAL, i, "backward", goals=r.goals | unbuilt)

    def _lacking(self, node: Node, operands: Sequence[Fraction]) -> list[Fraction]:
        used, _ = take(node.state, operands)
        return [o for o, u in zip(operands, used, strict=True) if u is None]


class _Words:
    """What the words before and after a statement say."""

    def __init__(self, gap: str, after: str, claim_seen: bool) -> None:
        self.refusal = RESTARTED if phrases.RESTART.search(gap) else REFUSED if phrases.REFUSED.match(gap) else 0.0
        self.checking = bool(phrases.CHECKING.search(gap))
        self.again = bool(phrases.AGAIN.search(gap))
        self.wished = bool(phrases.WISHED.search(after) or phrases.WISHED.search(gap[-40:]))
        self.claim_seen = claim_seen


def _distinct(options: Sequence[Reading]) -> list[Reading]:
    """The cheapest readings, of those that stand at the same place only the first."""
    seen, out = set(), []
    for r in options:
        way = tuple((n.new.canon.key, n.new.value) for n in r.here.way() if n.new is not None)
        key = (way, r.done, r.checking)
        if key not in seen:
            seen.add(key)
            out.append(r)
            if len(out) == BEAM:
                break
    return out


def _auxiliary(statements: Sequence[Statement], numbers: frozenset[Fraction]) -> set[int]:
    """Statements that only work a multiplication out: 40 * 6 = 240, 1 * 6 = 6, 240 + 6 = 246 beside 41 * 6."""
    out: set[int] = set()
    for i, s in enumerate(statements):
        if s.left.single is None or s.left.single[0] != "*":
            continue
        near = [j for j in range(max(0, i - 4), min(len(statements), i + 5)) if j != i]
        for whole, kept in (s.left.single[1:], s.left.single[:0:-1]):
            parts = {
                j: p for j in near for p in [_other_factor(statements[j], kept)] if p and p not in numbers | {whole}
            }
            pairs = [(j, k) for j in parts for k in parts if j < k and parts[j] + parts[k] == whole]
            for j, k in pairs:
                out |= {j, k}
                values = {statements[j].claim, statements[k].claim}
                out |= {m for m in near if statements[m].left.single and values == set(statements[m].left.operands)}
    return out


def _other_factor(s: Statement, kept: Fraction) -> Fraction | None:
    single = s.left.single
    if single is None or single[0] != "*" or kept not in single[1:]:
        return None
    return single[2] if single[1] == kept else single[1]
