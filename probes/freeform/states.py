"""States of the search: a multiset of numbers, each knowing how it was made, and what an operation makes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from .expressions import Canon, Expression, atom, combine, leaves, without

LONGEST_WAY = 16  # levels looked back; legal steps make no longer ways
MAX_STATE = 12  # numbers in a state: illegal steps do not grow it without end


@dataclass(frozen=True, eq=False)
class Element:
    """A number at hand: its claimed value, and in terms of the given numbers how it was made."""

    value: Fraction
    canon: Canon
    built: bool

    @cached_property
    def pair(self) -> tuple[int, int]:
        """The value as integers, which compare many times faster than fractions."""
        return self.value.as_integer_ratio()


State = tuple[Element, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """A state that was reached, and the way to it. `start` is the node that it was reached from (None: the given numbers)."""

    state: State
    start: Node | None = None
    new: Element | None = None
    legal: bool = True  # of the operation that led here
    lawful: bool = True  # of every operation on the way
    sound: bool = True  # every operation on the way legal and exact
    whole: bool = False  # reached by one expression of given numbers
    corrected: bool = False  # its value replaced a wrong one

    def way(self, limit: int = LONGEST_WAY) -> list[Node]:
        """This node and those it was reached from, the latest first; the given numbers are the last where the way is short."""
        out: list[Node] = []
        node: Node | None = self
        while node is not None and len(out) < limit:
            out.append(node)
            node = node.start
        return out

    @property
    def values(self) -> tuple[Fraction, ...]:
        return tuple(e.value for e in self.state)


def solves(node: Node, target: Fraction, use_all: bool) -> bool:
    """A true solution: legal and exact all the way, the target reached, and no number left over where all have to be used."""
    return node.sound and hits(node, target, use_all)


def hits(node: Node, target: Fraction, use_all: bool) -> bool:
    """The state is taken for a solution, rightly or not."""
    return node.new is not None and node.new.value == target and (len(node.state) == 1 or not use_all)


def given(numbers: Sequence[Fraction]) -> Node:
    return Node(tuple(Element(n, atom(n), False) for n in numbers))


def take(state: State, operands: Sequence[Fraction]) -> tuple[list[Element | None], State]:
    """For each operand the number it uses (None: not there), made numbers before given ones; and what is left."""
    left = list(state)
    used: list[Element | None] = []
    for value in operands:
        pair = value.as_integer_ratio()
        for i in range(len(left) - 1, -1, -1):
            if left[i].pair == pair:
                used.append(left.pop(i))
                break
        else:
            used.append(None)
    return used, tuple(left)


def written_out(e: Expression, used: Sequence[Element | None], foreign: str) -> Canon:
    """The expression with every operand replaced by how it was made."""
    made: dict[str, list[Canon]] = defaultdict(list)
    for i, (value, element) in enumerate(zip(e.operands, used, strict=True)):
        made[str(value)].append(element.canon if element else atom(f"{foreign}{i}:{value}"))
    return _expand(e.canon, {key: list(reversed(canons)) for key, canons in made.items()})


def _expand(canon: Canon, made: dict[str, list[Canon]]) -> Canon:
    if not canon.parts:
        stack = made.get(canon.key)
        return (stack.pop() if len(stack) > 1 else stack[0]) if stack else canon
    return combine(canon.kind, [(sign, _expand(part, made)) for sign, part in canon.parts])


@dataclass(frozen=True)
class Outcome:
    """What an operation makes of a state."""

    node: Node
    missing: int  # operands that were not there
    used_new: bool  # it uses the latest number that was made
    uses_made: bool  # it uses some number that was made


def apply(start: Node, e: Expression, claim: Fraction, exact: bool, *, label: str) -> Outcome:
    """The node that an operation on numbers at hand leads to. `label` tells foreign numbers of statements apart."""
    used, left = take(start.state, e.operands)
    missing = sum(u is None for u in used)
    canon = written_out(e, used, label) if not missing else atom(f"{label}={e.canon.key}")
    return _reach(start, canon, left, claim, exact, missing, used, e)


def extend(start: Node, e: Expression, claim: Fraction, exact: bool, *, label: str) -> Outcome | None:
    """The same where the operation is written out in given numbers and passes through numbers made before.

    None where it passes through none, or is no more than one of them (see `composes`).
    """
    canon = e.canon
    used: list[Element] = []
    for element in reversed(start.state):
        if element.built:
            mark = atom(f"@{len(used)}")
            changed = without(canon, element.canon, mark)
            if changed is not None and len(leaves(changed)) > 1:
                canon = changed
                used.append(element)
    if not used:
        return None
    others = [Fraction(key) for key in leaves(canon) if not key.startswith("@")]
    taken, left = take(tuple(x for x in start.state if x not in used), others)
    missing = sum(t is None for t in taken)
    full = e.canon if not missing else atom(f"{label}={e.canon.key}")
    return _reach(start, full, left, claim, exact, missing, [*used, *taken], e)


def _reach(
    start: Node,
    canon: Canon,
    left: State,
    claim: Fraction,
    exact: bool,
    missing: int,
    used: Sequence[Element | None],
    e: Expression,
) -> Outcome:
    new = Element(claim, canon, True)
    legal = missing == 0
    node = Node(
        (*left, new)[-MAX_STATE:],
        start,
        new,
        legal,
        start.lawful and legal,
        start.sound and legal and exact,
        start.start is None and e.operators > 1,
    )
    return Outcome(node, missing, start.new in used, any(u is not None and u.built for u in used))


def composes(start: Node, e: Expression) -> Element | None:
    """The made number of a state that an expression, written out in given numbers, is equal to."""
    return next((x for x in reversed(start.state) if x.built and x.canon.key == e.canon.key), None)


def part_of_way(node: Node, canon: Canon) -> bool:
    """Whether an expression is a made number of the state, or a piece of one."""
    mark = atom("@")
    return any(x.built and without(x.canon, canon, mark) is not None for x in node.state)


def replaced(node: Node, claim: Fraction, exact: bool) -> Node:
    """The node with the value that a correction gives it."""
    assert node.new is not None
    assert node.start is not None
    new = Element(claim, node.new.canon, True)
    state = (*(x for x in node.state if x is not node.new), new)
    sound = node.start.sound and node.legal and exact
    return Node(state, node.start, new, node.legal, node.lawful, sound, node.whole, corrected=True)
