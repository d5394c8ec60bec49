"""The seam between episodes and models: token ids in, token ids and logprobs out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from agentgym.errors import UserError
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

    def mismatch(self, served: Sequence[float], tolerance: float) -> str:
        """What is wrong with the logprobs that a sampler gives; empty when they are the trainer's.

        Args:
            served: Of each id after the first.
            tolerance: Of the mean difference, in nats.
        """
        mean = sum(abs(a - b) for a, b in zip(self.logprobs, served, strict=True)) / len(self.logprobs)
        if mean <= tolerance:
            return ""
        return f"the engine serves other weights (logprobs of the probe are off by {mean:.3g} on average)"


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


def no_model(path: str | Path) -> str:
    """What to do where there is no model directory: make one, or fetch what looks like a hub's name."""
    fetch = f"`hf download {path} --local-dir DIRECTORY` fetches one from the hub, " if str(path).count("/") == 1 else ""
    return f"{fetch}`agentgym model init` makes a small one"


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


class Publisher(Sampler, Protocol):
    """A sampler that can be given other weights while it runs."""

    async def publish(self, directory: str | Path, version: str, probe: Probe) -> None:
        """Serve other weights from now on: a LoRA adapter where `directory` has an ``adapter_config.json``, else a whole model.

        A turn is written by one version alone.

        Args:
            directory: A Hugging Face directory; that of an adapter must stay as it is until the publication after the next.
            version: Goes into all samples that these weights write.
            probe: What the trainer's weights give. It can only tell weights apart that differ by more than the tolerance on it.

        Raises:
            UserError: there is nothing to publish, or the sampler cannot take it.
            SamplerFailure: the sampler still serves other weights.
        """
        ...


def publishable(directory: str | Path, probe: Probe) -> Path:
    """The directory to publish, resolved.

    Raises:
        UserError: there is none, or the probe says nothing.
    """
    path = Path(directory).resolve()
    if not path.is_dir():
        raise UserError(f"there is nothing to publish in {path}: give a model or adapter directory")
    if not probe.logprobs or len(probe.logprobs) != len(probe.ids) - 1:
        raise UserError("a probe has at least two ids, and a logprob for each after the first")
    return path
