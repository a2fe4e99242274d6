"""For those who train with Hugging Face's Trainer or TRL: the same checkpoints and the same record, by a callback."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..dynamics.errors import ConfigError, RecordError
from ..dynamics.primaries import check_primaries
from ..dynamics.record import RUN_FILE, Run, config_hash, create_run, step_name
from ..dynamics.settings import to_mapping
from ..dynamics.storage import content_key
from .canary import take_canary
from .checkpoint import CheckpointWriter, drop_later, write_checkpoint
from .hooks import CheckpointHook, run_hooks
from .lora import is_adapted, plain
from .model import ModelConfig, base_identity, check_tokenizer
from .progress import quiet_libraries
from .requests import SAVE_FILE
from .run_info import versions
from .schedule import CheckpointsConfig, checkpoint_steps
from .steps_file import open_steps

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What of the Trainer's arguments decides the result: two runs that differ in one of these are not one run.
DECISIVE = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "optim",
    "bf16",
    "fp16",
    "seed",
    "data_seed",
)
LOGGED = {"loss": "loss", "grad_norm": "grad_norm", "entropy": "entropy", "mean_token_accuracy": "token_accuracy"}


class SftscopeCallback(TrainerCallback):
    """Records a Trainer's run in the folder `run` and writes checkpoints there, which `sftscope probe run` measures.

        trainer = Trainer(..., callbacks=[SftscopeCallback("runs/mine", CheckpointsConfig(log2=True, every=50))])

    Weights are saved at the steps of `checkpoints`, and when the file `save` appears in the folder; `hooks` are called
    on each, and `primary` is declared as in a recipe. steps.jsonl gets a row per step; its loss and gradient norm are
    what the Trainer logs, so `logging_steps=1` gives them for every step (else the mean since the last log, with
    `loss_steps` saying over how many). Training itself is left as it is: no log is added, and random generators,
    gradients and modes are restored. The first process writes and the others wait for it at their next exchange.

    Of a peft model the adapter is saved, and `hooks` are shown the plain model with the adapter merged into it.

    Raises, before the first step: ConfigError for what cannot be saved whole (sharded models, a Trainer without
    `processing_class`), RecordError for a folder that holds another run or this one, begun.
    """

    def __init__(
        self,
        run: Path | str,
        checkpoints: CheckpointsConfig | None = None,
        *,
        primary: Sequence[str] = (),
        hooks: Sequence[CheckpointHook] = (),
    ) -> None:
        self.run, self.checkpoints = Path(run), checkpoints or CheckpointsConfig()
        check_primaries(primary)
        self.primary, self.hooks = tuple(primary), tuple(hooks)
        if self.checkpoints.resume_every is not None:
            raise ConfigError(
                f"`resume_every` is {self.checkpoints.resume_every}: the Trainer saves its own state; set its `save_steps`"
            )
        self._open = ExitStack()
        self._writer: CheckpointWriter | None = None
        self._steps: TextIO | None = None
        self._planned: set[int] = set()
        self._row: dict[str, Any] | None = None  # of the last step, until its log has come
        self._lr, self._cumulative_lr, self._logged = 0.0, 0.0, 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check, write run.json, and save the base; or go on where the Trainer resumes."""
        model, tokenizer = self._checked(kwargs)
        planned = checkpoint_steps(state.max_steps, self.checkpoints)
        self._planned, self._logged = set(planned), state.global_step
        if not state.is_world_process_zero:
            return
        begun = (self.run / RUN_FILE).is_file()
        if begun and state.global_step == 0:
            raise RecordError(
                f"{self.run} holds a run, and this one begins at step 0: give another folder, delete it, or go on with "
                "`trainer.train(resume_from_checkpoint=True)`"
            )
        create_run(self.run, self._info(args, state, model, kwargs["train_dataloader"], planned))
        drop_later(self.run, state.global_step)
        self._cumulative_lr = self._learnt_before(state.global_step)
        self._steps = self._open.enter_context(open_steps(self.run))
        self._writer = self._open.enter_context(CheckpointWriter())
        if state.global_step in self._planned:
            self._save(model, tokenizer, state.global_step)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note the learning rate of this update: after it, the scheduler has moved on."""
        self._lr = float(kwargs["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Begin the step's row; save where a checkpoint is due or asked for."""
        if self._steps is None:
            return
        self._write_row()
        self._cumulative_lr += self._lr
        self._row = {"step": state.global_step, "lr": self._lr, "epoch": state.epoch}
        if math.isfinite(self._cumulative_lr):
            self._row["cumulative_lr"] = self._cumulative_lr
        if state.num_input_tokens_seen:
            self._row["tokens"] = int(state.num_input_tokens_seen)
        asked = (self.run / SAVE_FILE).exists()
        if asked or state.global_step in self._planned:
            self._save(kwargs["model"], kwargs["processing_class"], state.global_step)
        if asked:
            self._written().wait()
            (self.run / SAVE_FILE).unlink(missing_ok=True)
        self._written().check()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Complete the row with what the Trainer says of the steps since its last log."""
        if self._row is None or logs is None or "loss" not in logs:
            return
        self._row |= {ours: float(logs[theirs]) for theirs, ours in LOGGED.items() if theirs in logs}
        self._row["loss_steps"] = state.global_step - self._logged
        if "num_tokens" in logs:  # TRL's count, kept where the Trainer keeps none
            self._row.setdefault("tokens", int(logs["num_tokens"]))
        self._logged = state.global_step
        self._write_row()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the last row, and the last weights of a run that was stopped early; wait for what is being written."""
        if self._steps is None:
            return
        self._write_row()
        # The best weights, where the Trainer has loaded them, are not those of the last step.
        there = self._folder(state.global_step).exists()
        if self.checkpoints.last and not there and not args.load_best_model_at_end:
            self._save(kwargs["model"], kwargs["processing_class"], state.global_step)
        self._steps = None
        self._open.close()

    # ------------------------------------------------------------ parts

    def _checked(self, given: dict[str, Any]) -> tuple[Any, PreTrainedTokenizerBase]:
        model, tokenizer = given["model"], given["processing_class"]
        sharding = AcceleratorState().distributed_type
        if sharding in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
            raise ConfigError(
                f"{sharding.value} spreads the weights over processes, which a callback cannot gather: leave it out, set "
                "`save_steps`, and run `sftscope probe OUTPUT_DIR -o RUN` on the Trainer's own checkpoints"
            )
        if not isinstance(plain(model), PreTrainedModel):
            raise ConfigError(
                f"the model is a {type(model).__name__}, neither a transformers PreTrainedModel nor peft's of one: save "
                "models of that kind yourself, and run `sftscope probe FOLDER -o RUN` on those"
            )
        if is_adapted(model):
            base, kind = plain(model).name_or_path, model.active_peft_config
            if not base:
                raise ConfigError(
                    "the adapted model was not read from a folder or the hub: save it, and load it from there"
                )
            if kind.is_prompt_learning:
                raise ConfigError(
                    f"{kind.peft_type.value} puts prompts before the input, which cannot be merged into weights for "
                    "probes: use an adapter of layers, such as LoRA"
                )
        if tokenizer is None:
            raise ConfigError("the Trainer has no tokenizer to save beside the weights: give it `processing_class=…`")
        check_tokenizer(tokenizer, str(getattr(tokenizer, "name_or_path", "") or "the Trainer's `processing_class`"))
        return model, tokenizer

    def _info(
        self, args: TrainingArguments, state: TrainerState, model: Any, batches: Any, planned: list[int]
    ) -> dict[str, Any]:
        told = args.to_dict()  # enumerations as text, tokens hidden
        decisive = {name: told[name] for name in DECISIVE} | {"processes": args.world_size, "steps": state.max_steps}
        name, accumulated = str(plain(model).name_or_path), args.gradient_accumulation_steps
        size = args.per_device_train_batch_size * max(args.n_gpu, 1) * accumulated * args.world_size
        plan = {
            "total_steps": state.max_steps,
            "warmup_steps": args.get_warmup_steps(state.max_steps),
            "checkpoints": planned,
        }
        data: dict[str, Any] = {"path": "the Trainer's train_dataset"}
        if hasattr(batches.dataset, "__len__"):  # a stream has no length
            data["rows"] = len(batches.dataset)
            plan["steps_per_epoch"] = -(-len(batches) // accumulated)
        checkpoints = {k: v for k, v in to_mapping(self.checkpoints).items() if k not in ("async_write", "verify")}
        declared = list(self.primary)
        return {
            "config": {
                "trainer": decisive,
                "checkpoints": checkpoints,
                "batch": {"size": size},
                "optim": {"lr": args.learning_rate},
            },
            "config_hash": config_hash({"trainer": decisive, "checkpoints": checkpoints}),
            "base": base_identity(ModelConfig(path=name)) if Path(name).is_dir() else {"path": name},
            "primaries": {"declared": declared, "sha256": content_key(declared, length=64)},
            "data": data if "rows" in data else None,
            "plan": plan,
            "versions": versions(peft=is_adapted(model)),
        }

    def _learnt_before(self, step: int) -> float:
        """The learning rates summed up to `step`; NaN where the record does not reach it."""
        if step == 0:
            return 0.0
        rows = Run(self.run).steps().reindex(columns=["step", "cumulative_lr"])
        there = rows.loc[rows["step"] == step, "cumulative_lr"]
        return float(there.iloc[0]) if len(there) else math.nan

    def _written(self) -> CheckpointWriter:
        assert self._writer is not None
        return self._writer

    def _write_row(self) -> None:
        if self._row is not None and self._steps is not None:
            self._steps.write(json.dumps(self._row) + "\n")
            self._steps.flush()
        self._row = None

    def _save(self, model: Any, tokenizer: PreTrainedTokenizerBase, step: int) -> None:
        """Write the weights unless they are there, then call the hooks; without hooks, writing is only begun."""
        self._written().wait()
        folder, config = self._folder(step), self.checkpoints
        if not folder.exists():
            precision = str(AcceleratorState().mixed_precision)
            with quiet_libraries():
                # Layers in fp8, and weights that are quantised, compute what no reader of the checkpoint will.
                odd = precision == "fp8" or getattr(plain(model), "is_quantized", False)
                canary = None if odd else take_canary(plain(model))
                if config.async_write and not self.hooks and not config.verify:
                    self._written().write(folder, model, tokenizer, step, canary=canary)
                else:
                    write_checkpoint(folder, model, tokenizer, step, canary=canary, verify=config.verify)
        run_hooks(self.hooks, step, model, folder)

    def _folder(self, step: int) -> Path:
        return self.run / "checkpoints" / step_name(step)
