"""The directions of dead ends in a search trace: known at the move's last token, acted upon at the word after it.

Dead ends are found in the structure of worked traces, and compared with moves of the same domain, depth and place in the
trace. At the word after the move the classes differ by that word itself ("no"), so that reading them apart there says
nothing; going back or giving up is decided there, so that this is the site for interventions. Whether a dead end is *known*
is asked one token earlier, where the words of both classes are alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..dead_ends import worked_domains
from ..domains import Domain
from ..protocol import AFTER_MOVE, MOVE_END
from .concept_direction import ConceptDirection, Site


class BacktrackingDirection(ConceptDirection):
    """Dead ends of worked traces against matched moves that are none."""

    name = "backtracking_direction"
    version = 1
    prompt_set = "backtracking"
    sites = (Site("dead_end", MOVE_END), Site("backtracking", AFTER_MOVE))

    def there(self, domains: Mapping[str, Domain]) -> bool:
        return bool(worked_domains(domains.values()))
