"""Tokens per second of whole collections against those of the inference engine alone.

``python -m tests.benchmarks.sampling --json`` prints one line of JSON last, in sampled tokens per second, measured in turns within
one run, the best of several rounds:

- `vllm_collect`: our engine with all records stored, a multi-turn environment, vLLM in its own process, 32 episodes at once;
- `vllm_alone`: vLLM given the very requests of that collection (prompts, seeds, lengths), 32 at once, without any environment;
- `transformers_collect`: the same collection through the transformers sampler;
- `lockstep`: the same episodes over the same vLLM sampler, 32 at once, all waiting for the longest answer of each turn.

The model has 6 million parameters and random weights but for a mood, so that its answers have very different lengths: half of them
within 20 tokens, one in twenty beyond 120, some cut at 256.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

import agentgym
from agentgym import Environment, Task, Tasks
from agentgym.sampling import Sample, Sampler, SampleRequest
from agentgym.sampling.transformers import TransformersSampler
from agentgym.sampling.vllm import VllmSampler
from agentgym.sampling.vllm_local import LocalEngine
from agentgym_trajectories.episode import Walk
from agentgym_trajectories.hosts import Host
from agentgym_trajectories.rollout import Rollout
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Episode
from tests.templates import tokenizer

ENV = "bench/Talk-v0"
AT_ONCE, TURNS, MAX_TOKENS = 32, 3, 256
SIZE = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 7, "num_attention_heads": 8, "num_key_value_heads": 4}


class Talk(Environment):
    """A conversation of three turns, whatever is said."""

    max_turns = TURNS

    def tasks(self, split: str = "train") -> Tasks:
        return Tasks(lambda i: Task(f"Say {i}.", {}, f"{split}-{i}", split), range(10**6))

    def reply(self, message: agentgym.Message) -> str:
        return "Go on."


def make_model(directory: Path) -> int:
    """A random Qwen3 over bytes. Returns the number of its parameters."""
    words = tokenizer("chatml")
    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=len(words), head_dim=32, max_position_embeddings=4096, tie_word_embeddings=False, **SIZE)
    config.eos_token_id = words.eos_token_id
    model = Qwen3ForCausalLM(config)
    # Half of the tokens are brief, half talkative: each makes its like more likely, and a brief one the end of the turn too.
    mood = torch.randn(SIZE["hidden_size"]).sign() * SIZE["hidden_size"] ** -0.5
    sides = (2 * (torch.arange(len(words)) % 2) - 1)[:, None] * mood
    with torch.no_grad():
        model.model.embed_tokens.weight += 8.0 * sides
        model.lm_head.weight += 0.18 * sides
        model.lm_head.weight[words.eos_token_id] = -0.31 * mood
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return model.num_parameters()  # type: ignore[no-any-return]


class Recording:
    """A sampler that remembers what it was asked."""

    def __init__(self, sampler: Sampler) -> None:
        self.inner, self.log = sampler, list[tuple[list[int], int, int]]()
        self.chat, self.version, self.context, self.usage = sampler.chat, sampler.version, sampler.context, sampler.usage

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        prompts = [list(r.prompt_ids or ()) for r in requests]  # the conversation appends to its list
        samples = await self.inner.sample(requests)
        for request, prompt, sample in zip(requests, prompts, samples, strict=True):
            self.log.append((prompt, request.seed, len(sample.token_ids or ())))
        return samples

    async def close(self) -> None: ...


async def collect(sampler: Sampler, episodes: int) -> float:
    """Tokens per second of a stored collection."""
    with tempfile.TemporaryDirectory() as folder, Store(folder, create=True) as store:
        began = time.perf_counter()
        plan = Rollout(ENV, concurrency=AT_ONCE)
        progress = await plan.run(Talk().tasks()[:episodes], sampler, store)
        seconds = time.perf_counter() - began
        assert progress.played == episodes
        tokens = store.totals(ENV, {}, sampler.version)["tokens"]
    return float(tokens / seconds)


async def lockstep(sampler: Sampler, episodes: int) -> float:
    """Tokens per second where all episodes of a batch wait for each other at every turn."""
    tokens, began = 0, time.perf_counter()
    for first in range(0, episodes, AT_ONCE):
        batch = [Episode(ENV, t, 0, sampler.version) for t in Talk().tasks()[first : min(first + AT_ONCE, episodes)]]
        walks = [Walk(Host(Talk()), sampler, e, i) for i, e in enumerate(batch)]
        for walk in walks:
            await walk.start()
        while any(await asyncio.gather(*(walk.turn() for walk in walks))):
            pass
        tokens += sum(len(n.token_ids or ()) for e in batch for n in e.nodes if n.kind == "action")
    return tokens / (time.perf_counter() - began)


async def alone(vllm: Any, log: list[tuple[list[int], int, int]]) -> float:
    """Tokens per second of the bare engine on the same requests, in the same order."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    requests, tokens = iter(enumerate(log)), 0

    async def work() -> None:
        nonlocal tokens
        for number, (prompt, seed, length) in requests:
            how = SamplingParams(
                temperature=1.0,
                seed=seed,
                max_tokens=length,  # exactly so many, whatever is sampled
                ignore_eos=True,
                detokenize=False,
                logprobs=0,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            async for out in vllm.generate({"type": "token", "prompt_token_ids": prompt}, how, f"alone-{time.time()}-{number}"):
                tokens += len(out.outputs[0].token_ids)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return tokens / (time.perf_counter() - began)


async def measure(directory: Path, episodes: int, rounds: int) -> dict[str, float]:
    """Everything, in turns; the engine starts, compiles and warms up before."""
    engine = LocalEngine(directory, max_batch=AT_ONCE)
    vllm = VllmSampler(engine, max_tokens=MAX_TOKENS)
    plain = TransformersSampler(directory, max_tokens=MAX_TOKENS, max_batch=AT_ONCE)
    best: dict[str, float] = {}
    try:
        for sampler in (vllm, plain):
            await collect(sampler, 4)
        raw = await engine._thread.run(engine._engine())  # vLLM's own object, on its own loop
        for _ in range(rounds):
            recording = Recording(vllm)
            speeds = {}
            for name in ("vllm_collect", "vllm_alone", "lockstep", "transformers_collect"):
                await engine._thread.run(raw.reset_prefix_cache())
                if name == "vllm_alone":
                    speeds[name] = await engine._thread.run(alone(raw, recording.log))
                elif name == "lockstep":
                    speeds[name] = await lockstep(vllm, episodes)
                else:
                    speeds[name] = await collect(recording if name == "vllm_collect" else plain, episodes)
            best = {name: max(best.get(name, 0.0), round(speed, 1)) for name, speed in speeds.items()}
    finally:
        await vllm.close()
        await plain.close()
    return best


def main(episodes: int = 192, rounds: int = 2) -> dict[str, float]:
    """Make the model and measure."""
    agentgym.register(ENV, Talk)
    with tempfile.TemporaryDirectory() as folder:
        parameters = make_model(Path(folder))
        print(f"{parameters / 1e6:.1f}M parameters, {episodes} episodes of {TURNS} turns", file=sys.stderr)
        return asyncio.run(measure(Path(folder), episodes, rounds))


if __name__ == "__main__":
    found = main()
    if "--json" not in sys.argv:
        for name, speed in found.items():
            print(f"{name:>21}: {speed:8,.0f} sampled tokens per second")
        print(f"collecting is at {found['vllm_collect'] / found['vllm_alone']:.2f} of the engine alone,")
        print(f"and {found['vllm_collect'] / found['lockstep']:.2f} times a lockstep loop")
    print(json.dumps(found))
