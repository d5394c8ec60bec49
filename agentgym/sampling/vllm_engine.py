"""What the vLLM sampler asks of an engine: the seam between it and vLLM in a process of its own, or on a server."""

from typing import Any, Protocol

import msgspec

from agentgym.errors import UserError
from agentgym.sampling.base import Usage

TOLERANCES = {"float32": 0.02, "float16": 0.05, "bfloat16": 0.1}  # see `Engine.tolerance`


def tolerance(dtype: str) -> float:
    """The tolerance for weights in this format.

    Raises:
        UserError: vLLM is not used with it here.
    """
    if dtype not in TOLERANCES:
        raise UserError(f"there is no dtype {dtype!r}: use one of {', '.join(TOLERANCES)}")
    return TOLERANCES[dtype]


class Adapter(msgspec.Struct, frozen=True):
    """A LoRA adapter as an engine knows it: each publication has a name and a number of its own."""

    name: str
    number: int
    directory: str


class Decoding(msgspec.Struct, frozen=True):
    """How one turn is written.

    Attributes:
        seed: Of its sampling.
        max_tokens: The longest turn.
        temperature: 0 takes the likeliest token.
        end_ids: End the turn, and are part of it.
        stop: Strings that end it.
        structural_tag: xgrammar's JSON description of what may be written; None for anything.
    """

    seed: int
    max_tokens: int
    temperature: float
    end_ids: list[int]
    stop: tuple[str, ...] = ()
    structural_tag: str | None = None


class Written(msgspec.Struct, frozen=True):
    """One turn as an engine gives it.

    Attributes:
        ids: Sampled.
        logprobs: Of these ids, before temperature but after the grammar's mask.
        finish: "stop", "length", or what went wrong.
        cached: Tokens of the prompt that came from the prefix cache.
    """

    ids: list[int]
    logprobs: list[float]
    finish: str
    cached: int


class Engine(Protocol):
    """Runs a model; all its failures are `SamplerFailure`.

    Attributes:
        tokenizer: Of the model.
        version: Names the weights that it starts with.
        context: The longest prompt and answer together, in tokens; None when the model does not say.
        adapter: The LoRA adapter that it starts with.
        tolerance: Mean absolute difference, in nats, up to which two implementations of the same weights agree.
        usage: Counts of the sampler above.
    """

    tokenizer: Any
    version: str
    context: int | None
    adapter: Adapter | None
    tolerance: float
    usage: Usage

    async def generate(self, prompt: list[int], how: Decoding, adapter: Adapter | None) -> Written:
        """Write one turn; a cancelled call ends the engine's work on it."""
        ...

    async def score(self, ids: list[int], adapter: Adapter | None) -> list[float]:
        """The logprob of each id after the first."""
        ...

    async def load_adapter(self, adapter: Adapter) -> None:
        """Make an adapter usable."""
        ...

    async def drop_adapter(self, adapter: Adapter) -> None:
        """Forget an adapter that no request uses."""
        ...

    async def load_weights(self, directory: str) -> None:
        """Exchange all weights and forget what was computed with the old ones; no request may be under way."""
        ...

    async def sleep(self) -> None:
        """Free the GPU's memory; no request may be under way."""
        ...

    async def wake(self) -> None:
        """Take the memory back."""
        ...

    async def close(self) -> None:
        """End what this object started."""
        ...
