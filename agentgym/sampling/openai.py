"""Sampling from any server with the chat completions API of OpenAI: teachers, judges, baselines."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from agentgym.errors import RefusedFailure, SamplerFailure, UserError
from agentgym.messages import from_openai, to_openai
from agentgym.sampling.base import Sample, SampleRequest, Usage
from agentgym.sampling.http import Endpoint

DEFAULT_URL = "https://api.openai.com/v1"
ENDS = (None, "stop", "length", "tool_calls", "function_call")  # of a turn that is whole, or cut at the limit
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Completion(msgspec.Struct):
    """What of an answer is read. An answer of another shape is malformed and asked for again."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage | None = None


class OpenAISampler:
    """A sampler over a chat completions server: OpenAI, vLLM, SGLang, OpenRouter and many others.

    Its samples have text alone, no token ids and no log-probabilities, so that nothing can be trained on exactly what the model
    wrote; tokens of another model's tokenizer can be made from the text.

    Args:
        model: As the server names it.
        base_url: Up to `/v1`; by default $OPENAI_BASE_URL, else OpenAI's.
        api_key: By default $OPENAI_API_KEY. A server on this machine needs none.
        temperature: Always sent, since servers have defaults of their own.
        max_tokens: Longest turn, thoughts included; None leaves it to the server.
        requests_per_minute: No more than so many are sent.
        prices: Of a million prompt tokens and of a million sampled tokens, for `usage.cost`. Cached tokens count in full.
        extra: Further fields of the request's body, which win over those that are sent anyway; None leaves out a field that the
            server refuses.

    Raises:
        UserError: there is no key, or no such URL.
    """

    chat = None
    context = None

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        temperature: float = 1.0,
        max_tokens: int | None = None,
        requests_per_minute: float | None = None,
        prices: tuple[float, float] = (0.0, 0.0),
        extra: Mapping[str, Any] = {},
    ) -> None:
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
        self.usage = Usage()
        self.endpoint = Endpoint(
            base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            requests_per_minute=requests_per_minute,
            usage=self.usage,
        )
        host = self.endpoint.host
        if not key and host not in LOOPBACK:
            raise UserError(f"the server {host} needs an API key: set OPENAI_API_KEY (in Python, `api_key`)")
        self.version = f"{model}@{host}"
        self._prices, self._extra = prices, dict(extra)
        self._settings: dict[str, Any] = {"model": model, "temperature": temperature}
        if max_tokens is not None:
            # Not `max_tokens`, which OpenAI's reasoning models refuse; vLLM, SGLang and OpenRouter know this name as well.
            self._settings["max_completion_tokens"] = max_tokens

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """Write one turn for each request, all at the same time.

        Raises:
            SamplerFailure: the server does not answer, or refuses a conversation.
            UserError: the server refuses all requests: wrong key, URL or model.
        """
        tasks = [asyncio.create_task(self._one(r)) for r in requests]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # where another one failed
                task.cancel()

    async def close(self) -> None:
        """Close all connections."""
        await self.endpoint.close()

    async def _one(self, request: SampleRequest) -> Sample:
        messages = [to_openai(m, json_arguments=True) for m in request.messages]
        body = {**self._settings, "messages": messages, "seed": request.seed}
        if request.tools:  # an empty list is refused by some servers
            body["tools"] = list(request.tools)
        body = {name: value for name, value in (body | self._extra).items() if value is not None}
        answer: _Completion = await self.endpoint.post("/chat/completions", body, _Completion)
        self._count(answer.usage or _Usage())
        choice = answer.choices[0]
        data = msgspec.to_builtins(choice.message) | {"role": "assistant"}
        data["reasoning_content"] = choice.message.reasoning_content or choice.message.reasoning
        if choice.finish_reason == "content_filter":
            raise RefusedFailure("the server filtered the answer out")
        if choice.finish_reason not in ENDS:
            raise SamplerFailure(f"the server ended a turn with {choice.finish_reason!r}")
        finish = "length" if choice.finish_reason == "length" else "stop"
        return Sample(from_openai(data), finish=finish, version=self.version)  # type: ignore[arg-type]

    def _count(self, usage: _Usage) -> None:
        details = usage.prompt_tokens_details
        self.usage.requests += 1
        self.usage.prompt_tokens += usage.prompt_tokens
        self.usage.cached_tokens += (details.cached_tokens or 0) if details else 0
        self.usage.sampled_tokens += usage.completion_tokens
        self.usage.cost += (usage.prompt_tokens * self._prices[0] + usage.completion_tokens * self._prices[1]) / 1e6
