"""What a nano policy learns from 2,000 oracle episodes of ``tools/Synth-v0``, on the APIs that it knows and on others.

``python -m tests.benchmarks.synth --json`` prints one line of JSON last: success on held-out tasks of the same APIs (`same_apis`) and
on tasks of APIs it has never seen (`held_out_apis`), each with its 95 % interval and by level, and how long it took. Options:
``--level easy`` (or medium, hard; default all), ``--episodes 2000``, ``--epochs 12``, ``--seed 0``, ``--tiny``.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from agentgym.cli.output import Output
from agentgym.sampling import oracle
from agentgym.sampling.transformers import TransformersSampler, load_tokenizer
from agentgym_training.evaluate import evaluate
from agentgym_training.nano import init_model
from agentgym_training.rows import training_rows
from agentgym_training.sft import Sft, train_sft
from agentgym_trajectories.cli import choose_tasks, play_all
from agentgym_trajectories.rollout import Memory, Rollout

ENV = "tools/Synth-v0"


def collect(arguments: dict[str, Any], split: str, count: int, sampler: Any, seed: int) -> tuple[Memory, int]:
    """Episodes of the first tasks of a split, and how many failed."""
    sink, tasks = Memory(), choose_tasks(ENV, arguments, split, seed * 100_000, count)
    progress = play_all(Rollout(ENV, arguments, seed=seed, concurrency=64), tasks, sampler, sink, Output(True))
    return sink, progress.failed


def judged(model: Path, arguments: dict[str, Any], split: str, count: int, seed: int) -> dict[str, Any]:
    """How a model does on a split."""
    sampler = TransformersSampler(model, temperature=0.0, max_tokens=96, max_batch=64)
    sink, failed = collect(arguments, split, count, sampler, 0)
    found = evaluate(sink.episodes, failed, seed).to_dict()
    return {k: found[k] for k in ("success", "low", "high", "episodes", "failed", "by_difficulty", "errors")}


def measure(
    out: Path, level: str | None, episodes: int, epochs: float, copy_steps: int, tested: int, seed: int
) -> dict[str, Any]:
    """Collect, train, judge."""
    arguments = {"level": level} if level else {}
    began = time.perf_counter()
    gold, _ = collect(arguments, "train", episodes, oracle(), seed)
    trajectories = [t for e in gold.episodes for t in e.trajectories()]
    made = init_model([(t.messages, t.episode.tools) for t in trajectories], out / "base", seed=seed, warmup_steps=copy_steps)
    rows = training_rows(trajectories, load_tokenizer(out / "base"))
    trained = train_sft(out / "base", rows, out / "policy", Sft(epochs=epochs, lr=3e-3, seed=seed))
    told = {"same_apis": "validation", "held_out_apis": "test"}
    return {
        "episodes": len(trajectories),
        "tokens_an_episode": sum(len(r.input_ids) for r in rows) / len(rows),
        "parameters": made["parameters"],
        "copy_loss": made["copy_loss"],
        "loss": trained["loss"],
        "tokens_per_second": trained["tokens_per_second"],
        **{name: judged(out / "policy", arguments, split, tested, seed) for name, split in told.items()},
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--level")
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--epochs", type=float, default=12.0)
    parser.add_argument("--copy-steps", type=int, default=600)
    parser.add_argument("--tested", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tiny", action="store_true", help="Only try whether it runs.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp())
    size = (8, 1.0, 2, 2) if options.tiny else (options.episodes, options.epochs, options.copy_steps, options.tested)
    found = measure(out, options.level, *size, options.seed)
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
