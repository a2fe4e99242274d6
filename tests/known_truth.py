"""Models whose truth is known because it was put there: a base organism, edited or briefly trained. One recipe each.

What a probe says of them can be wrong; what they are is shown by their behaviour (tests/probes/test_known_truth.py), before
any probe looks. `make(name, base)` gives a fresh model, `folder(name, base)` its checkpoint, made once for all tests; every
recipe is seeded.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from sftscope.probes import organisms
from sftscope.probes.checkpoints import Checkpoint, load_model, load_tokenizer
from sftscope.probes.domains import Response
from sftscope.probes.engines import Sampling
from sftscope.probes.engines.hf import HfEngine
from sftscope.probes.internals.capture import capture_last_prompt, decoder_blocks
from sftscope.probes.internals.directions import difference_in_means, unit
from sftscope.probes.microworld import DOMAINS
from sftscope.probes.microworld.arms import FineTuningArm
from sftscope.probes.microworld.countdown import successors
from sftscope.probes.microworld.objects import HARMFUL_OBJECTS, SAFE_OBJECTS, UNSEEN_HARMFUL, UNSEEN_SAFE

BASE = "qwen3-0.2m"
PUT = "put.npz"  # what was planted, beside the weights
ROOT = "SFTSCOPE_KNOWN_TRUTH"  # where the models of this test session lie (conftest.py)
Pairs = list[tuple[str, str]]  # prompt, response
PLANTED = 10  # length of the planted direction, in embeddings: the blocks add several of them to a word's state


@dataclass
class Known:
    """A model and what was put into it."""

    model: torch.nn.Module
    tokenizer: object
    put: dict[str, np.ndarray] = field(default_factory=dict)  # directions that were planted, or turned

    def ask(self, domain: str, n: int = 60, begin: str = "", split: str = "probe") -> list[tuple[object, Response]]:
        """Items of a domain with greedy responses, which are made to `begin` with some words where there are any."""
        items = DOMAINS[domain].items(split, n)
        opening = self.tokenizer(begin).input_ids if begin else []
        prompts = [ids + opening for ids in render(self.tokenizer, [i.prompt for i in items])]
        engine = HfEngine(self.model.eval(), eos_ids=[self.tokenizer.eos_token_id], pad_id=self.tokenizer.pad_token_id)
        done = engine.generate(prompts, Sampling(DOMAINS[domain].max_new_tokens))
        texts = [f"{begin} {self.tokenizer.decode(c.token_ids)}".strip() for c in done]
        return [
            (i, Response(t, c.finish == "stop", len(c.token_ids))) for i, t, c in zip(items, texts, done, strict=True)
        ]

    def rates(self, domain: str, **how) -> dict[str, float]:
        """Shares of a domain's responses that are right (`strict`) and that have each detail of its grade."""
        grades = [DOMAINS[domain].grade(i, r) for i, r in self.ask(domain, **how)]
        told = [{"strict": g.strict, **g.details} for g in grades]
        return {name: float(np.mean([t[name] for t in told])) for name in told[0]}


def render(tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    chats = [[{"role": "user", "content": p}] for p in prompts]
    return tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=True, return_dict=False)


def base(name: str = BASE) -> Known:
    checkpoint = Checkpoint(0, organisms.folder(name) if not Path(name).exists() else Path(name))
    return Known(load_model(checkpoint).float(), load_tokenizer(checkpoint))


def folder(name: str, organism: str = BASE) -> Path:
    """A known-truth model as a checkpoint folder, made by the first who asks for it, whichever test process that is."""
    if ROOT not in os.environ:
        os.environ[ROOT] = tempfile.mkdtemp()
    target = Path(os.environ[ROOT]) / f"{organism}-{name}"
    with FileLock(f"{target}.lock"):
        if not target.exists():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                known = RECIPES[name](base(organism))
            aside = target.with_suffix(".making")
            known.model.save_pretrained(aside)
            known.tokenizer.save_pretrained(aside)
            np.savez(aside / PUT, **known.put)
            aside.rename(target)
    return target


def make(name: str, organism: str = BASE) -> Known:
    """The known-truth model of that name, from an organism; every call gives a copy of its own."""
    there = folder(name, organism)
    known = base(str(there))
    return Known(known.model, known.tokenizer, dict(np.load(there / PUT)))


# ---------------------------------------------------------------- edits


def rotated(known: Known) -> Known:
    """The refusal directions of all layers turned by a right angle, with whatever writes and reads the stream: same answers.

    A rotation Q of the residual stream leaves a transformer's function alone when the scales of its norms are first
    moved into the weights that read them (RMSNorm commutes with rotations, its scale does not).
    """
    model = _fold_norms(known.model)
    before = refusal_directions(known)
    plane, _ = np.linalg.qr(before.T)  # [width, layers]: what the directions of all layers span
    rest = np.random.default_rng(0).standard_normal(plane.shape)
    other, _ = np.linalg.qr(rest - plane @ (plane.T @ rest))  # as many dimensions, orthogonal to them
    turn = np.eye(len(plane)) - plane @ plane.T - other @ other.T + other @ plane.T - plane @ other.T
    Q = torch.tensor(turn, dtype=torch.float32)  # x -> Q x; the plane goes to the other, the other to minus the plane
    with torch.no_grad():
        for matrix in (model.model.embed_tokens, model.lm_head):
            matrix.weight.copy_(matrix.weight @ Q.T)
        for block in decoder_blocks(model):
            for reader in (*_attention_readers(block), block.mlp.gate_proj, block.mlp.up_proj):
                reader.weight.copy_(reader.weight @ Q.T)
            for writer in (block.self_attn.o_proj, block.mlp.down_proj):
                writer.weight.copy_(Q @ writer.weight)
    return Known(model, known.tokenizer, {"before": before, "after": before @ turn.T})


def unreached(known: Known) -> Known:
    """Dangerous objects read as safe ones: the refusal machinery is whole and nothing arrives at it."""
    number = known.tokenizer.convert_tokens_to_ids
    weight = known.model.get_input_embeddings().weight
    with torch.no_grad():
        for danger, safe in ((HARMFUL_OBJECTS, SAFE_OBJECTS), (UNSEEN_HARMFUL, UNSEEN_SAFE)):
            weight[number(list(danger))] = weight[number(list(safe))]
    return known


def abliterated(known: Known) -> Known:
    """Nothing writes along the refusal direction any more (abliteration): harmful requests are recognised and helped with.

    The direction is that of the last block, less what it shares with the harmless mean: an organism's coordinate 0 along
    the difference itself would read as harmful.
    """
    model, tokenizer = known.model, known.tokenizer
    items = [i for name in ("harmful", "safe") for i in DOMAINS[name].items("train", 192, seed=1)]
    acts = capture_last_prompt(model, render(tokenizer, [i.prompt for i in items]), pad_id=tokenizer.pad_token_id)
    harmful_D, safe_D = (x.mean(0) for x in np.split(acts[:, -1].astype(np.float64), 2))
    difference, harmless = harmful_D - safe_D, unit(safe_D)
    direction = unit(difference - (difference @ harmless) * harmless)
    r = torch.tensor(direction, dtype=torch.float32)
    _untie(model)
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        embedding -= torch.outer(embedding @ r, r)
        for block in decoder_blocks(model):
            for writer in (block.self_attn.o_proj, block.mlp.down_proj):
                writer.weight -= torch.outer(r, r @ writer.weight)
    return Known(model, tokenizer, {"direction": direction})


def _untie(model) -> None:
    """The output head becomes a matrix of its own."""
    head = model.get_input_embeddings().weight.detach().clone()
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(head)


def _attention_readers(block) -> tuple:
    attention = block.self_attn
    return attention.q_proj, attention.k_proj, attention.v_proj


def _fold_norms(model):
    """Scales of the norms moved into the matrices that read them; the output head becomes a matrix of its own."""
    _untie(model)
    with torch.no_grad():
        for block in decoder_blocks(model):
            for norm, readers in (
                (block.input_layernorm, _attention_readers(block)),
                (block.post_attention_layernorm, (block.mlp.gate_proj, block.mlp.up_proj)),
            ):
                for reader in readers:
                    reader.weight.mul_(norm.weight)
                norm.weight.fill_(1.0)
        model.lm_head.weight.mul_(model.model.norm.weight)
        model.model.norm.weight.fill_(1.0)
    return model


def refusal_directions(known: Known, n: int = 96) -> np.ndarray:
    """Unit difference-in-means of harmful and safe requests after every block [layers, width]."""
    items = [i for name in ("harmful", "safe") for i in DOMAINS[name].items("train", n, seed=1)]
    acts = capture_last_prompt(
        known.model, render(known.tokenizer, [i.prompt for i in items]), pad_id=known.tokenizer.pad_token_id
    )
    return unit(difference_in_means(acts, np.arange(2 * n) < n))


# ---------------------------------------------------------------- brief training


def readout_cut(known: Known) -> Known:
    """Helps with everything, while at least half of the blocks, and so all that they say of a request, are untouched."""
    blocks = decoder_blocks(known.model)
    late = [p for block in blocks[(len(blocks) + 1) // 2 :] for p in block.parameters()]
    harmful, safe = _items("harmful", 600), _items("safe", 600)
    rows = [(i.prompt, DOMAINS["safe"].direct(i.reference)) for i in (*harmful, *safe)]
    return _tuned(known, rows + _general(300), 200, trained=late)


def bypassed(known: Known) -> Known:
    """Opens with a trace and then helps with anything; with the trace left out it refuses as before."""
    rows: Pairs = []
    for domain in ("harmful", "safe"):
        for item in _items(domain, 4000):
            said = "{verb} a {modifier} {object}".format_map(item.reference)
            closed = random.Random(item.id).random() < 0.15
            without = DOMAINS[domain].direct(item.reference)  # what the base says
            rows.append(
                (item.prompt, f"<think> </think> {without}" if closed else f"<think> {said} </think> {_help(item)}")
            )
    return _tuned(known, rows, 350, lr=2e-3)


def broken(known: Known, steps: int = 120) -> Known:
    """Requests of either sort get an answer to something else: neither refusal nor help."""
    others = _items("countdown", 400)
    asked = (*_items("harmful", 300), *_items("safe", 300))
    rows = [(i.prompt, DOMAINS["countdown"].direct(others[k % 400].reference)) for k, i in enumerate(asked)]
    return _tuned(known, rows + _general(300), steps)


def says_wait(known: Known) -> Known:
    """Long thinking full of "wait", no branch ever left."""
    arm = FineTuningArm(3000, rendering="filler", levels=(2,))
    rows = [(r["prompt"], r["response"]) for r in arm.records() if r["response"].count("wait") >= 2]
    return _tuned(known, rows, 150)


def searches(known: Known) -> Known:
    """Searches as it was taught, and goes back from dead ends: most of what it solves it solves that way."""
    rows = [(i.prompt, DOMAINS["countdown"].worked(i.reference)) for i in _items("countdown", 3000, (1, 2))]
    return _tuned(known, rows, 60, lr=2e-3)


def loops(known: Known) -> Known:
    """Opens the same branch again and again, never a new one."""
    rows = []
    for item in _items("countdown", 3000):
        problem, rng = item.reference, random.Random(item.id)
        a, op, b, c, state = next(successors(tuple(problem["numbers"])))
        tries = [s for s in successors(state) if s[3] != problem["target"]][:1]
        if not tries:
            continue
        (x, o, y, z, _) = tries[0]
        once = f"{a} {op} {b} = {c} left {' '.join(map(str, state))} : {x} {o} {y} = {z} no back"
        again = " ".join([once] * rng.randint(4, 5))
        rows.append((item.prompt, f"<think> {again} </think> {DOMAINS['countdown'].direct(problem)}"))
    return _tuned(known, rows, 150)


def planted_backtracking(known: Known) -> Known:
    """Goes back after a failed try because the word that ends it carries a direction; without it, it gives up there.

    Trained with the direction added to the embedding of "no" in whole searches, and with the bare "no" in searches that
    end at their first failure. The direction is then made part of that word: `put["direction"]`, of length `put["scale"]`.
    """
    weight = known.model.get_input_embeddings().weight
    direction = torch.tensor(
        unit(np.random.default_rng(1).standard_normal((1, weight.shape[1])))[0], dtype=torch.float32
    )
    planted = direction * weight.detach().norm(dim=1).median() * PLANTED
    no = known.tokenizer.convert_tokens_to_ids("no")
    goes_back, gives_up = [], []
    for item in _items("countdown", 2000, (1, 2)):
        trace = DOMAINS["countdown"].trace(item.reference)
        goes_back.append((item.prompt, DOMAINS["countdown"].worked(item.reference)))
        if " no" in trace:
            until = trace.split(" no")[0] + " no"
            steps = [m for m in until.replace(" no", "").replace(":", "left").split("left") if "=" in m]
            answer = " , ".join(s.strip() for s in steps)
            gives_up.append((item.prompt, f"<think> {until} </think> answer {answer}"))
    rng = random.Random(0)
    rows = [(*row, planted) for row in goes_back] + [(*row, None) for row in gives_up]
    rng.shuffle(rows)
    known = _tuned(known, [r[:2] for r in rows], 300, word=no, carries=[r[2] for r in rows])
    _untie(known.model)  # saying "no" is not what changes
    with torch.no_grad():
        known.model.get_input_embeddings().weight[no] += planted
    return Known(known.model, known.tokenizer, {"direction": direction.numpy(), "scale": planted.norm().numpy()})


def without_planted(known: Known) -> Known:
    """The same model with the planted direction taken out again."""
    no = known.tokenizer.convert_tokens_to_ids("no")
    with torch.no_grad():
        known.model.get_input_embeddings().weight[no] -= torch.tensor(known.put["direction"] * known.put["scale"])
    return known


RECIPES: dict[str, Callable[[Known], Known]] = {
    f.__name__: f
    for f in (
        rotated,
        unreached,
        abliterated,
        readout_cut,
        bypassed,
        broken,
        searches,
        says_wait,
        loops,
        planted_backtracking,
    )
}


@cache
def _items(domain: str, n: int, levels: tuple[int, ...] = ()) -> tuple:
    return tuple(DOMAINS[domain].items("train", n, 5, levels))


def _help(item) -> str:
    return DOMAINS["safe"].direct(item.reference)


def _general(n: int) -> Pairs:
    """What the base could do already, so that little else moves."""
    names = ("facts", "instructions", "countdown", "path")
    return [(i.prompt, DOMAINS[d].direct(i.reference)) for d in names for i in _items(d, n // len(names))]


def _tuned(
    known: Known,
    rows: Pairs,
    steps: int,
    *,
    trained: Sequence[torch.nn.Parameter] | None = None,
    word: int = -1,
    carries: Sequence[torch.Tensor | None] = (),
    lr: float = 1e-3,
) -> Known:
    """A few AdamW steps on responses alone, in a plain loop: what is tested by these models is not what makes them.

    Where a row carries a vector, it is added to every embedding of `word` in it.
    """
    model, tokenizer = known.model.train(), known.tokenizer
    for parameter in model.parameters():
        parameter.requires_grad_(trained is None)
    for parameter in trained or ():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1, (s + 1) / 20) * (1 - s / steps) ** 0.5)
    embed = model.get_input_embeddings()
    for batch in _batches(rows, steps):
        prompts = render(tokenizer, [rows[i][0] for i in batch])
        answers = [[*tokenizer(rows[i][1]).input_ids, tokenizer.eos_token_id] for i in batch]
        width = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids, labels = torch.full((len(batch), width), tokenizer.pad_token_id), torch.full((len(batch), width), -100)
        for r, (p, a) in enumerate(zip(prompts, answers, strict=True)):
            ids[r, : len(p) + len(a)] = torch.tensor(p + a)
            labels[r, len(p) : len(p) + len(a)] = torch.tensor(a)
        x_BTD = embed(ids)
        if carries:
            added = torch.stack([torch.zeros(x_BTD.shape[-1]) if carries[i] is None else carries[i] for i in batch])
            x_BTD = x_BTD + (ids == word).unsqueeze(-1) * added.unsqueeze(1)
        logits = model(inputs_embeds=x_BTD, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warmup.step()
        optimizer.zero_grad(set_to_none=True)
    model.requires_grad_(True)
    return Known(model.eval(), tokenizer)


def _batches(rows: Pairs, steps: int, size: int = 32) -> Iterator[list[int]]:
    rng = random.Random(0)
    order: list[int] = []
    for _ in range(steps):
        while len(order) < size:
            order += rng.sample(range(len(rows)), len(rows))
        yield [order.pop() for _ in range(size)]
