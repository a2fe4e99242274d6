"""The process that compares answers in mathematics: one question a line on standard input, one verdict a line on standard output.

This file stands alone and is started by its path. Its time for a question is the processor's, and when that is over it ends: the
signal of the clock is left to the kernel, as Python hands a signal on only between two of its own steps, and a power tower is
one step. A second clock runs by the wall, so that nothing goes on when whoever asked is gone.
"""

from __future__ import annotations

import json
import logging
import math
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

MEMORY_BYTES = 4 << 30


def main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no verdict
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    clocks = (signal.SIGPROF, signal.SIGALRM)
    for clock in clocks:
        signal.signal(
            clock, signal.SIG_DFL
        )  # the kernel ends the process; whoever started it may have had them ignored
    signal.pthread_sigmask(signal.SIG_UNBLOCK, clocks)
    try:
        compare, readable = comparison()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=out, flush=True)
        return
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, question["cpu_s"])
        signal.alarm(math.ceil(question["wall_s"]))
        try:
            if "answer" in question:
                verdict = compare(question["answer"], question["gold"], question["boxed"])
            else:
                verdict = {"readable": readable(question["gold"])}
        except MemoryError:
            verdict = {"failed": f"comparing it took more than {MEMORY_BYTES >> 30} GiB"}
        except (Exception, RecursionError) as error:  # noqa: BLE001 - any error of computer algebra costs this answer only
            verdict = {"failed": f"comparing it failed ({type(error).__name__})"}
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        print(json.dumps(verdict), file=out, flush=True)


def comparison() -> tuple[Callable[[str, str, bool], dict[str, Any]], Callable[[str], bool]]:
    """The function that compares, and the one that says whether a right answer can be read. Raises ImportError."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    boxed_only = [LatexExtractionConfig(boxed_match_priority=0)]
    anything = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    parse("$1$", parsing_timeout=None)  # the grammar is built at the first use

    def read(gold: str) -> list[Any]:
        return parse(f"\\boxed{{{gold}}}", boxed_only, parsing_timeout=None)

    def compare(answer: str, gold: str, boxed: bool) -> dict[str, Any]:
        right = read(gold)
        if not right:
            return {"failed": "the right answer cannot be read as mathematics"}
        text = f"\\boxed{{{answer}}}" if boxed else answer
        given = parse(text, boxed_only if boxed else anything, parsing_timeout=None)
        # Where the right answer is mathematics, a mere text is no answer; where it is a word, a word is one.
        if not given or (symbolic(right) and not symbolic(given)):
            return {"parsed": False}
        if verify(right, given, timeout_seconds=None):
            return {"parsed": True, "correct": True}
        verify(right, given, timeout_seconds=None, raise_on_error=True)  # "no" because of an error is no "no"
        return {"parsed": True, "correct": False}

    def symbolic(found: list[Any]) -> bool:
        return any(not isinstance(f, str) for f in found)

    return compare, lambda gold: bool(read(gold))


if __name__ == "__main__":
    main()
