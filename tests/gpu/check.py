"""Every check and measurement that wants a GPU, in one run of a few minutes.

``python -m tests.gpu.check`` needs one NVIDIA GPU, torch, transformers and this project's core; it prints JSON last.
``--tiny`` runs the same code at toy size on whatever device there is, which is how the suite keeps it alive.
"""

import asyncio
import json
import sys
import time
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from agentgym.sampling import SampleRequest
from agentgym.sampling.transformers import TransformersSampler
from tests.templates import tokenizer

HALF_BILLION = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
TOY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}


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


def main(tiny: bool) -> dict[str, Any]:
    """Run all."""
    net, words = model(tiny)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    result: dict[str, Any] = {"device": device, "parameters": sum(p.numel() for p in net.parameters())}
    result |= sampling(net, words, tiny)
    result |= updating(net, tiny)
    return result


if __name__ == "__main__":
    print(json.dumps(main("--tiny" in sys.argv)))
