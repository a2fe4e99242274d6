"""Which runs are seeds of one arm: the same base model, data and settings, and another seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import DataError
from ..record import Run
from ..storage import content_key

# Settings that say how and where a run was kept or measured, not what was trained (train/run_info.py keeps the same list).
_ELSEWHERE = ("seed", "data_seed", "name", "tracking", "threads", "on_alert", "analysis", "output_dir", "run_name")


def arm_of(run: Run) -> str:
    """A key that runs differing in nothing but their seed have in common.

    Read from run.json: the base model's and the data's hashes, and the settings without seeds and paths. A run whose record
    does not say how it was trained (probed checkpoints of unknown origin) is alone in its arm.
    """
    info = run.info
    if not isinstance(info.get("config"), dict):
        return content_key("unknown", str(run.path.resolve()))
    config = _without(info["config"], _ELSEWHERE)
    for section in ("model", "data"):  # their content is told by hashes
        if isinstance(config.get(section), dict):
            config[section] = _without(config[section], ("path", "tokenizer", "heldout"))
    data = info.get("data")
    return content_key(_content(info.get("base")), data.get("sha256", data) if isinstance(data, dict) else data, config)


def check_distinct(runs: Sequence[Run]) -> None:
    """Raises DataError where two are the same run: a copy is no further seed, and related with itself perfectly."""
    seen: dict[Any, Run] = {}
    for run in runs:
        same = run.info.get("config_hash"), run.info.get("seed"), _content(run.info.get("base"))
        key = content_key(*same, (run.info.get("data") or {}), run.info.get("sources"))
        if key in seen:
            raise DataError(
                f"{seen[key].path} and {run.path} are the same run (config hash {same[0]!r}): give runs that differ in their "
                "seed, each once"
            )
        seen[key] = run


# ---------------------------------------------------------------- parts


def _without(config: Any, names: Sequence[str]) -> Any:
    """A mapping without these keys, at any depth."""
    if not isinstance(config, dict):
        return config
    return {k: _without(v, names) for k, v in config.items() if k not in names}


def _content(base: Any) -> Any:
    """A base without the places where it lay."""
    if not isinstance(base, dict):
        return base
    hashed = {k: v for k, v in base.items() if k not in ("path", "tokenizer")}
    return hashed or base
