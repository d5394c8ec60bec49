"""A running vLLM server with the OpenAI API, as an engine of the vLLM sampler."""

import contextlib
import json
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

import msgspec

from agentgym.errors import SamplerFailure, UserError
from agentgym.sampling.base import Usage
from agentgym.sampling.http import Endpoint
from agentgym.sampling.transformers import load_tokenizer, weights_version
from agentgym.sampling.vllm_engine import Adapter, Decoding, Written, tolerance


class _Logprobs(msgspec.Struct):
    token_logprobs: list[float]


class _Choice(msgspec.Struct):
    finish_reason: str
    token_ids: list[int]
    logprobs: _Logprobs | None = None
    prompt_logprobs: list[dict[str, dict[str, Any]] | None] | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens_details: _Details | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage


class ServerEngine:
    """A vLLM server. It is asked for its model when this object is made, and may be restarted later.

    What a server has to be started with, beside its model:

    - to count cached tokens: ``--enable-prompt-tokens-details``;
    - on a CPU: ``--no-enable-chunked-prefill --max-num-batched-tokens N`` with an N of at least the context, since a prompt
      with a seed that is read in two steps kills vLLM there;
    - for adapters: ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``, ``--enable-lora --max-loras 2 --max-lora-rank R`` and
      ``--lora-target-modules`` with the names of all linear layers but the head: vLLM dies, or mixes rows up, when it scores a
      prompt and the head may have an adapter;
    - for full weights, `sleep` and `wake`: ``VLLM_SERVER_DEV_MODE=1``, on a CPU also ``AGENTGYM_VLLM_UPDATES=1``, on a GPU
      ``--enable-sleep-mode``. A server that was restarted serves its first weights again: sampling then fails until the next
      publication.

    ``--logprobs-mode`` has to be ``raw_logprobs``, the default. Directories are read by the server, on its machine.

    Args:
        url: As in ``http://host:8000``.
        tokenizer: A directory; by default the model's own on the server, if it can be read from here.
        dtype: What the server computes in; decides how exactly published weights have to be met.

    Raises:
        UserError: no vLLM server answers there, or the tokenizer is not to be found.
    """

    def __init__(self, url: str, tokenizer: str | Path | None = None, *, dtype: str = "bfloat16") -> None:
        self.usage = Usage()
        self.adapter: Adapter | None = None
        self._endpoint = Endpoint(url, usage=self.usage)
        self.tolerance = tolerance(dtype)
        card = _model_card(self._endpoint.url)
        self._model: str = card["id"]
        self.context: int | None = card.get("max_model_len")
        root = Path(str(card.get("root")))
        if tokenizer is None and not root.is_dir():
            raise UserError(f"the model of {url} is not at {root} on this machine: name its tokenizer as {url}#DIRECTORY")
        self.tokenizer = load_tokenizer(Path(tokenizer or root))
        self.version = weights_version(root) if root.is_dir() else self._model
        self._published = ""  # full weights that the server has to have

    async def generate(self, prompt: list[int], how: Decoding, adapter: Adapter | None) -> Written:
        """Write one turn; a cancelled call ends the server's work on it."""
        body: dict[str, Any] = {
            "max_tokens": how.max_tokens,
            "temperature": how.temperature,
            "seed": how.seed,
            "stop_token_ids": how.end_ids,
            "stop": how.stop,
            "logprobs": 0,  # of the sampled token alone
        }
        if how.structural_tag is not None:
            body["structured_outputs"] = {"structural_tag": how.structural_tag}
        choice, usage = await self._complete(prompt, body, adapter)
        if choice.logprobs is None or len(choice.logprobs.token_logprobs) != len(choice.token_ids):
            raise SamplerFailure("the vLLM server gave no logprobs")
        details = usage.prompt_tokens_details
        cached = details.cached_tokens or 0 if details else 0
        return Written(choice.token_ids, choice.logprobs.token_logprobs, choice.finish_reason, cached)

    async def score(self, ids: list[int], adapter: Adapter | None) -> list[float]:
        """The logprob of each id after the first."""
        choice, _ = await self._complete(ids, {"max_tokens": 1, "prompt_logprobs": 0}, adapter)
        at = (choice.prompt_logprobs or [])[1:]
        return [float((p or {})[str(i)]["logprob"]) for i, p in zip(ids[1:], at, strict=True)]

    async def load_adapter(self, adapter: Adapter) -> None:
        """Make an adapter usable."""
        body = {"lora_name": adapter.name, "lora_path": adapter.directory}
        await self._endpoint.post("/v1/load_lora_adapter", body, None)

    async def drop_adapter(self, adapter: Adapter) -> None:
        """Forget an adapter that no request uses; a server that was started anew never knew it."""
        with contextlib.suppress(UserError):
            await self._endpoint.post("/v1/unload_lora_adapter", {"lora_name": adapter.name}, None)

    async def load_weights(self, directory: str) -> None:
        """Exchange all weights and forget what was computed with the old ones; other clients' requests are waited for."""
        await self._endpoint.post("/pause?mode=wait", {}, None)
        try:
            body = {"method": "reload_weights", "kwargs": {"weights_path": directory}}
            await self._endpoint.post("/collective_rpc", body, None)
            self._published = weights_version(Path(directory))
            await self._endpoint.post("/update_weight_version", {"new_version": self._published})
            if not (await self._endpoint.post("/reset_prefix_cache", {}))["success"]:
                raise SamplerFailure("the vLLM server did not forget what it had computed with the old weights")
        finally:
            await self._endpoint.post("/resume", {}, None)

    async def sleep(self) -> None:
        """Let the server free its GPU's memory; on a CPU, where nothing is to be shared, it only stops working."""
        await self._endpoint.post("/sleep?level=1", {}, None)

    async def wake(self) -> None:
        """Undo `sleep`."""
        await self._endpoint.post("/wake_up", {}, None)

    async def close(self) -> None:
        """Close all connections; the server goes on."""
        await self._endpoint.close()

    async def _complete(self, prompt: list[int], body: dict[str, Any], adapter: Adapter | None) -> tuple[_Choice, _Usage]:
        body |= {
            "model": adapter.name if adapter else self._model,
            "prompt": prompt,
            "return_token_ids": True,
            "ignore_eos": True,  # the end tokens are those asked for
            # The model's own defaults for sampling must not hold:
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        }
        try:
            answer: _Completion = await self._endpoint.post("/v1/completions", body, _Completion)
        except UserError as error:
            if adapter is None:
                raise
            raise SamplerFailure(f"the vLLM server has lost the adapter {adapter.name}: publish again ({error})") from error
        if self._published:
            serves = await self._endpoint.get("/weight_info")
            if serves["weight_version"] != self._published:
                raise SamplerFailure("the vLLM server no longer serves the weights that were published: publish again")
        return answer.choices[0], answer.usage


def _model_card(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as answer:
            cards = json.load(answer)["data"]
        return dict(next(c for c in cards if not c.get("parent")))  # adapters have a parent
    except (OSError, HTTPException, ValueError, KeyError, TypeError, StopIteration) as error:
        remedy = "start one with `python -m vllm.entrypoints.openai.api_server --model DIRECTORY`"
        raise UserError(f"no vLLM server answers at {url} ({type(error).__name__}: {error}): {remedy}") from error
