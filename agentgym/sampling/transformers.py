"""Sampling with transformers, on a CPU or a GPU: continuous batching, logprobs, repeatable seeds.

Rows join and leave the running batch between two decoding steps, so a short answer never waits for a long one. Each row's
randomness depends on its request's seed alone, not on its company in the batch. vLLM is faster from some 6 million
parameters on; below, and where it cannot be installed, this is the sampler.
"""

import asyncio
import hashlib
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from agentgym.dialects import Dialect
from agentgym.errors import RefusedFailure, SamplerFailure, UserError
from agentgym.sampling.base import Probe, Sample, SampleRequest, Usage, no_model, publishable
from agentgym.sampling.decoding import Batch, Row
from agentgym.sampling.vllm_engine import tolerance
from agentgym.tokens import Chat

POLL = 0.005  # seconds; waiting by looking again works in any event loop, as the locks of asyncio do not


class TransformersSampler:
    """A sampler over a Hugging Face causal language model.

    Args:
        model: A model directory (with a LoRA adapter directory too, through peft) or a loaded model.
        tokenizer: Needed beside a loaded model.
        max_tokens: Longest turn, in tokens.
        temperature: 0 takes the likeliest token.
        max_batch: Rows decoded at once.
        dialect: By default what the chat template speaks.
        device: By default the first GPU, else the CPU.
        version: Names the weights; by default the directory's name and a hash of its weight files.

    Raises:
        UserError: no model can be loaded from there, or a number that makes no sense.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        max_tokens: int = 256,
        temperature: float = 1.0,
        max_batch: int = 32,
        dialect: Dialect | None = None,
        device: str | None = None,
        version: str = "",
    ) -> None:
        if max_batch < 1 or max_tokens < 1 or temperature < 0:
            raise UserError("max_batch and max_tokens have to be at least 1, temperature at least 0")
        if isinstance(model, str | Path):
            version = version or weights_version(Path(model))
            model, tokenizer = load(Path(model), device)
        self.chat = Chat(tokenizer, dialect)
        self.usage = Usage()
        self.context: int | None = getattr(model.config, "max_position_embeddings", None)
        self._max_tokens, self._temperature, self._max_batch = max_tokens, temperature, max_batch
        self._batch = Batch(model.eval(), temperature, self.chat, version or "unnamed")
        self._paused, self._mismatch = False, ""
        self._waiting: deque[Row] = deque()
        self._open: set[Row] = set()  # all rows whose callers wait
        self._thread = ThreadPoolExecutor(1, "sampler")
        self._running: asyncio.Task[None] | None = None

    @property
    def model(self) -> Any:
        """The model."""
        return self._batch.model

    @property
    def version(self) -> str:
        """Names the weights that write now; those of a turn are in its `Sample.version`."""
        return self._batch.version

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """Write one turn for each request, together with those of all other callers.

        Raises:
            SamplerFailure: the model failed on this batch (out of memory, say), or has weights that nobody published.
        """
        if self._mismatch:
            raise SamplerFailure(self._mismatch)
        loop = asyncio.get_running_loop()
        rows = [self._row(r, loop.create_future()) for r in requests]
        self._waiting.extend(rows)
        self._open.update(rows)
        if self._running is None or self._running.done() or self._running.get_loop() is not loop:
            self._running = loop.create_task(self._run())
        try:
            return [self._finish(row) for row in await asyncio.gather(*(row.future for row in rows))]
        finally:
            self._open.difference_update(rows)
            for row in rows:  # of a caller that is gone, or whose other row failed
                row.future.cancel()

    async def publish(self, directory: str | Path, version: str, probe: Probe) -> None:
        """Serve other weights from now on; see `Publisher`. Turns under way are waited for, new ones wait.

        Raises:
            UserError: there is nothing to publish, or it does not fit the model.
            SamplerFailure: what came out are other weights. Nothing is sampled then until a publication succeeds.
        """
        path, loop = publishable(directory, probe), asyncio.get_running_loop()
        self._paused = True
        try:
            while not await loop.run_in_executor(self._thread, self._batch.exchange, partial(exchange, path=path), version):
                await asyncio.sleep(POLL)
            served = await loop.run_in_executor(self._thread, score, self.model, probe.ids)
            wrong = probe.mismatch(served, tolerance(str(self.model.dtype).removeprefix("torch.")))
            self._mismatch = wrong and f"{version} was not published: {wrong}"
            if wrong:
                raise SamplerFailure(self._mismatch)
        finally:
            self._paused = False

    async def close(self) -> None:
        """Stop the worker thread; who still waits gets a `SamplerFailure`."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
        for row in self._open:
            if not row.future.done():
                row.future.set_exception(SamplerFailure("the sampler was closed"))
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _row(self, request: SampleRequest, future: "asyncio.Future[Row]") -> Row:
        prompt = request.prompt_ids
        if not prompt:
            raise UserError("the transformers sampler needs prompt_ids: render the messages with its `chat`")
        limit = self._max_tokens if self.context is None else min(self._max_tokens, self.context - len(prompt))
        if limit < 1:
            raise RefusedFailure(f"a prompt of {len(prompt)} tokens leaves no room in a context of {self.context}")
        return Row(prompt, limit, np.random.default_rng(request.seed).random(limit), future)

    def _finish(self, row: Row) -> Sample:
        self.usage.requests += 1
        self.usage.prompt_tokens += len(row.prompt)
        self.usage.sampled_tokens += len(row.ids)
        finish = "stop" if row.stopped else "length"
        return Sample(self.chat.parse(row.ids), row.ids, row.logprobs, finish, row.version)  # type: ignore[arg-type]

    async def _run(self) -> None:
        """Move the batch on until nobody waits; the model works in a thread, episodes go on meanwhile."""
        loop = asyncio.get_running_loop()
        while self._waiting or self._batch.rows:
            taken: list[Row] = []
            self._waiting = deque(row for row in self._waiting if not row.future.done())  # without callers that are gone
            if self._paused and not self._batch.rows:
                await asyncio.sleep(POLL)
                continue
            room = self._max_batch - len(self._batch.rows) if self._batch.joinable() and not self._paused else 0
            if room and len(self._waiting) >= min(room, max(1, len(self._batch.rows) // 4)):  # few prefills, each of several rows
                taken = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            try:
                done = await loop.run_in_executor(self._thread, self._batch.advance, taken, self._wants_in)
            except Exception as error:
                for row in [*self._batch.rows, *taken]:
                    if not row.future.done():
                        row.future.set_exception(SamplerFailure(f"{type(error).__name__}: {error}"))
                self._batch.clear()
                continue
            for row in done:
                if not row.future.done():  # its caller may have gone
                    row.future.set_result(row)

    def _wants_in(self, running: int) -> bool:
        return not self._paused and running < self._max_batch and len(self._waiting) >= max(1, running // 4)


def load(path: Path, device: str | None = None) -> tuple[Any, Any]:
    """Model (bf16 on a GPU, fp32 on a CPU) and tokenizer of a directory; a LoRA adapter is loaded on its base.

    Raises:
        UserError: there is no loadable model, or one of another tokenizer.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    tokenizer = load_tokenizer(path)
    with loading(path):
        if (path / "adapter_config.json").exists():
            from peft import AutoPeftModelForCausalLM  # an extra that full models do not need

            with without_peft_warning():
                model = AutoPeftModelForCausalLM.from_pretrained(path, dtype=dtype)
        else:
            model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    known = model.get_input_embeddings().num_embeddings  # often more than the tokenizer has, never less
    if len(tokenizer) > known:
        raise UserError(f"the tokenizer in {path} has {len(tokenizer)} ids, its model knows {known}: they do not belong together")
    return model.to(device), tokenizer


@torch.no_grad()
def exchange(model: Any, path: Path) -> Any:
    """Give a model the weights of a directory, in place: a LoRA adapter on it, or all of them. Returns the model.

    Names and shapes are compared before the first weight is copied: a model that cannot take them keeps all of its own.

    Raises:
        UserError: they do not fit the model.
    """
    try:
        if (path / "adapter_config.json").exists():
            with without_peft_warning():
                return _exchange_adapter(model, path)
        if hasattr(model, "peft_config"):
            raise UserError(f"{path} is a whole model, this sampler has an adapter: publish adapters")
        weights = {k: v for file in sorted(path.glob("*.safetensors")) for k, v in load_file(file).items()}
        _compare(path, model.state_dict(), weights)
        model.load_state_dict(weights, strict=False)  # tied weights are there once
        return model
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"the weights in {path} do not fit the model ({reason}): publish a model of the same kind") from error


def _exchange_adapter(model: Any, path: Path) -> Any:
    from peft import (  # an extra that full models do not need
        PeftConfig,
        get_peft_model,
        get_peft_model_state_dict,
        load_peft_weights,
        set_peft_model_state_dict,
    )

    weights, bare = load_peft_weights(str(path), device=str(model.device)), not hasattr(model, "peft_config")
    if bare:
        config = PeftConfig.from_pretrained(path)
        config.base_model_name_or_path = model.name_or_path  # peft warns where it is another
        model = get_peft_model(model, config)
    try:
        _compare(path, get_peft_model_state_dict(model), weights)
    except UserError:
        if bare:
            model.unload()
        raise
    set_peft_model_state_dict(model, weights)
    return model.eval()


def _compare(path: Path, ours: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
    """Raise a `UserError` unless `given` has all of `ours`, in their shapes, and nothing else; of tied weights one is enough."""
    there = {ours[name].data_ptr() for name in given if name in ours}
    wrong = [n for n, weight in given.items() if n not in ours or ours[n].shape != weight.shape]
    wrong += [n for n, weight in ours.items() if n not in given and weight.data_ptr() not in there]
    if wrong:
        reason = f"{len(wrong)} names or shapes are others, {wrong[0]} among them"
        raise UserError(f"the weights in {path} do not fit the model ({reason}): publish a model of the same kind")


@torch.inference_mode()
def score(model: Any, ids: Sequence[int]) -> list[float]:
    """The log-probability of each id after the first at temperature 1, by one plain forward pass: ``len(ids) - 1`` numbers."""
    taken = torch.tensor([list(ids)], device=model.device)
    logprobs = torch.log_softmax(model(input_ids=taken).logits[0, :-1].float(), -1)
    return logprobs.gather(1, taken[0, 1:, None]).squeeze(1).tolist()


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a model directory.

    Raises:
        UserError: there is none.
    """
    with loading(path):
        if any(path.glob("*config.json")) and not any(path.glob("*token*")):
            raise UserError(f"there is no tokenizer in {path}: copy the tokenizer* files of the model it came from")
        return AutoTokenizer.from_pretrained(path)


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Around the loading of a model directory, without progress bars: what goes wrong there is a `UserError` that names it."""
    if not path.is_dir():
        raise UserError(f"there is no model directory {path}: {no_model(path)}")
    if not any(path.glob("*config.json")):
        remedy = "give a Hugging Face model directory, `agentgym model init` makes a small one"
        raise UserError(f"no model can be loaded from {path} (it has no config.json): {remedy}")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"no model can be loaded from {path} ({reason}): give a Hugging Face model directory") from error
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def without_peft_warning() -> Iterator[None]:
    """Silence what users cannot help: peft reads a property by a name that transformers 5 has deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.* is deprecated", FutureWarning)
        yield


def probe(model: Any, ids: Sequence[int]) -> Probe:
    """What `model` thinks of `ids`: by this a sampler elsewhere checks that it has been given the same weights.

    Some hundred ids of an episode do well: they have to be more certain than chance, so that other weights show.
    """
    return Probe(list(ids), score(model, ids))


def weights_version(path: Path) -> str:
    """The directory's name and a hash over its weight files (sizes, and 64 KiB at 16 places in each)."""
    digest = hashlib.blake2b(digest_size=4)
    for file in sorted([*path.glob("*.safetensors"), *path.glob("*.bin")]):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            for i in range(16):
                stream.seek(size * i // 16)
                digest.update(stream.read(65536))
    return f"{path.name}@{digest.hexdigest()}"
