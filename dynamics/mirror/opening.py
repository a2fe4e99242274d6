"""How a W&B run is opened: offline unless asked otherwise, its files in the run folder, its axis the training step."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from ..errors import ConfigError
from ..record import Run
from ..storage import content_key
from .rows import STEP, tracking_of

if TYPE_CHECKING:
    import wandb

FOLDER = "wandb"  # of the run folder
STAGED = "staged"  # in it: files of artifacts until they are uploaded
PROJECT = "sftscope"
Mode = Literal["offline", "online", "disabled"]
OLD_NAMES = {"dryrun": "offline", "run": "online"}  # which W&B still takes


def chosen_mode(setting: str | None) -> tuple[Mode, str]:
    """The mode to open in, and a note where it is not the one that was asked for.

    The variable WANDB_MODE wins over `setting`; neither means offline. Online is offline too where W&B cannot be
    reached or takes no account. Raises ConfigError for a mode that there is not.
    """
    asked = os.environ.get("WANDB_MODE") or setting or "offline"
    mode = OLD_NAMES.get(asked, asked)
    if mode not in get_args(Mode):
        raise ConfigError(f"the variable WANDB_MODE is {asked!r}: give {', '.join(get_args(Mode))}, or unset it")
    if mode == "online" and (why := _why_offline()):
        return "offline", f"{why}, so nothing is sent"
    return cast(Mode, mode), ""


def _why_offline() -> str:
    """What speaks against going online, in words; empty where W&B takes the account. Asks nobody anything."""
    import wandb

    try:
        known = wandb.login(prompt=False)
    except wandb.errors.Error as error:  # a key that is none, or is another server's, or no network
        return f"W&B does not take the account that is known here ({' '.join(str(error).split())})"
    return "" if known else "no W&B account is known here (`wandb login` tells it)"


def how_to_sync(folders: Path | str) -> str:
    """What to say once where W&B's files stay on this machine."""
    return f"W&B is offline: everything is in the run folder; with an account, `wandb sync {folders}` uploads it"


def training_id(run: Run) -> str:
    """The id of the run's own W&B run: it stays the run's when it is resumed, and is another's nowhere."""
    return content_key(run.info.get("config_hash"), run.info.get("created"), length=16)


def init_arguments(
    run: Run, *, name: str, key: str, mode: Mode, folder: Path, job: str | None = None
) -> dict[str, Any]:
    """The arguments of `wandb.init` but the project: one group for a run and what is measured of it later."""
    import wandb

    settings = wandb.Settings(
        console="off",  # the progress bar is not a log
        silent=True,  # its summary would repeat ours
        disable_git=True,
        save_code=False,
        x_save_requirements=False,  # run.json has the versions
        x_disable_stats=True,
        x_disable_machine_info=True,
    )
    return {
        "dir": str(Path(folder).resolve()),  # W&B's own process may have begun in another directory
        "name": name,
        "id": key,
        "group": tracking_of(run).get("group") or run.name,
        "job_type": job,
        "mode": mode,
        # Online, W&B itself ignores rows up to the last step that it has. Offline there is nothing to go on from.
        "resume": "allow" if mode == "online" else None,
        "settings": settings,
    }


def set_axis(tracked: wandb.Run) -> None:
    """Plot every metric against the training step."""
    tracked.define_metric(STEP)
    tracked.define_metric("*", step_metric=STEP)


def folders_of(run: Path, key: str) -> list[Path]:
    """The folders of W&B's files that one W&B run left in a run folder, oldest first."""
    return sorted((Path(run) / FOLDER).glob(f"*run-*-{key}"))


@contextmanager
def staged(run: Path, key: str) -> Iterator[None]:
    """Files of artifacts that are made inside lie in the run folder until they are uploaded, not in the user's home."""
    folder = Path(run).resolve() / FOLDER / STAGED / key
    there = os.environ.get("WANDB_DATA_DIR")
    if there is not None:  # the user's choice
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def artifact_name(run: Run, kind: str) -> str:
    """The name of a run's artifacts of one kind; versions are told apart by their aliases, `step-000020`."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", run.name)[:80]
    return f"{plain}-{training_id(run)[:6]}-{kind}"
