"""Whether a multiset of rationals can still make the target with + - * /: exact, over all pairs, memoised, bounded.

The last operation of a solution joins two disjoint subsets, so the values of the smaller are listed, and what the larger would
have to be follows from the target. Six numbers take a fraction of a second where listing all their results takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

MAX_NUMBERS = 6
MAX_SIZE = 10**12  # of a numerator or denominator
MAX_HARD_STATES = 300  # states of five or six numbers solved for one text

State = tuple[Fraction, ...]


def splits(state: State) -> Iterator[tuple[State, State]]:
    """All ways to part a sorted state into two (neither empty), none twice, the smaller part first."""
    n, seen = len(state), set()
    for size in range(1, n // 2 + 1):
        for chosen in combinations(range(n), size):
            part = tuple(state[i] for i in chosen)
            rest = tuple(state[i] for i in range(n) if i not in chosen)
            if (part, rest) not in seen:
                seen.add((part, rest))
                yield part, rest


@lru_cache(maxsize=20_000)
def values(state: State) -> frozenset[Fraction]:
    """Every number that combining all of a sorted state can make. For up to four numbers."""
    if len(state) == 1:
        return frozenset(state)
    out: set[Fraction] = set()
    for part, rest in splits(state):
        for a in values(part):
            for b in values(rest):
                out.update((a + b, a - b, b - a, a * b))
                if b:
                    out.add(a / b)
                if a:
                    out.add(b / a)
    return frozenset(out)


def partners(a: Fraction, target: Fraction) -> set[Fraction]:
    """Every b such that some operation on a and b, in either order, gives the target. Any b where a = target = 0 in a product."""
    out = {target - a, a - target, a + target, a * target}
    if a:
        out.add(target / a)
    if target:
        out.add(a / target)
    return out


@lru_cache(maxsize=50_000)
def can_make(state: State, target: Fraction) -> bool:
    """Whether combining all numbers of a sorted state can make the target."""
    if len(state) <= 4:
        return target in values(state)
    for part, rest in splits(state):
        for a in values(part):
            if a == 0 and target == 0:
                return True  # nothing times anything
            for b in partners(a, target):
                if can_make(rest, b) and _joins(a, b, target):
                    return True
    return False


def _joins(a: Fraction, b: Fraction, target: Fraction) -> bool:
    return target in (a + b, a - b, b - a, a * b) or bool((b and a / b == target) or (a and b / a == target))


def hopeless(state: Sequence[Fraction], target: Fraction, use_all: bool = True) -> bool | None:
    """Whether no way is left from a state to the target; None where the state is beyond the bounds of the solver.

    `use_all`: every number has to be used; otherwise any part of them may make the target.
    """
    if len(state) > MAX_NUMBERS or any(abs(x.numerator) > MAX_SIZE or x.denominator > MAX_SIZE for x in state):
        return None
    whole = tuple(sorted(state))
    sizes = (len(whole),) if use_all else range(1, len(whole) + 1)
    return not any(can_make(part, target) for size in sizes for part in set(combinations(whole, size)))
