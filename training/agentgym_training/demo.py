"""The whole main job at nano size, without a GPU or a hub: environment, trajectories, filter, training, evaluation."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from agentgym.cli.output import Output
from agentgym.sampling import oracle
from agentgym.sampling.transformers import TransformersSampler, load_tokenizer
from agentgym_trajectories.cli import choose_tasks, play_all
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.select import Duplicates, Errors, Reward, apply
from agentgym_trajectories.store import Store
from agentgym_trajectories.tree import Trajectory

from .evaluate import Evaluation, evaluate
from .nano import init_model
from .plots import before_and_after
from .rows import training_rows
from .sft import Sft, train_sft

ENV = "desk/Orders-v0"


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        tasks: Training tasks that the oracle plays.
        test_tasks: Held-out tasks of the evaluations.
        warmup_steps: Of the copy warm-up.
        sft: How the policy is trained.
    """

    tasks: int = 8000
    test_tasks: int = 200
    warmup_steps: int = 600
    sft: Sft = field(default_factory=lambda: Sft(max_steps=2400, lr=3e-3))


@dataclass(frozen=True)
class Outcome:
    """What came of it; `seconds` for everything, `episodes` collected for training."""

    before: Evaluation
    after: Evaluation
    seconds: float
    episodes: int
    picture: Path


def demo(out: Path, seed: int, output: Output, size: Size) -> Outcome:
    """Collect, select, make a policy, evaluate it, train it, evaluate it again.

    Args:
        out: Directory for episodes, models and the picture.
        seed: Of everything: another seed takes other training tasks, weights and batches; the test tasks stay.
        output: Where progress is told.
        size: How much.
    """
    began = time.perf_counter()
    gold = _collect(out / "gold", seed, output, size)
    output.say(f"2/5 Making a nano policy from {len(gold)} trajectories: tokenizer, fresh weights, copy warm-up.")
    base = init_model([(t.messages, t.episode.tools) for t in gold], out / "base", seed=seed, warmup_steps=size.warmup_steps)
    output.say(f"    {base['parameters']:,.0f} parameters, {base['vocabulary']:.0f} tokens in the vocabulary.")
    before = _evaluate(out / "base", "3/5", "before training", seed, output, size)
    output.say("4/5 Supervised fine-tuning on the agent's tokens.")
    sft = size.sft.model_copy(update={"seed": seed})
    rows = training_rows(gold, load_tokenizer(out / "base"))
    trained = train_sft(out / "base", rows, out / "policy", sft)
    output.say(f"    {trained['steps']:.0f} steps, {trained['tokens_per_second']:,.0f} tokens/s, loss {trained['loss']:.4f}.")
    after = _evaluate(out / "policy", "5/5", "after training", seed, output, size)
    picture = out / "demo.png"
    before_and_after(before, after, out / "policy" / "metrics.jsonl", picture)
    return Outcome(before, after, time.perf_counter() - began, len(gold), picture)


def _collect(run: Path, seed: int, output: Output, size: Size) -> list[Trajectory]:
    output.say(f"1/5 Collecting {size.tasks} episodes of {ENV} (train) with its oracle.")
    tasks = choose_tasks(ENV, {}, "train", seed * size.tasks, size.tasks)
    with Store(run, create=True) as store:
        play_all(Rollout(ENV, seed=seed), tasks, oracle(), store, output)
        store.add_selection("default", apply(store.trajectories(), [Reward(), Errors(), Duplicates()]))
        return list(store.trajectories("default"))


def _evaluate(model: Path, step: str, when: str, seed: int, output: Output, size: Size) -> Evaluation:
    output.say(f"{step} Evaluating {when} on {size.test_tasks} held-out tasks.")
    sink = Memory()
    tasks = choose_tasks(ENV, {}, "test", 0, size.test_tasks)
    sampler = TransformersSampler(model, temperature=0.0, max_tokens=96, max_batch=64)
    progress = play_all(Rollout(ENV, seed=seed, concurrency=64), tasks, sampler, sink, output)
    return evaluate(sink.episodes, progress.failed)
