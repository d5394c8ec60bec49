"""A sampler from what is written on the command line."""

from pathlib import Path

from agentgym.dialects import dialect as dialect_named
from agentgym.errors import UserError
from agentgym.sampling.base import Sampler
from agentgym.sampling.scripted import oracle


def open_sampler(
    policy: str, *, temperature: float = 1.0, max_tokens: int = 256, batch: int = 32, dialect: str | None = None
) -> Sampler:
    """The sampler that `policy` names.

    Args:
        policy: ``oracle``, a Hugging Face model directory, ``openai:MODEL`` with server and key from the environment
            (`OPENAI_BASE_URL`, `OPENAI_API_KEY`), or ``openai:http://host:port/v1#MODEL``.
        temperature: 0 takes the likeliest token.
        max_tokens: Longest turn, in tokens.
        batch: Rows decoded at once, for a model directory.
        dialect: Of a model directory; by default what its chat template speaks. Servers read tool calls themselves.

    Raises:
        UserError: no such policy, or the extra that it needs is not installed.
    """
    if policy == "oracle":
        return oracle()
    if policy.startswith("openai:"):
        return _openai(policy, temperature, max_tokens)
    if not Path(policy).is_dir():  # before torch is imported
        raise UserError(
            f"there is no policy {policy!r}: use `oracle`, `openai:MODEL`, or a model directory (see `agentgym model init`)"
        )
    try:
        from agentgym.sampling.transformers import TransformersSampler  # torch comes with an extra
    except ImportError as error:
        raise UserError(f"sampling from a model needs {error.name}: pip install 'agentgym[train]'") from error
    spoken = dialect_named(dialect) if dialect else None
    return TransformersSampler(policy, temperature=temperature, max_tokens=max_tokens, max_batch=batch, dialect=spoken)


def _openai(policy: str, temperature: float, max_tokens: int) -> Sampler:
    url, hash_sign, model = policy.removeprefix("openai:").rpartition("#")
    if not model or bool(hash_sign) != url.startswith(("http://", "https://")) or "://" in model:
        raise UserError(f"{policy!r} is no policy: write openai:MODEL or openai:http://host:port/v1#MODEL")
    try:
        from agentgym.sampling.openai import OpenAISampler  # aiohttp comes with an extra
    except ImportError as error:
        raise UserError(f"sampling from a server needs {error.name}: pip install 'agentgym[openai]'") from error
    return OpenAISampler(model, base_url=url or None, temperature=temperature, max_tokens=max_tokens)
