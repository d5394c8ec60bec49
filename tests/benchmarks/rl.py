"""Does it work: our methods and TRL's GRPOTrainer, from the same SFT checkpoint, in the same environment, on as many sampled tokens.

``python -m tests.benchmarks.rl --json`` prints one line of JSON last: for each environment and method held-out success before and
after (means over seeds, the mean of the last three measurements being what is had after), the gain in points, and `tokens_to_grpo`,
the sampled tokens after which a method first had GRPO's final success as a share of GRPO's own (None where a seed never had it; it
has it when the mean of three measurements in a row is as high). `tokens_to_most` is the same for nine tenths of GRPO's gain: the noise of
a plateau does not decide it.
``rl.png`` in ``--out`` has all curves. Options: ``--env desk`` (or keydoor), ``--methods grpo,gigpo,archer,grpo-replay,trl``,
``--seeds 0,1,2``, ``--tiny``, ``--out DIR`` (give it again to go on).

GRPO and GiGPO learn from a batch once. ArCHer is off-policy: it learns from each batch in three updates, and its KL to the first
policy keeps it from unlearning what it could. "grpo-replay" is GRPO with both, so that it can be seen what the critic adds.

They begin where `tests.benchmarks.gain` does, with a policy that has learnt from somebody in a hurry (`tests.benchmarks.hasty`) and
solves a quarter to a third of its tasks. TRL gets its episodes from our rollout engine, sampled from its own model, through
`rollout_func`; its loss, optimizer and loop are its own.
"""

import argparse
import asyncio
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.cli.output import Output
from agentgym.sampling.transformers import TransformersSampler, load
from agentgym_training.files import write_json
from agentgym_training.rl.config import RL
from agentgym_training.rl.loop import CONCURRENCY, Loop, held_out
from agentgym_training.rl.methods import find_method
from agentgym_trajectories.cli import choose_tasks
from agentgym_trajectories.rollout import Memory, Rollout
from tests.benchmarks.hasty import BRIEF, STARTS

METHODS = {  # with their colours
    "grpo": "#2f7d5b",
    "gigpo": "#b5533c",
    "archer": "#3b5f8a",
    "grpo-replay": "#c79a2b",
    "trl": "#777777",
}
ARCHER = find_method("archer")
CONTROL: dict[str, dict[str, Any]] = {"grpo-replay": {"method": "grpo", "replay": ARCHER.replay, "kl": ARCHER.objective.kl}}
Curve = list[tuple[int, float]]  # sampled tokens, held-out success


@dataclass(frozen=True)
class Size:
    """How much is done."""

    warmup: tuple[str, ...] = ()  # what is changed in it
    updates: int = 48
    tasks: int = 4  # with 16, GRPO needs two to three times the tokens
    samples: int = 8
    steps: int = 2  # of the optimizer in each update
    lr: float = 2e-4
    every: int = 3
    held: int = 200
    max_tokens: int = 64


TINY = Size(BRIEF, updates=2, tasks=2, samples=2, steps=1, every=1, held=4, max_tokens=8)


def ours(method: str, env: str, env_args: dict[str, Any], start: Path, out: Path, seed: int, size: Size, output: Output) -> Curve:
    """Train by one of our methods."""
    config = RL(
        **CONTROL.get(method, {"method": method}),
        updates=size.updates,
        tasks=size.tasks,
        samples=size.samples,
        steps=size.steps,
        lr=size.lr,
        max_tokens=size.max_tokens,
        save_every=size.every,
        seed=seed,
    )

    def watch(number: int, directory: Path) -> dict[str, float]:
        due = number % size.every == 0
        return {"held_out": held_out(env, env_args, directory, size.held, size.max_tokens, output).success} if due else {}

    loop = Loop(env, env_args, start, out, config, output, watch=watch)
    loop.run(resume=True)
    return [(line["sampled_tokens"], line["held_out"]) for line in loop.lines if "held_out" in line]


def trl(env: str, env_args: dict[str, Any], start: Path, out: Path, seed: int, size: Size, output: Output) -> Curve:
    """Train by TRL's GRPOTrainer, with our rollouts."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the vLLM that is installed, which has no part in this
        import datasets
        import transformers
        from trl import GRPOConfig, GRPOTrainer
    model, words = load(start)
    curve: Curve = []
    sampled = 0

    def play(prompts: list[str], trainer: Any) -> dict[str, list[Any]]:
        """Our episodes in TRL's form; prompts are numbers of tasks, each as often as it is to be tried."""
        nonlocal sampled
        numbers = list(dict.fromkeys(map(int, prompts)))
        tasks = choose_tasks(env, env_args, "train", seed * 1_000_000, max(numbers) + 1)
        chosen = type(tasks).of(tasks[i] for i in numbers)
        sink, trained = Memory(), trainer.model.training
        sampler = TransformersSampler(
            trainer.model, words, max_tokens=size.max_tokens, max_batch=CONCURRENCY, version=str(len(curve))
        )

        async def go() -> None:
            await Rollout(env, env_args, size.samples, seed + trainer.state.global_step, CONCURRENCY).run(chosen, sampler, sink)
            await sampler.close()

        asyncio.run(go())
        trainer.model.train(trained)
        order = {t.id: i for i, t in enumerate(chosen)}
        found = [next(e.trajectories()) for e in sorted(sink.episodes, key=lambda e: (order[e.task.id], e.sample))]
        assert len(found) == len(prompts), "an episode failed: TRL cannot do without it"
        sampled += sum(t.sampled_tokens for t in found)
        opening = [len(t.nodes[0].token_ids or ()) for t in found]
        logprobs = [[p for n in t.nodes[1:] for p in n.logprobs or [0.0] * len(n.token_ids or ())] for t in found]
        return {
            "prompt_ids": [(t.token_ids or [])[:n] for t, n in zip(found, opening, strict=True)],
            "completion_ids": [(t.token_ids or [])[n:] for t, n in zip(found, opening, strict=True)],
            "env_mask": [[int(m) for m in t.action_mask[n:]] for t, n in zip(found, opening, strict=True)],
            "logprobs": logprobs,
            "earned": [t.reward for t in found],
        }

    class Watch(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % (size.every * size.steps) == 0:
                trainer.model.save_pretrained(out / "now")
                words.save_pretrained(out / "now")
                curve.append((sampled, held_out(env, env_args, out / "now", size.held, size.max_tokens, output).success))

    whole, piece = size.tasks * size.samples, min(16, size.tasks * size.samples)
    args = GRPOConfig(
        output_dir=str(out),
        max_steps=size.updates * size.steps,
        learning_rate=size.lr,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        per_device_train_batch_size=piece,
        steps_per_generation=whole // piece,
        gradient_accumulation_steps=whole // piece // size.steps,
        num_generations=size.samples,
        max_completion_length=4096,
        beta=0.0,
        loss_type="grpo",
        use_cpu=not hasattr(model, "device") or model.device.type == "cpu",
        bf16=model.device.type != "cpu",
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        shuffle_dataset=False,
        seed=seed,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda earned, **_: earned,
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": [str(i) for i in range(size.updates * size.tasks)]}),
        processing_class=words,
        rollout_func=play,
        callbacks=[Watch()],
    )
    trainer.train()
    return curve


def compare(name: str, methods: list[str], seeds: list[int], out: Path, size: Size, output: Output) -> dict[str, Any]:
    """All methods in one environment."""
    curves: dict[str, list[Curve]] = {m: [] for m in methods}
    for seed in seeds:
        env, env_args = STARTS[name].env, STARTS[name].env_args
        start = STARTS[name].policy(out / name / f"seed-{seed}" / "start", seed, size.warmup)
        before = held_out(env, env_args, start, size.held, size.max_tokens, output).success
        for method in methods:
            train: Callable[..., Curve] = trl if method == "trl" else lambda *a, m=method: ours(m, *a)
            output.say(f"{name}, seed {seed}, {method}: from {before:.1%}.")
            folder = out / name / f"seed-{seed}" / method
            if not (folder / "curve.json").exists():
                write_json(folder / "curve.json", train(env, env_args, start, folder, seed, size, output))
            found = json.loads((folder / "curve.json").read_text())
            curves[method].append([(0, before), *found])
            output.say(f"{name}, seed {seed}, {method}: {found[-1][1]:.1%} after {found[-1][0]:,} tokens.")
    return {m: summary(curves[m], curves.get("grpo")) for m in methods}


def summary(curves: list[Curve], grpo: list[Curve] | None) -> dict[str, Any]:
    """Means over seeds; one seed that never got there leaves a share open."""
    before, after = [c[0][1] for c in curves], [final(c) for c in curves]
    gains = [100 * (b - a) for a, b in zip(before, after, strict=True)]
    told = {"before": float(np.mean(before)), "after": float(np.mean(after)), "gain": float(np.mean(gains)), "gains": gains}
    for name, part in (("tokens_to_grpo", 1.0), ("tokens_to_most", 0.9)):
        shares = [share(c, g, part) for c, g in zip(curves, grpo or [], strict=False)]
        told[name] = float(np.mean(shares)) if shares and np.isfinite(shares).all() else None
        told[f"{name}_by_seed"] = [round(s, 3) if np.isfinite(s) else None for s in shares]
    return told | {"curves": curves}


def final(curve: Curve) -> float:
    """Where it ends, the last one's luck aside."""
    return float(np.mean([success for _, success in curve[-3:]]))


def share(curve: Curve, grpo: Curve, part: float = 1.0) -> float:
    """Of GRPO's tokens, until this part of its gain; nobody catches up with a GRPO that learnt nothing."""
    start, gain = grpo[0][1], final(grpo) - grpo[0][1]
    if gain <= 0:
        return float("inf")
    return tokens_until(curve, start + part * gain) / tokens_until(grpo, start + part * gain)


def tokens_until(curve: Curve, success: float) -> float:
    """Sampled tokens after which three measurements in a row first are as high, on average."""
    return next((curve[i][0] for i in range(2, len(curve)) if final(curve[: i + 1]) >= success), float("inf"))


def plot(results: dict[str, Any], to: Path) -> None:
    """Held-out success over sampled tokens, a line for each seed."""
    from agentgym_training.plots import _figure, _save

    figure = _figure(5 * len(results), 4)
    for axes, (name, methods) in zip(np.atleast_1d(figure.subplots(1, len(results))), results.items(), strict=True):
        for method, found in methods.items():
            for i, curve in enumerate(found["curves"]):
                tokens, success = zip(*curve, strict=True)
                axes.plot(np.array(tokens) / 1000, success, color=METHODS[method], label=None if i else method)
        axes.set(xlabel="sampled tokens, thousands", ylabel="held-out success", title=name, ylim=(0, 1))
        axes.legend(frameon=False)
    _save(figure, to)


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--env", choices=list(STARTS), action="append")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    output, size = Output(given.json), TINY if given.tiny else Size()
    names = given.env or list(STARTS)
    methods, seeds = given.methods.split(","), [int(s) for s in given.seeds.split(",")]
    results = {n: compare(n, methods, seeds, given.out, size, output) for n in names}
    plot(results, given.out / "rl.png")
    for name, found in results.items():
        shown = [(m, f"{r['before']:.1%}", f"{r['after']:.1%}", str(r["tokens_to_grpo"])) for m, r in found.items()]
        output.say(name)
        output.table(("method", "before", "after", "tokens to GRPO's final"), shown)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
