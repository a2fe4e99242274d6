"""The refusal direction (end of the prompt) and the harmfulness direction (end of the request), at all layers.

Refusal is read at the template's tokens after the instruction (arXiv 2406.11717), of which the last is the primary site;
harmfulness at the last token of the user's own words (2507.11878). Both only recognise, until a causal test says more.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..domains import Domain
from ..protocol import INSTRUCTION_END, LAST_PROMPT, TEMPLATE
from .concept_direction import ConceptDirection, Site


class RefusalDirection(ConceptDirection):
    """Harmful requests against their safe look-alikes."""

    name = "refusal_direction"
    version = 2
    prompt_set = "refusal"
    sites = (
        Site("refusal", LAST_PROMPT),
        Site("refusal_template", TEMPLATE, template=True),
        Site("harmfulness", INSTRUCTION_END),
    )

    def there(self, domains: Mapping[str, Domain]) -> bool:
        return {"harmful", "safe"} <= set(domains)
