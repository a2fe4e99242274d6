"""Item level: do the prompts whose x changed most have the y that changed most? Hundreds of units where a run has a clock.

At every checkpoint the mean change over prompts is removed, so that no trend which all prompts share can make a relation.
The prompts are the units: checkpoints of one prompt are correlated without limit. Values at the base are no covariates:
given a noisy x at the base, its later change tells how hard the prompt is, and so does y's (a collider; in simulation it
makes half of all unrelated pairs look related). Prompts that are learnt sooner (easier ones) change in all metrics sooner:
a relation between prompts, which only an intervention tells from an effect of x on y.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ..errors import DataError
from ..statistics.intervals import LEVEL
from ..storage import content_key
from .one_run import Association

NULL = "clustered t of per-prompt changes from base, checkpoint means removed"
MIN_PROMPTS = 20
MIN_RUNS = 5  # from here on runs are units too; below, the result is about these runs


def item_association(
    x: Sequence[pd.DataFrame], y: Sequence[pd.DataFrame], clusters: Mapping[str, object] | None = None
) -> Association:
    """Correlation over prompts of the change from base in x with that in y, pooled over later checkpoints (and runs).

    `x` and `y` hold a table items x steps a run; items and steps that both have are used, the first step being the base.
    `clusters` maps items to what they share (a question); prompts are the units, and with five runs or more the runs too:
    the larger of the two p counts. Undefined, with the reason, below 20 prompts or where nothing changed.
    """
    if len(x) != len(y) or not x:
        raise DataError(f"{len(x)} runs of x for {len(y)} of y: give one table of each a run")
    parts, names, pairs = [], [], 0
    for a, b in zip(x, y, strict=True):
        items = a.index.intersection(b.index)
        steps = sorted(set(a.columns) & set(b.columns))
        ax, by = (t.loc[items, steps].to_numpy(float) for t in (a, b))
        known = ~np.isnan(np.hstack([ax, by])).any(axis=1)
        if len(steps) < 2 or known.sum() < 2:
            continue
        parts.append(moments(ax[known], by[known]))
        names.append(np.array([str(clusters[i]) if clusters else str(i) for i in items[known]], dtype=object))
        pairs += int(known.sum()) * (len(steps) - 1)
    n = len(set(np.concatenate(names))) if names else 0
    if n < MIN_PROMPTS:
        return Association.undefined(
            pairs, f"{n} prompts have both at two checkpoints, {MIN_PROMPTS} are needed", n_items=n
        )
    s_C3 = _by_cluster(np.concatenate(parts), np.concatenate(names))
    value, lo, hi, p = (float(v) for v in correlation(s_C3[None])[:, 0])
    if math.isnan(value):
        what = "x" if s_C3[:, 1].sum() <= 0 else "y"
        return Association.undefined(
            pairs, f"{what} changed in no prompt, or in all alike", n_seeds=len(parts), n_items=n
        )
    reason = ""
    if len(parts) >= MIN_RUNS:
        by_run = correlation(np.stack([part.sum(axis=0) for part in parts])[None])[:, 0]
        if by_run[3] > p:
            lo, hi, p = (float(v) for v in by_run[1:])
    elif len(parts) > 1:
        reason = f"prompts are the units: of these {len(parts)} runs only"
    return Association(0, value, lo, hi, p, pairs, float(n), reason, n_seeds=len(parts), n_items=n)


def moments(x: NDArray, y: NDArray) -> NDArray:
    """Sums over checkpoints of xy, xx and yy of each item's changes [..., items, 3], from values [..., items, T], base first.

    Changes are from base, less their mean over items at each checkpoint.
    """
    e = []
    for values in (x, y):
        d = values[..., 1:] - values[..., :1]
        left = d - d.mean(axis=-2, keepdims=True)
        e.append(np.where(np.abs(left) > 1e-9 * np.abs(d).max(initial=0.0), left, 0.0))  # the rest is rounding
    return np.stack([np.sum(a * b, axis=-1) for a, b in ((e[0], e[1]), (e[0], e[0]), (e[1], e[1]))], axis=-1)


def correlation(s_BC3: NDArray) -> NDArray:
    """Value, lo, hi and p [4, B] of pooled correlations from the moments of their clusters [B, C, 3].

    p: one-sample t of the clusters' sums of xy (the score of no relation; heavy tails make it careful, not bold). Interval:
    delta method on Fisher's z from the clusters' influence (Cameron & Miller 2015 for the clustering), never narrower than p
    has it.
    """
    n = s_BC3.shape[1]
    total = s_BC3.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        u = s_BC3[..., 0]
        t = np.abs(u.mean(axis=1)) / (u.std(axis=1, ddof=1) / math.sqrt(n))
        p = 2 * stdtr(n - 1, -t)
        scale = np.sqrt(total[..., 1] * total[..., 2])
        r = total[..., 0] / scale
        influence = u / scale - r / 2 * (s_BC3[..., 1] / total[..., 1] + s_BC3[..., 2] / total[..., 2])
        r = np.clip(r[:, 0], -1 + 1e-12, 1 - 1e-12)
        z = np.arctanh(r)
        se = np.sqrt(n / (n - 1) * np.square(influence).sum(axis=1)) / (1 - r * r)
        half = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * np.maximum(se, np.where(t > 0, np.abs(z) / t, 0.0))
        return np.stack([r, np.tanh(z - half), np.tanh(z + half), p])


def halves_of_samples(
    x: pd.DataFrame, y: pd.DataFrame, clusters: Mapping[str, object]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """x from one half of each question's samples, y from the other: questions x steps, those with two samples or more.

    For metrics of the same generations: a response that runs into the cap is long and wrong at once, which is no relation
    between a prompt's length and its score. The split is by content, so it is the same at every checkpoint.
    """
    members: dict[str, list[str]] = {}
    for item in sorted(x.index.intersection(y.index), key=lambda i: content_key("half", str(i))):
        members.setdefault(str(clusters[item]), []).append(item)
    question = {i: c for c, items in members.items() if len(items) > 1 for i in items}
    halves = ([i for i in question if members[question[i]].index(i) % 2 == k] for k in (0, 1))
    a, b = (t.loc[half].groupby([question[i] for i in half]).mean() for t, half in zip((x, y), halves, strict=True))
    return a, b


# ---------------------------------------------------------------- parts


def _by_cluster(s_N3: NDArray, names: NDArray) -> NDArray:
    _, code = np.unique(names, return_inverse=True)
    return np.stack([np.bincount(code, column) for column in s_N3.T], axis=-1)
