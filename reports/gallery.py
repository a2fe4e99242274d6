"""The figures of a run's page, in order."""

from __future__ import annotations

from collections.abc import Callable

from .figures_of_answers import differences, incidence, lengths, scores, split, thinking
from .figures_of_change import (
    auc_map,
    backtracking,
    backtracking_company,
    causal_pair,
    cosine_map,
    heldout,
    refusal,
    training,
)
from .figures_of_choice import tradeoff
from .panels import Figure
from .source import Source

BUILDERS: tuple[Callable[[Source], Figure | None], ...] = (
    *(scores, differences, split),
    *(lengths, thinking, incidence),
    *(backtracking, backtracking_company),
    *(refusal, causal_pair),
    *(cosine_map, auc_map),
    tradeoff,
    *(heldout, training),
)


def gallery(source: Source) -> list[Figure]:
    """Every figure for which the run has data, each with what it shows, what it does not show, and its data as a table."""
    found = [build(source) for build in BUILDERS]
    return [figure for figure in found if figure is not None]
