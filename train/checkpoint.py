"""Checkpoints for others to read, `checkpoints/step-…`: weights in Hugging Face layout, written beside the training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..dynamics.errors import CheckpointError
from ..dynamics.storage import MANIFEST, remove_folder, whole_folder, write_manifest
from ..dynamics.weights import base_hash, weights_hash
from .canary import check_saved
from .lora import is_adapted, save_adapter, saved_state

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def write_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    step: int,
    *,
    canary: Mapping[str, Any] | None = None,
    state_dict: Mapping[str, torch.Tensor] | None = None,
    verify: bool = False,
) -> None:
    """Write the weights and tokenizer in Hugging Face layout with a manifest of hashes; complete or not at all.

    Of a peft model only the adapter is written. The manifest also holds `step`, `weights` (one hash over the safetensors
    files, and an adapter's base) and `canary`. `state_dict` stands in for the model's own `saved_state`. With `verify`,
    the weights are loaded again and compared with the canary before the folder appears: CheckpointError where they
    differ, and where the disk does not take them.
    """
    try:
        with whole_folder(folder) as aside:
            if is_adapted(model):
                save_adapter(model, aside, saved_state(model) if state_dict is None else state_dict)
            else:  # a copy of the mapping, not of the tensors: transformers takes out what it has written
                model.save_pretrained(aside, state_dict=None if state_dict is None else dict(state_dict))
            tokenizer.save_pretrained(aside)
            manifest = write_manifest(aside, {"step": step, **({"canary": canary} if canary else {})})
            hashes = {name: e["sha256"] for name, e in manifest["files"].items() if name.endswith(".safetensors")}
            manifest["weights"] = weights_hash(hashes | base_hash(aside))
            (aside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
            if verify:
                check_saved(aside, manifest)
    except OSError as error:
        raise CheckpointError(
            f"{folder} could not be written ({error}): free space or mend the disk, then go on with --resume"
        ) from error


class CheckpointWriter:
    """Writes checkpoints on a thread of its own, one at a time, from a copy of the weights on the CPU.

    Training goes on as soon as the copy is made; the copy's memory (one model's worth) is allocated once and used
    again. A write that failed raises in the training thread: at the next `check`, `wait` or `write`, or on leaving the
    context, which waits for the write under way also when training ends with an error.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._buffers: dict[str, torch.Tensor] = {}

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self._pending.exception() if self._pending is not None else None
        self._pool.shutdown()
        if failure is None:
            return
        if error is None:
            raise failure
        error.add_note(f"Beside that, a checkpoint failed: {failure}")

    def write(
        self,
        folder: Path,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        step: int,
        *,
        canary: Mapping[str, Any] | None,
        state_dict: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Begin to write a checkpoint, after the one under way has ended. `state_dict`, where given, is not copied."""
        self.wait()
        state = self._copy(saved_state(model)) if state_dict is None else state_dict
        self._pending = self._pool.submit(
            write_checkpoint, folder, model, tokenizer, step, canary=canary, state_dict=state
        )

    def check(self) -> None:
        """Raise what a write that has ended raised; one under way is left alone."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written; raise what the write raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _copy(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors in buffers on the CPU; tied ones share theirs, by which transformers knows them as tied."""
        import torch

        copies: dict[str, torch.Tensor] = {}
        known: dict[tuple[Any, ...], torch.Tensor] = {}
        for name, tensor in state.items():
            place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            if place not in known:
                if name not in self._buffers:
                    self._buffers[name] = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
                known[place] = self._buffers[name].copy_(tensor, non_blocking=tensor.is_cuda)
            copies[name] = known[place]
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the next update must not overtake the copy
        return copies


def drop_later(run: Path, step: int) -> None:
    """Remove checkpoints after `step`, the loss on held-out rows there, and leavings of a kill: a resumed run trains those
    steps again.

    On one CPU the new ones are equal to the bit; on a GPU they may not be, and a folder never mixes two trajectories.
    """
    root = Path(run) / "checkpoints"
    for folder in sorted(root.glob("step-*")):
        if int(folder.name.removeprefix("step-")) > step:
            remove_folder(folder)
    for file in Path(run).glob("measurements/step-*/heldout-*.parquet"):
        if int(file.parent.name.removeprefix("step-")) > step:
            file.unlink()
    for leaving in root.glob(".*.tmp"):
        shutil.rmtree(leaving, ignore_errors=True)
