"""The search traces of a domain's responses, read once for all the probes that count something in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .comparisons import Comparing, Comparison, said_of_moves
from .domains import Domain, Item, Response
from .search import FreeText, Move, SearchDomain


@dataclass(frozen=True)
class SearchTrace:
    """One response as a search. `text` is the part in which the search stands; `moves` index its words (white space apart)."""

    text: str
    moves: list[Move]
    comparisons: list[Comparison]

    @property
    def words(self) -> list[str]:
        return self.text.split()


def read_traces(domain: Domain, items: Sequence[Item], responses: Sequence[Response]) -> list[SearchTrace]:
    """One trace a response. Raises TypeError for a domain without search."""
    if not isinstance(domain, SearchDomain):
        raise TypeError(f"{domain.name} has no search traces")
    found = []
    for item, response in zip(items, responses, strict=True):
        text = domain.thinking(response) if isinstance(domain, FreeText) else response.think
        moves = domain.read_trace(item.reference, text)
        if isinstance(domain, Comparing):
            comparisons = domain.comparisons(item.reference, text)
        else:
            comparisons = said_of_moves(text.split(), moves)
        found.append(SearchTrace(text, moves, comparisons))
    return found
