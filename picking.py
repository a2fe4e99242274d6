"""`sftscope pick`: the checkpoint that a preference takes, printed for people and for scripts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .dynamics.choice.pick import pick
from .dynamics.choice.pick_wording import pick_json, pick_lines
from .dynamics.errors import SftscopeError
from .dynamics.model_text import visible
from .dynamics.record import Run


def print_pick(path: Path, prefer: str, sure: bool, as_json: bool) -> bool:
    """Print the pick; whether there is one."""
    run = Run(path)
    taken = pick(run, prefer, sure=sure, folders=folders_of(run))
    print(json.dumps(pick_json(taken), indent=2) if as_json else visible("\n".join(pick_lines(taken))))
    return taken.step is not None


def folders_of(run: Run) -> dict[int, Path]:
    """Where the checkpoints lie, by step: in the run, or in the folders on this machine that it was probed from.

    Of the latter, those whose own name tells the step: which folder another step was given to is not recorded.
    """
    found = run.checkpoints()
    sources = [Path(s) for s in run.info.get("sources", ()) if Path(s).is_dir()]
    if sources:
        from .dynamics.steps import step_of
        from .probes.finding import find_checkpoints

        try:
            there = {c.step: c.path for c in find_checkpoints([str(s) for s in sources])}
            found = {s: path for s, path in there.items() if step_of(path.name) == s} | found
        except SftscopeError as problem:  # what was measured is all the same there to choose from
            print(visible(f"note: the folders it was probed from cannot be read now: {problem}"), file=sys.stderr)
    return found
