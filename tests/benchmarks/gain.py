"""Does search pay: Agent Q's rounds against the same rounds without trees, from one checkpoint, on as many sampled tokens.

``python -m tests.benchmarks.gain --json`` prints one line of JSON last: for each environment and method the held-out success before
and after for each seed, the mean gain in points and its standard deviation, and the sampled tokens; and under `inference` the share
of test tasks that the first policy solves in one tree, and in as many independent attempts as cost the same tokens (the reward is the
judge of both).

- ``agent-q``: the shipped recipe's rounds;
- ``rft``: own successes among independent attempts, no pairs (rejection-sampling fine-tuning);
- ``dpo``: the same, and DPO on pairs of whole trajectories.

All begin with a policy that has learnt from somebody in a hurry (`tests.benchmarks.hasty`). Options: ``--env desk`` (or keydoor),
``--seeds 0,1,2``, ``--methods agent-q,rft,dpo``, ``--out DIR`` (give it again to go on).
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from agentgym.cli.output import Output
from agentgym.sampling.transformers import TransformersSampler
from agentgym_training.files import write_json
from agentgym_training.recipe import Recipe, load_recipe
from agentgym_training.run import run_recipe
from agentgym_training.stages import Collect, Eval, Rounds
from agentgym_training.stages.base import CONCURRENCY
from agentgym_trajectories.cli import choose_tasks, play_all
from agentgym_trajectories.episode import play as play_episode
from agentgym_trajectories.players import LocalPlayers, Program
from agentgym_trajectories.rollout import Memory, Rollout
from agentgym_trajectories.store import Store
from tests.benchmarks.hasty import BRIEF, STARTS

METHODS = ("agent-q", "rft", "dpo")
ALL = (
    *("warmup=null", "rounds.times=2", "rounds.validation=200", "eval.tasks=400"),
    "rounds.preference.lr=2.0e-4",  # there is a habit to be broken
)
TINY = (
    *("rounds.times=1", "rounds.collect.tasks=2", "rounds.validation=2", "eval.tasks=2"),
    *("rounds.sft.max_steps=2", "rounds.sft.batch_size=2"),
)


def carry_out(name: str, seed: int, out: Path, methods: list[str], tiny: bool) -> dict[str, Any]:
    """One seed: Agent Q first, whose number of tokens the others take over."""
    first = STARTS[name].policy(out / "start", seed, BRIEF if tiny else ())
    changes = (*STARTS[name].changes, *ALL, f"policy={first}", *(TINY if tiny else ()))
    recipe = load_recipe("agent-q", changes, seed)
    rounds = recipe.stages[0]
    assert isinstance(rounds, Rounds)
    (collect,) = (s for s in rounds.stages if isinstance(s, Collect))
    done = {"agent-q": run(recipe, out / "agent-q")}
    total = sum(r["sampled_tokens"] for r in done["agent-q"]["rounds"])
    with Store(out / "agent-q/round-1") as store:
        ((single,),) = store.query("SELECT avg(tokens) FROM episodes WHERE version NOT LIKE '%+%'")
    alone = ("rounds.collect.search=null", f"rounds.collect.samples={round(total / rounds.times / collect.tasks / single)}")
    others = {
        "rft": ("rounds.preference=null", "rounds.pairs=null"),
        "dpo": ('rounds.pairs.by=[outcome, distinct, "cap:pairs=4"]',),
    }
    for other in (m for m in methods if m in others):
        done[other] = run(load_recipe("agent-q", (*changes, *alone, *others[other]), seed), out / other)
    file = out / "inference.json"
    if not file.exists():
        write_json(file, inference(recipe, collect, first, single, Output(True)))
    return {"methods": done, "inference": json.loads(file.read_text())}


def run(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Its rounds, and the success on test tasks before and after."""
    stages = run_recipe(recipe, out, Output(True))["stages"]
    tested = stages["eval"]["policies"]
    return stages["rounds"] | {"success": {"start": tested["first"]["success"], "best": tested["policy"]["success"]}}


def inference(recipe: Recipe, collect: Collect, policy: Path, single: float, output: Output) -> dict[str, float]:
    """Trees, and as many independent attempts (of `single` tokens each) as cost the same, at the same tasks."""
    assert collect.search is not None
    search, judged = collect.search.build(), recipe.stages[-1]
    assert isinstance(judged, Eval)

    def play(samples: int, program: Program, version: str) -> tuple[float, float]:
        """The share of tasks that were solved once, and tokens for each."""
        sampler = TransformersSampler(policy, temperature=1.0, max_tokens=recipe.max_tokens, max_batch=CONCURRENCY)
        plan, sink = Rollout(recipe.env, recipe.env_args, samples, 0, CONCURRENCY), Memory()
        tasks = choose_tasks(recipe.env, recipe.env_args, "test", 0, judged.tasks)
        players = LocalPlayers(plan.env, plan.env_args, sampler, plan.deadlines, program, version)
        play_all(plan, tasks, sampler, sink, output, players)
        solved = {e.task.id for e in sink.episodes if any(t.success for t in e.trajectories())}
        return len(solved) / len(tasks), sampler.usage.sampled_tokens / len(tasks)

    searched, tokens = play(1, search.play, search.name)
    attempts = max(1, round(tokens / single))
    alone, spent = play(attempts, play_episode, "alone")
    return {"search": searched, "search_tokens": tokens, "best_of_n": alone, "best_of_n_tokens": spent, "n": attempts}


def summary(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all seeds of one environment."""
    told: dict[str, Any] = {}
    for name in seeds[0]["methods"]:
        runs = [s["methods"][name] for s in seeds]
        gains = [100 * (r["success"]["best"] - r["success"]["start"]) for r in runs]
        told[name] = {
            "before": [r["success"]["start"] for r in runs],
            "after": [r["success"]["best"] for r in runs],
            "gain": statistics.mean(gains),
            "gain_std": statistics.stdev(gains) if len(gains) > 1 else 0.0,
            "sampled_tokens": statistics.mean(sum(x["sampled_tokens"] for x in r["rounds"]) for r in runs),
        }
    inferred = [s["inference"] for s in seeds]
    return {"methods": told, "inference": {k: statistics.mean(i[k] for i in inferred) for k in inferred[0]}}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--env", choices=STARTS, action="append")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tiny", action="store_true", help="Only try whether it runs.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp())
    seeds, methods = [int(s) for s in options.seeds.split(",")], options.methods.split(",")
    found = {}
    for env in options.env or STARTS:
        found[env] = summary([carry_out(env, seed, out / env / f"seed-{seed}", methods, options.tiny) for seed in seeds])
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
