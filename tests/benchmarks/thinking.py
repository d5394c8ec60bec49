"""How fast training is: thinking over several turns in one pass against as many passes as turns.

``python -m tests.benchmarks.thinking --json`` prints one line of JSON last: for each number of turns the ids that either form reads,
the seconds of a step forward and backward (best of `--repeat`, both taken in turns), their ratio, and how far the gradients
differ, relatively.

The conversations have thoughts of 24 words, answers of 12 and requests of 12, under a template that shows the last thought alone.
"""

import argparse
import json
import random
import time
from typing import Any

import torch

from agentgym import Message, Task, assistant, user
from agentgym_training.batches import branched, padded
from agentgym_training.nano import make_model, train_tokenizer
from agentgym_training.objectives.single_pass import merged
from agentgym_training.rows import Row, training_rows
from agentgym_trajectories.tree import Episode, Trajectory

WORDS = [f"w{a}{b}" for a in "abcdefgh" for b in "ijklmnop"]
TOLD = "{% if message.reasoning_content %}"


def conversation(turns: int, rng: random.Random) -> Trajectory:
    """Requests, thoughts and answers of random words."""

    def said(count: int) -> str:
        return " ".join(rng.choices(WORDS, k=count))

    episode = Episode("x/Y-v0", Task("Talk.", {}, str(rng.random())), 0, "v", nodes=[])
    parent = -1
    for _ in range(turns):
        parent = episode.add(parent, "observation", (user(said(12)),)).id
        parent = episode.add(parent, "action", (assistant(said(12), thinking=said(24)),), reward=1.0, success=True).id
    return next(episode.trajectories())


def step(model: Any, rows: list[Row]) -> torch.Tensor:
    """The gradient of the mean loss over the trained ids, as one vector."""
    model.zero_grad()
    given = padded(rows, 0)
    tree = branched(rows)
    positions = tree.get("position_ids", given["position_ids"])
    masks = {"attention_mask": tree["attention_mask"]} if tree else {}
    logits = model(input_ids=given["input_ids"], position_ids=positions, use_cache=False, **masks).logits
    row, at = (given["weights"] != 0).nonzero(as_tuple=True)
    before = tree["parents"][row, at] if tree else at - 1
    loss = torch.nn.functional.cross_entropy(logits[row, before], given["input_ids"][row, at])
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def measure(turns: int, count: int, repeat: int) -> dict[str, float]:
    """Both forms on the same conversations."""
    rng = random.Random(0)
    talks = [conversation(turns, rng) for _ in range(count)]
    messages: list[tuple[tuple[Message, ...], tuple[Any, ...]]] = [(t.messages, ()) for t in talks]
    tokenizer = train_tokenizer(messages)
    tokenizer.chat_template = tokenizer.chat_template.replace(TOLD, TOLD.replace(" %}", " and loop.last %}"))
    several = training_rows(talks, tokenizer)
    single = [merged([r for r in several if r.source == i]) for i in range(count)]
    model = make_model(tokenizer)
    seconds: dict[str, float] = {"several": 1e9, "single": 1e9}
    gradients = {}
    for _ in range(repeat):
        for name, rows in (("several", several), ("single", single)):
            began = time.perf_counter()
            gradients[name] = step(model, rows)
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    difference = (gradients["several"] - gradients["single"]).norm() / gradients["several"].norm()
    return {
        "several_ids": sum(len(r.input_ids) for r in several),
        "single_ids": sum(len(r.input_ids) for r in single),
        "several_seconds": seconds["several"],
        "single_seconds": seconds["single"],
        "ratio": seconds["several"] / seconds["single"],
        "gradient_difference": difference.item(),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", default="2,4,8")
    parser.add_argument("--count", type=int, default=4, help="Conversations in a step.")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {turns: measure(int(turns), options.count, options.repeat) for turns in options.turns.split(",")}
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
