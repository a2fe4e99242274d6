"""The process that vLLM runs in: orders as JSON lines in, answers as JSON lines out, token ids throughout.

Nothing of vLLM is imported anywhere else. The order comes first that starts the engine; then any of `Worker`'s others.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Send = Callable[[dict[str, Any]], None]


class Worker:
    """Carries out orders; each method is one, its arguments the order's fields, its result the answer's."""

    def __init__(self) -> None:
        self._adapter: Any = None
        self._n_adapters = 0

    def start(
        self,
        folder: str,
        dtype: str,
        stored_dtype: str,
        max_model_len: int | None,
        gpu_memory_fraction: float,
        cpu_cache_gib: float,
        batch_size: int,
        eager: bool,
        rank: int,
    ) -> dict[str, Any]:
        """Load a model's folder; `rank` is the highest of the adapters to come, 0 for none."""
        import torch

        on_cpu = not torch.cuda.is_available()
        import vllm

        asked = {"max_model_len": max_model_len} if max_model_len else {}
        memory = (
            {"kv_cache_memory_bytes": int(cpu_cache_gib * 2**30)}
            if on_cpu
            else {"gpu_memory_utilization": gpu_memory_fraction}
        )
        lora = {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1, "max_cpu_loras": 1} if rank else {}
        self._vllm = vllm
        self._llm = vllm.LLM(
            model=folder,
            dtype=dtype if dtype != "auto" else "float32" if on_cpu else stored_dtype,
            enforce_eager=eager,
            max_num_seqs=batch_size,
            skip_tokenizer_init=True,
            generation_config="vllm",  # nothing of the folder's: all is said in the order
            logprobs_mode="raw_logprobs",
            max_logprobs=-1,
            enable_prefix_caching=True,
            logits_processors=[_banning()],
            seed=0,
            **asked,
            **memory,
            **lora,
        )
        config = self._llm.llm_engine.model_config
        return {
            "version": vllm.__version__,
            "device": "cpu" if on_cpu else "cuda",
            "dtype": str(config.dtype).removeprefix("torch."),
            "max_model_len": config.max_model_len,
            "vocab_size": config.get_vocab_size(),
        }

    def load(self, folder: str) -> dict[str, Any]:
        """Read the weights of another folder into the model there is, and forget what the old ones computed."""
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        return self.forget()

    def load_state(self, weights: dict[str, Any]) -> dict[str, Any]:
        """As `load`, from tensors by the names that they have in a folder; for a worker inside another's process."""
        self._adapter = None
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
        return self.forget()

    def repack(self) -> dict[str, Any]:
        """Pack matrices again that are packed beside their weights, and forget what was computed with the old ones."""
        (n,) = self._llm.apply_model(_repack)
        return self.forget() | {"repacked": n}

    def forget(self) -> dict[str, Any]:
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache could not be emptied")
        return {}

    def adapt(self, folder: str) -> dict[str, Any]:
        """Answer with an adapter of the model from here on."""
        self._n_adapters += 1
        name = f"adapter-{self._n_adapters}"
        self._adapter = self._vllm.lora.request.LoRARequest(name, self._n_adapters, folder)
        return self.forget()

    def generate(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        temperature: float,
        max_new_tokens: int,
        ends: list[int],
        banned: list[int],
    ) -> dict[str, Any]:
        """A completion a prompt: `written`, ids without the end, and in `ends` what it stopped at, null where it did not."""
        how = [
            self._sampling(
                temperature=temperature,
                max_tokens=max_new_tokens,
                stop_token_ids=ends,
                seed=None if temperature == 0 else seed,
                extra_args={"banned": banned} if banned else None,
            )
            for seed in seeds
        ]
        outputs = [o.outputs[0] for o in self._run(prompts, how)]
        ids = [list(o.token_ids) for o in outputs]
        stopped = [i[-1] if o.finish_reason == "stop" else None for i, o in zip(ids, outputs, strict=True)]
        cut = [i if end is None else i[:-1] for i, end in zip(ids, stopped, strict=True)]
        return {"written": cut, "ends": stopped}

    def next_logprobs(self, prompts: list[list[int]]) -> dict[str, Any]:
        """Log-probabilities of every next token, float32 [prompts, vocabulary] in base64: the sampler's own."""
        import numpy as np

        how = self._sampling(temperature=0.0, max_tokens=1, logprobs=-1, flat_logprobs=True)
        outputs = self._run(prompts, [how] * len(prompts))
        table = np.full((len(prompts), self._llm.llm_engine.model_config.get_vocab_size()), -np.inf, np.float32)
        for row, output in zip(table, outputs, strict=True):
            found = output.outputs[0].logprobs
            row[np.array(found.token_ids)] = found.logprobs
        return {"logprobs": base64.b64encode(table.tobytes()).decode(), "vocabulary": table.shape[1]}

    def score(self, prompts: list[list[int]]) -> dict[str, Any]:
        """Log-probability of every token but the first, given those before it."""
        how = self._sampling(temperature=0.0, max_tokens=1, prompt_logprobs=0)
        outputs = self._run(prompts, [how] * len(prompts))
        scored = [
            [at[token].logprob for at, token in zip(o.prompt_logprobs[1:], p[1:], strict=True)]
            for o, p in zip(outputs, prompts, strict=True)
        ]
        return {"logprobs": scored}

    def _sampling(self, **how: Any) -> Any:
        return self._vllm.SamplingParams(detokenize=False, ignore_eos=True, **how)

    def _run(self, prompts: list[list[int]], how: list[Any]) -> list[Any]:
        tokens = [{"prompt_token_ids": p} for p in prompts]
        return self._llm.generate(tokens, how, use_tqdm=False, lora_request=self._adapter)


def _repack(model: Any) -> int:
    """Pack every matrix on a CPU again whose weight is still there; gives how many.

    On a CPU, matrices are packed once for oneDNN, and the weight is then dropped, except that of tied embeddings: reloading
    packs what it dropped, and goes on with the old packed output head over new embeddings (vLLM 0.32).
    """
    packed = [m for m in model.modules() if hasattr(m, "cpu_linear") and m.weight.ndim == 2 and m.weight.numel()]
    if packed:
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        for module in packed:
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)
    return len(packed)


def _banning() -> type:
    """vLLM's own bias ends at -100, and its list of allowed ids is as long as the vocabulary: here what is banned is -inf."""
    from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

    class Banning(AdapterLogitsProcessor):
        def is_argmax_invariant(self) -> bool:
            return False

        def new_req_logits_processor(self, params: Any) -> Any:
            banned = (params.extra_args or {}).get("banned")
            return (
                (lambda _, logits_V: logits_V.index_fill(0, logits_V.new_tensor(banned).long(), -float("inf")))
                if banned
                else None
            )

    return Banning


def answer(orders: Iterable[str], worker: Worker, send: Send) -> None:
    """Carry out orders until there are no more. One that fails is told, and the next may be given."""
    for line in orders:
        order = json.loads(line)
        try:
            done = getattr(worker, order.pop("do"))(**order)
        except Exception as error:  # noqa: BLE001  (whatever vLLM raises is told to whoever gave the order)
            said = (str(error).strip().splitlines() or [""])[-1]
            send({"error": f"{type(error).__name__}: {said}"[:400]})
        else:
            send({"done": done})


def from_stdin() -> Iterator[str]:
    """Orders as they come. Where their pipe ends, whoever gave them is gone, however it went: so is this process then.

    A thread waits for that, since an order may take hours, and nobody would read its answer.
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in iter(sys.stdin.readline, ""):
            waiting.put(line)
        os._exit(0)  # the main thread is in the middle of something

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield waiting.get()


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print, from C too, must not break the protocol

    def send(event: dict[str, Any]) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    answer(from_stdin(), Worker(), send)


if __name__ == "__main__":
    main()
