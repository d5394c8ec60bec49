"""The seam between episodes and models: token ids in, token ids and logprobs out."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from agentgym.messages import Message
from agentgym.tokens import Chat


class SampleRequest(msgspec.Struct):
    """One turn to be written.

    Attributes:
        messages: The conversation so far.
        tools: Schemas of the tools that may be called.
        prompt_ids: The exact ids that the model is to see; None for samplers without a tokenizer.
        seed: Makes this turn's sampling repeatable, whatever else is in the batch.
        env: The live environment, for scripted policies alone; a model must not look at it.
    """

    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]]
    prompt_ids: list[int] | None = None
    seed: int = 0
    env: Any = None


class Sample(msgspec.Struct, frozen=True):
    """One turn as written.

    Attributes:
        message: The turn, parsed.
        token_ids: The sampled ids, end of turn included where it was sampled; None for samplers without a tokenizer.
        logprobs: For each id its log-probability under the policy at temperature 1 (what a trainer recomputes), whatever the
            sampling temperature.
        finish: "length" when the turn was cut off by the token limit.
        version: The weights that wrote it.
    """

    message: Message
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    finish: Literal["stop", "length"] = "stop"
    version: str = ""


class Probe(msgspec.Struct, frozen=True):
    """What a trainer's weights give for a text, so that a sampler can check that it serves these weights.

    Attributes:
        ids: Token ids.
        logprobs: Of each id after the first, given those before it.
    """

    ids: list[int]
    logprobs: list[float]


class Usage(msgspec.Struct):
    """What a sampler was asked for so far.

    Attributes:
        requests: Turns written.
        prompt_tokens: Read, those among them that came from a prefix cache included.
        cached_tokens: Of these, how many came from a prefix cache.
        sampled_tokens: Written.
        retries: Times that a server had to be asked again.
        cost: In the currency of the prices given; 0 without prices.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    sampled_tokens: int = 0
    retries: int = 0
    cost: float = 0.0


class Sampler(Protocol):
    """Writes turns."""

    @property
    def usage(self) -> Usage:
        """Counts since this sampler was made."""

    @property
    def chat(self) -> Chat | None:
        """Template and dialect of the model's tokens; None where there are no tokens."""

    @property
    def version(self) -> str:
        """Names the weights, so that every record says who wrote it."""

    @property
    def context(self) -> int | None:
        """The longest prompt and answer together, in tokens; None for no limit."""

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """Write one turn for each request; many calls may be under way at once.

        Raises:
            SamplerFailure: inference died; the requests may be tried again.
        """
        ...

    async def close(self) -> None:
        """Free what the sampler holds."""
        ...
