"""What can be known of a training run before a GPU hour is spent on it, with what is on this machine: no hub is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dynamics.checks import Check
from .batching import epoch_order
from .config import TrainConfig
from .conversations import template_end
from .data import IGNORED, Example, data_warnings, encode, first_rows, read_heldout
from .disk import MOMENTS, DiskBudget, disk_budget_of, size
from .footprint import BYTES, MFU, PEAK_FLOPS, PEAK_GPU, Shape, gpu_hours, read_shape
from .model import known_architecture, load, load_tokenizer
from .packing import fill_share
from .plan import Plan, check_positions, make_plan
from .preview import preview
from .progress import quiet_libraries
from .records import Conversation, Records, is_hub, read_records
from .schedule import checkpoint_steps, total_steps, warmup_steps
from .tracking import check_tracker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRIED_BYTES = 4 << 30  # weights up to this are loaded to try packing on them; the run itself tries larger ones
SHOWN = 160  # tokens of the row in the preview
GAP = "not on this machine"


@dataclass(frozen=True)
class Outlook:
    """The checks of a run, and its rows where they are on this machine."""

    checks: list[Check]
    records: Records | None


def checks(config: TrainConfig, run: Path) -> Outlook:
    """Look at model, rows, plan, disk, memory, hours, template, end token and packing, as far as they are at hand.

    Raises an SftscopeError for a mistake that training would stop at; a shortage is a failed check.
    """
    check_tracker(config.tracking)
    fields, folder = known_architecture(config.model)
    tokenizer = _tokenizer(config, folder)
    if config.model.init is not None and tokenizer is not None:
        fields = {"vocab_size": len(tokenizer), **config.model.init}
    shape = read_shape(fields or {})
    found = [_model(config, shape, folder), *_adapters(config, shape)]
    if isinstance(records := _records(config), Check):
        found += [records, *_stated(config, run, shape)]
        return Outlook(found, None)
    if tokenizer is None:
        text = f"{len(records):,} rows can be read; their tokens cannot be counted without the model's tokenizer"
        found += [Check("data", "ok", text), *_stated(config, run, shape, rows=len(records))]
        return Outlook(found, records)
    examples, dropped = encode(records, tokenizer, config.data)
    local = {name: path for name, path in config.data.heldout.items() if not is_hub(path)}
    heldout = read_heldout(tokenizer, replace(config.data, heldout=local))
    plan = make_plan(config, examples, dropped)
    for name, rows in ({"the data": examples} | heldout).items():
        check_positions((fields or {}).get("max_position_embeddings"), rows, name)
    found += [_tokens(config, plan), _steps(config, plan.rows, plan.total_steps, plan.checkpoints)]
    found += _ends(config, records, examples, tokenizer, fields or {}, folder)
    found += _footprint(config, run, shape, plan.total_steps, plan.checkpoints, plan.longest, plan, here=True)
    found += _packing(config, examples, shape, folder)
    if away := config.data.heldout.keys() - local.keys():
        found.append(Check("held out", "not checked", f"{', '.join(sorted(away))}: on the hub, which is not asked"))
    if heldout:
        told = ", ".join(f"{name} {len(held):,}" for name, held in heldout.items())
        found.append(Check("held out", "ok", f"{told} rows, measured at every checkpoint"))
    found.append(_preview(examples, tokenizer))
    return Outlook(found, records)


# ---------------------------------------------------------------- each of them


def _model(config: TrainConfig, shape: Shape | None, folder: Path | None) -> Check:
    name = config.model.path or "a new model"
    if config.model.path is not None and folder is None:
        if shape is None:
            return Check(
                "model",
                "not checked",
                f"{name} is {GAP}: give `model.architecture`, the numbers of its config.json, for what follows from them",
            )
        return Check(
            "model",
            "not checked",
            f"{name} is {GAP}; {shape.parameters:,} parameters by the recipe's `model.architecture`",
        )
    if shape is None:
        return Check("model", "note", f"{name}: parameters are reckoned for Qwen3, Llama and Mistral only")
    return Check("model", "ok", f"{name}: {shape.parameters:,} parameters in {config.model.dtype}")


def _adapters(config: TrainConfig, shape: Shape | None) -> list[Check]:
    lora = config.lora
    if lora is None:
        return []
    if find_spec("peft") is None:
        return [Check("adapters", "failed", "`lora` needs peft, which is not installed here: pip install peft")]
    trained = _trained(config, shape)
    if shape is None or trained is None:
        text = "what they need is reckoned for the linear layers of Qwen3, Llama and Mistral only"
        return [Check("adapters", "note", text)]
    text = f"{trained:,} parameters are trained, {trained / shape.parameters:.2%} of the model's"
    return [Check("adapters", "ok", text)]


def _trained(config: TrainConfig, shape: Shape | None) -> int | None:
    """Parameters that are trained; None where it cannot be told."""
    lora = config.lora
    if shape is None:
        return None
    if lora is None:
        return shape.parameters
    known = set(lora.target_modules or ()) <= set(shape.linear_layers())
    return shape.adapter_parameters(lora.rank, lora.target_modules) if known else None


def _records(config: TrainConfig) -> Records | Check:
    path = config.data.path
    if is_hub(path):
        return Check("data", "not checked", f"{path} is on the hub, which is not asked; training will")
    if not path.exists() and path.parts[:1] == ("yours",):
        return Check("data", "not checked", f"{path} is yours to provide: give the rows in `--train.data.path`")
    return first_rows(read_records(path, config.data.columns), config.data)


def _tokenizer(config: TrainConfig, folder: Path | None) -> PreTrainedTokenizerBase | None:
    """The tokenizer, where it is on this machine."""
    own = config.model.tokenizer
    if own is None and folder is not None:
        return load_tokenizer(replace(config.model, path=str(folder), architecture=None))
    if own is not None and Path(own).expanduser().is_dir():
        return load_tokenizer(config.model)
    return None


def _stated(config: TrainConfig, run: Path, shape: Shape | None, rows: int | None = None) -> list[Check]:
    """What follows from the settings alone."""
    rows = rows or config.data.rows
    if rows is None and config.schedule.steps is None:
        return [Check("steps", "not checked", "they follow from the rows: give the data, or `data.rows`")]
    per_epoch = None if rows is None else -(-rows // config.batch.size)
    steps = total_steps(per_epoch or 1, config.schedule)
    saved = checkpoint_steps(steps, config.checkpoints)
    return [
        _steps(config, rows, steps, saved),
        *_footprint(config, run, shape, steps, saved, config.data.max_length, None, here=False),
    ]


def _steps(config: TrainConfig, rows: int | None, steps: int, saved: Sequence[int]) -> Check:
    warmup, batch = warmup_steps(steps, config.schedule), config.batch.size
    of = "" if rows is None else f"{rows:,} rows / {batch} = {-(-rows // batch):,} an epoch; "
    text = (
        f"{of}{steps:,} in all, {warmup:,} of warm-up to {config.optim.lr:g}, then {config.schedule.kind}; "
        f"{config.data.order} order; {len(saved)} checkpoints at {', '.join(map(str, saved[:14]))}"
        + (f" … ({len(saved) - 14} more)" if len(saved) > 14 else "")
    )
    return Check("steps", "ok", text)


def _tokens(config: TrainConfig, plan: Plan) -> Check:
    cut = (
        f"; {plan.dropped_rows:,} dropped, {plan.truncated_rows:,} cut"
        if plan.dropped_rows + plan.truncated_rows
        else ""
    )
    return Check(
        "data",
        "ok",
        f"{plan.rows:,} rows of {config.data.path.name}{cut}; {plan.labelled_tokens_per_epoch:,} of "
        f"{plan.input_tokens_per_epoch:,} tokens an epoch carry loss; the longest row has {plan.longest:,}",
    )


def _ends(
    config: TrainConfig,
    records: Records,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    fields: dict[str, Any],
    folder: Path | None,
) -> list[Check]:
    """Whether the token that ends an answer is learnt and stops generation; what is cut."""
    talks = isinstance(records[0], Conversation)
    end = template_end(tokenizer) if talks else tokenizer.eos_token_id
    assert end is not None  # encoding has refused tokenizers and templates without one
    learnt = sum(end in e.labels[-4:] for e in examples)  # a template may write a line break behind it
    name = tokenizer.convert_ids_to_tokens(end)
    first = Check("end token", "ok", f"{name!r} is learnt at the end of {learnt:,} of {len(examples):,} rows")
    if learnt == 0:
        text = f"no row learns to end with {name!r}: answers would run on; raise `data.max_length`"
        first = Check("end token", "failed", text)
    warned = data_warnings(records, examples, tokenizer, _stops(fields, folder), config.data)
    return [first, *(Check("end token", "note", line) for line in warned)]


def _stops(fields: dict[str, Any], folder: Path | None) -> int | list[int] | None:
    """What stops generation: `eos_token_id` of generation_config.json, else of the model's config."""
    import json

    file = folder / "generation_config.json" if folder else None
    if file is not None and file.is_file():
        fields = json.loads(file.read_text())
    return fields.get("eos_token_id")


def _footprint(
    config: TrainConfig,
    run: Path,
    shape: Shape | None,
    steps: int,
    saved: Sequence[int],
    longest: int,
    plan: Plan | None,
    *,
    here: bool,
) -> list[Check]:
    """Disk, memory and hours; of a run that is not for this machine a shortage here is none."""
    trained = _trained(config, shape)
    if shape is None or trained is None:
        return []
    weights = BYTES[config.model.dtype if config.lora is None else "float32"] * trained
    every = config.checkpoints.resume_every
    kept = every is not None and every <= steps
    budget = disk_budget_of(run, saved, kept, weights=weights, moments=MOMENTS * weights, vocabulary=shape.vocabulary)
    return [_disk(budget, here), _memory(config, shape, longest), _hours(config, shape, steps, plan)]


def _disk(budget: DiskBudget, here: bool) -> Check:
    text = budget.explain().removeprefix("disk").strip()
    if budget.needed_bytes <= budget.free_bytes:
        return Check("disk", "ok", text)
    if here:
        return Check("disk", "failed", f"{text}: save less often, keep no state, or write to a larger disk")
    return Check("disk", "note", f"{text}: too little, if it were to run here")


def _memory(config: TrainConfig, shape: Shape, longest: int) -> Check:
    batch, model, lora = config.batch, config.model, config.lora
    tokens = batch.pack or min(batch.micro or batch.size, batch.size) * longest
    logits = 4 * shape.vocabulary * min(batch.logits_chunk or tokens, tokens)
    if lora is None:
        state = f"{size(shape.state_bytes(model.dtype))} of weights, gradients and AdamW in {model.dtype}"
    else:
        held = shape.state_bytes(model.dtype, shape.adapter_parameters(lora.rank, lora.target_modules))
        state = f"{size(held)} of weights in {model.dtype} and of adapters in training"
    again = batch.gradient_checkpointing
    kept = shape.activation_bytes(tokens, model.compute or model.dtype, recomputed=again)
    copy = f", {size(BYTES[model.compute] * shape.parameters)} of weights in {model.compute}" if model.compute else ""
    return Check(
        "memory",
        "ok",
        f"{state}, over all GPUs; a forward pass of {tokens:,} tokens: about {size(kept)} of activations "
        f"{'with all but layers’ inputs recomputed' if again else 'if none is recomputed'}, {size(logits)} of logits{copy}",
    )


def _hours(config: TrainConfig, shape: Shape, steps: int, plan: Plan | None) -> Check:
    flops = partial(
        shape.train_flops_per_token,
        recomputed=config.batch.gradient_checkpointing,
        adapters=config.lora is not None,
    )
    assumed = f"at {MFU:.0%} of {PEAK_FLOPS / 1e12:,.0f} TFLOP/s ({PEAK_GPU})"
    if plan is None:
        sequences, limit = steps * config.batch.size, config.data.max_length
        top = sequences * limit
        thousand = gpu_hours(1000 * sequences * flops(1000))
        most = gpu_hours(top * flops(limit))
        return Check(
            "hours",
            "note",
            f"about {thousand:,.1f} GPU hours for every 1,000 tokens of the mean row, {assumed}; at most {most:,.0f}, if "
            f"every row had {limit:,} tokens ({top:,} in all)",
        )
    epochs = steps / plan.steps_per_epoch
    mean = plan.input_tokens_per_epoch / plan.rows
    tokens = plan.input_tokens_per_epoch * epochs
    hours = gpu_hours(tokens * flops(round(mean)))
    text = f"{tokens:,.0f} tokens in all; {hours:.3g} GPU hours {assumed}, padding and probes apart"
    return Check("hours", "ok", text)


def _packing(config: TrainConfig, examples: Sequence[Example], shape: Shape | None, folder: Path | None) -> list[Check]:
    pack = config.batch.pack
    if pack is None:
        return []
    lengths = np.array([len(e.input_ids) for e in examples])
    order = epoch_order(
        len(examples), config.seed, 0, config.data.order, lengths, config.data.bucket, config.batch.size
    )
    share, passes = fill_share(order, lengths, pack)
    filled = f"{share:.1%} of rows of {pack:,} tokens filled, {passes:.1f} forward passes a step on one process"
    found = [Check("packing", "ok", filled)]
    stored = sum(f.stat().st_size for f in folder.glob("*.safetensors")) if folder else 0
    weights = BYTES[config.model.dtype] * shape.parameters if shape else stored
    if weights > TRIED_BYTES or (folder is None and config.model.path is not None):
        text = "whether sequences stay apart: the model is large or not here, and the run tries it at its start"
        return [*found, Check("packing", "not checked", text)]
    import torch

    from .selftest import packing_problem

    with quiet_libraries():
        model, _ = load(replace(config.model, path=str(folder)) if folder else config.model, config.seed)
    problem = packing_problem(model, model, examples, torch.device("cpu"), model.dtype)
    if problem is None:
        return [*found, Check("packing", "ok", "packed sequences stay apart: their losses are those of each alone")]
    return [*found, Check("packing", "note", f"{problem}; rows of like length will be padded instead")]


def _preview(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> Check:
    first = examples[0]
    learnt = first.input_ids[first.labels != IGNORED]
    text = str(tokenizer.decode(learnt.tolist(), skip_special_tokens=False))
    ends = text if len(text) <= 120 else f"{text[:60]} … {text[-50:]}"
    return Check("preview", "ok", f"row 1 learns {ends!r}", detail=preview(examples, tokenizer, n=1, shown=SHOWN))
