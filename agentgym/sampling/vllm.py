"""Sampling with vLLM, in a process of its own or on a running server: prefix caching, new weights while it runs, guided calls.

**Logprobs** are those of the policy at temperature 1. vLLM takes them before the temperature, but after a grammar's mask; a
guided turn is therefore scored once more, without mask, as a prompt (which reads all of it again: vLLM cannot use its prefix
cache there).

**Guided decoding** (in the sense of Octopus, Chen et al. 2024): text is free, but once the model opens a tool call, only JSON
of one of the tools with arguments that fit its schema can follow, and then the closing tag. A call can still be cut off by
`max_tokens`. Bounds on the length of strings are left to the environment.

**Publication.** Each sample says which weights wrote all of it. A LoRA adapter is published beside the current one, under a
name of its own, so that turns under way end with the old one, and no cached prefix is shared. Full weights replace the old
ones in place: turns under way are waited for, new ones wait. Either way the engine then scores a `Probe`, and must give the
trainer's logprobs; for an engine may accept weights and go on with others (see `vllm_plugin`).
"""

import asyncio
import itertools
import math
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from agentgym.dialects import Dialect
from agentgym.errors import RefusedFailure, SamplerFailure, UserError
from agentgym.sampling.base import Probe, Sample, SampleRequest, publishable
from agentgym.sampling.vllm_engine import Adapter, Decoding, Engine
from agentgym.sampling.vllm_grammar import structural_tag
from agentgym.tokens import Chat

NUMBERS = itertools.count(2)  # of adapters, never the same in one engine; an engine may start with number 1
POLL = 0.01  # seconds; waiting by looking again works in any event loop, as the locks of asyncio do not


class _Weights(msgspec.Struct):
    """What was published: its version, the adapter if it is one, and how many requests use it."""

    version: str
    adapter: Adapter | None = None
    users: int = 0


class VllmSampler:
    """A sampler over vLLM.

    Args:
        engine: A `LocalEngine` or a `ServerEngine`.
        max_tokens: Longest turn, in tokens.
        temperature: 0 takes the likeliest token.
        dialect: By default what the chat template speaks.
        guided: Whether tool calls are held to the tools' schemas.

    Raises:
        UserError: a number that makes no sense, or a dialect whose calls cannot be guided.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_tokens: int = 256,
        temperature: float = 1.0,
        dialect: Dialect | None = None,
        guided: bool = False,
    ) -> None:
        if max_tokens < 1 or temperature < 0:
            raise UserError("max_tokens has to be at least 1, temperature at least 0")
        self.chat = Chat(engine.tokenizer, dialect)
        if guided and self.chat.dialect.call_grammar([]) is None:
            raise UserError(f"calls of the dialect {self.chat.dialect.name!r} cannot be guided: use `hermes` or `hermes-text`")
        self.usage, self.context = engine.usage, engine.context
        self._engine, self._max_tokens, self._temperature, self._guided = engine, max_tokens, temperature, guided
        self._tags: dict[bytes, str] = {}  # of the tools seen so far
        self._serving = _Weights(engine.version, engine.adapter)
        self._retired: _Weights | None = None  # the adapter before the current one
        self._paused = False
        self._mismatch = ""

    @property
    def version(self) -> str:
        """Names the weights that write now; those of a turn are in its `Sample.version`."""
        return self._serving.version

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """Write one turn for each request, together with those of all other callers.

        Raises:
            SamplerFailure: the engine is dead, or serves weights that nobody published.
        """
        turns = [asyncio.ensure_future(self._turn(r)) for r in requests]
        try:
            return list(await asyncio.gather(*turns))
        finally:  # of a caller that is gone, or whose other request failed
            for turn in turns:
                turn.cancel()

    async def score(self, ids: list[int]) -> list[float]:
        """The logprob of each id after the first, given those before it, under the current weights.

        Raises:
            SamplerFailure: the engine is dead, or the ids do not fit its context.
        """
        async with self._weights() as weights:
            return await self._engine.score(ids, weights.adapter)

    async def publish(self, directory: str | Path, version: str, probe: Probe) -> None:
        """Serve other weights from now on: a LoRA adapter where `directory` has an ``adapter_config.json``, else a whole model.

        A directory of an adapter must stay as it is until the publication after the next.

        Args:
            directory: A Hugging Face directory.
            version: Goes into all samples that these weights write.
            probe: What the trainer's weights give. It can only tell weights apart that differ by more than the tolerance on it.

        Raises:
            UserError: there is nothing to publish, or the engine was not started for it.
            SamplerFailure: the engine still serves other weights. After an adapter the one before stays current; after full
                weights nothing more is sampled until a publication succeeds.
        """
        path = publishable(directory, probe)
        if (path / "adapter_config.json").exists():
            await self._publish_adapter(path, version, probe)
        else:
            await self._publish_weights(path, version, probe)

    async def sleep(self) -> None:
        """Give the GPU's memory to a trainer: waits for the turns under way; new ones wait for `wake`. A CPU's memory is kept."""
        self._paused = True
        try:
            await self._drained()
            await self._engine.sleep()
        except BaseException:  # it is awake
            self._paused = False
            raise

    async def wake(self) -> None:
        """Undo `sleep`."""
        await self._engine.wake()
        self._paused = False

    async def close(self) -> None:
        """End the engine's process, if this sampler started one; who still waits gets a `SamplerFailure`."""
        await self._engine.close()

    async def _drained(self) -> None:
        for weights in (self._serving, self._retired):
            while weights is not None and weights.users:
                await asyncio.sleep(POLL)

    @asynccontextmanager
    async def _weights(self) -> AsyncIterator[_Weights]:
        while self._paused:
            await asyncio.sleep(POLL)
        if self._mismatch:
            raise SamplerFailure(self._mismatch)
        weights = self._serving
        weights.users += 1
        try:
            yield weights
        finally:
            weights.users -= 1

    async def _turn(self, request: SampleRequest) -> Sample:
        prompt = request.prompt_ids
        if not prompt:
            raise UserError("the vllm sampler needs prompt_ids: render the messages with its `chat`")
        tag = self._tag(request.tools) if self._guided and request.tools else None
        # To be scored, a turn has to leave room for one token after it.
        room = math.inf if self.context is None else self.context - len(prompt) - (tag is not None)
        if room < 1:
            raise RefusedFailure(f"a prompt of {len(prompt)} tokens leaves no room in a context of {self.context}")
        end_ids, stop = sorted(self.chat.end_ids), self.chat.dialect.stop
        how = Decoding(request.seed % 2**63, int(min(self._max_tokens, room)), self._temperature, end_ids, stop, tag)
        async with self._weights() as weights:
            written = await self._engine.generate(prompt, how, weights.adapter)
            ids, logprobs = written.ids, written.logprobs
            if tag is not None:
                logprobs = (await self._engine.score(prompt + ids, weights.adapter))[len(prompt) - 1 :]
        if written.finish not in ("stop", "length"):
            raise SamplerFailure(f"vLLM ended a turn with {written.finish!r}")
        if not all(map(math.isfinite, logprobs)):
            raise SamplerFailure("the model gives no finite probabilities: its weights are broken")
        self.usage.requests += 1
        self.usage.prompt_tokens += len(prompt)
        self.usage.cached_tokens += written.cached
        self.usage.sampled_tokens += len(ids)
        return Sample(self.chat.parse(ids), ids, logprobs, written.finish, weights.version)  # type: ignore[arg-type]

    def _tag(self, tools: Sequence[dict[str, Any]]) -> str:
        key = msgspec.json.encode(tools)
        if key not in self._tags:
            self._tags[key] = structural_tag(self.chat.dialect.call_grammar(tools) or [], self.chat.turn_end)
        return self._tags[key]

    async def _publish_adapter(self, path: Path, version: str, probe: Probe) -> None:
        retired = self._retired
        while retired is not None and retired.users:
            await asyncio.sleep(POLL)
        self._retired = None
        if retired is not None and retired.adapter is not None:
            await self._engine.drop_adapter(retired.adapter)
        adapter = Adapter(f"{version}#{uuid.uuid4().hex[:8]}", next(NUMBERS), str(path))
        await self._engine.load_adapter(adapter)
        wrong = probe.mismatch(await self._engine.score(probe.ids, adapter), self._engine.tolerance)
        if wrong:
            await self._engine.drop_adapter(adapter)
            raise SamplerFailure(f"{version} was not published: {wrong}; {self.version} is still served")
        self._retired, self._serving = self._serving, _Weights(version, adapter)

    async def _publish_weights(self, path: Path, version: str, probe: Probe) -> None:
        self._paused, before = True, self._mismatch
        try:
            await self._drained()
            self._mismatch = f"{version} was not published, and the weights before it are gone: publish again"
            await self._engine.load_weights(str(path))
            wrong = probe.mismatch(await self._engine.score(probe.ids, None), self._engine.tolerance)
            if wrong:
                raise SamplerFailure(f"{self._mismatch} ({wrong})")
            self._retired, self._serving, self._mismatch = self._serving, _Weights(version), ""
        except UserError:  # refused before anything was changed
            self._mismatch = before
            raise
        finally:
            self._paused = False
