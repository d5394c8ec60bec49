"""Sampling from any server with the OpenAI chat-completions API, for teachers and judges."""

import asyncio
import ipaddress
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from agentgym.errors import UserError
from agentgym.messages import from_openai, to_openai
from agentgym.sampling.base import Sample, SampleRequest, Usage
from agentgym.sampling.http import Endpoint

OPENAI = "https://api.openai.com/v1"


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Written(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # what newer vLLM and OpenRouter call it


class _Choice(msgspec.Struct):
    message: _Written
    finish_reason: str | None = None


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Tokens(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Cached | None = None


class _Answer(msgspec.Struct):
    """The part of a chat completion that is used; what does not fit this shape is malformed."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Tokens | None = None


class OpenAISampler:
    """A sampler over an OpenAI-compatible server.

    Such servers say nothing exact about tokens: `Sample.token_ids` is None, so a trainer can use the text alone.

    Args:
        model: The model's name on the server.
        base_url: Up to and including ``/v1``; by default `OPENAI_BASE_URL` of the environment, else OpenAI's own.
        api_key: By default `OPENAI_API_KEY` of the environment; servers on this machine need none.
        temperature: Always sent, since servers differ in what they take by default.
        max_tokens: Longest turn in tokens, thoughts included.
        requests_per_minute: No more are sent; None for no limit.
        prices: For a million tokens read and a million written. Tokens from a prefix cache count in full.
        extra: Merged into the body of every request; None takes a field out that a server refuses.

    Raises:
        UserError: there is no key, no URL, or a number makes no sense.
    """

    chat = None
    context = None

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        temperature: float = 1.0,
        max_tokens: int = 256,
        requests_per_minute: float | None = None,
        prices: tuple[float, float] = (0.0, 0.0),
        extra: Mapping[str, Any] = {},
    ) -> None:
        if max_tokens < 1 or temperature < 0:
            raise UserError("max_tokens has to be at least 1, temperature at least 0")
        url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.usage = Usage()
        self._endpoint = Endpoint(url, headers=headers, requests_per_minute=requests_per_minute, usage=self.usage)
        server = urlsplit(url)
        if not key and not _is_this_machine(server.hostname or ""):
            raise UserError(f"{server.netloc} needs a key: set OPENAI_API_KEY (to any word where the server wants none)")
        self.version = f"{model}@{server.netloc}"
        # OpenAI's newer models refuse `max_tokens`; vLLM and the others that are up to date take both names.
        self._body = {"model": model, "temperature": temperature, "max_completion_tokens": max_tokens}
        self._prices, self._extra = prices, extra

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """Write one turn for each request, all at once.

        Raises:
            SamplerFailure: the server gave no proper answer after all attempts, or cannot serve this conversation.
            UserError: the key, the URL or the model's name is wrong.
        """
        turns = [asyncio.ensure_future(self._one(r)) for r in requests]
        try:
            return await asyncio.gather(*turns)
        finally:
            for turn in turns:  # where one failed, nobody waits for the others
                turn.cancel()

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def _one(self, request: SampleRequest) -> Sample:
        body: dict[str, Any] = {
            **self._body,
            "messages": [to_openai(m, json_arguments=True) for m in request.messages],
            "tools": list(request.tools) or None,  # an empty list is refused
            "seed": request.seed,
            **self._extra,
        }
        body = {name: value for name, value in body.items() if value is not None}
        answer: _Answer = await self._endpoint.post("chat/completions", body, lambda raw: msgspec.convert(raw, _Answer))
        self._count(answer.usage or _Tokens())
        choice = answer.choices[0]
        written = msgspec.to_builtins(choice.message)
        thinking = choice.message.reasoning_content or choice.message.reasoning
        message = from_openai({**written, "role": "assistant", "reasoning_content": thinking})
        return Sample(message, finish="length" if choice.finish_reason == "length" else "stop", version=self.version)

    def _count(self, tokens: _Tokens) -> None:
        details = tokens.prompt_tokens_details or _Cached()
        self.usage.requests += 1
        self.usage.prompt_tokens += tokens.prompt_tokens
        self.usage.cached_tokens += details.cached_tokens or 0
        self.usage.sampled_tokens += tokens.completion_tokens
        read, write = self._prices
        self.usage.cost += (tokens.prompt_tokens * read + tokens.completion_tokens * write) / 1e6


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
