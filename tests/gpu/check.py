"""Every check and measurement that wants a GPU, in one run of less than eight minutes.

``python -m tests.gpu.check`` needs one NVIDIA GPU, torch, transformers, accelerate, peft and what this project's core needs; it
prints JSON last. Where TRL and datasets are, its updates are measured beside ours. ``--tiny`` runs the same code at toy size on
whatever device there is, which is how the suite keeps it alive. A check that fails ends the run with an error.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

import agentgym
from agentgym.sampling import SampleRequest
from agentgym.sampling.transformers import TransformersSampler
from agentgym_training.packing import Scored, packed, score, share, takes_trees, token_logps
from agentgym_training.rl.batch import examples
from agentgym_training.rl.config import RL
from agentgym_training.rl.turns import turns_of
from agentgym_training.rl.update import Learner
from agentgym_trajectories.rollout import Memory, Rollout
from tests.benchmarks import train
from tests.templates import tokenizer

HALF_BILLION = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
TOY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
ENV = "gpu/Brief-v0"


class Brief(agentgym.Environment):
    """Two turns; each earns the more the shorter it is."""

    rubric = agentgym.Rubric(brief=1.0)
    max_turns = 2

    def tasks(self, split: str = "train") -> agentgym.Tasks:
        return agentgym.procedural(lambda rng: agentgym.Task(f"Say {rng.randrange(10**6)}."), split)

    def begin(self, task: agentgym.Task) -> str:
        self.state = 0.0
        return task.prompt

    def reply(self, message: agentgym.Message) -> str:
        self.state = 1 / (1 + len(message.content))
        return "Go on."

    def shape(self) -> dict[str, float]:
        return {"brief": self.state}


agentgym.register(ENV, Brief)


def model(tiny: bool) -> tuple[Any, Any]:
    """A randomly initialised Qwen3 and a byte-level tokenizer; bf16 on a GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    words = tokenizer("chatml")
    size = TOY if tiny else HALF_BILLION
    vocabulary = len(words) if tiny else 151_936
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary, num_key_value_heads=2, head_dim=32 if tiny else 128, tie_word_embeddings=True, **size
    )
    made = Qwen3ForCausalLM(config).to(device, torch.float32 if device == "cpu" else torch.bfloat16)
    return made.eval(), words


def sampling(net: Any, words: Any, tiny: bool) -> dict[str, float]:
    """Tokens per second of the transformers sampler, 32 rows, and its logprobs against one plain forward pass."""
    sampler = TransformersSampler(net, words, max_tokens=16 if tiny else 256, max_batch=32)
    prompts = [[(7 * i + j) % len(words) for j in range(40 + 5 * i)] for i in range(32)]
    requests = [SampleRequest([], [], prompt, seed=i) for i, prompt in enumerate(prompts)]

    async def run() -> list[Any]:
        try:
            return await sampler.sample(requests)
        finally:
            await sampler.close()

    began = time.perf_counter()
    samples = asyncio.run(run())
    seconds = time.perf_counter() - began
    worst = 0.0
    with torch.inference_mode():
        for prompt, sample in zip(prompts, samples, strict=True):
            ids = torch.tensor([prompt + sample.token_ids], device=net.device)
            logprobs = torch.log_softmax(net(input_ids=ids).logits[0, len(prompt) - 1 : -1].float(), -1)
            again = logprobs.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
            worst = max(worst, float((again - torch.tensor(sample.logprobs, device=net.device)).abs().mean()))
    return {"sample_tokens_per_s": sum(len(s.token_ids) for s in samples) / seconds, "logprob_mean_difference": worst}


def updating(net: Any, tiny: bool) -> dict[str, float]:
    """Tokens per second of forward, backward and AdamW, 8 rows of 512 tokens."""
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5)
    ids = torch.randint(net.config.vocab_size, (8, 32 if tiny else 512), device=net.device)
    steps, began = 0, 0.0
    for step in range(3 if tiny else 13):
        if step == 1 or (step == 3 and not tiny):  # the first steps warm up
            steps, began = 0, time.perf_counter()
        loss = net(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
        loss.item()  # waits for the device
    return {"update_tokens_per_s": steps * ids.numel() / (time.perf_counter() - began)}


def sharing() -> dict[str, float]:
    """How far log-probabilities and gradients of trees are from those of their sequences alone, in float32, relative."""
    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=300, num_key_value_heads=1, head_dim=32, tie_word_embeddings=True, **TOY)
    net = Qwen3ForCausalLM(config).to("cuda" if torch.cuda.is_available() else "cpu").eval()
    rng = np.random.default_rng(0)
    trunks = [rng.integers(1, 300, n).tolist() for n in (0, 40, 90)]
    ids = [trunks[i % 3] + rng.integers(1, 300, 10 + 13 * i).tolist() for i in range(12)]
    ends = np.cumsum([len(one) - 1 for one in ids])
    rows = [
        Scored(one, np.arange(1, len(one)), end - len(one) + np.arange(1, len(one))) for one, end in zip(ids, ends, strict=True)
    ]
    found = []
    for trees in (False, True):
        assert takes_trees(share(net) if trees else net) == trees, "the model does not take trees"
        logps = torch.zeros(int(ends[-1]), device=net.device)
        for micro in packed(net, rows, 700 if trees else 1, 0, net.device):
            scored = score(net, micro, token_logps)
            (scored**2).sum().backward()
            logps[micro.token] = scored.detach()
        found.append((logps, torch.cat([p.grad.flatten() for p in net.parameters()])))
        net.zero_grad()
    apart = {name: float((b - a).norm() / a.norm()) for name, a, b in zip(("logprobs", "gradients"), *found, strict=True)}
    assert max(apart.values()) < (1e-4 if net.device.type == "cpu" else 1e-3), apart  # a GPU's kernels add in other orders
    return {f"sharing_{name}_difference": x for name, x in apart.items()}


def learning(tiny: bool) -> dict[str, float]:
    """Episodes of several turns, an update, and its publication, which the sampler checks; one for LoRA, one for all weights."""
    with tempfile.TemporaryDirectory() as out:
        first, words = Path(out) / "first", tokenizer("chatml")
        torch.manual_seed(0)
        config = Qwen3Config(vocab_size=len(words), num_key_value_heads=1, head_dim=32, tie_word_embeddings=True, **TOY)
        Qwen3ForCausalLM(config).save_pretrained(first)
        words.save_pretrained(first)
        learner = Learner(first, first, RL(method="grpo", lr=1e-3, kl=0.01, entropy=0.01, steps=2))
        sampler, sink = TransformersSampler(first, max_tokens=4 if tiny else 64), Memory()

        async def go() -> dict[str, float]:
            tasks = agentgym.make(ENV).unwrapped.tasks()[: 2 if tiny else 16]
            await Rollout(ENV, samples=4, concurrency=64).run(tasks, sampler, sink)
            turns = turns_of(sink.episodes)
            rows = examples(sink.episodes, turns, learner.chat)
            measured, _ = learner.update(rows, learner.credit(rows, turns, 1)[0], turns.sampled, 1)
            learner.write(Path(out) / "1")
            await sampler.publish(Path(out) / "1", "1", learner.probe(rows[0].ids))
            await sampler.close()
            return measured

        measured = asyncio.run(go())
    return {f"update_{name}": measured[name] for name in ("drift", "entropy", "kl", "grad_norm", "ratio_max")}


def main(tiny: bool) -> dict[str, Any]:
    """Run all."""
    net, words = model(tiny)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    result: dict[str, Any] = {"device": device, "parameters": sum(p.numel() for p in net.parameters())}
    result |= sampling(net, words, tiny)
    result |= updating(net, tiny)
    del net
    gc.collect()
    torch.cuda.empty_cache()
    result |= sharing() | learning(tiny)
    with tempfile.TemporaryDirectory() as out:
        result["train"] = train.measure(train.TINY if tiny or not train.GPU else train.ON_GPU, Path(out))
    return result


if __name__ == "__main__":
    print(json.dumps(main("--tiny" in sys.argv)))
