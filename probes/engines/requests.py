"""What engines share: a seed for every sample, and thinking that is closed where its budget is spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .base import Completion, Request, Sampling, ThinkBudget

Write = Callable[
    [Sequence[Request], Sampling], list[Completion]
]  # a completion a request; `n` and `budget` are not its concern
SAMPLES = 101  # of a prompt, up to which the seeds of the next prompt's are where they always were


def complete(write: Write, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
    """`sampling.n` completions a prompt, by an engine that writes one a request.

    Raises ValueError for an empty prompt.
    """
    if any(len(p) == 0 for p in prompts):
        raise ValueError("an empty prompt cannot be continued")
    samples = [(i, s) for i in range(len(prompts)) for s in range(sampling.n)]
    apart = max(SAMPLES, sampling.n)  # so that no two samples of one call share a seed
    requests = [Request(prompts[i], sampling.seed * 1_000_003 + i * apart + s) for i, s in samples]
    if sampling.budget is None or sampling.budget.tokens >= sampling.max_new_tokens:
        return write(requests, sampling)
    return _within_budget(write, requests, sampling, sampling.budget)


def _within_budget(
    write: Write, requests: Sequence[Request], sampling: Sampling, budget: ThinkBudget
) -> list[Completion]:
    """Write up to the budget; go on from there, with thinking closed where it is still open.

    Budget forcing as in s1 (arXiv 2501.19393, section 3.1), the end of thinking alone.
    """
    done = write(requests, replace(sampling, max_new_tokens=budget.tokens))
    for forced in (False, True):  # rows of one pass have written equally much, so that one limit serves them all
        ended = budget.close if forced else ()
        left = sampling.max_new_tokens - budget.tokens - len(ended)
        rows = [
            i
            for i, (request, c) in enumerate(zip(requests, done, strict=True))
            if c.finish == "length"
            and len(c.token_ids) == budget.tokens
            and _thinks([*request.prompt, *c.token_ids], budget) == forced
        ]
        if not rows:
            continue
        begun = {i: [*done[i].token_ids, *ended][: sampling.max_new_tokens] for i in rows}
        if left < 1:
            for i in rows:
                done[i] = Completion(begun[i], "length")
            continue
        # A seed of their own: with the first pass's, draws would be repeated.
        again = [Request([*requests[i].prompt, *begun[i]], requests[i].seed + 500_000_003) for i in rows]
        for i, rest in zip(rows, write(again, replace(sampling, max_new_tokens=left)), strict=True):
            done[i] = Completion(begun[i] + rest.token_ids, rest.finish, rest.end)
    return done


def _thinks(ids: Sequence[int], budget: ThinkBudget) -> bool:
    return _last(ids, budget.open) > _last(ids, budget.close)


def _last(ids: Sequence[int], part: tuple[int, ...]) -> int:
    """Where a sequence of ids last begins in another; -1 where it does not."""
    starts = (k for k in range(len(ids) - len(part), -1, -1) if tuple(ids[k : k + len(part)]) == part)
    return next(starts, -1)
