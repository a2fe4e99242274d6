"""What happens at a checkpoint: the weights are written, then measured: held-out rows, the hooks, the alert rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.utils import DistributedType

from ..dynamics.record import Run, step_name
from ..dynamics.types import Measurement
from ..dynamics.watching import News, checkpoint_alerts
from .canary import take_canary
from .checkpoint import CheckpointWriter, write_checkpoint
from .compute import gather
from .heldout import HeldOut
from .hooks import CheckpointHook, run_hooks
from .lora import plain, saved_state
from .tracking import Tracker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .requests import Requests
    from .update import Trainer

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)  # no process holds the whole model


@dataclass(frozen=True)
class AtCheckpoint:
    """Called with the step, in every process."""

    trainer: Trainer
    tokenizer: PreTrainedTokenizerBase
    run: Path
    hooks: Sequence[CheckpointHook]
    heldout: HeldOut
    tracker: Tracker
    say: Callable[[str], None]
    news: News = field(default_factory=News)

    def __call__(self, step: int, writer: CheckpointWriter, requests: Requests) -> None:
        """Write the weights unless they are there, and measure them; a new alert is told, and acted on by `on_alert`.

        Without hooks, writing is only begun here; with them it ends here, and then a copy of the weights would be for
        nothing. An alert's request is made on the first process, and heard by all after the next step.
        """
        accelerator = self.trainer.accelerator
        sharded = accelerator.distributed_type in SHARDED
        model = accelerator.unwrap_model(self.trainer.model)
        self._write(step, model, writer, sharded=sharded)
        measured: list[Measurement] = []
        if sharded:  # its forward pass is a collective: every process takes part
            measured += self.heldout.measure(self.trainer, self.trainer.model, step)
        if accelerator.is_main_process:
            if not sharded:
                measured += self.heldout.measure(self.trainer, model, step)
            hooked, _ = run_hooks(self.hooks, step, model, checkpoint_folder(self.run, step))
            measured += hooked
            if measured:
                self.tracker.measured(step, measured)
            self.tracker.checkpoints()
            if hooked:
                self._alert(step, requests)
        accelerator.wait_for_everyone()

    def _write(self, step: int, model: Any, writer: CheckpointWriter, *, sharded: bool) -> None:
        accelerator, config = self.trainer.accelerator, self.trainer.config.checkpoints
        folder = checkpoint_folder(self.run, step)
        state = canary = None
        if sharded:  # collectives, both of them
            whole: Any = self.trainer.model  # not the inner model: only the outer one's hooks gather its own weights
            state = gather(accelerator, whole)
            if accelerator.is_fsdp2:  # its forward pass is in the dtype that it was told to gather its weights in
                canary = take_canary(whole, self.trainer.config.model.compute)
        if not accelerator.is_main_process or folder.exists():
            return
        if sharded:
            state = saved_state(model, state)
        else:
            canary = take_canary(plain(model))
        if config.async_write and not self.hooks and not config.verify:
            writer.write(folder, model, self.tokenizer, step, canary=canary, state_dict=state)
        else:
            write_checkpoint(folder, model, self.tokenizer, step, canary=canary, state_dict=state, verify=config.verify)

    def _alert(self, step: int, requests: Requests) -> None:
        record = Run(self.run)
        self.news.know(record, before=step)
        for alert in self.news.of(checkpoint_alerts(record, step)):
            self.say(f"alert        {alert.sentence}")
            self.tracker.alert(alert)
            if self.trainer.config.on_alert != "warn":
                requests.make(self.trainer.config.on_alert)


def checkpoint_folder(run: Path, step: int) -> Path:
    return run / "checkpoints" / step_name(step)
